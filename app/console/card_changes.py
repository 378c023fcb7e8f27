"""What differs between two books, card by card, as a page shows it; pure."""

from dataclasses import dataclass

from app.catalog.draft import Cards
from app.console.books import CLASS_WORDS, promise_words
from app.console.card_fields import gap_text, span_text
from app.console.shapes import change, margin_percent, rate
from pricing.book_diff import CardDiff, ChangeKind, PromiseChange, RateChange, book_diff
from pricing.money import format_usd_per_mtok
from pricing.slo import Slo, Tier


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
    return tuple(map(_change, book_diff(old, new).cards))


_WORDS = {ChangeKind.ADDED: "new", ChangeKind.REMOVED: "withdrawn", ChangeKind.CHANGED: ""}


def _change(card: CardDiff) -> CardChange:
    rows = (*map(_rate_row, card.rates), *_promise_rows(card.promise), *_deployment_row(card))
    return CardChange(
        card.model, card.tier, _WORDS[card.kind], _promise(card.promise.new), _promise(card.promise.old), rows
    )


def _promise(slo: Slo | None) -> str:
    return "" if slo is None else ", ".join(promise_words(slo))


def _rate_row(each: RateChange) -> ChangeRow:
    old, new = each.old, each.new
    return ChangeRow(
        label=CLASS_WORDS[each.token_class],
        was="" if old is None else _exact(old),
        now="" if new is None else _exact(new),
        change="" if old is None or new is None else change(old, new),
        cost="" if each.cost_new is None else rate(each.cost_new),
        margin_was="" if old is None or each.cost_old is None else margin_percent(old - each.cost_old, old),
        margin="" if new is None or each.cost_new is None else margin_percent(new - each.cost_new, new),
        is_below_cost=each.is_below_cost,
    )


def _exact(pico_per_token: int) -> str:
    return f"${format_usd_per_mtok(pico_per_token)}"  # to the last digit: what differs must look different


def _promise_rows(promise: PromiseChange) -> list[ChangeRow]:
    was, now = promise.old, promise.new
    return [
        ChangeRow(
            label="First token within",
            was="" if was is None else span_text(was.ttft_us),
            now="" if now is None else span_text(now.ttft_us),
            change="" if was is None or now is None else change(was.ttft_us, now.ttft_us),
        ),
        ChangeRow(
            label="Then a token every",
            was="" if was is None else gap_text(was.tpot_us),
            now="" if now is None else gap_text(now.tpot_us),
            change="" if was is None or now is None or now.is_window else change(was.tpot_us, now.tpot_us),
        ),
    ]


def _deployment_row(card: CardDiff) -> list[ChangeRow]:
    was, now = card.deployment_old, card.deployment_new
    return [ChangeRow("Deployment behind it", was, now)] if was != now else []
