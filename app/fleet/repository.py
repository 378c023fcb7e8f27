"""Queries of the fleet; each takes the caller's session and leaves committing to it."""

from dataclasses import dataclass
from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.fleet.models import DeploymentRow, ProviderAccount
from app.fleet.roster import Deployed, DeploymentSpec, State
from app.fleet.speeds import curve_from_document, speed_document
from pricing.money import Rate
from pricing.slo import Tier
from pricing.usage import Rates
from providers.spec import ProviderKind
from scheduler.jobs import Capability

DEPLOYMENTS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Roster:
    """All deployments that can be read, by id.

    Attributes:
        troubles: why not, for those that cannot; one bad row does not take the fleet down.
    """

    deployed: tuple[Deployed, ...]
    troubles: dict[str, str]


async def read_roster(session: AsyncSession) -> Roster:
    """Every registered deployment and what operators decided about it."""
    statement = (
        select(DeploymentRow, ProviderAccount)
        .join(ProviderAccount, col(ProviderAccount.id) == col(DeploymentRow.provider_id))
        .order_by(col(DeploymentRow.id))
        .limit(DEPLOYMENTS_MAX)
    )
    deployed: list[Deployed] = []
    troubles: dict[str, str] = {}
    for row, account in (await session.exec(statement)).all():
        try:
            states, version = (State(row.state), State(account.state)), (row.version, account.version)
            deployed.append(Deployed(spec_of(row), *states, account.name, version))
        except ValueError as error:
            troubles[row.id] = str(error)
    return Roster(tuple(deployed), troubles)


async def provider_by_id(session: AsyncSession, provider_id: str) -> ProviderAccount | None:
    """A provider's row, locked against others' changes where the database can."""
    statement = select(ProviderAccount).where(col(ProviderAccount.id) == provider_id).with_for_update()
    return (await session.exec(statement)).first()


async def deployment_by_id(session: AsyncSession, offer_id: str) -> DeploymentRow | None:
    """A deployment's row, locked against others' changes where the database can."""
    statement = select(DeploymentRow).where(col(DeploymentRow.id) == offer_id).with_for_update()
    return (await session.exec(statement)).first()


def spec_of(row: DeploymentRow) -> DeploymentSpec:
    """A row as a checked value.

    Raises:
        ValueError: the row holds what could not have been registered.
    """
    return DeploymentSpec(
        provider_id=row.provider_id,
        deployment_id=row.deployment_id,
        kind=ProviderKind(row.kind),
        model=row.model,
        base_url=row.base_url,
        backend_model=row.backend_model,
        base_model=row.base_model,
        speed=curve_from_document(row.speed),
        concurrency_max=row.concurrency_max,
        context_max=row.context_max,
        cost=Rates(Rate(row.cost_input), Rate(row.cost_cached), Rate(row.cost_cache_write), Rate(row.cost_output)),
        is_owned=row.is_owned,
        tiers=frozenset(map(Tier, row.tiers)),
        capabilities=frozenset(map(Capability, row.capabilities)),
        is_emulated=row.is_emulated,
        label=row.label,
        api_key_env=row.api_key_env,
    )


def columns_of(spec: DeploymentSpec) -> dict[str, Any]:
    """A value as the columns that describe it; the inverse of :func:`spec_of`."""
    return {
        "id": spec.id,
        "provider_id": spec.provider_id,
        "deployment_id": spec.deployment_id,
        "kind": spec.kind.value,
        "model": spec.model,
        "base_url": spec.base_url,
        "backend_model": spec.backend_model,
        "base_model": spec.base_model,
        "speed": speed_document(spec.speed),
        "concurrency_max": spec.concurrency_max,
        "context_max": spec.context_max,
        "cost_input": spec.cost.input,
        "cost_cached": spec.cost.cached,
        "cost_cache_write": spec.cost.cache_write,
        "cost_output": spec.cost.output,
        "is_owned": spec.is_owned,
        "tiers": [tier.value for tier in Tier if tier in spec.tiers],
        "capabilities": [each.value for each in Capability if each in spec.capabilities],
        "is_emulated": spec.is_emulated,
        "label": spec.label,
        "api_key_env": spec.api_key_env,
    }
