from dataclasses import replace
from typing import Any

import pytest

from pricing.slo import Ladder, Rung, Slo, Tier
from scheduler.demand import Demand
from scheduler.dispatcher import Dispatcher
from scheduler.fleet import Fleet, Load
from scheduler.guard import places_kept
from scheduler.placement import Admit, Refuse, Wait
from scheduler.policy import Policy
from tests.scheduler.round_numbers import MODEL, MS, S, faster, fleet, job, names, offer, rates

PREMIUM, STANDARD, BULK = Tier.PREMIUM, Tier.STANDARD, Tier.BULK


def market_with(premium_per_s: float, snapshot: Fleet, seconds: int = 20, **policy: Any) -> Dispatcher:
    """A dispatcher that has seen premium requests come at this rate until now, the second ``seconds``."""
    dispatcher = Dispatcher(Policy(**policy))
    for number in range(int(premium_per_s * seconds)):
        at_us = int((number + 1) / premium_per_s * S)
        dispatcher.on_arrival(job("premium", requested_at_us=at_us), snapshot, at_us)
    dispatcher.on_withdrawn(job("premium").id)
    return dispatcher


def standard_at(dispatcher: Dispatcher, snapshot: Fleet, **changes: Any) -> Admit | Wait | Refuse:
    return dispatcher.on_arrival(job("s", STANDARD, requested_at_us=20 * S, **changes), snapshot, 20 * S)


def running(count: int, **others: Load) -> Fleet:
    names_of = ("a", *others)
    return fleet(*(offer(name) for name in names_of), loads={"a": Load(count), **others})


def test_where_nothing_better_is_asked_for_nothing_is_kept() -> None:
    assert isinstance(standard_at(Dispatcher(), running(31)), Admit)


def test_the_places_kept_follow_littlewoods_rule() -> None:
    # bar while ρ^F · 4 > 1: at ρ = 0.46 for F = 1 (1.84) but not for F = 2 (0.85)
    assert places_kept(0.46, 0.25, 100) == 1
    # the dearer the better tier, the more: bar while 0.46^F · 16 > 1, F < 3.57
    assert places_kept(0.46, 1 / 16, 100) == 3


def test_premium_in_demand_keeps_a_place_free() -> None:
    # 5 a second of 101 tokens are 505 tokens/s; 21 places at 18.5 ms deliver 1,135: ρ = 0.44, and one place is kept
    dispatcher = market_with(5, running(0))
    assert isinstance(standard_at(dispatcher, running(19)), Admit)
    assert not isinstance(standard_at(market_with(5, running(0)), running(20)), Admit)


def test_rare_premium_keeps_no_place_idle() -> None:
    dispatcher = market_with(0.2, running(0))
    assert isinstance(standard_at(dispatcher, running(20)), Admit)


def test_an_idle_fleet_is_open_to_all_whatever_is_asked_for() -> None:
    one_place = fleet(offer(concurrency_max=1))
    assert isinstance(standard_at(market_with(50, one_place), one_place), Admit)


def test_an_offer_too_full_for_premium_in_demand_is_left_to_drain() -> None:
    dispatcher = market_with(5, running(0))
    # premium pays four times as much: 505 tokens/s · 3 exceed what 32 at once (1,333) deliver beyond 21 (1,135)
    assert not isinstance(standard_at(dispatcher, running(25)), Admit)


def test_it_is_not_left_to_drain_for_less_than_the_lesser_work_would_lose() -> None:
    # 0.5 a second: 50 tokens/s · 3 are less than the 198 that 11 more neighbours deliver
    dispatcher = market_with(0.5, running(0))
    assert isinstance(standard_at(dispatcher, running(25)), Admit)


def test_only_as_many_offers_drain_as_the_demand_needs_those_nearest_to_a_place_first() -> None:
    full = running(26, b=Load(24), c=Load(28))
    assert set(names(standard_at(market_with(5, running(0)), full))) == {"a", "c"}
    # 20 a second are more than one offer delivers (11), but not more than two
    assert names(standard_at(market_with(20, running(0, b=Load(0), c=Load(0))), full)) == ["c"]


def test_while_another_offer_has_places_the_full_one_need_not_drain() -> None:
    snapshot = running(26, b=Load(5))
    assert "a" in names(standard_at(market_with(5, running(0, b=Load(0))), snapshot))


def test_a_long_prompt_is_kept_off_while_it_would_displace_more_than_it_pays() -> None:
    # 9,000 tokens take 450 ms, so that a premium first token would come after 550 ms, 85 ms too late. At 12 premium
    # requests a second of 1.12 billion pico each that is 1.15 billion, at 8 it is 0.76; the job pays 0.90
    snapshot = fleet(offer(context_max=20_000), loads={"a": Load(5)})
    cheap = {"input_tokens": 9_000, "output_tokens": 11}
    bulk = job("b", BULK, requested_at_us=20 * S, **cheap)
    assert not isinstance(market_with(12, snapshot).on_arrival(bulk, snapshot, 20 * S), Admit)
    assert isinstance(market_with(8, snapshot).on_arrival(bulk, snapshot, 20 * S), Admit)
    elsewhere = fleet(*snapshot.offers[MODEL], offer("b", speed=faster(0.9), tiers=frozenset({PREMIUM})))
    assert names(market_with(12, snapshot).on_arrival(bulk, elsewhere, 20 * S)) == ["a"]


def test_where_prompts_delay_first_tokens_no_more_are_added() -> None:
    delayed = fleet(offer(), loads={"a": Load(5, prefill_tokens=9_000)})
    assert not isinstance(standard_at(market_with(5, running(0)), delayed), Admit)
    assert isinstance(standard_at(Dispatcher(), delayed), Admit)


def test_an_offer_that_does_not_serve_the_better_tier_is_open_to_lesser_work() -> None:
    own = offer("own", tiers=frozenset({STANDARD}))
    snapshot = fleet(offer("a"), own, loads={"a": Load(25), "own": Load(25)})
    assert names(standard_at(market_with(5, running(0)), snapshot)) == ["own"]


def test_offers_that_are_shut_count_for_nothing() -> None:
    both = fleet(offer("a"), offer("b"), loads={"a": Load(20)})
    assert "a" in names(standard_at(market_with(5, both), both))
    shut = replace(both, closed=frozenset({offer("b").id}))
    assert not isinstance(standard_at(market_with(5, both), shut), Admit)


def test_work_that_pays_as_much_is_not_held_back() -> None:
    dispatcher = market_with(5, running(0))
    dear = Rung(STANDARD, Slo(2 * S, 50 * MS), rates(800_000, 3_200_000))
    arriving = replace(job("s", STANDARD, requested_at_us=20 * S), ladder=Ladder((dear,)))
    assert isinstance(dispatcher.on_arrival(arriving, running(20), 20 * S), Admit)


@pytest.mark.parametrize("ladder_rates", [rates(0, 0), rates(800_000, 3_200_000)])
def test_work_that_pays_nothing_is_judged_without_dividing_by_it(ladder_rates: Any) -> None:
    free_rung = Rung(STANDARD, Slo(2 * S, 50 * MS), rates(0, 0))
    premium_rung = Rung(PREMIUM, Slo(500 * MS, 20 * MS), ladder_rates)
    dispatcher = Dispatcher()
    asked = replace(job("p"), ladder=Ladder((premium_rung,)))
    dispatcher.on_arrival(asked, running(0), 0)
    arriving = replace(job("s", STANDARD), ladder=Ladder((free_rung,)))
    assert isinstance(dispatcher.on_arrival(arriving, running(5), 0), Admit)


def test_premium_that_no_offer_can_serve_keeps_nothing() -> None:
    slow = fleet(offer(speed=faster(0.3)), loads={"a": Load(3)})
    assert isinstance(standard_at(market_with(5, slow), slow), Admit)


def test_lesser_work_that_must_leave_room_waits_if_there_will_be_some_in_its_time() -> None:
    command = standard_at(market_with(5, running(0)), running(20))
    assert isinstance(command, Wait)
    # with premium at many times what the fleet delivers only its floor of a tenth is left to standard
    crowded = market_with(60, running(0))
    commands = [
        crowded.on_arrival(job(f"s{n}", STANDARD, requested_at_us=20 * S), running(20), 20 * S) for n in range(4)
    ]
    # one place every 101 · 18.1 / 20 = 91 ms, of which it is given one in ten: two can start within 1.9 s
    assert [type(command) for command in commands] == [Wait, Wait, Refuse, Refuse]


def test_without_a_floor_there_is_nothing_to_wait_for() -> None:
    assert isinstance(standard_at(market_with(60, running(0), floors={}), running(20)), Refuse)


def test_demand_is_measured_by_what_arrived_lately() -> None:
    demand = Demand(half_life_us=30 * S)
    for number in range(600):
        demand.note(job(output_tokens=100), number * S // 5)
    ((known, tokens_per_us),) = demand.better_than(MODEL, STANDARD, 120 * S)
    assert tokens_per_us * S == pytest.approx(5 * 100, rel=0.03)
    assert known.token_pico == pytest.approx((1_000 * 800_000 + 100 * 3_200_000) / 100)


def test_a_young_demand_is_not_underestimated() -> None:
    demand = Demand(half_life_us=30 * S)
    for number in range(15):
        demand.note(job(output_tokens=100), number * S // 5)
    ((_, tokens_per_us),) = demand.better_than(MODEL, STANDARD, 3 * S)
    assert tokens_per_us * S == pytest.approx(5 * 100, rel=0.1)


def test_demand_fades_and_is_forgotten() -> None:
    demand = Demand(half_life_us=30 * S)
    demand.note(job(), 0)
    ((_, early),) = demand.better_than(MODEL, STANDARD, 0)
    ((_, later),) = demand.better_than(MODEL, STANDARD, 60 * S)
    assert later < early / 10
    assert demand.better_than(MODEL, STANDARD, 200 * S) == []


def test_nothing_is_better_than_premium_and_lesser_demand_does_not_count() -> None:
    demand = Demand(half_life_us=30 * S)
    demand.note(job(tier=BULK), 0)
    demand.note(job(), 0)
    assert demand.better_than(MODEL, PREMIUM, 0) == []
    assert len(demand.better_than(MODEL, BULK, 0)) == 1
    assert demand.better_than("other", BULK, 0) == []


def test_typical_requests_are_running_means() -> None:
    demand = Demand(half_life_us=30 * S)
    demand.note(job(input_tokens=1_000, output_tokens=100), 0)
    demand.note(job(input_tokens=2_000, output_tokens=200), 0)
    ((known, _),) = demand.better_than(MODEL, STANDARD, 0)
    assert (known.input_tokens, known.output_tokens) == (pytest.approx(1_100), pytest.approx(110))
