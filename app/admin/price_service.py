"""What operators do with prices: drafts, publishing, going back, and what a change would have earned.

The JSON API, the console and the command line share it. Each change and its audit record are one transaction; this
process quotes by a new book at once, others within a second.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel.ext.asyncio.session import AsyncSession

from app.admin.desk import Desk
from app.audit.service import Actor
from app.catalog import book_store, draft_store, repository
from app.catalog.book_store import BookHead, Released, UnknownBook
from app.catalog.draft import CardEdit, Cards, Draft
from app.catalog.draft_store import Heading, Release
from app.catalog.impact_store import DAYS_DEFAULT, Assessment, Effort, assess, last_days
from app.catalog.service import no_price_book
from app.db import Database
from pricing.book_diff import BookDiff, book_diff

DRAFT_PREFIX = "draft-"


@dataclass(frozen=True, slots=True)
class Side:
    """One of two things compared.

    Attributes:
        id: of a price book or a draft; empty for no prices at all.
        draft: the draft, where it is one.
    """

    id: str
    cards: Cards
    draft: Draft | None = None


@dataclass(frozen=True, slots=True)
class Review:
    """Two sides compared, and what the newer would have earned on a period's traffic; None where it was not asked."""

    old: Side
    new: Side
    diff: BookDiff
    assessment: Assessment | None


async def open_draft(desk: Desk, actor: Actor, title: str, from_id: str | None = None) -> Draft:
    """Opens a draft to replace the book in force.

    Args:
        desk: the market's rooms.
        actor: who opens it.
        title: what it is called.
        from_id: a published book whose cards it begins with; None takes those in force.

    Raises:
        NoPriceBook: nothing is in force.
        UnknownBook: no such book.
    """
    now_us = desk.now_us()
    async with desk.database.writing() as session:
        live = await repository.live_row(session, now_us)
        if live is None:
            raise no_price_book()
        source = live if from_id is None else await repository.row_by_id(session, from_id)
        if source is None:
            raise UnknownBook(from_id or "")
        cards, base = repository.book_of(source), repository.book_of(live)
        return await draft_store.open_draft(session, cards, base, Heading(title), actor, now_us)


async def edit_draft(desk: Desk, actor: Actor, draft_id: str, version: int, edits: Sequence[CardEdit]) -> Draft:
    """Changes some tiers of a draft at once; see :func:`app.catalog.draft_store.edit_cards`."""
    async with desk.database.writing() as session:
        return await draft_store.edit_cards(session, draft_id, version, edits, actor, desk.now_us())


async def rebase_draft(desk: Desk, actor: Actor, draft_id: str, version: int, onto: str | None = None) -> Draft:
    """Compares a draft with another book, the one in force by default, and keeps its edits."""
    async with desk.database.writing() as session:
        return await draft_store.rebase(session, draft_id, version, actor, desk.now_us(), onto=onto)


async def discard_draft(desk: Desk, actor: Actor, draft_id: str, version: int, reason: str) -> Draft:
    """Drops a draft; it stays readable."""
    async with desk.database.writing() as session:
        return await draft_store.discard(session, draft_id, version, actor, reason, desk.now_us())


async def publish_draft(desk: Desk, actor: Actor, draft_id: str, wanted: Release) -> Released:
    """Makes a draft a price book, now or at a moment to come; see :func:`app.catalog.draft_store.publish_draft`."""
    async with desk.database.writing() as session:
        released = await draft_store.publish_draft(session, draft_id, wanted, actor, desk.now_us())
    await desk.shelf.refresh()
    return released


async def roll_back(desk: Desk, actor: Actor, book_id: str, reason: str, *, after: str | None = None) -> Released:
    """Puts an older book's promises and rates in force again; see :func:`app.catalog.book_store.roll_back`."""
    async with desk.database.writing() as session:
        released = await book_store.roll_back(session, book_id, actor, reason, desk.now_us(), after=after)
    await desk.shelf.refresh()
    return released


async def withdraw_book(desk: Desk, actor: Actor, book_id: str, reason: str) -> BookHead:
    """Takes back a book that is to come; see :func:`app.catalog.book_store.withdraw_book`."""
    async with desk.database.writing() as session:
        withdrawn = await book_store.withdraw_book(session, book_id, actor, reason, desk.now_us())
    await desk.shelf.refresh()
    return withdrawn


async def review(
    database: Database,
    new_id: str,
    now_us: int,
    *,
    old_id: str | None = None,
    days: int = DAYS_DEFAULT,
    effort: Effort | None = None,
) -> Review:
    """Compares a draft or a book with another, and rates recent traffic under both.

    Args:
        database: of the market.
        new_id: the draft or book proposed.
        now_us: µs since the epoch.
        old_id: what it is compared with; None takes a draft's base, and for a book the one in force.
        days: of traffic, up to now; 0 leaves it out.
        effort: how much is read at most.

    Raises:
        UnknownBook, UnknownDraft: one of them is not there.
        PeriodRefused: too many days.
    """
    period = last_days(days, now_us) if days else None
    async with database.reading() as session:
        new = await side_of(session, new_id)
        old = await _old_side(session, old_id, new, now_us)
    found = None if period is None else await assess(database, old.cards, new.cards, period, effort or Effort())
    return Review(old, new, book_diff(old.cards, new.cards), found)


async def side_of(session: AsyncSession, subject_id: str) -> Side:
    """A draft or a published book, withdrawn or not, by its id.

    Raises:
        UnknownBook, UnknownDraft: there is none.
    """
    if subject_id.startswith(DRAFT_PREFIX):
        draft = await draft_store.draft_by_id(session, subject_id)
        return Side(draft.id, draft.cards, draft)
    book = await book_store.book_by_id(session, subject_id)
    return Side(book.id, book.cards)


async def _old_side(session: AsyncSession, old_id: str | None, new: Side, now_us: int) -> Side:
    if old_id is not None:
        return await side_of(session, old_id)
    if new.draft is not None:
        return await side_of(session, new.draft.base_book_id) if new.draft.base_book_id else Side("", {})
    live = await repository.live_row(session, now_us)
    return Side("", {}) if live is None else Side(live.id, repository.book_of(live).cards)
