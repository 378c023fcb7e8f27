"""What can be made to go wrong, seen from a client over real HTTP; and that hanging up frees the place."""

import asyncio
import json

import pytest

from providers.emulated.faults import Fault, FaultError, FaultPlan, UsageFault, read_fault
from providers.emulated.pace import Pace
from tests.providers.emulated.emulated_client import Client, Reply, deployment, quick_engine, serving

pytestmark = pytest.mark.slow


async def seconds(awaited: asyncio.Task[Reply]) -> float:
    loop = asyncio.get_running_loop()
    start = loop.time()
    await awaited
    return loop.time() - start


async def test_a_slow_down_holds_for_what_is_under_way_and_ends_when_cleared(client: Client) -> None:
    """100 tokens of 2 ms; from the middle on ten times slower."""
    running = asyncio.create_task(client.stream(tokens=100))
    await asyncio.sleep(0.1)
    assert (await client.fault(slowdown=10)).json["slowdown"] == 10
    reply = await running
    before, after = reply.token_s[20] - reply.token_s[0], reply.token_s[99] - reply.token_s[79]
    assert after > 4 * before
    assert after >= 20 * 0.020 * 0.9
    cleared = await client.request("DELETE", "/_fault")
    assert cleared.json["slowdown"] == 1
    quick = await client.stream(tokens=20)
    assert quick.token_s[-1] - quick.token_s[0] < 0.5 * after


async def test_an_error_burst_hits_so_many_requests_and_then_is_over(client: Client) -> None:
    await client.fault(status=500, requests=2)
    assert [(await client.chat(tokens=1)).status for _ in range(4)] == [500, 500, 200, 200]


async def test_a_share_of_errors_is_spread_evenly(client: Client) -> None:
    await client.fault(status=502, share=0.5)
    assert [(await client.chat(tokens=1)).status for _ in range(6)] == [200, 502, 200, 502, 200, 502]


@pytest.mark.parametrize("status", [429, 503])
async def test_overload_says_when_to_come_back(client: Client, status: int) -> None:
    await client.fault(status=status, retry_after_s=7)
    reply = await client.chat(tokens=1)
    assert (reply.status, reply.headers["retry-after"], reply.headers["retry-after-ms"]) == (status, "7", "7000")
    assert reply.json["error"]["code"] == "emulated_fault"


async def test_a_status_without_a_name_of_its_own_is_sent_all_the_same(client: Client) -> None:
    await client.fault(status=529)
    assert (await client.chat(tokens=1)).status == 529


async def test_it_can_stall_before_the_first_token(client: Client) -> None:
    await client.fault(stall_at_token=0, stall_s=0.3)
    start = asyncio.get_running_loop().time()
    reply = await client.stream(tokens=5)
    assert reply.token_s[0] - start >= 0.3
    assert len(reply.token_s) == 5
    assert reply.ended_well


async def test_it_can_stall_after_some_tokens_and_then_catch_up(client: Client) -> None:
    await client.fault(stall_at_token=3, stall_s=0.3)
    reply = await client.stream(tokens=10)
    gaps = [b - a for a, b in zip(reply.token_s, reply.token_s[1:], strict=False)]
    assert gaps.index(max(gaps)) == 2
    assert gaps[2] >= 0.29
    assert len(reply.token_s) == 10


async def test_a_stalled_answer_in_one_body_comes_late(client: Client) -> None:
    await client.fault(stall_at_token=3, stall_s=0.2)
    assert await seconds(asyncio.create_task(client.chat(tokens=5))) >= 0.2


async def test_it_can_close_early_without_a_proper_end(client: Client) -> None:
    await client.fault(close_at_token=3)
    stream, whole = await client.stream(tokens=10), await client.request("POST", "/v1/chat/completions", b"{}")
    assert (len(stream.token_s), stream.ended_well, "[DONE]" in stream.events) == (3, False, False)
    assert whole.status == 400  # a bad request is told before anything breaks
    assert (await client.engine())["answers_live"] == 0


async def test_closing_before_anything_leaves_no_answer(client: Client) -> None:
    await client.fault(close_at_token=0)
    with pytest.raises(asyncio.IncompleteReadError):
        await client.chat(tokens=10)


async def test_it_can_send_garbage(client: Client) -> None:
    await client.fault(garbage_at_token=2)
    stream = await client.stream(tokens=10)
    assert len(stream.token_s) == 2
    assert not stream.ended_well
    assert b"not the protocol" in stream.body
    whole = await client.chat(tokens=10)
    with pytest.raises(ValueError, match=r"Expecting value|codec"):
        json.loads(whole.body)


async def test_it_can_report_an_error_in_mid_stream(client: Client) -> None:
    await client.fault(error_at_token=4)
    stream, whole = await client.stream(tokens=10), await client.chat(tokens=10)
    assert len(stream.token_s) == 4
    assert stream.chunks[-1]["error"]["code"] == 500
    assert "[DONE]" not in stream.events
    assert stream.ended_well
    assert (whole.status, whole.json["error"]["code"]) == (500, "emulated_fault")


@pytest.mark.parametrize(
    ("usage", "completion_tokens"),
    [("normal", [6]), ("missing", []), ("wrong", [1_006]), ("repeated", [6, 6])],
)
async def test_usage_can_be_wrong_missing_or_repeated(client: Client, usage: str, completion_tokens: list[int]) -> None:
    await client.fault(usage=usage)
    stream, whole = await client.stream(tokens=6), await client.chat(tokens=6)
    assert [one["completion_tokens"] for one in stream.usages] == completion_tokens
    assert len(stream.token_s) == 6
    told = whole.json.get("usage", {}).get("completion_tokens")
    assert told == (completion_tokens[0] if completion_tokens else None)


async def test_a_fault_can_be_there_from_the_start() -> None:
    async with serving(deployment(fault=Fault(status=500))) as broken:
        assert (await broken.chat(tokens=1)).status == 500
        assert (await broken.request("GET", "/_fault")).json["status"] == 500


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"[]", "a fault is a JSON object"),
        (b"{", "truncated"),
        (b'{"speed": 2}', "unknown fields speed"),
        (b'{"status": 200}', "status must be 400 to 599, got 200"),
        (b'{"status": 500.5}', "whole number"),
        (b'{"slowdown": 0}', "slowdown must be"),
        (b'{"slowdown": "2"}', "must be a number"),
        (b'{"slowdown": null}', "must be a number"),
        (b'{"usage": "odd"}', "usage must be one of"),
        (b'{"share": 1.5}', "share must be 0 to 1"),
        (b'{"stall_at_token": -1}', "stall_at_token must be 0"),
    ],
)
async def test_an_impossible_fault_is_refused_and_changes_nothing(client: Client, document: bytes, words: str) -> None:
    reply = await client.request("POST", "/_fault", document)
    assert reply.status == 400
    assert words in reply.json["error"]["message"]
    assert (await client.chat(tokens=1)).status == 200


async def test_hanging_up_cancels_the_request_and_frees_its_place() -> None:
    async with serving(deployment(quick_engine(max_seqs=1))) as narrow:
        running = asyncio.create_task(narrow.stream(tokens=100_000))
        await asyncio.sleep(0.05)
        waiting = asyncio.create_task(narrow.stream(tokens=3))
        await asyncio.sleep(0.05)
        before = await narrow.engine()
        assert (before["running"], before["waiting"]) == (1, 1)
        running.cancel()
        reply = await asyncio.wait_for(waiting, 2)
        assert len(reply.token_s) == 3
        after = await narrow.engine()
    assert (after["running"], after["waiting"], after["answers_live"], after["answers_cancelled"]) == (0, 0, 0, 1)


async def test_hanging_up_while_in_line_leaves_the_line() -> None:
    async with serving(deployment(quick_engine(max_seqs=1))) as narrow:
        running = asyncio.create_task(narrow.stream(tokens=100))
        await asyncio.sleep(0.02)
        gone = asyncio.create_task(narrow.chat(tokens=5))
        await asyncio.sleep(0.02)
        gone.cancel()
        await asyncio.sleep(0.02)
        assert (await narrow.engine())["waiting"] == 0
        assert len((await running).token_s) == 100


async def test_a_client_that_reads_nothing_does_not_hold_up_others_and_catches_up() -> None:
    """60,000 tokens of some 250 bytes overrun every buffer; the engine goes on and the rest leaves in one go."""
    async with serving(deployment(quick_engine(base_ps=((1, 5_000_000),)))) as client:
        reader, writer = await asyncio.open_connection(client.listener.host, client.listener.port, limit=1_024)
        fields = {"model": "m-1", "messages": [{"role": "user", "content": "x"}], "max_tokens": 60_000, "stream": True}
        body = json.dumps(fields).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nconnection: close\r\ncontent-length: "
        writer.write(f"{head}{len(body)}\r\n\r\n".encode() + body)
        await asyncio.sleep(0.3)
        assert len((await client.stream(tokens=50)).token_s) == 50
        assert (await client.engine())["answers_live"] == 1  # much of it cannot leave
        await asyncio.sleep(0.3)
        assert (await client.engine())["running"] == 0
        received = bytearray()
        while data := await reader.read(65_536):
            received += data
        writer.close()
    assert received.count(b'"content"') == 60_000
    assert received.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


def test_a_plan_hands_out_its_share_and_stops_at_its_number() -> None:
    plan = FaultPlan(Fault(status=500, share=0.25, requests=2))
    hits = [plan.next().status is not None for _ in range(16)]
    assert [index for index, hit in enumerate(hits) if hit] == [3, 7]


def test_a_fault_is_read_from_its_json_form() -> None:
    fault = read_fault({"usage": "wrong", "stall_at_token": None, "requests": 3, "slowdown": 2})
    assert fault == Fault(slowdown=2, usage=UsageFault.WRONG, requests=3)
    with pytest.raises(FaultError, match="known are"):
        read_fault({"": 1})


def test_a_slow_down_keeps_the_time_that_has_passed() -> None:
    pace = Pace(10.0)
    assert pace.engine_ns(11.0) == 1_000_000_000
    pace.slow_down(4.0, 12.0)
    assert pace.engine_ns(16.0) == 3_000_000_000
    assert pace.loop_s(3_000_000_000) == pytest.approx(16.0)
