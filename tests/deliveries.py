"""A price book and deliveries under it, for tests of receipts and of reconciliation."""

from datetime import UTC, datetime
from typing import Any

from app.ledger.holds import PreparedRow
from app.metering import timeline_codec
from app.metering.models import UsageEvent
from pricing.goodput import Timeline, grade
from pricing.money import Rate
from pricing.pricebook import PriceBook, RateCard, price_book
from pricing.rating import Charge, Ending, quote, rate
from pricing.slo import Rung, Slo, Tier
from pricing.usage import Rates, Usage
from tests.ledger_world import MODEL, T0, usage_row

PROMISES = {Tier.PREMIUM: Slo(100_000, 10_000), Tier.STANDARD: Slo(400_000, 40_000), Tier.BULK: Slo(900_000_000, 0)}
RATES = {
    Tier.PREMIUM: Rates(Rate(500_001), Rate(50_003), Rate(625_007), Rate(2_000_011)),
    Tier.STANDARD: Rates(Rate(200_001), Rate(20_003), Rate(250_007), Rate(800_011)),
    Tier.BULK: Rates(Rate(100_001), Rate(10_003), Rate(125_007), Rate(400_011)),
}


def card(model: str, tier: Tier) -> RateCard:
    """A rate card whose rates never come out even in nano-USD; any model but the first costs a little more."""
    extra = 0 if model == MODEL else 1_000_000
    rates = Rates(*(Rate(rate + extra) for rate in RATES[tier].by_class().values()))
    cost = Rates(Rate(10_000), Rate(1_000), Rate(10_000), Rate(40_000))
    return RateCard(model, Rung(tier, PROMISES[tier], rates), "dep-1", 66.5, cost, 32, f"{tier} of {model}")


def book(*models: str) -> PriceBook:
    """All three tiers of each model."""
    cards = [card(model, tier) for model in models or (MODEL, "tiny-tuned") for tier in Tier]
    return price_book(datetime(2026, 11, 24, tzinfo=UTC), cards)


def charged(
    timeline: Timeline, usage: Usage, *, tier: Tier = Tier.PREMIUM, ending: Ending = Ending.STOP, at: PriceBook | None
) -> Charge:
    """What a delivery costs under a book."""
    ladder = (at or book()).ladder(MODEL, tier)
    assert ladder is not None
    return rate(ladder, usage, grade(timeline, ladder), ending)


def delivery_row(
    timeline: Timeline,
    usage: Usage,
    *,
    tier: Tier = Tier.PREMIUM,
    ending: Ending = Ending.STOP,
    at: PriceBook | None = None,
    **changes: Any,
) -> PreparedRow:
    """A usage event as the gateway would write it for this delivery."""
    at = at or book()
    ladder = at.ladder(MODEL, tier)
    assert ladder is not None
    graded = grade(timeline, ladder)
    charge = rate(ladder, usage, graded, ending)
    ceiling = quote(ladder, usage.input_total, max(1, usage.output)).ceiling
    values: dict[str, Any] = {
        "tier_asked": tier.value,
        "tier_served": tier.value,
        "price_book_id": at.id,
        "ending": ending.value,
        "is_streamed": timeline.streamed,
        "first_token_at_us": T0 + timeline.at_us[0] if timeline.at_us else None,
        "tokens_input": usage.input,
        "tokens_cached": usage.cached,
        "tokens_cache_write": usage.cache_write,
        "tokens_output": usage.output,
        "tokens_good": graded.tokens_good,
        "is_attained": graded.attained and ending.is_billable,
        "timeline": timeline_codec.encode(timeline),
        "lines": [
            {
                "tier": line.tier.value,
                "input": line.input.input,
                "cached": line.input.cached,
                "cache_write": line.input.cache_write,
                "output": line.tokens_output,
                "amount": line.amount,
            }
            for line in charge.lines
        ],
        "gross": charge.gross,
        "adjustment": charge.adjustment,
        "net": charge.net,
        "cost": 20,
        "quote_ceiling": ceiling,
        "held": ceiling,
    }
    request_id = changes.pop("request_id", "gen-1")
    return usage_row(request_id, **{**values, **changes})


def delivery_event(timeline: Timeline, usage: Usage, **changes: Any) -> UsageEvent:
    """The same as a row read back."""
    return UsageEvent(**delivery_row(timeline, usage, **changes).values)
