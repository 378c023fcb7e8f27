import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.fleet.experience import READING_US, READINGS_MAX, LoadHistory
from scheduler.fleet import SpeedCurve

CURVE = SpeedCurve((1, 2, 4), (10_000.0, 20_000.0, 40_000.0), 0.0, 1.0)
S = 1_000_000


def test_alone_the_curve_predicts_its_first_speed() -> None:
    history = LoadHistory(CURVE, 1, 0)
    assert history.tpot_us_since(0, 5 * S) == pytest.approx(10_000.0)


def test_a_span_over_a_change_of_load_is_weighed_by_the_tokens_of_each_part() -> None:
    history = LoadHistory(CURVE, 1, 0)
    history.note(2, 2 * S)  # 2 s alone: 200 tokens, then 2 s in company: 100
    assert history.tpot_us_since(0, 4 * S) == pytest.approx(4 * S / 300)
    assert history.tpot_us_since(2 * S, 4 * S) == pytest.approx(20_000.0)


def test_the_past_is_read_between_readings_by_proportion() -> None:
    history = LoadHistory(CURVE, 1, 0)
    history.note(1, 1 * S)
    history.note(4, 2 * S)
    history.note(1, 3 * S)
    history.note(1, 4 * S)
    assert history.tpot_us_since(round(0.5 * S), 4 * S) == pytest.approx(3.5 * S / (150 + 25 + 100))
    assert history.tpot_us_since(round(3.7 * S), 4 * S) == pytest.approx(10_000.0)
    assert history.tpot_us_since(round(2.5 * S), 4 * S) == pytest.approx(1.5 * S / (12.5 + 100))


def test_what_began_before_the_oldest_reading_is_judged_since_then() -> None:
    history = LoadHistory(CURVE, 1, 10 * S)
    assert history.tpot_us_since(0, 12 * S) == pytest.approx(10_000.0)


def test_no_time_gives_no_prediction() -> None:
    history = LoadHistory(CURVE, 1, 0)
    assert history.tpot_us_since(0, 0) is None
    assert history.tpot_us_since(5 * S, 5 * S) is None
    assert history.tpot_us_since(9 * S, 5 * S) is None


def test_the_past_is_bounded() -> None:
    history = LoadHistory(CURVE, 1, 0)
    for n in range(READINGS_MAX + 500):
        history.note(1 + n % 2, n * READING_US)
    now_us = (READINGS_MAX + 500) * READING_US
    assert history.tpot_us_since(0, now_us) == pytest.approx(13_333.3, rel=0.01)  # 0.5 s for 25 + 12.5 tokens


@given(
    steps=st.lists(st.tuples(st.integers(0, 6), st.integers(1, 3 * S)), min_size=1, max_size=30),
    part=st.floats(0, 1),
)
def test_a_prediction_lies_between_the_fastest_and_the_slowest_load_met(
    steps: list[tuple[int, int]], part: float
) -> None:
    history, now_us = LoadHistory(CURVE, 1, 0), 0
    for in_flight, span_us in steps:
        now_us += span_us
        history.note(in_flight, now_us)
    now_us += S
    predicted = history.tpot_us_since(round(part * now_us), now_us)
    assert predicted is None or 10_000.0 * 0.999 <= predicted <= 40_000.0 * 1.001
