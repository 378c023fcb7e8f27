"""The tables of metering: what was delivered, once and only once, and where a backend's counts were not believed."""

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, CheckConstraint, Index, LargeBinary, text
from sqlmodel import Field, SQLModel

from app.db import keep_append_only


class UsageEvent(SQLModel, table=True):
    """One answer as it was delivered, and what it cost. Written in the settlement's own transaction; append-only.

    Attributes:
        request_id: the generation's id; also the hold's.
        tier_asked, tier_served: ``premium``, ``standard`` or ``bulk``.
        service_tier: the word the customer used and was answered with; empty when none was sent.
        requested_at_us: µs since the epoch, when the first byte of the request was read; the delivery clock's zero.
        admitted_at_us, placed_at_us, first_token_at_us, finished_at_us: µs since the epoch.
        ending: who ended it, a value of :class:`pricing.rating.Ending`.
        finish_reason: as sent to the customer; empty when the answer never finished.
        late_cause: ``none``, ``provider`` or ``platform``.
        attempts: offers tried.
        tokens_input, tokens_cached, tokens_cache_write: disjoint classes of input tokens.
        tokens_output: reasoning included; ``tokens_reasoning`` of them were reasoning.
        tokens_good: output tokens that met the deadline of the tier served.
        is_attained: every token was good, the input too.
        timeline: the encoded delivery (:mod:`app.metering.timeline_codec`); erased after the retention time.
        lines: one object per rung: ``tier``, ``input``, ``cached``, ``cache_write``, ``output`` (tokens), ``amount``.
        gross, adjustment, net: nano-USD; net = gross − adjustment.
        cost: nano-USD that the tokens cost us.
        quote_ceiling, held: nano-USD; the customer pays min(net, held).
        usage_source: ``provider`` when the backend counted the tokens, ``counted`` when we did.
        explanation: why the scheduler chose this offer; never shown to customers.
        precision: of the weights that answered, such as ``fp8``; empty where it was not known.
    """

    __tablename__: ClassVar[Any] = "usage_event"
    __table_args__ = (
        CheckConstraint("net = gross - adjustment", name="net_is_gross_less_adjustment"),
        CheckConstraint("net >= 0 AND adjustment >= 0 AND cost >= 0", name="amounts_not_negative"),
        CheckConstraint("held >= 0 AND held <= quote_ceiling", name="held_within_quote"),
        CheckConstraint(
            "tokens_input >= 0 AND tokens_cached >= 0 AND tokens_cache_write >= 0 AND tokens_output >= 0",
            name="tokens_not_negative",
        ),
        CheckConstraint("tokens_reasoning >= 0 AND tokens_reasoning <= tokens_output", name="reasoning_within_output"),
        CheckConstraint("tokens_good >= 0 AND tokens_good <= tokens_output", name="good_within_output"),
        CheckConstraint("usage_source IN ('provider', 'counted')", name="usage_source_known"),
        Index("ix_usage_event_finished_at_us", "finished_at_us"),
        Index("ix_usage_event_customer_id_finished_at_us", "customer_id", "finished_at_us"),
        Index("ix_usage_event_provider_id_finished_at_us", "provider_id", "finished_at_us"),
    )

    request_id: str = Field(primary_key=True, max_length=64)
    customer_id: str = Field(max_length=64)
    key_id: str = Field(max_length=64)
    model: str = Field(max_length=200)
    tier_asked: str = Field(max_length=16)
    tier_served: str = Field(max_length=16)
    service_tier: str = Field(default="", max_length=32)
    provider_id: str = Field(max_length=64)
    offer_id: str = Field(max_length=300)
    deployment_id: str = Field(max_length=200)
    is_emulated: bool = Field(default=False)
    price_book_id: str = Field(max_length=64)
    requested_at_us: int = Field(sa_type=BigInteger)
    admitted_at_us: int = Field(sa_type=BigInteger)
    placed_at_us: int = Field(sa_type=BigInteger)
    first_token_at_us: int | None = Field(default=None, sa_type=BigInteger)
    finished_at_us: int = Field(sa_type=BigInteger)
    is_streamed: bool
    ending: str = Field(max_length=32)
    finish_reason: str = Field(default="", max_length=100)
    late_cause: str = Field(default="none", max_length=16)
    attempts: int = Field(default=1)
    tokens_input: int = Field(sa_type=BigInteger)
    tokens_cached: int = Field(default=0, sa_type=BigInteger)
    tokens_cache_write: int = Field(default=0, sa_type=BigInteger)
    tokens_output: int = Field(sa_type=BigInteger)
    tokens_reasoning: int = Field(default=0, sa_type=BigInteger)
    tokens_good: int = Field(sa_type=BigInteger)
    is_attained: bool
    timeline: bytes | None = Field(default=None, sa_type=LargeBinary)
    lines: list[dict[str, Any]] = Field(sa_type=JSON)
    gross: int = Field(sa_type=BigInteger)
    adjustment: int = Field(sa_type=BigInteger)
    net: int = Field(sa_type=BigInteger)
    cost: int = Field(sa_type=BigInteger)
    quote_ceiling: int = Field(sa_type=BigInteger)
    held: int = Field(sa_type=BigInteger)
    usage_source: str = Field(default="provider", max_length=16)
    explanation: dict[str, Any] | None = Field(default=None, sa_type=JSON)
    precision: str = Field(default="", max_length=32, sa_column_kwargs={"server_default": text("''")})


keep_append_only(UsageEvent.__table__, erasable="timeline")  # pyright: ignore[reportAttributeAccessIssue] (SQLModel adds it at run time)


class UsageDispute(SQLModel, table=True):
    """A backend's counts that its own answer contradicts; written with the usage event that bills the smaller.

    Attributes:
        request_id: of the usage event.
        input_reported, output_reported: tokens, as the backend counted them.
        input_most, output_least, output_most: what the bytes of request and answer allow.
        output_billed: tokens billed instead.
        reason: in words, with the numbers.
    """

    __tablename__: ClassVar[Any] = "usage_dispute"
    __table_args__ = (Index("ix_usage_dispute_provider_id", "provider_id", "at_us"),)

    request_id: str = Field(primary_key=True, max_length=64)
    provider_id: str = Field(max_length=64)
    offer_id: str = Field(max_length=300)
    at_us: int = Field(sa_type=BigInteger)
    input_reported: int = Field(sa_type=BigInteger)
    output_reported: int = Field(sa_type=BigInteger)
    input_most: int = Field(sa_type=BigInteger)
    output_least: int = Field(sa_type=BigInteger)
    output_most: int = Field(sa_type=BigInteger)
    output_billed: int = Field(sa_type=BigInteger)
    reason: str = Field(max_length=500)


keep_append_only(UsageDispute.__table__)  # pyright: ignore[reportAttributeAccessIssue] (SQLModel adds it at run time)
