import math
from random import Random

import pytest

from pricing.slo import Tier
from scheduler.calibration import CalibrationPolicy, Calibrator, ExperiencedLoad
from scheduler.fleet import NEUTRAL
from tests.scheduler.round_numbers import CURVE, MS, S, oid

A, B = oid("a"), oid("b")
PREMIUM, STANDARD = Tier.PREMIUM, Tier.STANDARD


def observe(calibrator: Calibrator, *ratios: float, tier: Tier = PREMIUM) -> float:
    """TPOT observations at these multiples of the prediction; the factor afterwards."""
    for ratio in ratios:
        calibrator.on_finished(A, 10 * MS, ratio * 10 * MS, tier)
    return calibrator.calibration(A).tpot


def test_what_was_never_observed_is_neutral() -> None:
    assert Calibrator().calibration(A) == NEUTRAL
    assert Calibrator().calibrations(0) == {}


def test_one_sample_moves_the_factor_by_the_rule() -> None:
    policy = CalibrationPolicy(step=0.05)
    assert observe(Calibrator(policy), 0.9) == pytest.approx(math.exp(0.05 * (0.95 - 1)))
    assert observe(Calibrator(policy), 1.1) == pytest.approx(math.exp(0.05 * 0.95))
    assert observe(Calibrator(policy), 1.1, tier=STANDARD) == pytest.approx(math.exp(0.05 * 0.90))


@pytest.mark.parametrize(("tier", "z"), [(PREMIUM, 1.645), (STANDARD, 1.2816)])
def test_in_the_long_run_the_factor_is_the_quantile_of_what_is_observed(tier: Tier, z: float) -> None:
    # log-normal ratios with median 1.3 and σ = 0.2: the quantile is 1.3 · exp(0.2 · z)
    generator = Random(5)  # noqa: S311 (a test's seeded generator)
    calibrator = Calibrator()
    factors = [observe(calibrator, 1.3 * math.exp(generator.gauss(0, 0.2)), tier=tier) for _ in range(6_000)]
    settled = factors[1_000:]
    mean = sum(settled) / len(settled)
    assert mean == pytest.approx(1.3 * math.exp(0.2 * z), rel=0.06)
    assert max(settled) < 3.0


def test_a_correct_profile_with_noise_is_not_ruined() -> None:
    generator = Random(6)  # noqa: S311 (a test's seeded generator)
    calibrator = Calibrator()
    factors = [observe(calibrator, math.exp(generator.gauss(0, 0.145))) for _ in range(5_000)]
    # p99 / p50 = 1.4 is what was measured; a promise of twice the measured time (k = 2) stays well within reach
    assert max(factors) < 2.0 * 0.93


def test_three_slow_samples_in_a_row_lift_the_factor_at_once_two_do_not() -> None:
    calibrator = Calibrator()
    observe(calibrator, *([0.95] * 40))
    assert observe(calibrator, 5.0, 5.2) < 1.2
    assert observe(calibrator, 5.5) == pytest.approx(5.0)


def test_a_single_outlier_does_not_lift_it() -> None:
    calibrator = Calibrator()
    observe(calibrator, *([0.95] * 40))
    assert observe(calibrator, 40.0, 0.95, 40.0, 0.95, 40.0) < 1.25


def test_after_recovery_the_factor_falls_within_the_window() -> None:
    calibrator = Calibrator()
    observe(calibrator, *([5.0] * 50))
    assert observe(calibrator, *([1.0] * 31)) > 2.0
    assert observe(calibrator, 1.0) == pytest.approx(1.0)


def test_first_and_further_tokens_are_learned_apart_and_so_are_offers() -> None:
    calibrator = Calibrator()
    for _ in range(3):
        calibrator.on_first_token(A, 100 * MS, 400 * MS, PREMIUM)
        calibrator.on_finished(B, 10 * MS, 30 * MS, PREMIUM)
    known = calibrator.calibrations(0)
    assert known[A].ttft == pytest.approx(4.0)
    assert known[A].tpot == 1.0
    assert known[B].ttft == 1.0
    assert known[B].tpot == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("predicted_us", "observed_us"),
    [(0.0, 5.0), (-1.0, 5.0), (math.nan, 5.0), (5.0, math.inf), (5.0, math.nan), (5.0, -1.0)],
)
def test_what_forms_no_ratio_teaches_nothing(predicted_us: float, observed_us: float) -> None:
    calibrator = Calibrator()
    for _ in range(5):
        calibrator.on_finished(A, predicted_us, observed_us, PREMIUM)
    assert calibrator.calibration(A) == NEUTRAL


def test_factors_are_bounded_on_both_sides() -> None:
    assert observe(Calibrator(), *([1e9] * 10)) == 50.0
    assert observe(Calibrator(), *([0.0] * 2_000)) == 0.5


def test_an_untested_factor_keeps_for_a_while_then_drifts_back_by_half_lives() -> None:
    calibrator = Calibrator(CalibrationPolicy(patience_us=5 * S, half_life_us=10 * S))
    observe(calibrator, *([4.0] * 3))
    calibrator.calibrations(0)
    assert calibrator.calibrations(5 * S)[A].tpot == pytest.approx(4.0)
    assert calibrator.calibrations(15 * S)[A].tpot == pytest.approx(2.0)  # half of its logarithm
    assert calibrator.calibrations(25 * S)[A].tpot == pytest.approx(4.0**0.25)


def test_drifting_does_not_depend_on_how_often_snapshots_are_taken() -> None:
    often, once = Calibrator(), Calibrator()
    for calibrator in (often, once):
        observe(calibrator, *([4.0] * 3))
        calibrator.calibrations(0)
    for at_us in range(0, 20 * S, 100 * MS):
        often.calibrations(at_us)
    assert often.calibrations(20 * S)[A].tpot == pytest.approx(once.calibrations(20 * S)[A].tpot)


def test_an_offer_that_is_observed_does_not_drift() -> None:
    calibrator = Calibrator()
    for second in range(30):
        observe(calibrator, *([4.0] * 3))
        calibrator.calibrations(second * S)
    assert calibrator.calibration(A).tpot == pytest.approx(4.0, rel=0.05)


def test_after_drifting_the_first_slow_answer_sets_the_factor_straight_back() -> None:
    calibrator = Calibrator()
    observe(calibrator, *([5.0] * 3))
    calibrator.calibrations(0)
    assert calibrator.calibrations(120 * S)[A].tpot < 1.01
    assert observe(calibrator, 5.0) >= 5.0


def test_after_drifting_a_fast_answer_confirms_the_guess() -> None:
    calibrator = Calibrator()
    observe(calibrator, *([5.0] * 3))
    calibrator.calibrations(0)
    calibrator.calibrations(120 * S)
    observe(calibrator, 0.9)
    assert observe(calibrator, 5.0) < 1.1  # an outlier again, no longer a verdict


def test_a_clock_that_steps_back_relaxes_nothing() -> None:
    calibrator = Calibrator()
    observe(calibrator, *([5.0] * 3))
    calibrator.calibrations(100 * S)
    assert calibrator.calibrations(0)[A].tpot == pytest.approx(5.0)


def test_what_was_learned_can_be_forgotten() -> None:
    calibrator = Calibrator()
    observe(calibrator, *([5.0] * 3))
    calibrator.forget(A)
    calibrator.forget(A)
    assert calibrator.calibration(A) == NEUTRAL


def test_a_stream_is_compared_with_the_load_it_experienced() -> None:
    # half the time alone (10 ms a token), half among eight (12 ms)
    load = ExperiencedLoad(CURVE, in_flight=1, at_us=0)
    crowded = load.advance(8, 6 * S)
    assert crowded.tokens_at(6 * S) == 600
    assert crowded.tokens_at(12 * S) == 600 + 500
    assert crowded.tpot_us_since(0, 0.0, 12 * S) == pytest.approx(12 * S / 1_100)


def test_normalising_by_experienced_load_leaves_a_correct_profile_alone_the_naive_way_ruins_it() -> None:
    # admitted alone, then joined by 31 others for the rest of its life: exactly as fast as the curve says
    load = ExperiencedLoad(CURVE, 1, 0).advance(32, S)
    observed_us = 25 * S / load.tokens_at(25 * S)
    expected_us = load.tpot_us_since(0, 0.0, 25 * S)
    assert expected_us is not None
    fair, naive = Calibrator(), Calibrator()
    for _ in range(100):
        fair.on_finished(A, expected_us, observed_us, PREMIUM)
        naive.on_finished(A, 10 * MS, observed_us, PREMIUM)
    assert fair.calibration(A).tpot == pytest.approx(1.0, abs=0.06)
    assert naive.calibration(A).tpot > 2.0


def test_readings_without_time_between_them_predict_nothing() -> None:
    load = ExperiencedLoad(CURVE, 1, 10 * S)
    assert load.tpot_us_since(10 * S, 0.0, 10 * S) is None
    assert load.tpot_us_since(10 * S, load.tokens_at(10 * S), 9 * S) is None


def test_a_clock_that_steps_back_adds_nothing_to_the_integral() -> None:
    load = ExperiencedLoad(CURVE, 1, 10 * S).advance(8, 5 * S)
    assert load.tokens_at(10 * S) == 0
    assert load.at_us == 10 * S


def test_a_load_beyond_the_curve_counts_at_its_slowest_speed() -> None:
    assert ExperiencedLoad(CURVE, 5_000, 0).tokens_at(24 * S) == 1_000
