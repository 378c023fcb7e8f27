"""What operators do, each with its audit record in the same transaction; the JSON API and the console share it."""

from typing import Any

from app.admin.desk import Desk
from app.audit.models import AuditEvent
from app.audit.service import Actor, Change, record, record_values
from app.fleet.models import ProviderAccount
from app.fleet.service import StateChange, change_provider_state
from app.identity import service as identity
from app.identity.credentials import Minted
from app.identity.models import ApiKey, Customer
from app.identity.service import OwnLimits
from app.ledger.holds import PreparedRow
from app.ledger.operations import Transfer
from pricing.money import NanoUsd, format_usd


async def set_provider_state(desk: Desk, actor: Actor, provider_id: str, change: StateChange) -> ProviderAccount:
    """Enables, drains or disables a provider with all its deployments; gateways follow within a second."""
    async with desk.database.writing() as session:
        return await change_provider_state(session, provider_id, change, actor, desk.now_us())


async def create_customer(desk: Desk, actor: Actor, name: str, email: str, limits: OwnLimits) -> Customer:
    """Adds a customer."""
    now_us = desk.now_us()
    async with desk.database.writing() as session:
        customer = await identity.create_customer(session, name, now_us, email=email, limits=limits)
        after = {"name": customer.name, "email": customer.email, **_limits(customer)}
        await record(session, actor, Change("customer.created", f"customer:{customer.id}", after=after), now_us)
    return customer


async def freeze_customer(desk: Desk, actor: Actor, customer_id: str, reason: str, *, is_frozen: bool) -> Customer:
    """Stops a customer's new requests, or allows them again."""
    async with desk.database.writing() as session:
        before = (await identity.customer_by_id(session, customer_id)).is_frozen
        customer = await identity.freeze_customer(session, customer_id, is_frozen=is_frozen)
        change = Change(
            "customer.frozen" if is_frozen else "customer.unfrozen",
            f"customer:{customer_id}",
            before={"is_frozen": before},
            after={"is_frozen": is_frozen},
            reason=reason,
        )
        await record(session, actor, change, desk.now_us())
    desk.authenticator.forget_all()
    return customer


async def create_key(
    desk: Desk, actor: Actor, customer_id: str, label: str, limits: OwnLimits
) -> tuple[ApiKey, Minted]:
    """Adds a key to a customer; its secret is in the answer and nowhere else."""
    now_us = desk.now_us()
    async with desk.database.writing() as session:
        key, minted = await identity.create_key(session, customer_id, label, now_us, limits=limits)
        after = {"customer_id": customer_id, "label": key.label, "prefix": key.prefix, **_limits(key)}
        await record(session, actor, Change("key.created", f"key:{key.id}", after=after), now_us)
    return key, minted


async def revoke_key(desk: Desk, actor: Actor, key_id: str, reason: str) -> ApiKey:
    """Ends a key; revoking it again changes nothing and is not recorded again."""
    now_us = desk.now_us()
    async with desk.database.writing() as session:
        key = await identity.revoke_key(session, key_id, now_us)
        if key.revoked_at_us == now_us:
            change = Change(
                "key.revoked",
                f"key:{key_id}",
                before={"revoked_at_us": None, "prefix": key.prefix, "label": key.label},
                after={"revoked_at_us": now_us},
                reason=reason,
            )
            await record(session, actor, change, now_us)
    desk.authenticator.forget_key(key.secret_sha256)
    return key


async def grant_credit(
    desk: Desk, actor: Actor, customer_id: str, amount: NanoUsd, *, reason: str, idem: str
) -> Transfer:
    """Gives a customer credit, once per ``idem``; the ledger writes its record in the grant's own transaction."""
    async with desk.database.reading() as session:
        await identity.customer_by_id(session, customer_id)
    after = {"amount_usd": format_usd(amount), "idempotency_key": idem}
    change = Change("credit.granted", f"customer:{customer_id}", after=after, reason=reason)
    row = PreparedRow(AuditEvent.__tablename__, record_values(actor, change, desk.now_us()))
    return await desk.ledger.grant(customer_id, amount, reason, idem, rows=(row,))


def _limits(owner: Customer | ApiKey) -> dict[str, Any]:
    return {"rpm": owner.rpm, "tpm": owner.tpm, "concurrency": owner.concurrency}
