"""The public list of models: OpenAI's shape, with prices and promises per tier beside it; pure.

Prices are decimal strings in USD per single token, as aggregators read them. The prices at the top are those of a
request that names no tier.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from app.catalog.sale import ModelOnSale
from pricing.money import format_usd_per_token
from pricing.pricebook import PriceBook, RateCard
from pricing.slo import US_PER_S, Slo, Tier
from pricing.usage import Rates

SERVICE_TIERS = {Tier.PREMIUM: "priority", Tier.STANDARD: "default", Tier.BULK: "flex"}
"""What a request's ``service_tier`` says for each tier."""
SUPPORTED_PARAMETERS = (
    *("max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "seed"),
    *("presence_penalty", "frequency_penalty", "stream", "stream_options", "service_tier", "user", "metadata"),
)
_US_PER_MS = 1_000

PrecisionsOf = Callable[[str, Tier], Sequence[str]]


def model_list(
    book: PriceBook, models: Iterable[ModelOnSale], served_at: PrecisionsOf = lambda _model, _tier: ()
) -> dict[str, Any]:
    """Every model that is on sale and priced by ``book``, by name; ``served_at`` says at which precisions."""
    priced = sorted((model for model in models if book.tiers(model.name)), key=lambda model: model.name)
    return {"object": "list", "data": [model_document(book, model, served_at) for model in priced]}


def model_document(
    book: PriceBook, model: ModelOnSale, served_at: PrecisionsOf = lambda _model, _tier: ()
) -> dict[str, Any]:
    """One model with what it costs and promises at each tier sold, and at which precisions it is served there now.

    Raises:
        ValueError: the book has no price for it.
    """
    cards = [book.cards[model.name, tier] for tier in book.tiers(model.name)]
    if not cards:
        raise ValueError(f"price book {book.id} has no price for {model.name}")
    default = next((card for card in cards if card.rung.tier is Tier.STANDARD), cards[0])
    return {
        "id": model.name,
        "object": "model",
        "created": model.created_at_us // US_PER_S,
        "owned_by": model.owned_by,
        "name": model.title,
        "description": model.description,
        "context_length": model.context_max,
        "pricing": _pricing(default.rung.rates),
        "tiers": [_tier(card, served_at(model.name, card.rung.tier)) for card in cards],
        "price_book_id": book.id,
        "supported_parameters": list(SUPPORTED_PARAMETERS),
    }


def _tier(card: RateCard, precisions: Sequence[str]) -> dict[str, Any]:
    return {
        "tier": card.rung.tier.value,
        "service_tier": SERVICE_TIERS[card.rung.tier],
        "pricing": _pricing(card.rung.rates),
        "slo": _promise(card.rung.slo),
        "precisions": list(precisions),
    }


def _pricing(rates: Rates) -> dict[str, str]:
    return {
        "prompt": format_usd_per_token(rates.input),
        "completion": format_usd_per_token(rates.output),
        "request": "0",
        "input_cache_read": format_usd_per_token(rates.cached),
        "input_cache_write": format_usd_per_token(rates.cache_write),
    }


def _promise(slo: Slo) -> dict[str, float | None]:
    speed = slo.tok_s_user
    return {
        "ttft_ms": slo.ttft_us / _US_PER_MS,
        "tpot_ms": slo.tpot_us / _US_PER_MS,
        "tok_s_user": None if speed is None else round(speed, 2),
    }
