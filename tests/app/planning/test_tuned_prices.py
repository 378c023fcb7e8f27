"""A tuned model that was approved is derived with all others, at what was agreed, until it ends."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlmodel import select

from app.admin.supply_bodies import ApprovalBody
from app.admin.supply_service import decide_tuned, withdraw_tuned
from app.audit.models import AuditEvent
from app.audit.service import Actor
from app.catalog.draft_store import Draft
from app.catalog.service import live_book
from app.db import Database
from app.errors import MarketError
from app.fleet.vault import Vault
from app.identity.service import create_customer
from app.planning.priced import PricedModelSpec, Serving
from app.planning.priced_store import priced_models_at, set_priced_model
from app.planning.service import derive_now, propose
from app.tuning.service import request_model, withdraw_model
from app.tuning.tuned import Wish
from pricing.pricebook import PriceBook, RateCard
from pricing.slo import Tier
from tests.app.planning.planning_market import (
    ADA,
    HOUR_US,
    MODEL,
    OFFER,
    PROFILED,
    SHIPPED,
    SPEC,
    T0_US,
    at,
    deploy,
    set_market,
    set_up,
)

APPROVED_US = T0_US + HOUR_US
LATER_US = APPROVED_US + HOUR_US


@dataclass
class Desk:
    """What an operator's decision needs, at the moment of approval."""

    database: Database
    vault: Vault = field(default_factory=lambda: Vault("a test's secret"))
    now_us: Callable[[], int] = lambda: APPROVED_US


async def asked_for(database: Database) -> tuple[str, str]:
    """A base that is priced and served, and a customer's wish for a model tuned from it; whose it is, and its name."""
    await set_up(database)
    await deploy(database, T0_US)
    async with database.writing() as session:
        customer = await create_customer(session, "Acme", T0_US)
        wish = Wish("bot", MODEL, "acme-bot")
        row = await request_model(session, customer.id, wish, Actor("customer", customer.id), T0_US)
        return customer.id, row.name


async def approved(database: Database, **terms: Any) -> str:
    _, name = await asked_for(database)
    await approve(database, name, **terms)
    return name


async def approve(database: Database, name: str, **terms: Any) -> None:
    body = ApprovalBody.model_validate({"offers": [OFFER], "reason": "welcome", **terms})
    await decide_tuned(Desk(database), ADA, name, body)


async def proposed(database: Database, at_us: int = LATER_US, actor: Actor = ADA) -> Draft:
    found = await derive_now(database, at_us, SHIPPED)
    async with database.writing() as session:
        draft = await propose(session, at(at_us), found, actor=actor)
    assert draft is not None
    return draft


async def live(database: Database, at_us: int = LATER_US) -> PriceBook:
    async with database.reading() as session:
        return await live_book(session, at(at_us))


async def specs(database: Database) -> dict[str, PricedModelSpec]:
    async with database.reading() as session:
        return {spec.public_name: spec for spec in await priced_models_at(session, LATER_US)}


def cards(book: PriceBook | Draft, model: str) -> dict[Tier, RateCard]:
    return {card.rung.tier: card for card in book.cards.values() if card.model == model}


async def test_prices_that_were_agreed_outlive_a_derivation_with_tiers_adder_and_promises(database: Database) -> None:
    terms: dict[str, Any] = {"slowdown": "1.1", "cost_factor": "1.2", "price_factor": "1.5"}
    name = await approved(database, tiers=["standard", "bulk"], **terms)
    sold = cards(await live(database), name)
    assert set(sold) == {Tier.STANDARD, Tier.BULK}
    await set_market(database, "margin", 0.8, LATER_US - 1)  # the base's prices move, what was agreed does not
    draft = await proposed(database)
    base, tuned = cards(draft, MODEL), cards(draft, name)
    assert base[Tier.STANDARD].rung.rates != cards(await live(database), MODEL)[Tier.STANDARD].rung.rates
    assert {tier: card.rung.rates for tier, card in tuned.items()} == {
        tier: card.rung.rates for tier, card in sold.items()
    }
    assert tuned[Tier.STANDARD].cost.output == pytest.approx(1.2 * base[Tier.STANDARD].cost.output, rel=1e-4)
    over = 1.1 * base[Tier.BULK].cost.output + 0.1 * base[Tier.STANDARD].cost.output
    assert tuned[Tier.BULK].cost.output == pytest.approx(over, rel=1e-4)
    assert tuned[Tier.STANDARD].rung.slo.tpot_us > base[Tier.STANDARD].rung.slo.tpot_us
    assert tuned[Tier.BULK].rung.slo == base[Tier.BULK].rung.slo
    spec = (await specs(database))[name]
    assert (spec.profiled_as, spec.serving, spec.lengths) == (PROFILED, Serving.SHARED, SPEC.lengths)
    assert spec.adder.slowdown == 1.1


async def test_without_agreed_prices_they_follow_its_own_cost(database: Database) -> None:
    name = await approved(database, cost_factor="1.5")
    assert cards(await live(database), name) == {}
    draft = await proposed(database)
    base, tuned = cards(draft, MODEL), cards(draft, name)
    assert set(tuned) == set(base)
    ratio = tuned[Tier.STANDARD].rung.rates.output / base[Tier.STANDARD].rung.rates.output
    assert ratio > 1.3  # half of the standard tier's cost again, less what late tokens of it earn
    assert tuned[Tier.STANDARD].rung.slo == base[Tier.STANDARD].rung.slo


@pytest.mark.parametrize("who", ["operator", "customer"])
async def test_a_tuned_model_that_ended_is_in_no_further_derivation(database: Database, who: str) -> None:
    customer_id, name = await asked_for(database)
    await approve(database, name, price_factor="1.5")
    if who == "operator":
        await withdraw_tuned(Desk(database), ADA, name, "over")
        assert set(await specs(database)) == {MODEL}
    else:
        async with database.writing() as session:
            actor = Actor("customer", customer_id)
            await withdraw_model(session, name, "over", actor, APPROVED_US, customer_id=customer_id)
    draft = await proposed(database)
    assert {card.model for card in draft.cards.values()} == {MODEL}
    assert cards(await live(database), name) != {}


async def test_one_that_is_approved_again_is_priced_again(database: Database) -> None:
    name = await approved(database, price_factor="1.5")
    await withdraw_tuned(Desk(database), ADA, name, "over")
    desk = Desk(database, now_us=lambda: APPROVED_US + 1)
    body = ApprovalBody(offers=[OFFER], reason="again", price_factor="2")  # pyright: ignore[reportArgumentType]
    await decide_tuned(desk, ADA, name, body)
    draft = await proposed(database)
    assert cards(draft, name)[Tier.BULK].rung.rates == cards(await live(database), name)[Tier.BULK].rung.rates


async def test_an_approval_that_fails_prices_nothing(database: Database) -> None:
    _, name = await asked_for(database)
    for terms in ({"offers": ["cluster/nothing"]}, {"slowdown": "1", "cost_factor": "1", "base_url": "http://x/v1"}):
        with pytest.raises(MarketError):
            await approve(database, name, **terms)
    assert set(await specs(database)) == {MODEL}


async def test_a_base_with_prices_made_by_hand_has_tuned_models_with_such(database: Database) -> None:
    _, name = await asked_for(database)
    async with database.writing() as session:
        await set_priced_model(session, PricedModelSpec(MODEL, PROFILED, is_priced=False), ADA, "by hand", T0_US + 1)
    await approve(database, name, price_factor="1.5")
    assert set(cards(await live(database), name)) == set(cards(await live(database), MODEL))
    assert await specs(database) == {}


async def test_the_audit_names_who_asked_for_a_derivation(database: Database) -> None:
    await asked_for(database)
    await set_market(database, "margin", 0.8, LATER_US - 1)
    draft = await proposed(database)
    assert draft.created_by == ADA.name
    async with database.reading() as session:
        found = (await session.exec(select(AuditEvent).where(AuditEvent.subject == f"price_draft:{draft.id}"))).all()
    assert [record.actor_id for record in found] == [ADA.id]
