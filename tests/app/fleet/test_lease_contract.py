"""What every lease store does, on each of them; the clock is the test's."""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from app.fleet.leases import Allowance, Denied, LeaseCandidate, Leased, LeaseRequest, LeaseStore, Limited
from app.identity.caller import Limits
from scheduler.fleet import UNBOUNDED, Load, OfferId
from tests.app.fleet.lease_benches import FakeClock, lease_store

A, B = OfferId("cluster-a/gpu"), OfferId("cluster-b/gpu")
KINDS = ["in_process", pytest.param("redis", marks=pytest.mark.slow), pytest.param("steady", marks=pytest.mark.slow)]


@dataclass
class Bench:
    store: LeaseStore
    clock: FakeClock

    async def load(self, offer_id: OfferId = A) -> Load:
        return (await self.store.loads([offer_id]))[offer_id]


@pytest.fixture(params=KINDS)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    clock = FakeClock()
    async with lease_store(request.param, clock, lambda: request.getfixturevalue("redis_server")) as store:
        yield Bench(store, clock)


def candidate(offer_id: OfferId = A, concurrency_max: int = 100, in_flight_max: int = 100) -> LeaseCandidate:
    return LeaseCandidate(offer_id, concurrency_max, in_flight_max)


def ask(
    lease_id: str,
    *candidates: LeaseCandidate,
    limits: Limits | None = None,
    customer_id: str = "cus_1",
    prefill: int = 0,
    tokens: int = 0,
    ttl_s: float = 15.0,
) -> LeaseRequest:
    return LeaseRequest(lease_id, customer_id, limits, candidates or (candidate(),), prefill, tokens, ttl_s)


async def test_the_first_candidate_with_room_is_leased_and_its_load_counts_the_new_lease(bench: Bench) -> None:
    answer = await bench.store.admit(ask("l1", candidate(A, in_flight_max=7), candidate(B), prefill=40))
    assert answer == Leased(A, {A: Load(1, 7, 40), B: Load(0, UNBOUNDED, 0)}, None)


async def test_the_next_candidate_is_leased_when_the_first_is_full(bench: Bench) -> None:
    await bench.store.admit(ask("l1", candidate(A, concurrency_max=1)))
    answer = await bench.store.admit(ask("l2", candidate(A, concurrency_max=1), candidate(B, in_flight_max=3)))
    assert answer == Leased(B, {A: Load(1, 100, 0), B: Load(1, 3, 0)}, None)


async def test_a_request_is_denied_with_fresh_loads_when_no_candidate_has_room(bench: Bench) -> None:
    await bench.store.admit(ask("l1", prefill=5))
    await bench.store.admit(ask("l2", candidate(B), prefill=6))
    answer = await bench.store.admit(ask("l3", candidate(A, concurrency_max=1), candidate(B, in_flight_max=1)))
    assert answer == Denied({A: Load(1, 100, 5), B: Load(1, 100, 6)}, None)
    assert await bench.load() == Load(1, 100, 5)


async def test_nobody_is_put_beside_a_request_whose_promise_would_break(bench: Bench) -> None:
    await bench.store.admit(ask("l1", candidate(in_flight_max=2)))
    await bench.store.admit(ask("l2"))
    assert isinstance(await bench.store.admit(ask("l3")), Denied)
    await bench.store.release("l1", A)
    assert isinstance(await bench.store.admit(ask("l3")), Leased)


async def test_the_tightest_tolerance_returns_to_the_next_tightest_when_its_request_ends(bench: Bench) -> None:
    for lease_id, tolerated in (("l1", 9), ("l2", 5), ("l3", 5), ("l4", 7)):
        await bench.store.admit(ask(lease_id, candidate(in_flight_max=tolerated)))
    tightest = [(await bench.load()).in_flight_tolerated]
    for lease_id in ("l2", "l3", "l4", "l1"):
        await bench.store.release(lease_id, A)
        tightest.append((await bench.load()).in_flight_tolerated)
    assert tightest == [5, 5, 7, 9, UNBOUNDED]


async def test_prompt_tokens_are_pending_until_the_first_token(bench: Bench) -> None:
    await bench.store.admit(ask("l1", prefill=1000))
    await bench.store.admit(ask("l2", prefill=30))
    await bench.store.started("l1", A)
    await bench.store.started("l1", A)
    assert await bench.load() == Load(2, 100, 30)
    await bench.store.release("l2", A)
    assert await bench.load() == Load(1, 100, 0)


async def test_starting_an_unknown_lease_changes_nothing(bench: Bench) -> None:
    await bench.store.admit(ask("l1", prefill=8))
    await bench.store.started("l2", A)
    await bench.store.started("l1", B)
    assert await bench.load() == Load(1, 100, 8)


async def test_a_lease_is_released_once_whoever_calls_how_often(bench: Bench) -> None:
    await bench.store.admit(ask("l1", prefill=8))
    answers = await asyncio.gather(*(bench.store.release("l1", A) for _ in range(5)))
    assert sorted(answers) == [False, False, False, False, True]
    assert await bench.load() == Load()
    assert not await bench.store.release("never", A)


async def test_an_expired_lease_gives_back_count_tolerance_prefill_and_its_customers_place(bench: Bench) -> None:
    limits = Limits(rpm=100, tpm=100, concurrency=1)
    await bench.store.admit(ask("l1", candidate(in_flight_max=1), limits=limits, prefill=50, ttl_s=10))
    bench.clock.advance(9.999)
    assert await bench.load() == Load(1, 1, 50)
    bench.clock.advance(0.001)
    assert await bench.load() == Load()
    assert not await bench.store.release("l1", A)
    assert isinstance(await bench.store.admit(ask("l2", limits=limits)), Leased)


async def test_a_customers_place_comes_back_even_when_nobody_asks_about_the_dead_leases_offer(bench: Bench) -> None:
    limits = Limits(rpm=100, tpm=100, concurrency=1)
    await bench.store.admit(ask("l1", candidate(B), limits=limits, ttl_s=10))
    bench.clock.advance(10)
    assert isinstance(await bench.store.admit(ask("l2", candidate(A), limits=limits)), Leased)


async def test_a_beat_extends_a_live_lease_and_never_shortens_it(bench: Bench) -> None:
    await bench.store.admit(ask("l1", ttl_s=10))
    bench.clock.advance(8)
    await bench.store.beat([("l1", A)], ttl_s=10)
    bench.clock.advance(1)
    await bench.store.beat([("l1", A)], ttl_s=2)
    bench.clock.advance(8.9)
    assert (await bench.load()).in_flight == 1
    bench.clock.advance(0.1)
    assert (await bench.load()).in_flight == 0


async def test_a_beat_keeps_the_customers_place_too(bench: Bench) -> None:
    limits = Limits(rpm=100, tpm=100, concurrency=1)
    await bench.store.admit(ask("l1", limits=limits, ttl_s=10))
    bench.clock.advance(8)
    await bench.store.beat([("l1", A)], ttl_s=10)
    bench.clock.advance(8)
    assert isinstance(await bench.store.admit(ask("l2", candidate(B), limits=limits)), Limited)


async def test_a_beat_does_not_bring_a_reaped_lease_back(bench: Bench) -> None:
    await bench.store.admit(ask("l1", ttl_s=10))
    await bench.store.admit(ask("l2", ttl_s=20))
    bench.clock.advance(10)
    await bench.store.beat([("l1", A), ("l2", A), ("l1", B), ("never", A)], ttl_s=30)
    bench.clock.advance(29)
    assert (await bench.load()).in_flight == 1
    assert (await bench.load(B)).in_flight == 0


async def test_asking_again_for_a_live_lease_answers_the_same_and_takes_nothing_more(bench: Bench) -> None:
    limits = Limits(rpm=10, tpm=1000, concurrency=1)
    first = await bench.store.admit(ask("l1", limits=limits, prefill=5, tokens=100))
    again = await bench.store.admit(ask("l1", candidate(B), candidate(A), limits=limits, prefill=5, tokens=100))
    assert isinstance(first, Leased)
    assert isinstance(again, Leased)
    assert again.offer_id == A
    assert again.loads == {A: Load(1, 100, 5), B: Load()}
    assert again.allowance == first.allowance


async def test_a_request_live_on_two_offers_is_told_the_one_it_prefers(bench: Bench) -> None:
    await bench.store.admit(ask("l1", candidate(B)))
    await bench.store.admit(ask("l1", candidate(A)))
    for first, second in ((A, B), (B, A)):
        answer = await bench.store.admit(ask("l1", candidate(first), candidate(second)))
        assert isinstance(answer, Leased)
        assert answer.offer_id == first
    assert (await bench.load(A), await bench.load(B)) == (Load(1, 100, 0), Load(1, 100, 0))


async def test_a_failed_over_request_moves_its_place_without_being_limited_again(bench: Bench) -> None:
    limits = Limits(rpm=1, tpm=10, concurrency=1)
    await bench.store.admit(ask("l1", limits=limits, tokens=10))
    await bench.store.release("l1", A)
    assert isinstance(await bench.store.admit(ask("l1", candidate(B), tokens=10)), Leased)
    assert (await bench.load(A), await bench.load(B)) == (Load(), Load(1, 100, 0))


async def test_a_request_without_limits_still_takes_a_place_of_its_customer(bench: Bench) -> None:
    await bench.store.admit(ask("l1", candidate(B)))
    answer = await bench.store.admit(ask("l2", limits=Limits(rpm=9, tpm=9, concurrency=1)))
    assert isinstance(answer, Limited)
    assert answer.limit == "concurrency"


async def test_requests_per_minute_refill_evenly_and_say_when(bench: Bench) -> None:
    limits = Limits(rpm=2, tpm=100, concurrency=9)  # one request regained every 30 s
    await bench.store.admit(ask("l1", limits=limits))
    bench.clock.advance(10)
    await bench.store.admit(ask("l2", limits=limits))
    answer = await bench.store.admit(ask("l3", limits=limits))
    assert answer == Limited("requests", 20.0, Allowance(2, 0, 50.0, 100, 100, 0.0))
    bench.clock.advance(19.999_999)
    assert isinstance(await bench.store.admit(ask("l3", limits=limits)), Limited)
    bench.clock.advance(0.000_001)
    assert isinstance(await bench.store.admit(ask("l3", limits=limits)), Leased)


async def test_a_clock_that_steps_back_neither_gives_nor_takes(bench: Bench) -> None:
    limits = Limits(rpm=6, tpm=100, concurrency=9)
    await bench.store.admit(ask("l1", limits=limits))
    bench.clock.advance(-3600)
    answer = await bench.store.admit(ask("l2", limits=limits))
    assert isinstance(answer, Leased)
    assert answer.allowance == Allowance(6, 4, 20.0, 100, 100, 0.0)


async def test_tokens_per_minute_refill_evenly_and_say_when(bench: Bench) -> None:
    limits = Limits(rpm=600, tpm=6000, concurrency=9)  # a token every 10 ms, a request every 0.1 s
    first = await bench.store.admit(ask("l1", limits=limits, tokens=5000))
    assert isinstance(first, Leased)
    assert first.allowance == Allowance(600, 599, 0.1, 6000, 1000, 50.0)
    answer = await bench.store.admit(ask("l2", limits=limits, tokens=1500))
    assert answer == Limited("tokens", 5.0, Allowance(600, 599, 0.1, 6000, 1000, 50.0))
    bench.clock.advance(5)
    second = await bench.store.admit(ask("l2", limits=limits, tokens=1500))
    assert isinstance(second, Leased)
    assert second.allowance == Allowance(600, 599, 0.1, 6000, 0, 60.0)


async def test_a_request_larger_than_the_whole_limit_is_never_allowed(bench: Bench) -> None:
    answer = await bench.store.admit(ask("l1", limits=Limits(rpm=1, tpm=99, concurrency=1), tokens=100))
    assert isinstance(answer, Limited)
    assert (answer.limit, answer.retry_after_s) == ("tokens", math.inf)
    nothing = await bench.store.admit(ask("l1", limits=Limits(rpm=0, tpm=0, concurrency=0)))
    assert isinstance(nothing, Limited)
    assert (nothing.limit, nothing.retry_after_s) == ("requests", math.inf)
    assert nothing.allowance == Allowance(0, 0, 0.0, 0, 0, 0.0)


async def test_the_concurrency_limit_counts_live_leases_on_all_offers(bench: Bench) -> None:
    limits = Limits(rpm=100, tpm=100, concurrency=2)
    await bench.store.admit(ask("l1", candidate(A), limits=limits))
    await bench.store.admit(ask("l2", candidate(B), limits=limits))
    refused = await bench.store.admit(ask("l3", limits=limits))
    assert isinstance(refused, Limited)
    assert (refused.limit, refused.retry_after_s) == ("concurrency", 1.0)
    assert isinstance(await bench.store.admit(ask("l4", limits=limits, customer_id="cus_2")), Leased)
    await bench.store.release("l2", B)
    assert isinstance(await bench.store.admit(ask("l3", limits=limits)), Leased)


async def test_a_refused_admission_takes_nothing_from_the_allowance(bench: Bench) -> None:
    limits = Limits(rpm=3, tpm=100, concurrency=1)
    full = Allowance(3, 3, 0.0, 100, 100, 0.0)
    denied = await bench.store.admit(ask("l1", candidate(in_flight_max=0), limits=limits, tokens=10))
    assert denied == Denied({A: Load()}, full)
    over = await bench.store.admit(ask("l1", limits=limits, tokens=101))
    assert isinstance(over, Limited)
    assert over.allowance == full
    await bench.store.admit(ask("l1", limits=limits, tokens=10))
    busy = await bench.store.admit(ask("l2", limits=limits, tokens=10))
    assert isinstance(busy, Limited)
    assert busy.allowance == Allowance(3, 2, 20.0, 100, 90, 6.0)


async def test_a_lowered_limit_keeps_what_was_taken(bench: Bench) -> None:
    await bench.store.admit(ask("l1", limits=Limits(rpm=600, tpm=1000, concurrency=9), tokens=500))
    lower = Limits(rpm=60, tpm=400, concurrency=9)
    answer = await bench.store.admit(ask("l2", limits=lower, tokens=100))
    assert isinstance(answer, Limited)  # 500 taken + 100 asked − 400 held = 200 tokens, at 400 a minute
    assert (answer.limit, answer.retry_after_s) == ("tokens", 30.0)
    assert answer.allowance == Allowance(60, 59, 1.0, 400, 0, 75.0)


async def test_simultaneous_admissions_never_exceed_an_offers_maximum(bench: Bench) -> None:
    asks = [ask(f"l{n}", candidate(A, concurrency_max=10), candidate(B, in_flight_max=5)) for n in range(40)]
    answers = await asyncio.gather(*(bench.store.admit(each) for each in asks))
    leased = [answer.offer_id for answer in answers if isinstance(answer, Leased)]
    assert (leased.count(A), leased.count(B)) == (10, 5)
    assert (await bench.load(A)).in_flight == 10


async def test_without_candidates_a_request_is_denied(bench: Bench) -> None:
    request = LeaseRequest("l1", "cus_1", Limits(5, 5, 5), (), 0, 0, 15.0)
    assert await bench.store.admit(request) == Denied({}, Allowance(5, 5, 0.0, 5, 5, 0.0))


@pytest.mark.parametrize("name", ["with space", "ü/∞", "{tag}", "new\nline", "a:b:c", "0", "%s"])
async def test_ids_may_hold_any_character(bench: Bench, name: str) -> None:
    offer = OfferId(name)
    request = ask(name, candidate(offer), customer_id=name, prefill=3, limits=Limits(9, 9, 1))
    assert isinstance(await bench.store.admit(request), Leased)
    await bench.store.beat([(name, offer)], ttl_s=20)
    await bench.store.started(name, offer)
    assert await bench.load(offer) == Load(1, 100, 0)
    assert await bench.store.release(name, offer)
    assert isinstance(await bench.store.admit(request), Leased)


async def test_many_leases_and_offers_are_beaten_and_read_at_once(bench: Bench) -> None:
    offers = [OfferId(f"p/{n}") for n in range(300)]
    leases = [(f"l{n}", offer) for n, offer in enumerate(offers)]
    for lease_id, offer in leases:
        await bench.store.admit(ask(lease_id, candidate(offer), prefill=1, ttl_s=10))
    bench.clock.advance(9)
    await bench.store.beat(leases[:250], ttl_s=10)
    bench.clock.advance(2)
    loads = await bench.store.loads(offers)
    assert [load.in_flight for load in loads.values()] == [1] * 250 + [0] * 50
    assert list(loads) == offers
    assert await bench.store.loads([]) == {}


def test_a_lease_request_that_makes_no_sense_is_refused_with_its_numbers() -> None:
    with pytest.raises(ValueError, match=r"0 and at most 3600.0 s, got 0"):
        ask("l1", ttl_s=0)
    with pytest.raises(ValueError, match=r"got -1 to prefill and 0 in all"):
        ask("l1", prefill=-1)
    with pytest.raises(ValueError, match="needs an id"):
        ask("")
    with pytest.raises(ValueError, match="at most 16 different offers"):
        ask("l1", candidate(A), candidate(A))
