"""Bodies of the operators' API about supply: providers, deployments, contracts, tuned models; and their values."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from app.admin.wire import Label, Reason
from app.catalog.service import moment_us
from app.errors import MarketError
from app.fleet.contracts import NO_RATES, Allotment, Basis, Contract
from app.fleet.roster import Access, DeploymentSpec
from app.fleet.speeds import curve_from_document
from app.tuning.tuned import PPM, Approval
from pricing.money import usd, usd_per_mtok
from pricing.quality import stated
from pricing.slo import Slo, Tier
from pricing.usage import Rates
from scheduler.jobs import Capability

STRICT: Final = ConfigDict(extra="forbid", frozen=True)
Dollars = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,10}(\.[0-9]{1,9})?$")]
Moment = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.]+Z?)?$")]
Count = Annotated[int, Field(ge=1, le=10**15)]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class AccessBody(BaseModel):
    """How a provider wants to be asked, where that is not a bearer token in Authorization."""

    model_config = STRICT

    auth_header: str | None = Field(default=None, max_length=64)
    auth_scheme: str | None = Field(default=None, max_length=32, description="empty sends the credential alone")
    headers: dict[str, str] = Field(default_factory=dict, max_length=16, description="sent always; nothing secret")

    def access(self) -> Access:
        """As the fleet keeps it."""
        return Access(self.auth_header, self.auth_scheme, tuple(sorted(self.headers.items())))


class ProviderBody(BaseModel):
    """A new provider, or a new name of one."""

    model_config = STRICT

    id: Slug
    name: Label
    access: AccessBody | None = None


class CredentialBody(BaseModel):
    """A provider's credential; it is stored sealed and never shown again."""

    model_config = STRICT

    secret: SecretStr = Field(min_length=1, max_length=4096)


class RatesBody(BaseModel):
    """USD per million tokens, as text."""

    model_config = STRICT

    input: Dollars
    output: Dollars
    cached: Dollars | None = Field(default=None, description="of input read from a cache; as input when left out")
    cache_write: Dollars | None = Field(default=None, description="of input written to one; as input when left out")

    def rates(self) -> Rates:
        """As pico-USD per token."""
        every = (self.input, self.cached or self.input, self.cache_write or self.input, self.output)
        return Rates(*(usd_per_mtok(each) for each in every))


class SpeedBody(BaseModel):
    """A load curve."""

    model_config = STRICT

    concurrency: list[int] = Field(min_length=1, max_length=1000)
    tpot_us: list[float] = Field(min_length=1, max_length=1000)
    ttft_base_us: float = Field(ge=0)
    prefill_tok_s: float = Field(gt=0)


class DeploymentBody(BaseModel):
    """One configuration that a provider runs."""

    model_config = STRICT

    deployment_id: str = Field(max_length=120)
    kind: str = Field(default="openai_compatible", max_length=64)
    model: str = Field(max_length=180)
    base_url: str = Field(max_length=500)
    backend_model: str = Field(
        default="", max_length=512, description="the backend's own name; the public one if empty"
    )
    base_model: str = Field(default="", max_length=512, description="of an adapter, the backend's name of its base")
    speed: SpeedBody
    concurrency_max: int = Field(ge=1)
    context_max: int = Field(ge=1)
    usd_per_mtok: RatesBody
    is_owned: bool = False
    tiers: list[Tier] = Field(default_factory=lambda: list(Tier), min_length=1)
    capabilities: list[Capability] = Field(default_factory=lambda: [Capability.STREAMING])
    is_emulated: bool = False
    label: str = Field(default="", max_length=300)
    api_key_env: str = Field(default="", max_length=128)
    precision: str = Field(default="", max_length=32, description="of its weights, such as fp8; empty if not known")
    region: str = Field(default="", max_length=64, description="where it runs, such as eu-west-1; empty if not known")

    def spec(self, provider_id: str) -> DeploymentSpec:
        """As the fleet keeps it.

        Raises:
            RosterError, ProviderSpecError, SpeedCurveError: a field that cannot be.
        """
        return DeploymentSpec(
            provider_id=provider_id,
            deployment_id=self.deployment_id,
            kind=self.kind,
            model=self.model,
            base_url=self.base_url,
            backend_model=self.backend_model or self.model,
            base_model=self.base_model,
            speed=curve_from_document(self.speed.model_dump()),
            concurrency_max=self.concurrency_max,
            context_max=self.context_max,
            cost=self.usd_per_mtok.rates(),
            is_owned=self.is_owned,
            tiers=frozenset(self.tiers),
            capabilities=frozenset(self.capabilities),
            is_emulated=self.is_emulated,
            label=self.label,
            api_key_env=self.api_key_env,
            precision=stated(self.precision),
            region=self.region,
        )


class PromiseBody(BaseModel):
    """What a provider promises."""

    model_config = STRICT

    ttft_ms: float = Field(gt=0, le=10**9)
    tpot_ms: float = Field(ge=0, le=10**9)


class ContractBody(BaseModel):
    """Terms on which a provider sells."""

    model_config = STRICT

    model: str = Field(default="", max_length=180, description="empty for all without a contract of their own")
    usd_per_mtok: RatesBody | None = Field(default=None, description="bought by the token; else usd_per_hour")
    usd_per_hour: Dollars | None = None
    promise: PromiseBody | None = None
    rpm: Count | None = None
    tpm: Count | None = None
    requests_max: Count | None = Field(default=None, description="in all, over the whole term")
    tokens_max: Count | None = Field(default=None, description="in all, over the whole term")
    starts_at: Moment | None = Field(default=None, description="UTC date or time; now when left out")
    ends_at: Moment | None = Field(default=None, description="UTC date or time, not included; never when left out")
    note: str = Field(default="", max_length=1000)

    def contract(self, provider_id: str, now_us: int) -> Contract:
        """As the fleet keeps it.

        Raises:
            ContractError: terms that contradict each other.
        """
        promise = self.promise
        return Contract(
            provider_id=provider_id,
            basis=Basis.HOURLY if self.usd_per_mtok is None else Basis.BOUGHT,
            starts_at_us=now_us if self.starts_at is None else read_moment(self.starts_at),
            ends_at_us=None if self.ends_at is None else read_moment(self.ends_at),
            model=self.model,
            usd_per_hour=usd(self.usd_per_hour or "0"),
            promise=None if promise is None else Slo(round(promise.ttft_ms * 1000), round(promise.tpot_ms * 1000)),
            allotment=Allotment(self.rpm, self.tpm, self.requests_max, self.tokens_max),
            rates=NO_RATES if self.usd_per_mtok is None else self.usd_per_mtok.rates(),
            note=self.note,
        )


class EndBody(BaseModel):
    """When and why a contract ends."""

    model_config = STRICT

    reason: Reason
    ends_at: Moment | None = Field(default=None, description="UTC date or time; now when left out")


class ApprovalBody(BaseModel):
    """An operator's decision for a tuned model."""

    model_config = STRICT

    offers: list[str] = Field(min_length=1, max_length=16, description="deployments of the base that load the adapter")
    reason: Reason
    rpm: int | None = Field(default=None, ge=1, description="the cap; what was asked for when left out")
    concurrency: int | None = Field(default=None, ge=1)
    slowdown: Decimal = Field(default=Decimal(1), ge=1, le=100)
    cost_factor: Decimal = Field(default=Decimal(1), ge=0, le=100)
    price_factor: Decimal | None = Field(
        default=None, ge=0, le=100, description="over the base's prices; none publishes none"
    )
    base_url: str = Field(default="", max_length=500, description="of its own engine, where it is dedicated")
    tiers: list[Tier] = Field(default_factory=list[Tier], description="to sell it at; all of its base's when left out")
    version: int | None = Field(default=None, ge=1)

    def approval(self) -> Approval:
        """As the tuning room takes it.

        Raises:
            TunedError: a factor out of range.
        """
        return Approval(
            offers=tuple(self.offers),
            rpm=self.rpm,
            concurrency=self.concurrency,
            slowdown_ppm=int(self.slowdown * PPM),
            cost_ppm=int(self.cost_factor * PPM),
            price_ppm=None if self.price_factor is None else int(self.price_factor * PPM),
            base_url=self.base_url,
            reason=self.reason,
            version=self.version,
            tiers=frozenset(self.tiers),
        )


class DecisionBody(BaseModel):
    """Why a tuned model is refused or withdrawn."""

    model_config = STRICT

    reason: Reason
    version: int | None = Field(default=None, ge=1)


def read_moment(text: str) -> int:
    """A UTC date or time as µs since the epoch.

    Raises:
        MarketError: it is none.

    >>> read_moment("1970-01-02"), read_moment("1970-01-01T00:00:01Z")
    (86400000000, 1000000)
    """
    try:
        at = datetime.fromisoformat(text.removesuffix("Z"))
    except ValueError as error:
        raise MarketError(
            400, "invalid_time", f"{text[:40]!r} is no UTC date or time such as 2026-11-24 or 2026-11-24T12:00:00Z"
        ) from error
    return moment_us(at.replace(tzinfo=UTC))


def period_of(given: Mapping[str, Any], now_us: int) -> tuple[int, int]:
    """The period that a statement is asked for: a month, or from a moment until another; else this month so far.

    >>> period_of({"month": "1970-02"}, 0)
    (2678400000000, 5097600000000)
    """
    if month := str(given.get("month") or ""):
        first = read_moment(f"{month}-01")
        year, number = divmod(int(month[:4]) * 12 + int(month[5:7]), 12)
        return first, moment_us(datetime(year, number + 1, 1, tzinfo=UTC))
    today = date.fromordinal(date(1970, 1, 1).toordinal() + now_us // 86_400_000_000)
    from_us = read_moment(str(given.get("from") or today.replace(day=1)))
    return from_us, read_moment(str(given["until"])) if given.get("until") else now_us
