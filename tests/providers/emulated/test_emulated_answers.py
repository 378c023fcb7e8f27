"""The wire of an emulated backend, over real HTTP."""

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest

from providers.emulated.connection import BODY_BYTES_MAX, HEAD_BYTES_MAX
from providers.engine_model.spec import RemoteSpec
from tests.providers.emulated.emulated_client import Client, deployment, quick_engine, read_reply, serving


async def test_a_streamed_answer_is_one_event_a_token_then_the_reason_usage_and_done(client: Client) -> None:
    reply = await client.stream(tokens=5, prompt="x" * 41)
    assert (reply.status, reply.ended_well, reply.events[-1]) == (200, True, "[DONE]")
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert len(reply.token_s) == 5
    deltas = [chunk["choices"][0] for chunk in reply.chunks if chunk["choices"]]
    assert deltas[0]["delta"]["role"] == "assistant"
    assert reply.headers["connection"] == "close"  # as the client asked
    assert [choice["finish_reason"] for choice in deltas] == [None] * 5 + ["length"]
    assert reply.usages == [
        # 41 bytes are 10.25 tokens of 4 bytes, rounded up.
        {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16, "prompt_tokens_details": {"cached_tokens": 0}}
    ]
    assert reply.chunks[-1]["choices"] == []


async def test_usage_comes_only_when_asked_for_and_with_every_chunk_when_asked_for_that(client: Client) -> None:
    assert (await client.stream(tokens=3, stream_options=None)).usages == []
    every = await client.stream(tokens=3, stream_options={"include_usage": True, "continuous_usage_stats": True})
    assert [usage["completion_tokens"] for usage in every.usages] == [1, 2, 3, 3]


async def test_an_answer_in_one_body_has_the_same_text_as_the_stream(client: Client) -> None:
    whole, stream = await client.chat(tokens=30), await client.stream(tokens=30)
    assert whole.json["object"] == "chat.completion"
    assert whole.json["choices"][0]["message"] == {"role": "assistant", "content": stream.text}
    assert whole.json["choices"][0]["finish_reason"] == "length"
    assert whole.json["usage"] == stream.usages[0]


async def test_everything_that_leaves_says_that_it_is_emulated(client: Client) -> None:
    stream, whole = await client.stream(tokens=2), await client.chat(tokens=2)
    models, health = await client.request("GET", "/v1/models"), await client.request("GET", "/health")
    for reply in (stream, whole, models, health):
        assert reply.headers["x-emulated"] == "true"
    assert {chunk["system_fingerprint"] for chunk in stream.chunks} == {"emulated:b200-test"}
    assert whole.json["system_fingerprint"] == "emulated:b200-test"
    (model,) = models.json["data"]
    assert (model["id"], model["owned_by"], model["emulated"]) == ("m-1", "emulated", True)
    assert (model["deployment_id"], model["label"]) == ("b200-test", "emulated for tests")
    assert health.json == {"status": "ok", "emulated": True}


async def test_without_a_limit_the_prompt_alone_decides_the_length_and_the_answer_stops() -> None:
    engine = quick_engine(max_seqs=64)
    async with serving(deployment(engine, answer_tokens=40)) as short:
        replies = [await short.chat(prompt=f"question {n % 3}") for n in range(6)]
    lengths = [reply.json["usage"]["completion_tokens"] for reply in replies]
    assert lengths[:3] == lengths[3:]
    assert len(set(lengths)) > 1
    assert {reply.json["choices"][0]["finish_reason"] for reply in replies} == {"stop"}


async def test_a_limit_is_reached_unless_the_backend_may_stop_early() -> None:
    async with serving(deployment(answer_tokens=5, stops_early=True)) as early:
        stopped = await early.chat(tokens=200)
        full = await early.chat(tokens=200, ignore_eos=True)
    assert stopped.json["choices"][0]["finish_reason"] == "stop"
    assert stopped.json["usage"]["completion_tokens"] < 200
    assert full.json["choices"][0]["finish_reason"] == "length"
    assert full.json["usage"]["completion_tokens"] == 200


async def test_max_completion_tokens_wins_over_max_tokens(client: Client) -> None:
    reply = await client.chat(tokens=9, max_completion_tokens=4)
    assert reply.json["usage"]["completion_tokens"] == 4


async def test_parameters_it_does_not_know_are_ignored(client: Client) -> None:
    reply = await client.chat(tokens=2, temperature=0.3, logit_bias={"1": 2}, response_format={"type": "text"}, foo=[1])
    assert reply.status == 200


async def test_content_in_parts_is_counted_by_its_text(client: Client) -> None:
    parts = [{"type": "text", "text": "12345678"}, {"type": "image_url", "image_url": {"url": "data:…"}}]
    body = {"model": "m-1", "messages": [{"role": "user", "content": parts}], "max_tokens": 1}
    reply = await client.request("POST", "/v1/chat/completions", json.dumps(body).encode())
    assert reply.json["usage"]["prompt_tokens"] == 2


@pytest.mark.parametrize(
    ("fields", "status", "code", "param", "words"),
    [
        ({"model": "other"}, 404, "model_not_found", "model", "this backend has 'm-1'"),
        ({"messages": []}, 400, "invalid_value", "messages", "at least one"),
        ({"messages": "hello"}, 400, "invalid_value", "messages", "Expected `array`"),
        ({"max_tokens": 0}, 400, "invalid_value", "max_tokens", "at least 1, got 0"),
        ({"max_tokens": -3}, 400, "invalid_value", "max_tokens", "got -3"),
        ({"max_tokens": "5"}, 400, "invalid_value", "max_tokens", "Expected `int"),
        ({"max_tokens": 10**30}, 400, "context_length_exceeded", "max_tokens", "131072"),
        ({"max_completion_tokens": 10**9}, 400, "context_length_exceeded", "max_completion_tokens", "131072"),
        ({"n": 2}, 400, "unsupported_value", "n", "n = 2"),
    ],
)
async def test_a_wrong_request_is_refused_in_openai_shape(
    client: Client, fields: dict[str, Any], status: int, code: str, param: str, words: str
) -> None:
    body = {"model": "m-1", "messages": [{"role": "user", "content": "hi"}]} | fields
    reply = await client.request("POST", "/v1/chat/completions", json.dumps(body).encode())
    error = reply.json["error"]
    assert (reply.status, error["code"], error["param"], error["type"]) == (
        status,
        code,
        param,
        "invalid_request_error",
    )
    assert words in error["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"model": "\xff"}', b"\x00" * 10])
async def test_a_body_that_is_no_request_is_a_400(client: Client, body: bytes) -> None:
    reply = await client.request("POST", "/v1/chat/completions", body)
    assert reply.status == 400
    assert reply.json["error"]["code"] in {"invalid_json", "invalid_value"}


async def test_a_prompt_beyond_context_or_cache_is_refused_with_the_numbers() -> None:
    async with serving(deployment(quick_engine(kv_tokens=50), context_max=100)) as small:
        context = await small.chat(tokens=10, prompt="x" * 400)
        cache = await small.chat(tokens=30, prompt="x" * 200)
    assert context.json["error"]["code"] == cache.json["error"]["code"] == "context_length_exceeded"
    assert "100 tokens, but 100 are in the messages and 10 in the answer" in context.json["error"]["message"]
    assert "50 tokens, but prompt and answer need 50 + 30" in cache.json["error"]["message"]


async def test_unknown_paths_and_methods_are_told(client: Client) -> None:
    missing, wrong = await client.request("GET", "/v2"), await client.request("GET", "/v1/chat/completions")
    assert (missing.status, missing.json["error"]["code"]) == (404, "not_found")
    assert (wrong.status, wrong.json["error"]["message"]) == (405, "/v1/chat/completions takes POST")


async def test_an_api_key_is_asked_for_when_one_is_set() -> None:
    async with serving(deployment(api_key="sk-x")) as locked:
        assert (await locked.chat(tokens=1)).status == 401
        assert (await locked.request("GET", "/v1/models")).status == 401
        assert (await locked.request("GET", "/v1/models", headers="authorization: Bearer sk-x\r\n")).status == 200
        assert (await locked.request("GET", "/health")).status == 200


async def test_a_full_line_turns_requests_away() -> None:
    async with serving(deployment(quick_engine(max_seqs=1), waiting_max=1)) as narrow:
        running = [asyncio.create_task(narrow.stream(tokens=100)) for _ in range(2)]
        await asyncio.sleep(0.05)
        reply = await narrow.chat(tokens=1)
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert reply.json["error"]["code"] == "overloaded"
        assert [len(one.token_s) for one in await asyncio.gather(*running)] == [100, 100]


async def test_a_connection_serves_many_requests_also_when_sent_ahead(client: Client) -> None:
    reader, writer = await asyncio.open_connection(client.listener.host, client.listener.port)
    body = json.dumps({"model": "m-1", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    writer.write(request + request + b"GET /health HTTP/1.1\r\n\r\n")
    replies = [await read_reply(reader) for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 200]
    assert replies[0].json["choices"] == replies[1].json["choices"]
    assert replies[2].json["status"] == "ok"
    writer.close()


async def test_a_chunked_body_that_waits_for_a_go_ahead_is_taken(client: Client) -> None:
    reader, writer = await asyncio.open_connection(client.listener.host, client.listener.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    body = json.dumps({"model": "m-1", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}).encode()
    for byte in body:
        writer.write(b"1\r\n%c\r\n" % byte)
    writer.write(b"0\r\n\r\n")
    assert (await read_reply(reader)).status == 200
    writer.close()


async def test_an_old_client_gets_its_stream_without_chunks(client: Client) -> None:
    reader, writer = await asyncio.open_connection(client.listener.host, client.listener.port)
    fields = {"model": "m-1", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, "stream": True}
    body = json.dumps(fields).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.0\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    reply = await read_reply(reader)
    assert "transfer-encoding" not in reply.headers
    assert reply.body.endswith(b"data: [DONE]\n\n")
    writer.close()


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"NONSENSE\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * (HEAD_BYTES_MAX + 10), 431, "head_too_large"),
        (b"GET /health HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", 400, "bad_request"),
    ],
)
async def test_what_is_not_our_http_is_refused(client: Client, sent: bytes, status: int, code: str) -> None:
    reader, writer = await asyncio.open_connection(client.listener.host, client.listener.port)
    writer.write(sent)
    reply = await read_reply(reader)
    if b"upgrade" in sent:
        assert reply.status in {200, status}
    else:
        assert (reply.status, reply.json["error"]["code"]) == (status, code)
    writer.close()


async def test_a_body_beyond_the_limit_is_refused_while_it_is_still_coming(client: Client) -> None:
    reader, writer = await asyncio.open_connection(client.listener.host, client.listener.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (2 * BODY_BYTES_MAX))
    writer.write(b"x" * (BODY_BYTES_MAX + 1))
    reply = await read_reply(reader)
    assert (reply.status, reply.json["error"]["code"]) == (413, "body_too_large")
    writer.close()


async def test_tokens_never_come_before_the_engine_makes_them() -> None:
    """10 ms a step: the first token after one, each further one 10 ms later; timers may be late, never early."""
    async with serving(deployment(RemoteSpec(10 * 10**9, 0, 4, entry_ns=20_000_000))) as remote:
        start = asyncio.get_running_loop().time()
        reply = await remote.stream(tokens=20)
    passed = [at - start for at in reply.token_s]
    assert all(at >= 0.020 + 0.010 * index - 1e-4 for index, at in enumerate(passed))
    assert all(b >= a for a, b in pairwise(passed))
