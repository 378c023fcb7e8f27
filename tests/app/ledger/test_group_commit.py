import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from app.db import Database
from app.ledger import writer as writer_module
from app.ledger.operations import ExtendHold, Operation, Outcome, PlaceHold, SettleHold, VoidHold
from app.ledger.sql_store import Contention, Refused, Unavailable
from app.ledger.writer import (
    ATTEMPTS_MAX,
    LedgerBusy,
    LedgerRefused,
    LedgerUnavailable,
    LedgerWriter,
    open_store,
)
from tests.ledger_world import T0, hold_request, settlement


class RecordedStore:
    """Keeps the batches it is given; waits at the gate, and fails when told to."""

    def __init__(self, fail: Callable[[Sequence[Operation]], Exception | None] = lambda _: None) -> None:
        self.batches: list[list[Operation]] = []
        self.committed: list[Operation] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fail = fail
        self.is_closed = False

    async def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        self.batches.append(list(operations))
        await self.gate.wait()
        if error := self.fail(operations):
            raise error
        self.committed.extend(operations)
        return [True] * len(operations)

    async def close(self) -> None:
        self.is_closed = True


def void(number: int) -> VoidHold:
    return VoidHold(f"gen-{number}", "test", T0)


async def start(store: RecordedStore, **options: Any) -> LedgerWriter:
    return await LedgerWriter(Database("sqlite:///unused.sqlite3"), store=store, **options).start()


async def settle_down() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "BACKOFF_S", 0.0)


async def test_a_lone_operation_is_committed_at_once() -> None:
    store = RecordedStore()
    async with await start(store) as writer:
        assert await writer.submit(void(1)) is True
    assert store.batches == [[void(1)]]


async def test_starting_twice_is_starting_once() -> None:
    store = RecordedStore()
    async with await start(store) as writer:
        assert await writer.start() is writer
        assert await writer.submit(void(1)) is True
    assert store.committed == [void(1)]


async def test_the_next_batch_is_what_arrived_during_the_last_commit() -> None:
    store = RecordedStore()
    store.gate.clear()
    async with await start(store) as writer:
        first = writer.submit(void(0))
        await settle_down()
        rest = [writer.submit(void(number)) for number in range(1, 41)]
        await settle_down()
        assert [len(batch) for batch in store.batches] == [1]
        store.gate.set()
        await asyncio.gather(first, *rest)
    assert [len(batch) for batch in store.batches] == [1, 40]
    assert store.committed == [void(number) for number in range(41)]


async def test_a_batch_has_a_largest_size() -> None:
    store = RecordedStore()
    async with await start(store, batch_max=16) as writer:
        await asyncio.gather(*(writer.submit(void(number)) for number in range(40)))
    assert [len(batch) for batch in store.batches] == [16, 16, 8]


async def test_a_full_queue_refuses_new_work_and_still_takes_what_ends_old_work() -> None:
    store = RecordedStore()
    store.gate.clear()
    async with await start(store, queue_max=3) as writer:
        waiting = [writer.submit(void(0))]
        await settle_down()
        waiting += [writer.submit(PlaceHold(hold_request(f"gen-{number}"))) for number in range(3)]
        with pytest.raises(LedgerBusy) as busy:
            writer.submit(PlaceHold(hold_request("gen-9")))
        assert (busy.value.status, busy.value.code) == (429, "ledger_busy")
        assert busy.value.headers()["x-should-retry"] == "true"
        waiting += [writer.submit(SettleHold(settlement())), writer.submit(ExtendHold("gen-1", 5))]
        waiting += [writer.submit(void(number)) for number in range(7)]
        with pytest.raises(LedgerBusy, match="12 reservations are waiting"):
            writer.submit(void(9))
        store.gate.set()
        assert len(await asyncio.gather(*waiting)) == 13
    assert len(store.committed) == 13


async def test_an_operation_whose_caller_left_is_carried_out_once() -> None:
    store = RecordedStore()
    store.gate.clear()
    async with await start(store) as writer:

        async def ask(number: int) -> Outcome:
            return await writer.submit(void(number))

        tasks = [asyncio.create_task(ask(number)) for number in range(3)]
        await settle_down()
        tasks[0].cancel()  # in the batch that is being committed, or waiting for the next
        tasks[2].cancel()
        store.gate.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [asyncio.CancelledError, bool, asyncio.CancelledError]
    assert store.committed == [void(0), void(1), void(2)]


async def test_closing_carries_out_what_waits_and_takes_no_more() -> None:
    store = RecordedStore()
    writer = await start(store, batch_max=4)
    waiting = [writer.submit(void(number)) for number in range(10)]
    closing = asyncio.create_task(writer.close())
    await asyncio.sleep(0)
    with pytest.raises(LedgerUnavailable):
        writer.submit(void(99))
    await closing
    assert [future.result() for future in waiting] == [True] * 10
    assert store.is_closed
    await writer.close()


async def test_a_writer_that_never_started_takes_nothing_and_can_be_closed() -> None:
    store = RecordedStore()
    writer = LedgerWriter(Database("sqlite:///unused.sqlite3"), store=store)
    with pytest.raises(LedgerUnavailable):
        writer.submit(void(1))
    await writer.close()
    assert store.is_closed


@pytest.mark.parametrize("bad", [[3], [0], [15], [2, 3, 11], list(range(16))])
async def test_what_is_refused_fails_alone_and_the_order_is_kept(bad: list[int]) -> None:
    poison = {void(number) for number in bad}
    store = RecordedStore(lambda operations: Refused("constraint") if poison & set(operations) else None)
    store.gate.clear()
    async with await start(store) as writer:
        waiting = [writer.submit(void(number)) for number in range(16)]
        store.gate.set()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [number for number, answer in enumerate(answers) if answer is not True] == bad
    refused = [answer for answer in answers if isinstance(answer, LedgerRefused)]
    assert len(refused) == len(bad)
    assert len(set(map(id, refused))) == len(bad)
    assert "constraint" not in refused[0].message  # the database's words are for the log, not for a customer
    assert store.committed == [void(number) for number in range(16) if number not in bad]


async def test_a_lone_refusal_is_looked_at_once_more() -> None:
    attempts: list[int] = []

    def once(_: Sequence[Operation]) -> Exception | None:
        attempts.append(1)
        return Refused("another process wrote it first") if len(attempts) == 1 else None

    async with await start(RecordedStore(once)) as writer:
        assert await writer.submit(void(1)) is True


async def test_a_bug_in_one_operation_does_not_end_the_ledger() -> None:
    store = RecordedStore(lambda operations: KeyError("oops") if void(1) in operations else None)
    async with await start(store) as writer:
        answers = await asyncio.gather(*(writer.submit(void(n)) for n in range(3)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [bool, LedgerRefused, bool]
        assert await writer.submit(void(7)) is True


async def test_contention_is_tried_again_a_bounded_number_of_times() -> None:
    left = [ATTEMPTS_MAX - 1]

    def locked(_: Sequence[Operation]) -> Exception | None:
        left[0] -= 1
        return Contention("locked") if left[0] >= 0 else None

    store = RecordedStore(locked)
    async with await start(store) as writer:
        assert await writer.submit(void(1)) is True
        assert len(store.batches) == ATTEMPTS_MAX
        left[0] = ATTEMPTS_MAX
        with pytest.raises(LedgerUnavailable) as unavailable:
            await writer.submit(void(2))
    assert (unavailable.value.status, unavailable.value.retry.should_retry) == (503, True)
    assert len(store.batches) == 2 * ATTEMPTS_MAX
    assert store.committed == [void(1)]


async def test_an_unavailable_database_fails_the_batch_and_the_next_one_is_tried() -> None:
    store = RecordedStore(lambda operations: Unavailable("disk full") if void(0) in operations else None)
    async with await start(store) as writer:
        answers = await asyncio.gather(*(writer.submit(void(n)) for n in range(3)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [LedgerUnavailable] * 3
        assert await writer.submit(void(7)) is True
    assert len(store.batches) == 2


def test_a_database_in_memory_keeps_no_books() -> None:
    with pytest.raises(ValueError, match="SQLite in memory would lose every commit"):
        open_store(Database("sqlite://"))
