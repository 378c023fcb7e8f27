import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from app.db import Database
from app.ledger import postgres_store as postgres_module
from app.ledger import sqlite_store as sqlite_module
from app.ledger.batch import LostUpdate
from app.ledger.operations import GrantCredit, Operation, PlaceHold, SettleHold
from app.ledger.postgres_store import PostgresStore
from app.ledger.sql_store import Contention, LedgerStore, Refused, Unavailable
from app.ledger.sqlite_store import SqliteStore
from app.ledger.writer import open_store
from tests.ledger_world import CUSTOMER, T0, World, create_tables, hold_request, settlement, usage_row

pytest_plugins = ("tests.postgres",)

GRANT = GrantCredit(CUSTOMER, 1_000, "seed", "seed", T0)


@pytest.fixture
async def store(url: str) -> Any:
    database = Database(url)
    await create_tables(database)
    opened = open_store(database)
    yield opened
    await opened.close()
    await database.close()


async def test_a_batch_that_is_refused_leaves_no_trace(store: LedgerStore, url: str) -> None:
    hold = PlaceHold(hold_request("gen-1"))
    twice = settlement("gen-1", rows=(usage_row("gen-1"), usage_row("gen-1")))
    with pytest.raises(Refused):
        await store.apply([GRANT, hold, SettleHold(twice)])
    database = Database(url)
    async with database.reading() as session:
        connection = await session.connection()
        for table in ("account", "hold", "journal_txn", "entry", "ledger_batch", "usage_event"):
            assert (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar() == 0  # noqa: S608
    await database.close()
    assert len(await store.apply([GRANT, hold])) == 2


async def test_a_number_no_column_can_hold_is_refused(store: LedgerStore) -> None:
    await store.apply([GRANT, PlaceHold(hold_request("gen-1"))])
    with pytest.raises(Refused):
        await store.apply([SettleHold(settlement("gen-1", rows=(usage_row("gen-1", tokens_input=2**63),)))])


@pytest.mark.parametrize("table", ["journal_txn", "entry", "ledger_batch", "usage_event"])
@pytest.mark.parametrize("verb", ["UPDATE", "DELETE"])
async def test_what_is_in_the_journal_cannot_be_changed(world: World, table: str, verb: str) -> None:
    await world.ledger.grant(CUSTOMER, 1_000, "seed", "seed")
    await world.ledger.hold(hold_request("gen-1"))
    await world.ledger.settle(settlement("gen-1"))
    column = {"entry": "amount", "usage_event": "net", "ledger_batch": "txn_last"}.get(table, "booked_at_us")
    statement = f"UPDATE {table} SET {column} = {column} + 1" if verb == "UPDATE" else f"DELETE FROM {table}"  # noqa: S608
    with pytest.raises(Exception, match=f"{table} is append-only"):
        async with world.database.engine.begin() as connection:
            await connection.execute(text(statement))


async def test_a_timeline_can_be_erased_and_not_rewritten(world: World) -> None:
    await world.ledger.grant(CUSTOMER, 1_000, "seed", "seed")
    await world.ledger.hold(hold_request("gen-1"))
    await world.ledger.settle(settlement("gen-1"))
    with pytest.raises(Exception, match="usage_event is append-only"):
        async with world.database.engine.begin() as connection:
            await connection.execute(text("UPDATE usage_event SET timeline = :blob"), {"blob": b"other"})
    async with world.database.engine.begin() as connection:
        await connection.execute(text("UPDATE usage_event SET timeline = NULL"))


class TestSqlite:
    async def test_a_file_locked_by_another_process_is_contention(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sqlite_module, "SQLITE_PRAGMAS", ("PRAGMA busy_timeout = 20",))
        path = tmp_path / "ledger.sqlite3"
        database = Database(f"sqlite:///{path}")
        await create_tables(database)
        await database.close()
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        store = SqliteStore(path)
        with pytest.raises(Contention, match="was locked by another process"):
            await store.apply([GRANT])
        other.execute("COMMIT")
        other.close()
        assert len(await store.apply([GRANT])) == 1
        await store.close()

    async def test_a_database_that_cannot_be_opened_is_unavailable(self, tmp_path: Path) -> None:
        store = SqliteStore(tmp_path / "no_such_folder" / "ledger.sqlite3")
        with pytest.raises(Unavailable, match="unable to open database file"):
            await store.apply([GRANT])
        await store.close()

    async def test_a_file_that_is_no_database_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "ledger.sqlite3").write_bytes(b"not a database, but long enough to be looked at" * 50)
        store = SqliteStore(tmp_path / "ledger.sqlite3")
        with pytest.raises(Unavailable, match="not a database"):
            await store.apply([GRANT])
        await store.close()

    async def test_a_full_disk_is_unavailable_and_loses_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "ledger.sqlite3"
        database = Database(f"sqlite:///{path}")
        await create_tables(database)
        await database.close()
        store = SqliteStore(path)
        await store.apply([GRANT])
        connection = await asyncio.get_running_loop().run_in_executor(store._thread, store._open)
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        many: list[Operation] = [PlaceHold(hold_request(f"gen-{number}", 1)) for number in range(250)]
        with pytest.raises(Unavailable, match="full"):
            await store.apply(many)
        connection.execute("PRAGMA max_page_count = 1000000")
        assert len(await store.apply(many)) == 250
        await store.close()

    async def test_a_row_that_changed_under_the_batch_is_contention(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def lost(_operations: Any) -> Any:
            yield from ()
            raise LostUpdate("1 of 2 holds changed")

        monkeypatch.setattr(sqlite_module, "transact", lost)
        store = SqliteStore(tmp_path / "ledger.sqlite3")
        with pytest.raises(Contention, match="1 of 2 holds changed"):
            await store.apply([GRANT])
        await store.close()

    async def test_commits_are_durable_before_they_are_confirmed(self, tmp_path: Path) -> None:
        path = tmp_path / "ledger.sqlite3"
        database = Database(f"sqlite:///{path}")
        await create_tables(database)
        await database.close()
        store = SqliteStore(path)
        await store.apply([GRANT])
        connection = await asyncio.get_running_loop().run_in_executor(store._thread, store._open)
        settings = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode")
        }
        assert settings == {"synchronous": 2, "journal_mode": "wal"}
        await store.close()


@pytest.mark.slow
@pytest.mark.postgres
class TestPostgres:
    @pytest.fixture
    async def opened(self, postgres_url: str) -> Any:
        database = Database(postgres_url)
        await create_tables(database)
        store = PostgresStore(database.engine)
        yield store, postgres_url
        await store.close()
        await database.close()

    async def test_a_lost_connection_is_contention_and_the_next_batch_gets_another(
        self, opened: tuple[PostgresStore, str]
    ) -> None:
        store, url = opened
        await store.apply([GRANT])
        killer = await asyncpg.connect(url)
        killed = await killer.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert killed >= 1
        await killer.close()
        with pytest.raises(Contention, match="connection to PostgreSQL was lost"):
            await store.apply([PlaceHold(hold_request("gen-1"))])
        assert len(await store.apply([PlaceHold(hold_request("gen-1"))])) == 1

    async def test_text_that_is_too_long_is_refused_not_cut(self, opened: tuple[PostgresStore, str]) -> None:
        store, _ = opened
        with pytest.raises(Refused, match="value too long"):
            await store.apply([GRANT, PlaceHold(hold_request("g" * 65))])

    async def test_a_wallet_locked_for_long_is_contention(
        self, opened: tuple[PostgresStore, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store, url = opened
        monkeypatch.setattr(postgres_module, "_PREPARE", ("SET lock_timeout = 50",))
        await store.apply([GRANT])
        other = await asyncpg.connect(url)
        async with other.transaction():
            await other.execute("SELECT * FROM account FOR UPDATE")
            with pytest.raises(Contention, match="lock timeout"):
                await store.apply([PlaceHold(hold_request("gen-1"))])
        await other.close()
        assert len(await store.apply([PlaceHold(hold_request("gen-1"))])) == 1

    async def test_a_database_that_takes_no_writes_is_unavailable(self, opened: tuple[PostgresStore, str]) -> None:
        store, url = opened
        other = await asyncpg.connect(url)
        name = await other.fetchval("SELECT current_database()")
        await other.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await store._engine.dispose()  # a connection keeps the setting it began with
        with pytest.raises(Unavailable, match="read-only transaction"):
            await store.apply([GRANT])
        await other.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
        await other.close()
        await store.close()
        await store._engine.dispose()
        assert len(await store.apply([GRANT])) == 1

    async def test_a_batch_that_is_cancelled_leaves_neither_trace_nor_lock(
        self, opened: tuple[PostgresStore, str]
    ) -> None:
        store, url = opened
        await store.apply([GRANT])
        other = await asyncpg.connect(url)
        async with other.transaction():
            await other.execute("SELECT * FROM account FOR UPDATE")
            waiting = asyncio.create_task(store.apply([PlaceHold(hold_request("gen-1"))]))
            await asyncio.sleep(0.1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert await other.fetchval("SELECT count(*) FROM hold") == 0
        await other.close()
        assert len(await store.apply([PlaceHold(hold_request("gen-1"))])) == 1

    async def test_a_server_that_is_not_there_is_contention(self) -> None:
        database = Database("postgresql://nobody@127.0.0.1:9/none")
        store = PostgresStore(database.engine)
        with pytest.raises(Contention, match="connection to PostgreSQL was lost"):
            await store.apply([GRANT])
        await store.close()
        await database.close()

    async def test_commits_are_durable_before_they_are_confirmed(self, opened: tuple[PostgresStore, str]) -> None:
        store, _ = opened
        await store.apply([GRANT])
        assert await store._driver.fetchval("SHOW synchronous_commit") == "on"
