"""A market small enough to compute by hand: one model, steps of whole milliseconds, round rates."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from app.simulation.market import Market, Supply
from app.simulation.workload import Workload
from pricing.money import NanoUsd, Rate
from pricing.pricebook import PriceBook, RateCard, price_book
from pricing.slo import Rung, Slo, Tier
from pricing.usage import Rates
from providers.engine_model.spec import BatchSpec, EngineSpec
from scheduler.fleet import Offer, OfferId, SpeedCurve

MODEL = "m"
MS = 1_000_000_000  # ps
HOUR_NS = 3_600_000_000_000
PROMISES = {Tier.PREMIUM: Slo(200_000, 12_000), Tier.STANDARD: Slo(500_000, 25_000), Tier.BULK: Slo(900_000_000, 0)}
RATES = {Tier.PREMIUM: (2_000_000, 8_000_000), Tier.STANDARD: (1_000_000, 4_000_000), Tier.BULK: (500_000, 2_000_000)}


def rates(input_rate: int, output_rate: int) -> Rates:
    return Rates(Rate(input_rate), Rate(input_rate // 10), Rate(input_rate), Rate(output_rate))


def card(tier: Tier) -> RateCard:
    return RateCard(
        model=MODEL,
        rung=Rung(tier, PROMISES[tier], rates(*RATES[tier])),
        deployment_id="d",
        interactivity_tok_s_user=100.0,
        cost=rates(100_000, 400_000),
        concurrency_max=8,
    )


def book(*tiers: Tier) -> PriceBook:
    return price_book(datetime(2026, 1, 1, tzinfo=UTC), [card(tier) for tier in tiers or tuple(Tier)])


def offer(**changes: Any) -> Offer:
    """10 ms a token at any load up to 16, prompts at 100,000 tokens/s, owned."""
    plain = Offer(
        id=OfferId("p/d"),
        provider_id="p",
        deployment_id="d",
        model=MODEL,
        speed=SpeedCurve((1, 16), (10_000.0, 10_000.0), ttft_base_us=10_000.0, prefill_tok_s=100_000.0),
        concurrency_max=16,
        context_max=100_000,
        cost=rates(100_000, 400_000),
    )
    return replace(plain, **changes)


def steps(step_ms: float = 10.0, **changes: Any) -> BatchSpec:
    """An engine whose step takes so long whatever the batch, and 10 µs a prompt token."""
    fields: dict[str, Any] = {"kv_ps": 0, "prefill_ps": 10_000_000, "chunk_tokens": 200_000, "max_seqs": 64}
    return BatchSpec(base_ps=((1, round(step_ms * MS)),), **(fields | changes))


def supply(engine: EngineSpec | None = None, per_hour: int = 3_600_000_000, **changes: Any) -> Supply:
    return Supply(offer(**changes), engine or steps(), NanoUsd(per_hour))


def market(*supplies: Supply, tiers: tuple[Tier, ...] = tuple(Tier)) -> Market:
    return Market(book(*tiers), supplies or (supply(),), "the small market")


def workload(rps: float = 5.0, tiers: Mapping[Tier, float] | None = None, **changes: Any) -> Workload:
    """Every prompt has 100 tokens and 400 bytes, every answer 50 tokens, all streamed."""
    fields: dict[str, Any] = {"trace": ((100, 50),), "bytes_sigma": 0.0, "streamed_share": 1.0, "customers": 3}
    return Workload(rps=rps, tiers=tiers or {Tier.PREMIUM: 1.0}, **(fields | changes))
