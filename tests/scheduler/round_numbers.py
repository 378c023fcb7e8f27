"""A small market for the scheduler's tests: promises, offers and jobs with round numbers.

The standard offer takes 10 ms a token alone, 12 ms at 8 requests and 24 ms at 32, and a prompt of 1,000 tokens in
50 + 50 ms. Premium promises a first token in 500 ms and 20 ms each; with a margin of 7 % that tolerates 18.6 ms, which
is reached between 8 and 32 requests: 12 + 0.5 · (n − 8) ≤ 18.6, so n ≤ 21.
"""

from dataclasses import replace
from typing import Any

from pricing.money import Rate
from pricing.slo import Ladder, Rung, Slo, Tier
from pricing.usage import Rates
from scheduler.dispatcher import Dispatcher
from scheduler.fleet import Calibration, Fleet, Load, Offer, OfferId, SpeedCurve
from scheduler.jobs import Job, JobId
from scheduler.placement import Admit, Dispatch

MODEL = "model"
S = 1_000_000
MS = 1_000
PREMIUM_TOLERATES = 21


def rates(pico_input: int, pico_output: int) -> Rates:
    return Rates(Rate(pico_input), Rate(pico_input // 10), Rate(pico_input), Rate(pico_output))


RUNGS = {
    Tier.PREMIUM: Rung(Tier.PREMIUM, Slo(500 * MS, 20 * MS), rates(800_000, 3_200_000)),
    Tier.STANDARD: Rung(Tier.STANDARD, Slo(2 * S, 50 * MS), rates(200_000, 800_000)),
    Tier.BULK: Rung(Tier.BULK, Slo(900 * S, 0), rates(100_000, 400_000)),
}
CURVE = SpeedCurve((1, 8, 32), (10_000.0, 12_000.0, 24_000.0), 50_000.0, 20_000.0)
OFFER = Offer(
    id=OfferId("a/d"),
    provider_id="a",
    deployment_id="d",
    model=MODEL,
    speed=CURVE,
    concurrency_max=32,
    context_max=8_192,
    cost=rates(10_000, 40_000),
)


def ladder(tier: Tier = Tier.PREMIUM) -> Ladder:
    return Ladder(tuple(rung for each, rung in RUNGS.items() if each.rank >= tier.rank))


def offer(name: str = "a", **changes: Any) -> Offer:
    """The standard offer under another name, with changes to its fields."""
    return replace(OFFER, id=oid(name), provider_id=name, **changes)


def oid(name: str) -> OfferId:
    return OfferId(f"{name}/d")


def faster(times: float, curve: SpeedCurve = CURVE) -> SpeedCurve:
    return SpeedCurve(
        curve.concurrency,
        tuple(us / times for us in curve.tpot_us),
        curve.ttft_base_us / times,
        curve.prefill_tok_s * times,
    )


def fleet(*offers: Offer, loads: dict[str, Load] | None = None, **changes: Any) -> Fleet:
    """A snapshot; ``loads`` names offers by their provider."""
    by_model: dict[str, tuple[Offer, ...]] = {}
    for each in offers:
        by_model[each.model] = (*by_model.get(each.model, ()), each)
    return Fleet(by_model, {oid(name): load for name, load in (loads or {}).items()}, **changes)


def slower(**factors: float) -> dict[OfferId, Calibration]:
    """Calibrations by provider: as many times slower as measured, in first and further tokens alike."""
    return {oid(name): Calibration(factor, factor) for name, factor in factors.items()}


BASE_JOB = Job(JobId("j"), "ada", MODEL, Tier.PREMIUM, ladder(), 0, 1_000, 101, 1_000)


def job(name: str = "j", tier: Tier = Tier.PREMIUM, **changes: Any) -> Job:
    """The standard job (1,000 tokens in, 101 out) under another name, with changes to its fields."""
    return replace(BASE_JOB, id=JobId(name), tier=tier, ladder=ladder(tier), **changes)


def names(admit: object) -> list[str]:
    """The providers of an admission's candidates, best first."""
    assert isinstance(admit, Admit), admit
    return [candidate.offer.provider_id for candidate in admit.candidates]


def dispatch(dispatcher: Dispatcher, arriving: Job, snapshot: Fleet, now_us: int = 0) -> Dispatch:
    """Admits and leases a job on its best candidate."""
    admit = dispatcher.on_arrival(arriving, snapshot, now_us)
    assert isinstance(admit, Admit), admit
    return dispatcher.on_leased(arriving.id, admit.candidates[0].offer.id, {}, now_us)
