"""Redis is killed, frozen, flushed and started again under a running gateway."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import pytest

from app.fleet.leases import Denied, LeaseCandidate, Leased, LeaseRequest
from app.fleet.redis_lease_store import RedisLeaseStore
from app.fleet.redis_pipeline_client import RedisPatience, RedisPipelineClient, RedisRefused
from app.fleet.steady_lease_store import SteadyLeaseStore
from scheduler.fleet import UNBOUNDED, Load, OfferId
from tests.app.fleet.lease_benches import PATIENT, FakeClock, RedisServer, connected, eventually

pytestmark = pytest.mark.slow
A = OfferId("a/1")
PATIENCE = RedisPatience(connect_s=0.3, reply_s=0.3, backoff_s_min=0.01, backoff_s_max=0.05)


@contextlib.asynccontextmanager
async def steady(
    server: RedisServer, gateways_min: int = 1, clock: FakeClock | None = None, patience: RedisPatience = PATIENT
) -> AsyncGenerator[SteadyLeaseStore]:
    client = RedisPipelineClient(server.target, patience)
    store = SteadyLeaseStore(RedisLeaseStore(client), client, gateways_min, clock or FakeClock())
    await client.connect()
    try:
        yield store
    finally:
        await store.close()


async def load_in_redis(server: RedisServer) -> Load:
    """What another gateway sees."""
    async with connected(server.target) as client:
        return (await RedisLeaseStore(client).loads([A]))[A]


def ask(lease_id: str, in_flight_max: int = 100, prefill: int = 10, ttl_s: float = 60.0) -> LeaseRequest:
    return LeaseRequest(lease_id, "cus_1", None, (LeaseCandidate(A, 100, in_flight_max),), prefill, 20, ttl_s)


async def healed(store: SteadyLeaseStore) -> None:
    async def is_well() -> bool:
        await store.loads([A])
        return not store.is_degraded

    await eventually(is_well)


async def test_requests_are_admitted_started_and_ended_while_redis_is_dead_and_it_regains_all_that_still_runs(
    mortal_server: RedisServer,
) -> None:
    async with steady(mortal_server) as store:
        for lease_id in ("before1", "before2", "before3"):
            assert isinstance(await store.admit(ask(lease_id)), Leased)
        mortal_server.kill()
        assert isinstance(await store.admit(ask("during1", in_flight_max=9)), Leased)
        assert store.is_degraded
        assert "redis.sock" in store.trouble
        assert isinstance(await store.admit(ask("during2")), Leased)
        await store.started("before1", A)
        assert [await store.release("before2", A) for _ in range(2)] == [True, False]
        assert [await store.release("during2", A) for _ in range(2)] == [True, False]
        assert await store.loads([A]) == {A: Load(3, 9, 20)}
        mortal_server.start()
        await healed(store)
        assert await load_in_redis(mortal_server) == Load(3, 9, 20)
        assert not await store.release("before2", A)
        assert [await store.release("before1", A) for _ in range(2)] == [True, False]
        assert await load_in_redis(mortal_server) == Load(2, 9, 20)


async def test_a_gateway_alone_takes_its_share_of_an_offer_and_no_more(mortal_server: RedisServer) -> None:
    async with steady(mortal_server, gateways_min=4) as store:
        assert isinstance(await store.admit(ask("l0", in_flight_max=17)), Leased)
        mortal_server.kill()
        answers = [await store.admit(ask(f"l{n}", in_flight_max=17)) for n in range(1, 8)]
        assert [isinstance(answer, Leased) for answer in answers] == [True] * 3 + [False] * 4  # 4 × 4 ≤ 17 < 5 × 4
        load = answers[-1].loads[A] if isinstance(answers[-1], Denied) else Load()
        assert load.in_flight + 1 > 17  # whoever decides from this load sees no room either
        await store.release("l0", A)
        assert isinstance(await store.admit(ask("l9", in_flight_max=17)), Leased)


async def test_even_the_smallest_share_is_one_request(mortal_server: RedisServer) -> None:
    async with steady(mortal_server, gateways_min=8) as store:
        mortal_server.kill()
        assert (await store.loads([A]))[A] == Load()
        assert isinstance(await store.admit(ask("l1", in_flight_max=2)), Leased)
        assert isinstance(await store.admit(ask("l2", in_flight_max=2)), Denied)


async def test_what_was_taken_from_a_share_returns_to_redis_with_its_true_tolerance(mortal_server: RedisServer) -> None:
    async with steady(mortal_server, gateways_min=4) as store:
        mortal_server.kill()
        await store.admit(ask("l1", in_flight_max=16))
        mortal_server.start()
        await healed(store)
        assert await load_in_redis(mortal_server) == Load(1, 16, 10)


async def test_a_frozen_redis_is_given_up_and_what_ended_meanwhile_ends_there_too(mortal_server: RedisServer) -> None:
    async with steady(mortal_server, patience=PATIENCE) as store:
        await store.admit(ask("l1"))
        await store.admit(ask("l2"))
        with mortal_server.frozen():
            assert isinstance(await store.admit(ask("l3")), Leased)
            assert store.is_degraded
            assert await store.release("l1", A)
            await store.started("l2", A)
        await healed(store)

        async def is_settled() -> bool:  # the thawed server still runs what it had been sent
            return await load_in_redis(mortal_server) == Load(2, 100, 10)

        await eventually(is_settled)
        assert not await store.release("l1", A)


async def test_a_heartbeat_gives_redis_back_what_it_lost_without_a_broken_connection(
    mortal_server: RedisServer,
) -> None:
    async with steady(mortal_server) as store:
        await store.admit(ask("l1", in_flight_max=5))
        await store.admit(ask("l2"))
        await store.started("l2", A)
        async with connected(mortal_server.target) as client:
            await client.call("FLUSHALL")
        assert await load_in_redis(mortal_server) == Load()
        await store.beat([("l1", A), ("l2", A), ("ended", A)], ttl_s=30)
        assert await load_in_redis(mortal_server) == Load(2, 5, 10)
        assert not store.is_degraded


async def test_a_lease_that_expired_here_is_not_given_back_to_redis(mortal_server: RedisServer) -> None:
    clock = FakeClock()
    async with steady(mortal_server, clock=clock) as store:
        await store.admit(ask("l1", ttl_s=10))
        mortal_server.kill()
        await store.admit(ask("l2", ttl_s=30))
        clock.advance(10)
        mortal_server.start()
        await healed(store)
        await store.beat([("l1", A), ("l2", A)], ttl_s=30)
        assert (await load_in_redis(mortal_server)).in_flight == 1


async def test_another_gateways_lease_can_be_beaten_and_released_here(mortal_server: RedisServer) -> None:
    async with steady(mortal_server) as one, steady(mortal_server) as two:
        await one.admit(ask("l1", ttl_s=0.1))
        await two.beat([("l1", A)], ttl_s=30)
        await asyncio.sleep(0.15)
        assert (await load_in_redis(mortal_server)).in_flight == 1
        assert await two.release("l1", A)
        assert not await two.release("l1", A)
        assert await load_in_redis(mortal_server) == Load(0, UNBOUNDED, 0)


async def test_each_of_the_live_gateways_takes_its_share_once_redis_is_lost(
    mortal_server: RedisServer,
) -> None:
    async with steady(mortal_server) as one, steady(mortal_server) as two, steady(mortal_server) as three:
        for store in (one, two, three):
            await store.loads([A])
        mortal_server.kill()
        leased: list[int] = []
        for store in (two, three):  # one of the three knows only of itself, for it asked first
            answers = [await store.admit(ask(f"{id(store)}-{n}", in_flight_max=12)) for n in range(12)]
            leased.append(sum(isinstance(answer, Leased) for answer in answers))
        assert leased == [6, 4]


async def test_a_gateway_that_is_gone_no_longer_counts(mortal_server: RedisServer) -> None:
    async with connected(mortal_server.target) as client:
        clock = FakeClock()
        shared = RedisLeaseStore(client, virtual_now_us=clock)
        assert [await shared.attend(name, 15.0) for name in ("a", "b", "a")] == [1, 2, 2]
        clock.advance(10)
        assert await shared.attend("a", 15.0) == 2
        clock.advance(5)
        assert await shared.attend("a", 15.0) == 1


async def test_a_release_that_redis_could_not_take_is_made_up_for_at_the_next_beat(
    mortal_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with steady(mortal_server) as store:
        await store.admit(ask("l1"))
        await store.admit(ask("l2"))

        async def refuse(*_: object) -> bool:
            raise RedisRefused("READONLY You can't write against a read only replica.")

        with monkeypatch.context() as patch:
            patch.setattr(store._shared, "release", refuse)
            assert [await store.release("l1", A) for _ in range(2)] == [True, False]
            assert store.is_degraded
        assert not await store.release("l1", A)
        assert (await load_in_redis(mortal_server)).in_flight == 2
        await store.beat([("l2", A)], ttl_s=30)
        assert await load_in_redis(mortal_server) == Load(1, 100, 10)
        assert not await store.release("l1", A)


async def test_a_redis_out_of_memory_degrades_and_heals_on_the_same_connection(mortal_server: RedisServer) -> None:
    async with steady(mortal_server) as store, connected(mortal_server.target) as operator:
        await operator.call("CONFIG", "SET", "maxmemory", "1")
        assert isinstance(await store.admit(ask("l1")), Leased)
        assert store.is_degraded
        assert "OOM" in store.trouble
        await operator.call("CONFIG", "SET", "maxmemory", "0")
        await store.beat([("l1", A)], ttl_s=30)
        assert not store.is_degraded
        assert await load_in_redis(mortal_server) == Load(1, 100, 10)


async def test_a_lost_server_costs_an_admission_no_waiting(mortal_server: RedisServer) -> None:
    async with steady(mortal_server) as store:
        mortal_server.kill()
        await store.admit(ask("l1"))
        turns = 0
        admission = asyncio.create_task(store.admit(ask("l2")))
        while not admission.done():
            turns += 1
            await asyncio.sleep(0)
        assert turns <= 3
        assert isinstance(admission.result(), Leased)
