"""The terms on which a provider sells: rates or an hourly price, a promise, quotas, a term; pure.

A contract covers one model, or all of a provider's models that have no contract of their own. Where a provider has
contracts for a deployment, the deployment is on offer only while one of them is in force.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.clock import US_PER_S
from pricing.money import ZERO, NanoUsd, Rate
from pricing.slo import Slo
from pricing.usage import Rates

US_PER_HOUR: Final = 3_600 * US_PER_S
COUNT_MAX: Final = 10**15
PER_MINUTE_MAX: Final = 10**8
"""The largest limit a minute: what is owed under it still fits the exact integers of the lease store's scripts."""
NANO_PER_HOUR_MAX: Final = 10**15
MODEL_MAX: Final = 180
NOTE_MAX: Final = 1000
NO_RATES: Final = Rates(Rate(0), Rate(0), Rate(0), Rate(0))


class ContractError(ValueError):
    """A contract that cannot be, or that contradicts another; the message says which field and what to do."""


class Basis(StrEnum):
    """What is paid for."""

    BOUGHT = "token"
    """By the token."""
    HOURLY = "hour"
    """Capacity by time, whether or not it serves."""


@dataclass(frozen=True, slots=True)
class Allotment:
    """How much of a provider we may use; None is without a limit.

    Attributes:
        rpm, tpm: requests and tokens a minute.
        requests_max, tokens_max: in all, over the whole term.
    """

    rpm: int | None = None
    tpm: int | None = None
    requests_max: int | None = None
    tokens_max: int | None = None

    def __post_init__(self) -> None:
        for name, most in (
            ("rpm", PER_MINUTE_MAX),
            ("tpm", PER_MINUTE_MAX),
            ("requests_max", COUNT_MAX),
            ("tokens_max", COUNT_MAX),
        ):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= most:
                raise ContractError(f"{name}: 1 to {most}, or left out for no limit, got {value}")

    @property
    def has_totals(self) -> bool:
        """Whether something is limited over the whole term."""
        return self.requests_max is not None or self.tokens_max is not None


@dataclass(frozen=True, slots=True)
class Contract:
    """One contract.

    Attributes:
        id: ``ctr_…``; empty until it is signed.
        model: the public model it covers; empty for all that have none of their own.
        rates: pico-USD per token; zero where capacity is paid by the hour.
        usd_per_hour: nano-USD; zero where tokens are paid for.
        promise: what the provider promises; None where it promises nothing.
        starts_at_us, ends_at_us: the term, half open, µs since the epoch; None without an end.

    Raises:
        ContractError: a field that cannot be.
    """

    provider_id: str
    basis: Basis
    starts_at_us: int
    ends_at_us: int | None = None
    id: str = ""
    model: str = ""
    rates: Rates = NO_RATES
    usd_per_hour: NanoUsd = ZERO
    promise: Slo | None = None
    allotment: Allotment = Allotment()
    note: str = ""

    def __post_init__(self) -> None:
        rates = self.rates.by_class().values()
        if min(rates) < 0 or not 0 <= self.usd_per_hour <= NANO_PER_HOUR_MAX:
            raise ContractError(f"rates cannot be negative, got {self.rates} and {self.usd_per_hour} nano-USD an hour")
        if self.basis is Basis.BOUGHT and self.usd_per_hour:
            raise ContractError("a contract is by the token or by the hour: leave usd_per_hour out, or the rates")
        if self.basis is Basis.HOURLY and (any(rates) or not self.usd_per_hour):
            raise ContractError("a contract by the hour names usd_per_hour, above 0, and no rates per token")
        if self.ends_at_us is not None and self.ends_at_us < self.starts_at_us:
            raise ContractError("the term ends before it starts: give an end after the start, or none")
        if len(self.model) > MODEL_MAX or len(self.note) > NOTE_MAX:
            raise ContractError(f"model has at most {MODEL_MAX} letters and note {NOTE_MAX}")

    def is_in_force(self, now_us: int) -> bool:
        """Whether it holds now."""
        return self.starts_at_us <= now_us and (self.ends_at_us is None or now_us < self.ends_at_us)

    def overlaps(self, other: "Contract") -> bool:
        """Whether both would be in force for the same thing at some moment."""
        if (self.provider_id, self.model) != (other.provider_id, other.model):
            return False
        is_after = self.ends_at_us is not None and self.ends_at_us <= other.starts_at_us
        is_before = other.ends_at_us is not None and other.ends_at_us <= self.starts_at_us
        return not (is_after or is_before)

    def us_within(self, from_us: int, until_us: int) -> int:
        """µs of its term that lie in a period."""
        end_us = until_us if self.ends_at_us is None else min(self.ends_at_us, until_us)
        return max(0, end_us - max(self.starts_at_us, from_us))


def covering(contracts: Iterable[Contract], provider_id: str, model: str) -> tuple[Contract, ...]:
    """The contracts that say something about one model of one provider: its own, or else those for all models."""
    of_provider = [each for each in contracts if each.provider_id == provider_id]
    own = tuple(each for each in of_provider if each.model == model)
    return own or tuple(each for each in of_provider if not each.model)


def in_force(contracts: Sequence[Contract], now_us: int) -> Contract | None:
    """The one that holds now; None when none does."""
    return next((each for each in contracts if each.is_in_force(now_us)), None)


def lapse(contracts: Sequence[Contract], now_us: int) -> str:
    """Why nothing may be bought now, in words, where contracts exist but none is in force."""
    ended = [each for each in contracts if each.ends_at_us is not None and each.ends_at_us <= now_us]
    if ended:
        last = max(ended, key=lambda each: each.ends_at_us or 0)
        return f"its contract {last.id} has ended; sign another (goodput providers contract add)"
    return f"its contract {contracts[0].id} has not begun yet"


@dataclass(frozen=True, slots=True)
class Consumed:
    """What was used of a contract so far."""

    requests: int = 0
    tokens: int = 0


def exhausted(contract: Contract, consumed: Consumed) -> str:
    """Which total of a contract is used up, in words; empty while none is."""
    allotment = contract.allotment
    for what, used, most in (
        ("requests", consumed.requests, allotment.requests_max),
        ("tokens", consumed.tokens, allotment.tokens_max),
    ):
        if most is not None and used >= most:
            return f"the {most} {what} of contract {contract.id} are used up ({used}); sign another"
    return ""
