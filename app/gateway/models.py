"""The gateway's one table: which request a customer's idempotency key stands for."""

from typing import Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Index
from sqlmodel import Field, SQLModel


class IdempotencyKeyRow(SQLModel, table=True):
    """A key that a customer chose for one request, so that sending it again runs and bills nothing twice.

    Attributes:
        request_id: the request that claimed the key.
        body_sha256: digest of its body; the key must not be used for another.
        claimed_at_us: µs since the epoch.
    """

    __tablename__: ClassVar[Any] = "idempotency_key"
    __table_args__ = (
        CheckConstraint("length(body_sha256) = 64", name="digest_whole"),
        Index("ix_idempotency_key_claimed_at_us", "claimed_at_us"),
    )

    customer_id: str = Field(primary_key=True, max_length=64)
    key: str = Field(primary_key=True, max_length=255)
    request_id: str = Field(max_length=64)
    body_sha256: str = Field(max_length=64)
    claimed_at_us: int = Field(sa_type=BigInteger)
