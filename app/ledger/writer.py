"""Group commit: one writer per process, whose next batch is whatever arrived while it committed the last one.

There is no timer: an idle ledger commits a lone operation at once, a busy one shares each commit among many. Operations
wait in a bounded queue and are carried out in arrival order. An operation that was taken is carried out whether or not
its caller still waits, exactly once; one that the database refuses fails alone.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from app.db import Database
from app.errors import NO_RETRY, MarketError, Retry
from app.ledger.operations import GrantCredit, Operation, Outcome, PlaceHold
from app.ledger.postgres_store import PostgresStore
from app.ledger.sql_store import Contention, LedgerStore, Refused, Unavailable
from app.ledger.sqlite_store import SqliteStore
from app.logs import get_logger

BATCH_MAX = 256
QUEUE_MAX = 4096
IN_PROGRESS_FACTOR = 4
"""How many times longer the queue may grow for operations that finish work in progress than for new work."""
ATTEMPTS_MAX = 6
BACKOFF_S = 0.02
BACKOFF_S_MAX = 1.0

_log = get_logger("app.ledger")


class LedgerBusy(MarketError):
    """The queue to the ledger is full; nothing was reserved."""


class LedgerUnavailable(MarketError):
    """The database cannot be written; what was asked for may be tried again and happens once."""


class LedgerRefused(MarketError):
    """The database refuses this one operation; a mistake of ours, never the customer's."""


@dataclass(slots=True)
class _Job:
    operation: Operation
    done: "asyncio.Future[Outcome]"


class LedgerWriter:
    """The one way in which money moves in this process."""

    def __init__(
        self,
        database: Database,
        *,
        queue_max: int = QUEUE_MAX,
        batch_max: int = BATCH_MAX,
        store: LedgerStore | None = None,
    ) -> None:
        """Prepares a writer; it works from :meth:`start` to :meth:`close`.

        Args:
            database: whose accounts it keeps.
            queue_max: operations that may wait before new work is refused.
            batch_max: operations in one transaction at most.
            store: where batches go; None picks the database's own.
        """
        self.database = database
        self._store: LedgerStore = store or open_store(database)
        self._queue_max = queue_max
        self._batch_max = batch_max
        self._queue: deque[_Job] = deque()
        self._arrived = asyncio.Event()
        self._is_closing = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> Self:
        """Begins to carry operations out."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="ledger-writer")
        return self

    async def close(self) -> None:
        """Takes no more operations, carries out those that wait, and closes the store. Safe to call twice."""
        if self._is_closing:
            return
        self._is_closing = True
        self._arrived.set()
        if self._task is not None:
            await self._task
        await self._store.close()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def waiting(self) -> int:
        """Operations in the queue."""
        return len(self._queue)

    def submit(self, operation: Operation) -> "asyncio.Future[Outcome]":
        """Queues an operation; the future brings its outcome once it is durable.

        Cancelling whoever awaits the future does not take the operation back.

        Raises:
            LedgerBusy: the queue is full; the operation was not taken.
            LedgerUnavailable: the writer is closed.
        """
        if self._is_closing or self._task is None:
            raise _unavailable()
        is_new_work = isinstance(operation, PlaceHold | GrantCredit)
        room = self._queue_max if is_new_work else self._queue_max * IN_PROGRESS_FACTOR
        if len(self._queue) >= room:
            raise _busy(len(self._queue))
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._queue.append(_Job(operation, done))
        self._arrived.set()
        return done

    async def _run(self) -> None:
        while await self._await_work():
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._batch_max))]
            await self._commit(batch)

    async def _await_work(self) -> bool:
        """Returns True when something is queued, False when the writer is closing and nothing is."""
        while not self._queue:
            if self._is_closing:
                return False
            self._arrived.clear()
            await self._arrived.wait()
        return True

    async def _commit(self, batch: Sequence[_Job]) -> None:
        try:
            outcomes = await self._apply([job.operation for job in batch])
        except Unavailable as error:
            _log.error("ledger.unavailable", operations=len(batch), error=str(error))
            _fail(batch, _unavailable, error)
        except Exception as error:  # noqa: BLE001 (the edge of the writer's task: one bad operation must not end it)
            await self._isolate(batch, error)
        else:
            for job, outcome in zip(batch, outcomes, strict=True):
                if not job.done.done():
                    job.done.set_result(outcome)

    async def _isolate(self, batch: Sequence[_Job], error: Exception) -> None:
        """Splits a refused batch until what is wrong stands alone; the order of arrival is kept."""
        if len(batch) == 1:
            _log.error("ledger.refused", operation=type(batch[0].operation).__name__, error=str(error))
            _fail(batch, _refused, error)
            return
        half = len(batch) // 2
        await self._commit(batch[:half])
        await self._commit(batch[half:])

    async def _apply(self, operations: list[Operation]) -> list[Outcome]:
        """Tries a batch until it is durable, a bounded number of times."""
        for attempt in range(1, ATTEMPTS_MAX):
            try:
                return await self._store.apply(operations)
            except Contention as error:
                reason = str(error)
                _log.warning("ledger.batch_retried", attempt=attempt, operations=len(operations), error=reason)
            except Refused:
                if len(operations) > 1 or attempt > 1:
                    raise
                # Alone and refused: another process may have written the same row meanwhile, so look once more.
            await asyncio.sleep(min(BACKOFF_S_MAX, BACKOFF_S * 2 ** (attempt - 1)))
        try:
            return await self._store.apply(operations)
        except Contention as error:
            raise Unavailable(f"{error}; {ATTEMPTS_MAX} attempts") from error


def open_store(database: Database) -> LedgerStore:
    """The store that fits a database.

    Raises:
        ValueError: SQLite in memory, which a second connection could not see.
    """
    if not database.is_sqlite:
        return PostgresStore(database.engine)
    if database.sqlite_path is None:
        raise ValueError("the ledger needs a database file; SQLite in memory would lose every commit")
    return SqliteStore(database.sqlite_path)


def _fail(batch: Sequence[_Job], answer: Callable[[], MarketError], cause: Exception) -> None:
    """Tells each caller in words fit for a customer; the database's own words stay in the log and the cause."""
    for job in batch:
        if not job.done.done():
            error = answer()
            error.__cause__ = cause
            job.done.set_exception(error)


def _busy(waiting: int) -> LedgerBusy:
    return LedgerBusy(
        429,
        "ledger_busy",
        f"{waiting} reservations are waiting to be written, as many as may wait. Nothing was charged; try again.",
        type="rate_limit_exceeded",
        retry=Retry(should_retry=True, after_s=1.0),
    )


def _unavailable() -> LedgerUnavailable:
    return LedgerUnavailable(
        503,
        "ledger_unavailable",
        "The ledger cannot be written now. What was not confirmed is not charged; try again.",
        type="server_error",
        retry=Retry(should_retry=True, after_s=2.0),
    )


def _refused() -> LedgerRefused:
    return LedgerRefused(
        500,
        "ledger_refused",
        "The ledger refused to book this request; the cause is logged for the operators. Nothing was charged.",
        type="server_error",
        retry=NO_RETRY,
    )
