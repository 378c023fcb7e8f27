"""Reads of usage events, and the one change they allow: forgetting old timelines."""

from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import Database
from app.metering.models import UsageEvent

ERASE_ROWS_MAX = 256


async def usage_event(database: Database, request_id: str) -> UsageEvent | None:
    """One settled request; None when there is none of that id."""
    async with database.reading() as session:
        return await session.get(UsageEvent, request_id)


async def erase_timelines(session: AsyncSession, finished_before_us: int, rows_max: int = ERASE_ROWS_MAX) -> int:
    """Forgets the timelines of answers that finished before a moment, oldest first, at most ``rows_max`` at a time.

    Their receipts stay, but can no longer be recomputed.

    Returns:
        How many were forgotten; fewer than ``rows_max`` means that none are left.
    """
    old = (
        select(UsageEvent.request_id)
        .where(col(UsageEvent.finished_at_us) < finished_before_us, col(UsageEvent.timeline).is_not(None))
        .order_by(col(UsageEvent.finished_at_us))
        .limit(rows_max)
    )
    erased = await session.exec(
        update(UsageEvent).where(col(UsageEvent.request_id).in_(old)).values({"timeline": None})
    )
    return erased.rowcount
