import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
from sqlalchemy.exc import OperationalError

from app.db import Database
from app.fleet.fleet_view import FleetView
from app.fleet.health import Entry
from app.fleet.lease_store import InProcessLeaseStore
from app.fleet.leases import LeaseCandidate, Leased, LeaseRequest
from app.fleet.live_client import LiveClients
from app.fleet.models import DeploymentRow
from app.fleet.roster import DeploymentSpec, State
from app.fleet.service import (
    StateChange,
    change_deployment_state,
    register_deployment,
    register_provider,
    remove_deployment,
)
from app.fleet.standing import Standing
from pricing.slo import Tier
from providers.base import Provider
from providers.errors import ProviderServerError, ProviderUnreachable
from providers.spec import ProviderSpec
from scheduler.breaker import BreakerState
from scheduler.fleet import UNBOUNDED, Fleet, Load
from tests.app.fleet.lease_benches import FakeClock
from tests.app.fleet.rosters import ACTOR, B200, H100, FakeProvider, spec


@dataclass
class Scene:
    """A view over a database and a lease store on one clock."""

    view: FleetView
    database: Database
    leases: InProcessLeaseStore
    clock: FakeClock
    built: list[FakeProvider]

    async def register(self, *specs: DeploymentSpec) -> None:
        async with self.database.writing() as session:
            for each in specs:
                await register_provider(session, each.provider_id, each.provider_id.title(), ACTOR, self.clock())
                await register_deployment(session, each, ACTOR, self.clock())
        await self.view.refresh()

    async def lease(self, lease_id: str, in_flight_max: int = 64) -> Leased:
        candidates = (LeaseCandidate(B200.id, 64, in_flight_max),)
        answer = await self.leases.admit(LeaseRequest(lease_id, "cus_1", None, candidates, 10, 0, 60.0))
        assert isinstance(answer, Leased)
        return answer

    def fail(self, times: int) -> None:
        for _ in range(times):
            self.view.failed(B200.id, ProviderServerError("cluster-b200", "boom", 500))


@pytest.fixture
async def scene(database: Database) -> AsyncIterator[Scene]:
    built: list[FakeProvider] = []

    def build(given: ProviderSpec) -> Provider:
        built.append(FakeProvider(given))
        return built[-1]

    clock = FakeClock()
    leases = InProcessLeaseStore(clock)
    view = FleetView(database, leases, LiveClients({}, build), clock)
    yield Scene(view, database, leases, clock, built)
    await view.close()
    assert all(client.is_closed for client in built)


async def test_before_anything_is_registered_the_fleet_is_empty(scene: Scene) -> None:
    assert scene.view.fleet == Fleet({})
    await scene.view.refresh()
    assert scene.view.fleet == Fleet({})


async def test_registered_deployments_are_on_offer_with_their_loads_and_clients(scene: Scene) -> None:
    await scene.lease("l1", in_flight_max=9)
    await scene.register(B200, H100, spec("emulated", model="open/two", is_emulated=True, label="emulated"))
    fleet = scene.view.fleet
    assert {model: [offer.id for offer in offers] for model, offers in fleet.offers.items()} == {
        "open/one": [B200.id, H100.id],
        "open/two": ["emulated/b200-trtllm-fp4-agg-tp2ep1"],
    }
    assert fleet.load(B200.id) == Load(1, 9, 10)
    assert fleet.closed == frozenset()
    assert scene.view.provider(H100.id).id == "cluster-h100"
    assert not scene.view.is_emulated(B200.id)
    assert scene.view.is_emulated(fleet.offers["open/two"][0].id)


async def test_fresh_loads_are_seen_at_once_and_old_snapshots_stay_as_they_were(scene: Scene) -> None:
    await scene.register(B200, H100)
    before = scene.view.fleet
    answer = await scene.lease("l1", in_flight_max=9)
    scene.view.fold(answer.loads)
    assert scene.view.fleet.load(B200.id) == Load(1, 9, 10)
    scene.view.fold({H100.id: Load(3)})
    assert scene.view.fleet.load(B200.id) == Load(1, 9, 10)
    assert before.load(B200.id) == Load(0, UNBOUNDED, 0)
    assert scene.view.fleet.offers is before.offers


async def test_leases_of_other_gateways_are_seen_at_the_next_refresh(scene: Scene) -> None:
    await scene.register(B200)
    await scene.lease("l1")
    await scene.view.refresh_loads()
    assert scene.view.fleet.load(B200.id).in_flight == 1


async def test_an_operators_decision_is_in_force_after_a_refresh(scene: Scene) -> None:
    await scene.register(B200, H100)
    async with scene.database.writing() as session:
        await change_deployment_state(session, B200.id, StateChange(State.DRAINING), ACTOR, scene.clock())
    await scene.view.refresh()
    assert scene.view.fleet.closed == {B200.id}
    assert [each.standing for each in scene.view.standings()] == [Standing.DRAINING, Standing.HEALTHY]


async def test_a_failing_offer_is_closed_at_once_probed_by_one_request_and_returns_slowly(scene: Scene) -> None:
    await scene.register(B200, H100)
    scene.fail(5)
    assert scene.view.fleet.closed == {B200.id}
    assert scene.view.standings()[0].standing is Standing.DOWN
    scene.clock.advance(10)
    await scene.view.refresh_loads()
    assert scene.view.breaker_state(B200.id, scene.clock()) is BreakerState.HALF_OPEN
    assert scene.view.fleet.closed == frozenset()
    assert scene.view.fleet.offers["open/one"][0].concurrency_max == 1
    assert scene.view.enter(B200.id) is Entry.PROBE
    assert scene.view.enter(B200.id) is Entry.SHUT
    assert scene.view.fleet.closed == {B200.id}
    scene.view.succeeded(B200.id, Tier.STANDARD, 5_000.0, None)
    assert scene.view.fleet.closed == frozenset()
    assert scene.view.fleet.offers["open/one"][0].concurrency_max == 6
    scene.clock.advance(10)
    await scene.view.refresh_loads()
    assert scene.view.fleet.offers["open/one"][0].concurrency_max == 64


async def test_a_failed_probe_closes_the_offer_again(scene: Scene) -> None:
    await scene.register(B200, H100)
    scene.fail(5)
    scene.clock.advance(10)
    await scene.view.refresh_loads()
    assert scene.view.enter(B200.id) is Entry.PROBE
    scene.fail(1)
    scene.clock.advance(6)  # the first opening was 5 s or a little more; the second is twice as long
    await scene.view.refresh_loads()
    assert scene.view.fleet.closed == {B200.id}


async def test_a_probe_whose_customer_leaves_makes_place_for_the_next_at_once(scene: Scene) -> None:
    await scene.register(B200, H100)
    scene.fail(5)
    scene.clock.advance(10)
    await scene.view.refresh_loads()
    assert scene.view.enter(B200.id) is Entry.PROBE
    scene.view.left(B200.id)
    assert scene.view.fleet.closed == frozenset()
    assert scene.view.enter(B200.id) is Entry.PROBE


async def test_who_was_placed_before_the_breaker_opened_is_not_let_in_while_another_probes(scene: Scene) -> None:
    await scene.register(B200, H100)
    assert scene.view.enter(B200.id) is Entry.FREE
    scene.fail(5)
    assert scene.view.enter(B200.id) is Entry.SHUT
    scene.clock.advance(10)
    assert [scene.view.enter(B200.id) for _ in range(200)] == [Entry.PROBE, *[Entry.SHUT] * 199]


async def test_a_slow_provider_is_predicted_slower_as_soon_as_it_shows(scene: Scene) -> None:
    await scene.register(B200)
    for _ in range(3):
        scene.view.first_token(B200.id, Tier.PREMIUM, 100_000.0, 500_000.0)
        scene.view.succeeded(B200.id, Tier.PREMIUM, 5_000.0, 25_000.0)
    learned = scene.view.fleet.calibration(B200.id)
    assert learned.ttft == pytest.approx(5.0)
    assert learned.tpot == pytest.approx(5.0)
    await scene.view.refresh()
    assert scene.view.fleet.calibration(B200.id) is learned


async def test_an_answer_slowed_by_its_neighbours_alone_corrects_nothing(scene: Scene) -> None:
    await scene.register(B200)
    began_us = scene.clock()
    scene.view.fold({B200.id: Load(64)})  # from one to 64 in flight right after admission
    scene.clock.advance(10)
    for _ in range(5):
        scene.view.paced(B200.id, Tier.PREMIUM, 5_000.0, 20_000.0, since_us=began_us)
    assert scene.view.fleet.calibration(B200.id).tpot == pytest.approx(1.0, abs=0.05)
    for _ in range(5):
        scene.view.paced(B200.id, Tier.PREMIUM, 5_000.0, 20_000.0)
    assert scene.view.fleet.calibration(B200.id).tpot == pytest.approx(4.0, rel=0.05)


async def test_a_slot_of_an_offer_that_is_full_gets_a_price_and_loses_it_again(scene: Scene) -> None:
    await scene.register(B200)
    assert scene.view.fleet.shadow_prices == {}
    leased = [await scene.lease(f"r{number}") for number in range(64)]
    for _ in range(10):
        scene.clock.advance(1)
        await scene.view.refresh_loads()
    # ten seconds at 64 of 64 places, 0.15 above the target, at 10 million pico-USD a second each
    assert scene.view.fleet.shadow_prices[B200.id] == pytest.approx(10 * 0.15 * 1e7, rel=0.12)
    for number, _ in enumerate(leased):
        await scene.leases.release(f"r{number}", B200.id)
    scene.clock.advance(10)
    await scene.view.refresh_loads()
    assert scene.view.fleet.shadow_prices == {}


async def test_a_removed_deployment_leaves_the_fleet_and_its_answers_finish(scene: Scene) -> None:
    await scene.register(B200, H100)
    await scene.lease("l1")
    client = scene.view.provider(B200.id)
    async with scene.database.writing() as session:
        await remove_deployment(session, B200.id, ACTOR, "sold", scene.clock())
    await scene.view.refresh()
    assert [offer.id for offer in scene.view.fleet.offers["open/one"]] == [H100.id]
    with pytest.raises(ProviderUnreachable):
        scene.view.provider(B200.id)
    assert isinstance(client, FakeProvider)
    assert not client.is_closed
    await scene.leases.release("l1", B200.id)
    await scene.view.refresh()
    assert client.is_closed


async def test_a_deployment_that_cannot_be_used_is_closed_and_says_why(scene: Scene) -> None:
    await scene.register(replace(B200, api_key_env="ACME_API_KEY"), H100)
    assert scene.view.fleet.closed == {B200.id}
    assert "set ACME_API_KEY" in scene.view.troubles[B200.id]
    assert scene.view.standings()[0].standing is Standing.DOWN
    assert "set ACME_API_KEY" in scene.view.standings()[0].deployments[0].trouble


async def test_a_spoilt_row_leaves_the_rest_on_offer(scene: Scene) -> None:
    await scene.register(B200, H100)
    async with scene.database.writing() as session:
        row = await session.get(DeploymentRow, B200.id)
        assert row is not None
        row.speed = {}
        session.add(row)
    await scene.view.refresh()
    assert [offer.id for offer in scene.view.fleet.offers["open/one"]] == [H100.id]
    assert B200.id in scene.view.troubles


async def test_while_the_database_is_away_loads_stay_fresh_and_the_known_fleet_stays_on_offer(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.register(B200)

    def away() -> None:
        raise OperationalError("SELECT", {}, ConnectionError("away"))

    monkeypatch.setattr(scene.database, "reading", away)
    await scene.lease("l1")
    with pytest.raises(OperationalError):
        await scene.view.refresh()
    assert scene.view.fleet.load(B200.id).in_flight == 1
    assert scene.view.fleet.offers["open/one"][0].id == B200.id


async def test_the_background_task_keeps_the_view_fresh_until_it_is_cancelled(scene: Scene) -> None:
    task = asyncio.create_task(scene.view.run(every_s=0.001))
    async with scene.database.writing() as session:
        await register_provider(session, "cluster-b200", "B200", ACTOR, scene.clock())
        await register_deployment(session, B200, ACTOR, scene.clock())
    for _ in range(1000):
        if scene.view.fleet.offers:
            break
        await asyncio.sleep(0.005)
    assert scene.view.fleet.offers["open/one"][0].id == B200.id
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_offers_stay_the_same_objects_over_refreshes_so_that_the_scheduler_need_not_work_anew(
    scene: Scene,
) -> None:
    await scene.register(B200, H100)
    before = scene.view.fleet.offers["open/one"]
    await scene.lease("l1")
    await scene.view.refresh()
    assert scene.view.fleet.offers["open/one"] is before
