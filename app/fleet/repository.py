"""Queries of the fleet; each takes the caller's session and leaves committing to it."""

from dataclasses import dataclass, replace
from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.fleet.contracts import Basis, Contract, covering, in_force, lapse
from app.fleet.models import DeploymentRow, ProviderAccount
from app.fleet.roster import Access, Deployed, DeploymentSpec, Sealed, State
from app.fleet.speeds import curve_from_document, speed_document
from app.fleet.supply_store import access_of, accesses, contracts, credentials_in_use, sealed_of
from pricing.money import Rate
from pricing.slo import Tier
from pricing.usage import Rates
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


@dataclass(frozen=True, slots=True)
class _Supply:
    """What applies to deployments beside their rows."""

    contracts: tuple[Contract, ...]
    accesses: dict[str, Access]
    sealed: dict[str, Sealed]


async def read_roster(session: AsyncSession, now_us: int | None = None) -> Roster:
    """Every registered deployment, what operators decided about it, and on which terms it is bought.

    Args:
        session: a reading one.
        now_us: when; decides which contracts are in force. None leaves contracts aside.
    """
    statement = (
        select(DeploymentRow, ProviderAccount)
        .join(ProviderAccount, col(ProviderAccount.id) == col(DeploymentRow.provider_id))
        .order_by(col(DeploymentRow.id))
        .limit(DEPLOYMENTS_MAX)
    )
    rows = (await session.exec(statement)).all()
    supply = await _supply(session)
    deployed: list[Deployed] = []
    troubles: dict[str, str] = {}
    for row, account in rows:
        try:
            deployed.append(_deployed(row, account, supply, now_us))
        except ValueError as error:
            troubles[row.id] = str(error)
    return Roster(tuple(deployed), troubles)


async def _supply(session: AsyncSession) -> _Supply:
    return _Supply(
        await contracts(session),
        {provider_id: access_of(row) for provider_id, row in (await accesses(session)).items()},
        {provider_id: sealed_of(row) for provider_id, row in (await credentials_in_use(session)).items()},
    )


def _deployed(row: DeploymentRow, account: ProviderAccount, supply: _Supply, now_us: int | None) -> Deployed:
    spec, trouble, contract = spec_of(row), "", None
    found = covering(supply.contracts, spec.provider_id, spec.model)
    if found and now_us is not None:
        contract = in_force(found, now_us)
        trouble = lapse(found, now_us) if contract is None else ""
    if contract is not None:
        cost = contract.rates if contract.basis is Basis.BOUGHT else spec.cost
        spec = replace(spec, cost=cost, is_owned=contract.basis is Basis.HOURLY)
    sealed = None if spec.api_key_env else supply.sealed.get(spec.provider_id)
    if sealed is not None and sealed.refusal:
        trouble = f"credential refused: {sealed.refusal}; set another (goodput providers credential set)"
    return Deployed(
        spec=spec,
        state=State(row.state),
        provider_state=State(account.state),
        provider_name=account.name,
        version=(row.version, account.version),
        access=supply.accesses.get(spec.provider_id, Access()),
        sealed=sealed,
        contract=contract,
        trouble=trouble,
    )


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
        kind=row.kind,
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
        precision=row.precision,
        region=row.region,
    )


def columns_of(spec: DeploymentSpec) -> dict[str, Any]:
    """A value as the columns that describe it; the inverse of :func:`spec_of`."""
    return {
        "id": spec.id,
        "provider_id": spec.provider_id,
        "deployment_id": spec.deployment_id,
        "kind": str(spec.kind),
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
        "precision": spec.precision,
        "region": spec.region,
    }
