import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scheduler.fleet import SpeedCurve, SpeedCurveError
from scheduler.forecast import in_flight_max, tpot_us, tpot_us_experienced, ttft_us
from tests.scheduler.round_numbers import CURVE


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (((), (), 0.0, 1.0), "at least one load"),
        (((1, 2), (1.0,), 0.0, 1.0), "2 loads and 1 times"),
        (((0, 2), (1.0, 2.0), 0.0, 1.0), "start at or above 1"),
        (((2, 2), (1.0, 2.0), 0.0, 1.0), "rise"),
        (((1, 2), (2.0, 1.0), 0.0, 1.0), "never fall"),
        (((1,), (0.0,), 0.0, 1.0), "above 0"),
        (((1,), (math.nan,), 0.0, 1.0), "above 0"),
        (((1,), (math.inf,), 0.0, 1.0), "finite"),
        (((1,), (1.0,), -1.0, 1.0), "ttft_base_us >= 0"),
        (((1,), (1.0,), math.nan, 1.0), "ttft_base_us >= 0"),
        (((1,), (1.0,), 0.0, 0.0), "prefill_tok_s > 0"),
    ],
)
def test_a_curve_that_no_deployment_can_have_is_refused_with_its_numbers(fields: Any, said: str) -> None:
    with pytest.raises(SpeedCurveError, match=said):
        SpeedCurve(*fields)


def test_between_the_loads_measured_the_time_per_token_is_linear() -> None:
    assert tpot_us(CURVE, 1) == 10_000
    assert tpot_us(CURVE, 8) == 12_000
    assert tpot_us(CURVE, 20) == 18_000  # halfway from 8 to 32
    assert tpot_us(CURVE, 32) == 24_000


def test_below_the_smallest_load_measured_an_offer_is_never_faster_than_measured() -> None:
    measured_from_4 = SpeedCurve((4, 8), (11_000.0, 12_000.0), 0.0, 1.0)
    assert [tpot_us(measured_from_4, n) for n in (1, 2, 3, 4)] == [11_000] * 4


def test_beyond_the_largest_load_measured_there_is_no_forecast() -> None:
    assert tpot_us(CURVE, 33) == math.inf
    assert CURVE.concurrency_measured == 32


def test_what_already_runs_beyond_the_measured_range_is_taken_at_its_slowest_measured_speed() -> None:
    assert tpot_us_experienced(CURVE, 500) == 24_000
    assert tpot_us_experienced(CURVE, 0) == 10_000


@pytest.mark.parametrize(
    ("limit_us", "load"),
    [
        (9_999.9, 0),
        (10_000.0, 1),
        (12_000.0, 8),
        (12_499.0, 8),
        (12_500.0, 9),
        (18_600.0, 21),
        (24_000.0, 32),
        (1e12, 32),
    ],
)
def test_the_largest_load_within_a_time_limit(limit_us: float, load: int) -> None:
    assert in_flight_max(CURVE, limit_us) == load


def test_on_a_flat_stretch_the_largest_load_is_at_its_far_end() -> None:
    flat = SpeedCurve((1, 4, 16), (10.0, 10.0, 20.0), 0.0, 1.0)
    assert in_flight_max(flat, 10.0) == 4


def test_a_first_token_waits_for_the_prompts_before_it() -> None:
    # 50 ms + (3,000 + 1,000) tokens at 20,000 tokens/s
    assert ttft_us(CURVE, prefill_tokens=3_000, input_tokens=1_000) == 250_000


@given(
    points=st.dictionaries(st.integers(1, 300), st.floats(1.0, 1e5), min_size=1, max_size=6),
    limit_us=st.floats(0.5, 2e5),
    exact=st.integers(1, 300),
)
def test_the_largest_load_within_a_limit_is_within_it_and_the_next_is_not(
    points: dict[int, float], limit_us: float, exact: int
) -> None:
    times_us = sorted(points.values())  # within a rounding error of each other, two loads take the same time
    assume(all(low == high or high - low > 1e-6 * high for low, high in pairwise(times_us)))
    curve = SpeedCurve(tuple(sorted(points)), tuple(times_us), 0.0, 1.0)
    for limit in (limit_us, tpot_us(curve, min(exact, curve.concurrency_measured))):
        load = in_flight_max(curve, limit)
        assert load == 0 or tpot_us(curve, load) <= limit
        assert tpot_us(curve, load + 1) > limit


def test_rounding_costs_no_load() -> None:
    # the division says 11.999…: the load at exactly this time is 12
    curve = SpeedCurve((1, 30), (0.1, 0.3), 0.0, 1.0)
    missed = [n for n in range(1, 31) if in_flight_max(curve, tpot_us(curve, n)) != n]
    assert missed == []
