"""A database whose books were published before there were drafts upgrades with them, on both databases."""

import asyncio
import json
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.catalog.book_cache import BookShelf
from app.catalog.draft import Origin
from app.catalog.service import live_origin
from app.db import Database
from migrations.run import _config, migrate
from pricing.pricebook import book_record
from tests.app.catalog.books import T0, T0_US, book
from tests.app.catalog.shop import S_US, Shop

pytest_plugins = ("tests.postgres",)
INSERT = """
INSERT INTO price_book (sequence, id, sha256, effective_at_us, record, published_by, reason, created_at_us)
VALUES (1, :id, :sha256, :at_us, :record, 'goodput up', 'derived at the start', :at_us)
"""


def upgrade_with_a_book(url: str) -> None:
    command.upgrade(_config(url), "0003")
    old = book(T0)

    async def fill() -> None:
        database = Database(url)
        async with database.engine.begin() as connection:
            row = {"id": old.id, "sha256": old.sha256, "at_us": T0_US, "record": json.dumps(book_record(old))}
            await connection.execute(text(INSERT), row)
        await database.close()

    asyncio.run(fill())
    migrate(url)


async def look_around(url: str) -> None:
    database = Database(url)
    shop = Shop(database)
    assert await shop.live(T0_US) == book(T0)
    async with database.reading() as session:
        assert await live_origin(session, T0_US) is Origin.DERIVED
    released = await shop.publish(await shop.changed(book(T0), T0_US + 1, 700_000), T0_US + S_US)
    shelf = BookShelf(database)
    await shelf.refresh()
    assert shelf.live(released.book.effective_at) == released.book
    for statement in ("UPDATE price_book SET origin = 'operator'", "UPDATE price_book SET origin = 'nobody'"):
        with pytest.raises(DBAPIError, match="append-only"):
            async with database.writing() as session:
                await (await session.connection()).execute(text(statement))
    await database.close()


def test_a_book_of_before_upgrades_as_derived_and_is_still_append_only(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'market.sqlite3'}"
    upgrade_with_a_book(url)
    asyncio.run(look_around(url))


@pytest.mark.slow
@pytest.mark.postgres
def test_on_postgres_too(postgres_url: str) -> None:
    upgrade_with_a_book(postgres_url)
    asyncio.run(look_around(postgres_url))
