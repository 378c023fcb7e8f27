"""Tables of the fleet: who sells us capacity, and which deployments they run for us.

Rows are written through :mod:`app.fleet.service` only, from checked values; the CHECK constraints are the second lock.
A provider's credential is never stored: ``api_key_env`` names the environment variable that holds it.
"""

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, CheckConstraint, UniqueConstraint
from sqlmodel import Field, SQLModel

_STATE_CHECK = "state IN ('enabled', 'draining', 'disabled')"


class ProviderAccount(SQLModel, table=True):
    """Who sells us capacity, or owns the machines.

    Attributes:
        id: slug, for example ``cluster-b200``.
        state: ``enabled``, ``draining`` (no new work) or ``disabled``; applies to all its deployments.
        version: rises with each change; an edit of an older version is refused.
    """

    __tablename__: ClassVar[Any] = "provider_account"
    __table_args__ = (
        CheckConstraint(_STATE_CHECK, name="state_known"),
        CheckConstraint("version >= 1", name="version_positive"),
    )

    id: str = Field(primary_key=True, max_length=64)
    name: str = Field(max_length=200)
    state: str = Field(default="enabled", max_length=16)
    version: int = Field(default=1)
    created_at_us: int = Field(sa_type=BigInteger)
    updated_at_us: int = Field(sa_type=BigInteger)


class DeploymentRow(SQLModel, table=True):
    """One configuration that a provider runs for one model on sale; the scheduler sees it as an offer.

    Attributes:
        id: the offer id, ``<provider>/<deployment_id>``.
        kind: ``gpu_cluster``, ``wafer_scale``, ``tuned``, ``local_engine`` or ``openai_compatible``.
        model: the public name of the model on sale; ``backend_model`` is the backend's own name for it.
        base_model: of a tuned model, the backend's name of the base that carries the adapter; empty elsewhere.
        deployment_id: the measured deployment whose profile it follows.
        speed: load curve, as :func:`app.fleet.speeds.speed_document` writes it.
        cost_input, cost_cached, cost_cache_write, cost_output: what a token costs us, pico-USD per token.
        is_owned: cost accrues by time; False where tokens are bought.
        tiers, capabilities: names it may serve and has.
        is_emulated: its tokens are made up at measured speeds; ``label`` says so wherever it is shown.
        api_key_env: name of the environment variable that holds its credential; empty for none.
    """

    __tablename__: ClassVar[Any] = "deployment"
    __table_args__ = (
        UniqueConstraint("provider_id", "deployment_id"),
        CheckConstraint(_STATE_CHECK, name="state_known"),
        CheckConstraint(
            "kind IN ('gpu_cluster', 'wafer_scale', 'tuned', 'local_engine', 'openai_compatible')", name="kind_known"
        ),
        CheckConstraint("concurrency_max >= 1", name="concurrency_max_positive"),
        CheckConstraint("context_max >= 1", name="context_max_positive"),
        CheckConstraint(
            "cost_input >= 0 AND cost_cached >= 0 AND cost_cache_write >= 0 AND cost_output >= 0",
            name="costs_not_negative",
        ),
        CheckConstraint("version >= 1", name="version_positive"),
    )

    id: str = Field(primary_key=True, max_length=200)
    provider_id: str = Field(foreign_key="provider_account.id", index=True, max_length=64)
    deployment_id: str = Field(max_length=120)
    kind: str = Field(max_length=32)
    model: str = Field(index=True, max_length=200)
    base_url: str = Field(max_length=500)
    backend_model: str = Field(max_length=512)
    base_model: str = Field(default="", max_length=512)
    speed: dict[str, Any] = Field(sa_type=JSON)
    concurrency_max: int
    context_max: int = Field(sa_type=BigInteger)
    cost_input: int = Field(sa_type=BigInteger)
    cost_cached: int = Field(sa_type=BigInteger)
    cost_cache_write: int = Field(sa_type=BigInteger)
    cost_output: int = Field(sa_type=BigInteger)
    is_owned: bool = Field(default=True)
    tiers: list[str] = Field(sa_type=JSON)
    capabilities: list[str] = Field(sa_type=JSON)
    is_emulated: bool = Field(default=False)
    label: str = Field(default="", max_length=300)
    api_key_env: str = Field(default="", max_length=128)
    state: str = Field(default="enabled", max_length=16)
    version: int = Field(default=1)
    created_at_us: int = Field(sa_type=BigInteger)
    updated_at_us: int = Field(sa_type=BigInteger)
