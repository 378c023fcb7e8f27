"""The table of tuned models: who asked for which adapter on which base, and what became of it."""

from typing import Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Index
from sqlmodel import Field, SQLModel


class TunedModelRow(SQLModel, table=True):
    """One customer's tuned model, from request to withdrawal. A row stays, so that its name stays private.

    Attributes:
        name: the public name that the customer calls it by.
        customer_id: whose it is; nobody else sees it.
        base_model: the public name of the model on sale that the adapter was made for.
        adapter: the backend's name of the adapter.
        source: where its weights come from, in the customer's words.
        serving: ``shared`` (beside others on the base's own deployments) or ``dedicated``.
        rpm_wanted, concurrency_wanted: what the customer asked for.
        rpm_max, concurrency_max: what the operator allows; none until approved.
        slowdown_ppm: how many times longer a token takes than on the base alone, in parts per million.
        cost_ppm: what a token costs us, over the base's cost, in parts per million.
        state: ``requested``, ``approved``, ``refused`` or ``withdrawn``.
        reason: of the last decision, in the operator's words.
        version: rises with each change; a decision on an older version is refused.
    """

    __tablename__: ClassVar[Any] = "tuned_model"
    __table_args__ = (
        CheckConstraint("state IN ('requested', 'approved', 'refused', 'withdrawn')", name="state_known"),
        CheckConstraint("serving IN ('shared', 'dedicated')", name="serving_known"),
        CheckConstraint("state <> 'approved' OR (rpm_max >= 1 AND concurrency_max >= 1)", name="approved_has_caps"),
        CheckConstraint("slowdown_ppm >= 1000000 AND cost_ppm >= 0", name="basis_in_range"),
        CheckConstraint("version >= 1", name="version_positive"),
        Index("ix_tuned_model_customer_id", "customer_id"),
    )

    id: str = Field(primary_key=True, max_length=64)
    name: str = Field(unique=True, max_length=180)
    customer_id: str = Field(foreign_key="customer.id", max_length=64)
    base_model: str = Field(max_length=180)
    adapter: str = Field(max_length=512)
    source: str = Field(default="", max_length=1000)
    serving: str = Field(default="shared", max_length=16)
    rpm_wanted: int = Field(sa_type=BigInteger)
    concurrency_wanted: int
    rpm_max: int | None = Field(default=None, sa_type=BigInteger)
    concurrency_max: int | None = Field(default=None)
    slowdown_ppm: int = Field(default=1_000_000, sa_type=BigInteger)
    cost_ppm: int = Field(default=1_000_000, sa_type=BigInteger)
    state: str = Field(default="requested", max_length=16)
    reason: str = Field(default="", max_length=1000)
    version: int = Field(default=1)
    created_at_us: int = Field(sa_type=BigInteger)
    updated_at_us: int = Field(sa_type=BigInteger)
