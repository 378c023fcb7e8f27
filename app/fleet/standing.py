"""How each provider stands, in one word and with its numbers; pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from app.fleet.roster import Deployed, State
from scheduler.breaker import BreakerState
from scheduler.fleet import IDLE, Load, OfferId

REFUSED = "credential refused: mend it where it is kept, and enable the deployment again"
"""Of a credential that a variable of the environment holds; a stored one says more."""


class Standing(StrEnum):
    """The best that can be said of it."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    DRAINING = "draining"
    DOWN = "down"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Signals:
    """What a process knows of its fleet beyond the rows.

    Attributes:
        troubles: why a deployment cannot be used, where it cannot.
    """

    loads: Mapping[OfferId, Load]
    breakers: Mapping[OfferId, BreakerState]
    troubles: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DeploymentStanding:
    """How one deployment stands.

    Attributes:
        capacity: the most requests it takes at once.
        trouble: why it cannot be used; empty when it can.
    """

    offer_id: OfferId
    standing: Standing
    breaker: BreakerState
    in_flight: int
    capacity: int
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class ProviderStanding:
    """How a provider stands, over all its deployments."""

    provider_id: str
    name: str
    standing: Standing
    in_flight: int
    capacity: int
    deployments: tuple[DeploymentStanding, ...]


def provider_standings(deployed: Iterable[Deployed], signals: Signals) -> tuple[ProviderStanding, ...]:
    """How every provider stands, by id."""
    ordered = sorted(deployed, key=lambda each: (each.spec.provider_id, each.id))
    return tuple(
        _provider(provider_id, tuple(group), signals)
        for provider_id, group in groupby(ordered, key=lambda each: each.spec.provider_id)
    )


def _provider(provider_id: str, deployed: tuple[Deployed, ...], signals: Signals) -> ProviderStanding:
    deployments = tuple(_deployment(each, signals) for each in deployed)
    return ProviderStanding(
        provider_id=provider_id,
        name=deployed[0].provider_name,
        standing=overall([each.standing for each in deployments]),
        in_flight=sum(each.in_flight for each in deployments),
        capacity=sum(each.capacity for each in deployments),
        deployments=deployments,
    )


def overall(standings: Iterable[Standing]) -> Standing:
    """One word for several deployments: what an operator switched off does not count against the rest.

    >>> overall([Standing.HEALTHY, Standing.DISABLED]).value, overall([Standing.HEALTHY, Standing.DOWN]).value
    ('healthy', 'degraded')
    """
    found = set(standings)
    working = found & {Standing.HEALTHY, Standing.DEGRADED, Standing.DOWN}
    if not working:
        return Standing.DRAINING if Standing.DRAINING in found else Standing.DISABLED
    return working.pop() if len(working) == 1 else Standing.DEGRADED


def _deployment(each: Deployed, signals: Signals) -> DeploymentStanding:
    breaker = signals.breakers.get(each.id, BreakerState.CLOSED)
    trouble = signals.troubles.get(each.id, "") or (REFUSED if breaker is BreakerState.DISABLED else "")
    return DeploymentStanding(
        offer_id=each.id,
        standing=_standing(each.decided, breaker, is_usable=not trouble),
        breaker=breaker,
        in_flight=signals.loads.get(each.id, IDLE).in_flight,
        capacity=each.spec.concurrency_max,
        trouble=trouble,
    )


def _standing(decided: State, breaker: BreakerState, *, is_usable: bool) -> Standing:
    match decided:
        case State.DISABLED:
            return Standing.DISABLED
        case State.DRAINING:
            return Standing.DRAINING
        case State.ENABLED:
            pass
    if not is_usable or breaker in {BreakerState.OPEN, BreakerState.DISABLED}:
        return Standing.DOWN
    return Standing.HEALTHY if breaker is BreakerState.CLOSED else Standing.DEGRADED
