"""Fills the demo market: an operator, a customer with credit and a key, models on sale, the fleet, derived prices.

It runs at every start and changes only what is missing or differs: addresses move from start to start, and an edited
profile or cost gives another price book.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from app.audit.service import Actor
from app.catalog.sale import ModelOnSale
from app.catalog.service import put_on_sale, withdraw
from app.cli import accounts, demo
from app.cli.data_dir import write_private
from app.cli.local_profile import PROVIDER_ID
from app.cli.price_seed import seeding, tell
from app.cli.pricing_inputs import known_costs
from app.cli.supply import Registration, Supply, registrations
from app.clock import now_us
from app.db import Database
from app.fleet.service import deployments_of, register_deployment, register_provider, remove_deployment
from app.identity.models import Customer
from app.identity.repository import operator_by_email
from app.identity.roles import Role
from app.identity.service import OperatorExists
from app.ledger.service import Ledger
from app.planning.service import open_prices
from app.settings import Settings
from pricing.money import usd

ADMIN_EMAIL: Final = "admin@goodput.local"
CUSTOMER_NAME: Final = "Demo customer"
GRANT: Final = usd("25")
ACTOR: Final = Actor("system", "goodput up", "goodput up")
NO_ENGINE: Final = "the market was opened without its local engine"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What opens the demo market; kept in data_dir, mode 0600."""

    admin_email: str
    admin_password: str
    admin_token: str
    api_key: str
    customer_id: str


async def seed(
    database: Database, ledger: Ledger, settings: Settings, supply: Supply, *, is_told_once: bool = False
) -> Credentials | None:
    """Brings the demo market to what it should be, and answers what opens it.

    Args:
        database: at the newest schema.
        ledger: over it.
        settings: name the data directory, where the credentials are kept, and the market's economics.
        supply: who makes tokens.
        is_told_once: leave the operator of an earlier run alone, and answer None then, instead of giving a new
            password where the file of credentials is gone.
    """
    if is_told_once and await _has_operator(database):
        credentials = None
    else:
        credentials = await _people(database, ledger, settings.data_dir / "credentials.json")
    costs = known_costs(settings, [])
    await _models(database, supply)
    await _fleet(database, registrations(settings, supply, costs))
    if supply.engine is None:
        await _without_local_engine(database)
    tell(await open_prices(database, seeding(settings, supply), ACTOR, now_us()))
    return credentials


async def _people(database: Database, ledger: Ledger, file: Path) -> Credentials:
    """Operator, customer, key and credit; made anew where the file or the database lost them."""
    known = _read(file)
    if known is not None and await _exists(database, known.customer_id):
        return known
    operator = await _operator(database)
    customer_id = await accounts.create_customer(database, CUSTOMER_NAME, "", ACTOR)
    _, api_key = await accounts.create_key(database, customer_id, "demo", ACTOR)
    credentials = Credentials(
        admin_email=operator.email,
        admin_password=operator.password,
        admin_token=await accounts.create_admin_token(database, operator.id, "demo", ACTOR),
        api_key=api_key,
        customer_id=customer_id,
    )
    grant = accounts.Grant(customer_id, GRANT, "welcome to the demo market", f"demo:{customer_id}")
    await accounts.grant_credit(database, ledger, grant, ACTOR)
    write_private(file, json.dumps(asdict(credentials), indent=1))
    return credentials


async def _operator(database: Database) -> accounts.NewOperator:
    """The demo's operator with a fresh password, new or of a start that did not get as far as the file."""
    try:
        return await accounts.create_operator(database, ADMIN_EMAIL, Role.ADMIN, ACTOR)
    except OperatorExists:
        operator_id = await accounts.operator_id_of(database, ADMIN_EMAIL)
        password = await accounts.reset_password(database, operator_id, ACTOR)
        return accounts.NewOperator(operator_id, ADMIN_EMAIL, password)


async def _models(database: Database, supply: Supply) -> None:
    at_us = now_us()
    async with database.writing() as session:
        for model in supply.models():
            on_sale = ModelOnSale(
                name=model.name,
                title=model.title,
                description=model.description,
                owned_by=model.owned_by,
                context_max=model.context_max,
                bytes_per_token=demo.BYTES_PER_TOKEN,
                created_at_us=at_us,
            )
            await put_on_sale(session, on_sale, ACTOR, at_us)


async def _fleet(database: Database, wanted: list[Registration]) -> None:
    at_us = now_us()
    async with database.writing() as session:
        for each in wanted:
            await register_provider(session, each.spec.provider_id, each.provider_name, ACTOR, at_us)
            await register_deployment(session, each.spec, ACTOR, at_us)


async def _without_local_engine(database: Database) -> None:
    """Takes the local engine and its model off sale, where an earlier start had them."""
    at_us = now_us()
    async with database.writing() as session:
        for offer_id in await deployments_of(session, PROVIDER_ID):
            await remove_deployment(session, offer_id, ACTOR, NO_ENGINE, at_us)
        await withdraw(session, demo.LOCAL, ACTOR, NO_ENGINE, at_us)


async def _has_operator(database: Database) -> bool:
    async with database.reading() as session:
        return await operator_by_email(session, ADMIN_EMAIL) is not None


async def _exists(database: Database, customer_id: str) -> bool:
    async with database.reading() as session:
        return await session.get(Customer, customer_id) is not None


def _read(file: Path) -> Credentials | None:
    try:
        return Credentials(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return None
