"""The asyncio driver: carries out commands, wakes what waits, and never leaks a lease or a job."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from app.errors import MarketError
from app.fleet.leases import Allowance, Denied, Leased, LeaseRequest, Limited, Quotas
from app.gateway.answer import Admission, Placement
from app.gateway.driver import Driver, allowance_headers, duration
from app.identity.caller import Limits
from pricing.money import Rate
from pricing.slo import Ladder, Rung, Slo, Tier
from pricing.usage import Rates
from scheduler.dispatcher import Dispatcher
from scheduler.fleet import Fleet, Load, Offer, OfferId, SpeedCurve
from scheduler.jobs import Capability, Job, JobId
from scheduler.placement import Admit, Wait

FREE = Rates(*(Rate(0),) * 4)
DEAR = Rates(*(Rate(1_000_000),) * 4)
LADDER = Ladder((Rung(Tier.STANDARD, Slo(2_000_000, 50_000), DEAR),))
CURVE = SpeedCurve((1, 4), (10_000.0, 20_000.0), 50_000.0, 10_000.0)
ALLOWANCE = Allowance(100, 99, 0.6, 1_000, 900, 6.0)
OFFER = OfferId("p/d")
LIMITS = Limits(100, 1_000, 10)


def offer(offer_id: str = "p/d", concurrency_max: int = 1) -> Offer:
    return Offer(
        id=OfferId(offer_id),
        provider_id="p",
        deployment_id="d",
        model="m",
        speed=CURVE,
        concurrency_max=concurrency_max,
        context_max=10_000,
        cost=FREE,
        capabilities=frozenset(Capability),
    )


def job(name: str, at_us: int = 0) -> Job:
    return Job(JobId(name), "cus", "m", Tier.STANDARD, LADDER, at_us, 10, 10, 20)


class Source:
    """A fleet whose loads are what the driver folded in."""

    def __init__(self, *offers: Offer) -> None:
        self.fleet = Fleet(offers={"m": offers})

    def fold(self, loads: Mapping[OfferId, Load]) -> None:
        self.fleet = replace(self.fleet, loads={**self.fleet.loads, **loads})


class Store:
    """A lease store for one slot per offer, that can be told to deny, limit or dawdle."""

    def __init__(self) -> None:
        self.live: dict[str, OfferId] = {}
        self.released: list[str] = []
        self.beats: list[str] = []
        self.limited = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def admit(self, request: LeaseRequest) -> Leased | Denied | Limited:
        if self.limited:
            return Limited("requests", 1.5, ALLOWANCE)
        taken = set(self.live.values())
        for candidate in request.candidates:
            if candidate.offer_id not in taken:
                self.live[request.lease_id] = candidate.offer_id
                await self.gate.wait()
                return Leased(candidate.offer_id, {candidate.offer_id: Load(1, 4, 10)}, ALLOWANCE)
        return Denied({each.offer_id: Load(1, 4, 0) for each in request.candidates}, ALLOWANCE)

    async def started(self, lease_id: str, offer_id: OfferId) -> None:
        assert self.live[lease_id] == offer_id

    async def release(self, lease_id: str, offer_id: OfferId) -> bool:
        if self.live.get(lease_id) != offer_id:
            return False
        del self.live[lease_id]
        self.released.append(lease_id)
        return True

    async def beat(self, leases: Sequence[tuple[str, OfferId]], ttl_s: float) -> None:
        assert ttl_s == 15.0
        self.beats.extend(lease_id for lease_id, _ in leases)

    async def loads(self, offer_ids: Sequence[OfferId]) -> Mapping[OfferId, Load]:
        return {each: Load(sum(1 for held in self.live.values() if held == each)) for each in offer_ids}

    def limit(self, quotas: Quotas) -> None:
        assert not quotas

    async def close(self) -> None:
        pass


def driver_over(store: Store, *offers: Offer) -> tuple[Driver, Dispatcher]:
    dispatcher = Dispatcher()
    return Driver(dispatcher, Source(*offers), store, lambda: 0, lease_ttl_s=15.0), dispatcher


async def place(driver: Driver, name: str) -> Placement:
    return await driver.lease(driver.arrive(job(name)), Admission(LIMITS, 30))


async def test_a_job_with_room_is_placed_and_released() -> None:
    store = Store()
    driver, dispatcher = driver_over(store, offer())
    placement = await place(driver, "a")
    assert (placement.offer.id, placement.allowance, driver.in_flight) == (OFFER, ALLOWANCE, 1)
    assert dispatcher.admitted == 0
    driver.started(placement)
    await driver.beat()
    assert store.beats == ["a"]
    driver.release(placement)
    driver.release(placement)
    await driver.close()
    assert (store.released, store.live, driver.in_flight) == (["a"], {}, 0)


async def test_a_job_without_room_waits_until_another_leaves() -> None:
    store = Store()
    driver, _ = driver_over(store, offer())
    first = await place(driver, "a")
    second = asyncio.ensure_future(place(driver, "b"))
    await asyncio.sleep(0.01)
    assert (driver.waiting, second.done()) == (1, False)
    driver.release(first)
    placement = await asyncio.wait_for(second, 2)
    assert placement.job.id == "b"
    assert driver.waiting == 0


async def test_a_waiting_job_that_leaves_is_forgotten() -> None:
    store = Store()
    driver, dispatcher = driver_over(store, offer())
    await place(driver, "a")
    waiting = asyncio.ensure_future(place(driver, "b"))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (driver.waiting, dispatcher.waiting, dispatcher.admitted) == (0, 0, 0)


async def test_a_lease_written_for_a_job_that_left_meanwhile_is_given_back() -> None:
    store = Store()
    store.gate.clear()
    driver, dispatcher = driver_over(store, offer())
    leasing = asyncio.ensure_future(place(driver, "a"))
    await asyncio.sleep(0.01)
    assert store.live == {"a": OFFER}
    leasing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leasing
    await driver.close()
    assert store.live == {}
    assert (dispatcher.admitted, driver.in_flight) == (0, 0)


async def test_a_lease_that_comes_after_the_job_was_given_up_is_given_back() -> None:
    store = Store()
    store.gate.clear()
    driver, dispatcher = driver_over(store, offer())
    leasing = asyncio.ensure_future(place(driver, "a"))
    await asyncio.sleep(0.01)
    dispatcher.on_withdrawn(JobId("a"))
    store.gate.set()
    with pytest.raises(MarketError) as refused:
        await leasing
    assert refused.value.code == "capacity_exceeded"
    await driver.close()
    assert (store.live, driver.in_flight) == ({}, 0)


async def test_a_customer_over_a_limit_is_told_which_and_when() -> None:
    store = Store()
    store.limited = True
    driver, dispatcher = driver_over(store, offer())
    with pytest.raises(MarketError) as refused:
        await place(driver, "a")
    error = refused.value
    assert (error.status, error.code, error.type) == (429, "rate_limit_exceeded", "requests")
    headers = error.headers()
    assert (headers["retry-after-ms"], headers["x-should-retry"]) == ("1500", "true")
    assert headers["x-ratelimit-remaining-requests"] == "99"
    assert dispatcher.admitted == 0


async def test_a_model_nobody_serves_is_refused_at_once() -> None:
    driver, _ = driver_over(Store())
    with pytest.raises(MarketError) as refused:
        driver.arrive(job("a"))
    assert (refused.value.status, refused.value.code) == (503, "no_provider_available")
    assert refused.value.headers()["x-should-retry"] == "false"


async def test_many_jobs_for_one_slot_each_get_it_once() -> None:
    store = Store()
    driver, dispatcher = driver_over(store, offer())

    async def run(name: str) -> str:
        placement = await place(driver, name)
        await asyncio.sleep(0)
        driver.release(placement)
        return placement.job.id

    names = [f"job-{index}" for index in range(12)]
    done = await asyncio.wait_for(asyncio.gather(*(run(name) for name in names), return_exceptions=True), 5)
    served = [each for each in done if isinstance(each, str)]
    refused = [each for each in done if isinstance(each, MarketError)]
    assert len(served) + len(refused) == len(names)
    assert len(served) >= 2
    await driver.close()
    assert (store.live, driver.in_flight, driver.waiting, dispatcher.admitted) == ({}, 0, 0, 0)


async def test_a_turn_that_comes_before_the_job_asks_for_it_is_not_lost() -> None:
    store = Store()
    driver, _ = driver_over(store, offer())
    first = await place(driver, "a")
    decision = driver.arrive(job("b"))
    assert isinstance(decision, Wait)
    driver.release(first)
    await driver.close()  # the release has woken the job, which is still busy reserving its money
    placement = await asyncio.wait_for(driver.lease(decision, Admission(LIMITS, 30)), 1)
    assert placement.job.id == "b"
    assert driver.waiting == 0


async def test_a_decision_to_wait_is_a_value_before_anything_is_reserved() -> None:
    store = Store()
    driver, _ = driver_over(store, offer())
    assert isinstance(driver.arrive(job("a")), Admit)
    driver.withdraw(job("a"))
    await place(driver, "b")
    assert isinstance(driver.arrive(job("c")), Wait)
    driver.withdraw(job("c"))


def test_durations_read_as_rate_limit_headers_write_them() -> None:
    assert [duration(each) for each in (0, 0.0061, 1, 59.5, 360)] == ["0ms", "6ms", "1s", "59.5s", "6m0s"]
    assert allowance_headers(None) == {}
