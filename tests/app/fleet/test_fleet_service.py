from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select

from app.audit.models import AuditEvent
from app.db import Database
from app.fleet.models import DeploymentRow
from app.fleet.repository import columns_of, read_roster
from app.fleet.roster import RosterError, State
from app.fleet.service import (
    FleetChanged,
    NotInFleet,
    StateChange,
    change_deployment_state,
    change_provider_state,
    deployments_of,
    register_deployment,
    register_provider,
    remove_deployment,
)
from tests.app.fleet.rosters import ACTOR, B200, H100, T0_US


async def register(database: Database) -> None:
    async with database.writing() as session:
        for n, spec in enumerate((B200, H100)):
            await register_provider(session, spec.provider_id, spec.provider_id.title(), ACTOR, T0_US + n * 2000)
            await register_deployment(session, spec, ACTOR, T0_US + n * 2000 + 1000)


async def events(database: Database) -> list[AuditEvent]:
    async with database.reading() as session:
        return list((await session.exec(select(AuditEvent).order_by(col(AuditEvent.at_us)))).all())


async def test_a_registered_fleet_reads_back_as_it_was_described(database: Database) -> None:
    await register(database)
    async with database.reading() as session:
        roster = await read_roster(session)
        assert await deployments_of(session, "cluster-b200") == [B200.id]
    assert [each.spec for each in roster.deployed] == [B200, H100]
    assert {each.decided for each in roster.deployed} == {State.ENABLED}
    assert roster.deployed[0].provider_name == "Cluster-B200"
    assert [event.action for event in await events(database)] == ["provider.registered", "deployment.registered"] * 2


async def test_registering_again_changes_only_what_differs_and_keeps_the_operators_decision(database: Database) -> None:
    await register(database)
    moved = replace(B200, base_url="http://127.0.0.1:9100/v1")
    async with database.writing() as session:
        change = StateChange(State.DRAINING, "maintenance")
        await change_deployment_state(session, B200.id, change, ACTOR, T0_US + 10_000)
        assert not await register_provider(session, "cluster-b200", "Cluster-B200", ACTOR, T0_US + 20_000)
        assert not await register_deployment(session, B200, ACTOR, T0_US + 20_000)
        assert await register_deployment(session, moved, ACTOR, T0_US + 30_000)
    async with database.reading() as session:
        (first, _) = (await read_roster(session)).deployed
    assert (first.spec, first.state, first.version) == (moved, State.DRAINING, (3, 1))
    last = (await events(database))[-1]
    assert last.action == "deployment.changed"
    assert last.before == {"base_url": B200.base_url}
    assert last.after == {"base_url": moved.base_url}


async def test_a_provider_is_drained_disabled_and_enabled_with_all_it_runs_each_audited(database: Database) -> None:
    await register(database)
    for n, state in enumerate((State.DRAINING, State.DISABLED, State.ENABLED)):
        async with database.writing() as session:
            change = StateChange(state, f"reason {n}")
            await change_provider_state(session, "cluster-b200", change, ACTOR, T0_US + 10_000 + n * 1000)
        async with database.reading() as session:
            roster = await read_roster(session)
        assert [each.decided for each in roster.deployed] == [state, State.ENABLED]
        assert [each.state for each in roster.deployed] == [State.ENABLED, State.ENABLED]
    told = [(event.action, event.before, event.after, event.reason) for event in (await events(database))[-3:]]
    assert told == [
        ("provider.drained", {"state": "enabled"}, {"state": "draining"}, "reason 0"),
        ("provider.disabled", {"state": "draining"}, {"state": "disabled"}, "reason 1"),
        ("provider.enabled", {"state": "disabled"}, {"state": "enabled"}, "reason 2"),
    ]


async def test_a_decision_about_what_was_changed_meanwhile_is_refused_with_both_versions(database: Database) -> None:
    await register(database)
    async with database.writing() as session:
        row = await change_deployment_state(session, B200.id, StateChange(State.DRAINING, version=1), ACTOR, T0_US)
        assert (row.state, row.version) == ("draining", 2)
    with pytest.raises(FleetChanged, match="you saw version 1, it is at version 2 and draining now") as caught:
        async with database.writing() as session:
            await change_deployment_state(session, B200.id, StateChange(State.DISABLED, version=1), ACTOR, T0_US)
    assert caught.value.status == 409
    assert len(await events(database)) == 5


async def test_what_is_not_in_the_fleet_is_told_so(database: Database) -> None:
    async with database.writing() as session:
        for attempt in (
            change_provider_state(session, "nobody", StateChange(State.DRAINING), ACTOR, T0_US),
            change_deployment_state(session, "nobody/x", StateChange(State.DRAINING), ACTOR, T0_US),
            register_deployment(session, B200, ACTOR, T0_US),
        ):
            with pytest.raises(NotInFleet, match="There is no") as caught:
                await attempt
            assert caught.value.status == 404
        assert not await remove_deployment(session, "nobody/x", ACTOR, "", T0_US)
    assert await events(database) == []


@pytest.mark.parametrize(("provider_id", "name"), [("Not A Slug", "n"), ("ok", " "), ("ok", "x" * 201)])
async def test_a_provider_without_a_proper_id_and_name_is_refused(
    database: Database, provider_id: str, name: str
) -> None:
    async with database.writing() as session:
        with pytest.raises(RosterError):
            await register_provider(session, provider_id, name, ACTOR, T0_US)


async def test_a_removed_deployment_is_gone_and_the_removal_recorded(database: Database) -> None:
    await register(database)
    async with database.writing() as session:
        assert await remove_deployment(session, B200.id, ACTOR, "sold", T0_US + 10_000)
    async with database.reading() as session:
        assert [each.id for each in (await read_roster(session)).deployed] == [H100.id]
    last = (await events(database))[-1]
    assert (last.action, last.subject, last.reason) == ("deployment.removed", f"deployment:{B200.id}", "sold")


async def test_one_bad_row_is_told_and_does_not_take_the_fleet_down(database: Database) -> None:
    await register(database)
    async with database.writing() as session:
        row = await session.get(DeploymentRow, B200.id)
        assert row is not None
        row.speed = {"concurrency": []}
        session.add(row)
    async with database.reading() as session:
        roster = await read_roster(session)
    assert [each.id for each in roster.deployed] == [H100.id]
    assert "not a stored speed curve" in roster.troubles[B200.id]


@pytest.mark.parametrize(
    "wrong",
    [{"state": "asleep"}, {"concurrency_max": 0}, {"cost_output": -1}, {"provider_id": "nobody"}],
)
async def test_the_database_itself_refuses_rows_that_make_no_sense(database: Database, wrong: dict[str, Any]) -> None:
    await register(database)
    columns: dict[str, Any] = {**columns_of(B200), "id": "cluster-b200/z", "deployment_id": "z", **wrong}
    with pytest.raises(IntegrityError):
        async with database.writing() as session:
            session.add(DeploymentRow(**columns, created_at_us=T0_US, updated_at_us=T0_US))
