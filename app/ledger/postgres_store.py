"""Batches on PostgreSQL: one connection, each statement one round trip whatever the number of rows."""

from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any

import asyncpg
from sqlalchemy import JSON
from sqlalchemy.dialects.postgresql import asyncpg as postgres
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.ledger.batch import LostUpdate, transact
from app.ledger.operations import Operation, Outcome
from app.ledger.sql_store import Contention, Refused, Unavailable, columns_of, encode_rows
from app.ledger.statements import Answer, Fetch, FetchDue, FetchHead, Insert, Rows, Statement, Update

LOCK_WAIT_MS_MAX = 5_000
STATEMENT_S_MAX = 30.0
CHAIN_LOCK = 0x6C65_6467_6572  # "ledger" in ASCII: one advisory lock guards the end of the chain

_DIALECT = postgres.dialect()
_TEXT = ("VARCHAR", "CHAR", "TEXT", "JSON")
_PREPARE = (
    f"SET lock_timeout = {LOCK_WAIT_MS_MAX}",
    "SET synchronous_commit = on",
)
_TRY_AGAIN = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
)
_CONNECTION_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server ended the connection between two of our statements
    asyncpg.AdminShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.CrashShutdownError,
    DBAPIError,
    PoolTimeout,
    OSError,  # refused, reset, timed out
)
_FULL = (asyncpg.InsufficientResourcesError, asyncpg.PostgresSystemError, asyncpg.ReadOnlySQLTransactionError)


class PostgresStore:
    """Commits batches through one connection of the engine's pool; several processes may do so at once."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._pooled: AsyncConnection | None = None
        self._driver: Any = None

    async def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """As :meth:`LedgerStore.apply`."""
        try:
            driver = await self._connect()
            async with driver.transaction():
                return await self._drive(driver, operations)
        except (LostUpdate, *_TRY_AGAIN) as error:
            raise Contention(str(error)) from error
        except _CONNECTION_LOST as error:
            await self._drop()
            raise Contention(f"the connection to PostgreSQL was lost: {error}") from error
        except _FULL as error:
            raise Unavailable(str(error)) from error
        except (asyncpg.PostgresError, OverflowError) as error:
            raise Refused(str(error)) from error
        except BaseException:
            await self._drop()
            raise

    async def close(self) -> None:
        """As :meth:`LedgerStore.close`."""
        await self._drop()

    async def _connect(self) -> Any:
        if self._driver is None:
            self._pooled = await self._engine.connect()
            self._driver = (await self._pooled.get_raw_connection()).driver_connection
            for setting in _PREPARE:
                await self._driver.execute(setting)
        return self._driver

    async def _drop(self) -> None:
        """Gives the connection up for good: its settings, and whatever state it is in, are ours alone."""
        pooled, self._pooled, self._driver = self._pooled, None, None
        if pooled is not None:
            await pooled.invalidate()
            await pooled.close()

    async def _drive(self, driver: Any, operations: Sequence[Operation]) -> list[Outcome]:
        steps = transact(operations)
        try:
            statement = next(steps)
            while True:
                statement = steps.send(await self._run(driver, statement))
        except StopIteration as done:
            return done.value

    async def _run(self, driver: Any, statement: Statement) -> Answer:
        match statement:
            case Fetch(table, columns, key, values, is_locked):
                sql = _fetch_sql(table, columns, key, is_locked=is_locked)
                return await driver.fetch(sql, list(values), timeout=STATEMENT_S_MAX)
            case FetchDue(now_us, rows_max):
                return await driver.fetch(_DUE_SQL, now_us, rows_max, timeout=STATEMENT_S_MAX)
            case FetchHead():
                await driver.execute(f"SELECT pg_advisory_xact_lock({CHAIN_LOCK})", timeout=STATEMENT_S_MAX)
                return await driver.fetch(_HEAD_SQL, timeout=STATEMENT_S_MAX)
            case Insert(table, columns, rows, is_once):
                sql = _insert_sql(table, columns, is_once=is_once)
                encoded = encode_rows(table, columns, rows, _DIALECT)
                return _count(await driver.execute(sql, *_by_column(encoded), timeout=STATEMENT_S_MAX))
            case Update():
                sql = _update_sql(statement)
                return _count(await driver.execute(sql, *_by_column(statement.rows), timeout=STATEMENT_S_MAX))


def _by_column(rows: Rows) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _count(status: str) -> int:
    """How many rows a command tag such as ``UPDATE 3`` or ``INSERT 0 3`` counts."""
    return int(status.rpartition(" ")[2])


_DUE_SQL = (
    "SELECT id, account_id FROM hold WHERE state = 'pending' AND expires_at_us <= $1 "
    "ORDER BY expires_at_us, id LIMIT $2"
)
_HEAD_SQL = "SELECT seq, sha256, txn_last FROM ledger_batch ORDER BY seq DESC LIMIT 1"


# Table and column names come from this package's own code and from the tables' metadata, never from a caller's text.


@cache
def _fetch_sql(table: str, columns: tuple[str, ...], key: str, *, is_locked: bool) -> str:
    names = ", ".join(columns)
    lock = " FOR NO KEY UPDATE" if is_locked else ""
    array = _array_type(table, key)
    return f"SELECT {names} FROM {table} WHERE {key} = ANY($1::{array}) ORDER BY {key}{lock}"  # noqa: S608


@cache
def _insert_sql(table: str, columns: tuple[str, ...], *, is_once: bool) -> str:
    names = ", ".join(columns)
    once = " ON CONFLICT DO NOTHING" if is_once else ""
    values = ", ".join(_value(table, column) for column in columns)
    return f"INSERT INTO {table} ({names}) SELECT {values} FROM {_unnest(table, columns)}{once}"  # noqa: S608


def _update_sql(update: Update) -> str:
    return _update_text(update.table, update.key, update.sets, update.adds, update.where)


@cache
def _update_text(
    table: str, key: str, sets: tuple[str, ...], adds: tuple[str, ...], where: tuple[str, str] | None
) -> str:
    assigned = chain(
        (f"{name} = {_value(table, name)}" for name in sets), (f"{name} = t.{name} + d.{name}" for name in adds)
    )
    guard = f" AND t.{where[0]} = '{where[1]}'" if where else ""
    source = _unnest(table, (*sets, *adds, key))
    return f"UPDATE {table} AS t SET {', '.join(assigned)} FROM {source} WHERE t.{key} = d.{key}{guard}"  # noqa: S608


def _unnest(table: str, columns: tuple[str, ...]) -> str:
    arrays = ", ".join(f"${index}::{_array_type(table, name)}" for index, name in enumerate(columns, start=1))
    return f"unnest({arrays}) AS d({', '.join(columns)})"


def _value(table: str, column: str) -> str:
    return f"d.{column}::json" if _is_json(table, column) else f"d.{column}"


def _array_type(table: str, column: str) -> str:
    """Text of any kind travels as ``text``: a cast to ``varchar(n)`` would cut what the column should refuse."""
    kind = columns_of(table)[column].type.compile(_DIALECT)
    return "text[]" if kind.startswith(_TEXT) else f"{kind}[]"


def _is_json(table: str, column: str) -> bool:
    return isinstance(columns_of(table)[column].type, JSON)
