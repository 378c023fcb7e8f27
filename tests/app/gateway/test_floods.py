"""Crowds: a thousand who hang up, a queue at its bound, a fleet that cannot serve, a half-open offer."""

import asyncio
import json
from typing import Any, cast

import pytest

from app import clock
from app.fleet.health import Entry
from app.fleet.lease_store import InProcessLeaseStore
from app.gateway.driver import Driver
from app.gateway.head import Head
from app.gateway.serve import serve
from app.gateway.sse import Exchange
from app.identity.caller import Caller, Limits
from pricing.rating import Ending
from providers.errors import ProviderServerError
from scheduler.dispatcher import Dispatcher
from scheduler.fleet import Load, OfferId
from scheduler.policy import Policy
from tests.app.gateway.rooms import BODY, Authenticator, Customer, Rooms, ended, offer, said

P = OfferId("p/d")


class Crowd(Authenticator):
    """A customer without limits."""

    caller = Caller("cus_1", "key_1", "test", Limits(10**9, 10**12, 10**6))


class Real(Rooms):
    """Rooms with a real lease store and room for many."""

    def __init__(self, places: int, policy: Policy, **fields: Any) -> None:
        self.fields = fields
        speed = offer("p").speed
        wide = type(speed)((1, 4_096), (1_000.0, 1_001.0), 10_000.0, 1e9)
        super().__init__(offer("p", places, speed=wide), policy=policy)
        self.store = InProcessLeaseStore()
        self.market.leases = self.store
        self.dispatcher = Dispatcher(policy)
        self.driver = Driver(self.dispatcher, self.backends, self.store, clock.now_us, lease_ttl_s=60.0)
        self.market.driver = self.driver
        self.market.authenticator = cast("Any", Crowd())

    def come(self, number: int) -> tuple[Customer, "asyncio.Task[None]"]:
        customer = Customer(self.points, json.dumps({**BODY, **self.fields}).encode())
        exchange = Exchange(customer.receive, customer.send, 60.0)
        head = Head(f"gen_{number}", clock.monotonic_ns(), clock.now_us(), "Bearer x", None, None, None)
        return customer, asyncio.ensure_future(serve(exchange, head, self.market))

    async def check_all_is_given_back(self) -> None:
        await self.driver.close()
        assert self.ledger.pending == {}
        assert self.market.holds == set()
        assert (self.driver.in_flight, self.driver.waiting) == (0, 0)
        assert (self.dispatcher.admitted, self.dispatcher.waiting) == (0, 0)
        assert (await self.store.loads([P]))[P] == Load(0, 1_000_000, 0)


@pytest.mark.parametrize("fields", [{"stream": True}, {"stream": False}, {"stream": True, "service_tier": "priority"}])
async def test_a_thousand_who_hang_up_leave_no_lease_hold_or_task(fields: dict[str, Any]) -> None:
    before = asyncio.all_tasks()
    rooms = Real(600, Policy(hedge_share=0.02), **fields)
    rooms.points.armed = "stuck"
    rooms.backends.scripts[P] = [said(0), said(1), "stuck", ended(2)]
    crowd = [rooms.come(number) for number in range(1_000)]  # 600 run, 400 wait
    await rooms.until(lambda: rooms.driver.in_flight == 600)
    for customer, _ in crowd:
        customer.left.set()
    await asyncio.wait_for(asyncio.gather(*(task for _, task in crowd)), 30)
    await rooms.check_all_is_given_back()
    endings = {each.charge.ending for each in rooms.ledger.settled}
    assert endings == {Ending.HANGUP}
    refused = sum(customer.status == 429 for customer, _ in crowd)  # on a slow machine some wait too long for premium
    assert len(rooms.ledger.settled) + len(rooms.ledger.voided) + refused == 1_000
    assert asyncio.all_tasks() == before


async def test_a_queue_at_its_bound_refuses_the_rest_and_charges_nothing() -> None:
    rooms = Real(4, Policy(queue_max=10), stream=True)
    rooms.points.armed = "stuck"
    rooms.backends.scripts[P] = ["stuck", said(0), ended(1)]
    crowd = [rooms.come(number) for number in range(50)]
    await rooms.until(lambda: sum(task.done() for _, task in crowd) == 36)
    refused = [customer for customer, task in crowd if task.done()]
    assert {customer.status for customer in refused} == {429}
    assert all("Nothing was charged" in customer.text for customer in refused)
    assert all(0 < float(customer.headers["retry-after-ms"]) <= 120_000 for customer in refused)
    assert (rooms.driver.in_flight, rooms.dispatcher.waiting) == (4, 10)
    rooms.points.open.set()
    await asyncio.wait_for(asyncio.gather(*(task for _, task in crowd)), 10)
    served = [customer for customer, _ in crowd if customer.status == 200]
    assert len(served) == 14
    await rooms.check_all_is_given_back()


async def test_a_fleet_that_cannot_keep_the_promise_says_so_with_the_numbers() -> None:
    rooms = Rooms(offer("p", speed=type(offer("p").speed)((1,), (5_000_000.0,), 10.0, 1e9)))
    customer = await rooms.ask()
    error = json.loads(customer.text)["error"]
    assert (customer.status, error["code"]) == (429, "capacity_exceeded")
    assert "promises a first token within 60000 ms and 1000 ms per token" in error["message"]
    assert "5000 ms per token even with nothing else to do" in error["message"]


async def test_of_two_hundred_who_meet_a_half_open_offer_exactly_one_probes_it() -> None:
    rooms = Real(600, Policy(), stream=True)
    rooms.points.armed = "probing"
    rooms.backends.scripts[P] = ["probing", said(0), ended(1)]
    probes: list[OfferId] = []

    def enter(offer_id: OfferId) -> Entry:
        probes.append(offer_id)
        return Entry.PROBE if len(probes) == 1 else Entry.SHUT

    cast("Any", rooms.backends).enter = enter
    crowd = [rooms.come(number) for number in range(200)]
    await rooms.until(lambda: sum(task.done() for _, task in crowd) == 199)
    assert len(rooms.backends.asked) == 1
    assert {customer.status for customer, task in crowd if task.done()} == {503}
    rooms.points.open.set()
    await asyncio.wait_for(asyncio.gather(*(task for _, task in crowd)), 10)
    assert sum(customer.status == 200 for customer, _ in crowd) == 1
    assert [told for told in rooms.backends.told if "failed" in told] == []
    await rooms.check_all_is_given_back()


async def test_many_failures_at_once_are_repeated_for_a_tenth_and_ten_more() -> None:
    rooms = Rooms(offer("p", 1_000), offer("q", 1_000), policy=Policy(retry_spread_us=1_000))
    store = InProcessLeaseStore()
    rooms.driver = Driver(rooms.dispatcher, rooms.backends, store, clock.now_us, lease_ttl_s=60.0)
    rooms.market.driver, rooms.market.leases = rooms.driver, store
    rooms.market.authenticator = cast("Any", Crowd())
    for name in ("p/d", "q/d"):
        rooms.backends.scripts[OfferId(name)] = [ProviderServerError("x", "boom", 500)]
    for batch in range(100):
        tasks = [rooms.begin(f"gen_{batch}_{number}", stream=True, provider={"order": ["p"]}) for number in range(3)]
        await asyncio.gather(*tasks)
    await rooms.driver.close()
    assert len(rooms.backends.asked) <= 300 + 30 + 10
    assert len(rooms.backends.asked) >= 300 + 30
    assert rooms.ledger.pending == {}
