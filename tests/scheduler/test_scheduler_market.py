"""Stories of a small market on virtual time: what the scheduler is for."""

from collections import Counter
from random import Random
from typing import Any

import pytest

from pricing.slo import Tier
from scheduler.dispatcher import Dispatcher
from scheduler.jobs import Job
from scheduler.policy import Policy
from tests.scheduler.fluid_market import FluidMarket, Run
from tests.scheduler.round_numbers import MS, S, job, offer, oid

pytestmark = pytest.mark.slow

PREMIUM, STANDARD, BULK = Tier.PREMIUM, Tier.STANDARD, Tier.BULK


def poisson(name: str, tier: Tier, per_s: float, until_s: float, **changes: Any) -> list[Job]:
    generator = Random(name)  # noqa: S311 (a test's seeded generator)
    at_s, arrivals = generator.expovariate(per_s), list[Job]()
    while at_s < until_s:
        arrivals.append(job(f"{name}{len(arrivals)}", tier, requested_at_us=int(at_s * S), **changes))
        at_s += generator.expovariate(per_s)
    return arrivals


def market(*arrivals: list[Job], offers: str = "a", policy: Policy | None = None, seed: int = 0) -> FluidMarket:
    """Offers with these names, and answers of random length about what is predicted."""
    lengths = {each.id: _length(each) for stream in arrivals for each in stream}
    opened = FluidMarket(
        [offer(name) for name in offers], Dispatcher(policy or Policy(), seed), lambda each: lengths[each.id]
    )
    for stream in arrivals:
        for each in stream:
            opened.arrive(each)
    return opened


def _length(each: Job) -> int:
    return 1 + int(Random(each.id).expovariate(1 / each.output_tokens))  # noqa: S311 (a test's seeded generator)


def runs_of(opened: FluidMarket, tier: Tier, since_s: float = 0, until_s: float = 1e9) -> list[Run]:
    return [run for run in opened.runs if run.dispatch.tier is tier and since_s * S <= run.at_us < until_s * S]


def on(runs: list[Run], name: str) -> int:
    return sum(run.candidate.offer.id == oid(name) for run in runs)


def test_a_provider_that_slows_down_loses_premium_within_two_seconds_and_regains_it() -> None:
    both = (poisson("p", PREMIUM, 6, 120), poisson("s", STANDARD, 4, 120))
    opened = market(*both, offers="ab", policy=Policy(displaced_share=0.0))  # premium on both alike
    opened.slow_down(oid("a"), 20 * S, 5.0)
    opened.slow_down(oid("a"), 50 * S, 1.0)
    opened.run(140 * S)
    before = runs_of(opened, PREMIUM, 10, 20)
    assert on(before, "a") > len(before) / 4
    assert on(runs_of(opened, PREMIUM, 22, 50), "a") <= 3  # a probe now and then
    late = [run for run in runs_of(opened, PREMIUM, 22, 50) if not run.is_good]
    assert len(late) <= 3
    after = runs_of(opened, PREMIUM, 80, 120)
    assert on(after, "a") > len(after) / 4


def test_without_other_traffic_a_recovered_provider_is_found_again() -> None:
    opened = market(poisson("p", PREMIUM, 8, 120), offers="ab")
    opened.slow_down(oid("a"), 20 * S, 5.0)
    opened.slow_down(oid("a"), 40 * S, 1.0)
    opened.run(140 * S)
    assert on(runs_of(opened, PREMIUM, 80, 120), "a") > 50


def test_under_overload_what_is_accepted_is_in_time_and_the_rest_is_refused_early() -> None:
    arrivals = poisson("p", PREMIUM, 30, 30)
    opened = market(arrivals).run(60 * S)
    assert len(opened.runs) + len(opened.refused) == len(arrivals)
    assert sum(run.is_good for run in opened.runs) >= 0.98 * len(opened.runs)
    assert all(at_us - refusal.job.requested_at_us < 500 * MS for at_us, refusal in opened.refused)
    at_once = sum(at_us == refusal.job.requested_at_us for at_us, refusal in opened.refused)
    assert at_once > 0.7 * len(opened.refused)


def test_under_overload_the_capacity_that_the_promise_allows_is_used() -> None:
    # 21 at a time, each for a first token (100 ms and more) and 101 tokens of 18.5 ms: 10.8 a second at most
    opened = market(poisson("p", PREMIUM, 30, 40)).run(40 * S)
    started = [run for run in opened.runs if run.at_us >= 10 * S]
    assert 0.9 * 10.8 * 30 < len(started) < 1.1 * 10.8 * 30


def test_premium_under_a_flood_of_lesser_work_is_kept_and_goes_first() -> None:
    flood = [poisson("s", STANDARD, 30, 30), poisson("b", BULK, 30, 30)]
    arrivals = poisson("p", PREMIUM, 5, 30)
    opened = market(arrivals, *flood, policy=Policy(queue_max=64)).run(40 * S)
    premium = runs_of(opened, PREMIUM)
    assert sum(run.is_good for run in premium) >= 0.98 * len(premium)
    assert len(premium) > 0.85 * len(arrivals)


def test_lesser_work_fills_an_offer_whose_premium_nobody_asks_for() -> None:
    opened = market(poisson("s", STANDARD, 30, 20)).run(20 * S)
    busiest = max(
        sum(run.at_us <= at_us < (run.finished_us or 1e12) for run in opened.runs) for at_us in range(0, 20 * S, S)
    )
    assert busiest == 32


def test_bulk_fills_what_is_left_and_is_all_done_within_its_window() -> None:
    bulk = poisson("b", BULK, 8, 30)
    opened = market(poisson("p", PREMIUM, 3, 30), bulk).run(300 * S)
    assert len(runs_of(opened, BULK)) == len(bulk)
    assert all(run.is_good for run in runs_of(opened, BULK))


def _work_share_of_bulk(policy: Policy) -> float:
    opened = market(poisson("p", PREMIUM, 40, 50), poisson("b", BULK, 5, 50), policy=policy).run(50 * S)
    settled = [run for run in opened.runs if run.at_us >= 10 * S]
    return sum(run.dispatch.tier is BULK for run in settled) / len(settled)


@pytest.mark.parametrize("floor", [0.05, 0.15])
def test_a_tier_that_waits_is_never_starved_below_its_floor(floor: float) -> None:
    assert _work_share_of_bulk(Policy(floors={BULK: floor})) == pytest.approx(floor, rel=0.35)


def test_without_a_floor_it_would_be() -> None:
    assert _work_share_of_bulk(Policy(floors={})) < 0.02


def test_two_tenants_who_both_want_more_than_half_are_given_half_each_in_dollars() -> None:
    # one sends three times as many requests, the other requests three times as long
    ada = poisson("ada", STANDARD, 40, 40, customer_id="ada", input_tokens=300, output_tokens=51)
    bob = poisson("bob", STANDARD, 14, 40, customer_id="bob", input_tokens=900, output_tokens=153)
    opened = market(ada, bob).run(40 * S)
    dollars = Counter[str]()
    for run in opened.runs:
        if run.at_us >= 5 * S:
            dollars[run.job.customer_id] += run.job.input_tokens * 200_000 + run.job.output_tokens * 800_000
    assert dollars["ada"] / dollars.total() == pytest.approx(0.5, abs=0.06)


def test_a_tenant_who_asks_for_little_is_not_hurt_by_one_who_floods() -> None:
    flood = poisson("ada", STANDARD, 60, 30, customer_id="ada")
    little = poisson("bob", STANDARD, 2, 30, customer_id="bob")
    opened = market(flood, little).run(40 * S)
    of_bob = [run for run in opened.runs if run.job.customer_id == "bob"]
    assert len(of_bob) > 0.95 * len(little)
    assert all(run.is_good for run in of_bob)


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_at_full_load_a_tenant_at_ten_times_its_share_moves_anothers_p99_first_token_by_a_fifth_at_most(
    seed: str,
) -> None:
    # One offer serves some 13 of these a second: 6.5 are a tenant's share of two.
    def p99_of_bob(from_ada: float) -> float:
        bob = poisson(f"bob{seed}-", STANDARD, 6.5, 90, customer_id="bob")
        ada = poisson(f"ada{seed}-", STANDARD, from_ada, 90, customer_id="ada")
        opened = market(ada, bob).run(120 * S)
        waits = sorted(
            run.first_us - run.job.requested_at_us
            for run in opened.runs
            if run.job.customer_id == "bob" and run.first_us is not None
        )
        assert len(waits) > 0.85 * len(bob)
        return waits[int(0.99 * len(waits))]

    assert p99_of_bob(65.0) < 1.2 * p99_of_bob(6.5)


def test_every_job_has_exactly_one_end() -> None:
    arrivals = [poisson("p", PREMIUM, 15, 20), poisson("s", STANDARD, 15, 20), poisson("b", BULK, 15, 20)]
    opened = market(*arrivals, offers="ab", policy=Policy(queue_max=40)).run(2_000 * S)
    ends = Counter([run.job.id for run in opened.runs] + [refusal.job.id for _, refusal in opened.refused])
    assert ends == Counter(each.id for stream in arrivals for each in stream)
    assert (opened.dispatcher.waiting, opened.dispatcher.admitted) == (0, 0)


def test_no_offer_ever_runs_more_than_its_cap_or_than_a_promise_there_tolerates() -> None:
    opened = market(poisson("p", PREMIUM, 20, 15), poisson("b", BULK, 30, 15), offers="ab")
    worst = Counter[str]()

    def watch() -> None:
        for offer_id, engine in opened.engines.items():
            load = engine.load
            worst[offer_id] = max(worst[offer_id], load.in_flight)
            assert load.in_flight <= load.in_flight_tolerated
            assert load.in_flight <= engine.offer.concurrency_max
        opened.at(opened.now_us + 37 * MS, watch)

    opened.at(0, watch)
    opened.run(20 * S)
    assert min(worst.values()) >= 20
    assert opened.denied == 0  # one process sees its own leases at once


def test_the_same_seed_gives_the_same_market() -> None:
    def story(seed: int) -> list[tuple[str, str, int]]:
        opened = market(poisson("p", PREMIUM, 20, 8), poisson("s", STANDARD, 20, 8), offers="abc", seed=seed)
        return [(run.job.id, run.candidate.offer.id, run.at_us) for run in opened.run(20 * S).runs]

    assert story(1) == story(1)
    assert story(1) != story(2)
