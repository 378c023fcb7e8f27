"""Inputs over time in a real database: dated, never changed, and a past derivation that can be made again."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlmodel import col, select, update

from app.audit.models import AuditEvent
from app.db import Database
from app.planning.derivation import derived
from app.planning.input_rules import InputError
from app.planning.input_store import history, inputs_at, set_input, write_defaults
from app.planning.inputs import Revision, Source
from app.planning.models import PricedModelRow, PricingInputRow
from app.planning.priced import Serving
from app.planning.priced_store import priced_models_at, seed_priced_model, set_priced_model
from migrations.run import migrate
from pricing.assumptions import Adder
from tests.app.planning.planning_market import ADA, HOUR_US, SHIPPED, SPEC, START, T0_US, set_market, set_up

pytest_plugins = ("tests.postgres",)


async def value(database: Database, at_us: int, name: str = "utilisation") -> object:
    async with database.reading() as session:
        return (await inputs_at(session, at_us)).value(name, ["market"], None)


async def test_a_past_derivation_can_be_made_again(database: Database) -> None:
    await set_up(database)

    async def cards_at(at_us: int) -> object:
        async with database.reading() as session:
            specs, given = await priced_models_at(session, at_us), await inputs_at(session, at_us)
        return derived(specs, given, SHIPPED).cards

    then = await cards_at(T0_US)
    await set_market(database, "utilisation", 0.3, T0_US + HOUR_US)
    async with database.writing() as session:
        slower = replace(SPEC, serving=Serving.SHARED, adder=Adder(slowdown=1.5))
        await set_priced_model(session, slower, ADA, "a test", T0_US + HOUR_US)
    assert await cards_at(T0_US + HOUR_US) != then
    assert await cards_at(T0_US) == then
    assert await cards_at(T0_US + HOUR_US - 1) == then


async def test_a_revision_is_never_changed(database: Database) -> None:
    await set_up(database)
    for table in (PricingInputRow, PricedModelRow):
        with pytest.raises(DBAPIError, match="append-only"):
            async with database.writing() as session:
                await session.exec(update(table).values({"reason": "another"}))


async def test_a_scheduled_figure_applies_from_its_moment(database: Database) -> None:
    await set_market(database, "utilisation", 0.5, T0_US)
    await set_market(database, "utilisation", 0.8, T0_US, effective_at_us=T0_US + 10 * HOUR_US)
    await set_market(database, "utilisation", 0.6, T0_US + HOUR_US)
    found = [await value(database, T0_US + hour * HOUR_US) for hour in (0, 1, 9, 10)]
    assert found == [0.5, 0.6, 0.6, 0.8]


async def test_nothing_is_backdated(database: Database) -> None:
    await set_market(database, "utilisation", 0.5, T0_US, effective_at_us=T0_US - 10 * HOUR_US)
    assert [await value(database, T0_US - 1), await value(database, T0_US)] == [None, 0.5]


async def test_a_refused_value_is_not_stored(database: Database) -> None:
    with pytest.raises(InputError, match="above 0, at most 1"):
        await set_market(database, "utilisation", 2.0, T0_US)
    async with database.reading() as session:
        assert await history(session) == []


async def test_who_set_what_and_why_is_in_history_and_audit(database: Database) -> None:
    await set_market(database, "utilisation", 0.5, T0_US)
    await set_market(database, "utilisation", 0.7, T0_US + 1)
    async with database.reading() as session:
        latest, first = await history(session, "market", "utilisation")
        audited = (await session.exec(select(AuditEvent).order_by(col(AuditEvent.at_us)))).all()
    assert (latest.value, latest.actor, latest.source, latest.is_pinned) == (0.7, ADA.name, Source.OPERATOR, True)
    assert first.value == 0.5
    assert audited[-1].subject == "pricing_input:market/utilisation"
    assert (audited[-1].before["value"], audited[-1].after["value"]) == (0.5, 0.7)


async def test_a_period_is_stored_once_however_often_it_is_written(database: Database) -> None:
    metered = Revision("market", "utilisation", 0.5, Source.METERED, T0_US, T0_US, "", "metered", {}, once="metered:1")
    async with database.writing() as session:
        assert await set_input(session, metered, START) is not None
        assert await set_input(session, replace(metered, value=0.4), START) is None
    assert await value(database, T0_US) == 0.5


async def test_settings_become_defaults_that_a_changed_setting_replaces(database: Database) -> None:
    async def begin(at_us: int, utilisation: float) -> int:
        async with database.writing() as session:
            return len(await write_defaults(session, {("market", "utilisation"): utilisation}, START, at_us))

    assert [await begin(T0_US, 0.6), await begin(T0_US + 1, 0.6), await begin(T0_US + 2, 0.7)] == [1, 0, 1]
    metered = Revision("market", "utilisation", 0.5, Source.METERED, T0_US + 3, T0_US + 3, "", "metered", {}, once="m")
    async with database.writing() as session:
        await set_input(session, metered, START)
    assert await begin(T0_US + 4, 0.7) == 0  # the setting is as it was: what was metered stays
    assert await value(database, T0_US + 4) == 0.5
    assert await begin(T0_US + 5, 0.8) == 1
    assert await value(database, T0_US + 5) == 0.8
    await set_market(database, "utilisation", 0.9, T0_US + 6)
    assert await begin(T0_US + 7, 0.4) == 0  # an operator's own figure stays
    assert await value(database, T0_US + 7) == 0.9


async def test_a_start_leaves_a_model_as_an_operator_described_it(database: Database) -> None:
    async def specs() -> list[object]:
        async with database.reading() as session:
            return list(await priced_models_at(session, T0_US + HOUR_US))

    mine = replace(SPEC, deployment_ids=frozenset({"x"}))
    async with database.writing() as session:
        assert await seed_priced_model(session, SPEC, START, "", T0_US)
        assert not await seed_priced_model(session, SPEC, START, "", T0_US)
        assert await set_priced_model(session, mine, ADA, "", T0_US + 1)
        assert not await seed_priced_model(session, SPEC, START, "", T0_US + 2)
    assert await specs() == [mine]
    async with database.writing() as session:
        await set_priced_model(session, replace(mine, is_priced=False), ADA, "", T0_US + 3)
    assert await specs() == []


async def many_at_once(database: Database) -> None:
    """Eight writers of one input: each gets a revision of its own."""
    await asyncio.gather(*(set_market(database, "utilisation", 0.1 * n, T0_US) for n in range(1, 9)))
    async with database.reading() as session:
        found = await history(session)
    assert sorted(each.sequence for each in found) == list(range(1, 9))
    assert {round(each.value, 1) for each in found} == {round(0.1 * n, 1) for n in range(1, 9)}


async def test_writers_at_once_all_get_their_revision(database: Database) -> None:
    await many_at_once(database)


@pytest.mark.slow
@pytest.mark.postgres
async def test_writers_at_once_all_get_their_revision_on_postgres(postgres_url: str) -> None:
    await asyncio.to_thread(migrate, postgres_url)
    database = Database(postgres_url)
    try:
        await many_at_once(database)
    finally:
        await database.close()


def test_the_migrated_tables_are_those_in_code(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'market.sqlite3'}"
    migrate(url)

    async def tables() -> set[str]:
        database = Database(url)
        try:
            async with database.reading() as session:
                found = await session.exec(text("SELECT name FROM sqlite_master WHERE type IN ('table', 'trigger')"))  # pyright: ignore[reportCallIssue, reportArgumentType]
                return {row[0] for row in found.all()}
        finally:
            await database.close()

    expected = {"priced_model", "pricing_input", "plan_proposal", "planning_state"}
    guards = {f"{name}_no_{what}" for name in expected - {"planning_state"} for what in ("update", "delete")}
    assert expected | guards <= asyncio.run(tables())
