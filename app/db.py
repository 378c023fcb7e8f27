"""The database in force: engines for SQLite and PostgreSQL, transactions, and the conventions every table follows.

Importing this module gives the constraints of all SQLModel tables their names, whichever module was imported first;
everything that opens a database imports it.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Constraint,
    ForeignKeyConstraint,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    event,
)
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.schema import DDL
from sqlalchemy.sql.elements import conv
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

BUSY_TIMEOUT_MS = 5_000
POOL_SIZE = 10
POOL_OVERFLOW_MAX = 10
POOL_WAIT_S_MAX = 10.0
CONNECT_S_MAX = 10.0

NAMING_CONVENTION = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

SQLITE_PRAGMAS = (
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}",  # first: the others may have to wait for another process
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)

_POSTGRES_REFUSAL = (
    "CREATE OR REPLACE FUNCTION goodput_refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation'; END $$"
)

_MODE = "goodput_mode"
_READ, _WRITE, _SNAPSHOT = "read", "write", "snapshot"


class DatabaseUrlError(ValueError):
    """A database URL that names neither SQLite nor PostgreSQL."""


class Database:
    """One database: its engine, and transactions of three kinds.

    On SQLite a writing transaction takes the write lock when it begins (``BEGIN IMMEDIATE``), so that it never fails
    half-way for want of it; a reading one is refused every write.
    """

    def __init__(self, url: str) -> None:
        """Prepares the engine; connects on first use.

        Args:
            url: ``sqlite+aiosqlite:///PATH`` or ``postgresql+asyncpg://…``; the plain schemes ``sqlite``, ``postgres``
                and ``postgresql`` are understood too.

        Raises:
            DatabaseUrlError: any other scheme.
        """
        self.url: URL = async_url(url)
        self.is_sqlite: bool = self.url.get_backend_name() == "sqlite"
        self.engine: AsyncEngine = _sqlite_engine(self.url) if self.is_sqlite else _postgres_engine(self.url)
        self._binds = {
            mode: self.engine.execution_options(**self._options(mode)) for mode in (_READ, _WRITE, _SNAPSHOT)
        }

    @property
    def sqlite_path(self) -> Path | None:
        """The database file; None for PostgreSQL and for SQLite in memory."""
        if not self.is_sqlite or self.url.database in {None, "", ":memory:"}:
            return None
        return Path(str(self.url.database))

    def reading(self) -> AbstractAsyncContextManager[AsyncSession]:
        """Opens a session for reading; a write in it is an error."""
        return self._session(_READ)

    def writing(self) -> AbstractAsyncContextManager[AsyncSession]:
        """Opens a session whose transaction commits when the block ends, and rolls back when it raises."""
        return self._session(_WRITE)

    def snapshot(self) -> AbstractAsyncContextManager[AsyncSession]:
        """Opens a session for reading in which every query sees the same moment; for reports and reconciliation."""
        return self._session(_SNAPSHOT)

    async def close(self) -> None:
        """Closes all pooled connections."""
        await self.engine.dispose()

    @asynccontextmanager
    async def _session(self, mode: str) -> AsyncGenerator[AsyncSession]:
        async with AsyncSession(self._binds[mode], expire_on_commit=False) as session, session.begin():
            yield session

    def _options(self, mode: str) -> dict[str, Any]:
        if self.is_sqlite:
            return {_MODE: mode}
        isolation = "REPEATABLE READ" if mode == _SNAPSHOT else "READ COMMITTED"
        return {"isolation_level": isolation, "postgresql_readonly": mode != _WRITE}


def async_url(url: str) -> URL:
    """Names the async driver in a database URL.

    >>> str(async_url("postgres://u@h/db")), str(async_url("sqlite:///x.sqlite3"))
    ('postgresql+asyncpg://u@h/db', 'sqlite+aiosqlite:///x.sqlite3')
    """
    parsed = make_url(url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres://") else url)
    drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
    backend = parsed.get_backend_name()
    if backend not in drivers:
        raise DatabaseUrlError(f"{backend} is not supported; use sqlite:///PATH or postgresql://USER@HOST/NAME")
    return parsed.set(drivername=drivers[backend])


def keep_append_only(table: Table, *, erasable: str | None = None) -> None:
    """Has ``create_all`` put triggers on a table, so that its rows can be added but never changed or deleted.

    The migrations carry the same statements; a test holds the two equal.

    Args:
        table: the table.
        erasable: one column that may be set to NULL later (and to nothing else); data kept for a limited time.
    """
    others = [column.name for column in table.columns if column.name != erasable]
    for dialect, statements in (
        ("sqlite", _append_only_sqlite(table.name, others, erasable)),
        ("postgresql", _append_only_postgres(table.name, others, erasable)),
    ):
        for statement in statements:
            event.listen(table, "after_create", _ddl_for(dialect, statement))


def _ddl_for(dialect: str, statement: str) -> Callable[..., Any]:
    return DDL(statement.replace("%", "%%")).execute_if(dialect=dialect)


def _append_only_sqlite(table: str, columns: list[str], erasable: str | None) -> list[str]:
    refuse = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    update_of = f" OF {', '.join(columns)}" if erasable else ""
    statements = [
        f"CREATE TRIGGER {table}_no_update BEFORE UPDATE{update_of} ON {table} {refuse}",
        f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {refuse}",
    ]
    if erasable:
        statements.append(
            f"CREATE TRIGGER {table}_{erasable}_only_erased BEFORE UPDATE OF {erasable} ON {table} "
            f"WHEN NEW.{erasable} IS NOT NULL {refuse}"
        )
    return statements


def _append_only_postgres(table: str, columns: list[str], erasable: str | None) -> list[str]:
    update_of = f" OF {', '.join(columns)}" if erasable else ""
    call = "EXECUTE FUNCTION goodput_refuse_change()"
    statements = [
        _POSTGRES_REFUSAL,
        f"CREATE TRIGGER {table}_no_update BEFORE UPDATE{update_of} ON {table} FOR EACH ROW {call}",
        f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} FOR EACH ROW {call}",
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT {call}",
    ]
    if erasable:
        statements.append(
            f"CREATE TRIGGER {table}_{erasable}_only_erased BEFORE UPDATE OF {erasable} ON {table} "
            f"FOR EACH ROW WHEN (NEW.{erasable} IS NOT NULL) {call}"
        )
    return statements


def _sqlite_engine(url: URL) -> AsyncEngine:
    engine = create_async_engine(url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _postgres_engine(url: URL) -> AsyncEngine:
    return create_async_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW_MAX,
        pool_timeout=POOL_WAIT_S_MAX,
        pool_pre_ping=True,
        connect_args={"timeout": CONNECT_S_MAX},
    )


def _prepare_sqlite(connection: Any, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver must not open transactions of its own; `_begin_sqlite` does
    cursor = connection.cursor()
    for pragma in SQLITE_PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    is_writing = connection.get_execution_options().get(_MODE, _WRITE) == _WRITE
    connection.exec_driver_sql(f"PRAGMA query_only = {'OFF' if is_writing else 'ON'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")


def _constraint_name(table: Table, constraint: Constraint) -> str | None:
    columns = [column.name for column in getattr(constraint, "columns", ())]
    match constraint:
        case PrimaryKeyConstraint():
            return f"pk_{table.name}"
        case UniqueConstraint():
            return f"uq_{table.name}_{'_'.join(columns)}"
        case ForeignKeyConstraint():
            referred = constraint.elements[0].target_fullname.split(".")[0]
            return f"fk_{table.name}_{columns[0]}_{referred}"
        case CheckConstraint(name=str(name)):
            return f"ck_{table.name}_{name}"
        case _:
            return None


def _name_constraints(metadata: MetaData) -> None:
    """Sets the convention for tables to come, and names the constraints of those that came before this module."""
    metadata.naming_convention = NAMING_CONVENTION
    for table in metadata.tables.values():
        for constraint in table.constraints:
            if not isinstance(constraint.name, conv) and (name := _constraint_name(table, constraint)):
                constraint.name = conv(name)


_name_constraints(SQLModel.metadata)
