"""What only the Redis store does: the server's clock, one slot, the script's own life, cancellation."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from app.fleet.leases import Denied, LeaseCandidate, Leased, LeaseRequest
from app.fleet.redis_lease_store import RedisLeaseStore
from app.fleet.redis_pipeline_client import RedisPipelineClient
from app.identity.caller import Limits
from scheduler.fleet import UNBOUNDED, Load, OfferId
from tests.app.fleet.lease_benches import PATIENT, RedisServer, eventually, new_namespace

pytestmark = pytest.mark.slow
A = OfferId("a/1")
LIMITS = Limits(rpm=600, tpm=60_000, concurrency=50)


@dataclass
class Gateway:
    """One process's connection and store."""

    client: RedisPipelineClient
    store: RedisLeaseStore

    async def load(self) -> Load:
        return (await self.store.loads([A]))[A]


async def gateway(server: RedisServer, namespace: str) -> Gateway:
    client = RedisPipelineClient(server.target, PATIENT)
    store = RedisLeaseStore(client, namespace)
    await client.connect()
    return Gateway(client, store)


@pytest.fixture
async def pair(redis_server: RedisServer) -> AsyncIterator[tuple[Gateway, Gateway]]:
    namespace = new_namespace()
    gateways = [await gateway(redis_server, namespace) for _ in range(2)]
    yield gateways[0], gateways[1]
    for each in gateways:
        await each.store.close()


def ask(lease_id: str, in_flight_max: int = 100, ttl_s: float = 15.0, limits: Limits | None = LIMITS) -> LeaseRequest:
    return LeaseRequest(lease_id, "cus_1", limits, (LeaseCandidate(A, 100, in_flight_max),), 10, 20, ttl_s)


async def until_load(gateway: Gateway, load: Load) -> None:
    async def is_so() -> bool:
        return await gateway.load() == load

    await eventually(is_so)


async def test_gateways_see_each_others_leases_and_share_one_limit(pair: tuple[Gateway, Gateway]) -> None:
    one, two = pair
    asks = [(one if n % 2 else two).store.admit(ask(f"l{n}", in_flight_max=7)) for n in range(20)]
    answers = await asyncio.gather(*asks)
    leased = [f"l{n}" for n, answer in enumerate(answers) if isinstance(answer, Leased)]
    assert len(leased) == 7
    remaining = [answer.allowance.remaining_requests for answer in answers if answer.allowance]
    assert min(remaining) == 593
    assert await two.store.release(leased[0], A) != await one.store.release(leased[0], A)


async def test_a_lease_expires_by_the_servers_own_clock(pair: tuple[Gateway, Gateway]) -> None:
    one, two = pair
    await one.store.admit(ask("l1", in_flight_max=1, ttl_s=0.05))
    assert isinstance(await two.store.admit(ask("l2", in_flight_max=1)), Denied)
    await until_load(two, Load())
    assert isinstance(await two.store.admit(ask("l2", in_flight_max=1)), Leased)
    assert not await one.store.release("l1", A)


async def test_a_caller_cancelled_while_it_is_admitted_holds_nothing(pair: tuple[Gateway, Gateway]) -> None:
    one, two = pair
    tasks = [asyncio.create_task(one.store.admit(ask(f"l{n}"))) for n in range(10)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(answer, Leased) for answer in answers] == [False, True] * 5
    await until_load(two, Load(5, 100, 50))


async def test_a_flushed_script_is_loaded_again_unseen(pair: tuple[Gateway, Gateway]) -> None:
    one, _ = pair
    await one.client.call("SCRIPT", "FLUSH")
    assert isinstance(await one.store.admit(ask("l1")), Leased)
    await one.client.call("SCRIPT", "FLUSH")
    assert await one.store.release("l1", A)


async def test_nothing_but_the_allowance_is_left_of_ended_leases_and_that_vanishes_too(
    pair: tuple[Gateway, Gateway],
) -> None:
    one, _ = pair
    keys_before = set(await one.client.call("KEYS", "*"))
    await one.store.admit(ask("l1"))
    keys = sorted(set(await one.client.call("KEYS", "*")) - keys_before)
    assert {key.split(b":")[-1] for key in keys} == {b"a/1", b"bound", b"row", b"sum", b"debts", b"running"}
    assert min([int(await one.client.call("PTTL", key)) for key in keys]) > 0
    await one.store.release("l1", A)
    left = sorted(set(await one.client.call("KEYS", "*")) - keys_before)
    assert [key.split(b":")[-1] for key in left] == [b"debts"]


async def test_all_keys_of_a_market_carry_one_hash_tag(pair: tuple[Gateway, Gateway]) -> None:
    one, _ = pair
    keys_before = set(await one.client.call("KEYS", "*"))
    await one.store.admit(ask("l1"))
    keys = set(await one.client.call("KEYS", "*")) - keys_before
    tags = {key.partition(b"{")[2].partition(b"}")[0] for key in keys}
    assert len(keys) == 6
    assert len(tags) == 1


async def test_thousands_of_leases_of_a_dead_gateway_are_reaped_at_once(pair: tuple[Gateway, Gateway]) -> None:
    one, two = pair
    candidates = (LeaseCandidate(A, 5000, 5000),)
    for start in range(0, 3000, 500):
        await asyncio.gather(
            *(
                one.store.admit(LeaseRequest(f"l{n}", f"cus_{n % 7}", None, candidates, 1, 1, 0.5))
                for n in range(start, start + 500)
            )
        )
    assert (await two.load()).in_flight <= 3000
    await until_load(two, Load())


async def test_the_scripts_answer_takes_huge_numbers(pair: tuple[Gateway, Gateway]) -> None:
    one, _ = pair
    huge = Limits(rpm=100_000_000, tpm=100_000_000, concurrency=2**31)
    request = LeaseRequest("l1", "cus_9", huge, (LeaseCandidate(A, 2**31, 2**31),), 2**40, 99_999_999, 3600.0)
    answer = await one.store.admit(request)
    assert isinstance(answer, Leased)
    assert answer.loads[A] == await one.load() == Load(1, UNBOUNDED, 2**40)
    assert answer.allowance is not None
    assert answer.allowance.remaining_tokens == 1
    assert answer.allowance.remaining_requests == 99_999_999
