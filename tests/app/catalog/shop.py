"""A catalog's database with one book in force, and the few calls that tests of its life make."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlmodel import col, select

from app.audit.models import AuditEvent
from app.catalog import book_store, draft_store
from app.catalog.book_store import BookHead, Released
from app.catalog.draft import CardEdit, Draft
from app.catalog.draft_store import Heading, Release
from app.catalog.repository import book_of, live_row
from app.catalog.service import publish_book
from app.clock import from_us
from app.db import Database
from pricing.pricebook import PriceBook
from pricing.slo import Tier
from tests.app.catalog.books import ACTOR, T0, T0_US, book

S_US = 1_000_000
HOUR_US = 3_600 * S_US
MODEL = "open/one"


class Shop:
    """One market's prices; every call is a transaction of its own."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def opened_with(self, first: PriceBook | None = None) -> PriceBook:
        """Publishes a first book, in force since T0."""
        async with self.database.writing() as session:
            return await publish_book(session, first or book(T0), ACTOR, "first", T0_US)

    async def draft(
        self, base: PriceBook, now_us: int, cards: PriceBook | None = None, title: str = "A draft"
    ) -> Draft:
        """Opens a draft."""
        async with self.database.writing() as session:
            return await draft_store.open_draft(session, cards or base, base, Heading(title), ACTOR, now_us)

    async def edit(self, draft: Draft, now_us: int, tier: Tier = Tier.STANDARD, **fields: int) -> Draft:
        """Sets fields of one tier."""
        async with self.database.writing() as session:
            edit = CardEdit(MODEL, tier, fields=fields)
            return await draft_store.edit_card(session, draft.id, draft.version, edit, ACTOR, now_us)

    async def changed(self, base: PriceBook, now_us: int, output: int) -> Draft:
        """A draft in which standard's output rate is another one."""
        return await self.edit(await self.draft(base, now_us), now_us, output=output)

    async def publish(self, draft: Draft, now_us: int, effective_at: datetime | None = None) -> Released:
        """Publishes a draft."""
        wanted = Release(draft.version, "a reason", effective_at, accepts_warnings=True)
        async with self.database.writing() as session:
            return await draft_store.publish_draft(session, draft.id, wanted, ACTOR, now_us)

    async def roll_back(self, book_id: str, now_us: int, after: str | None = None) -> Released:
        """Rolls back."""
        async with self.database.writing() as session:
            return await book_store.roll_back(session, book_id, ACTOR, "a mistake", now_us, after=after)

    async def withdraw(self, book_id: str, now_us: int) -> BookHead:
        """Withdraws a scheduled book."""
        async with self.database.writing() as session:
            return await book_store.withdraw_book(session, book_id, ACTOR, "not after all", now_us)

    async def rebase(self, draft: Draft, now_us: int, onto: str | None = None) -> Draft:
        """Rebases a draft."""
        async with self.database.writing() as session:
            return await draft_store.rebase(session, draft.id, draft.version, ACTOR, now_us, onto=onto)

    async def discard(self, draft: Draft, now_us: int) -> Draft:
        """Discards a draft."""
        async with self.database.writing() as session:
            return await draft_store.discard(session, draft.id, draft.version, ACTOR, "not needed", now_us)

    async def found(self, draft_id: str) -> Draft:
        """Reads a draft."""
        async with self.database.reading() as session:
            return await draft_store.draft_by_id(session, draft_id)

    async def live(self, now_us: int) -> PriceBook:
        """The book in force at a moment."""
        async with self.database.reading() as session:
            row = await live_row(session, now_us)
        assert row is not None
        return book_of(row)

    async def books(self) -> list[BookHead]:
        """Every book, the last published first."""
        async with self.database.reading() as session:
            return await book_store.books_page(session, 1_000)

    async def audited(self) -> list[str]:
        """Actions in the order in which they were recorded."""
        async with self.database.reading() as session:
            rows = (await session.exec(select(AuditEvent).order_by(col(AuditEvent.at_us), col(AuditEvent.id)))).all()
        return [row.action for row in rows]

    async def last_audit(self, action: str) -> tuple[Mapping[str, object], Mapping[str, object], str]:
        """Before, after and reason of the last record of an action."""
        async with self.database.reading() as session:
            statement = (
                select(AuditEvent).where(col(AuditEvent.action) == action).order_by(col(AuditEvent.at_us).desc())
            )
            row = (await session.exec(statement)).first()
        assert row is not None
        return row.before, row.after, row.reason


def output_of(cards: PriceBook | Draft, tier: Tier = Tier.STANDARD) -> int:
    """The output rate of a tier."""
    return cards.cards[MODEL, tier].rung.rates.output


def at(us: int) -> datetime:
    """A moment."""
    return from_us(us)


def later(us: int) -> datetime:
    """So long after T0."""
    return T0 + timedelta(microseconds=us)
