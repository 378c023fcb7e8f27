"""Carries out what was queued: at least once each, never inside a database transaction, a bounded number of times."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import Database
from app.logs import get_logger
from app.outbox.messages import ATTEMPTS_MAX, Message, backoff_us
from app.outbox.models import InboxEvent, OutboxMessage

DELIVERY_US_MAX = 120_000_000
"""A delivery that has not ended by then is taken to have died, and is tried again."""
MESSAGES_MAX = 100
ERROR_CHARS_MAX = 1000

Deliver = Callable[[Message], Awaitable[None]]

_log = get_logger("app.outbox")


async def deliver_due(
    database: Database, deliverers: Mapping[str, Deliver], clock_us: Callable[[], int], messages_max: int = MESSAGES_MAX
) -> int:
    """Delivers what is due, oldest first.

    Args:
        database: where messages wait.
        deliverers: how to deliver, by topic. A message without one is tried again later, so that a release that knows
            its topic can take it.
        clock_us: µs since the epoch.
        messages_max: at most so many in this call.

    Returns:
        How many were delivered.
    """
    delivered = 0
    for message in await _claim(database, clock_us(), messages_max):
        error = await _deliver(message, deliverers)
        await _finish(database, message, error, clock_us())
        delivered += error is None
    return delivered


async def requeue(session: AsyncSession, message_id: str, now_us: int) -> bool:
    """Gives a dead message another round of attempts; an operator's decision.

    Returns:
        False when there is no dead message of that id.
    """
    changed = await session.exec(
        update(OutboxMessage)
        .where(col(OutboxMessage.id) == message_id, col(OutboxMessage.state) == "dead")
        .values({"state": "pending", "attempts": 0, "available_at_us": now_us})
    )
    return changed.rowcount == 1


async def receive(session: AsyncSession, event: InboxEvent) -> bool:
    """Keeps an event that arrived; the sender may deliver it as often as it likes.

    Returns:
        False when it was there already, so that nothing is to be done.
    """
    try:
        async with session.begin_nested():
            session.add(event)
    except IntegrityError:
        return False
    return True


async def _claim(database: Database, now_us: int, messages_max: int) -> Sequence[Message]:
    """Marks what is due as under way; whoever dies over one leaves it to be claimed again."""
    async with database.writing() as session:
        due = (
            select(OutboxMessage)
            .where(col(OutboxMessage.state).in_(("pending", "sent")), col(OutboxMessage.available_at_us) <= now_us)
            .order_by(col(OutboxMessage.available_at_us), col(OutboxMessage.id))
            .limit(messages_max)
            .with_for_update(skip_locked=True)
        )
        rows = (await session.exec(due)).all()
        for row in rows:
            row.state, row.attempts, row.available_at_us = "sent", row.attempts + 1, now_us + DELIVERY_US_MAX
        return [Message(row.id, row.topic, row.subject, row.payload, row.attempts) for row in rows]


async def _deliver(message: Message, deliverers: Mapping[str, Deliver]) -> str | None:
    """Returns what went wrong; None when nothing did."""
    deliver = deliverers.get(message.topic)
    if deliver is None:
        return f"nothing here delivers {message.topic}"
    try:
        await deliver(message)
    except Exception as error:  # noqa: BLE001 (the edge of one delivery: the others must go on, and this one is kept)
        return f"{type(error).__name__}: {error}"
    return None


async def _finish(database: Database, message: Message, error: str | None, now_us: int) -> None:
    values: dict[str, Any]
    if error is None:
        values = {"state": "done", "done_at_us": now_us, "error": ""}
    elif message.attempts < ATTEMPTS_MAX:
        _log.warning("outbox.delivery_failed", id=message.id, attempts=message.attempts, error=error)
        values = {"state": "pending", "available_at_us": now_us + backoff_us(message.attempts)}
    else:
        _log.error("outbox.message_died", id=message.id, attempts=message.attempts, error=error)
        values = {"state": "dead"}
    if error is not None:
        values["error"] = error[:ERROR_CHARS_MAX]
    async with database.writing() as session:
        await session.exec(
            update(OutboxMessage)
            .where(
                col(OutboxMessage.id) == message.id,
                col(OutboxMessage.state) == "sent",
                col(OutboxMessage.attempts) == message.attempts,  # a slower twin's outcome changes nothing
            )
            .values(values)
        )
