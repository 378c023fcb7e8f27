"""What differs between two books, card by card, as a page shows it; pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.console.books import CLASS_WORDS, promise_words
from app.console.card_fields import gap_text, span_text
from app.console.shapes import change, margin_percent, rate
from pricing.money import format_usd_per_mtok
from pricing.pricebook import RateCard
from pricing.slo import Tier

Cards = Mapping[tuple[str, Tier], RateCard]


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One rate or promise in both books; empty where a book has none."""

    label: str
    was: str
    now: str
    change: str = ""
    cost: str = ""
    margin_was: str = ""
    margin: str = ""
    is_below_cost: bool = False

    @property
    def is_changed(self) -> bool:
        """True when the two differ."""
        return self.was != self.now


@dataclass(frozen=True, slots=True)
class CardChange:
    """One tier of a model that differs.

    Attributes:
        word: ``new``, ``withdrawn``, or empty.
    """

    model: str
    tier: Tier
    word: str
    promise: str
    promise_was: str
    rows: tuple[ChangeRow, ...]


def card_changes(old: Cards, new: Cards) -> tuple[CardChange, ...]:
    """Every card that differs in rates, promise, cost or deployment, by model, best tier first."""
    keys = sorted({*old, *new}, key=lambda key: (key[0], key[1].rank))
    return tuple(_change(key, old.get(key), new.get(key)) for key in keys if _differs(old.get(key), new.get(key)))


def _differs(old: RateCard | None, new: RateCard | None) -> bool:
    if old is None or new is None:
        return True
    return (old.rung, old.cost, old.deployment_id) != (new.rung, new.cost, new.deployment_id)


def _change(key: tuple[str, Tier], old: RateCard | None, new: RateCard | None) -> CardChange:
    word = "new" if old is None else "withdrawn" if new is None else ""
    rows = (*_rate_rows(old, new), *_promise_rows(old, new), *_deployment_row(old, new))
    return CardChange(*key, word, _promise(new), _promise(old), rows)


def _promise(card: RateCard | None) -> str:
    return "" if card is None else ", ".join(promise_words(card.rung.slo))


def _rate_rows(old: RateCard | None, new: RateCard | None) -> list[ChangeRow]:
    was = {} if old is None else old.rung.rates.by_class()
    now = {} if new is None else new.rung.rates.by_class()
    cost_was = {} if old is None else old.cost.by_class()
    cost = {} if new is None else new.cost.by_class()
    return [
        ChangeRow(
            label=word,
            was=_exact(was[name]) if was else "",
            now=_exact(now[name]) if now else "",
            change=change(was[name], now[name]) if was and now else "",
            cost=rate(cost[name]) if cost else "",
            margin_was=margin_percent(was[name] - cost_was[name], was[name]) if was else "",
            margin=margin_percent(now[name] - cost[name], now[name]) if now else "",
            is_below_cost=bool(now) and now[name] < cost[name],
        )
        for name, word in CLASS_WORDS.items()
    ]


def _exact(pico_per_token: int) -> str:
    return f"${format_usd_per_mtok(pico_per_token)}"  # to the last digit: what differs must look different


def _promise_rows(old: RateCard | None, new: RateCard | None) -> list[ChangeRow]:
    was, now = (None if card is None else card.rung.slo for card in (old, new))
    pairs = (
        (
            "First token within",
            was and (was.ttft_us, span_text(was.ttft_us)),
            now and (now.ttft_us, span_text(now.ttft_us)),
        ),
        (
            "Then a token every",
            was and (was.tpot_us, gap_text(was.tpot_us)),
            now and (now.tpot_us, gap_text(now.tpot_us)),
        ),
    )
    return [
        ChangeRow(
            label=label,
            was=before[1] if before else "",
            now=after[1] if after else "",
            change=change(before[0], after[0]) if before and after and after[0] else "",
        )
        for label, before, after in pairs
    ]


def _deployment_row(old: RateCard | None, new: RateCard | None) -> list[ChangeRow]:
    was, now = ("" if card is None else card.deployment_id for card in (old, new))
    return [ChangeRow("Deployment behind it", was, now)] if was != now else []
