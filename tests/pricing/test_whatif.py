from dataclasses import replace

import pytest

from pricing.candidates import Candidate, candidates
from pricing.frontier import OutsideMeasuredRange
from pricing.hardware import Buildup, HardwareCost, built_up, hardware_costs
from pricing.profiles import LengthClass, Mode, cleaned
from pricing.shipped import shipped_profiles
from pricing.whatif import (
    Effect,
    Lever,
    WhatIfError,
    effect_document,
    effects,
    levers,
    ownership_lever,
    power_lever,
    tornado,
)
from tests.pricing.points import BOX, found, point, profile

FP4 = profile(point(1, 100, 400), point(4, 50, 1_000), name="fast", precision="fp4", engine="trtllm")
FP8 = profile(point(1, 100, 100), point(4, 50, 500), name="plain")
SPLIT = profile(point(1, 60, 800), name="split", mode=Mode.DISAGGREGATED, spec_decoding="mtp", precision="fp4")
POOL = found(FP4, FP8, SPLIT).points


def effect(lever: str, x: float = 50) -> Effect:
    return next(each for each in effects(POOL, [x], levers(POOL)) if each.lever == lever)


def test_levers_are_those_that_leave_out_some_and_keep_some() -> None:
    names = [lever.name for lever in levers(POOL)]
    assert names == ["no FP4", "no disaggregation", "no MTP", "no speculation", "trtllm only", "vllm only"]
    assert levers(found(FP8).points) == ()


def test_points_whose_speculation_nobody_states_stay_without_mtp_and_that_is_said() -> None:
    unsaid = profile(point(1, 70, 600), name="unsaid", spec_decoding="unknown")
    by_name = {lever.name: lever for lever in levers((*POOL, *found(unsaid).points))}
    kept = found(unsaid).points[0]
    assert (by_name["no MTP"].keeps(kept), by_name["no speculation"].keeps(kept)) == (True, False)
    assert "does not say whether they speculate" in by_name["no MTP"].assumption
    assert {lever.assumption for lever in levers(POOL)} == {""}


def test_a_lever_saves_the_difference_at_equal_speed() -> None:
    """At 3.6 USD/h 1e3/T USD per M: 2,000 tok/s in and out with FP4, 1,000 without: 0.5 against 1.0."""
    without = effect("no FP4")
    assert (without.base_attainable, without.attainable) == pytest.approx((0.5, 1.0))
    assert (without.saved_usd, without.saved_usd_interpolated) == pytest.approx((0.5, 0.5))
    assert without.deployment_id == "box-vllm-fp8-agg-plain"
    assert effect_document(without)["saved_share"] == pytest.approx({"attainable": 1.0, "interpolated": 1.0})


def test_between_points_the_curve_and_what_can_be_promised_are_both_told() -> None:
    """At 55 the base promises the point at 60: 1e3/1600 = 0.625; without disaggregation the one at 100: 1.25."""
    without = effect("no disaggregation", 55)
    assert (without.base_attainable, without.attainable) == pytest.approx((0.625, 1.25))
    assert 0.5 < without.base_interpolated < 0.625
    assert without.interpolated is not None
    assert 0.5 < without.interpolated < 1.25


def test_a_lever_without_which_nothing_is_so_fast_or_so_slow_says_so() -> None:
    alone = Lever("split only", lambda each: each.deployment_id == SPLIT.configuration.deployment_id)
    fast, slow = effects(POOL, [80, 50], [alone])
    assert (fast.attainable, fast.saved_usd, fast.saved_usd_interpolated) == (None, None, None)
    assert fast.reason == "the fastest point left reaches 60 tok/s/user"
    assert (slow.attainable, slow.interpolated) == (pytest.approx(0.625), None)
    assert slow.reason == "the slowest point left is at 60 tok/s/user"
    (none,) = effects(POOL, [50], [Lever("nothing", lambda _: False)])
    assert none.reason == "no measured point is left"
    assert effect_document(none)["saved_share"] == {"attainable": None, "interpolated": None}


def test_a_tornado_shows_the_largest_change_first() -> None:
    (rows,) = tornado(effects(POOL, [50], [*levers(POOL), Lever("nothing", lambda _: False)])).values()
    sizes = [abs(row.saved_usd) for row in rows if row.saved_usd is not None]
    assert rows[0].lever == "nothing"
    assert sizes == sorted(sizes, reverse=True)


def test_another_price_of_power_adds_the_difference_for_the_power_drawn() -> None:
    """2 kW · (0.18 − 0.08) = 0.2 USD/h on 3.6: 5.56 % more."""
    (dearer,) = effects(POOL, [50], [power_lever({"box": BOX}, 0.18)])
    assert dearer.attainable == pytest.approx(0.5 * 3.8 / 3.6)
    assert "0.08 USD/kWh" in power_lever({"box": BOX}, 0.18).assumption


def test_where_an_hour_was_built_up_its_own_energy_is_replaced() -> None:
    """1 kW at 0.2 is 0.2 of 0.2 + 1 USD/h; at 0.5 it is 1.5 in all, whatever is assumed of others."""
    built = built_up("box", Buildup(capex_usd=8_760, life_years=1, it_kw=1.0, usd_per_kwh=0.2))
    changed = power_lever({"box": built}, 0.5, included_usd_per_kwh=9.0).costs
    assert changed is not None
    assert changed["box"].usd_per_hour == pytest.approx(1.5)


def test_hardware_whose_power_or_cost_is_not_known_drops_out() -> None:
    unknown = HardwareCost("box", 3.6)
    (none,) = effects(POOL, [50], [power_lever({"box": unknown}, 0.1)])
    assert none.reason == "no measured point is left"
    (gone,) = effects(POOL, [50], [ownership_lever("rental", {})])
    assert gone.attainable is None
    (owned,) = effects(POOL, [50], [ownership_lever("rental", {"box": replace(BOX, usd_per_hour=7.2)})])
    assert (owned.lever, owned.attainable) == ("rental ownership", pytest.approx(1.0))


@pytest.mark.parametrize(("usd", "included"), [(-0.1, 0.08), (float("nan"), 0.08), (0.1, -1.0), (0.0, 5.0)])
def test_prices_of_power_that_cannot_be_are_refused(usd: float, included: float) -> None:
    with pytest.raises(WhatIfError):
        power_lever({"box": BOX}, usd, included)


def test_a_speed_outside_the_measured_range_is_refused() -> None:
    with pytest.raises(OutsideMeasuredRange):
        effects(POOL, [101], levers(POOL))


@pytest.fixture(scope="module")
def deepseek() -> tuple[Candidate, ...]:
    profiles = cleaned(shipped_profiles())
    return candidates(profiles, "DeepSeek-R1-0528", LengthClass(1024, 1024), hardware_costs("hyperscaler")).points


def test_to_do_without_is_never_cheaper_at_what_can_be_promised(deepseek: tuple[Candidate, ...]) -> None:
    rows = effects(deepseek, [20, 50, 80, 120, 200], levers(deepseek))
    assert len(rows) > 20
    assert all(row.saved_usd is None or row.saved_usd >= 0 for row in rows)
    assert max(row.saved_usd or 0 for row in rows) > 0
