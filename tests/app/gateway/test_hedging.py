"""A slow premium request gets a second attempt: the first content wins, the loser's place and backend are given up."""

import asyncio
import json
from typing import Any

import pytest

from app.fleet.health import Entry
from providers.errors import ProviderRejectedRequest, ProviderServerError
from scheduler.fleet import OfferId
from scheduler.policy import Policy
from tests.app.gateway.rooms import Customer, Rooms, ended, offer, said

HEDGING = Policy(hedge_share=1.0)
PREMIUM = {"stream": True, "service_tier": "priority"}
FOREVER = "never"


def pair(**scripts: list[Any]) -> Rooms:
    """Two offers; ``slow`` halts for good where its script says so. p is always asked first."""
    rooms = Rooms(offer("p"), offer("q", tiers=offer("q").tiers), policy=HEDGING)
    rooms.points.armed = FOREVER
    rooms.backends.scripts[OfferId("p/d")] = scripts.get("p", [FOREVER])
    rooms.backends.scripts[OfferId("q/d")] = scripts.get("q", [said(0, "q0 "), said(1, "q1 "), ended(2)])
    return rooms


ASK_P_FIRST: dict[str, Any] = {**PREMIUM, "provider": {"order": ["p"]}}


async def asked(rooms: Rooms, **fields: Any) -> Customer:
    await asyncio.wait_for(rooms.begin(**{**ASK_P_FIRST, **fields}), 5)
    await rooms.driver.close()
    return rooms.customer


async def test_a_second_attempt_serves_when_the_first_stays_silent() -> None:
    rooms = pair()
    customer = await asked(rooms)
    assert customer.headers["x-provider"] == rooms.settled.provider_id == "q"
    assert "q0 " in customer.text
    assert customer.text.endswith("data: [DONE]\n\n")
    assert (rooms.row["attempts"], rooms.row["offer_id"]) == (2, "q/d")
    assert rooms.backends.closed == 2  # the loser's generator was closed, which cancels it at its backend
    assert rooms.leases.live == {}
    await rooms.check_nothing_is_left()


async def test_what_the_loser_cost_is_ours_and_written_down() -> None:
    rooms = pair()
    await asked(rooms)
    hedge = rooms.row["explanation"]["hedge"]
    assert (hedge["offer"], hedge["won"]) == ("q/d", True)
    assert hedge["after_ms"] > 100  # 50 ms and the prompt, times the spread
    # The prompt, as predicted, at 1,000 pico-USD a token.
    predicted = rooms.backends.asked[0]
    assert predicted.id == "gen_1"
    assert float(hedge["cost_usd"]) == rooms.metric("goodput_hedge_cost_usd_total") > 0
    assert rooms.metric("goodput_hedges_total") == rooms.metric("goodput_hedges_won_total") == 1
    billed = rooms.settled.charge.net
    assert billed == rooms.settled.charge.gross == 12 * 2_000  # ten prompt tokens and two of output, once


async def test_the_first_keeps_serving_when_it_is_quicker_after_all() -> None:
    rooms = pair(p=["first", said(0, "p0 "), said(1, "p1 "), ended(2)], q=["first", said(0, "q0 "), ended(1)])
    rooms.points.armed = "first"
    task = rooms.begin(**ASK_P_FIRST)
    await asyncio.wait_for(rooms.points.reached.wait(), 5)
    await rooms.until(lambda: len(rooms.backends.asked) == 2)
    assert len(rooms.leases.live) == 2
    rooms.points.open.set()
    await asyncio.wait_for(task, 5)
    await rooms.driver.close()
    texts = [word for word in ("p0 ", "q0 ") if word in rooms.customer.text]
    assert len(texts) == 1  # never both
    assert rooms.row["offer_id"] == f"{texts[0][0]}/d"
    assert rooms.leases.live == {}
    await rooms.check_nothing_is_left()


async def test_a_first_that_answers_in_time_is_left_alone() -> None:
    rooms = pair(p=[said(0, "p0 "), ended(1)])
    await asked(rooms)
    assert [len(rooms.backends.asked), rooms.row["attempts"]] == [1, 1]
    assert "hedge" not in rooms.row["explanation"]
    assert rooms.metric("goodput_hedges_total") == 0


async def test_an_answer_wanted_in_one_body_is_hedged_too_while_it_is_streamed_inside() -> None:
    rooms = pair()
    customer = await asked(rooms, stream=False)
    assert json.loads(customer.text)["choices"][0]["message"]["content"] == "q0 q1 "
    assert (customer.headers["x-provider"], rooms.row["attempts"]) == ("q", 2)
    await rooms.check_nothing_is_left()


@pytest.mark.parametrize("fields", [{"service_tier": "default"}, {"service_tier": "flex"}])
async def test_lesser_tiers_are_not_hedged(fields: dict[str, Any]) -> None:
    rooms = pair(p=["pause", said(0, "p0 "), ended(1)])
    rooms.points.armed = "pause"
    task = rooms.begin(**{**ASK_P_FIRST, **fields})
    await asyncio.wait_for(rooms.points.reached.wait(), 5)
    await asyncio.sleep(0.25)
    assert len(rooms.backends.asked) == 1
    rooms.points.open.set()
    await asyncio.wait_for(task, 5)
    await rooms.check_nothing_is_left()


async def test_when_the_first_fails_the_second_goes_on_alone() -> None:
    failing = ProviderServerError("p", "boom", 500)
    rooms = pair(p=["first", failing], q=["first", 0.05, said(0, "q0 "), ended(1)])
    rooms.points.armed = "first"
    task = rooms.begin(**ASK_P_FIRST)
    await asyncio.wait_for(rooms.points.reached.wait(), 5)
    await rooms.until(lambda: len(rooms.backends.asked) == 2)
    rooms.points.open.set()
    await asyncio.wait_for(task, 5)
    await rooms.driver.close()
    assert rooms.row["offer_id"] == "q/d"
    assert "p/d failed" in rooms.backends.told
    await rooms.check_nothing_is_left()


async def test_when_both_fail_the_customer_is_told_and_nothing_is_left() -> None:
    failing = ProviderServerError("x", "boom", 500)
    rooms = pair(p=["first", failing], q=[failing])
    rooms.points.armed = "first"
    task = rooms.begin(**ASK_P_FIRST)
    await asyncio.wait_for(rooms.points.reached.wait(), 5)
    await rooms.until(lambda: "q/d failed" in rooms.backends.told)
    rooms.points.open.set()
    await asyncio.wait_for(task, 5)
    assert rooms.customer.status == 502
    assert rooms.settled.charge.net == 0
    await rooms.check_nothing_is_left()
    assert rooms.leases.live == {}


async def test_leaving_during_a_race_ends_both_attempts() -> None:
    rooms = pair(q=[FOREVER])
    task = rooms.begin(**ASK_P_FIRST)
    await rooms.until(lambda: len(rooms.backends.asked) == 2)
    rooms.customer.left.set()
    await asyncio.wait_for(task, 5)
    await rooms.driver.close()
    assert rooms.backends.closed == 2
    assert rooms.leases.live == {}
    assert rooms.settled.charge.net == 0
    await rooms.check_nothing_is_left()


async def test_a_process_that_stops_during_a_race_ends_both_attempts() -> None:
    rooms = pair(q=[FOREVER])
    task = rooms.begin(**ASK_P_FIRST)
    await rooms.until(lambda: len(rooms.backends.asked) == 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await rooms.driver.close()
    assert (rooms.backends.closed, rooms.leases.live) == (2, {})


async def test_leaving_while_the_second_place_is_sought_leaves_no_lease() -> None:
    rooms = pair()
    task = rooms.begin(**ASK_P_FIRST)
    await rooms.until(lambda: bool(rooms.backends.asked))
    rooms.points.armed = "lease"  # from now on leases halt once written
    await asyncio.wait_for(rooms.points.reached.wait(), 5)
    rooms.customer.left.set()
    for _ in range(5):
        await asyncio.sleep(0)
    rooms.points.open.set()
    await asyncio.wait_for(task, 5)
    await rooms.driver.close()
    assert rooms.leases.live == {}
    await rooms.check_nothing_is_left()


async def test_a_probe_that_loses_a_race_makes_place_for_the_next() -> None:
    rooms = pair()
    rooms.backends.entries[OfferId("p/d")] = Entry.PROBE
    await asked(rooms)
    assert "p/d left" in rooms.backends.told


async def test_an_offer_that_shut_meanwhile_is_not_asked_and_not_blamed() -> None:
    rooms = pair(p=[said(0, "p0 "), ended(1)])
    rooms.backends.entries[OfferId("p/d")] = Entry.SHUT
    customer = await asked(rooms)
    assert customer.headers["x-provider"] == "q"
    assert [told for told in rooms.backends.told if told.startswith("p/d")] == []
    assert len(rooms.backends.asked) == 1
    await rooms.check_nothing_is_left()


async def test_a_client_error_from_one_that_was_no_probe_says_nothing_about_the_offer() -> None:
    rooms = pair(p=[ProviderRejectedRequest("p", "too hot", 400)])
    customer = await asked(rooms)
    assert customer.status == 400
    assert json.loads(customer.text)["error"]["code"] == "invalid_value"
    assert rooms.backends.told == []
    rooms = pair(p=[ProviderRejectedRequest("p", "too hot", 400)])
    rooms.backends.entries[OfferId("p/d")] = Entry.PROBE
    await asked(rooms)
    assert rooms.backends.told == ["p/d failed"]  # it was the probe: the next may be one
