"""Writes and reads the audit log. A record joins the transaction of the change it is about: both happen, or neither."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.models import AuditEvent
from app.identity.ids import ENTROPY_BYTES, time_ordered_id

ActorKind = Literal["operator", "customer", "system"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and through which request.

    Attributes:
        id: their id; for the system, the part of it that acts, for example ``goodput up``.
        name: how they are called, for readers of the log.
        ip: where the request came from; empty for the system.
        request_id: empty outside a request.
    """

    kind: ActorKind
    id: str
    name: str = ""
    ip: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What changed.

    Attributes:
        action: ``noun.verb_past``, for example ``key.revoked``.
        subject: ``kind:id``.
        before, after: the fields that changed, JSON-ready; never a secret, amounts of money as text.
        reason: why, in the actor's words.
    """

    action: str
    subject: str
    before: Mapping[str, Any] = field(default_factory=dict[str, Any])
    after: Mapping[str, Any] = field(default_factory=dict[str, Any])
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which records to show; empty text does not filter.

    Attributes:
        after_id: only records older than this one.
    """

    subject: str = ""
    actor_id: str = ""
    action: str = ""
    after_id: str = ""


async def record(session: AsyncSession, actor: Actor, change: Change, at_us: int) -> AuditEvent:
    """Adds a record to the caller's transaction."""
    row = AuditEvent(**record_values(actor, change, at_us))
    session.add(row)
    await session.flush()
    return row


def record_values(actor: Actor, change: Change, at_us: int) -> dict[str, Any]:
    """A record's columns, for a room whose transaction is not a session's (the ledger's group commit)."""
    return {
        "id": time_ordered_id("aud", at_us, secrets.token_bytes(ENTROPY_BYTES)),
        "at_us": at_us,
        "actor_kind": actor.kind,
        "actor_id": actor.id,
        "actor_name": actor.name,
        "action": change.action,
        "subject": change.subject,
        "before": dict(change.before),
        "after": dict(change.after),
        "reason": change.reason[:1000],
        "ip": actor.ip[:64],
        "request_id": actor.request_id[:64],
    }


async def audit_page(session: AsyncSession, wanted: AuditFilter, rows_max: int) -> Sequence[AuditEvent]:
    """Records, newest first (ids sort by time)."""
    statement = select(AuditEvent).order_by(col(AuditEvent.id).desc()).limit(rows_max)
    exact = {AuditEvent.subject: wanted.subject, AuditEvent.actor_id: wanted.actor_id, AuditEvent.action: wanted.action}
    for column, value in exact.items():
        if value:
            statement = statement.where(col(column) == value)
    if wanted.after_id:
        statement = statement.where(col(AuditEvent.id) < wanted.after_id)
    return (await session.exec(statement)).all()
