"""Quotas that offers share hold on every lease store: a minute's requests and tokens, and places over all offers."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.fleet.lease_table import LeaseTable
from app.fleet.leases import Denied, LeaseCandidate, Leased, LeaseRequest, LeaseStore, Quota
from scheduler.fleet import UNBOUNDED, Load, OfferId
from tests.app.fleet.lease_benches import FakeClock, lease_store

A, B = OfferId("acme/a"), OfferId("acme/b")
KINDS = ["in_process", pytest.param("redis", marks=pytest.mark.slow), pytest.param("steady", marks=pytest.mark.slow)]


@dataclass
class Bench:
    store: LeaseStore
    clock: FakeClock

    async def ask(self, lease_id: str, *offers: OfferId, tokens: int = 10) -> Leased | Denied:
        candidates = tuple(LeaseCandidate(offer, 100, 100) for offer in offers or (A,))
        answer = await self.store.admit(LeaseRequest(lease_id, "cus_1", None, candidates, 0, tokens, 600.0))
        assert isinstance(answer, Leased | Denied)
        return answer


@pytest.fixture(params=KINDS)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    clock = FakeClock()
    async with lease_store(request.param, clock, lambda: request.getfixturevalue("redis_server")) as store:
        yield Bench(store, clock)


async def test_requests_a_minute_are_shared_by_all_offers_of_a_contract(bench: Bench) -> None:
    contract = Quota("ctr_1", rpm=2)
    bench.store.limit({A: (contract,), B: (contract,)})
    assert isinstance(await bench.ask("l1", A), Leased)
    assert isinstance(await bench.ask("l2", B), Leased)
    denied = await bench.ask("l3", A, B)
    assert isinstance(denied, Denied)
    assert denied.loads == {A: Load(1, 1, 0), B: Load(1, 1, 0)}  # nothing more is tolerated
    bench.clock.advance(29.9)
    assert isinstance(await bench.ask("l3", A), Denied)
    bench.clock.advance(0.1)  # two a minute: half a minute regains one
    assert isinstance(await bench.ask("l3", A), Leased)


async def test_tokens_a_minute_count_what_each_request_may_use(bench: Bench) -> None:
    bench.store.limit({A: (Quota("ctr_1", tpm=100),)})
    assert isinstance(await bench.ask("l1", tokens=70), Leased)
    assert isinstance(await bench.ask("l2", tokens=31), Denied)
    assert isinstance(await bench.ask("l3", tokens=30), Leased)
    bench.clock.advance(6.0)  # a tenth of a minute regains ten
    assert isinstance(await bench.ask("l4", tokens=11), Denied)
    assert isinstance(await bench.ask("l5", tokens=10), Leased)


async def test_places_are_counted_over_all_offers_that_share_them(bench: Bench) -> None:
    tuned = Quota("tuned:acme/m", concurrency=2)
    bench.store.limit({A: (tuned,), B: (tuned,)})
    await bench.ask("l1", A)
    await bench.ask("l2", B)
    assert isinstance(await bench.ask("l3", B), Denied)
    assert await bench.store.release("l1", A)
    assert isinstance(await bench.ask("l3", B), Leased)


async def test_an_offer_without_quota_is_taken_when_the_first_ones_is_used_up(bench: Bench) -> None:
    bench.store.limit({A: (Quota("ctr_1", rpm=1),)})
    await bench.ask("l1", A)
    answer = await bench.ask("l2", A, B)
    assert isinstance(answer, Leased)
    assert answer.offer_id == B


async def test_every_quota_of_an_offer_must_take_the_request_and_a_denied_one_takes_of_none(bench: Bench) -> None:
    bench.store.limit({A: (Quota("ctr_1", rpm=2), Quota("tuned:m", rpm=1)), B: (Quota("ctr_1", rpm=2),)})
    await bench.ask("l1", A)
    assert isinstance(await bench.ask("l2", A), Denied)
    assert isinstance(await bench.ask("l3", B), Leased)


async def test_asking_again_for_a_live_lease_takes_no_second_part_of_a_quota(bench: Bench) -> None:
    bench.store.limit({A: (Quota("ctr_1", rpm=1),)})
    assert isinstance(await bench.ask("l1"), Leased)
    assert isinstance(await bench.ask("l1"), Leased)


async def test_a_used_up_quota_shows_in_the_loads_until_it_is_regained_or_lifted(bench: Bench) -> None:
    bench.store.limit({A: (Quota("ctr_1", rpm=1),)})
    await bench.ask("l1")
    assert await bench.store.loads([A, B]) == {A: Load(1, 1, 0), B: Load(0, UNBOUNDED, 0)}
    bench.clock.advance(60.0)
    assert await bench.store.loads([A]) == {A: Load(1, 100, 0)}
    await bench.ask("l2")
    bench.store.limit({})
    assert await bench.store.loads([A]) == {A: Load(2, 100, 0)}


async def test_what_was_used_stays_used_when_a_quota_changes(bench: Bench) -> None:
    bench.store.limit({A: (Quota("ctr_1", rpm=4),)})
    for number in range(3):
        await bench.ask(f"l{number}")
    bench.store.limit({A: (Quota("ctr_1", rpm=3),)})
    assert isinstance(await bench.ask("l3"), Denied)


def test_a_process_that_decides_alone_takes_its_share_of_a_quota() -> None:
    table = LeaseTable(gateways=2)
    table.limit({A: (Quota("ctr_1", rpm=4),)})
    candidates = (LeaseCandidate(A, 100, 100),)
    answers = [table.admit(LeaseRequest(f"l{n}", "c", None, candidates, 0, 0, 60.0), 0) for n in range(3)]
    assert [isinstance(answer, Leased) for answer in answers] == [True, True, False]


@given(
    st.lists(st.tuples(st.integers(0, 40_000_000), st.integers(0, 60)), max_size=30),
    st.integers(1, 5),
    st.integers(1, 100),
)
def test_a_bucket_never_gives_more_than_a_minutes_worth_beyond_what_drained(
    arrivals: list[tuple[int, int]], rpm: int, tpm: int
) -> None:
    """Against exact fractions: a request is taken exactly when both buckets have room for it."""
    table = LeaseTable()
    table.limit({A: (Quota("ctr_1", rpm=rpm, tpm=tpm),)})
    now_us, owed, at_us = 0, (Fraction(0), Fraction(0)), 0
    for number, (pause_us, tokens) in enumerate(arrivals):
        now_us += pause_us
        gone = Fraction(now_us - at_us, 60_000_000)
        owed, at_us = (max(Fraction(0), owed[0] - rpm * gone), max(Fraction(0), owed[1] - tpm * gone)), now_us
        fits = owed[0] + 1 <= rpm and owed[1] + tokens <= tpm
        request = LeaseRequest(f"l{number}", "c", None, (LeaseCandidate(A, 10**6, 10**6),), 0, tokens, 3600.0)
        assert isinstance(table.admit(request, now_us), Leased) == fits
        if fits:
            owed = (owed[0] + 1, owed[1] + tokens)
