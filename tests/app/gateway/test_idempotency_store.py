"""What an earlier claim of the same key came to: running, answered, left with nothing, or abandoned."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from app.errors import MarketError
from app.gateway.idempotency_store import ABANDONED_S, Claim, IdempotencyStore, Replay
from app.gateway.models import IdempotencyKeyRow
from pricing.rating import Ending
from pricing.slo import US_PER_S
from tests.ledger_world import CUSTOMER, T0, World, hold_request, open_world, settlement, usage_row

BODY = b'{"model":"m"}'


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with open_world(f"sqlite:///{tmp_path / 'market.sqlite3'}") as world:
        async with world.database.engine.begin() as connection:
            table = IdempotencyKeyRow.__table__  # pyright: ignore[reportAttributeAccessIssue] (SQLModel adds it at run time)
            await connection.run_sync(lambda sync: table.create(sync, checkfirst=True))
        await world.ledger.grant(CUSTOMER, 10_000, "seed", "seed")
        yield world


def claim(request_id: str, key: str = "order-1", customer_id: str = CUSTOMER) -> Claim:
    return Claim(customer_id, key, request_id)


async def refused(world: World, again: Claim, body: bytes = BODY, at_us: int = T0) -> str:
    with pytest.raises(MarketError) as raised:
        await IdempotencyStore(world.database).claim(again, body, at_us)
    return raised.value.code


async def settle(world: World, request_id: str, ending: Ending, tokens_output: int) -> None:
    await world.ledger.hold(hold_request(request_id))
    row = usage_row(request_id, ending=ending.value, tokens_output=tokens_output, tokens_good=0)
    await world.ledger.settle(settlement(request_id, rows=(row,)))


async def test_the_first_claim_may_run_and_the_next_waits_for_it(world: World) -> None:
    store = IdempotencyStore(world.database)
    assert await store.claim(claim("gen-1"), BODY, T0) is None
    assert await refused(world, claim("gen-2")) == "idempotency_in_progress"
    await world.ledger.hold(hold_request("gen-1"))
    assert await refused(world, claim("gen-2"), at_us=T0 + 3_600 * US_PER_S) == "idempotency_in_progress"


async def test_keys_are_their_customers_own(world: World) -> None:
    store = IdempotencyStore(world.database)
    assert await store.claim(claim("gen-1"), BODY, T0) is None
    assert await store.claim(claim("gen-2", customer_id="cus_other"), BODY, T0) is None
    assert await store.claim(claim("gen-3", key="order-2"), BODY, T0) is None


async def test_another_body_under_the_key_is_a_mistake(world: World) -> None:
    await IdempotencyStore(world.database).claim(claim("gen-1"), BODY, T0)
    assert await refused(world, claim("gen-2"), b"another") == "idempotency_key_reused"


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_a_key_of_no_use_is_refused(world: World, key: str) -> None:
    assert await refused(world, claim("gen-1", key)) == "invalid_value"


@pytest.mark.parametrize(
    ("ending", "tokens_output", "is_replayed"),
    [
        (Ending.STOP, 30, True),
        (Ending.LENGTH, 30, True),
        (Ending.HOLD_EXHAUSTED, 30, True),
        (Ending.STOP, 0, True),
        (Ending.HANGUP, 5, True),
        (Ending.HANGUP, 0, False),
        (Ending.PROVIDER_ERROR, 5, False),
        (Ending.PROVIDER_TIMEOUT, 0, False),
        (Ending.CRASH, 5, False),
    ],
)
async def test_what_the_customer_has_is_replayed_and_anything_else_runs_again(
    world: World, ending: Ending, tokens_output: int, *, is_replayed: bool
) -> None:
    store = IdempotencyStore(world.database)
    await store.claim(claim("gen-1"), BODY, T0)
    await settle(world, "gen-1", ending, tokens_output)
    answer = await store.claim(claim("gen-2"), BODY, T0)
    if is_replayed:
        assert isinstance(answer, Replay)
        assert answer.event.request_id == "gen-1"
    else:
        assert answer is None
        assert await refused(world, claim("gen-3")) == "idempotency_in_progress"  # gen-2 holds the key now


async def test_a_voided_hold_frees_the_key_at_once(world: World) -> None:
    store = IdempotencyStore(world.database)
    await store.claim(claim("gen-1"), BODY, T0)
    await world.ledger.hold(hold_request("gen-1"))
    await world.ledger.void("gen-1", "not placed")
    assert await store.claim(claim("gen-2"), BODY, T0) is None


async def test_a_claim_whose_process_died_before_its_hold_is_taken_over_after_a_while(world: World) -> None:
    store = IdempotencyStore(world.database)
    await store.claim(claim("gen-1"), BODY, T0)
    late_us = T0 + round(ABANDONED_S * US_PER_S)
    assert await refused(world, claim("gen-2"), at_us=late_us - 1) == "idempotency_in_progress"
    assert await store.claim(claim("gen-2"), BODY, late_us) is None
    await store.drop(claim("gen-1"))  # whoever lost the key cannot give it away
    assert await refused(world, claim("gen-3"), at_us=late_us) == "idempotency_in_progress"
    await store.drop(claim("gen-2"))
    assert await store.claim(claim("gen-3"), BODY, late_us) is None
