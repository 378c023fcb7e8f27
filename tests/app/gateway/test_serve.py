"""One request from first byte to ledger entry, left and cancelled at each await: nothing is ever left behind."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from asyncpg import CannotConnectNowError
from structlog.testing import capture_logs

from app.errors import MarketError
from app.gateway import routes
from pricing.rating import Ending
from pricing.usage import Usage
from providers.errors import ProviderRejectedRequest, ProviderServerError, ProviderTimeout
from tests.app.gateway.rooms import Customer, Rooms, ended, offer, said

OUT_OF_CREDIT = MarketError(402, "insufficient_credits", "no", type="insufficient_quota")
LEDGER_AWAY = MarketError(503, "ledger_unavailable", "no", type="server_error")


async def halted(rooms: Rooms, point: str, **fields: Any) -> "asyncio.Task[None]":
    """A request that has come as far as a point."""
    rooms.points.armed = point
    task = rooms.begin(**fields)
    await asyncio.wait_for(rooms.points.reached.wait(), 5)
    return task


async def leave(rooms: Rooms, task: "asyncio.Task[None]") -> None:
    rooms.customer.left.set()
    for _ in range(5):
        await asyncio.sleep(0)
    rooms.points.open.set()
    await asyncio.wait_for(task, 5)


BEFORE_A_PLACE = ["hold", "lease"]
BEFORE_CONTENT = ["first"]
AFTER_CONTENT = ["middle", "write", "extend"]


def slow(rooms: Rooms, *, is_stream: bool) -> None:
    """The backend halts before its first content, and again after two tokens of a long answer."""
    if is_stream:
        rooms.backends.scripts["p/d"] = ["first", said(0), said(1_000), "middle", said(1_001), ended(1_002)]
    else:
        rooms.in_one_body()
        rooms.backends.scripts["p/d"].insert(0, "first")


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("point", BEFORE_A_PLACE)
async def test_leaving_before_there_is_a_place_costs_and_leaves_nothing(point: str, *, is_stream: bool) -> None:
    rooms = Rooms()
    await leave(rooms, await halted(rooms, point, stream=is_stream))
    await rooms.check_nothing_is_left()
    assert (rooms.ledger.settled, rooms.ledger.voided) == ([], ["gen_1"])
    assert rooms.customer.sent == []
    assert rooms.metric("goodput_refusals_total", code="client_closed_request") == 1


async def test_leaving_while_waiting_for_a_place_costs_and_leaves_nothing() -> None:
    rooms = Rooms()
    await rooms.occupy()
    task = rooms.begin()
    await asyncio.sleep(0.02)
    assert rooms.driver.waiting == 1
    await leave(rooms, task)
    await rooms.check_nothing_is_left()
    assert rooms.ledger.voided == ["gen_1"]


@pytest.mark.parametrize("is_stream", [False, True])
async def test_leaving_before_the_first_content_is_free_and_stops_the_backend(*, is_stream: bool) -> None:
    rooms = Rooms()
    slow(rooms, is_stream=is_stream)
    await leave(rooms, await halted(rooms, "first", stream=is_stream))
    await rooms.check_nothing_is_left()
    [settled] = rooms.ledger.settled
    assert (settled.charge.ending, settled.charge.net) == (Ending.HANGUP, 0)
    assert rooms.backends.closed == 1
    assert rooms.backends.told == []  # nothing was learned of the backend
    assert rooms.metric("goodput_requests_total", tier="standard", model="m", provider="p", status="499") == 1


@pytest.mark.parametrize("point", AFTER_CONTENT)
async def test_leaving_in_mid_stream_is_billed_for_what_was_handed_over(point: str) -> None:
    rooms = Rooms()
    slow(rooms, is_stream=True)
    await leave(rooms, await halted(rooms, point, stream=True))
    await rooms.check_nothing_is_left()
    [settled] = rooms.ledger.settled
    assert settled.charge.ending is Ending.HANGUP
    assert settled.rows[0].values["tokens_output"] == {"middle": 1_001, "write": 0, "extend": 1_001}[point]
    assert settled.charge.net == (0 if point == "write" else settled.charge.gross)
    assert rooms.backends.closed == 1


@pytest.mark.parametrize("is_stream", [False, True])
async def test_leaving_while_it_is_settled_changes_nothing(*, is_stream: bool) -> None:
    rooms = Rooms()
    if not is_stream:
        rooms.in_one_body()
    await leave(rooms, await halted(rooms, "settle", stream=is_stream))
    await rooms.check_nothing_is_left()
    [settled] = rooms.ledger.settled
    assert (settled.charge.ending, settled.rows[0].values["tokens_output"]) == (Ending.STOP, 2)


@pytest.mark.parametrize("point", ["claim", "hold", "lease", "first", "middle", "write", "extend", "settle"])
async def test_a_process_that_stops_charges_no_unfinished_answer_and_leaves_nothing(point: str) -> None:
    rooms = Rooms()
    slow(rooms, is_stream=True)
    task = await halted(rooms, point, stream=True, key="once")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    await rooms.check_nothing_is_left()
    endings = [(each.charge.ending, each.charge.net > 0) for each in rooms.ledger.settled]
    if point == "settle":
        assert endings == [(Ending.STOP, True)]
    else:
        assert endings == ([] if point in {"claim", "hold", "lease"} else [(Ending.CRASH, False)])
    # A claim that became a settlement is answered by it; only the others are given back.
    assert rooms.keys.dropped == (["gen_1"] if point in {"hold", "lease"} else [])


async def test_a_key_is_given_back_before_the_refusal_is_told() -> None:
    rooms = Rooms()
    rooms.ledger.refuses["hold"] = OUT_OF_CREDIT
    customer = await rooms.ask(key="once")
    assert (customer.status, rooms.keys.dropped) == (402, ["gen_1"])
    assert rooms.ledger.voided == []
    await rooms.check_nothing_is_left()


async def test_a_key_whose_customer_left_before_the_place_is_given_back() -> None:
    rooms = Rooms()
    await leave(rooms, await halted(rooms, "lease", key="once"))
    await rooms.check_nothing_is_left()
    assert rooms.keys.dropped == ["gen_1"]


async def test_a_failed_answer_keeps_its_claim_and_lets_its_settlement_speak() -> None:
    rooms = Rooms()
    rooms.backends.scripts["p/d"] = [ProviderServerError("p", "HTTP 500", 500)]
    customer = await rooms.ask(key="once")
    assert (customer.status, rooms.keys.dropped) == (502, [])
    [settled] = rooms.ledger.settled
    assert settled.charge.net == 0


@pytest.mark.parametrize(("is_stream", "seen"), [(False, "503"), (True, "event")])
async def test_an_answer_that_cannot_be_booked_is_not_told_as_finished(*, is_stream: bool, seen: str) -> None:
    rooms = Rooms()
    rooms.ledger.refuses["settle"] = LEDGER_AWAY
    if not is_stream:
        rooms.in_one_body()
    customer = await rooms.ask(stream=is_stream)
    assert "ledger_unavailable" in customer.text
    assert "[DONE]" not in customer.text
    assert (str(customer.status) if seen == "503" else "event") == seen
    assert rooms.driver.in_flight == 0
    assert rooms.metric("goodput_inflight", tier="standard") == 0
    assert rooms.market.holds == set()  # no longer kept alive, so that the sweeper voids it


async def test_an_extension_that_fails_ends_the_answer_free_of_charge() -> None:
    rooms = Rooms()
    rooms.ledger.refuses["extend"] = LEDGER_AWAY
    rooms.backends.scripts["p/d"] = [said(0), said(1_000), said(1_001), ended(1_002)]
    customer = await rooms.ask(stream=True)
    assert "ledger_unavailable" in customer.text
    await rooms.check_nothing_is_left()
    assert [(each.charge.ending, each.charge.net) for each in rooms.ledger.settled] == [(Ending.CRASH, 0)]


async def test_a_mistake_of_ours_is_told_briefly_and_charged_to_nobody() -> None:
    rooms = Rooms()
    rooms.backends.scripts["p/d"] = [RuntimeError("a secret of ours")]
    with capture_logs() as logs:
        customer = await rooms.ask()
    assert (customer.status, "secret" in customer.text, "gen_1" in customer.text) == (500, False, True)
    assert [(each["event"], each["request_id"]) for each in logs] == [("request.failed", "gen_1")]
    await rooms.check_nothing_is_left()
    assert [each.charge.net for each in rooms.ledger.settled] == [0]
    assert rooms.metric("goodput_requests_total", tier="standard", model="m", provider="p", status="500") == 1


async def test_a_draining_market_takes_nothing() -> None:
    rooms = Rooms()
    rooms.market.is_draining = True
    customer = await rooms.ask()
    assert (customer.status, customer.headers["x-should-retry"]) == (503, "true")
    assert customer.headers["retry-after"] == "2"


async def test_a_frozen_account_starts_nothing() -> None:
    rooms = Rooms()
    frozen: Any = rooms.market.authenticator
    frozen.caller = type(frozen.caller)("cus_1", "key_1", "t", frozen.caller.limits, is_frozen=True)
    customer = await rooms.ask()
    assert (customer.status, customer.headers["x-should-retry"]) == (403, "false")
    assert rooms.ledger.pending == {}


def pair() -> Rooms:
    rooms = Rooms(offer("p"), offer("q"))
    for name in ("p/d", "q/d"):
        rooms.backends.scripts[name] = [ProviderServerError("x", "HTTP 500", 500)]
    return rooms


def heal_whoever_is_not_asked_first(rooms: Rooms) -> None:
    """Both fail, until one was asked; the other then answers."""
    told = rooms.backends.failed

    def failed(offer_id: Any, _error: Exception) -> None:
        told(offer_id, _error)
        for name in rooms.backends.scripts.keys() - {offer_id}:
            rooms.backends.scripts[name] = [said(0), said(1), ended(2)]

    rooms.backends.failed = failed


async def test_after_a_failover_the_answer_names_who_serves_and_what_is_left_of_the_limits() -> None:
    rooms = pair()
    heal_whoever_is_not_asked_first(rooms)
    customer: Customer = await rooms.ask(stream=True)
    [settled] = rooms.ledger.settled
    failed = next(told for told in rooms.backends.told if "failed" in told)
    assert customer.headers["x-provider"] == settled.provider_id != failed[0]
    assert customer.headers["x-ratelimit-remaining-requests"] == "99"
    assert settled.rows[0].values["attempts"] == 2
    assert customer.text.endswith("data: [DONE]\n\n")
    await rooms.check_nothing_is_left()


async def test_leaving_during_a_failover_leaves_no_lease() -> None:
    rooms = pair()
    await leave(rooms, await halted(rooms, "release", stream=True))
    await rooms.check_nothing_is_left()
    assert [(each.charge.ending, each.charge.net) for each in rooms.ledger.settled] == [(Ending.HANGUP, 0)]


async def test_when_all_fail_the_last_failure_is_told_and_counted_once() -> None:
    rooms = pair()
    customer = await rooms.ask()
    assert (customer.status, customer.headers["x-should-retry"]) == (502, "true")
    await rooms.check_nothing_is_left()
    assert rooms.metric("goodput_refusals_total", code="provider_unavailable") == 0
    assert (
        sum(
            rooms.metric("goodput_requests_total", tier="standard", model="m", provider=each, status="502")
            for each in "pq"
        )
        == 1
    )


@pytest.mark.parametrize(
    ("failure", "status"), [(ProviderRejectedRequest("p", "too hot", 400), 400), (ProviderTimeout("p", "silent"), 504)]
)
async def test_metrics_say_the_status_that_the_customer_saw(failure: Exception, status: int) -> None:
    rooms = Rooms()
    rooms.backends.scripts["p/d"] = [failure]
    customer = await rooms.ask()
    assert customer.status == status
    assert rooms.metric("goodput_requests_total", tier="standard", model="m", provider="p", status=str(status)) == 1


async def test_a_failure_in_mid_stream_was_a_200_to_the_customer() -> None:
    rooms = Rooms()
    rooms.backends.scripts["p/d"] = [said(0), ProviderServerError("p", "fell over", 500)]
    await rooms.ask(stream=True)
    assert rooms.metric("goodput_requests_total", tier="standard", model="m", provider="p", status="200") == 1
    assert rooms.metric("goodput_revenue_usd_total", tier="standard", model="m") == 0


async def test_the_hold_grows_with_the_answer_up_to_the_quote_and_covers_the_bill() -> None:
    rooms = Rooms()
    rooms.backends.scripts["p/d"] = [*(said(index) for index in range(1_500)), ended(1_500)]
    await rooms.ask(stream=True, max_tokens=1_500)
    [settled] = rooms.ledger.settled
    row = settled.rows[0].values
    # One step of 1,024 tokens was held first, and the remaining 476 later, at 1,000 nano-USD each.
    assert rooms.ledger.extended == 476_000
    assert row["held"] == row["quote_ceiling"] >= settled.charge.net == 1_510_000


async def test_more_tokens_than_the_limit_are_billed_up_to_the_limit() -> None:
    rooms = Rooms()
    rooms.backends.scripts["p/d"] = [said(0), ended(0, usage=Usage(input=100, output=9))]
    await rooms.ask(stream=True, max_tokens=5)
    [settled] = rooms.ledger.settled
    row = settled.rows[0].values
    assert (row["tokens_output"], row["usage_source"]) == (5, "provider")
    assert settled.charge.net <= row["held"] <= row["quote_ceiling"]


async def test_tokens_that_the_answer_cannot_have_are_counted_by_us_and_the_lie_is_written_down() -> None:
    rooms = Rooms()
    rooms.backends.scripts["p/d"] = [said(0), ended(0, usage=Usage(input=1_000_000, output=1_000_000))]
    await rooms.ask(stream=True, max_tokens=5)
    [settled] = rooms.ledger.settled
    row, dispute = settled.rows
    assert row.values["tokens_output"] <= 2
    assert row.values["usage_source"] == "counted"
    assert dispute.table == "usage_dispute"
    assert dispute.values["output_reported"] == dispute.values["input_reported"] == 1_000_000
    assert dispute.values["output_billed"] == row.values["tokens_output"]
    assert settled.charge.net <= row.values["held"]


async def test_a_named_quote_is_honoured_and_a_strangers_is_not() -> None:
    rooms = Rooms()
    refused = await rooms.ask(quote_id="qt-forged")
    assert refused.status == 400
    assert '"invalid_quote"' in refused.text


@pytest.mark.parametrize("trouble", [OSError("connection refused"), CannotConnectNowError("starting up"), None])
async def test_readiness_names_a_database_that_is_away_starting_or_silent(
    trouble: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def reading() -> AsyncGenerator[None]:
        if trouble is not None:
            raise trouble
        await asyncio.sleep(60)
        yield

    monkeypatch.setattr(routes, "DATABASE_S_MAX", 0.01)
    rooms = Rooms()
    rooms.market.database = cast("Any", SimpleNamespace(reading=reading))
    checks = await routes.readiness(rooms.market)
    assert checks["database"] == {"ok": False, "why": str(trouble or "no answer within 0.01 s")}
    assert checks["redis"]["ok"] is True
    assert checks["providers"] == {"ok": True, "unserved": ["n standard"]}


async def test_the_prompt_of_a_whole_answer_counts_as_read_when_it_should_have_been() -> None:
    rooms = Rooms()
    slow(rooms, is_stream=False)
    task = await halted(rooms, "first")
    assert rooms.leases.prefilled == []
    await asyncio.sleep(0.2)  # the offer's first token takes 50 ms, and some for the prompt
    assert rooms.leases.prefilled == ["gen_1"]
    rooms.points.open.set()
    await asyncio.wait_for(task, 5)
    await rooms.check_nothing_is_left()


async def test_a_whole_answer_that_comes_sooner_tells_nothing_of_its_prompt_afterwards() -> None:
    rooms = Rooms()
    rooms.in_one_body()
    await rooms.ask()
    await asyncio.sleep(0.2)
    assert rooms.leases.prefilled == []
