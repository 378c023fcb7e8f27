"""Batches on SQLite: one connection in one thread, one hop per batch, durable with ``synchronous = FULL``."""

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect

from app.db import BUSY_TIMEOUT_MS, SQLITE_PRAGMAS
from app.ledger.batch import LostUpdate, transact
from app.ledger.operations import Operation, Outcome
from app.ledger.sql_store import Contention, Refused, Unavailable, encode_rows
from app.ledger.statements import Answer, Fetch, FetchDue, FetchHead, Insert, Statement, Update

_DIALECT = sqlite_dialect()
_BUSY_CODES = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_PRIMARY_CODE_MASK = 0xFF
_REFUSALS = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError, OverflowError)


class SqliteStore:
    """Commits batches to one database file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")

    async def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """As :meth:`LedgerStore.apply`."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.apply_here, operations)

    async def close(self) -> None:
        """As :meth:`LedgerStore.close`."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close_here)
        self._thread.shutdown()

    def apply_here(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Carries out a batch in the calling thread, which must always be the same one."""
        try:
            connection = self._open()
            return self._transact(connection, operations)
        except (sqlite3.Error, OverflowError, LostUpdate) as error:
            raise _translated(error, self._path) from error

    def _transact(self, connection: sqlite3.Connection, operations: Sequence[Operation]) -> list[Outcome]:
        connection.execute("BEGIN IMMEDIATE")
        try:
            outcomes = self._drive(connection, operations)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return outcomes

    def _drive(self, connection: sqlite3.Connection, operations: Sequence[Operation]) -> list[Outcome]:
        steps = transact(operations)
        try:
            statement = next(steps)
            while True:
                statement = steps.send(self._run(connection, statement))
        except StopIteration as done:
            return done.value

    def _run(self, connection: sqlite3.Connection, statement: Statement) -> Answer:
        match statement:
            case Fetch(table, columns, key, values):
                return connection.execute(_fetch_sql(table, columns, key), (json.dumps(values),)).fetchall()
            case FetchDue(now_us, rows_max):
                return connection.execute(_DUE_SQL, (now_us, rows_max)).fetchall()
            case FetchHead():
                return connection.execute(_HEAD_SQL).fetchall()
            case Insert(table, columns, rows, is_once):
                sql = _insert_sql(table, columns, is_once=is_once)
                return connection.executemany(sql, encode_rows(table, columns, rows, _DIALECT)).rowcount
            case Update():
                rows = [(*row, statement.where[1]) for row in statement.rows] if statement.where else statement.rows
                return connection.executemany(_update_sql(statement), rows).rowcount

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = sqlite3.connect(
                self._path, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None, check_same_thread=False
            )
            for pragma in SQLITE_PRAGMAS:
                connection.execute(pragma)
            self._connection = connection
        return self._connection

    def _close_here(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


_DUE_SQL = (
    "SELECT id, account_id FROM hold WHERE state = 'pending' AND expires_at_us <= ? ORDER BY expires_at_us, id LIMIT ?"
)
_HEAD_SQL = "SELECT seq, sha256, txn_last FROM ledger_batch ORDER BY seq DESC LIMIT 1"


# Table and column names come from this package's own code and from the tables' metadata, never from a caller's text.


@cache
def _fetch_sql(table: str, columns: tuple[str, ...], key: str) -> str:
    names = ", ".join(columns)
    return f"SELECT {names} FROM {table} WHERE {key} IN (SELECT value FROM json_each(?)) ORDER BY {key}"  # noqa: S608


@cache
def _insert_sql(table: str, columns: tuple[str, ...], *, is_once: bool) -> str:
    marks = ", ".join("?" * len(columns))
    once = " ON CONFLICT DO NOTHING" if is_once else ""
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}){once}"  # noqa: S608


def _update_sql(update: Update) -> str:
    return _update_text(update.table, update.key, update.sets, update.adds, update.where[0] if update.where else None)


@cache
def _update_text(table: str, key: str, sets: tuple[str, ...], adds: tuple[str, ...], guard: str | None) -> str:
    assigned = ", ".join([*(f"{name} = ?" for name in sets), *(f"{name} = {name} + ?" for name in adds)])
    guarded = f" AND {guard} = ?" if guard else ""
    return f"UPDATE {table} SET {assigned} WHERE {key} = ?{guarded}"  # noqa: S608


def _translated(error: Exception, path: Path) -> Exception:
    if isinstance(error, LostUpdate):
        return Contention(str(error))
    if isinstance(error, _REFUSALS):
        return Refused(str(error))
    if getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE_MASK in _BUSY_CODES:
        return Contention(f"{path} was locked by another process for {BUSY_TIMEOUT_MS} ms")
    return Unavailable(f"{path}: {error}")
