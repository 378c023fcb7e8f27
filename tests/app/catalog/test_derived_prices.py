"""Nothing about a price is constant: it follows from profiles, hardware costs and assumptions, and nothing else."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlmodel import select

from app.audit.models import AuditEvent
from app.catalog.derivation import PricedModel, derived_book
from app.catalog.models import PriceBookRow
from app.catalog.service import Publication, derive_and_publish, live_book
from app.db import Database
from pricing.assumptions import Assumptions
from pricing.candidates import FrontierError
from pricing.hardware import HardwareCost
from pricing.profiles import Basis, Configuration, LengthClass, OperatingPoint, Profile, Provenance
from pricing.rating import Quote, quote
from pricing.slo import Tier
from tests.app.catalog.books import ACTOR, T0

HOUR = timedelta(hours=1)
CHAT = LengthClass(1024, 1024)
LOADS = ((1, 5.0, 0.05), (4, 6.0, 0.06), (16, 8.0, 0.1), (64, 14.0, 0.3), (256, 40.0, 0.9))
"""concurrency, TPOT ms, TTFT s."""


def point(concurrency: int, tpot_ms: float, ttft_s: float) -> OperatingPoint:
    tpot_s = tpot_ms / 1000
    output_tok_s = concurrency * 1024 / (ttft_s + 1023 * tpot_s)
    return OperatingPoint(
        lengths=CHAT,
        concurrency=concurrency,
        ttft_s_p50=ttft_s,
        tpot_s_p50=tpot_s,
        output_tok_s=output_tok_s,
        input_tok_s=output_tok_s,
        isl_mean=1024.0,
        osl_mean=1024.0,
        provenance=Provenance("a test", Basis.MEASURED, "own measurement"),
        ttft_s_p99=ttft_s * 2,
        tpot_s_p99=tpot_s * 1.2,
        requests=1000,
    )


def profile(*points: OperatingPoint) -> Profile:
    measured = points or tuple(point(*load) for load in LOADS)
    return Profile("acme/lm", Configuration("b200", 2, "trtllm", "fp4", "tp2ep1"), measured)


def priced(usd_per_hour: float = 4.0, measured: Profile | None = None, margin: float | None = None) -> PricedModel:
    given = Assumptions(lengths=CHAT)
    if margin is not None:
        given = replace(given, margins=dict.fromkeys(Tier, margin))
    costs: Mapping[str, HardwareCost] = {"b200": HardwareCost("b200", usd_per_hour, 2.17, 180.0)}
    return PricedModel("acme/lm", "acme/chat", (measured or profile(),), costs, given)


async def publish(database: Database, model: PricedModel, now: datetime) -> Publication:
    async with database.writing() as session:
        return await derive_and_publish(session, [model], ACTOR, "prices follow costs", now)


async def live_quote(database: Database, now: datetime, tier: Tier = Tier.STANDARD) -> Quote:
    """What a customer is quoted for 1,000 tokens in and 500 out."""
    async with database.reading() as session:
        ladder = (await live_book(session, now)).ladder("acme/chat", tier)
    assert ladder is not None
    return quote(ladder, 1000, 500)


async def test_changing_dollars_per_hour_changes_the_live_quote(database: Database) -> None:
    await publish(database, priced(usd_per_hour=4.0), T0)
    before = await live_quote(database, T0)
    changed = await publish(database, priced(usd_per_hour=8.0), T0 + HOUR)
    assert changed.is_new
    after = await live_quote(database, T0 + HOUR)
    assert after.ceiling == pytest.approx(2 * before.ceiling, rel=0.01)  # cost-plus: twice the cost, twice the price
    assert await live_quote(database, T0) == before  # what was in force then stays so


async def test_changing_one_row_of_a_profile_changes_the_live_quote(database: Database) -> None:
    await publish(database, priced(), T0)
    before = {tier: await live_quote(database, T0, tier) for tier in Tier}
    loads = [(c, tpot * 1.5 if c == 64 else tpot, ttft) for c, tpot, ttft in LOADS]
    slower = profile(*(point(*load) for load in loads))
    changed = await publish(database, priced(measured=slower), T0 + HOUR)
    after = {tier: await live_quote(database, T0 + HOUR, tier) for tier in Tier}
    assert changed.is_new
    assert after != before


async def test_changing_an_assumption_changes_the_live_quote(database: Database) -> None:
    await publish(database, priced(margin=0.2), T0)
    before = await live_quote(database, T0, Tier.BULK)
    await publish(database, priced(margin=0.5), T0 + HOUR)
    after = await live_quote(database, T0 + HOUR, Tier.BULK)
    assert after.ceiling == pytest.approx(before.ceiling * 1.5 / 1.2, rel=0.01)


async def test_deriving_the_same_again_publishes_nothing(database: Database) -> None:
    first = await publish(database, priced(), T0)
    again = await publish(database, priced(), T0 + HOUR)
    assert (first.is_new, again.is_new) == (True, False)
    assert again.book == first.book
    async with database.reading() as session:
        assert len((await session.exec(select(PriceBookRow))).all()) == 1
        assert len((await session.exec(select(AuditEvent))).all()) == 1


async def test_going_back_to_old_costs_publishes_the_old_prices_as_a_new_book(database: Database) -> None:
    first = await publish(database, priced(4.0), T0)
    await publish(database, priced(8.0), T0 + HOUR)
    back = await publish(database, priced(4.0), T0 + 2 * HOUR)
    assert back.is_new
    assert back.book.cards == first.book.cards
    assert back.book.id != first.book.id


async def test_what_cannot_be_priced_publishes_nothing(database: Database) -> None:
    unknown = replace(priced(), hardware_costs={})
    with pytest.raises(FrontierError):
        await publish(database, unknown, T0)
    async with database.reading() as session:
        assert (await session.exec(select(PriceBookRow))).all() == []


def test_a_derived_book_holds_every_model_under_its_public_name() -> None:
    other = replace(priced(8.0), public_name="acme/other")
    derived = derived_book([priced(), other], T0)
    assert derived.models() == ("acme/chat", "acme/other")
    assert derived.tiers("acme/chat") == (Tier.PREMIUM, Tier.STANDARD, Tier.BULK)
