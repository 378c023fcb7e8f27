"""What is owed to a provider for a period: its tokens at its contract's rates, or its hours; pure.

What tokens cost was accrued answer by answer, when each was settled; a statement sums that up and holds it against the
contract's rates and against the ledger. Late tokens are counted against the promise that the contract states.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from app.fleet.contracts import US_PER_HOUR, Basis, Contract, covering, in_force
from pricing.money import ZERO, NanoUsd, format_usd, format_usd_per_mtok, half_even_to_nano
from pricing.usage import Rates, Usage


@dataclass(frozen=True, slots=True)
class Delivered:
    """What one deployment delivered of one model in a span.

    Attributes:
        accrued: nano-USD of cost, as settled.
        tokens_late: output tokens that missed the contract's promise, as far as delivery times are still kept.
        disputed: answers whose counts were not believed.
    """

    offer_id: str
    model: str
    requests: int
    usage: Usage
    accrued: NanoUsd
    tokens_late: int = 0
    disputed: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a statement.

    Attributes:
        contract_id: on whose terms; empty where no contract covered it.
        basis: ``token``, ``hour``, or empty without a contract.
        from_us, until_us: the part of the period in which those terms held.
        hours_us: µs of capacity, on the ``hour`` basis.
        at_rates: nano-USD that its tokens come to at the contract's rates, summed and rounded once.
        owed: nano-USD.
        claim: nano-USD that late tokens take off it.
    """

    contract_id: str
    basis: str
    model: str
    from_us: int
    until_us: int
    delivered: tuple[Delivered, ...] = ()
    hours_us: int = 0
    rates: Rates | None = None
    usd_per_hour: NanoUsd = ZERO
    at_rates: NanoUsd = ZERO
    owed: NanoUsd = ZERO
    claim: NanoUsd = ZERO


@dataclass(frozen=True, slots=True)
class Statement:
    """What is owed to one provider for a period, half open.

    Attributes:
        payable: nano-USD that the ledger booked as payable to it in the period.
        accrued_bought: nano-USD of the lines that were bought by the token.
        is_closed: the period is over, so that nothing is added to it any more.
    """

    provider_id: str
    name: str
    from_us: int
    until_us: int
    lines: tuple[Line, ...]
    payable: NanoUsd
    accrued_bought: NanoUsd
    is_closed: bool

    @property
    def owed(self) -> NanoUsd:
        """nano-USD owed, before claims."""
        return NanoUsd(sum(line.owed for line in self.lines))

    @property
    def claim(self) -> NanoUsd:
        """nano-USD claimed for late tokens."""
        return NanoUsd(sum(line.claim for line in self.lines))

    @property
    def drift(self) -> int:
        """nano-USD by which the ledger's payable differs from what was bought; 0 in sound books."""
        return self.payable - self.accrued_bought


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a period in which the same contracts hold."""

    from_us: int
    until_us: int


@dataclass(frozen=True, slots=True)
class Supplied:
    """Everything a statement is made of.

    Attributes:
        contracts: all of the provider's.
        delivered: by span, in the order of :func:`spans`.
        owned: offers whose capacity is owned, where no contract says otherwise.
    """

    contracts: Sequence[Contract]
    delivered: Mapping[Span, Sequence[Delivered]]
    owned: frozenset[str] = field(default_factory=frozenset[str])


def spans(contracts: Iterable[Contract], from_us: int, until_us: int) -> tuple[Span, ...]:
    """The period cut wherever a contract begins or ends in it.

    >>> spans([], 0, 10)
    (Span(from_us=0, until_us=10),)
    """
    edges = {from_us, until_us}
    for each in contracts:
        edges |= {at for at in (each.starts_at_us, each.ends_at_us) if at is not None and from_us < at < until_us}
    ordered = sorted(edges)
    return tuple(Span(a, b) for a, b in pairwise(ordered))


def lines(supplied: Supplied, provider_id: str) -> tuple[Line, ...]:
    """The lines of a statement: one per contract and span, and one per span for what no contract covered."""
    made: list[Line] = []
    for span, delivered in supplied.delivered.items():
        by_contract: dict[str, list[Delivered]] = {}
        current = {each.id: each for each in supplied.contracts if each.is_in_force(span.from_us)}
        for each in delivered:
            found = in_force(covering(supplied.contracts, provider_id, each.model), span.from_us)
            by_contract.setdefault("" if found is None else found.id, []).append(each)
        made += [_line(contract, span, by_contract.get(contract.id, [])) for contract in current.values()]
        made += [_uncovered(span, by_contract[""], supplied.owned)] if "" in by_contract else []
    return tuple(line for line in made if line.delivered or line.owed)


def bought(found: Iterable[Line], owned: frozenset[str]) -> NanoUsd:
    """nano-USD accrued for tokens that were bought: what the ledger has as payable."""
    return NanoUsd(
        sum(
            each.accrued
            for line in found
            for each in line.delivered
            if line.basis == Basis.BOUGHT.value or (not line.basis and each.offer_id not in owned)
        )
    )


def _line(contract: Contract, span: Span, delivered: Sequence[Delivered]) -> Line:
    line = Line(
        contract.id, contract.basis.value, contract.model, span.from_us, span.until_us, delivered=tuple(delivered)
    )
    if contract.basis is Basis.HOURLY:
        hours_us = contract.us_within(span.from_us, span.until_us)
        owed = half_even(contract.usd_per_hour * hours_us, US_PER_HOUR)
        return replace(line, hours_us=hours_us, usd_per_hour=contract.usd_per_hour, owed=owed)
    usage = total(delivered)
    late = sum(each.tokens_late for each in delivered)
    return replace(
        line,
        rates=contract.rates,
        at_rates=half_even_to_nano(contract.rates.input_pico(usage) + contract.rates.output_pico(usage.output)),
        owed=NanoUsd(sum(each.accrued for each in delivered)),
        claim=half_even_to_nano(contract.rates.output_pico(late)),
    )


def _uncovered(span: Span, delivered: Sequence[Delivered], owned: frozenset[str]) -> Line:
    """What ran without a contract: bought tokens are owed at the deployment's cost, owned ones are nobody's bill."""
    owed = sum(each.accrued for each in delivered if each.offer_id not in owned)
    return Line("", "", "", span.from_us, span.until_us, tuple(delivered), owed=NanoUsd(owed))


def total(delivered: Iterable[Delivered]) -> Usage:
    """All their tokens by class."""
    every = tuple(delivered)
    return Usage(
        input=sum(each.usage.input for each in every),
        cached=sum(each.usage.cached for each in every),
        cache_write=sum(each.usage.cache_write for each in every),
        output=sum(each.usage.output for each in every),
    )


def half_even(numerator: int, denominator: int) -> NanoUsd:
    """A whole number of nano-USD, halves to even.

    >>> half_even(5, 2), half_even(7, 2), half_even(10, 3)
    (2, 4, 3)
    """
    whole, rest = divmod(numerator, denominator)
    up = 2 * rest > denominator or (2 * rest == denominator and whole % 2 == 1)
    return NanoUsd(whole + up)


def statement_document(statement: Statement) -> dict[str, Any]:
    """A statement, JSON-ready; amounts as text beside whole nano-USD."""
    return {
        "object": "provider_statement",
        "provider_id": statement.provider_id,
        "name": statement.name,
        "from_us": statement.from_us,
        "until_us": statement.until_us,
        "is_closed": statement.is_closed,
        "lines": [_line_document(line) for line in statement.lines],
        **_money("owed", statement.owed),
        **_money("claim", statement.claim),
        **_money("due", statement.owed - statement.claim),
        "ledger": {**_money("payable", statement.payable), **_money("drift", statement.drift)},
    }


def _line_document(line: Line) -> dict[str, Any]:
    usage = total(line.delivered)
    rates = line.rates
    return {
        "contract_id": line.contract_id,
        "basis": line.basis or "no contract",
        "model": line.model,
        "from_us": line.from_us,
        "until_us": line.until_us,
        "requests": sum(each.requests for each in line.delivered),
        "tokens": {
            "input": usage.input,
            "cached": usage.cached,
            "cache_write": usage.cache_write,
            "output": usage.output,
        },
        "tokens_late": sum(each.tokens_late for each in line.delivered),
        "answers_disputed": sum(each.disputed for each in line.delivered),
        "usd_per_mtok": None
        if rates is None
        else {name.value: format_usd_per_mtok(rate) for name, rate in rates.by_class().items()},
        "hours": f"{line.hours_us / US_PER_HOUR:.4f}" if line.basis == Basis.HOURLY.value else None,
        **(_money("per_hour", line.usd_per_hour) if line.basis == Basis.HOURLY.value else {}),
        **_money("accrued", sum(each.accrued for each in line.delivered)),
        **(_money("at_rates", line.at_rates) if rates is not None else {}),
        **_money("owed", line.owed),
        **_money("claim", line.claim),
        "deployments": [
            {"id": each.offer_id, "model": each.model, "requests": each.requests, **_money("accrued", each.accrued)}
            for each in line.delivered
        ],
    }


def _money(name: str, nano: int) -> dict[str, str]:
    return {f"{name}_usd": format_usd(nano), f"{name}_nano": str(nano)}
