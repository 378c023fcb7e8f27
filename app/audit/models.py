"""The audit log's one table. Rows are only ever added; a trigger sees to it."""

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, CheckConstraint, Index
from sqlmodel import Field, SQLModel

from app.db import keep_append_only


class AuditEvent(SQLModel, table=True):
    """Who changed what, from what to what.

    Attributes:
        id: ``aud_…``, time ordered.
        at_us: µs since the epoch.
        actor_kind: ``operator``, ``customer`` or ``system``.
        actor_id: their id; for the system, the part of it that acted.
        actor_name: how they were called then.
        action: ``noun.verb_past``, for example ``provider.drained``.
        subject: what was changed, as ``kind:id``.
        before, after: the fields that changed; empty when it did not exist before, or does not after. Never a secret.
        reason: why, in the actor's words.
        ip: where the request came from; empty for the system.
        request_id: the request that did it; empty outside one.
    """

    __tablename__: ClassVar[Any] = "audit_event"
    __table_args__ = (
        CheckConstraint("actor_kind IN ('operator', 'customer', 'system')", name="actor_kind_known"),
        Index("ix_audit_event_at", "at_us", "id"),
        Index("ix_audit_event_subject", "subject", "at_us"),
    )

    id: str = Field(primary_key=True, max_length=64)
    at_us: int = Field(sa_type=BigInteger)
    actor_kind: str = Field(max_length=16)
    actor_id: str = Field(max_length=64)
    actor_name: str = Field(default="", max_length=320)
    action: str = Field(max_length=64)
    subject: str = Field(max_length=200)
    before: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    after: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    reason: str = Field(default="", max_length=1000)
    ip: str = Field(default="", max_length=64)
    request_id: str = Field(default="", max_length=64)


keep_append_only(AuditEvent.__table__)  # pyright: ignore[reportAttributeAccessIssue] (SQLModel adds it at run time)
