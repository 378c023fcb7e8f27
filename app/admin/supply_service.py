"""What operators do about supply, each with its audit record in the same transaction; for the JSON API and the console.

What is described wrongly is refused with 400 and says which field; a credential comes in and never goes out.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.admin.supply_bodies import AccessBody, ApprovalBody, ContractBody, DeploymentBody, ProviderBody
from app.audit.service import Actor
from app.db import Database
from app.errors import NO_RETRY, MarketError
from app.fleet import contract_store, credential_store, service, supply_store
from app.fleet.contract_store import contract_document
from app.fleet.contracts import Contract
from app.fleet.live_client import LiveClients
from app.fleet.models import DeploymentRow, ProviderAccount, ProviderCredential
from app.fleet.repository import deployment_by_id, provider_by_id, read_roster
from app.fleet.roster import Access
from app.fleet.service import StateChange, not_in_fleet
from app.fleet.statement_store import statement
from app.fleet.statements import statement_document
from app.fleet.vault import Vault
from app.metering.models import UsageDispute
from app.tuning import service as tuning
from app.tuning.models import TunedModelRow
from providers.errors import ProviderCredentialRejected, ProviderError
from scheduler.fleet import OfferId

T = TypeVar("T")


class Rooms(Protocol):
    """What this needs of the market: a desk has it, and a command can put it together."""

    @property
    def database(self) -> Database:
        """Where the fleet is registered."""
        ...

    @property
    def vault(self) -> Vault:
        """Seals credentials."""
        ...

    @property
    def now_us(self) -> Callable[[], int]:
        """µs since the epoch."""
        ...


async def written(rooms: Rooms, work: Callable[[AsyncSession, int], Awaitable[T]]) -> T:
    """Runs work in one transaction; a value that cannot be is a refusal with the reason in words.

    Raises:
        MarketError: 400 with what is wrong, or whatever refusal the work raises.
    """
    try:
        async with rooms.database.writing() as session:
            return await work(session, rooms.now_us())
    except MarketError:
        raise
    except ValueError as error:
        raise MarketError(400, "invalid_value", str(error), retry=NO_RETRY) from error


async def add_provider(rooms: Rooms, actor: Actor, body: ProviderBody) -> ProviderAccount:
    """Registers a provider, or renames it."""

    async def work(session: AsyncSession, now_us: int) -> ProviderAccount:
        await service.register_provider(session, body.id, body.name, actor, now_us)
        if body.access is not None:
            await contract_store.set_access(session, body.id, body.access.access(), actor, now_us)
        account = await provider_by_id(session, body.id)
        if account is None:
            raise not_in_fleet("provider", body.id)
        return account

    return await written(rooms, work)


async def remove_provider(rooms: Rooms, actor: Actor, provider_id: str, reason: str) -> None:
    """Takes a provider out of the fleet that runs nothing any more."""
    await written(rooms, lambda session, now_us: service.remove_provider(session, provider_id, actor, reason, now_us))


async def set_access(rooms: Rooms, actor: Actor, provider_id: str, body: AccessBody) -> bool:
    """Says how a provider wants to be asked."""
    return await written(
        rooms, lambda session, now_us: contract_store.set_access(session, provider_id, body.access(), actor, now_us)
    )


async def set_credential(rooms: Rooms, actor: Actor, provider_id: str, secret: str) -> ProviderCredential:
    """Gives a provider a credential; gateways use it within a second."""
    return await written(
        rooms,
        lambda session, now_us: credential_store.set_credential(
            session, rooms.vault, provider_id, secret, actor, now_us
        ),
    )


async def remove_credential(rooms: Rooms, actor: Actor, provider_id: str, reason: str) -> ProviderCredential | None:
    """Takes a provider's credential out of use."""
    return await written(
        rooms, lambda session, now_us: credential_store.remove_credential(session, provider_id, actor, reason, now_us)
    )


async def add_deployment(rooms: Rooms, actor: Actor, provider_id: str, body: DeploymentBody) -> DeploymentRow:
    """Registers a deployment, or changes what is known of it."""

    async def work(session: AsyncSession, now_us: int) -> DeploymentRow:
        spec = body.spec(provider_id)
        await service.register_deployment(session, spec, actor, now_us)
        row = await deployment_by_id(session, spec.id)
        if row is None:
            raise not_in_fleet("deployment", spec.id)
        return row

    return await written(rooms, work)


async def set_deployment_state(rooms: Rooms, actor: Actor, offer_id: str, change: StateChange) -> DeploymentRow:
    """Enables, drains or disables one deployment."""
    return await written(
        rooms, lambda session, now_us: service.change_deployment_state(session, offer_id, change, actor, now_us)
    )


async def remove_deployment(rooms: Rooms, actor: Actor, offer_id: str, reason: str) -> None:
    """Takes a deployment out of the fleet; what runs there finishes."""

    async def work(session: AsyncSession, now_us: int) -> None:
        if not await service.remove_deployment(session, offer_id, actor, reason, now_us):
            raise not_in_fleet("deployment", offer_id)

    await written(rooms, work)


async def sign_contract(rooms: Rooms, actor: Actor, provider_id: str, body: ContractBody) -> Contract:
    """Signs a contract with a provider."""
    return await written(
        rooms,
        lambda session, now_us: contract_store.sign(session, body.contract(provider_id, now_us), actor, now_us),
    )


async def end_contract(rooms: Rooms, actor: Actor, contract_id: str, ends_at_us: int | None, reason: str) -> Contract:
    """Ends a contract, now where no moment is named."""

    async def work(session: AsyncSession, now_us: int) -> Contract:
        at_us = now_us if ends_at_us is None else ends_at_us
        return await contract_store.end(session, contract_id, at_us, actor, reason, now_us)

    return await written(rooms, work)


async def provider_details(rooms: Rooms, provider_id: str) -> dict[str, Any]:
    """A provider's account: how it is asked, what of its credential may be shown, and its contracts."""
    async with rooms.database.reading() as session:
        account = await session.get(ProviderAccount, provider_id)
        if account is None:
            raise not_in_fleet("provider", provider_id)
        access = (await supply_store.accesses(session)).get(provider_id)
        credential = await supply_store.credential_of(session, provider_id)
        signed = await supply_store.contracts(session, provider_id)
    now_us = rooms.now_us()
    return {
        "id": account.id,
        "name": account.name,
        "state": account.state,
        "version": account.version,
        "access": supply_store.access_columns(Access() if access is None else supply_store.access_of(access)),
        "credential": None if credential is None else credential_store.shown(credential),
        "contracts": [{**contract_document(each), "is_in_force": each.is_in_force(now_us)} for each in signed],
    }


async def usage_disputes(rooms: Rooms, provider_id: str, rows_max: int) -> list[dict[str, Any]]:
    """Answers whose token counts were not believed, newest first; of one provider where given."""
    statement = select(UsageDispute).order_by(col(UsageDispute.at_us).desc(), col(UsageDispute.request_id).desc())
    if provider_id:
        statement = statement.where(col(UsageDispute.provider_id) == provider_id)
    async with rooms.database.reading() as session:
        return [row.model_dump() for row in (await session.exec(statement.limit(rows_max))).all()]


async def provider_statement(rooms: Rooms, provider_id: str, period: tuple[int, int]) -> dict[str, Any]:
    """What is owed to a provider for a period."""
    async with rooms.database.snapshot() as session:
        return statement_document(await statement(session, provider_id, *period, rooms.now_us()))


async def probe(rooms: Rooms, offer_id: str, clients: LiveClients, elapsed_us: Callable[[], int]) -> dict[str, Any]:
    """One health request to a deployment, and what came of it; a credential that it refuses is not used any more.

    Args:
        rooms: what it works with.
        offer_id: which.
        clients: with credentials to be had; closed here.
        elapsed_us: µs that never run backwards.
    """
    now_us = rooms.now_us()
    async with rooms.database.reading() as session:
        roster = await read_roster(session, now_us)
    found = [each for each in roster.deployed if each.id == offer_id]
    if not found:
        raise not_in_fleet("deployment", offer_id)
    troubles = clients.update(found, now_us)
    began_us = elapsed_us()
    trouble = troubles.get(OfferId(offer_id), "")
    try:
        if not trouble:
            await clients.provider(OfferId(offer_id)).probe()
    except ProviderError as error:
        trouble = f"{type(error).__name__}: {error.detail}"
        if isinstance(error, ProviderCredentialRejected) and error.credential_id:
            refused, said = error.credential_id, error.detail
            await written(rooms, lambda session, at_us: credential_store.note_refused(session, refused, said, at_us))
    finally:
        await clients.close()
    took_ms = round((elapsed_us() - began_us) / 1000, 3)
    return {"id": offer_id, "is_well": not trouble, "trouble": trouble, "took_ms": took_ms}


async def decide_tuned(
    rooms: Rooms, actor: Actor, model_id: str, decision: ApprovalBody | str, version: int | None = None
) -> TunedModelRow:
    """Approves a tuned model, so that its prices follow its base's from then on, or refuses it with a reason."""
    from app.planning.tuned_store import price_tuned  # noqa: PLC0415 (it loads scipy, which the gateway does without)

    async def work(session: AsyncSession, now_us: int) -> TunedModelRow:
        if isinstance(decision, str):
            return await tuning.refuse(session, model_id, decision, actor, now_us, version)
        approval = decision.approval()
        row = await tuning.approve(session, model_id, approval, actor, now_us)
        await price_tuned(session, row, approval, actor, now_us)
        return row

    return await written(rooms, work)


async def withdraw_tuned(rooms: Rooms, actor: Actor, model_id: str, reason: str) -> TunedModelRow:
    """Takes a tuned model off sale and its deployments out of the fleet."""
    from app.planning.tuned_store import end_tuned  # noqa: PLC0415 (it loads scipy, which the gateway does without)

    async def work(session: AsyncSession, now_us: int) -> TunedModelRow:
        row = await tuning.withdraw_model(session, model_id, reason, actor, now_us)
        await end_tuned(session, row.name, actor, reason, now_us)
        return row

    return await written(rooms, work)
