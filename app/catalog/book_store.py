"""Published price books over time: what comes into force when, taking back what has not, going back to what was.

Books are for ever. Withdrawing one is a row beside it, going back is a new book with the old one's cards. Every change
takes its turn (:func:`app.catalog.repository.take_turn`), so that what was checked still holds when it commits.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy.orm import defer
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import Select

from app.audit.service import Actor, Change, record
from app.catalog import repository
from app.catalog.draft import Origin
from app.catalog.models import PriceBookRow, PriceBookWithdrawalRow
from app.catalog.service import Provenance, actor_name, checked_reason, moment_us, publish, superseded
from app.clock import US_PER_S, from_us
from app.errors import MarketError
from pricing.pricebook import PriceBook, PriceBookError, RateCard, price_book

SCHEDULE_AHEAD_US_MAX = 366 * 86_400 * US_PER_S
WITHDRAWAL_LEAD_US = 15 * US_PER_S
"""A withdrawal takes this long at most to commit and to be heard of by every process; later ones are refused."""
FOLLOWERS_MAX = 1_000
MODELS_MAX = 1_000
SAME_BOOK_MAX = 100
"""Books of the same cards at the same moment, scheduled and withdrawn again and again, a µs apart."""


_WITHOUT_CARDS = defer(col(PriceBookRow.record))  # pyright: ignore[reportArgumentType] (a mapped column, as SQLAlchemy wants it)


class UnknownBook(MarketError):
    """No price book of this id was published, or it was withdrawn."""

    def __init__(self, book_id: str) -> None:
        super().__init__(
            404,
            "price_book_not_found",
            f"There is no price book {book_id[:80]!r}: none was published under it, or it was withdrawn.",
        )


class MomentRefused(MarketError):
    """A moment at which nothing can come into force."""


class WithdrawalRefused(MarketError):
    """A book that cannot be withdrawn: it is or was in force, is about to be, or was withdrawn before."""


class BookRefused(MarketError):
    """Cards that make no price book under today's rules."""


class NothingToRollBack(MarketError):
    """The book in force has the very cards that were to be restored."""


class BookState(StrEnum):
    """Where a published book stands."""

    LIVE = "live"
    SCHEDULED = "scheduled"
    PAST = "past"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class BookHead:
    """A published book without its cards, for lists.

    Attributes:
        withdrawn_at_us: None unless it was withdrawn; ``withdrawn_by`` and ``withdrawal_reason`` go with it.
    """

    sequence: int
    id: str
    predecessor_id: str | None
    sha256: str
    effective_at_us: int
    origin: Origin
    published_by: str
    reason: str
    created_at_us: int
    withdrawn_at_us: int | None = None
    withdrawn_by: str | None = None
    withdrawal_reason: str | None = None

    def state(self, live_id: str | None, now_us: int) -> BookState:
        """Where it stands.

        Args:
            live_id: the book in force.
            now_us: µs since the epoch.
        """
        if self.withdrawn_at_us is not None:
            return BookState.WITHDRAWN
        if self.id == live_id:
            return BookState.LIVE
        return BookState.SCHEDULED if self.effective_at_us > now_us else BookState.PAST


@dataclass(frozen=True, slots=True)
class Turn:
    """A moment at which a book may come into force.

    Attributes:
        replaces: the book in force then, as things stand; None when none is.
    """

    at_us: int
    replaces: str | None


@dataclass(frozen=True, slots=True)
class Released:
    """A book that was published.

    Attributes:
        replaces: the book whose place it takes at its moment; None when nothing was in force then.
        followed_by: books that come into force after it, soonest first; they know nothing of what it changed.
        off_sale: models that it has prices for and that are not on sale.
        unpriced: models that are on sale and that it has no price for: their requests are refused.
    """

    book: PriceBook
    replaces: str | None
    followed_by: tuple[BookHead, ...]
    off_sale: tuple[str, ...] = ()
    unpriced: tuple[str, ...] = ()


async def turn_at(session: AsyncSession, now_us: int, effective_at: datetime | None = None) -> Turn:
    """Finds out what a book would replace, and keeps it so until the transaction ends.

    Args:
        session: a writing one.
        now_us: µs since the epoch.
        effective_at: aware; None at once.

    Raises:
        MomentRefused: the moment has passed, has no time zone, or is too far away.
        PriceBookSuperseded: another book was published since ``now_us``.
    """
    await repository.take_turn(session)
    at_us = now_us if effective_at is None else _moment_to_come(effective_at, now_us)
    latest = await repository.latest_row(session)
    if latest is not None and latest.created_at_us > now_us:
        raise superseded(
            f"{latest.id} was published at {from_us(latest.created_at_us).isoformat()}, after this was asked for"
        )
    replaced = await repository.live_row(session, at_us)
    return Turn(at_us, None if replaced is None else replaced.id)


async def release(
    session: AsyncSession, cards: Iterable[RateCard], turn: Turn, by: Provenance, now_us: int
) -> Released:
    """Publishes some cards as a book that comes into force at its turn.

    Raises:
        PriceBookSuperseded: another book was published at the same time.
        BookRefused: cards that make no book.
    """
    book = await _book_of_its_own(session, list(cards), turn.at_us)
    await publish(session, book, by, now_us)
    on_sale = {model.name for model in await repository.models_on_sale(session, MODELS_MAX)}
    priced = set(book.models())
    return Released(
        book,
        turn.replaces,
        await books_after(session, moment_us(book.effective_at)),
        off_sale=tuple(sorted(priced - on_sale)),
        unpriced=tuple(sorted(on_sale - priced)),
    )


async def roll_back(
    session: AsyncSession, to_book_id: str, actor: Actor, reason: str, now_us: int, *, after: str | None = None
) -> Released:
    """Puts an older book's promises and rates in force again, at once, as a new book.

    Args:
        session: a writing one.
        to_book_id: any published book that was not withdrawn.
        actor: who does it.
        reason: why; kept with the new book.
        now_us: µs since the epoch.
        after: the book that was in force when it was decided; None takes whichever is.

    Raises:
        UnknownBook: there is none of that id, or it was withdrawn.
        NothingToRollBack: what is in force has the same cards.
        PriceBookSuperseded: another book than ``after`` is in force, or one was published at the same time.
    """
    await repository.take_turn(session)
    target = await repository.standing_row(session, to_book_id)
    if target is None:
        raise UnknownBook(to_book_id)
    live = await repository.live_row(session, now_us)
    if after is not None and (live is None or live.id != after):
        raise superseded(f"{after} was in force when it was decided, now {live.id if live else 'none'} is")
    wanted = repository.book_of(target)
    if live is not None and repository.book_of(live).cards == wanted.cards:
        raise NothingToRollBack(
            409,
            "nothing_to_roll_back",
            f"The book in force, {live.id}, has the very promises and rates of {to_book_id}; nothing was published.",
        )
    by = Provenance(actor, checked_reason(reason), Origin.ROLLBACK)
    turn = await turn_at(session, now_us)
    released = await release(session, wanted.cards.values(), turn, by, now_us)
    change = Change(
        "price_book.rolled_back",
        f"price_book:{released.book.id}",
        before={"price_book_id": released.replaces},
        after={"price_book_id": released.book.id, "cards_of": to_book_id},
        reason=by.reason,
    )
    await record(session, actor, change, now_us)
    return released


async def withdraw_book(session: AsyncSession, book_id: str, actor: Actor, reason: str, now_us: int) -> BookHead:
    """Takes a scheduled book back: it never comes into force, and what is in force then stays.

    Raises:
        UnknownBook: there is none of that id.
        WithdrawalRefused: it is or was in force, comes into force too soon for every process to hear of the
            withdrawal, or was withdrawn before.
    """
    await repository.take_turn(session)
    row = await repository.row_by_id(session, book_id)
    if row is None:
        raise UnknownBook(book_id)
    if await repository.standing_row(session, book_id) is None:
        raise WithdrawalRefused(409, "already_withdrawn", f"{book_id} was withdrawn before.")
    _check_withdrawable(row, now_us)
    last = (await session.exec(select(func.max(col(PriceBookWithdrawalRow.sequence))))).one()
    withdrawal = PriceBookWithdrawalRow(
        sequence=(last or 0) + 1,
        book_id=book_id,
        withdrawn_at_us=now_us,
        withdrawn_by=actor_name(actor),
        reason=checked_reason(reason),
    )
    session.add(withdrawal)
    await session.flush()
    change = Change(
        "price_book.withdrawn",
        f"price_book:{book_id}",
        before={"effective_at": from_us(row.effective_at_us).isoformat()},
        after={"effective_at": None},
        reason=withdrawal.reason,
    )
    await record(session, actor, change, now_us)
    return _head(row, withdrawal)


async def books_page(session: AsyncSession, rows_max: int, *, before_sequence: int | None = None) -> list[BookHead]:
    """Published books without their cards, the last published first.

    Args:
        session: a reading one.
        rows_max: how many at most.
        before_sequence: only those published before this one.
    """
    statement = _heads().order_by(col(PriceBookRow.sequence).desc()).limit(rows_max)
    if before_sequence is not None:
        statement = statement.where(col(PriceBookRow.sequence) < before_sequence)
    return [_head(*row) for row in (await session.exec(statement)).all()]


async def book_head(session: AsyncSession, book_id: str) -> BookHead:
    """One published book without its cards, withdrawn or not.

    Raises:
        UnknownBook: there is none of that id.
    """
    row = (await session.exec(_heads().where(col(PriceBookRow.id) == book_id))).first()
    if row is None:
        raise UnknownBook(book_id)
    return _head(*row)


async def book_by_id(session: AsyncSession, book_id: str) -> PriceBook:
    """One published book, withdrawn or not.

    Raises:
        UnknownBook: there is none of that id.
    """
    row = await repository.row_by_id(session, book_id)
    if row is None:
        raise UnknownBook(book_id)
    return repository.book_of(row)


async def books_after(session: AsyncSession, at_us: int) -> tuple[BookHead, ...]:
    """Books that come into force after a moment, soonest first; none that was withdrawn."""
    statement = (
        _heads()
        .where(col(PriceBookRow.effective_at_us) > at_us, col(PriceBookWithdrawalRow.sequence).is_(None))
        .order_by(col(PriceBookRow.effective_at_us), col(PriceBookRow.sequence))
        .limit(FOLLOWERS_MAX)
    )
    return tuple(_head(*row) for row in (await session.exec(statement)).all())


def _heads() -> Select[PriceBookRow, PriceBookWithdrawalRow]:
    joined = col(PriceBookWithdrawalRow.book_id) == col(PriceBookRow.id)
    return (
        select(PriceBookRow, PriceBookWithdrawalRow)
        .join(PriceBookWithdrawalRow, joined, isouter=True)
        .options(_WITHOUT_CARDS)
    )


def _head(row: PriceBookRow, withdrawal: PriceBookWithdrawalRow | None) -> BookHead:
    return BookHead(
        sequence=row.sequence,
        id=row.id,
        predecessor_id=row.predecessor_id,
        sha256=row.sha256,
        effective_at_us=row.effective_at_us,
        origin=Origin(row.origin),
        published_by=row.published_by,
        reason=row.reason,
        created_at_us=row.created_at_us,
        withdrawn_at_us=None if withdrawal is None else withdrawal.withdrawn_at_us,
        withdrawn_by=None if withdrawal is None else withdrawal.withdrawn_by,
        withdrawal_reason=None if withdrawal is None else withdrawal.reason,
    )


def _moment_to_come(at: datetime, now_us: int) -> int:
    if at.tzinfo is None:
        raise MomentRefused(
            400,
            "moment_without_zone",
            f"{at.isoformat()} has no time zone; write it with one, such as {at.isoformat()}Z for UTC.",
            param="effective_at",
        )
    at_us = moment_us(at)
    now = from_us(now_us).isoformat()
    if at_us <= now_us:
        raise MomentRefused(
            400,
            "moment_has_passed",
            f"{at.isoformat()} is not to come: it is {now}. Choose a later moment, or publish at once.",
            param="effective_at",
        )
    if at_us > now_us + SCHEDULE_AHEAD_US_MAX:
        days = SCHEDULE_AHEAD_US_MAX // (86_400 * US_PER_S)
        raise MomentRefused(
            400,
            "moment_too_far_away",
            f"{at.isoformat()} is more than {days} days after now, {now}. Choose a moment within {days} days.",
            param="effective_at",
        )
    return at_us


def _check_withdrawable(row: PriceBookRow, now_us: int) -> None:
    if row.effective_at_us <= now_us:
        raise WithdrawalRefused(
            409,
            "price_book_in_force",
            f"{row.id} came into force at {from_us(row.effective_at_us).isoformat()}; only a book that has not can be "
            "withdrawn. Roll back to another book instead.",
        )
    if row.effective_at_us < now_us + WITHDRAWAL_LEAD_US:
        left_s = (row.effective_at_us - now_us) / US_PER_S
        raise WithdrawalRefused(
            409,
            "too_late_to_withdraw",
            f"{row.id} comes into force in {left_s:.1f} s, and every process needs up to "
            f"{WITHDRAWAL_LEAD_US // US_PER_S} s to hear of a withdrawal. Let it come into force, then roll back.",
        )


async def _book_of_its_own(session: AsyncSession, cards: Sequence[RateCard], at_us: int) -> PriceBook:
    """The book of some cards; where this very one was published before (and withdrawn), of a µs later."""
    for later_us in range(SAME_BOOK_MAX):
        try:
            book = price_book(from_us(at_us + later_us), cards)
        except PriceBookError as error:
            raise BookRefused(409, "price_book_refused", f"The price book was not published: {error}.") from error
        if await repository.row_by_id(session, book.id) is None:
            return book
    raise superseded(f"it was published and withdrawn {SAME_BOOK_MAX} times for {from_us(at_us).isoformat()}")
