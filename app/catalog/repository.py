"""Queries of the catalog; each takes the caller's session and leaves committing to it."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, exists, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.catalog.models import ModelOnSaleRow, PriceBookRow, PriceBookWithdrawalRow
from app.catalog.sale import ModelOnSale
from app.errors import MarketError
from pricing.pricebook import PriceBook, book_from_record

PRICES_LOCK = 0x7072_6365  # "prce" in ASCII: changes to what is in force happen one after the other
TURN_WAIT_MS_MAX = 5_000


class PricesBusy(MarketError):
    """Another change to what is in force takes too long."""


async def take_turn(session: AsyncSession) -> None:
    """Waits for other changes to what is in force to end, and keeps them waiting until this transaction does.

    On SQLite a writing transaction is alone from its beginning.

    Raises:
        PricesBusy: the others take too long.
    """
    connection = await session.connection()
    if connection.dialect.name != "postgresql":
        return
    await connection.execute(text(f"SET LOCAL lock_timeout = {TURN_WAIT_MS_MAX}"))
    try:
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({PRICES_LOCK})"))
    except DBAPIError as error:
        raise PricesBusy(
            503,
            "prices_busy",
            f"Another change to the price books has not ended within {TURN_WAIT_MS_MAX // 1_000} s; try again.",
            type="service_unavailable_error",
        ) from error


async def latest_row(session: AsyncSession) -> PriceBookRow | None:
    """The book published last, in force or not yet, withdrawn or not: the end of the chain."""
    return (await session.exec(select(PriceBookRow).order_by(col(PriceBookRow.sequence).desc()).limit(1))).first()


async def live_row(session: AsyncSession, now_us: int) -> PriceBookRow | None:
    """The book in force at a moment, past or to come: the latest to have come into effect, of one moment the last.

    A withdrawn book never comes into force.
    """
    statement = (
        select(PriceBookRow)
        .where(col(PriceBookRow.effective_at_us) <= now_us, ~is_withdrawn())
        .order_by(col(PriceBookRow.effective_at_us).desc(), col(PriceBookRow.sequence).desc())
        .limit(1)
    )
    return (await session.exec(statement)).first()


def is_withdrawn() -> ColumnElement[bool]:
    """True of a price book that was withdrawn before its moment."""
    return exists().where(col(PriceBookWithdrawalRow.book_id) == col(PriceBookRow.id))


async def withdrawals_after(session: AsyncSession, sequence: int, rows_max: int) -> Sequence[PriceBookWithdrawalRow]:
    """Withdrawals made after ``sequence``, oldest first."""
    statement = (
        select(PriceBookWithdrawalRow)
        .where(col(PriceBookWithdrawalRow.sequence) > sequence)
        .order_by(col(PriceBookWithdrawalRow.sequence))
        .limit(rows_max)
    )
    return (await session.exec(statement)).all()


async def rows_after(session: AsyncSession, sequence: int, rows_max: int) -> Sequence[PriceBookRow]:
    """Books published after ``sequence``, oldest first."""
    statement = (
        select(PriceBookRow)
        .where(col(PriceBookRow.sequence) > sequence)
        .order_by(col(PriceBookRow.sequence))
        .limit(rows_max)
    )
    return (await session.exec(statement)).all()


async def rows_effective_since(session: AsyncSession, since_us: int, rows_max: int) -> Sequence[PriceBookRow]:
    """Books that come into force at ``since_us`` or later, soonest first."""
    statement = (
        select(PriceBookRow)
        .where(col(PriceBookRow.effective_at_us) >= since_us)
        .order_by(col(PriceBookRow.effective_at_us), col(PriceBookRow.sequence))
        .limit(rows_max)
    )
    return (await session.exec(statement)).all()


async def row_by_id(session: AsyncSession, book_id: str) -> PriceBookRow | None:
    """A published book."""
    return (await session.exec(select(PriceBookRow).where(col(PriceBookRow.id) == book_id))).first()


async def row_by_sha256(session: AsyncSession, sha256: str) -> PriceBookRow | None:
    """The published book with this content and date."""
    return (await session.exec(select(PriceBookRow).where(col(PriceBookRow.sha256) == sha256))).first()


async def standing_row(session: AsyncSession, book_id: str) -> PriceBookRow | None:
    """A published book that was not withdrawn."""
    statement = select(PriceBookRow).where(col(PriceBookRow.id) == book_id, ~is_withdrawn())
    return (await session.exec(statement)).first()


async def models_on_sale(session: AsyncSession, rows_max: int) -> tuple[ModelOnSale, ...]:
    """Every model on sale, by name."""
    statement = (
        select(ModelOnSaleRow).where(col(ModelOnSaleRow.is_on_sale)).order_by(col(ModelOnSaleRow.name)).limit(rows_max)
    )
    return tuple(map(model_of, (await session.exec(statement)).all()))


async def models_withdrawn(session: AsyncSession) -> frozenset[str]:
    """Names of models that were on sale and are no more."""
    statement = select(ModelOnSaleRow.name).where(~col(ModelOnSaleRow.is_on_sale))
    return frozenset((await session.exec(statement)).all())


def model_of(row: ModelOnSaleRow) -> ModelOnSale:
    """A row as a value."""
    return ModelOnSale(
        name=row.name,
        title=row.title,
        context_max=row.context_max,
        created_at_us=row.created_at_us,
        description=row.description,
        owned_by=row.owned_by,
        bytes_per_token=row.bytes_per_token,
    )


def book_of(row: PriceBookRow) -> PriceBook:
    """A row as a book, checked again as when it was made."""
    return book_from_record(row.record)
