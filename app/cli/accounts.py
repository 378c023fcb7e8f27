"""What commands do to customers, keys and operators: a service's call and its audit record in one transaction."""

import secrets
from dataclasses import dataclass

from sqlmodel import col, select

from app.audit.service import Actor, Change, record
from app.clock import now_us
from app.db import Database
from app.identity import service
from app.identity.models import Customer
from app.identity.passwords import Passwords
from app.identity.repository import operator_by_email
from app.identity.roles import Role
from app.ledger.operations import Transfer
from app.ledger.repository import balance
from app.ledger.service import Ledger
from pricing.money import NanoUsd, format_usd

PASSWORD_BYTES = 15


@dataclass(frozen=True, slots=True)
class NewOperator:
    """An operator just made; the password is nowhere else."""

    id: str
    email: str
    password: str


def new_password() -> str:
    """A password that nobody guesses: 120 random bits."""
    return secrets.token_urlsafe(PASSWORD_BYTES)


async def create_operator(database: Database, email: str, role: Role, actor: Actor) -> NewOperator:
    """Adds an operator with a random password."""
    password = new_password()
    at_us = now_us()
    async with database.writing() as session:
        row = await service.create_operator(session, email, Passwords().hash(password), role, at_us)
        change = Change("operator.created", f"operator:{row.id}", after={"email": row.email, "role": role.value})
        await record(session, actor, change, at_us)
        return NewOperator(row.id, row.email, password)


async def reset_password(database: Database, operator_id: str, actor: Actor) -> str:
    """Gives an operator another random password and signs out all their browsers."""
    password = new_password()
    at_us = now_us()
    async with database.writing() as session:
        row = await service.set_password(session, operator_id, Passwords().hash(password))
        await record(session, actor, Change("operator.password_reset", f"operator:{row.id}"), at_us)
    return password


async def create_admin_token(database: Database, operator_id: str, label: str, actor: Actor) -> str:
    """Adds a bearer token for the operators' API and answers its secret."""
    at_us = now_us()
    async with database.writing() as session:
        row, minted = await service.create_admin_token(session, operator_id, label, at_us)
        change = Change("admin_token.created", f"operator:{operator_id}", after={"token": row.id, "label": row.label})
        await record(session, actor, change, at_us)
        return minted.secret


async def create_customer(database: Database, name: str, email: str, actor: Actor) -> str:
    """Adds a customer and answers their id."""
    at_us = now_us()
    async with database.writing() as session:
        row = await service.create_customer(session, name, at_us, email=email)
        await record(session, actor, Change("customer.created", f"customer:{row.id}", after={"name": row.name}), at_us)
        return row.id


async def create_key(database: Database, customer_id: str, label: str, actor: Actor) -> tuple[str, str]:
    """Adds an API key and answers its id and its secret."""
    at_us = now_us()
    async with database.writing() as session:
        row, minted = await service.create_key(session, customer_id, label, at_us)
        change = Change("key.created", f"customer:{customer_id}", after={"key": row.id, "label": row.label})
        await record(session, actor, change, at_us)
        return row.id, minted.secret


@dataclass(frozen=True, slots=True)
class Grant:
    """Credit to give; ``idem`` makes it happen once."""

    customer_id: str
    amount: NanoUsd
    reason: str
    idem: str


async def grant_credit(database: Database, ledger: Ledger, grant: Grant, actor: Actor) -> Transfer:
    """Gives a known customer credit, then records who did."""
    async with database.reading() as session:
        await service.customer_by_id(session, grant.customer_id)
    transfer = await ledger.grant(grant.customer_id, grant.amount, grant.reason, grant.idem)
    after = {"usd": format_usd(grant.amount), "idem": grant.idem}
    async with database.writing() as session:
        change = Change("credit.granted", f"customer:{grant.customer_id}", after=after, reason=grant.reason)
        await record(session, actor, change, now_us())
    return transfer


async def revoke_key(database: Database, key_id: str, actor: Actor) -> None:
    """Ends an API key."""
    at_us = now_us()
    async with database.writing() as session:
        row = await service.revoke_key(session, key_id, at_us)
        await record(session, actor, Change("key.revoked", f"customer:{row.customer_id}", after={"key": key_id}), at_us)


async def operator_id_of(database: Database, email: str) -> str:
    """The id of the operator with that address.

    Raises:
        UnknownSubject: there is none.
    """
    async with database.reading() as session:
        row = await operator_by_email(session, service.normal_email(email))
    if row is None:
        raise service.UnknownSubject("operator", email)
    return row.id


async def customers(database: Database, rows_max: int) -> list[dict[str, str]]:
    """The newest customers and what each may still spend."""
    async with database.snapshot() as session:
        rows = (await session.exec(select(Customer).order_by(col(Customer.id).desc()).limit(rows_max))).all()
        balances = {row.id: await balance(session, row.id) for row in rows}
    return [
        {
            "id": row.id,
            "name": row.name,
            "available_usd": format_usd(balances[row.id].available),
            "held_usd": format_usd(balances[row.id].held),
        }
        for row in rows
    ]
