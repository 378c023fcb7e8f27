"""Small price books for tests."""

from datetime import UTC, datetime

from app.audit.service import Actor
from pricing.money import Rate, usd_per_mtok
from pricing.pricebook import PriceBook, RateCard, price_book
from pricing.slo import Rung, Slo, Tier
from pricing.usage import Rates

T0 = datetime(2026, 11, 24, 12, 0, 0, 250_000, tzinfo=UTC)
T0_US = 1_795_521_600_250_000
ACTOR = Actor("operator", "op_1", "ada@example.com")
PROMISES = {
    Tier.PREMIUM: Slo(400_000, 5_000),
    Tier.STANDARD: Slo(1_500_000, 20_000),
    Tier.BULK: Slo(900_000_000, 0),
}


def rates(input_usd: str, output_usd: str) -> Rates:
    """Rates in USD per million tokens; cached at a tenth of input."""
    fresh = usd_per_mtok(input_usd)
    return Rates(fresh, Rate(fresh // 10), fresh, usd_per_mtok(output_usd))


PRICES = {Tier.PREMIUM: rates("0.50", "2.00"), Tier.STANDARD: rates("0.20", "0.80"), Tier.BULK: rates("0.10", "0.40")}


def card(tier: Tier, model: str = "open/one", price: Rates | None = None) -> RateCard:
    return RateCard(
        model=model,
        rung=Rung(tier, PROMISES[tier], price or PRICES[tier]),
        deployment_id="b200-trtllm-fp4-agg-tp2ep1",
        interactivity_tok_s_user=152.4,
        cost=rates("0.01", "0.05"),
        concurrency_max=64,
        explanation="measured",
    )


def book(effective_at: datetime = T0, *cards: RateCard) -> PriceBook:
    """A book of one model at three tiers, unless told otherwise."""
    return price_book(effective_at, cards or [card(tier) for tier in Tier])
