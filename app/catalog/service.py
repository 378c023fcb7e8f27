"""What is done with the catalog: put a model on sale, publish a price book, derive one from what was measured.

Each call joins the caller's transaction and records who did what in it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import IntegrityError
from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.service import Actor, Change, record
from app.catalog import repository
from app.catalog.draft import Origin
from app.catalog.models import ModelOnSaleRow, PriceBookRow
from app.catalog.sale import ModelOnSale
from app.clock import US_PER_S, from_us
from app.errors import MarketError
from pricing.pricebook import PriceBook, PriceBookId, book_record

if TYPE_CHECKING:  # it loads scipy, a second that the gateway's start does without
    from app.catalog.derivation import PricedModel

_EPOCH = from_us(0)
NAME_MAX = 200
REASON_MAX = 1_000


class NoPriceBook(MarketError):
    """Nothing is on sale: no price book is in force."""


class PriceBookSuperseded(MarketError):
    """Another book was published meanwhile, or this one would come into force before the one it follows."""


class ReasonMissing(MarketError):
    """What is done to prices needs a reason that fits the log."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who publishes a book, and why.

    Attributes:
        reason: kept with the book.
        origin: what made it.
        after: the book that the publisher compared it with; None takes whatever was published last.
    """

    actor: Actor
    reason: str
    origin: Origin = Origin.DERIVED
    after: PriceBookId | None = None


@dataclass(frozen=True, slots=True)
class Publication:
    """What came of a derivation.

    Attributes:
        book: the book in force afterwards, or to come into force.
        is_new: False when the derived content equals the live book's, so that nothing was published.
    """

    book: PriceBook
    is_new: bool


async def put_on_sale(session: AsyncSession, model: ModelOnSale, actor: Actor, now_us: int) -> None:
    """Puts a model on sale, or changes how it is described; doing it again changes nothing."""
    row = await session.get(ModelOnSaleRow, model.name)
    described: dict[str, Any] = {
        "title": model.title,
        "description": model.description,
        "owned_by": model.owned_by,
        "context_max": model.context_max,
        "bytes_per_token": model.bytes_per_token,
        "is_on_sale": True,
    }
    before = {} if row is None else {name: getattr(row, name) for name in described}
    if described == before:
        return
    if row is None:
        row = ModelOnSaleRow(name=model.name, created_at_us=model.created_at_us, updated_at_us=now_us, **described)
    else:
        row.sqlmodel_update({**described, "updated_at_us": now_us})
    session.add(row)
    await session.flush()
    change = Change("model.put_on_sale", f"model:{model.name}", before, described)
    await record(session, actor, change, now_us)


async def withdraw(session: AsyncSession, name: str, actor: Actor, reason: str, now_us: int) -> bool:
    """Takes a model off sale; running requests finish. False when it was not on sale."""
    row = await session.get(ModelOnSaleRow, name)
    if row is None or not row.is_on_sale:
        return False
    row.is_on_sale = False
    row.updated_at_us = now_us
    session.add(row)
    await session.flush()
    change = Change("model.withdrawn", f"model:{name}", {"is_on_sale": True}, {"is_on_sale": False}, reason)
    await record(session, actor, change, now_us)
    return True


async def publish_book(
    session: AsyncSession,
    book: PriceBook,
    actor: Actor,
    reason: str,
    now_us: int,
    *,
    after: PriceBookId | None = None,
) -> PriceBook:
    """Publishes a derived book; see :func:`publish`."""
    return await publish(session, book, Provenance(actor, reason, Origin.DERIVED, after), now_us)


async def publish(session: AsyncSession, book: PriceBook, by: Provenance, now_us: int) -> PriceBook:
    """Publishes a book, for ever; it comes into force at its ``effective_at``, unless it is withdrawn before.

    Args:
        session: a writing one.
        book: whole and checked.
        by: who publishes it, and why.
        now_us: µs since the epoch.

    Raises:
        PriceBookSuperseded: another book was published since ``by.after``, or at the same time by somebody else; or it
            would come into force before the book in force did.
    """
    await repository.take_turn(session)
    latest = await repository.latest_row(session)
    if by.after is not None and (latest is None or latest.id != by.after):
        raise superseded(f"it was made to follow {by.after}, but {latest.id if latest else 'none'} was published last")
    live = await repository.live_row(session, now_us)
    if live is not None and effective_us(book) < live.effective_at_us:
        raise superseded(
            f"it would come into force at {book.effective_at.isoformat()}, before the book in force ({live.id}) did, "
            f"at {from_us(live.effective_at_us).isoformat()}"
        )
    await _append(session, _row(book, latest, by, now_us))
    change = Change(
        "price_book.published",
        f"price_book:{book.id}",
        before={"price_book_id": live.id} if live else {},
        after={
            "price_book_id": book.id,
            "sha256": book.sha256,
            "effective_at": book.effective_at.isoformat(),
            "origin": by.origin.value,
        },
        reason=by.reason,
    )
    await record(session, by.actor, change, now_us)
    return book


async def live_origin(session: AsyncSession, now_us: int) -> Origin | None:
    """What made the book in force; None when none is. A start derives no prices over what an operator decided."""
    row = await repository.live_row(session, now_us)
    return None if row is None else Origin(row.origin)


async def live_book(session: AsyncSession, now: datetime) -> PriceBook:
    """The book in force.

    Raises:
        NoPriceBook: none was published, or none has come into force yet.
    """
    row = await repository.live_row(session, moment_us(now))
    if row is None:
        raise no_price_book()
    return repository.book_of(row)


async def derive_and_publish(
    session: AsyncSession, models: "Iterable[PricedModel]", actor: Actor, reason: str, now: datetime
) -> Publication:
    """Derives the prices of everything on sale, and publishes them if they differ from those in force.

    Args:
        session: a writing one.
        models: all models to be sold under the new book; a model that is not among them is sold no more.
        actor: who publishes.
        reason: why; kept with the book.
        now: when it comes into force.

    Raises:
        FrontierError: a model cannot be priced from what was measured.
        PriceBookError: the derived rates do not fall from tier to tier.
        PriceBookSuperseded: another book was published at the same time.
    """
    from app.catalog.derivation import derived_book  # noqa: PLC0415 (it loads scipy)

    book = derived_book(models, now)
    now_us = moment_us(now)
    latest = await repository.latest_row(session)
    row = await repository.live_row(session, now_us)
    if row is not None:
        live = repository.book_of(row)
        if live.cards == book.cards:
            return Publication(live, is_new=False)
    after = None if latest is None else PriceBookId(latest.id)
    return Publication(await publish_book(session, book, actor, reason, now_us, after=after), is_new=True)


def no_price_book() -> NoPriceBook:
    """The refusal while nothing is on sale."""
    return NoPriceBook(
        503,
        "no_price_book",
        "Nothing is on sale: no price book is in force. An operator has to publish one.",
        type="service_unavailable_error",
    )


def effective_us(book: PriceBook) -> int:
    """When a book comes into force, µs since the epoch."""
    return moment_us(book.effective_at)


def moment_us(at: datetime) -> int:
    """µs since the epoch, exactly."""
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * US_PER_S + since.microseconds


def superseded(why: str) -> PriceBookSuperseded:
    """The refusal of a book that was made for other circumstances."""
    return PriceBookSuperseded(
        409,
        "price_book_superseded",
        f"The price book was not published: {why}. Compare with the live book and try again.",
    )


def checked_reason(text: str) -> str:
    """A reason as the log keeps it.

    Raises:
        ReasonMissing: it is empty, too long, or has control characters.
    """
    reason = text.strip()
    if not reason or len(reason) > REASON_MAX or not all(char.isprintable() or char in "\n\t" for char in reason):
        raise ReasonMissing(
            400,
            "invalid_reason",
            f"A reason is needed, in 1 to {REASON_MAX} printable characters; got {len(reason)}.",
            param="reason",
        )
    return reason


def actor_name(actor: Actor) -> str:
    """Who acts, as a row keeps it."""
    return (actor.name or actor.id)[:NAME_MAX]


def _row(book: PriceBook, latest: PriceBookRow | None, by: Provenance, now_us: int) -> PriceBookRow:
    return PriceBookRow(
        sequence=1 if latest is None else latest.sequence + 1,
        id=book.id,
        predecessor_id=None if latest is None else latest.id,
        sha256=book.sha256,
        effective_at_us=effective_us(book),
        record=book_record(book),
        published_by=actor_name(by.actor),
        reason=by.reason[:REASON_MAX],
        created_at_us=now_us,
        origin=by.origin.value,
    )


async def _append(session: AsyncSession, row: PriceBookRow) -> None:
    """Adds the row; its sequence, predecessor and digest are unique, so one of two publications at once loses."""
    try:
        async with session.begin_nested():
            session.add(row)
            await session.flush()
    except IntegrityError as error:
        raise superseded("another book was published at the same time, or this very one was before") from error
