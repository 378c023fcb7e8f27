"""What operators do with the fleet: register, drain, enable, disable, remove.

Each call joins the caller's transaction and records who did what in it. Gateways see a change at their next refresh.
"""

from dataclasses import dataclass
from typing import Any

from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.service import Actor, Change, record
from app.errors import MarketError
from app.fleet import repository
from app.fleet.models import DeploymentRow, ProviderAccess, ProviderAccount, ProviderCredential
from app.fleet.roster import DeploymentSpec, RosterError, State, check_provider_id
from app.fleet.supply_store import contracts, forgive

PROVIDER_NAME_MAX = 200
_VERBS = {State.ENABLED: "enabled", State.DRAINING: "drained", State.DISABLED: "disabled"}


class NotInFleet(MarketError):
    """There is no such provider or deployment."""


class FleetChanged(MarketError):
    """Somebody else changed it since it was read."""


@dataclass(frozen=True, slots=True)
class StateChange:
    """An operator's decision.

    Attributes:
        reason: in their words.
        version: of the row that they saw; None decides whatever it has become since.
    """

    state: State
    reason: str = ""
    version: int | None = None


async def register_provider(session: AsyncSession, provider_id: str, name: str, actor: Actor, now_us: int) -> bool:
    """Adds a provider, or changes its name.

    Returns:
        False when nothing had to change.

    Raises:
        RosterError: an id that is no slug, or no name.
    """
    check_provider_id(provider_id)
    if not name.strip() or len(name) > PROVIDER_NAME_MAX:
        raise RosterError(f"{provider_id}: a provider's name has 1 to {PROVIDER_NAME_MAX} letters, got {name!r}")
    account = await repository.provider_by_id(session, provider_id)
    if account is not None and account.name == name:
        return False
    before = {} if account is None else {"name": account.name}
    if account is None:
        account = ProviderAccount(id=provider_id, name=name, created_at_us=now_us, updated_at_us=now_us)
    else:
        touch(account, {"name": name}, now_us)
    session.add(account)
    await session.flush()
    action = "provider.changed" if before else "provider.registered"
    await record(session, actor, Change(action, f"provider:{provider_id}", before, {"name": name}), now_us)
    return True


async def register_deployment(session: AsyncSession, spec: DeploymentSpec, actor: Actor, now_us: int) -> bool:
    """Adds a deployment of a registered provider, or changes what is known of it; its state stays as decided.

    Returns:
        False when nothing had to change.

    Raises:
        NotInFleet: its provider is not registered.
    """
    if await session.get(ProviderAccount, spec.provider_id) is None:
        raise not_in_fleet("provider", spec.provider_id)
    columns = repository.columns_of(spec)
    row = await repository.deployment_by_id(session, spec.id)
    before = (
        {} if row is None else {name: getattr(row, name) for name in columns if getattr(row, name) != columns[name]}
    )
    if row is not None and not before:
        return False
    if row is None:
        row = DeploymentRow(**columns, created_at_us=now_us, updated_at_us=now_us)
    else:
        touch(row, columns, now_us)
    session.add(row)
    await session.flush()
    after = {name: columns[name] for name in before} if before else columns
    action = "deployment.changed" if before else "deployment.registered"
    await record(session, actor, Change(action, f"deployment:{spec.id}", before, after), now_us)
    return True


async def change_provider_state(
    session: AsyncSession, provider_id: str, change: StateChange, actor: Actor, now_us: int
) -> ProviderAccount:
    """Drains, disables or enables a provider with all its deployments; their own states stay.

    Enabling also says that it accepts its credential again.

    Raises:
        NotInFleet: there is no such provider.
        FleetChanged: it is not at the version that the operator saw.
    """
    account = await repository.provider_by_id(session, provider_id)
    if account is None:
        raise not_in_fleet("provider", provider_id)
    await _decide(session, account, f"provider:{provider_id}", change, actor, now_us)
    if change.state is State.ENABLED:
        await forgive(session, provider_id)
    return account


async def change_deployment_state(
    session: AsyncSession, offer_id: str, change: StateChange, actor: Actor, now_us: int
) -> DeploymentRow:
    """Drains, disables or enables one deployment. Enabling also tells gateways that a credential was mended.

    Raises:
        NotInFleet: there is no such deployment.
        FleetChanged: it is not at the version that the operator saw.
    """
    row = await repository.deployment_by_id(session, offer_id)
    if row is None:
        raise not_in_fleet("deployment", offer_id)
    await _decide(session, row, f"deployment:{offer_id}", change, actor, now_us)
    if change.state is State.ENABLED:
        await forgive(session, row.provider_id)
    return row


async def remove_deployment(session: AsyncSession, offer_id: str, actor: Actor, reason: str, now_us: int) -> bool:
    """Takes a deployment out of the fleet; what runs there finishes. False when it was not there."""
    row = await repository.deployment_by_id(session, offer_id)
    if row is None:
        return False
    before = {"model": row.model, "base_url": row.base_url, "state": row.state}
    await session.delete(row)
    await session.flush()
    await record(session, actor, Change("deployment.removed", f"deployment:{offer_id}", before, {}, reason), now_us)
    return True


async def remove_provider(session: AsyncSession, provider_id: str, actor: Actor, reason: str, now_us: int) -> None:
    """Takes a provider that runs nothing any more out of the fleet; its contracts and statements stay readable.

    Raises:
        NotInFleet: there is no such provider.
        FleetChanged: deployments of it are still registered, or it ever had a contract.
    """
    account = await repository.provider_by_id(session, provider_id)
    if account is None:
        raise not_in_fleet("provider", provider_id)
    if left := await deployments_of(session, provider_id):
        raise FleetChanged(
            409,
            "provider_in_use",
            f"{provider_id} still runs {len(left)} deployments ({', '.join(left[:5])}): remove them first.",
        )
    if await contracts(session, provider_id):
        raise FleetChanged(
            409, "provider_has_contracts", f"{provider_id} has contracts, which are kept: disable it instead."
        )
    for table in (ProviderAccess, ProviderCredential):
        await session.exec(delete(table).where(col(table.provider_id) == provider_id))  # pyright: ignore[reportArgumentType]
    await session.delete(account)
    await session.flush()
    before = {"name": account.name, "state": account.state}
    await record(session, actor, Change("provider.removed", f"provider:{provider_id}", before, {}, reason), now_us)


async def deployments_of(session: AsyncSession, provider_id: str) -> list[str]:
    """The offer ids of a provider's deployments."""
    statement = select(DeploymentRow.id).where(col(DeploymentRow.provider_id) == provider_id)
    return sorted((await session.exec(statement.limit(repository.DEPLOYMENTS_MAX))).all())


async def _decide(
    session: AsyncSession,
    row: ProviderAccount | DeploymentRow,
    subject: str,
    change: StateChange,
    actor: Actor,
    now_us: int,
) -> None:
    if change.version is not None and change.version != row.version:
        raise FleetChanged(
            409,
            "fleet_changed",
            f"{subject} was changed meanwhile: you saw version {change.version}, it is at version {row.version} and "
            f"{row.state} now. Look again and decide then.",
        )
    before = {"state": row.state}
    touch(row, {"state": change.state.value}, now_us)
    session.add(row)
    await session.flush()
    action = f"{subject.partition(':')[0]}.{_VERBS[change.state]}"
    await record(session, actor, Change(action, subject, before, {"state": row.state}, change.reason), now_us)


def touch(row: ProviderAccount | DeploymentRow, columns: dict[str, Any], now_us: int) -> None:
    """Changes a row and its version, by which gateways see that it was."""
    row.sqlmodel_update({**columns, "version": row.version + 1, "updated_at_us": now_us})


def not_in_fleet(kind: str, name: str) -> NotInFleet:
    """The refusal for what nobody registered."""
    return NotInFleet(404, f"{kind}_not_found", f"There is no {kind} '{name[:200]}' in the fleet.")
