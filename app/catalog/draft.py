"""A price book in the making: its cards, edits to them, what stands in the way of publishing it; pure.

A draft may be in any state: tiers out of order, nothing sold. Only what :func:`pricing.pricebook.price_book` takes can
be published; :func:`app.catalog.draft_remarks.problems` says beforehand what it would refuse.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from app.errors import MarketError
from pricing.money import Rate, format_usd_per_mtok
from pricing.pricebook import RateCard, cards_from_record, cards_record
from pricing.slo import Rung, Slo, Tier
from pricing.usage import Rates

RATE_MAX = 1_000_000_000_000
"""Pico-USD per token: a million dollars per million tokens; beyond it a rate is a mistake."""
SPAN_US_MAX = 7 * 86_400_000_000
"""The longest promise: a week."""
TITLE_MAX = 200

CardKey = tuple[str, Tier]
Cards = Mapping[CardKey, RateCard]


class Origin(StrEnum):
    """What made a price book or a draft of one."""

    DERIVED = "derived"
    OPERATOR = "operator"
    ROLLBACK = "rollback"
    REPRICER = "repricer"


class DraftState(StrEnum):
    """How far a draft has come; the last two are for ever."""

    OPEN = "open"
    PUBLISHED = "published"
    DISCARDED = "discarded"


class EditRefused(MarketError):
    """An edit that no card can take."""


@dataclass(frozen=True, slots=True)
class CardEdit:
    """What one tier of a model is to be.

    Attributes:
        rates, slo: None leaves them as they are.
        is_sold: False takes the tier off sale; what it was is kept, so that it can be put back.
        fields: single fields on top of that: pico-USD per token by token class, ``ttft_us`` and ``tpot_us``.
    """

    model: str
    tier: Tier
    rates: Rates | None = None
    slo: Slo | None = None
    is_sold: bool = True
    fields: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class Remark:
    """Something about one tier of a draft that an operator has to know.

    Attributes:
        tier: None where it is about the whole draft.
        field: a token class, ``ttft`` or ``tpot``; empty where it is about the whole card.
        message: a sentence with the numbers.
    """

    model: str
    tier: Tier | None
    field: str
    message: str

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class Draft:
    """A price book in the making, as it was read.

    Attributes:
        base_book_id: the book that it is compared with and is to replace; None when nothing was in force.
        version: rises with each change.
        cards: what is to be sold, by model and tier, best tier first.
        withheld: cards that are known and not to be sold.
        problems: why it cannot be published as it is.
        warnings: what has to be accepted knowingly when it is published.
    """

    id: str
    base_book_id: str | None
    title: str
    origin: Origin
    state: DraftState
    version: int
    created_by: str
    created_at_us: int
    updated_at_us: int
    published_book_id: str | None
    cards: Cards
    withheld: Cards
    problems: tuple[Remark, ...] = ()
    warnings: tuple[Remark, ...] = ()

    @property
    def is_open(self) -> bool:
        """True while it can be edited and published."""
        return self.state is DraftState.OPEN


@dataclass(frozen=True, slots=True)
class DraftHead:
    """A draft without its cards, for lists."""

    id: str
    base_book_id: str | None
    title: str
    origin: Origin
    state: DraftState
    version: int
    created_by: str
    created_at_us: int
    updated_at_us: int
    published_book_id: str | None


def by_key(cards: Iterable[RateCard]) -> dict[CardKey, RateCard]:
    """Cards by model and tier, best tier first; of two of one key the last."""
    found = {(card.model, card.rung.tier): card for card in cards}
    return dict(sorted(found.items(), key=lambda item: (item[0][0], item[0][1].rank)))


def draft_record(cards: Cards, withheld: Cards) -> dict[str, Any]:
    """The stored form of a draft's cards."""
    return {**cards_record(cards.values()), "withheld": cards_record(withheld.values())}


def cards_of_record(record: Mapping[str, Any]) -> tuple[dict[CardKey, RateCard], dict[CardKey, RateCard]]:
    """What is to be sold and what is withheld; the inverse of :func:`draft_record`."""
    return by_key(cards_from_record(record)), by_key(cards_from_record(record["withheld"]))


def edited(draft: Draft, edits: Iterable[CardEdit], base: Cards) -> tuple[Cards, Cards]:
    """A draft's cards after some edits: those to be sold, and those withheld.

    Args:
        draft: as it was.
        edits: applied in order.
        base: the cards that it is compared with; a tier that the draft lost can be put back from there.

    Raises:
        EditRefused: a rate or promise that no card can have, or a tier that nothing was ever measured for.
    """
    cards, withheld = dict(draft.cards), dict(draft.withheld)
    for edit in edits:
        key = (edit.model, edit.tier)
        known = cards.pop(key, None) or withheld.pop(key, None) or base.get(key)
        if known is None:
            raise _unknown(edit, {*cards, *withheld, *base})
        rung = Rung(edit.tier, _promise(edit, known), _rates(edit, known))
        (cards if edit.is_sold else withheld)[key] = replace(known, rung=rung)
    return by_key(cards.values()), by_key(withheld.values())


def _rates(edit: CardEdit, known: RateCard) -> Rates:
    wanted = (edit.rates or known.rung.rates).by_class()
    for token_class in wanted:
        rate = wanted[token_class] = Rate(edit.fields.get(token_class.value, wanted[token_class]))
        if not 0 <= rate <= RATE_MAX:
            raise EditRefused(
                400,
                "invalid_rate",
                f"{edit.model} {edit.tier}: the {token_class} rate of {format_usd_per_mtok(rate)} is out of range; it "
                f"is at least 0 and at most {format_usd_per_mtok(RATE_MAX)} USD per million tokens",
                param=token_class.value,
            )
    return Rates(**{name.value: rate for name, rate in wanted.items()})


def _promise(edit: CardEdit, known: RateCard) -> Slo:
    wanted = edit.slo or known.rung.slo
    ttft_us, tpot_us = edit.fields.get("ttft_us", wanted.ttft_us), edit.fields.get("tpot_us", wanted.tpot_us)
    if not (0 < ttft_us <= SPAN_US_MAX and 0 <= tpot_us <= SPAN_US_MAX):
        raise EditRefused(
            400,
            "invalid_promise",
            f"{edit.model} {edit.tier}: first token within {ttft_us} µs, then one every {tpot_us} µs, is out of range; "
            "the first is above 0, both are at most a week",
        )
    return Slo(ttft_us, tpot_us)


def _unknown(edit: CardEdit, known: set[CardKey]) -> EditRefused:
    tiers = sorted((tier for model, tier in known if model == edit.model), key=lambda tier: tier.rank)
    has = f"it has {', '.join(tiers)}" if tiers else "neither the draft nor the book it is compared with has the model"
    return EditRefused(
        400,
        "no_such_card",
        f"{edit.model} has no {edit.tier} tier that was ever measured: {has}. Derive its prices first.",
    )


@dataclass(frozen=True, slots=True)
class Rebased:
    """A draft's edits on top of another book.

    Attributes:
        cards, withheld: as in :class:`Draft`.
        clashes: cards that both the draft and the other book changed; the draft's edit was kept.
    """

    cards: Cards
    withheld: Cards
    clashes: tuple[CardKey, ...]


def rebased(draft: Draft, old: Cards, new: Cards) -> Rebased:
    """Puts what the draft changed in ``old`` onto ``new``, field by field.

    A rate or promise that the draft did not touch is the new book's; one that it did is the draft's. What the draft
    took off sale stays off sale, and what it added stays added. A model that the new book no longer has, and that the
    draft left alone, goes.
    """
    cards: dict[CardKey, RateCard] = {}
    withheld = dict(draft.withheld)
    clashes: list[CardKey] = []
    for key in {*draft.cards, *old, *new}:
        before, mine, theirs = old.get(key), draft.cards.get(key), new.get(key)
        merged = theirs if _same(mine, before) else _kept(before, mine, theirs)
        if not any((_same(mine, before), _same(theirs, before), _same(mine, theirs))):
            clashes.append(key)
        if merged is not None:
            cards[key] = merged
            withheld.pop(key, None)
        elif mine is None and theirs is not None:
            withheld[key] = theirs
    return Rebased(by_key(cards.values()), by_key(withheld.values()), tuple(sorted(clashes)))


def _same(one: RateCard | None, other: RateCard | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.rung, _measured(one)) == (other.rung, _measured(other))


def _measured(card: RateCard) -> tuple[object, ...]:
    return card.deployment_id, card.cost, card.interactivity_tok_s_user, card.concurrency_max


def _kept(before: RateCard | None, mine: RateCard | None, theirs: RateCard | None) -> RateCard | None:
    """A card that the draft changed: what it did not touch is theirs."""
    if before is None or mine is None or theirs is None:
        return mine
    old, ours, other = (card.rung.rates.by_class() for card in (before, mine, theirs))
    rates = {name.value: other[name] if ours[name] == old[name] else ours[name] for name in ours}
    was, slo, others = before.rung.slo, mine.rung.slo, theirs.rung.slo
    promise = Slo(
        others.ttft_us if slo.ttft_us == was.ttft_us else slo.ttft_us,
        others.tpot_us if slo.tpot_us == was.tpot_us else slo.tpot_us,
    )
    measured = theirs if _measured(mine) == _measured(before) else mine
    return replace(measured, rung=Rung(mine.rung.tier, promise, Rates(**rates)))
