import asyncio
import multiprocessing
import re
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Connection, text
from sqlmodel import col, select

from app.db import Database
from app.ledger.models import AccountRow
from migrations.run import _config, check_drift, head, migrate
from migrations.tables import ROOMS, all_tables

pytest_plugins = ("tests.postgres",)

ROOT = Path(__file__).resolve().parent.parent

SQLITE_SCHEMA = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'alembic%' AND sql IS NOT NULL"
POSTGRES_SCHEMA = """
SELECT 'column', table_name || '.' || column_name, concat_ws(' ', data_type, character_maximum_length, is_nullable)
FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE 'alembic%'
UNION ALL SELECT 'constraint', conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND conname NOT LIKE 'alembic%'
UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes
WHERE schemaname = 'public' AND tablename NOT LIKE 'alembic%'
UNION ALL SELECT 'trigger', tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'function', proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace
"""


def schema(url: str, *, create: bool = False) -> dict[tuple[str, str], str]:
    """Kind and name of everything in a database, with its definition; from code first where asked."""

    def read(connection: Connection) -> dict[tuple[str, str], str]:
        if create:
            all_tables().create_all(connection)
        query = SQLITE_SCHEMA if connection.dialect.name == "sqlite" else POSTGRES_SCHEMA
        return {(row[0], row[1]): in_any_order(row[2]) for row in connection.execute(text(query))}

    async def run() -> dict[tuple[str, str], str]:
        database = Database(url)
        try:
            async with database.engine.begin() as connection:
                return await connection.run_sync(read)
        finally:
            await database.close()

    return asyncio.run(run())


def in_any_order(definition: str) -> str:
    """A table's columns and constraints sorted: SQLite writes a column that was added later after the constraints."""
    flat = " ".join(definition.split()).replace('"', "")
    if not flat.startswith("CREATE TABLE"):
        return flat
    head, _, body = flat.partition("(")
    parts = re.split(r",\s*(?![^(]*\))|\s(?=CONSTRAINT )", body.removesuffix(")"))
    return f"{head.strip()} ({', '.join(sorted(part.strip() for part in parts if part.strip()))})"


async def seed(url: str) -> None:
    database = Database(url)
    async with database.writing() as session:
        session.add(AccountRow(id="wallet:cus_a", kind="wallet", posted=5, overdraft=0))
    await database.close()


async def posted(url: str) -> int:
    database = Database(url)
    try:
        async with database.reading() as session:
            return (await session.exec(select(AccountRow.posted).where(col(AccountRow.id) == "wallet:cus_a"))).one()
    finally:
        await database.close()


def migrate_in_processes(url: str, count: int) -> list[int | None]:
    started = multiprocessing.get_context("spawn")
    processes = [started.Process(target=migrate, args=(url,)) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'market.sqlite3'}"


def test_every_room_with_tables_is_migrated() -> None:
    assert sorted(ROOMS) == sorted(path.parent.name for path in ROOT.glob("app/*/models.py"))


def test_an_empty_sqlite_database_comes_to_have_every_table_in_code(sqlite_url: str) -> None:
    migrate(sqlite_url)
    check_drift(sqlite_url)


def test_a_migrated_sqlite_database_has_every_check_and_trigger_in_code(sqlite_url: str, tmp_path: Path) -> None:
    migrate(sqlite_url)
    from_code = schema(f"sqlite:///{tmp_path / 'code.sqlite3'}", create=True)
    assert schema(sqlite_url) == from_code
    assert ("trigger", "entry_no_update") in from_code


def test_tables_are_compared_whatever_the_order_of_their_columns() -> None:
    made = "CREATE TABLE t (a INT, b INT DEFAULT 1 NOT NULL, CONSTRAINT k CHECK (a IN (1, 2)))"
    added = 'CREATE TABLE "t" (\n a INT, b INT DEFAULT 1 NOT NULL\n CONSTRAINT k CHECK (a IN (1, 2)))'
    assert in_any_order(made) == in_any_order(added)
    assert in_any_order(made) != in_any_order(added.replace("(1, 2)", "(1, 3)"))
    assert in_any_order(made) != in_any_order(added.replace("DEFAULT 1 ", ""))


def test_a_column_that_only_the_code_has_is_called_drift(sqlite_url: str) -> None:
    migrate(sqlite_url)

    async def lose_a_column() -> None:
        database = Database(sqlite_url)
        async with database.engine.begin() as connection:
            await connection.execute(text("ALTER TABLE customer DROP COLUMN name"))
        await database.close()

    asyncio.run(lose_a_column())
    with pytest.raises(Exception, match=r"customer.*name"):
        check_drift(sqlite_url)


def test_migrating_again_changes_nothing_and_keeps_what_is_there(sqlite_url: str) -> None:
    migrate(sqlite_url)
    asyncio.run(seed(sqlite_url))
    before = schema(sqlite_url)
    migrate(sqlite_url)
    assert schema(sqlite_url) == before
    assert asyncio.run(posted(sqlite_url)) == 5


def test_the_first_migration_refuses_to_be_undone(sqlite_url: str) -> None:
    migrate(sqlite_url)
    with pytest.raises(RuntimeError, match="restore the database from a backup"):
        command.downgrade(_config(sqlite_url), "base")
    check_drift(sqlite_url)


def test_a_migration_that_fails_leaves_nothing_behind(sqlite_url: str) -> None:
    async def spoil() -> None:
        database = Database(sqlite_url)
        async with database.engine.begin() as connection:
            await connection.execute(text("CREATE TABLE usage_event (id INTEGER)"))
        await database.close()

    asyncio.run(spoil())
    with pytest.raises(Exception, match="usage_event already exists"):
        migrate(sqlite_url)
    assert set(schema(sqlite_url)) == {("table", "usage_event")}


def test_revisions_are_numbered_in_order() -> None:
    assert head() == max(path.stem.split("_")[0] for path in (ROOT / "migrations/versions").glob("[0-9]*.py"))


@pytest.mark.slow
def test_processes_that_start_together_migrate_once(sqlite_url: str) -> None:
    assert migrate_in_processes(sqlite_url, 3) == [0, 0, 0]
    check_drift(sqlite_url)


@pytest.mark.slow
@pytest.mark.postgres
class TestPostgres:
    def test_an_empty_database_comes_to_have_every_table_in_code(self, postgres_url: str) -> None:
        migrate(postgres_url)
        check_drift(postgres_url)

    def test_every_check_and_trigger_in_code_is_migrated(self, postgres_url: str) -> None:
        migrate(postgres_url)
        migrated = schema(postgres_url)
        assert ("trigger", "usage_event_timeline_only_erased") in migrated
        wiped = "DROP SCHEMA public CASCADE; CREATE SCHEMA public"

        async def wipe() -> None:
            database = Database(postgres_url)
            async with database.engine.begin() as connection:
                for statement in wiped.split("; "):
                    await connection.execute(text(statement))
            await database.close()

        asyncio.run(wipe())
        assert schema(postgres_url, create=True) == migrated

    def test_migrating_again_keeps_what_is_there(self, postgres_url: str) -> None:
        migrate(postgres_url)
        asyncio.run(seed(postgres_url))
        migrate(postgres_url)
        assert asyncio.run(posted(postgres_url)) == 5

    def test_processes_that_start_together_migrate_once(self, postgres_url: str) -> None:
        assert migrate_in_processes(postgres_url, 3) == [0, 0, 0]
        check_drift(postgres_url)
