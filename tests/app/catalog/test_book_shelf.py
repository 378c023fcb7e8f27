import asyncio
import contextlib
from datetime import timedelta

import pytest
from sqlalchemy.exc import OperationalError

from app import clock
from app.catalog.book_cache import BOOKS_AT_ONCE_MAX, BookShelf, keep_fresh
from app.catalog.sale import ModelOnSale
from app.catalog.service import NoPriceBook, publish_book, put_on_sale, withdraw
from app.db import Database
from app.logs import get_logger
from pricing.pricebook import PriceBook
from tests.app.catalog.books import ACTOR, T0, T0_US, book

HOUR = timedelta(hours=1)
ONE, TWO = ModelOnSale("open/one", "One", 131_072, T0_US), ModelOnSale("open/two", "Two", 8_192, T0_US)


async def publish(database: Database, *books: PriceBook) -> None:
    async with database.writing() as session:
        for each in books:
            await publish_book(session, each, ACTOR, "a test", T0_US)


async def test_an_empty_shelf_says_that_nothing_is_on_sale(database: Database) -> None:
    shelf = BookShelf(database)
    await shelf.refresh()
    with pytest.raises(NoPriceBook) as caught:
        shelf.live(T0)
    assert (caught.value.status, caught.value.code) == (503, "no_price_book")
    assert shelf.models() == ()
    assert shelf.by_id("pb-none") is None


async def test_a_shelf_follows_publications_and_the_clock(database: Database) -> None:
    shelf = BookShelf(database)
    today, tomorrow = book(T0), book(T0 + 24 * HOUR)
    await publish(database, today)
    await shelf.refresh()
    assert shelf.live(T0) == today
    await publish(database, tomorrow)
    assert shelf.by_id(tomorrow.id) is None
    await shelf.refresh()
    assert shelf.by_id(tomorrow.id) == tomorrow
    assert [shelf.live(T0 + n * HOUR) for n in (0, 23, 24)] == [today, today, tomorrow]


async def test_a_book_stays_the_same_object_for_as_long_as_the_process_lives(database: Database) -> None:
    await publish(database, book())
    shelf = BookShelf(database)
    await shelf.refresh()
    before = shelf.live(T0)
    await publish(database, book(T0 + HOUR))
    await shelf.refresh()
    assert shelf.by_id(before.id) is before


async def test_a_new_process_has_the_book_in_force_the_scheduled_and_the_recent_ones_and_finds_the_rest(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_ago = book(T0 - 2 * HOUR)
    in_force = book(T0 - HOUR)
    next_year = book(T0 + 9_000 * HOUR)
    next_month = [book(T0 + timedelta(days=30, seconds=n)) for n in range(BOOKS_AT_ONCE_MAX)]
    await publish(database, long_ago, in_force, next_year, *next_month)
    monkeypatch.setattr(clock, "now_us", lambda: T0_US)
    monkeypatch.setattr("app.catalog.book_cache.now_us", lambda: T0_US)
    shelf = BookShelf(database)
    await shelf.refresh()
    assert shelf.live(T0) == in_force
    assert shelf.live(T0 + 9_000 * HOUR) == next_year
    assert all(shelf.by_id(each.id) is not None for each in next_month)
    assert shelf.by_id(long_ago.id) is None
    assert await shelf.find(long_ago.id) == long_ago
    assert shelf.by_id(long_ago.id) == long_ago
    assert shelf.live(T0) == in_force
    assert await shelf.find("pb-none") is None


async def test_models_come_and_go(database: Database) -> None:
    shelf = BookShelf(database)
    async with database.writing() as session:
        for model in (TWO, ONE):
            await put_on_sale(session, model, ACTOR, T0_US)
    await shelf.refresh()
    assert shelf.models() == (ONE, TWO)
    assert shelf.model("open/two") == TWO
    assert (shelf.context_max("open/one"), shelf.context_max("open/three")) == (131_072, None)
    async with database.writing() as session:
        await withdraw(session, "open/one", ACTOR, "retired", T0_US)
    await shelf.refresh()
    assert shelf.models() == (TWO,)
    assert shelf.context_max("open/one") is None


async def test_a_database_that_is_away_for_a_while_leaves_the_known_book_in_force(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(database, book())
    shelf = BookShelf(database)
    await shelf.refresh()
    failures = 0
    whole = database.reading

    def failing() -> contextlib.AbstractAsyncContextManager[object]:
        nonlocal failures
        failures += 1
        raise OperationalError("SELECT", {}, ConnectionError("the database is away"))

    monkeypatch.setattr(database, "reading", failing)
    task = asyncio.create_task(shelf.run(every_s=0.002))
    for _ in range(500):
        if failures >= 2:
            break
        await asyncio.sleep(0.002)
    assert failures >= 2
    assert shelf.live(T0) == book()
    monkeypatch.setattr(database, "reading", whole)
    await publish(database, book(T0 + HOUR))
    for _ in range(500):
        if shelf.live(T0 + HOUR) == book(T0 + HOUR):
            break
        await asyncio.sleep(0.002)
    assert shelf.live(T0 + HOUR) == book(T0 + HOUR)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancelled_refresh_is_finished_first_so_that_no_connection_is_lost() -> None:
    begun, finished = asyncio.Event(), asyncio.Event()

    async def refresh() -> None:
        begun.set()
        await asyncio.sleep(0.02)
        finished.set()

    task = asyncio.create_task(keep_fresh(refresh, 0.0, get_logger("test")))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert finished.is_set()
