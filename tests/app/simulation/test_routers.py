from random import Random
from typing import Any

import pytest

from app.fleet.leases import Denied, Leased
from app.simulation.conditions import Conditions
from app.simulation.engine import Run, Simulator
from app.simulation.plant import Plant
from app.simulation.routers import (
    NeverRefuses,
    PlainRouter,
    PolicyName,
    RoundRobin,
    StaticTiers,
    least_busy,
    lowest_latency,
    lowest_price,
    rule,
)
from pricing.slo import Rung, Slo, Tier
from scheduler.columns import row
from scheduler.fleet import NEUTRAL, UNBOUNDED, OfferId
from scheduler.jobs import Job, JobId
from scheduler.pickers import Pick, Scored
from scheduler.placement import Admit, Candidate, RefusalReason
from scheduler.policy import DEFAULT_POLICY
from tests.app.simulation.small_market import market, offer, rates, steps, supply, workload

RUNG = Rung(Tier.STANDARD, Slo(500_000, 25_000), rates(1_000_000, 4_000_000))
SECOND_NS = 1_000_000_000
RNG = Random(1)  # noqa: S311 (ties, not secrets)


def choice(name: str, in_flight: int = 0, *, cost: int = 100, ttft_us: float = 1.0, tpot_us: float = 1.0) -> Scored:
    made = offer(id=OfferId(name), concurrency_max=10, cost=rates(cost, cost))
    return Scored(0.0, row(made, RUNG, NEUTRAL, DEFAULT_POLICY), in_flight, 10, ttft_us, tpot_us)


def ids(found: list[Scored]) -> list[str]:
    return [scored.row.id for scored in found]


def order(rank: Any, *found: Scored, tier: Tier = Tier.STANDARD) -> list[str]:
    return ids(rank(list(found), Pick(tier, 0, 100, 50), RNG, DEFAULT_POLICY))


def test_round_robin_takes_each_in_turn_and_skips_whom_it_may_not_take() -> None:
    turn = RoundRobin()
    a, b, c = choice("a"), choice("b"), choice("c")
    assert [order(turn, a, b, c)[0] for _ in range(4)] == ["a", "b", "c", "a"]
    assert order(turn, a, c)[0] == "c"
    assert order(turn) == []


def test_the_least_busy_is_the_emptiest_by_share() -> None:
    assert order(least_busy, choice("full", 9), choice("half", 5), choice("idle", 0)) == ["idle", "half", "full"]


def test_the_lowest_price_is_of_this_request_and_ties_go_to_the_emptier() -> None:
    dear, cheap, busy = choice("dear", cost=300), choice("cheap", cost=100), choice("busy", 5, cost=100)
    assert order(lowest_price, dear, busy, cheap) == ["cheap", "busy", "dear"]


def test_the_lowest_latency_is_to_the_last_token() -> None:
    """50 tokens: 100 + 50 · 10 = 600 µs beats 10 + 50 · 20 = 1,010 µs."""
    slow_start, slow_pace = choice("a", ttft_us=100.0, tpot_us=10.0), choice("b", ttft_us=10.0, tpot_us=20.0)
    assert order(lowest_latency, slow_pace, slow_start) == ["a", "b"]


def test_static_tiers_stay_at_home() -> None:
    homes = {Tier.PREMIUM: frozenset({OfferId("a")}), Tier.STANDARD: frozenset({OfferId("b")}), Tier.BULK: frozenset()}
    rank = StaticTiers(homes)
    assert order(rank, choice("a"), choice("b"), tier=Tier.PREMIUM) == ["a"]
    assert order(rank, choice("a"), choice("b")) == ["b"]
    assert order(rank, choice("a"), choice("b"), tier=Tier.BULK) == []


@pytest.mark.parametrize("name", list(PolicyName))
def test_every_rule_has_a_name(name: PolicyName) -> None:
    only = choice("a")
    homes = dict.fromkeys(Tier, frozenset({OfferId("a")}))
    assert ids(rule(name, homes)([only], Pick(Tier.STANDARD, 0, 1, 1), RNG, DEFAULT_POLICY)) == ["a"]


def run(router: Any, conditions: Conditions, rps: float, seconds: int = 20, **changes: Any) -> Run:
    place = market(supply(steps(max_seqs=4), concurrency_max=4))
    simulator = Simulator(place, workload(rps=rps, **changes), 1, router, conditions)
    return simulator.run(600 * SECOND_NS, demand_ns=seconds * SECOND_NS)


def test_a_plain_router_refuses_nobody_and_the_engine_queues() -> None:
    """Four at a time of 50 tokens at 10 ms each finish some 8 a second: of 20 a second most come late."""
    ended = run(PlainRouter(least_busy, 1), Conditions(has_no_limits=True), rps=20.0)
    tally = ended.tally
    assert tally.refused.total() == 0
    assert tally.finished == tally.offered.total() > 300
    assert (ended.in_flight, ended.waiting) == (0, 0)
    assert tally.by_tier[Tier.PREMIUM].attained < tally.finished / 4


def test_ours_refuses_what_could_not_be_in_time_and_keeps_what_it_takes() -> None:
    ended = run(None, Conditions(), rps=20.0)
    sales = ended.tally.by_tier[Tier.PREMIUM]
    assert ended.tally.refused.total() > ended.tally.offered.total() / 3
    assert sales.attained >= 0.95 * sales.finished


def test_who_never_refuses_takes_everything_and_breaks_promises() -> None:
    ended = run(NeverRefuses(1), Conditions(has_no_limits=True), rps=20.0)
    assert ended.tally.refused.total() == 0
    assert ended.tally.by_tier[Tier.PREMIUM].attained < ended.tally.finished / 2


def test_a_plain_router_with_limits_refuses_when_its_choice_is_full() -> None:
    ended = run(PlainRouter(least_busy, 1), Conditions(), rps=20.0)
    assert {reason for _, reason in ended.tally.refused} == {RefusalReason.NO_CAPACITY.value}


def test_a_plain_router_refuses_what_no_offer_can_hold() -> None:
    place = market(supply(steps(), context_max=120))
    simulator = Simulator(place, workload(rps=5.0), 1, PlainRouter(least_busy, 1), Conditions(has_no_limits=True))
    ended = simulator.run(10 * SECOND_NS)
    assert ended.tally.refused.total() + ended.tally.dispatched.total() == ended.tally.offered.total()


def test_stale_loads_hide_the_places_that_came_free() -> None:
    fresh = run(None, Conditions(), rps=12.0).tally.by_tier[Tier.PREMIUM]
    stale = run(None, Conditions(stale_us=5_000_000), rps=12.0).tally.by_tier[Tier.PREMIUM]
    assert stale.attained < 0.8 * fresh.attained


def test_only_without_do_no_harm_is_a_second_request_put_beside_one_that_tolerates_none() -> None:
    place = market()
    only = place.supplies[0].offer
    ladder = place.book.ladder("m", Tier.STANDARD)
    assert ladder is not None

    def admit(name: str, in_flight_max: int) -> Admit:
        job = Job(JobId(name), "c", "m", Tier.STANDARD, ladder, 0, 10, 10, 10)
        return Admit(job, Tier.STANDARD, (Candidate(only, in_flight_max, 1.0, 1.0, 0.0),))

    careful, careless = Plant(place), Plant(place, Conditions(does_harm=True))
    for plant in (careful, careless):
        assert isinstance(plant.lease(admit("a", 1), 0), Leased)
    assert isinstance(careful.lease(admit("b", 4), 0), Denied)
    assert isinstance(careless.lease(admit("b", 4), 0), Leased)
    assert careless.see(0).load(only.id).in_flight_tolerated == UNBOUNDED
