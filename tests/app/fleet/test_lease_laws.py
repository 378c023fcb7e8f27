"""Whatever happens in whatever order, a lease store is in the state that a list of leases says it is in."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.fleet.leases import Allowance, Denied, LeaseCandidate, Leased, LeaseRequest, LeaseStore, Limited
from app.identity.caller import Limits
from scheduler.fleet import UNBOUNDED, Load, OfferId
from tests.app.fleet.lease_benches import FakeClock, RedisServer, lease_store

OFFERS = [OfferId("a/1"), OfferId("a/2"), OfferId("b/1")]
LEASES = [f"l{n}" for n in range(6)]
CUSTOMERS = ["cus_1", "cus_2"]


@dataclass
class ListedLease:
    lease_id: str
    offer_id: OfferId
    customer_id: str
    bound: int
    prefill: int
    expires_at_us: int


@dataclass
class Model:
    """The same rules over one plain list, with exact fractions for the limits."""

    leases: list[ListedLease] = field(default_factory=list)
    used: dict[tuple[str, str], tuple[Fraction, int]] = field(default_factory=dict)

    def expire(self, now_us: int) -> None:
        self.leases = [lease for lease in self.leases if lease.expires_at_us > now_us]

    def load(self, offer_id: OfferId) -> Load:
        there = [lease for lease in self.leases if lease.offer_id == offer_id]
        bounds = [lease.bound for lease in there]
        return Load(len(there), min(bounds, default=UNBOUNDED), sum(lease.prefill for lease in there))

    def find(self, lease_id: str, offer_id: OfferId) -> ListedLease | None:
        return next((each for each in self.leases if (each.lease_id, each.offer_id) == (lease_id, offer_id)), None)

    def owed(self, customer_id: str, what: str, per_minute: int, now_us: int) -> Fraction:
        amount, at_us = self.used.get((customer_id, what), (Fraction(0), now_us))
        return max(Fraction(0), amount - Fraction(per_minute * (now_us - at_us), 60_000_000))

    def beat(self, places: list[tuple[str, OfferId]], ttl_s: float, now_us: int) -> None:
        for place in places:
            if lease := self.find(*place):
                lease.expires_at_us = max(lease.expires_at_us, now_us + round(ttl_s * 1e6))

    def owing(self, request: LeaseRequest, limits: Limits, now_us: int) -> dict[str, Fraction]:
        """What the customer would owe with this request, in requests and tokens."""
        asked = {"requests": (limits.rpm, 1), "tokens": (limits.tpm, request.tokens)}
        return {
            what: self.owed(request.customer_id, what, per_minute, now_us) + cost
            for what, (per_minute, cost) in asked.items()
        }

    def allowance(self, request: LeaseRequest, limits: Limits, now_us: int) -> Allowance:
        numbers: list[Any] = []
        for what, per_minute in (("requests", limits.rpm), ("tokens", limits.tpm)):
            owed = self.owed(request.customer_id, what, per_minute, now_us)
            reset_us = math.ceil(owed * 60_000_000 / per_minute) if per_minute else 0
            numbers += [per_minute, max(0, math.floor(per_minute - owed)), reset_us / 1e6]
        return Allowance(*numbers)

    def over(self, request: LeaseRequest, limits: Limits, now_us: int) -> str | None:
        owing = self.owing(request, limits, now_us)
        if owing["requests"] > limits.rpm:
            return "limited requests"
        if owing["tokens"] > limits.tpm:
            return "limited tokens"
        running = sum(lease.customer_id == request.customer_id for lease in self.leases)
        return "limited concurrency" if running >= limits.concurrency else None

    def has_room(self, candidate: LeaseCandidate) -> bool:
        load = self.load(candidate.offer_id)
        return load.in_flight + 1 <= min(candidate.concurrency_max, candidate.in_flight_max, load.in_flight_tolerated)

    def admit(self, request: LeaseRequest, now_us: int) -> str:
        """``leased OFFER``, ``denied`` or ``limited WHAT``."""
        self.expire(now_us)
        for candidate in request.candidates:
            if self.find(request.lease_id, candidate.offer_id):
                return f"leased {candidate.offer_id}"
        if request.limits and (over := self.over(request, request.limits, now_us)):
            return over
        for candidate in filter(self.has_room, request.candidates):
            self.leases.append(listed(request, candidate, now_us))
            if request.limits:
                for what, amount in self.owing(request, request.limits, now_us).items():
                    self.used[request.customer_id, what] = (amount, now_us)
            return f"leased {candidate.offer_id}"
        return "denied"


def listed(request: LeaseRequest, candidate: LeaseCandidate, now_us: int) -> ListedLease:
    expires_at_us = now_us + round(request.ttl_s * 1e6)
    return ListedLease(
        request.lease_id,
        candidate.offer_id,
        request.customer_id,
        candidate.in_flight_max,
        request.prefill_tokens,
        expires_at_us,
    )


limits_drawn = st.none() | st.builds(
    Limits, rpm=st.integers(0, 4), tpm=st.integers(0, 50), concurrency=st.integers(0, 4)
)
candidates_drawn = st.lists(
    st.builds(LeaseCandidate, st.sampled_from(OFFERS), st.integers(0, 4), st.integers(0, 4)),
    min_size=1,
    max_size=3,
    unique_by=lambda candidate: candidate.offer_id,
).map(tuple)
requests_drawn = st.builds(
    LeaseRequest,
    lease_id=st.sampled_from(LEASES),
    customer_id=st.sampled_from(CUSTOMERS),
    limits=limits_drawn,
    candidates=candidates_drawn,
    prefill_tokens=st.integers(0, 100),
    tokens=st.integers(0, 30),
    ttl_s=st.sampled_from([0.5, 5.0, 30.0]),
)
place = st.tuples(st.sampled_from(LEASES), st.sampled_from(OFFERS))
steps_drawn = st.lists(
    st.tuples(st.just("admit"), requests_drawn)
    | st.tuples(st.sampled_from(["started", "release"]), place)
    | st.tuples(st.just("beat"), st.tuples(st.lists(place, max_size=4), st.sampled_from([0.5, 10.0])))
    | st.tuples(st.just("pass"), st.sampled_from([0.1, 0.5, 7.0, 20.0])),
    max_size=25,
)


async def admit_both(store: LeaseStore, model: Model, now_us: int, drawn: LeaseRequest) -> None:
    answer = await store.admit(drawn)
    limits = drawn.limits or Limits(0, 0, 0)
    owing = model.owing(drawn, limits, now_us)
    assert said(answer) == model.admit(drawn, now_us)
    if isinstance(answer, Limited) and answer.limit in owing:
        per_minute = {"requests": limits.rpm, "tokens": limits.tpm}[answer.limit]
        cost = {"requests": 1, "tokens": drawn.tokens}[answer.limit]
        assert answer.retry_after_s == retry_s(owing[answer.limit], per_minute, cost)
    assert answer.allowance == (model.allowance(drawn, limits, now_us) if drawn.limits else None)
    if not isinstance(answer, Limited):
        assert answer.loads == {each.offer_id: model.load(each.offer_id) for each in drawn.candidates}


async def step(store: LeaseStore, model: Model, clock: FakeClock, kind: str, drawn: Any) -> None:
    """Does one thing to both, and compares what they answer."""
    model.expire(clock.now_us)
    match kind:
        case "admit":
            await admit_both(store, model, clock.now_us, drawn)
        case "started":
            await store.started(*drawn)
            if lease := model.find(*drawn):
                lease.prefill = 0
        case "release":
            lease = model.find(*drawn)
            assert await store.release(*drawn) == (lease is not None)
            model.leases = [each for each in model.leases if each is not lease]
        case "beat":
            await store.beat(*drawn)
            places, ttl_s = drawn
            model.beat(places, ttl_s, clock.now_us)
        case _:
            clock.advance(drawn)


def retry_s(owing: Fraction, per_minute: int, cost: int) -> float:
    """When enough is regained, rounded up to whole µs."""
    return math.inf if cost > per_minute else math.ceil((owing - per_minute) * 60_000_000 / per_minute) / 1e6


def said(answer: Leased | Denied | Limited) -> str:
    match answer:
        case Leased():
            return f"leased {answer.offer_id}"
        case Denied():
            return "denied"
        case Limited():
            return f"limited {answer.limit}"


async def compare(kind: str, server: Callable[[], RedisServer], steps: list[tuple[str, Any]]) -> None:
    clock, model = FakeClock(), Model()
    async with lease_store(kind, clock, server) as store:
        for name, drawn in steps:
            await step(store, model, clock, name, drawn)
            model.expire(clock.now_us)
            assert await store.loads(OFFERS) == {offer_id: model.load(offer_id) for offer_id in OFFERS}


def no_server() -> RedisServer:
    raise AssertionError("the in-process store needs no server")


@settings(max_examples=150, deadline=None)
@given(steps=steps_drawn)
def test_the_in_process_store_equals_the_list(steps: list[tuple[str, Any]]) -> None:
    asyncio.run(compare("in_process", no_server, steps))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["redis", "steady"])
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps_drawn)
def test_the_redis_stores_equal_the_list(kind: str, redis_server: RedisServer, steps: list[tuple[str, Any]]) -> None:
    asyncio.run(compare(kind, lambda: redis_server, steps))
