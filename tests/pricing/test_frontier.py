import math

import numpy as np
import pytest
from scipy.special import lambertw

from pricing.candidates import Axis, FrontierError
from pricing.frontier import OutsideMeasuredRange, frontier
from pricing.frontier_document import at_document
from pricing.hardware import HardwareCost
from pricing.profiles import Profile
from tests.pricing.points import CHAT, candidates, curve, found, point, profile


def exponential(*speeds: float, scale: float = 50.0) -> Profile:
    """A deployment whose throughput falls as exp(−x/scale), so that x·y peaks exactly at ``scale``."""
    return curve(*((x, 1_000 * math.exp(-x / scale)) for x in speeds))


def test_only_points_that_no_other_beats_in_both_are_on_the_frontier() -> None:
    front = frontier(found(curve((10, 400), (20, 300), (30, 350), (40, 100), (35, 90))).points)
    assert front.x.tolist() == pytest.approx([10, 30, 40])
    assert front.y.tolist() == pytest.approx([800_000, 700_000, 200_000])


def test_of_equal_points_one_stays_and_the_better_of_a_tie_in_one_axis_wins() -> None:
    same = [profile(point(1, 10, 50), name=name) for name in ("b", "a")]
    faster = profile(point(1, 12, 50), name="faster")
    richer = profile(point(1, 12, 60), name="richer")
    assert [each.deployment_id for each in frontier(found(*same).points).points] == ["box-vllm-fp8-agg-a"]
    assert [each.deployment_id for each in frontier(found(*same, faster).points).points] == ["box-vllm-fp8-agg-faster"]
    assert [each.deployment_id for each in frontier(found(faster, richer).points).points] == ["box-vllm-fp8-agg-richer"]


def test_no_points_are_no_frontier() -> None:
    with pytest.raises(FrontierError, match="at least one operating point"):
        frontier([])


def test_between_two_points_the_logarithm_of_the_yield_is_interpolated() -> None:
    """Half way in speed from 400 to 100 output tokens a second is their geometric mean, 200."""
    read = frontier(found(curve((10, 400), (100, 100))).points).at(55)
    assert read.output_tok_s_per_gpu == pytest.approx(200)
    assert read.tok_s_per_gpu == pytest.approx(400)
    assert read.usd_per_mtok == pytest.approx(1_000 / 400)
    assert read.tokens_per == pytest.approx(400_000)
    assert read.tok_s_per_mw == pytest.approx(400 * 1_000 / 2)


def test_what_can_be_promised_is_the_best_measured_point_at_least_as_fast() -> None:
    front = frontier(found(curve((10, 400), (40, 300), (100, 100))).points)
    read = front.at(41)
    assert read.attainable.tok_s_user == pytest.approx(100)
    assert read.between == (front.points[1].id, front.points[2].id)
    assert front.attainable(40).tok_s_user == pytest.approx(40)
    assert front.attainable(39.999).tok_s_user == pytest.approx(40)


def test_on_a_measured_point_the_figures_are_the_measured_ones() -> None:
    front = frontier(found(curve((10, 400), (40, 300), (100, 100))).points)
    read = front.at(front.points[1].tok_s_user)
    assert read.output_tok_s_per_gpu == pytest.approx(300, rel=1e-12)
    assert read.between == (front.points[1].id,) * 2


def test_two_runs_of_one_load_are_told_apart_though_they_share_an_id() -> None:
    runs = profile(point(8, 40, 300, ttft_s_p50=0.5), point(8, 50, 200, ttft_s_p50=0.9))
    front = frontier(found(runs).points)
    between, on_slow = at_document(front, 45), at_document(front, 40)
    assert between["between"] == [front.points[0].id] * 2
    assert (between["ttft_s"], between["tpot_s"], between["concurrency"]) == (None, None, 8)
    assert (on_slow["ttft_s"], on_slow["tpot_s"]) == (0.5, 1 / 40)


def test_speeds_read_back_from_print_are_the_points_own_at_the_ends_too() -> None:
    """1/0.3, 50/3 and 100/3 tok/s/user have no end; printed with six decimals two of them are beyond the range."""
    front = frontier(found(curve((1 / 0.3, 400), (50 / 3, 300), (100 / 3, 100))).points)
    for candidate in front.points:
        read = front.at(round(candidate.tok_s_user, 6))
        assert read.attainable == candidate
        assert read.between == (candidate.id,) * 2
        assert read.tok_s_user == candidate.tok_s_user
    with pytest.raises(OutsideMeasuredRange, match=r"3\.333 tok/s/user lies outside .* of 3\.333333 to 33\.333333 tok"):
        front.at(3.333)


@pytest.mark.parametrize("x", [9.99, 100.01, 0.0, -5.0, math.inf, math.nan])
def test_outside_the_measured_range_is_an_error_that_says_the_range(x: float) -> None:
    front = frontier(found(curve((10, 400), (100, 100))).points)
    with pytest.raises(OutsideMeasuredRange, match="measured range of 10 to 100 tok/s/user; nothing is extrapolated"):
        front.at(x)
    with pytest.raises(OutsideMeasuredRange) as refused:
        front.attainable(x)
    assert (refused.value.low, refused.value.high) == pytest.approx((10, 100))


def test_a_single_point_can_be_read_where_it_is_and_nowhere_else() -> None:
    front = frontier(found(profile(point(1, 50, 100))).points)
    assert front.at(50).output_tok_s_per_gpu == pytest.approx(100)
    zone = front.goldilocks()
    assert (zone.tok_s_user, zone.low, zone.high) == pytest.approx((50, 50, 50))
    assert zone.is_cut_low
    assert zone.is_cut_high
    with pytest.raises(OutsideMeasuredRange):
        front.at(51)


def test_speed_times_yield_peaks_where_the_elasticity_is_minus_one() -> None:
    """For y = e^(−x/50) that is x = 50, and x·y keeps 0.9 where t·e^(1−t) = 0.9 with t = x/50."""
    zone = frontier(found(exponential(10, 300)).points).goldilocks()
    edges = [float(-50 * lambertw(-0.9 / math.e, branch).real) for branch in (0, -1)]
    assert zone.tok_s_user == pytest.approx(50, abs=1)
    assert [zone.low, zone.high] == pytest.approx(edges, abs=1.2)
    assert not zone.is_cut_low
    assert not zone.is_cut_high
    assert zone.share == 0.9


def test_a_zone_that_ends_where_the_measurements_do_says_so() -> None:
    slow = frontier(found(exponential(45, 300)).points).goldilocks()
    fast = frontier(found(exponential(10, 60)).points).goldilocks()
    assert (slow.is_cut_low, slow.is_cut_high) == (True, False)
    assert (fast.is_cut_low, fast.is_cut_high) == (False, True)


def test_the_zone_is_the_connected_span_around_the_peak_only() -> None:
    """Two humps of x·y, 2,000 at 10 and 2,100 at 100, with a valley of 1,000 at 50 between them."""
    zone = frontier(found(curve((10, 200), (50, 20.5), (100, 20.4))).points).goldilocks()
    assert zone.tok_s_user == pytest.approx(100)
    assert zone.low > 50


def test_the_fastest_speed_with_a_yield_is_read_off_the_curve() -> None:
    """y falls to a tenth of y(10) at 10 + 50 · ln 10."""
    front = frontier(found(exponential(10, 300)).points)
    assert front.fastest_with(0.1 * front.y[0]) == pytest.approx(10 + 50 * math.log(10), abs=1.2)
    assert front.fastest_with(front.y[0]) == pytest.approx(10)
    assert front.fastest_with(front.y[0] * 1.01) is None


def test_the_next_point_at_least_so_fast_is_a_measured_one() -> None:
    front = frontier(found(curve((10, 400), (40, 300), (100, 100))).points)
    following = front.next_at_least(41)
    assert following is not None
    assert following.tok_s_user == pytest.approx(100)
    assert front.next_at_least(101) is None


def test_frontiers_per_dollar_and_per_megawatt_may_choose_differently() -> None:
    cheap, frugal = curve((10, 100)), profile(point(1, 10, 90), hardware="frugal")
    costs = {"box": HardwareCost("box", 1.0, kw=2.0), "frugal": HardwareCost("frugal", 1.0, kw=1.0)}
    points = candidates([cheap, frugal], "m", CHAT, costs).points
    chosen = [frontier(points, axis).points[0].profile.configuration.hardware for axis in Axis]
    assert chosen == ["box", "frugal", "box"]


def test_power_is_null_where_one_neighbour_has_none() -> None:
    costs = {"box": HardwareCost("box", 1.0, kw=2.0), "dark": HardwareCost("dark", 1.0)}
    points = candidates([curve((10, 100)), profile(point(1, 20, 50), hardware="dark")], "m", CHAT, costs).points
    assert frontier(points).at(15).tok_s_per_mw is None


def test_yields_are_read_for_many_speeds_at_once() -> None:
    front = frontier(found(curve((10, 400), (100, 100))).points)
    assert front.yields(np.array([10.0, 55.0, 100.0])).tolist() == pytest.approx([800_000, 400_000, 200_000])
