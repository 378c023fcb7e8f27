"""Who runs what for us, as values; pure. A row becomes one of these before anybody decides by it."""

import re
from dataclasses import dataclass, field
from enum import StrEnum

from app.fleet.contracts import Contract
from pricing.slo import Tier
from pricing.usage import Rates
from providers.registry import check_kind
from providers.spec import ProviderSpec, check_headers
from scheduler.fleet import UNBOUNDED, OfferId, SpeedCurve
from scheduler.jobs import Capability

PROVIDER_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
DEPLOYMENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,119}")
VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,127}")
MODEL_MAX = 180
REGION = re.compile(r"[a-z0-9-]{0,64}")
PRECISION = re.compile(r"[a-z0-9_.?]{0,32}")
LABEL_MAX = 300
CONTEXT_MAX = 2**40


class RosterError(ValueError):
    """A provider or deployment described so that it cannot be registered; the message says which field and why."""


class State(StrEnum):
    """What an operator decided about a provider or a deployment."""

    ENABLED = "enabled"
    """Takes work."""
    DRAINING = "draining"
    """Finishes what runs, takes nothing new."""
    DISABLED = "disabled"
    """Takes nothing until it is enabled."""


@dataclass(frozen=True, slots=True)
class DeploymentSpec:
    """One configuration that a provider runs for one model on sale.

    Attributes:
        provider_id: slug, for example ``cluster-b200``.
        deployment_id: the measured deployment whose profile it follows.
        kind: the name of a file in :mod:`providers.kinds`.
        model: the public name of the model; ``backend_model`` is the backend's own name for it.
        cost: what a token of each class costs us, pico-USD per token.
        is_owned: cost accrues by time; False where tokens are bought.
        base_model: of a tuned model, the backend's name of the base that carries the adapter.
        is_emulated: its tokens are made up at measured speeds; ``label`` says so.
        api_key_env: name of the environment variable that holds the credential; empty where it wants none.
        precision: of its weights, such as ``fp8``; empty where it is not known.
        region: where it runs, such as ``eu-west-1``; empty where it is not known.

    Raises:
        RosterError: a field that cannot be.
        ProviderSpecError: an address or a name that nobody could talk to.
    """

    provider_id: str
    deployment_id: str
    kind: str
    model: str
    base_url: str
    backend_model: str
    speed: SpeedCurve
    concurrency_max: int
    context_max: int
    cost: Rates
    is_owned: bool = True
    base_model: str = ""
    tiers: frozenset[Tier] = frozenset(Tier)
    capabilities: frozenset[Capability] = field(default_factory=lambda: frozenset({Capability.STREAMING}))
    is_emulated: bool = False
    label: str = ""
    api_key_env: str = ""
    precision: str = ""
    region: str = ""

    def __post_init__(self) -> None:
        check_provider_id(self.provider_id)
        check_kind(self.kind)
        if not DEPLOYMENT_ID.fullmatch(self.deployment_id):
            raise RosterError(
                f"deployment_id: 1 to 120 letters, digits or ._:+- without spaces: {self.deployment_id!r}"
            )
        if not self.model or len(self.model) > MODEL_MAX or not self.model.isprintable():
            raise RosterError(f"model: 1 to {MODEL_MAX} printable letters, got {self.model!r}")
        if not 1 <= self.concurrency_max <= UNBOUNDED or not 1 <= self.context_max <= CONTEXT_MAX:
            raise RosterError(
                f"{self.id}: concurrency_max from 1 to {UNBOUNDED} and context_max from 1 to {CONTEXT_MAX}, got "
                f"{self.concurrency_max} and {self.context_max}"
            )
        if min(self.cost.by_class().values()) < 0:
            raise RosterError(f"{self.id}: a token cannot cost less than nothing: {self.cost}")
        if not self.tiers:
            raise RosterError(f"{self.id}: it must serve at least one tier")
        if len(self.label) > LABEL_MAX or (self.is_emulated and not self.label):
            raise RosterError(f"{self.id}: an emulated deployment needs a label, of at most {LABEL_MAX} letters")
        if self.api_key_env and not VARIABLE.fullmatch(self.api_key_env):
            raise RosterError(f"{self.id}: api_key_env names a variable such as ACME_API_KEY, got {self.api_key_env!r}")
        check_precision(self.id, self.precision)
        check_region(self.id, self.region)
        provider_spec(self)

    @property
    def id(self) -> OfferId:
        """Its id as an offer."""
        return OfferId(f"{self.provider_id}/{self.deployment_id}")


@dataclass(frozen=True, slots=True)
class Access:
    """How a provider wants to be asked.

    Attributes:
        auth_header, auth_scheme: how the credential is sent; None leaves it to the kind.
        headers: sent with every request; nothing secret.

    Raises:
        ProviderSpecError: a header that cannot be sent.
    """

    auth_header: str | None = None
    auth_scheme: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        check_headers(self.auth_header, self.auth_scheme, self.headers)


@dataclass(frozen=True, slots=True)
class Sealed:
    """A provider's stored credential, as it is stored.

    Attributes:
        about: what it was sealed for.
        refusal: what the provider said when it last refused it; empty while it works.
    """

    id: str
    about: str
    sealed: str = field(repr=False)
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Key:
    """A credential ready for use.

    Attributes:
        id: of the stored one; empty for one that a variable of the environment holds.
    """

    id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Deployed:
    """A registered deployment and what operators decided about it.

    Attributes:
        spec: its cost is its contract's rates, where one in force has any.
        state: its own; it takes work only while its provider does too.
        version: of its own row and of its provider's; each rises with every change.
        access: how its provider wants to be asked.
        sealed: its provider's stored credential, where there is one.
        contract: the one in force; None where there is none.
        trouble: why it cannot be used, as far as rows tell; empty when it can.
    """

    spec: DeploymentSpec
    state: State
    provider_state: State
    provider_name: str
    version: tuple[int, int]
    access: Access = Access()
    sealed: Sealed | None = None
    contract: Contract | None = None
    trouble: str = ""

    @property
    def id(self) -> OfferId:
        """Its id as an offer."""
        return self.spec.id

    @property
    def decided(self) -> State:
        """The stricter of its own state and its provider's."""
        return max(self.state, self.provider_state, key=list(State).index)


def check_precision(offer_id: str, precision: str) -> None:
    """Refuses what is no name of a precision; the empty one is of one that is not known.

    Raises:
        RosterError: it is none.
    """
    if not PRECISION.fullmatch(precision):
        raise RosterError(f"{offer_id}: precision: at most 32 lower-case letters such as fp8, got {precision!r}")


def check_region(offer_id: str, region: str) -> None:
    """Refuses what is no name of a region; the empty one is of one that is not known.

    Raises:
        RosterError: it is none.
    """
    if not REGION.fullmatch(region):
        raise RosterError(
            f"{offer_id}: region: at most 64 lower-case letters, digits and hyphens such as eu-west-1, got {region!r}"
        )


def check_provider_id(provider_id: str) -> None:
    """Refuses an id that is no slug.

    Raises:
        RosterError: it is none.
    """
    if not PROVIDER_ID.fullmatch(provider_id):
        raise RosterError(
            f"provider_id: 1 to 64 lower-case letters, digits or ._- such as cluster-b200: {provider_id!r}"
        )


def provider_spec(spec: DeploymentSpec, key: Key | None = None, access: Access | None = None) -> ProviderSpec:
    """What has to be known to talk to it.

    Raises:
        ProviderSpecError: nobody could.
    """
    asked = access or Access()
    return ProviderSpec(
        id=spec.provider_id,
        kind=spec.kind,
        base_url=spec.base_url,
        backend_model=spec.backend_model,
        api_key=key.secret if key else None,
        base_model=spec.base_model,
        credential_id=key.id if key else "",
        auth_header=asked.auth_header,
        auth_scheme=asked.auth_scheme,
        headers=asked.headers,
        connections_max=2 * spec.concurrency_max + 16,  # answers that are being cancelled still hold theirs
    )
