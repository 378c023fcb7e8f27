"""A price book as cards: what each tier of each model promises, charges, costs and leaves; pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from app.console.shapes import duration, margin_percent, speed
from pricing.pricebook import PriceBook, RateCard
from pricing.slo import Slo
from pricing.usage import TokenClass

CLASS_WORDS = {
    TokenClass.INPUT: "Input",
    TokenClass.CACHED: "Cached",
    TokenClass.CACHE_WRITE: "Cache write",
    TokenClass.OUTPUT: "Output",
}


@dataclass(frozen=True, slots=True)
class RateRow:
    """One token class of a card; rates and costs in pico-USD per token."""

    name: str
    rate: int
    cost: int
    margin: str


@dataclass(frozen=True, slots=True)
class Card:
    """One tier of a model."""

    card: RateCard
    promise: str
    detail: str
    rows: tuple[RateRow, ...]


def book_cards(book: PriceBook, models: Iterable[str]) -> tuple[tuple[str, tuple[Card, ...]], ...]:
    """Some models, each with its cards, best tier first."""
    return tuple((model, tuple(_card(book.cards[model, tier]) for tier in book.tiers(model))) for model in models)


def _card(card: RateCard) -> Card:
    promise, detail = promise_words(card.rung.slo)
    costs = card.cost.by_class()
    rows = tuple(
        RateRow(CLASS_WORDS[name], rate, costs[name], margin_percent(rate - costs[name], rate))
        for name, rate in card.rung.rates.by_class().items()
    )
    return Card(card, promise, detail, rows)


def promise_words(slo: Slo) -> tuple[str, str]:
    """A promise in a headline and a line below it.

    >>> promise_words(Slo(500_000, 10_000))
    ('100 tok/s/user', 'first token within 500 ms, then one every 10 ms')
    >>> promise_words(Slo(900_000_000, 0))
    ('Whole answer in 15 min', 'every token within one window')
    """
    if slo.is_window:
        return f"Whole answer in {duration(slo.ttft_us)}", "every token within one window"
    detail = f"first token within {duration(slo.ttft_us)}, then one every {duration(slo.tpot_us)}"
    return f"{speed(slo.tpot_us)} tok/s/user", detail
