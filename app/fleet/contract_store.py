"""Contracts and ways of access of providers: signed, ended, changed. Each call joins the caller's transaction."""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.service import Actor, Change, record
from app.fleet import repository
from app.fleet.contracts import Basis, Contract, ContractError
from app.fleet.models import ProviderAccess, ProviderContract
from app.fleet.roster import Access
from app.fleet.service import NotInFleet, not_in_fleet, touch
from app.fleet.supply_store import access_columns, access_of, contract_of, contracts
from app.identity.ids import ENTROPY_BYTES, time_ordered_id
from pricing.money import format_usd, format_usd_per_mtok


async def sign(session: AsyncSession, contract: Contract, actor: Actor, now_us: int) -> Contract:
    """Adds a contract; it governs cost, quota and term of what it covers from its start on.

    Raises:
        NotInFleet: its provider is not registered.
        ContractError: it would be in force beside another for the same thing.
    """
    if await repository.provider_by_id(session, contract.provider_id) is None:
        raise not_in_fleet("provider", contract.provider_id)
    for other in await contracts(session, contract.provider_id):
        if contract.overlaps(other):
            raise ContractError(
                f"contract {other.id} covers {other.model or 'all models'} in part of that term: end it first "
                "(goodput providers contract end), or begin after it"
            )
    signed = replace(contract, id=time_ordered_id("ctr", now_us, secrets.token_bytes(ENTROPY_BYTES)))
    session.add(ProviderContract(**_columns(signed), created_at_us=now_us))
    await session.flush()
    change = Change("contract.signed", f"provider:{contract.provider_id}", {}, contract_document(signed), signed.note)
    await record(session, actor, change, now_us)
    return signed


async def end(session: AsyncSession, contract_id: str, at_us: int, actor: Actor, reason: str, now_us: int) -> Contract:
    """Ends a contract sooner than it would.

    Raises:
        NotInFleet: there is no such contract.
        ContractError: it ends before that already.
    """
    statement = select(ProviderContract).where(col(ProviderContract.id) == contract_id).with_for_update()
    row = (await session.exec(statement)).first()
    if row is None:
        raise NotInFleet(404, "contract_not_found", f"There is no contract '{contract_id[:80]}'.")
    if row.ends_at_us is not None and row.ends_at_us <= at_us:
        raise ContractError(f"contract {contract_id} ends before that already")
    before = {"ends_at_us": row.ends_at_us}
    row.ends_at_us = max(at_us, row.starts_at_us)
    session.add(row)
    await session.flush()
    after = {"id": row.id, "ends_at_us": row.ends_at_us}
    await record(session, actor, Change("contract.ended", f"provider:{row.provider_id}", before, after, reason), now_us)
    return contract_of(row)


async def set_access(session: AsyncSession, provider_id: str, access: Access, actor: Actor, now_us: int) -> bool:
    """Says how a provider wants to be asked; False when it was so already.

    Raises:
        NotInFleet: there is no such provider.
    """
    account = await repository.provider_by_id(session, provider_id)
    if account is None:
        raise not_in_fleet("provider", provider_id)
    row = await session.get(ProviderAccess, provider_id)
    before = Access() if row is None else access_of(row)
    if before == access:
        return False
    row = row or ProviderAccess(provider_id=provider_id, updated_at_us=now_us)
    row.sqlmodel_update({**access_columns(access), "updated_at_us": now_us})
    touch(account, {}, now_us)
    session.add_all((row, account))
    await session.flush()
    told = (access_columns(before), access_columns(access))
    await record(session, actor, Change("provider.access_changed", f"provider:{provider_id}", *told), now_us)
    return True


def contract_document(contract: Contract) -> dict[str, Any]:
    """A contract, JSON-ready; money as text."""
    rates, allotment, promise = contract.rates, contract.allotment, contract.promise
    per_mtok = {name.value: format_usd_per_mtok(rate) for name, rate in rates.by_class().items()}
    return {
        "id": contract.id,
        "provider_id": contract.provider_id,
        "model": contract.model,
        "basis": contract.basis.value,
        "usd_per_mtok": per_mtok if contract.basis is Basis.BOUGHT else None,
        "usd_per_hour": format_usd(contract.usd_per_hour) if contract.basis is Basis.HOURLY else None,
        "promise": None if promise is None else {"ttft_us": promise.ttft_us, "tpot_us": promise.tpot_us},
        "quota": {name: getattr(allotment, name) for name in ("rpm", "tpm", "requests_max", "tokens_max")},
        "starts_at_us": contract.starts_at_us,
        "ends_at_us": contract.ends_at_us,
        "note": contract.note,
    }


def in_words(found: Sequence[Contract], now_us: int) -> str:
    """How one model's contracts stand, in a few words for a table."""
    current = next((each for each in found if each.is_in_force(now_us)), None)
    if current is not None:
        return f"{current.basis.value} ({current.id})"
    return "lapsed" if found else "none"


def _columns(contract: Contract) -> dict[str, Any]:
    rates, allotment, promise = contract.rates, contract.allotment, contract.promise
    return {
        "id": contract.id,
        "provider_id": contract.provider_id,
        "model": contract.model,
        "basis": contract.basis.value,
        "rate_input": rates.input,
        "rate_cached": rates.cached,
        "rate_cache_write": rates.cache_write,
        "rate_output": rates.output,
        "usd_per_hour": contract.usd_per_hour,
        "promise_ttft_us": None if promise is None else promise.ttft_us,
        "promise_tpot_us": None if promise is None else promise.tpot_us,
        "rpm": allotment.rpm,
        "tpm": allotment.tpm,
        "requests_max": allotment.requests_max,
        "tokens_max": allotment.tokens_max,
        "starts_at_us": contract.starts_at_us,
        "ends_at_us": contract.ends_at_us,
        "note": contract.note,
    }
