"""Supply on PostgreSQL: the queries, locks and constraints that SQLite's tests cannot vouch for."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from app.audit.service import Actor
from app.catalog.sale import ModelOnSale
from app.catalog.service import put_on_sale
from app.db import Database
from app.fleet.consumed_cache import ConsumedCache
from app.fleet.contract_store import end, sign
from app.fleet.contracts import Allotment, Basis, Consumed, Contract, ContractError
from app.fleet.credential_store import note_refused, reseal, set_credential
from app.fleet.models import DeploymentRow, ProviderCredential
from app.fleet.repository import columns_of, read_roster
from app.fleet.service import register_deployment, register_provider, remove_deployment, remove_provider
from app.fleet.statement_store import statement
from app.fleet.vault import Vault
from app.identity.service import create_customer
from app.tuning.repository import caps, owners
from app.tuning.service import approve, request_model, withdraw_model
from app.tuning.tuned import Approval, Wish
from migrations.run import migrate
from pricing.money import Rate
from pricing.usage import Rates
from tests.app.console.market_fixtures import event
from tests.app.fleet.rosters import ACTOR, B200, T0_US

pytest_plugins = ("tests.postgres",)
pytestmark = [pytest.mark.slow, pytest.mark.postgres]
RATES = Rates(Rate(300_000), Rate(30_000), Rate(300_000), Rate(900_000))
TERMS = Contract("cluster-b200", Basis.BOUGHT, T0_US, None, rates=RATES, allotment=Allotment(tokens_max=200))


async def supply_side(database: Database) -> None:
    vault = Vault("market secret")
    async with database.writing() as session:
        await register_provider(session, "cluster-b200", "B200", ACTOR, T0_US)
        await register_deployment(session, B200, ACTOR, T0_US)
        first = await set_credential(session, vault, "cluster-b200", "sk-first-0123456789abcdef", ACTOR, T0_US)
        second = await set_credential(session, vault, "cluster-b200", "sk-second-0123456789abcdef", ACTOR, T0_US + 1)
        assert not await note_refused(session, first.id, "401", T0_US + 2)
        assert await note_refused(session, second.id, "401", T0_US + 2)
        assert await reseal(session, Vault("new", ("market secret",)), ACTOR, T0_US + 3) == 1
        contract = await sign(session, TERMS, ACTOR, T0_US)
        with pytest.raises(ContractError):
            await sign(session, TERMS, ACTOR, T0_US)
        session.add(event("gen-1", T0_US + 5, provider_id="cluster-b200", offer_id=B200.id, model=B200.model))
    async with database.snapshot() as session:
        (deployed,) = (await read_roster(session, T0_US + 6)).deployed
        assert deployed.trouble.startswith("credential refused: 401")
        assert deployed.contract == contract
        told = await statement(session, "cluster-b200", T0_US, T0_US + 10, T0_US + 20)
        assert (told.owed, told.lines[0].delivered[0].requests) == (40_000_000, 1)
        assert await ConsumedCache().read(session, [contract], T0_US + 6) == {contract.id: Consumed(1, 150)}
    async with database.writing() as session:
        assert (await end(session, contract.id, T0_US + 7, ACTOR, "over", T0_US + 7)).ends_at_us == T0_US + 7


async def a_second_credential_in_use(database: Database) -> None:
    async with database.writing() as session:
        for number in range(2):
            row: Any = {"id": f"crd_{number}", "provider_id": "cluster-b200", "sealed": "x", "fingerprint": "f"}
            session.add(ProviderCredential(**row, created_at_us=T0_US))


async def tuned_models(database: Database) -> None:
    async with database.writing() as session:
        customer = await create_customer(session, "Acme", T0_US)
        actor = Actor("customer", customer.id)
        await put_on_sale(session, ModelOnSale(B200.model, "One", 4096, T0_US), actor, T0_US)
        row = await request_model(session, customer.id, Wish("bot", B200.model, "bot"), actor, T0_US)
        approved = await approve(session, row.id, Approval((B200.id,), rpm=5, concurrency=2), ACTOR, T0_US)
    async with database.reading() as session:
        assert (await owners(session))[approved.name] == customer.id
        assert (await caps(session))[approved.name].rpm == 5
        models = {each.spec.model for each in (await read_roster(session)).deployed}
        assert models == {B200.model, approved.name}
    async with database.writing() as session:
        await withdraw_model(session, approved.name, "over", actor, T0_US, customer_id=customer.id)
        toy: dict[str, Any] = {**columns_of(replace(B200, deployment_id="toy")), "kind": "toy"}
        session.add(DeploymentRow(**toy, created_at_us=T0_US, updated_at_us=T0_US))


async def leaving(database: Database) -> None:
    async with database.writing() as session:
        await register_provider(session, "acme", "Acme", ACTOR, T0_US)
        await set_credential(session, Vault("s"), "acme", "sk-first-0123456789abcdef", ACTOR, T0_US)
        await remove_provider(session, "acme", ACTOR, "gone", T0_US)
        assert await remove_deployment(session, "cluster-b200/toy", ACTOR, "gone", T0_US)


def test_the_supply_side_works_on_postgresql(postgres_url: str) -> None:
    migrate(postgres_url)

    async def run() -> None:
        database = Database(postgres_url)
        try:
            await supply_side(database)
            with pytest.raises(IntegrityError):
                await a_second_credential_in_use(database)
            await tuned_models(database)
            await leaving(database)
        finally:
            await database.close()

    asyncio.run(run())
