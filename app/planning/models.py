"""Tables of planning: what prices follow from, revision by revision, and what was proposed from it.

Inputs, priced models and proposals are appended, never updated: what was derived at a past moment can be derived again.
"""

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, CheckConstraint, Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from app.db import keep_append_only


class PricedModelRow(SQLModel, table=True):
    """One revision of what a model's prices follow from; the latest in force at a moment applies.

    Attributes:
        sequence: 1, 2, 3 …; of two revisions of one moment the later one applies.
        public_name: the name it is sold under.
        profiled_as: the profiles' own name of what runs; a tuned model is priced from its base's.
        deployment_ids: measured deployments that it is priced from; empty for every one measured.
        isl, osl: the length class that it is priced from; both none takes the derivation's own choice.
        serving: how its adapter is served: ``none``, ``shared`` or ``dedicated``.
        adder: what a tuned model adds to its base, as :func:`app.planning.priced.adder_document` writes it.
        tiers: names of the tiers that it may be sold at.
        premium_deployment_id: the declared offer that premium is promised from; empty for none.
        is_priced: False once the operator priced it no more.
    """

    __tablename__: ClassVar[Any] = "priced_model"
    __table_args__ = (
        CheckConstraint("serving IN ('none', 'shared', 'dedicated')", name="serving_known"),
        CheckConstraint("(isl IS NULL) = (osl IS NULL)", name="class_whole"),
        CheckConstraint("isl IS NULL OR (isl >= 1 AND osl >= 1)", name="class_positive"),
        Index("ix_priced_model_public_name", "public_name", "effective_at_us"),
    )

    sequence: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    public_name: str = Field(max_length=200)
    profiled_as: str = Field(max_length=200)
    deployment_ids: list[str] = Field(sa_type=JSON)
    isl: int | None = Field(default=None, sa_type=BigInteger)
    osl: int | None = Field(default=None, sa_type=BigInteger)
    serving: str = Field(default="none", max_length=16)
    adder: dict[str, Any] = Field(sa_type=JSON)
    tiers: list[str] = Field(sa_type=JSON)
    premium_deployment_id: str = Field(default="", max_length=200)
    is_priced: bool = Field(default=True)
    effective_at_us: int = Field(sa_type=BigInteger)
    created_at_us: int = Field(sa_type=BigInteger)
    actor: str = Field(max_length=320)
    reason: str = Field(max_length=1000)


keep_append_only(PricedModelRow.__table__)  # pyright: ignore[reportAttributeAccessIssue] (SQLModel adds it at run time)


class PricingInputRow(SQLModel, table=True):
    """One revision of one input of derivation; the latest in force at a moment applies.

    Attributes:
        sequence: 1, 2, 3 …; of two revisions of one moment the later one applies.
        subject: ``market``, ``tier:NAME``, ``model:NAME``, ``hardware:NAME``, ``deployment:PROFILE`` or
            ``profile:PROFILE``.
        name: which input of it, for example ``utilisation``.
        value: JSON; null withdraws the input, so that the next more general one applies again.
        source: ``default``, ``operator`` or ``metered``.
        is_pinned: an operator's own figure that the return loop leaves alone.
        evidence: what a metered figure rests on: period, requests, tokens, how it was moved.
        once: makes a revision that is written twice one revision: a period's, say; empty for an operator's own.
    """

    __tablename__: ClassVar[Any] = "pricing_input"
    __table_args__ = (
        CheckConstraint("source IN ('default', 'operator', 'metered')", name="source_known"),
        CheckConstraint("effective_at_us >= created_at_us", name="never_backdated"),
        UniqueConstraint("subject", "name", "once"),
        Index("ix_pricing_input_subject", "subject", "name", "effective_at_us"),
    )

    sequence: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    subject: str = Field(max_length=300)
    name: str = Field(max_length=64)
    value: Any = Field(sa_type=JSON)
    source: str = Field(max_length=16)
    is_pinned: bool = Field(default=False)
    evidence: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    effective_at_us: int = Field(sa_type=BigInteger)
    created_at_us: int = Field(sa_type=BigInteger)
    actor: str = Field(max_length=320)
    reason: str = Field(max_length=1000)
    once: str = Field(max_length=64)


keep_append_only(PricingInputRow.__table__)  # pyright: ignore[reportAttributeAccessIssue] (SQLModel adds it at run time)


class PlanningStateRow(SQLModel, table=True):
    """What a recurring task remembers from one run to the next.

    Attributes:
        name: ``repricer`` or ``return_loop``.
        version: rises with each change; a run that began at an older one writes nothing.
    """

    __tablename__: ClassVar[Any] = "planning_state"
    __table_args__ = (CheckConstraint("version >= 1", name="version_positive"),)

    name: str = Field(primary_key=True, max_length=64)
    version: int = Field(default=1)
    document: dict[str, Any] = Field(sa_type=JSON)
    updated_at_us: int = Field(sa_type=BigInteger)


class PlanProposalRow(SQLModel, table=True):
    """One proposal of the planner: pools and ratios for the demand that was metered. Nothing acts on it by itself.

    Attributes:
        sequence: 1, 2, 3 ….
        document: :func:`app.planning.plan.proposal_document`.
        since_us, until_us: the period that the demand was metered over, half open.
    """

    __tablename__: ClassVar[Any] = "plan_proposal"
    __table_args__ = (CheckConstraint("since_us < until_us", name="period_not_empty"),)

    sequence: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    document: dict[str, Any] = Field(sa_type=JSON)
    since_us: int = Field(sa_type=BigInteger)
    until_us: int = Field(sa_type=BigInteger)
    created_at_us: int = Field(sa_type=BigInteger)
    actor: str = Field(max_length=320)


keep_append_only(PlanProposalRow.__table__)  # pyright: ignore[reportAttributeAccessIssue] (SQLModel adds it at run time)
