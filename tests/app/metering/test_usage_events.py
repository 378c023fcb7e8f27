from pathlib import Path

from app.metering.models import UsageEvent
from app.metering.repository import erase_timelines, usage_event
from tests.ledger_world import CUSTOMER, T0, hold_request, open_world, settlement, usage_row


async def test_a_settled_request_is_found_and_an_unknown_one_is_not(tmp_path: Path) -> None:
    async with open_world(f"sqlite:///{tmp_path / 'market.sqlite3'}") as world:
        await world.ledger.grant(CUSTOMER, 1_000, "seed", "seed")
        await world.ledger.hold(hold_request("gen-1"))
        assert await usage_event(world.database, "gen-1") is None
        await world.ledger.settle(settlement("gen-1"))
        found = await usage_event(world.database, "gen-1")
        assert found is not None
        assert (found.net, found.lines[0]["tier"], found.is_streamed) == (60, "premium", True)


async def test_old_timelines_are_forgotten_oldest_first_and_nothing_else_is(tmp_path: Path) -> None:
    async with open_world(f"sqlite:///{tmp_path / 'market.sqlite3'}") as world:
        await world.ledger.grant(CUSTOMER, 1_000, "seed", "seed")
        for age in range(5):
            request_id = f"gen-{age}"
            await world.ledger.hold(hold_request(request_id))
            row = usage_row(request_id, finished_at_us=T0 - age)
            await world.ledger.settle(settlement(request_id, rows=(row,)))
        for erased in (2, 1, 0):
            async with world.database.writing() as session:
                assert await erase_timelines(session, T0 - 1, rows_max=2) == erased
        kept = {event.request_id: event.timeline is not None for event in await world.rows(UsageEvent)}
        assert kept == {"gen-0": True, "gen-1": True, "gen-2": False, "gen-3": False, "gen-4": False}
        assert {event.net for event in await world.rows(UsageEvent)} == {60}
