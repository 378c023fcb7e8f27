"""Tables of the fleet: who sells us capacity, on which terms, and which deployments they run for us.

Rows are written through this room's services only, from checked values; the CHECK constraints are the second lock.
A provider's credential is stored sealed (:mod:`app.fleet.vault`), or its deployment's ``api_key_env`` names the
environment variable that holds it.
"""

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, CheckConstraint, Index, UniqueConstraint, text
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
        kind: the name of a file in :mod:`providers.kinds`, such as ``gpu_cluster``.
        model: the public name of the model on sale; ``backend_model`` is the backend's own name for it.
        base_model: of a tuned model, the backend's name of the base that carries the adapter; empty elsewhere.
        deployment_id: the measured deployment whose profile it follows.
        speed: load curve, as :func:`app.fleet.speeds.speed_document` writes it.
        cost_input, cost_cached, cost_cache_write, cost_output: what a token costs us, pico-USD per token.
        is_owned: cost accrues by time; False where tokens are bought.
        tiers, capabilities: names it may serve and has.
        is_emulated: its tokens are made up at measured speeds; ``label`` says so wherever it is shown.
        api_key_env: name of the environment variable that holds its credential; empty for none.
        precision: of its weights, such as ``fp8``; empty where it is not known.
        region: where it runs, such as ``eu-west-1``; empty where it is not known.
    """

    __tablename__: ClassVar[Any] = "deployment"
    __table_args__ = (
        UniqueConstraint("provider_id", "deployment_id"),
        CheckConstraint(_STATE_CHECK, name="state_known"),
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
    precision: str = Field(default="", max_length=32, sa_column_kwargs={"server_default": text("''")})
    region: str = Field(default="", max_length=64, sa_column_kwargs={"server_default": text("''")})


class ProviderAccess(SQLModel, table=True):
    """How a provider wants to be asked, where that differs from a bearer token in ``Authorization``.

    Attributes:
        auth_header: the header that carries the credential; none leaves it to the kind.
        auth_scheme: the word before it, empty for none; none leaves it to the kind.
        headers: sent with every request to it; names and values, nothing secret.
    """

    __tablename__: ClassVar[Any] = "provider_access"

    provider_id: str = Field(primary_key=True, foreign_key="provider_account.id", max_length=64)
    auth_header: str | None = Field(default=None, max_length=64)
    auth_scheme: str | None = Field(default=None, max_length=32)
    headers: dict[str, str] = Field(default_factory=dict, sa_type=JSON)
    updated_at_us: int = Field(sa_type=BigInteger)


class ProviderCredential(SQLModel, table=True):
    """What opens a provider's doors, sealed; the one without ``retired_at_us`` is in use.

    Attributes:
        sealed: as :class:`app.fleet.vault.Vault` seals it; nothing else of the secret is stored but the two below.
        prefix: its first few letters, where it is long enough to spare them.
        fingerprint: by which two can be told apart, without either being known.
        refused_at_us: when the provider last refused it (401, 402, 403); none while it works.
        refusal: what it said then, without the secret.
        retired_at_us: when another took its place, or it was removed.
    """

    __tablename__: ClassVar[Any] = "provider_credential"
    __table_args__ = (
        CheckConstraint("length(sealed) > 0", name="sealed_not_empty"),
        Index(
            "uq_provider_credential_in_use",
            "provider_id",
            unique=True,
            sqlite_where=text("retired_at_us IS NULL"),
            postgresql_where=text("retired_at_us IS NULL"),
        ),
    )

    id: str = Field(primary_key=True, max_length=64)
    provider_id: str = Field(foreign_key="provider_account.id", max_length=64)
    sealed: str = Field(max_length=8192)
    prefix: str = Field(default="", max_length=8)
    fingerprint: str = Field(max_length=32)
    created_at_us: int = Field(sa_type=BigInteger)
    refused_at_us: int | None = Field(default=None, sa_type=BigInteger)
    refusal: str = Field(default="", max_length=300)
    retired_at_us: int | None = Field(default=None, sa_type=BigInteger)


class ProviderContract(SQLModel, table=True):
    """On which terms a provider sells; its terms are never changed, it can only be ended sooner.

    Attributes:
        model: the public model that it covers; empty for all that have no contract of their own.
        basis: ``token`` (bought by the token) or ``hour`` (capacity by time, whether or not it serves).
        rate_input, rate_cached, rate_cache_write, rate_output: pico-USD per token; 0 on the ``hour`` basis.
        usd_per_hour: nano-USD; 0 on the ``token`` basis.
        promise_ttft_us, promise_tpot_us: what the provider promises; none where it promises nothing.
        rpm, tpm: requests and tokens a minute that it takes; none without a limit.
        requests_max, tokens_max: in all, over the whole term; none without a limit.
        starts_at_us, ends_at_us: the term, half open; none without an end.
    """

    __tablename__: ClassVar[Any] = "provider_contract"
    __table_args__ = (
        CheckConstraint("basis IN ('token', 'hour')", name="basis_known"),
        CheckConstraint(
            "rate_input >= 0 AND rate_cached >= 0 AND rate_cache_write >= 0 AND rate_output >= 0 AND usd_per_hour >= 0",
            name="rates_not_negative",
        ),
        CheckConstraint("ends_at_us IS NULL OR ends_at_us >= starts_at_us", name="term_not_negative"),
        Index("ix_provider_contract_provider_id", "provider_id", "starts_at_us"),
    )

    id: str = Field(primary_key=True, max_length=64)
    provider_id: str = Field(foreign_key="provider_account.id", max_length=64)
    model: str = Field(default="", max_length=200)
    basis: str = Field(max_length=8)
    rate_input: int = Field(default=0, sa_type=BigInteger)
    rate_cached: int = Field(default=0, sa_type=BigInteger)
    rate_cache_write: int = Field(default=0, sa_type=BigInteger)
    rate_output: int = Field(default=0, sa_type=BigInteger)
    usd_per_hour: int = Field(default=0, sa_type=BigInteger)
    promise_ttft_us: int | None = Field(default=None, sa_type=BigInteger)
    promise_tpot_us: int | None = Field(default=None, sa_type=BigInteger)
    rpm: int | None = Field(default=None, sa_type=BigInteger)
    tpm: int | None = Field(default=None, sa_type=BigInteger)
    requests_max: int | None = Field(default=None, sa_type=BigInteger)
    tokens_max: int | None = Field(default=None, sa_type=BigInteger)
    starts_at_us: int = Field(sa_type=BigInteger)
    ends_at_us: int | None = Field(default=None, sa_type=BigInteger)
    note: str = Field(default="", max_length=1000)
    created_at_us: int = Field(sa_type=BigInteger)
