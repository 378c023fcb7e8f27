import math

import pytest

from pricing.slo import Tier
from scheduler.policy import DEFAULT_POLICY
from scheduler.scorers import Stake, chance, middle_token, revenue_pico, slot_pico, stakes
from tests.scheduler.round_numbers import MS, S, ladder

SURE = Stake(1e12, 1e12, 0, 0)


def test_a_forecast_that_equals_the_deadline_is_met_half_the_time() -> None:
    assert chance(100.0, 100.0, DEFAULT_POLICY.ttft_shape) == 0.5


@pytest.mark.parametrize(
    ("p99_over_p50", "shape"), [(3.1, DEFAULT_POLICY.ttft_shape), (1.4, DEFAULT_POLICY.tpot_shape)]
)
def test_the_spread_is_the_measured_one(p99_over_p50: float, shape: float) -> None:
    assert chance(1.0, p99_over_p50, shape) == pytest.approx(0.99, abs=2e-4)
    assert shape == pytest.approx(math.log(99) / math.log(p99_over_p50), rel=1e-3)


def test_a_deadline_that_has_passed_is_met_never() -> None:
    assert chance(1.0, 0.0, 4.0) == 0.0
    assert chance(1.0, -5.0, 4.0) == 0.0


def test_stakes_are_seen_from_now_and_from_the_tier_served_down() -> None:
    at_stake = stakes(ladder(), 0, elapsed_us=100 * MS, tokens=(1_000, 101))
    assert [stake.first_due_us for stake in at_stake] == [400 * MS, 1_900 * MS, 900 * S - 100 * MS]
    assert at_stake[0].middle_due_us == 400 * MS + 50 * 20 * MS  # the 51st of 101 tokens
    assert at_stake[2].middle_due_us == at_stake[2].first_due_us  # a window has one deadline
    assert [stake.input_pico for stake in at_stake] == [800_000_000, 200_000_000, 100_000_000]
    assert [stake.output_pico for stake in at_stake] == [323_200_000, 80_800_000, 40_400_000]
    assert len(stakes(ladder(), 1, 0, (1, 1))) == 2


@pytest.mark.parametrize(("tokens", "middle"), [(0, 0), (1, 0), (2, 0.5), (101, 50)])
def test_the_middle_token_stands_for_the_answer(tokens: int, middle: float) -> None:
    assert middle_token(tokens) == middle


def test_with_ample_headroom_everything_is_earned() -> None:
    at_stake = stakes(ladder(Tier.STANDARD), 0, 0, (1_000, 101))
    earned = revenue_pico(at_stake, 10 * MS, 100 * MS, DEFAULT_POLICY)
    assert earned == pytest.approx(200_000_000 + 80_800_000, rel=1e-6)


def test_what_misses_the_better_deadline_earns_the_lesser_rate() -> None:
    # the first token comes on premium's deadline, half the time in time; the rest is surely in standard's
    at_stake = (Stake(100.0, 100.0, 1_000, 0), Stake(1e9, 1e9, 400, 0))
    assert revenue_pico(at_stake, 100.0, 100.0, DEFAULT_POLICY) == pytest.approx(0.5 * 1_000 + 0.5 * 400)


def test_input_is_judged_by_the_first_token_and_output_by_the_middle_one() -> None:
    at_stake = (Stake(100.0, 1e9, 1_000, 10_000),)
    assert revenue_pico(at_stake, 100.0, 5.0, DEFAULT_POLICY) == pytest.approx(500 + 10_000)


def test_a_lower_rung_that_is_due_sooner_adds_nothing() -> None:
    at_stake = (Stake(100.0, 100.0, 1_000, 1_000), Stake(50.0, 50.0, 900, 900))
    assert revenue_pico(at_stake, 100.0, 100.0, DEFAULT_POLICY) == pytest.approx(1_000)


def test_what_is_late_for_every_rung_earns_nothing() -> None:
    assert revenue_pico((Stake(-1.0, -1.0, 5, 5),), 1.0, 1.0, DEFAULT_POLICY) == 0


def test_a_slot_costs_its_shadow_price_by_the_second() -> None:
    assert slot_pico(2_000.0, 1_500 * MS) == 3_000
