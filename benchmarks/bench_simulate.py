"""Simulated requests per CPU-second, and where the time goes: the production cores on virtual time.

Run as ``python -m benchmarks.bench_simulate``; prints JSON. Each case is a fleet of equal replicas under a demand that
keeps them busy without refusing anyone; lengths resemble conversations. The figure is process time without
instruments; the shares come from a second run with a clock around each stage, so they include what it costs to ask it.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from unittest import mock

from app.simulation import engine as simulation
from app.simulation.engine import Run, Simulator
from app.simulation.market import Market, Supply
from app.simulation.plant import Plant
from app.simulation.tally import Tally
from app.simulation.workload import Workload
from pricing.money import NanoUsd, Rate
from pricing.pricebook import RateCard, price_book
from pricing.slo import Rung, Slo, Tier
from pricing.usage import Rates
from providers.engine_model.batch import ContinuousBatch
from providers.engine_model.spec import BatchSpec
from scheduler.dispatcher import Dispatcher
from scheduler.fleet import Offer, OfferId, SpeedCurve

REPLICAS = (1, 3, 10)
RPS_EACH = 8.0
REQUESTS = 12_000
LOADS = (4, 8, 16, 32, 64)
TPOT_US = (4_000.0, 4_700.0, 5_800.0, 7_500.0, 9_700.0)
PROMISES = {Tier.PREMIUM: Slo(2_000_000, 25_000), Tier.STANDARD: Slo(4_000_000, 50_000), Tier.BULK: Slo(900_000_000, 0)}
PER_MTOK = {Tier.PREMIUM: (120_000, 1_200_000), Tier.STANDARD: (40_000, 240_000), Tier.BULK: (20_000, 100_000)}
MODEL = "model"


def measure(requests: int = REQUESTS) -> dict[str, Any]:
    """Requests per CPU-second by number of replicas, and each stage's share at the middle one."""
    found: dict[str, Any] = {}
    for replicas in REPLICAS:
        spent_s, run = _timed(replicas, requests)
        tally = run.tally
        found[f"replicas_{replicas}"] = {
            "requests_per_cpu_s": round(tally.offered.total() / spent_s),
            "cpu_us_per_request": round(spent_s / tally.offered.total() * 1e6, 1),
            "finished": tally.finished,
            "refused": tally.refused.total(),
            "output_tokens": sum(sales.tokens_output for sales in tally.by_tier.values()),
        }
    found["shares"] = _shares(REPLICAS[1], requests)
    return found


def _timed(replicas: int, requests: int) -> tuple[float, Run]:
    simulator = _simulator(replicas)
    start_s = time.process_time()
    run = simulator.run(round(requests / (RPS_EACH * replicas) * 1e9))
    return time.process_time() - start_s, run


def _simulator(replicas: int) -> Simulator:
    supplies = tuple(_supply(number) for number in range(replicas))
    cards = [
        RateCard(MODEL, Rung(tier, slo, _rates(*PER_MTOK[tier])), "d", 100.0, _rates(10_000, 60_000), 64)
        for tier, slo in PROMISES.items()
    ]
    market = Market(price_book(datetime(2026, 1, 1, tzinfo=UTC), cards), supplies, "benchmark")
    return Simulator(market, Workload(rps=RPS_EACH * replicas), seed=1)


def _supply(number: int) -> Supply:
    offer = Offer(
        id=OfferId(f"p{number}/d"),
        provider_id=f"p{number}",
        deployment_id="d",
        model=MODEL,
        speed=SpeedCurve(LOADS, TPOT_US, ttft_base_us=15_000.0, prefill_tok_s=50_000.0),
        concurrency_max=64,
        context_max=131_072,
        cost=_rates(10_000 + number, 60_000),
    )
    spec = BatchSpec(
        base_ps=tuple((load, round(us * 1e6)) for load, us in zip(LOADS, TPOT_US, strict=True)),
        kv_ps=100,
        prefill_ps=20_000_000,
        chunk_tokens=8_192,
        max_seqs=64,
        entry_ns=15_000_000,
    )
    return Supply(offer, spec, NanoUsd(5_000_000_000))


def _rates(input_rate: int, output_rate: int) -> Rates:
    return Rates(Rate(input_rate), Rate(input_rate // 10), Rate(input_rate), Rate(output_rate))


STAGES: tuple[tuple[str, Any, str], ...] = (
    ("decision", Dispatcher, "on_arrival"),
    ("decision", Dispatcher, "on_leased"),
    ("decision", Dispatcher, "on_denied"),
    ("decision", Dispatcher, "on_released"),
    ("decision", Dispatcher, "on_tick"),
    ("lease", Plant, "lease"),
    ("lease", Plant, "first_token"),
    ("lease", Plant, "release"),
    ("snapshot", Plant, "see"),
    ("calibration", Plant, "learn_ttft"),
    ("calibration", Plant, "learn_tpot"),
    ("token times", ContinuousBatch, "submit"),
    ("token times", ContinuousBatch, "advance"),
    ("token times", ContinuousBatch, "next_event"),
    ("quote", simulation, "quote"),
    ("grade", simulation, "grade_tokens"),
    ("rate", simulation, "rate"),
    ("settlement", simulation, "draft_settlement"),
    ("tally", Tally, "settle"),
)


def _shares(replicas: int, requests: int) -> dict[str, float]:
    """Each stage's share of a run's time; what is left is demand, the heap and the driver itself."""
    spent_ns: Counter[str] = Counter()
    simulator = _simulator(replicas)
    with _instruments(spent_ns):
        start_ns = time.perf_counter_ns()
        simulator.run(round(requests / (RPS_EACH * replicas) * 1e9))
        total_ns = time.perf_counter_ns() - start_ns
    shares = {stage: round(ns / total_ns, 3) for stage, ns in spent_ns.most_common()}
    return shares | {"demand and driver": round(1 - sum(spent_ns.values()) / total_ns, 3)}


@contextmanager
def _instruments(spent_ns: Counter[str]) -> Generator[None]:
    patches = [mock.patch.object(owner, name, _clocked(stage, owner, name, spent_ns)) for stage, owner, name in STAGES]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


def _clocked(stage: str, owner: Any, name: str, spent_ns: Counter[str]) -> Callable[..., Any]:
    inner: Callable[..., Any] = getattr(owner, name)

    def timed(*args: Any, **named: Any) -> Any:
        start_ns = time.perf_counter_ns()
        result = inner(*args, **named)
        spent_ns[stage] += time.perf_counter_ns() - start_ns
        return result

    return timed


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
