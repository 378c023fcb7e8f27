import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.sql.elements import conv
from sqlmodel import func, select

from app.db import NAMING_CONVENTION, Database, DatabaseUrlError, _name_constraints, async_url
from app.ledger.models import AccountRow
from migrations.tables import all_tables
from tests.ledger_world import create_tables

pytest_plugins = ("tests.postgres",)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=[pytest.mark.slow, pytest.mark.postgres])])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path / 'market.sqlite3'}"


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    opened = Database(url)
    await create_tables(opened)
    yield opened
    await opened.close()


def bank() -> AccountRow:
    return AccountRow(id="bank", kind="asset")


async def accounts(database: Database) -> int:
    async with database.reading() as session:
        return (await session.exec(select(func.count()).select_from(AccountRow))).one()


async def test_a_writing_block_commits_when_it_ends(database: Database) -> None:
    async with database.writing() as session:
        session.add(bank())
    assert await accounts(database) == 1


async def test_a_writing_block_that_raises_leaves_nothing(database: Database) -> None:
    async def fail_half_way() -> None:
        async with database.writing() as session:
            session.add(bank())
            await session.flush()
            raise KeyError

    with pytest.raises(KeyError):
        await fail_half_way()
    assert await accounts(database) == 0


async def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(Exception, match=r"(?i)read-?only"):
        async with database.reading() as session:
            session.add(bank())
    assert await accounts(database) == 0
    async with database.writing() as session:  # the pooled connection is not left read-only
        session.add(bank())
    assert await accounts(database) == 1


async def test_every_query_of_a_snapshot_sees_the_same_moment(database: Database) -> None:
    async with database.snapshot() as session:
        count = select(func.count()).select_from(AccountRow)
        assert (await session.exec(count)).one() == 0
        async with database.writing() as other:
            other.add(bank())
        assert (await session.exec(count)).one() == 0
    assert await accounts(database) == 1


async def test_writers_wait_for_one_another(database: Database) -> None:
    async def add(number: int) -> None:
        async with database.writing() as session:
            known = (await session.exec(select(func.count()).select_from(AccountRow))).one()
            await asyncio.sleep(0.001)
            session.add(AccountRow(id=f"cogs:{number}", kind="expense", posted=known))

    await asyncio.gather(*(add(number) for number in range(8)))
    assert await accounts(database) == 8
    if database.is_sqlite:  # one at a time there: each saw all before it
        async with database.reading() as session:
            assert sorted((await session.exec(select(AccountRow.posted))).all()) == list(range(8))


async def test_sqlite_is_durable_checks_keys_and_waits_for_locks(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'market.sqlite3'}")
    async with database.engine.connect() as connection:
        pragmas = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        found = {name: (await connection.execute(text(f"PRAGMA {name}"))).scalar() for name in pragmas}
    await database.close()
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("sqlite:///a.sqlite3", "sqlite+aiosqlite:///a.sqlite3"),
        ("sqlite+aiosqlite:///a.sqlite3", "sqlite+aiosqlite:///a.sqlite3"),
        ("postgres://u@h:5/d", "postgresql+asyncpg://u@h:5/d"),
        ("postgresql://u@h/d?host=%2Ftmp", "postgresql+asyncpg://u@h/d?host=%2Ftmp"),
        ("postgresql+psycopg://u@h/d", "postgresql+asyncpg://u@h/d"),
    ],
)
def test_plain_urls_get_the_asynchronous_driver(given: str, made: str) -> None:
    assert async_url(given).render_as_string(hide_password=False) == made


def test_other_databases_are_refused_with_what_to_use() -> None:
    with pytest.raises(DatabaseUrlError, match="mysql is not supported; use sqlite:///PATH or postgresql://USER@HOST"):
        Database("mysql://u@h/d")


@pytest.mark.parametrize(
    ("given", "path"),
    [("sqlite:////a/b.sqlite3", Path("/a/b.sqlite3")), ("sqlite://", None), ("postgresql://u@h/d", None)],
)
def test_only_a_sqlite_file_has_a_path(given: str, path: Path | None) -> None:
    assert Database(given).sqlite_path == path


def test_every_constraint_of_every_table_has_a_name_of_the_convention() -> None:
    named = [
        (table.name, constraint.name) for table in all_tables().tables.values() for constraint in table.constraints
    ]
    assert len(named) > 40
    assert [pair for pair in named if not isinstance(pair[1], conv)] == []
    prefixes = {str(name).split("_")[0] for _, name in named}
    assert prefixes == {"pk", "uq", "ck", "fk"}
    assert all(f"_{table}" in str(name) for table, name in named)


def test_a_table_that_was_declared_before_the_convention_gets_the_same_names() -> None:
    def declare(metadata: MetaData) -> Table:
        Table("tier", metadata, Column("id", Integer, primary_key=True))
        return Table(
            "rate",
            metadata,
            Column("id", Integer, primary_key=True),
            Column("tier_id", ForeignKey("tier.id")),
            Column("model", String),
            UniqueConstraint("tier_id", "model"),
            CheckConstraint("id > 0", name="id_positive"),
        )

    early, late = MetaData(), MetaData(naming_convention=NAMING_CONVENTION)
    before = declare(early)
    _name_constraints(early)
    names = {str(constraint.name) for constraint in before.constraints}
    assert names == {str(constraint.name) for constraint in declare(late).constraints}
    assert names == {"pk_rate", "fk_rate_tier_id_tier", "uq_rate_tier_id_model", "ck_rate_id_positive"}


def test_money_and_tokens_are_stored_in_64_bits() -> None:
    narrow = {
        f"{table.name}.{column.name}"
        for table in all_tables().tables.values()
        for column in table.columns
        if str(column.type) == "INTEGER"
    }
    assert narrow <= {
        "entry.leg",
        "usage_event.attempts",
        "outbox.attempts",
        "provider_account.version",
        "deployment.version",
        "deployment.concurrency_max",
        "planning_state.version",
        "price_draft.version",
        "tuned_model.version",
        "tuned_model.concurrency_max",
        "tuned_model.concurrency_wanted",
    }
