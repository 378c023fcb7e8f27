"""The streaming client against a backend on loopback: what it sends, what it yields, and what the backend feels."""

import asyncio
from contextlib import aclosing

import msgspec
import pytest

from pricing.usage import Usage
from providers.base import Timeouts, TokenChunk
from providers.errors import (
    ProviderClosedEarly,
    ProviderCredentialRejected,
    ProviderProtocolError,
    ProviderStreamError,
    ProviderTimeout,
)
from providers.http_plain import PlainTransport
from providers.http_port import HttpLimits, origin_of
from providers.openai_wire import Dialect, OpenAiWire
from tests.providers.fake_backend import (
    BARE_STREAM_HEAD,
    DONE,
    GOOD,
    HELLO,
    LAST_PIECE,
    ROLE,
    SECRET,
    STOP,
    STREAM_HEAD,
    Out,
    Seen,
    ask,
    collect,
    data,
    event,
    fake_backend,
    spec_for,
    usage_event,
    wire,
)

WHOLE = {
    "id": "chatcmpl-7",
    "model": "backend/m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2},
}


def good(out: Out, _seen: Seen) -> None:
    out.stream(GOOD)


async def test_a_streamed_answer_arrives_whole() -> None:
    async with wire(good) as (client, _):
        chunks = await collect(client)

    assert b"".join(chunk.events for chunk in chunks) == b"".join([ROLE, *HELLO, STOP])
    assert chunks[-1].finish_reason == "stop"
    assert chunks[-1].usage == Usage(input=9, output=2)


async def test_the_request_carries_the_customers_fields_untouched_under_the_backends_model_name() -> None:
    fields = {
        "model": "public/m",
        "temperature": msgspec.Raw(b"0.70"),
        "x_unknown": msgspec.Raw(b'{"deep": [1, 2.50, "\\u00e9"]}'),
        "stream_options": {"include_usage": False, "include_obfuscation": True},
        "service_tier": "premium",
        "provider": {"order": ["cluster-1"]},
        "models": ["a", "b"],
    }
    async with wire(good) as (client, backend):
        await collect(client, ask(fields))
        (seen,) = backend.seen

    assert (seen.method, seen.target) == ("POST", "/v1/chat/completions")
    assert b'"temperature":0.70' in seen.body
    assert b'"x_unknown":{"deep": [1, 2.50, "\\u00e9"]}' in seen.body
    assert {name: seen.json.get(name) for name in ("model", "stream", "stream_options")} == {
        "model": "backend/m",
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert not {"service_tier", "provider", "models"} & seen.json.keys()


async def test_the_request_names_itself_and_brings_the_credential_in_its_header_alone() -> None:
    async with wire(good) as (client, backend):
        await collect(client)
        (seen,) = backend.seen

    assert seen.headers["authorization"] == f"Bearer {SECRET}"
    assert seen.headers["x-request-id"] == "gen-1"
    assert seen.headers["host"] == f"127.0.0.1:{backend.port}"
    assert SECRET.encode() not in seen.body


async def test_a_backend_without_a_credential_is_sent_none() -> None:
    async with wire(good, api_key=None) as (client, backend):
        await collect(client)

    assert "authorization" not in backend.seen[0].headers


async def test_each_read_is_one_chunk_as_soon_as_it_is_there() -> None:
    first_read = asyncio.Event()

    async def slowly(out: Out, _seen: Seen) -> None:
        out.raw(STREAM_HEAD)
        out.piece(ROLE + HELLO[0])
        await first_read.wait()
        out.piece(HELLO[1] + STOP + DONE)
        out.raw(LAST_PIECE)

    sizes: list[int] = []
    async with wire(slowly) as (client, _):
        async for chunk in client.stream(ask()):
            sizes.append(chunk.content_bytes)
            first_read.set()

    assert sizes == [3, 2]


async def test_an_answer_in_single_bytes_is_the_same_answer() -> None:
    async def dribble(out: Out, _seen: Seen) -> None:
        for byte in STREAM_HEAD + b"%x\r\n%s\r\n" % (len(GOOD), GOOD) + LAST_PIECE:
            out.raw(bytes([byte]))
            await asyncio.sleep(0)

    async with wire(dribble) as (client, _):
        chunks = await collect(client)

    assert b"".join(chunk.events for chunk in chunks) == b"".join([ROLE, *HELLO, STOP])
    assert chunks[-1].usage == Usage(input=9, output=2)


async def test_an_answer_that_ends_with_its_connection_is_complete() -> None:
    def until_close(out: Out, _seen: Seen) -> None:
        out.raw(BARE_STREAM_HEAD + GOOD)
        out.close()

    async with wire(until_close) as (client, _):
        assert (await collect(client))[-1].usage == Usage(input=9, output=2)


async def test_an_answer_that_is_not_streamed_is_one_chunk_with_the_body_unchanged() -> None:
    body = msgspec.json.encode(WHOLE)
    async with wire(lambda out, _: out.answer(200, body)) as (client, backend):
        (chunk,) = await collect(client, ask(is_stream=False))

    assert chunk == TokenChunk(
        events=body,
        response_id="chatcmpl-7",
        response_model="backend/m",
        content_bytes=5,
        content_events=1,
        tokens_through=2,
        finish_reason="stop",
        usage=Usage(input=9, output=2),
    )
    assert backend.seen[0].json["stream"] is False
    assert "stream_options" not in backend.seen[0].json


async def test_an_answer_that_is_not_streamed_may_take_longer_than_a_first_token() -> None:
    async def late(out: Out, _seen: Seen) -> None:
        await asyncio.sleep(0.15)
        out.answer(200, msgspec.json.encode(WHOLE))

    times = Timeouts(connect_s=1, first_token_s=0.05, gap_s=0.05, total_s=5)
    async with wire(late) as (client, _):
        (chunk,) = await collect(client, ask(is_stream=False, timeouts=times))

    assert chunk.content_bytes == 5


async def test_an_error_with_status_200_is_an_error() -> None:
    body = b'{"error":{"message":"engine is dead","code":500}}'
    for is_stream in (True, False):
        async with wire(lambda out, _: out.answer(200, body)) as (client, _):
            with pytest.raises(ProviderStreamError, match="engine is dead"):
                await collect(client, ask(is_stream=is_stream))


@pytest.mark.parametrize("media", ["application/json", "text/html; charset=utf-8"])
async def test_a_stream_that_comes_as_something_else_is_a_protocol_error(media: str) -> None:
    async with wire(lambda out, _: out.answer(200, msgspec.json.encode(WHOLE), media=media)) as (client, _):
        with pytest.raises(ProviderProtocolError, match="where a stream was asked for"):
            await collect(client)


async def test_a_compressed_answer_that_nobody_asked_for_is_a_protocol_error() -> None:
    async with wire(lambda out, _: out.answer(200, b"\x1f\x8b", "Content-Encoding: gzip")) as (client, backend):
        with pytest.raises(ProviderProtocolError, match="gzip"):
            await collect(client, ask(is_stream=False))

    assert backend.seen[0].headers["accept-encoding"] == "identity"


async def test_closing_the_iterator_is_felt_by_the_backend() -> None:
    felt = asyncio.Event()

    async def endless(out: Out, _seen: Seen) -> None:
        out.raw(STREAM_HEAD)
        out.piece(ROLE + HELLO[0])
        await out.until_gone()
        felt.set()

    async with wire(endless) as (client, _):
        async with aclosing(client.stream(ask())) as chunks:
            await anext(chunks)
        async with asyncio.timeout(2):
            await felt.wait()


@pytest.mark.parametrize("moment", ["before the headers", "in the middle"])
async def test_cancelling_the_reader_is_felt_by_the_backend(moment: str) -> None:
    reached, felt = asyncio.Event(), asyncio.Event()

    async def endless(out: Out, _seen: Seen) -> None:
        if moment == "in the middle":
            out.raw(STREAM_HEAD)
            out.piece(ROLE + HELLO[0])
        reached.set()
        await out.until_gone()
        felt.set()

    async with wire(endless) as (client, _):
        reader = asyncio.create_task(collect(client))
        await reached.wait()
        await asyncio.sleep(0.02)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        async with asyncio.timeout(2):
            await felt.wait()


async def test_a_reader_that_pauses_makes_the_backend_wait_and_loses_nothing() -> None:
    """The backend must be stopped long before it has written 20 MB; what it wrote must all arrive."""
    burst = event("x" * 65_500) * 4
    written: list[int] = []

    async def flood(out: Out, _seen: Seen) -> None:
        out.raw(STREAM_HEAD)
        for _ in range(80):
            await out.writable.wait()
            out.piece(burst)
            written.append(len(burst))
        out.piece(STOP + DONE)
        out.raw(LAST_PIECE)

    async with fake_backend(flood) as backend:
        spec = spec_for(backend.base_url)
        client = OpenAiWire(spec, Dialect(), PlainTransport(origin_of(spec.base_url), HttpLimits()))
        chunks = client.stream(ask())
        size = (await anext(chunks)).content_bytes
        await asyncio.sleep(0.3)
        stopped_at = sum(written)
        async for chunk in chunks:
            size += chunk.content_bytes
        await client.close()

    assert stopped_at < 12_000_000  # a few socket buffers and 256 KiB of ours, not all 21 MB
    assert size == 80 * 4 * 65_500


async def test_after_the_finish_reason_a_backend_that_falls_silent_has_still_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("providers.openai_call.TAIL_S_MAX", 0.05)

    async def no_end(out: Out, _seen: Seen) -> None:
        out.raw(STREAM_HEAD)
        out.piece(event("a") + STOP)
        await out.until_gone()

    async with wire(no_end) as (client, _):
        chunks = await collect(client)

    assert [chunk.finish_reason for chunk in chunks] == ["stop"]


async def test_after_the_finish_reason_a_broken_connection_has_still_answered() -> None:
    async def cut(out: Out, _seen: Seen) -> None:
        out.raw(STREAM_HEAD)
        out.piece(event("a") + STOP)
        await asyncio.sleep(0.02)
        out.piece(usage_event(9, 1))
        await asyncio.sleep(0.02)
        out.transport.abort()

    async with wire(cut) as (client, _):
        chunks = await collect(client)

    assert chunks[-1].usage == Usage(input=9, output=1)


async def test_an_answer_streamed_for_one_that_is_not_is_put_together() -> None:
    async with wire(good, dialect=Dialect(is_always_streamed=True)) as (client, backend):
        (chunk,) = await collect(client, ask(is_stream=False))

    body = msgspec.json.decode(chunk.events)
    assert backend.seen[0].json["stream"] is True
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "Hello"}
    assert (chunk.content_bytes, chunk.finish_reason, chunk.usage) == (5, "stop", Usage(input=9, output=2))


async def test_an_answer_put_together_fails_as_its_stream_does() -> None:
    async def cut(out: Out, _seen: Seen) -> None:
        out.raw(STREAM_HEAD)
        out.piece(event("a"))
        await asyncio.sleep(0.01)
        out.close()

    async with wire(cut, dialect=Dialect(is_always_streamed=True)) as (client, _):
        with pytest.raises(ProviderClosedEarly):
            await collect(client, ask(is_stream=False))


async def test_no_error_shows_the_credential_even_when_the_backend_quotes_it() -> None:
    quoted = msgspec.json.encode({"error": {"message": f"Incorrect API key provided: {SECRET[:9]}****{SECRET[-4:]}."}})
    whole = data({"error": {"message": f"bad key {SECRET}"}})
    async with wire(lambda out, _: out.answer(401, quoted)) as (client, _):
        with pytest.raises(ProviderCredentialRejected) as refused:
            await collect(client)
    async with wire(lambda out, _: out.stream(whole)) as (client, _):
        with pytest.raises(ProviderStreamError) as reported:
            await collect(client)

    assert refused.value.detail == "HTTP 401: Incorrect API key provided: [redacted]"
    assert reported.value.detail == "bad key [redacted]"
    assert SECRET not in repr(spec_for("http://127.0.0.1:1/v1"))


async def test_a_request_may_ask_for_shorter_times_but_not_for_longer_ones() -> None:
    async def silent(out: Out, _seen: Seen) -> None:
        await out.until_gone()

    short, long = Timeouts(0.05, 0.05, 0.05, 0.05), Timeouts(60, 60, 60, 60)
    async with wire(silent, timeouts=long) as (client, _):
        with pytest.raises(ProviderTimeout):
            await collect(client, ask(timeouts=short))
    async with wire(silent, timeouts=short) as (client, _):
        with pytest.raises(ProviderTimeout):
            await collect(client, ask(timeouts=long))


async def test_two_answers_at_once_do_not_mix() -> None:
    async def echo(out: Out, seen: Seen) -> None:
        out.raw(STREAM_HEAD)
        for _ in range(20):
            await out.pieces(event(seen.json["tag"]))
        out.piece(STOP + DONE)
        out.raw(LAST_PIECE)

    async with wire(echo) as (client, backend):
        answers = await asyncio.gather(*(collect(client, ask({"tag": tag})) for tag in ("a", "bb", "ccc")))

    assert [sum(chunk.content_bytes for chunk in chunks) for chunks in answers] == [20, 40, 60]
    assert backend.connections == 3
