"""How providers and their deployments stand, as a page shows them; pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.admin.figures import Pace
from app.fleet.models import DeploymentRow, ProviderAccount
from pricing.slo import Tier
from scheduler.breaker import BreakerState
from scheduler.fleet import IDLE, Load, OfferId

LOCKED = "Locked"
KINDS = {
    "gpu_cluster": "GPU cluster",
    "wafer_scale": "Wafer-scale",
    "tuned": "Tuned model",
    "local_engine": "Local engine",
    "openai_compatible": "OpenAI-compatible",
}


@dataclass(frozen=True, slots=True)
class State:
    """A state in one word, and its tone: ``good``, ``warn``, ``bad`` or ``off``; colour never tells it alone."""

    word: str
    tone: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DeploymentPanel:
    """One deployment as it stands now."""

    row: DeploymentRow
    state: State
    breaker: State
    load: Load
    pace: Pace

    @property
    def kind(self) -> str:
        """What it is, in words."""
        return KINDS.get(self.row.kind, self.row.kind)

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """The tiers that it may serve, best first."""
        return tuple(tier for tier in Tier if tier.value in self.row.tiers)


@dataclass(frozen=True, slots=True)
class ProviderPanel:
    """One provider and all it runs."""

    account: ProviderAccount
    state: State
    deployments: tuple[DeploymentPanel, ...]

    @property
    def in_flight(self) -> int:
        """Requests running there now."""
        return sum(panel.load.in_flight for panel in self.deployments)

    @property
    def capacity(self) -> int:
        """The most requests it takes at once."""
        return sum(panel.row.concurrency_max for panel in self.deployments)

    @property
    def is_emulated(self) -> bool:
        """True when any of its deployments makes its tokens up."""
        return any(panel.row.is_emulated for panel in self.deployments)

    @property
    def is_locked(self) -> bool:
        """True when a deployment waits for an operator to mend its credential and enable it again."""
        return any(panel.breaker.word == LOCKED for panel in self.deployments)

    @property
    def models(self) -> tuple[str, ...]:
        """The models it serves."""
        return tuple(sorted({panel.row.model for panel in self.deployments}))

    @property
    def pace(self) -> Pace | None:
        """The pace of its busiest deployment; None when nothing was delivered lately."""
        busiest = max(self.deployments, key=lambda panel: panel.pace.answers, default=None)
        return None if busiest is None or not busiest.pace.answers else busiest.pace


@dataclass(frozen=True, slots=True)
class Now:
    """What this process knows of the fleet beyond its rows, by offer id.

    Attributes:
        troubles: why a deployment cannot be used, for those that cannot.
        paces: of the last hour's answers.
    """

    loads: Mapping[OfferId, Load]
    breakers: Mapping[str, BreakerState]
    troubles: Mapping[str, str]
    paces: Mapping[str, Pace]


def provider_panels(
    providers: Iterable[tuple[ProviderAccount, Sequence[DeploymentRow]]], now: Now
) -> tuple[ProviderPanel, ...]:
    """Puts together what the tables, the leases, the breakers and the deliveries say."""
    return tuple(
        _provider(account, tuple(_deployment(account, row, now) for row in rows)) for account, rows in providers
    )


def _provider(account: ProviderAccount, deployments: tuple[DeploymentPanel, ...]) -> ProviderPanel:
    in_flight = sum(panel.load.in_flight for panel in deployments)
    settled = _set_by_operator(account.state, in_flight)
    if settled is not None:
        return ProviderPanel(account, settled, deployments)
    if not deployments:
        return ProviderPanel(account, State("Empty", "off", "no deployment is registered"), deployments)
    working = [panel for panel in deployments if panel.state.tone == "good"]
    if len(working) == len(deployments):
        return ProviderPanel(account, State("Healthy", "good"), deployments)
    worst = max((panel.state for panel in deployments), key=lambda state: _SEVERITY[state.tone])
    if not working:
        return ProviderPanel(account, worst, deployments)
    detail = f"{len(working)} of {len(deployments)} deployments take work"
    return ProviderPanel(account, State("Degraded", "warn", detail), deployments)


_SEVERITY = {"good": 0, "off": 1, "warn": 2, "bad": 3}


def _deployment(account: ProviderAccount, row: DeploymentRow, now: Now) -> DeploymentPanel:
    breaker = now.breakers.get(row.id, BreakerState.CLOSED)
    load = now.loads.get(OfferId(row.id), IDLE)
    trouble = now.troubles.get(row.id, "")
    state = (
        _set_by_operator(account.state, load.in_flight)
        or _set_by_operator(row.state, load.in_flight)
        or (State("Unusable", "bad", trouble) if trouble else _HEALTH[breaker])
    )
    return DeploymentPanel(row, state, _BREAKERS[breaker], load, now.paces.get(row.id, Pace()))


def _set_by_operator(state: str, in_flight: int) -> State | None:
    match state:
        case "disabled":
            return State("Disabled", "off", "takes no work until it is enabled")
        case "draining" if in_flight:
            return State("Draining", "warn", f"{in_flight} in flight will finish, no new work")
        case "draining":
            return State("Drained", "off", "nothing in flight, no new work")
        case _:
            return None


_HEALTH = {
    BreakerState.CLOSED: State("Healthy", "good"),
    BreakerState.HALF_OPEN: State("Probing", "warn", "one request at a time until one succeeds"),
    BreakerState.OPEN: State("Down", "bad", "it failed too often; it is probed again shortly"),
    BreakerState.DISABLED: State("Locked out", "bad", "it rejects our credential; mend it, then enable"),
}
_BREAKERS = {
    BreakerState.CLOSED: State("Closed", "good"),
    BreakerState.HALF_OPEN: State("Half-open", "warn"),
    BreakerState.OPEN: State("Open", "bad"),
    BreakerState.DISABLED: State(LOCKED, "bad"),
}
