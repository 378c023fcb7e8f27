"""Observed over predicted at the load that each answer met: simulated answers give back their factor."""

from dataclasses import replace

import numpy as np
import pytest

from app.planning.observed import OUTPUT_TOKENS_MIN, Passage, Sample, samples, summary
from scheduler.fleet import SpeedCurve
from scheduler.forecast import tpot_us_experienced

CURVE = SpeedCurve((1, 4, 16), (10_000.0, 14_000.0, 40_000.0), 50_000.0, 10_000.0)
TICK_US = 10_000


def simulated(arrivals: list[tuple[int, int, int]], tpot_factor: float, ttft_factor: float) -> list[Passage]:
    """Answers on one offer, by small steps of time: an oracle that knows nothing of integrals.

    Args:
        arrivals: when (µs), prompt tokens and output tokens of each.
        tpot_factor: every token takes so many times what the curve says.
        ttft_factor: and so does the first one, behind the prompts that wait.
    """
    free_us, first_us = 0.0, list[float]()
    for placed_us, prompt, _ in arrivals:
        free_us = max(free_us, placed_us) + prompt * 100  # 10,000 prompt tokens a second
        first_us.append(placed_us + ttft_factor * (50_000 + free_us - placed_us))
    left = [float(output - 1) for *_, output in arrivals]
    finished: dict[int, int] = {}
    now_us = 0
    while len(finished) < len(arrivals):
        inside = [n for n, (placed_us, *_) in enumerate(arrivals) if placed_us <= now_us and n not in finished]
        for n in inside:
            if first_us[n] <= now_us:
                left[n] -= TICK_US / (tpot_factor * tpot_us_experienced(CURVE, len(inside)))
                if left[n] <= 0:
                    finished[n] = now_us + TICK_US
        now_us += TICK_US
    return [
        Passage(f"cus_{n % 5}", placed_us, round(first_us[n]), finished[n], prompt, output)
        for n, (placed_us, prompt, output) in enumerate(arrivals)
    ]


def arrivals(count: int, seed: int) -> list[tuple[int, int, int]]:
    draw = np.random.default_rng(seed)
    moments = sorted(draw.integers(0, 40_000_000, count).tolist())
    prompts, outputs = draw.integers(100, 2_000, count).tolist(), draw.integers(100, 400, count).tolist()
    return list(zip(moments, prompts, outputs, strict=True))


@pytest.mark.parametrize(("tpot_factor", "ttft_factor"), [(1.0, 1.0), (1.4, 1.0), (0.8, 2.0)])
def test_answers_give_back_the_factors_they_were_made_with(tpot_factor: float, ttft_factor: float) -> None:
    found = summary(samples(simulated(arrivals(60, 7), tpot_factor, ttft_factor), CURVE), tokens_min=1)
    assert found.requests == 60
    assert found.tpot == pytest.approx(tpot_factor, rel=0.02)
    assert found.ttft == pytest.approx(ttft_factor, rel=0.02)


def test_company_is_not_taken_for_slowness() -> None:
    """Ten at once are 2.7 times as slow as one alone; the curve knows that."""
    crowd = simulated([(n, 100, 200) for n in range(10)], 1.0, 1.0)
    alone = (crowd[0].finished_at_us - (crowd[0].first_token_at_us or 0)) / 199
    assert alone > 25_000
    assert summary(samples(crowd, CURVE), tokens_min=1).tpot == pytest.approx(1.0, rel=0.02)


def test_answers_that_show_no_pace_are_load_and_nothing_more() -> None:
    one = Passage("cus_a", 0, 60_000, 60_000 + 10_000 * 199, 100, 200)
    unjudged = [
        replace(one, is_judged=False),
        replace(one, first_token_at_us=None),
        replace(one, output_tokens=OUTPUT_TOKENS_MIN - 1),
        replace(one, finished_at_us=60_000),
        replace(one, finished_at_us=10),
        replace(one, first_token_at_us=0),
    ]
    for each in unjudged:
        assert samples([each], CURVE) == []
    assert len(samples([one, *unjudged], CURVE)) == 1
    assert samples([], CURVE) == []
    assert summary([], 1).tpot is None


def test_a_load_beyond_what_was_measured_is_judged_by_the_slowest_speed_measured() -> None:
    crowd = [Passage("cus_a", 0, 1_000_000, 1_000_000 + 40_000 * 99, 10, 100) for _ in range(40)]
    found = summary(samples(crowd, CURVE), 1)
    assert found.tpot == pytest.approx(1.0, rel=0.001)


def test_one_giant_customer_does_not_decide_alone() -> None:
    giant = [Sample("giant", 9.0, 9.0, 1_000)] * 90
    others = [Sample(f"cus_{n}", 1.0, 1.0, 1_000) for n in range(10)]
    found = summary([*giant, *others], tokens_min=5_000)
    assert (found.ttft, found.tpot) == (1.0, 1.0)
    alone = summary([*giant, *others[:1]], tokens_min=5_000)  # the others say too little to hold it back
    assert alone.tpot == 9.0
