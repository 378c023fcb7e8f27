"""What rows say beside the deployments: contracts, credentials in use, ways of access; queries and values of them."""

from collections.abc import Mapping
from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.fleet.contracts import Allotment, Basis, Contract
from app.fleet.models import ProviderAccess, ProviderContract, ProviderCredential
from app.fleet.roster import Access, Sealed
from pricing.money import NanoUsd, Rate
from pricing.slo import Slo
from pricing.usage import Rates

CREDENTIALS_MAX = 10_000
CONTRACTS_MAX = 5_000
PROVIDERS_MAX = 10_000


async def contracts(session: AsyncSession, provider_id: str = "") -> tuple[Contract, ...]:
    """All contracts, or those of one provider; the one that starts last first."""
    statement = select(ProviderContract).order_by(
        col(ProviderContract.starts_at_us).desc(), col(ProviderContract.id).desc()
    )
    if provider_id:
        statement = statement.where(col(ProviderContract.provider_id) == provider_id)
    return tuple(map(contract_of, (await session.exec(statement.limit(CONTRACTS_MAX))).all()))


def contract_of(row: ProviderContract) -> Contract:
    """A row as a value."""
    has_promise = row.promise_ttft_us is not None and row.promise_tpot_us is not None
    return Contract(
        provider_id=row.provider_id,
        basis=Basis(row.basis),
        starts_at_us=row.starts_at_us,
        ends_at_us=row.ends_at_us,
        id=row.id,
        model=row.model,
        rates=Rates(Rate(row.rate_input), Rate(row.rate_cached), Rate(row.rate_cache_write), Rate(row.rate_output)),
        usd_per_hour=NanoUsd(row.usd_per_hour),
        promise=Slo(row.promise_ttft_us or 0, row.promise_tpot_us or 0) if has_promise else None,
        allotment=Allotment(row.rpm, row.tpm, row.requests_max, row.tokens_max),
        note=row.note,
    )


async def credential_of(session: AsyncSession, provider_id: str) -> ProviderCredential | None:
    """The credential that a provider has in use."""
    statement = select(ProviderCredential).where(
        col(ProviderCredential.provider_id) == provider_id, col(ProviderCredential.retired_at_us).is_(None)
    )
    return (await session.exec(statement)).first()


async def credentials_in_use(session: AsyncSession) -> Mapping[str, ProviderCredential]:
    """Every credential in use, by provider."""
    statement = select(ProviderCredential).where(col(ProviderCredential.retired_at_us).is_(None))
    return {row.provider_id: row for row in (await session.exec(statement.limit(CREDENTIALS_MAX))).all()}


async def forgive(session: AsyncSession, provider_id: str) -> None:
    """An operator says that the provider accepts the same credential again."""
    row = await credential_of(session, provider_id)
    if row is not None and row.refused_at_us is not None:
        row.refused_at_us = None
        row.refusal = ""
        session.add(row)
        await session.flush()


def sealed_of(row: ProviderCredential) -> Sealed:
    """A row as the fleet keeps it."""
    refusal = "" if row.refused_at_us is None else row.refusal or "no reason given"
    return Sealed(row.id, about_of(row.provider_id, row.id), row.sealed, refusal)


async def accesses(session: AsyncSession) -> dict[str, ProviderAccess]:
    """How providers want to be asked, by provider, for those that said so."""
    return {row.provider_id: row for row in (await session.exec(select(ProviderAccess).limit(PROVIDERS_MAX))).all()}


def access_of(row: ProviderAccess) -> Access:
    """A row as a checked value.

    Raises:
        ProviderSpecError: headers that cannot be sent.
    """
    return Access(row.auth_header, row.auth_scheme, tuple(sorted(row.headers.items())))


def access_columns(access: Access) -> dict[str, Any]:
    """The inverse of :func:`access_of`."""
    return {
        "auth_header": access.auth_header,
        "auth_scheme": access.auth_scheme,
        "headers": dict(access.headers),
    }


def about_of(provider_id: str, credential_id: str) -> str:
    """What a credential is sealed for: elsewhere it cannot be opened."""
    return f"{provider_id}/{credential_id}"
