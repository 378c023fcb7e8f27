"""Credentials at rest: set, refused, replaced, removed, sealed anew; and nowhere to be read."""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
from sqlmodel import col, select

from app.audit.models import AuditEvent
from app.db import Database
from app.fleet.credential_store import remove_credential, reseal, set_credential
from app.fleet.fleet_view import FleetView
from app.fleet.lease_store import InProcessLeaseStore
from app.fleet.live_client import LiveClients
from app.fleet.models import ProviderCredential
from app.fleet.roster import State
from app.fleet.service import NotInFleet, StateChange, change_provider_state, register_deployment, register_provider
from app.fleet.vault import Vault, VaultError
from providers.base import Provider
from providers.errors import ProviderCredentialRejected
from providers.spec import ProviderSpec
from scheduler.breaker import BreakerState
from tests.app.fleet.lease_benches import FakeClock
from tests.app.fleet.rosters import ACTOR, B200, FakeProvider

SECRET, OTHER = "sk-live-7f3a9c1d5e8b2f4a6c0d", "sk-live-aaaaaaaaaaaaaaaaaaaa"
VAULT = Vault("market secret")


@dataclass
class Scene:
    view: FleetView
    database: Database
    built: list[FakeProvider]
    clock: FakeClock

    async def set(self, secret: str) -> ProviderCredential:
        async with self.database.writing() as session:
            return await set_credential(session, VAULT, "cluster-b200", secret, ACTOR, self.clock())

    def refuse(self, credential_id: str) -> None:
        error = ProviderCredentialRejected("cluster-b200", "HTTP 401: no such key", 401)
        error.credential_id = credential_id
        self.view.failed(B200.id, error)

    @property
    def is_on_offer(self) -> bool:
        return B200.id not in self.view.fleet.closed

    @property
    def key(self) -> str | None:
        provider = self.view.provider(B200.id)
        assert isinstance(provider, FakeProvider)
        return provider.spec.api_key


def view_of(database: Database, vault: Vault, built: list[FakeProvider], clock: FakeClock) -> FleetView:
    def build(given: ProviderSpec) -> Provider:
        built.append(FakeProvider(given))
        return built[-1]

    return FleetView(database, InProcessLeaseStore(clock), LiveClients({}, build, vault), clock)


@pytest.fixture
async def scene(database: Database) -> AsyncIterator[Scene]:
    built: list[FakeProvider] = []
    clock = FakeClock()
    async with database.writing() as session:
        await register_provider(session, "cluster-b200", "B200", ACTOR, clock())
        await register_deployment(session, B200, ACTOR, clock())
    view = view_of(database, VAULT, built, clock)
    await view.refresh()
    yield Scene(view, database, built, clock)
    await view.close()


async def test_a_running_market_sends_a_credential_that_was_set_without_restart(scene: Scene) -> None:
    assert scene.key is None
    await scene.set(SECRET)
    await scene.view.refresh()
    assert scene.key == SECRET


async def test_a_refused_credential_takes_the_offer_out_everywhere_until_another_is_set(scene: Scene) -> None:
    row = await scene.set(SECRET)
    await scene.view.refresh()
    scene.refuse(row.id)
    assert not scene.is_on_offer  # at once in this process
    await scene.view.refresh()
    other = view_of(scene.database, VAULT, [], scene.clock)
    await other.refresh()
    assert B200.id in other.fleet.closed
    assert other.standings()[0].deployments[0].trouble.startswith("credential refused: HTTP 401: no such key")
    await other.close()
    scene.clock.advance(1)
    await scene.set(OTHER)
    await scene.view.refresh()
    assert scene.is_on_offer
    assert scene.key == OTHER


async def test_the_late_refusal_of_a_replaced_credential_leaves_the_new_one_in_use(scene: Scene) -> None:
    old = await scene.set(SECRET)
    await scene.view.refresh()
    scene.clock.advance(1)
    await scene.set(OTHER)
    await scene.view.refresh()
    scene.refuse(old.id)
    await scene.view.refresh()
    assert scene.is_on_offer
    assert scene.view.breaker_state(B200.id, scene.clock()) is BreakerState.CLOSED


async def test_enabling_the_provider_says_that_it_accepts_the_same_credential_again(scene: Scene) -> None:
    row = await scene.set(SECRET)
    await scene.view.refresh()
    scene.refuse(row.id)
    await scene.view.refresh()
    async with scene.database.writing() as session:
        await change_provider_state(
            session, "cluster-b200", StateChange(State.ENABLED, "paid up"), ACTOR, scene.clock()
        )
    await scene.view.refresh()
    assert scene.is_on_offer


async def test_a_refused_variable_is_told_too(scene: Scene) -> None:
    scene.refuse("")
    assert scene.view.standings()[0].deployments[0].trouble.startswith("credential refused")


async def test_a_removed_credential_is_sent_no_more(scene: Scene) -> None:
    await scene.set(SECRET)
    async with scene.database.writing() as session:
        assert await remove_credential(session, "cluster-b200", ACTOR, "left", scene.clock())
        assert await remove_credential(session, "cluster-b200", ACTOR, "left", scene.clock()) is None
    await scene.view.refresh()
    assert scene.key is None


async def test_a_process_with_another_secret_key_closes_the_offer_and_says_what_to_do(scene: Scene) -> None:
    await scene.set(SECRET)
    stranger = view_of(scene.database, Vault("another"), [], scene.clock)
    await stranger.refresh()
    assert B200.id in stranger.fleet.closed
    assert "GOODPUT_SECRET_KEY" in stranger.troubles[B200.id]
    await stranger.close()


async def test_after_a_rotation_everything_is_sealed_under_the_new_secret_key(scene: Scene) -> None:
    await scene.set(SECRET)
    rotated = Vault("new secret", former=("market secret",))
    async with scene.database.writing() as session:
        assert await reseal(session, rotated, ACTOR, scene.clock()) == 1
        assert await reseal(session, rotated, ACTOR, scene.clock()) == 0
    fresh = view_of(scene.database, Vault("new secret"), built := [], scene.clock)
    await fresh.refresh()
    assert built[-1].spec.api_key == SECRET
    await fresh.close()


async def test_a_deployments_own_variable_wins_over_the_stored_credential(database: Database) -> None:
    clock, built = FakeClock(), list[FakeProvider]()
    async with database.writing() as session:
        await register_provider(session, "cluster-b200", "B200", ACTOR, clock())
        await register_deployment(session, replace(B200, api_key_env="ACME_KEY"), ACTOR, clock())
        await set_credential(session, VAULT, "cluster-b200", SECRET, ACTOR, clock())
    clients = LiveClients({"ACME_KEY": OTHER}, lambda given: built.append(FakeProvider(given)) or built[-1], VAULT)
    view = FleetView(database, InProcessLeaseStore(clock), clients, clock)
    await view.refresh()
    assert built[-1].spec.api_key == OTHER
    await view.close()


async def test_who_is_not_in_the_fleet_gets_no_credential(scene: Scene) -> None:
    async with scene.database.writing() as session:
        with pytest.raises(NotInFleet):
            await set_credential(session, VAULT, "nobody", SECRET, ACTOR, scene.clock())
        with pytest.raises(VaultError, match="printable ASCII"):
            await set_credential(session, VAULT, "cluster-b200", "schlüssel", ACTOR, scene.clock())


async def test_no_copy_of_the_database_no_record_no_log_and_no_words_of_an_object_hold_the_secret(
    scene: Scene, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        first = await scene.set(SECRET)
        await scene.view.refresh()
        scene.clock.advance(1)
        scene.refuse(first.id)
        await scene.view.refresh()
        scene.clock.advance(1)
        await scene.set(OTHER)
        await scene.view.refresh()
    assert scene.database.sqlite_path is not None
    copies = b"".join(path.read_bytes() for path in scene.database.sqlite_path.parent.glob("*sqlite3*"))
    async with scene.database.reading() as session:
        records = (await session.exec(select(AuditEvent).order_by(col(AuditEvent.id)))).all()
        rows = (await session.exec(select(ProviderCredential))).all()
        told = repr([record.model_dump() for record in records]) + repr(rows) + repr(scene.view.standings())
    said = capfd.readouterr()
    told += repr([each.spec for each in scene.built]) + caplog.text + said.out + said.err
    for secret in (SECRET, OTHER):
        assert secret.encode() not in copies
        assert secret not in told
    assert [record.action for record in records if "credential" in record.action] == [
        "credential.set",
        "credential.refused",
        "credential.set",
    ]
    assert {row.sealed for row in rows if row.retired_at_us} == {"retired"}
