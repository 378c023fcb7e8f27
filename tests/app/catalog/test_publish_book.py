import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError
from sqlmodel import select, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.models import AuditEvent
from app.catalog.models import PriceBookRow
from app.catalog.repository import book_of, latest_row
from app.catalog.sale import ModelOnSale, SaleError
from app.catalog.service import (
    NoPriceBook,
    PriceBookSuperseded,
    live_book,
    moment_us,
    publish_book,
    put_on_sale,
    withdraw,
)
from app.clock import from_us
from app.db import Database
from pricing.pricebook import PriceBook, PriceBookId
from pricing.slo import Tier
from tests.app.catalog.books import ACTOR, PRICES, T0, T0_US, book, card, rates
from tests.app.catalog.conftest import with_tables

pytest_plugins = ("tests.postgres",)
HOUR = timedelta(hours=1)
MODEL = ModelOnSale("open/one", "One", 131_072, T0_US)


async def publish(database: Database, published: PriceBook, after: PriceBookId | None = None) -> PriceBook:
    async with database.writing() as session:
        return await publish_book(session, published, ACTOR, "a test", T0_US, after=after)


async def audited(session: AsyncSession) -> list[tuple[str, str]]:
    rows = (await session.exec(select(AuditEvent).order_by("id"))).all()
    return [(row.action, row.subject) for row in rows]


async def test_a_published_book_reads_back_to_the_last_digit_and_is_in_force_from_its_moment(
    database: Database,
) -> None:
    published = await publish(database, book())
    async with database.reading() as session:
        assert await live_book(session, T0) == published
        with pytest.raises(NoPriceBook, match="no price book is in force"):
            await live_book(session, T0 - timedelta(microseconds=1))
        assert await audited(session) == [("price_book.published", f"price_book:{published.id}")]


async def test_of_several_books_the_latest_in_effect_is_in_force(database: Database) -> None:
    first = await publish(database, book(T0))
    tomorrow = await publish(database, book(T0 + 24 * HOUR))
    tonight = await publish(database, book(T0 + HOUR))
    async with database.reading() as session:
        moments = [T0, T0 + HOUR, T0 + 23 * HOUR, T0 + 24 * HOUR]
        assert [await live_book(session, now) for now in moments] == [first, tonight, tonight, tomorrow]


async def test_books_form_a_chain(database: Database) -> None:
    ids = [(await publish(database, book(T0 + n * HOUR))).id for n in range(3)]
    async with database.reading() as session:
        rows = (await session.exec(select(PriceBookRow).order_by("sequence"))).all()
    assert [(row.sequence, row.id, row.predecessor_id) for row in rows] == [
        (1, ids[0], None),
        (2, ids[1], ids[0]),
        (3, ids[2], ids[1]),
    ]
    assert rows[0].published_by == "ada@example.com"
    assert rows[0].reason == "a test"


async def test_a_book_compared_with_one_that_is_no_longer_the_last_is_refused(database: Database) -> None:
    first = await publish(database, book())
    second = await publish(database, book(T0 + HOUR), after=first.id)
    with pytest.raises(PriceBookSuperseded, match=rf"made to follow {first.id}, but {second.id} was published last"):
        await publish(database, book(T0 + 2 * HOUR), after=first.id)
    async with database.reading() as session:
        latest = await latest_row(session)
        assert latest is not None
        assert latest.id == second.id


async def test_a_book_cannot_come_into_force_before_the_one_in_force_did(database: Database) -> None:
    await publish(database, book())
    with pytest.raises(PriceBookSuperseded, match="before the book in force"):
        await publish(database, book(T0 - HOUR))


async def test_the_same_book_is_published_once(database: Database) -> None:
    await publish(database, book())
    with pytest.raises(PriceBookSuperseded, match="this very one was before"):
        await publish(database, book())
    async with database.reading() as session:
        assert len(await audited(session)) == 1


async def test_a_refused_publication_leaves_the_callers_transaction_usable(database: Database) -> None:
    await publish(database, book())
    async with database.writing() as session:
        with pytest.raises(PriceBookSuperseded):
            await publish_book(session, book(), ACTOR, "again", T0_US)
        await put_on_sale(session, MODEL, ACTOR, T0_US + 1000)
    async with database.reading() as session:
        assert (await audited(session))[-1] == ("model.put_on_sale", "model:open/one")


@pytest.mark.parametrize("change", ["UPDATE price_book SET reason = 'x'", "DELETE FROM price_book"])
async def test_a_published_book_cannot_be_changed_or_removed(database: Database, change: str) -> None:
    published = await publish(database, book())
    with pytest.raises(DBAPIError, match="append-only"):
        async with database.writing() as session:
            await session.exec(text(change))  # pyright: ignore[reportCallIssue, reportArgumentType] (plain SQL)
    async with database.reading() as session:
        assert await live_book(session, T0) == published


async def test_a_stored_book_that_was_tampered_with_does_not_read_as_the_same_book(database: Database) -> None:
    published = await publish(database, book())
    async with database.reading() as session:
        row = await latest_row(session)
    assert row is not None
    row.record["document"]["cards"][0]["rates"]["output"] += 1
    assert book_of(row).sha256 != published.sha256 == row.sha256


async def test_of_two_publications_at_once_after_the_same_book_one_wins(database: Database) -> None:
    first = await publish(database, book())
    cheaper = card(Tier.STANDARD, price=rates("0.15", "0.70"))
    rivals = [
        book(T0 + HOUR),
        book(T0 + HOUR, card(Tier.PREMIUM), cheaper, card(Tier.BULK)),
        book(T0 + HOUR, card(Tier.PREMIUM)),
    ]
    answers = await asyncio.gather(*(publish(database, each, first.id) for each in rivals), return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["PriceBook", *["PriceBookSuperseded"] * 2]


@pytest.mark.slow
@pytest.mark.postgres
async def test_on_postgres_of_publications_that_read_the_same_predecessor_one_wins(postgres_url: str) -> None:
    database = await with_tables(Database(postgres_url))
    first = await publish(database, book())
    gate = asyncio.Barrier(4)

    async def rival(n: int) -> PriceBook:
        async with database.writing() as session:
            await session.exec(select(PriceBookRow))
            await gate.wait()  # all transactions are open and have read the same last book
            return await publish_book(session, book(T0 + n * HOUR), ACTOR, "a rival", T0_US)

    answers = await asyncio.gather(*(rival(n) for n in range(1, 5)), return_exceptions=True)
    async with database.reading() as session:
        rows = (await session.exec(select(PriceBookRow).order_by("sequence"))).all()
        assert len(await audited(session)) == len(rows)
    winners = [answer for answer in answers if isinstance(answer, PriceBook)]
    losers = [answer for answer in answers if isinstance(answer, PriceBookSuperseded)]
    assert len(winners) >= 1
    assert len(winners) + len(losers) == 4
    assert [row.sequence for row in rows] == list(range(1, len(winners) + 2))
    assert rows[1].predecessor_id == first.id
    await database.close()


async def test_a_model_is_put_on_sale_changed_and_withdrawn_each_audited_once(database: Database) -> None:
    longer = ModelOnSale("open/one", "One", 262_144, T0_US)
    async with database.writing() as session:
        for n, model in enumerate((MODEL, MODEL, longer)):
            await put_on_sale(session, model, ACTOR, T0_US + n * 1000)
        assert await withdraw(session, "open/one", ACTOR, "retired", T0_US + 9000)
        assert not await withdraw(session, "open/one", ACTOR, "retired", T0_US + 9000)
        assert not await withdraw(session, "never", ACTOR, "retired", T0_US + 9000)
        events = (await session.exec(select(AuditEvent).order_by("id"))).all()
    assert [event.action for event in events] == ["model.put_on_sale", "model.put_on_sale", "model.withdrawn"]
    assert events[0].before == {}
    assert (events[1].before["context_max"], events[1].after["context_max"]) == (131_072, 262_144)


@pytest.mark.parametrize(
    "changes", [{"name": ""}, {"name": " a"}, {"title": "x" * 181}, {"context_max": 0}, {"name": "a\nb"}]
)
def test_a_model_that_makes_no_sense_is_refused(changes: dict[str, str]) -> None:
    fields = {"name": "m", "title": "M", "context_max": 1, "created_at_us": 0, **changes}
    with pytest.raises(SaleError):
        ModelOnSale(**fields)  # pyright: ignore[reportArgumentType] (built to be wrong)


def test_moments_convert_to_the_microsecond_both_ways() -> None:
    assert moment_us(T0) == T0_US
    assert from_us(T0_US) == T0


def test_every_tier_in_these_tests_costs_less_than_the_one_above() -> None:
    outputs = [PRICES[tier].output for tier in Tier]
    assert outputs == sorted(outputs, reverse=True)


async def test_a_sqlite_catalog_survives_being_reopened(tmp_path: Path, database: Database) -> None:
    published = await publish(database, book())
    reopened = Database(f"sqlite:///{tmp_path / 'catalog.sqlite3'}")
    async with reopened.reading() as session:
        assert await live_book(session, T0) == published
    await reopened.close()
