"""Providers' credentials: set, removed, refused, sealed anew; each in the caller's transaction, with its record.

A secret comes in here and leaves only to the live client that sends it: no row, record, answer or message carries it.
"""

import os
import secrets
from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.service import Actor, Change, record
from app.fleet import repository
from app.fleet.models import ProviderAccount, ProviderCredential
from app.fleet.service import not_in_fleet, touch
from app.fleet.supply_store import about_of, credential_of, credentials_in_use
from app.fleet.vault import NONCE_BYTES, Vault, prefix_of
from app.identity.ids import ENTROPY_BYTES, time_ordered_id

REFUSAL_LETTERS_MAX = 300
GATEWAY = Actor("system", "gateway", "gateway")


async def set_credential(
    session: AsyncSession, vault: Vault, provider_id: str, secret: str, actor: Actor, now_us: int
) -> ProviderCredential:
    """Gives a provider a credential in place of the one it had; gateways use it within a second.

    Raises:
        NotInFleet: there is no such provider.
        VaultError: there is no key to seal it with, or no header can carry it.
    """
    account = await _account(session, provider_id)
    credential_id = time_ordered_id("crd", now_us, secrets.token_bytes(ENTROPY_BYTES))
    row = ProviderCredential(
        id=credential_id,
        provider_id=provider_id,
        sealed=vault.seal(secret, about_of(provider_id, credential_id), os.urandom(NONCE_BYTES)),
        prefix=prefix_of(secret),
        fingerprint=vault.fingerprint(secret),
        created_at_us=now_us,
    )
    former = await _retire(session, provider_id, now_us)
    session.add(row)
    _renew(session, account, now_us)
    await session.flush()
    before = {} if former is None else shown(former)
    await record(session, actor, Change("credential.set", f"provider:{provider_id}", before, shown(row)), now_us)
    return row


async def remove_credential(
    session: AsyncSession, provider_id: str, actor: Actor, reason: str, now_us: int
) -> ProviderCredential | None:
    """Takes a provider's credential out of use; None when it had none.

    Raises:
        NotInFleet: there is no such provider.
    """
    account = await _account(session, provider_id)
    former = await _retire(session, provider_id, now_us)
    if former is None:
        return None
    _renew(session, account, now_us)
    change = Change("credential.removed", f"provider:{provider_id}", shown(former), {}, reason)
    await record(session, actor, change, now_us)
    return former


async def note_refused(session: AsyncSession, credential_id: str, refusal: str, now_us: int) -> bool:
    """A provider does not accept it: no gateway uses it any more. False when that was known, or another is in use."""
    statement = select(ProviderCredential).where(col(ProviderCredential.id) == credential_id).with_for_update()
    row = (await session.exec(statement)).first()
    if row is None or row.retired_at_us is not None or row.refused_at_us is not None:
        return False
    row.refused_at_us = now_us
    row.refusal = refusal[:REFUSAL_LETTERS_MAX]
    session.add(row)
    change = Change("credential.refused", f"provider:{row.provider_id}", {}, shown(row), row.refusal)
    await record(session, GATEWAY, change, now_us)
    return True


async def reseal(session: AsyncSession, vault: Vault, actor: Actor, now_us: int) -> int:
    """Seals under the secret key in force what a former one sealed; answers how many.

    Raises:
        VaultError: one of them cannot be opened.
    """
    resealed = 0
    for row in (await credentials_in_use(session)).values():
        if vault.is_current(row.sealed):
            continue
        about = about_of(row.provider_id, row.id)
        secret = vault.open(row.sealed, about)
        row.sealed = vault.seal(secret, about, os.urandom(NONCE_BYTES))
        row.fingerprint = vault.fingerprint(secret)
        session.add(row)
        resealed += 1
        await record(session, actor, Change("credential.resealed", f"provider:{row.provider_id}"), now_us)
    return resealed


def shown(row: ProviderCredential) -> dict[str, Any]:
    """What may be shown of a credential."""
    return {
        "id": row.id,
        "prefix": row.prefix,
        "fingerprint": row.fingerprint,
        "state": state_of(row),
        "refusal": row.refusal,
        "created_at_us": row.created_at_us,
    }


def state_of(row: ProviderCredential) -> str:
    """How it stands: in use, refused by the provider, or retired."""
    if row.retired_at_us is not None:
        return "retired"
    return "in use" if row.refused_at_us is None else "credential refused"


async def _account(session: AsyncSession, provider_id: str) -> ProviderAccount:
    account = await repository.provider_by_id(session, provider_id)
    if account is None:
        raise not_in_fleet("provider", provider_id)
    return account


async def _retire(session: AsyncSession, provider_id: str, now_us: int) -> ProviderCredential | None:
    row = await credential_of(session, provider_id)
    if row is not None:
        row.retired_at_us = now_us
        row.sealed = "retired"  # what is not used any more is not kept either
        session.add(row)
        await session.flush()
    return row


def _renew(session: AsyncSession, account: ProviderAccount, now_us: int) -> None:
    """Tells gateways that the provider was changed: whatever closed its offers may be mended."""
    touch(account, {}, now_us)
    session.add(account)
