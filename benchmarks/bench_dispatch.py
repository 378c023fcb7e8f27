"""How long one placement takes: ``Dispatcher.on_arrival`` over 5, 50 and 500 offers, all of them feasible.

Run as ``python benchmarks/bench_dispatch.py``; prints JSON. The aim is a median of at most 100 µs over 50 offers.
Jobs alternate between tiers; each is leased at once, so that loads, reservations and counters move as they do in a
market. Only ``on_arrival`` is timed.
"""

import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from pricing.money import Rate
from pricing.slo import Ladder, Rung, Slo, Tier
from pricing.usage import Rates
from scheduler.dispatcher import Dispatcher
from scheduler.fleet import Calibration, Fleet, Load, Offer, OfferId, SpeedCurve
from scheduler.jobs import Job, JobId
from scheduler.placement import Admit

MODEL = "model"
RUNGS = (
    Rung(Tier.PREMIUM, Slo(800_000, 16_000), Rates(Rate(400_000), Rate(40_000), Rate(400_000), Rate(1_600_000))),
    Rung(Tier.STANDARD, Slo(3_000_000, 50_000), Rates(Rate(100_000), Rate(10_000), Rate(100_000), Rate(400_000))),
    Rung(Tier.BULK, Slo(900_000_000, 0), Rates(Rate(50_000), Rate(5_000), Rate(50_000), Rate(200_000))),
)
LADDERS = {rung.tier: Ladder(RUNGS[index:]) for index, rung in enumerate(RUNGS)}


def offers_of(count: int) -> tuple[Offer, ...]:
    """Offers that differ a little in speed and cost, and can all keep every promise."""
    return tuple(
        Offer(
            id=OfferId(f"provider-{index}/deployment"),
            provider_id=f"provider-{index}",
            deployment_id="deployment",
            model=MODEL,
            speed=SpeedCurve(
                (1, 4, 16, 64, 256),
                tuple(7_000.0 + index * 3 + 20 * n for n in (1, 4, 16, 64, 256)),
                60_000.0,
                20_000.0,
            ),
            concurrency_max=256,
            context_max=131_072,
            cost=Rates(Rate(20_000 + index), Rate(2_000), Rate(20_000), Rate(80_000 + index)),
        )
        for index in range(count)
    )


def decision_times_us(offer_count: int, decisions: int) -> list[float]:
    """Times ``decisions`` arrivals one by one, in µs, sorted."""
    offers = offers_of(offer_count)
    loads = {offer.id: Load(index % 32, 256, 100 * (index % 5)) for index, offer in enumerate(offers)}
    calibrations = {offer.id: Calibration(1.1, 1.05) for offer in offers}
    fleet = Fleet({MODEL: offers}, loads, calibrations)
    dispatcher = Dispatcher(seed=1)
    tiers = tuple(LADDERS)
    times_us: list[float] = []
    gc.disable()
    try:
        for number in range(decisions):
            now_us = number * 10_000
            tier = tiers[number % len(tiers)]
            job = Job(
                JobId(f"job-{number}"), f"customer-{number % 50}", MODEL, tier, LADDERS[tier], now_us, 800, 250, 500
            )
            began_ns = time.perf_counter_ns()
            command = dispatcher.on_arrival(job, fleet, now_us)
            times_us.append((time.perf_counter_ns() - began_ns) / 1_000)
            if isinstance(command, Admit):
                offer_id = command.candidates[0].offer.id
                dispatcher.on_leased(job.id, offer_id, {offer_id: loads[offer_id]}, now_us)
    finally:
        gc.enable()
    return sorted(times_us)


def measure(decisions: int = 3_000) -> dict[str, Any]:
    """Decision times in µs, p50 and p99, by number of offers."""
    result: dict[str, Any] = {"benchmark": "dispatch", "unit": "us", "decisions": decisions, "aim_p50_us_at_50": 100.0}
    for offer_count in (5, 50, 500):
        times_us = decision_times_us(offer_count, decisions if offer_count < 500 else max(200, decisions // 10))
        result[f"offers_{offer_count}"] = {
            "p50_us": round(times_us[len(times_us) // 2], 1),
            "p99_us": round(times_us[int(len(times_us) * 0.99)], 1),
        }
    return result


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
