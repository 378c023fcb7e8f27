"""What metering a token costs: recording it, grading it, rating it, packing its timeline."""

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from app.metering import timeline_codec
from app.metering.delivery import Delivery
from pricing.goodput import grade
from pricing.money import usd_per_mtok
from pricing.rating import rate
from pricing.slo import Ladder, Rung, Slo, Tier
from pricing.usage import Rates, Usage

TOKENS = 1_000
ROUNDS = 7
PACE_NS = 7_300_000
JITTER_NS = 1_000_000
ARRIVALS_NS = [
    200_000_000 + index * PACE_NS + int(jitter)
    for index, jitter in enumerate(np.random.default_rng(1).integers(0, JITTER_NS, TOKENS))
]
LADDER = Ladder(
    (
        Rung(Tier.PREMIUM, Slo(500_000, 8_000), Rates(*map(usd_per_mtok, ("2", "0.2", "2", "8")))),
        Rung(Tier.STANDARD, Slo(2_000_000, 20_000), Rates(*map(usd_per_mtok, ("1", "0.1", "1", "4")))),
        Rung(Tier.BULK, Slo(900_000_000, 0), Rates(*map(usd_per_mtok, ("0.5", "0.05", "0.5", "2")))),
    )
)


def delivered() -> Delivery:
    """An answer of :data:`TOKENS` tokens, one chunk each."""
    delivery = Delivery(is_streamed=True)
    for at_ns in ARRIVALS_NS:
        delivery.record(at_ns, 4)
    return delivery


def measure() -> dict[str, Any]:
    """µs of CPU per token, the least of several rounds, for an answer of a thousand tokens."""
    delivery = delivered()
    timeline = delivery.timeline(TOKENS)
    graded = grade(timeline, LADDER)
    usage = Usage(input=100, output=TOKENS)
    packed = timeline_codec.encode(timeline)
    cases: dict[str, Callable[[], object]] = {
        "record": delivered,
        "timeline": lambda: delivery.timeline(TOKENS),
        "grade": lambda: grade(timeline, LADDER),
        "rate": lambda: rate(LADDER, usage, graded),
        "pack": lambda: timeline_codec.encode(timeline),
        "unpack": lambda: timeline_codec.decode(packed),
    }
    cpu_us = {name: round(_least_us(work) / TOKENS, 4) for name, work in cases.items()}
    cpu_us["all_but_unpack"] = round(sum(cost for name, cost in cpu_us.items() if name != "unpack"), 4)
    return {"tokens": TOKENS, "cpu_us_per_token": cpu_us, "packed_bytes_per_token": round(len(packed) / TOKENS, 2)}


def _least_us(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        before_ns = time.process_time_ns()
        for _ in range(10):
            work()
        best = min(best, (time.process_time_ns() - before_ns) / 10)
    return best / 1e3


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
