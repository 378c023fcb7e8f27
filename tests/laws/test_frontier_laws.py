"""Laws of the frontier: no point on it is beaten, more measurements never hurt, and units only scale it."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pricing.candidates import Candidate, Candidates, Ceiling, FrontierError, TailFactors, admitted
from pricing.frontier import Frontier, OutsideMeasuredRange, frontier
from pricing.hardware import HardwareCost
from pricing.tiers import TierRules, tiers
from tests.pricing.points import BOX, CHAT, point, profile

speeds = st.floats(1, 2_000)
throughputs = st.floats(1, 50_000)
clouds = st.lists(st.tuples(speeds, throughputs), min_size=1, max_size=20)
OPEN = TierRules(ceilings={})


def cloud(pairs: list[tuple[float, float]], cost: HardwareCost = BOX) -> list[Candidate]:
    """One deployment per point, so that nothing but speed and yield tells them apart."""
    return [
        Candidate(profile(measured, name=f"p{number}"), measured, cost)
        for number, measured in enumerate(point(1, x, y) for x, y in pairs)
    ]


def is_beaten(candidate: Candidate, by: Candidate, front: Frontier) -> bool:
    mine, theirs = candidate.tokens_per(front.axis), by.tokens_per(front.axis)
    at_least = by.tok_s_user >= candidate.tok_s_user and theirs >= mine
    return at_least and (by.tok_s_user > candidate.tok_s_user or theirs > mine)


@given(clouds)
def test_dominated_points_never_appear_and_every_other_one_is_represented(pairs: list[tuple[float, float]]) -> None:
    points = cloud(pairs)
    front = frontier(points)
    for candidate in front.points:
        assert not any(is_beaten(candidate, other, front) for other in points)
    for candidate in points:
        as_good = [p for p in front.points if p.tok_s_user >= candidate.tok_s_user]
        assert any(p.tokens_per(front.axis) >= candidate.tokens_per(front.axis) for p in as_good)


@given(clouds)
def test_cost_rises_with_speed_along_a_frontier(pairs: list[tuple[float, float]]) -> None:
    front = frontier(cloud(pairs))
    assert list(front.x) == sorted(set(front.x))
    costs = [candidate.usd_per_mtok for candidate in front.points]
    assert costs == sorted(costs)
    assert len(set(front.y)) == len(front.y)


@given(clouds, st.tuples(speeds, throughputs), st.floats(0, 1))
def test_adding_a_point_never_worsens_what_can_be_promised(
    pairs: list[tuple[float, float]], added: tuple[float, float], where: float
) -> None:
    before, after = frontier(cloud(pairs)), frontier(cloud([*pairs, added]))
    x = before.low + where * (before.high - before.low)
    assert after.high >= before.high
    if x >= after.low:
        assert after.attainable(x).tokens_per(after.axis) >= before.attainable(x).tokens_per(before.axis)


@given(clouds, st.floats(0.01, 100))
def test_another_currency_scales_the_yield_and_moves_no_point(pairs: list[tuple[float, float]], rate: float) -> None:
    yields = sorted(yielded for _, yielded in pairs)  # those a rounding error apart may tie in one currency only
    assume(all(low == high or high - low > 1e-9 * high for low, high in pairwise(yields)))
    other = replace(BOX, usd_per_hour=BOX.usd_per_hour * rate)
    mine, theirs = frontier(cloud(pairs)), frontier(cloud(pairs, other))
    assert [p.id for p in theirs.points] == [p.id for p in mine.points]
    assert list(theirs.y * rate) == pytest.approx(list(mine.y))
    assert theirs.goldilocks().tok_s_user == pytest.approx(mine.goldilocks().tok_s_user, rel=1e-6)


@given(clouds, st.floats(0, 1))
def test_an_interpolated_yield_lies_between_its_neighbours_and_never_below_what_can_be_promised(
    pairs: list[tuple[float, float]], where: float
) -> None:
    front = frontier(cloud(pairs))
    read = front.at(front.low + where * (front.high - front.low))
    left, right = (neighbour.tokens_per(front.axis) for neighbour in read.neighbours)
    assert right * (1 - 1e-9) <= read.tokens_per <= left * (1 + 1e-9)
    assert read.tokens_per >= read.attainable.tokens_per(front.axis) * (1 - 1e-9)


@given(clouds, st.floats(0.001, 0.5))
def test_nothing_is_read_outside_the_measured_range(pairs: list[tuple[float, float]], beyond: float) -> None:
    front = frontier(cloud(pairs))
    for x in (front.low * (1 - beyond), front.high * (1 + beyond)):
        with pytest.raises(OutsideMeasuredRange):
            front.at(x)


@given(clouds, st.floats(0.5, 1.0))
def test_the_goldilocks_zone_holds_its_peak_and_keeps_its_share(pairs: list[tuple[float, float]], share: float) -> None:
    front = frontier(cloud(pairs))
    zone = front.goldilocks(share)
    assert front.low <= zone.low <= zone.tok_s_user <= zone.high <= front.high
    peak = zone.tok_s_user * front.at(zone.tok_s_user).tokens_per
    assert all(candidate.tok_s_user * candidate.tokens_per(front.axis) <= peak * 1.001 for candidate in front.points)
    for edge in (zone.low, zone.high):
        assert edge * front.at(edge).tokens_per >= share * peak * 0.999


@given(clouds, st.floats(0.001, 20))
def test_a_stricter_ceiling_never_admits_more(pairs: list[tuple[float, float]], ttft_s: float) -> None:
    found = Candidates("m", CHAT, tuple(cloud(pairs)), ())
    factors = TailFactors()

    def ids(ceiling: Ceiling) -> set[str]:
        try:
            return {candidate.id for candidate in admitted(found, ceiling, factors)}
        except FrontierError:
            return set()

    assert ids(Ceiling(ttft_s)) <= ids(Ceiling(ttft_s * 2)) <= ids(Ceiling())


@given(st.lists(st.tuples(speeds, throughputs), min_size=2, max_size=20))
def test_tiers_are_apart_in_speed_ordered_in_promise_and_sold_at_measured_points(
    pairs: list[tuple[float, float]],
) -> None:
    points = cloud(pairs)
    chosen = tiers(Candidates("m", CHAT, tuple(points), ()), OPEN)
    promises = [each.slo for each in chosen.sold.values()]
    assert [slo.ttft_us for slo in promises] == sorted(slo.ttft_us for slo in promises)
    assert all(each.chosen in points for each in chosen.sold.values())
    speeds_sold = {tier.value: each.chosen.tok_s_user for tier, each in chosen.sold.items()}
    if "premium" in speeds_sold:
        assert speeds_sold["premium"] >= 1.5 * speeds_sold["standard"]
    else:
        assert max(candidate.tok_s_user for candidate in points) < 1.5 * speeds_sold["standard"]
    assert chosen.sold[min(chosen.sold, key=lambda tier: -tier.rank)].yield_share == 1.0
