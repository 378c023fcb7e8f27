"""What differs between two price books: every rate, every promise, what is sold no more and what is new; exact.

Only what a customer buys counts: two books whose cards have the same promises and rates do not differ, whatever their
dates, and whatever they cost us; a change of deployment or of our cost is told beside.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from enum import StrEnum
from fractions import Fraction
from typing import Any

from pricing.money import Rate, format_usd_per_mtok
from pricing.pricebook import RateCard
from pricing.slo import Slo, Tier
from pricing.usage import TokenClass

Cards = Mapping[tuple[str, Tier], RateCard]
SHARE_DECIMALS = Decimal("0.000001")


class ChangeKind(StrEnum):
    """What became of a card."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class RateChange:
    """One token class of a card.

    Attributes:
        old, new: pico-USD per token; None where the book has no such card.
        cost_old, cost_new: ours, in the same unit.
    """

    token_class: TokenClass
    old: Rate | None
    new: Rate | None
    cost_old: Rate | None
    cost_new: Rate | None

    @property
    def delta(self) -> int | None:
        """The new less the old rate, pico-USD per token; None where one of them is missing."""
        return None if self.old is None or self.new is None else self.new - self.old

    @property
    def share(self) -> Fraction | None:
        """(new − old) / old, exactly; None where that is no number.

        >>> RateChange(TokenClass.INPUT, Rate(300), Rate(400), None, None).share
        Fraction(1, 3)
        """
        return None if not self.old or self.delta is None else Fraction(self.delta, self.old)

    @property
    def is_below_cost(self) -> bool:
        """True when the new rate does not earn what the token costs us."""
        return self.new is not None and self.cost_new is not None and self.new < self.cost_new


@dataclass(frozen=True, slots=True)
class PromiseChange:
    """What is promised; None where the book has no such card."""

    old: Slo | None
    new: Slo | None

    @property
    def is_changed(self) -> bool:
        """True when both books promise something and it is not the same."""
        return self.old is not None and self.new is not None and self.old != self.new

    @property
    def tok_s_user(self) -> tuple[float | None, float | None]:
        """The promised speed before and after, tokens/s/user; None where there is none, as of a window."""
        old, new = (None if slo is None else slo.tok_s_user for slo in (self.old, self.new))
        return old, new


@dataclass(frozen=True, slots=True)
class CardDiff:
    """One tier of a model that differs.

    Attributes:
        rates: every token class, those that stay included.
        deployment_old, deployment_new: what the promise was measured on; empty where the book has no such card.
    """

    model: str
    tier: Tier
    kind: ChangeKind
    rates: tuple[RateChange, ...]
    promise: PromiseChange
    deployment_old: str
    deployment_new: str

    @property
    def largest(self) -> Fraction | None:
        """The largest change of its rates by size, with its sign; None where none can be told."""
        shares = [change.share for change in self.rates if change.share is not None]
        return max(shares, key=abs, default=None)


@dataclass(frozen=True, slots=True)
class BookDiff:
    """Two books side by side.

    Attributes:
        cards: those that differ, by model, best tier first.
        unchanged: how many cards both have alike.
    """

    cards: tuple[CardDiff, ...]
    unchanged: int

    def of_kind(self, kind: ChangeKind) -> tuple[CardDiff, ...]:
        """The cards that were added, removed or changed."""
        return tuple(card for card in self.cards if card.kind is kind)

    @property
    def promises(self) -> tuple[CardDiff, ...]:
        """The cards whose promise changed."""
        return tuple(card for card in self.cards if card.promise.is_changed)

    @property
    def largest(self) -> tuple[CardDiff, Fraction] | None:
        """The card with the largest change of a rate, and that change; None where no rate of both changed."""
        found = [(card, share) for card in self.cards if (share := card.largest)]
        return max(found, key=lambda pair: abs(pair[1]), default=None)


def book_diff(old: Cards, new: Cards) -> BookDiff:
    """Compares the cards of two books, or of a book and a draft.

    Args:
        old: by model and tier.
        new: by model and tier.
    """
    keys = sorted({*old, *new}, key=lambda key: (key[0], key[1].rank))
    pairs = [(key, old.get(key), new.get(key)) for key in keys]
    differing = [pair for pair in pairs if _differs(pair[1], pair[2])]
    return BookDiff(tuple(_card_diff(*key, was, now) for key, was, now in differing), len(pairs) - len(differing))


def _differs(old: RateCard | None, new: RateCard | None) -> bool:
    if old is None or new is None:
        return True
    return (old.rung, old.cost, old.deployment_id) != (new.rung, new.cost, new.deployment_id)


def _card_diff(model: str, tier: Tier, old: RateCard | None, new: RateCard | None) -> CardDiff:
    kind = ChangeKind.ADDED if old is None else ChangeKind.REMOVED if new is None else ChangeKind.CHANGED
    return CardDiff(
        model=model,
        tier=tier,
        kind=kind,
        rates=tuple(_rate_change(name, old, new) for name in TokenClass),
        promise=PromiseChange(old and old.rung.slo, new and new.rung.slo),
        deployment_old="" if old is None else old.deployment_id,
        deployment_new="" if new is None else new.deployment_id,
    )


def _rate_change(name: TokenClass, old: RateCard | None, new: RateCard | None) -> RateChange:
    return RateChange(
        name,
        None if old is None else old.rung.rates.by_class()[name],
        None if new is None else new.rung.rates.by_class()[name],
        None if old is None else old.cost.by_class()[name],
        None if new is None else new.cost.by_class()[name],
    )


def share_text(share: Fraction | None) -> str | None:
    """An exact share as a decimal string, rounded half to even to six decimals; None where there is none.

    >>> share_text(Fraction(1, 3)), share_text(Fraction(-1, 4)), share_text(Fraction(10**30))
    ('0.333333', '-0.25', '1000000000000000000000000000000')
    """
    if share is None:
        return None
    with localcontext() as context:
        context.prec = 60
        value = Decimal(share.numerator) / Decimal(share.denominator)
        text = f"{value.quantize(SHARE_DECIMALS, ROUND_HALF_EVEN):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def diff_document(diff: BookDiff) -> dict[str, Any]:
    """The JSON form: rates as decimal strings of USD per million tokens, shares as decimal strings, times in µs."""
    largest = diff.largest
    return {
        "cards": [_card_document(card) for card in diff.cards],
        "cards_added": len(diff.of_kind(ChangeKind.ADDED)),
        "cards_removed": len(diff.of_kind(ChangeKind.REMOVED)),
        "cards_changed": len(diff.of_kind(ChangeKind.CHANGED)),
        "cards_unchanged": diff.unchanged,
        "promises_changed": len(diff.promises),
        "largest_change": None
        if largest is None
        else {"model": largest[0].model, "tier": largest[0].tier.value, "share": share_text(largest[1])},
    }


def _card_document(card: CardDiff) -> dict[str, Any]:
    return {
        "model": card.model,
        "tier": card.tier.value,
        "change": card.kind.value,
        "rates": {change.token_class.value: _rate_document(change) for change in card.rates},
        "promise": {
            "is_changed": card.promise.is_changed,
            "old": _promise_document(card.promise.old),
            "new": _promise_document(card.promise.new),
        },
        "deployment": {"old": card.deployment_old or None, "new": card.deployment_new or None},
    }


def _rate_document(change: RateChange) -> dict[str, Any]:
    amounts = {"old": change.old, "new": change.new, "cost_old": change.cost_old, "cost_new": change.cost_new}
    return {
        **{
            f"{name}_usd_per_mtok": None if rate is None else format_usd_per_mtok(rate)
            for name, rate in amounts.items()
        },
        "share": share_text(change.share),
        "is_below_cost": change.is_below_cost,
    }


def _promise_document(slo: Slo | None) -> dict[str, int] | None:
    return None if slo is None else {"ttft_us": slo.ttft_us, "tpot_us": slo.tpot_us}
