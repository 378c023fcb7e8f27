"""Effects that leave after their transaction committed (outbox), and events that arrived (inbox)."""

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, CheckConstraint, Index, text
from sqlmodel import Field, SQLModel


class OutboxMessage(SQLModel, table=True):
    """An effect to be carried out once its transaction is durable.

    Attributes:
        id: natural, so that the same effect is queued once; also the idempotency key shown to third parties.
        topic: what it is, ``noun.verb_past``, for example ``settlement.arrived_late``.
        payload: frozen when queued.
        state: ``pending``, ``sent`` (under way), ``done``, or ``dead`` after its last attempt.
        available_at_us: not before this moment; moved on after a failed attempt.
    """

    __tablename__: ClassVar[Any] = "outbox"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'sent', 'done', 'dead')", name="state_known"),
        CheckConstraint("attempts >= 0", name="attempts_not_negative"),
        Index("ix_outbox_open", "available_at_us", sqlite_where=text("state IN ('pending', 'sent')"),
              postgresql_where=text("state IN ('pending', 'sent')")),
    )  # fmt: skip

    id: str = Field(primary_key=True, max_length=200)
    topic: str = Field(max_length=64)
    subject: str = Field(max_length=200)
    payload: dict[str, Any] = Field(sa_type=JSON)
    state: str = Field(default="pending", max_length=16)
    attempts: int = Field(default=0)
    created_at_us: int = Field(sa_type=BigInteger)
    available_at_us: int = Field(sa_type=BigInteger)
    done_at_us: int | None = Field(default=None, sa_type=BigInteger)
    error: str = Field(default="", max_length=1000)


class InboxEvent(SQLModel, table=True):
    """An event from a third party, kept from the moment it was verified.

    Attributes:
        id: the sender's id of it; its uniqueness makes redelivery harmless.
        source: who sent it, for example ``stripe``.
        handled_at_us: NULL until it was acted on.
    """

    __tablename__: ClassVar[Any] = "inbox"
    __table_args__ = (
        Index("ix_inbox_open", "received_at_us", sqlite_where=text("handled_at_us IS NULL"),
              postgresql_where=text("handled_at_us IS NULL")),
    )  # fmt: skip

    source: str = Field(primary_key=True, max_length=32)
    id: str = Field(primary_key=True, max_length=200)
    kind: str = Field(max_length=128)
    payload: dict[str, Any] = Field(sa_type=JSON)
    received_at_us: int = Field(sa_type=BigInteger)
    handled_at_us: int | None = Field(default=None, sa_type=BigInteger)
