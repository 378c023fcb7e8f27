"""Every way in which a backend can fail, over sockets of our own and over aiohttp alike."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from providers.base import CompletionRequest, Timeouts
from providers.errors import (
    ProviderClosedEarly,
    ProviderCredentialRejected,
    ProviderError,
    ProviderModelMissing,
    ProviderOverloaded,
    ProviderProtocolError,
    ProviderRejectedRequest,
    ProviderServerError,
    ProviderStreamError,
    ProviderTimeout,
    ProviderUnreachable,
)
from providers.http_plain import PlainTransport
from providers.http_port import HttpLimits, HttpTransport, origin_of
from providers.http_secure import SecureTransport
from providers.openai_wire import Dialect, OpenAiWire
from tests.providers.fake_backend import (
    BARE_STREAM_HEAD,
    GOOD,
    HELLO,
    ROLE,
    STOP,
    STREAM_HEAD,
    FakeBackend,
    Out,
    Script,
    Seen,
    ask,
    collect,
    data,
    event,
    fake_backend,
    spec_for,
    usage_event,
)

TRANSPORTS = {"plain": PlainTransport, "aiohttp": SecureTransport}
SHORT = Timeouts(connect_s=0.5, first_token_s=0.15, gap_s=0.15, total_s=0.3)

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("kind", TRANSPORTS)]


def transport(kind: str, base_url: str, limits: HttpLimits | None = None) -> HttpTransport:
    return TRANSPORTS[kind](origin_of(base_url), limits or HttpLimits())


@asynccontextmanager
async def client_of(
    kind: str, *scripts: Script, limits: HttpLimits | None = None
) -> AsyncGenerator[tuple[OpenAiWire, FakeBackend]]:
    async with fake_backend(*scripts) as backend:
        url = backend.base_url
        client = OpenAiWire(spec_for(url), Dialect(), transport(kind, url, limits))
        try:
            yield client, backend
        finally:
            await client.close()


async def failure_of(kind: str, script: Script, *, is_stream: bool = True, times: Timeouts = SHORT) -> ProviderError:
    async with client_of(kind, script) as (client, _):
        with pytest.raises(ProviderError) as failure:
            await collect(client, ask(is_stream=is_stream, timeouts=times))
        return failure.value


async def test_a_refused_connection_is_unreachable(kind: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        client = OpenAiWire(spec_for(url), Dialect(), transport(kind, url))
        with pytest.raises(ProviderUnreachable, match=r"no connection to 127\.0\.0\.1"):
            await collect(client)
        await client.close()


async def test_a_name_that_does_not_resolve_is_unreachable(kind: str) -> None:
    url = "http://no-such-host.invalid:80/v1"
    client = OpenAiWire(spec_for(url), Dialect(), transport(kind, url))
    with pytest.raises(ProviderUnreachable, match=r"no connection to no-such-host\.invalid"):
        await collect(client)
    await client.close()


async def test_a_connection_that_does_not_open_in_time_is_a_timeout(kind: str) -> None:
    """A full accept queue leaves the handshake unanswered."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(8)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        url = f"http://127.0.0.1:{port}/v1"
        client = OpenAiWire(spec_for(url), Dialect(), transport(kind, url))
        with pytest.raises(ProviderTimeout, match="no connection"):
            await collect(client, ask(timeouts=Timeouts(connect_s=0.1)))
        await client.close()
        for each in waiting:
            each.close()


async def test_silence_before_the_headers_is_a_timeout_that_the_backend_feels(kind: str) -> None:
    felt = asyncio.Event()

    async def silent(out: Out, _seen: Seen) -> None:
        await out.until_gone()
        felt.set()

    async with client_of(kind, silent) as (client, _):
        with pytest.raises(ProviderTimeout, match=r"no first token within 0\.15 s"):
            await collect(client, ask(timeouts=SHORT))
        async with asyncio.timeout(2):
            await felt.wait()


async def test_signs_of_life_without_content_do_not_put_off_the_first_token(kind: str) -> None:
    async def pinging(out: Out, _seen: Seen) -> None:
        out.raw(STREAM_HEAD)
        while not out.gone.is_set():
            await out.pieces(b": ping\n\n", ROLE, apart_s=0.03)

    failure = await failure_of(kind, pinging)

    assert isinstance(failure, ProviderTimeout)
    assert failure.detail == "no first token within 0.15 s"


async def test_silence_between_tokens_is_a_timeout_though_comments_come(kind: str) -> None:
    async def stalling(out: Out, _seen: Seen) -> None:
        out.raw(STREAM_HEAD)
        out.piece(HELLO[0])
        while not out.gone.is_set():
            await out.pieces(b": ping\n\n", apart_s=0.03)

    failure = await failure_of(kind, stalling)

    assert isinstance(failure, ProviderTimeout)
    assert failure.detail == "silent for 0.15 s between tokens"


async def test_tokens_that_never_end_are_a_timeout_in_all(kind: str) -> None:
    async def endless(out: Out, _seen: Seen) -> None:
        out.raw(STREAM_HEAD)
        while not out.gone.is_set():
            await out.pieces(event("a"), apart_s=0.02)

    failure = await failure_of(kind, endless)

    assert isinstance(failure, ProviderTimeout)
    assert failure.detail == "no whole answer within 0.3 s"


async def test_tokens_that_take_longer_in_all_than_a_first_token_may_but_come_steadily_are_fine(kind: str) -> None:
    async def steady(out: Out, _seen: Seen) -> None:
        out.raw(STREAM_HEAD)
        await out.pieces(*[event("a")] * 10, STOP, apart_s=0.05)
        out.raw(b"0\r\n\r\n")

    times = Timeouts(connect_s=1, first_token_s=0.4, gap_s=0.4, total_s=10)
    async with client_of(kind, steady) as (client, _):
        chunks = await collect(client, ask(timeouts=times))

    assert sum(chunk.content_bytes for chunk in chunks) == 10


async def test_a_whole_answer_that_does_not_come_in_time_is_a_timeout(kind: str) -> None:
    async def silent(out: Out, _seen: Seen) -> None:
        await out.until_gone()

    failure = await failure_of(kind, silent, is_stream=False)

    assert isinstance(failure, ProviderTimeout)
    assert failure.detail == "no whole answer within 0.3 s"


async def test_a_connection_closed_before_an_answer_is_unreachable(kind: str) -> None:
    assert isinstance(await failure_of(kind, lambda out, _: out.close()), ProviderUnreachable)
    assert isinstance(await failure_of(kind, lambda out, _: out.transport.abort()), ProviderUnreachable)


@pytest.mark.parametrize("is_stream", [True, False])
async def test_an_answer_cut_at_any_byte_ends_as_a_failure_or_whole(kind: str, is_stream: bool) -> None:  # noqa: FBT001
    """Before the finish reason it is a failure of the right kind, after it an answer."""
    body = data({"id": "a", "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]})[6:-2]
    whole = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    stream = STREAM_HEAD + b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in (ROLE, *HELLO, STOP))
    answer, is_over = (stream, stream.index(STOP) + len(STOP)) if is_stream else (whole, len(whole))

    def cut(at: int) -> Script:
        def script(out: Out, _seen: Seen) -> None:
            out.raw(answer[:at])
            out.close()

        return script

    places = [*range(1, len(answer), 13), is_over - 1, is_over, len(answer)]
    async with client_of(kind, *map(cut, places)) as (client, _):
        outcomes = [await outcome(client, ask(is_stream=is_stream)) for _ in places]

    early = {type(result) for at, result in zip(places, outcomes, strict=True) if at < is_over - len(b"\n\n")}
    late = [result for at, result in zip(places, outcomes, strict=True) if at >= is_over]
    assert early <= {ProviderClosedEarly, ProviderUnreachable}
    assert late == ["stop"] * len(late)


async def outcome(client: OpenAiWire, request: CompletionRequest) -> str | ProviderError | None:
    """The finish reason, or the failure."""
    try:
        return (await collect(client, request))[-1].finish_reason
    except ProviderError as failure:
        return failure


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\n" + b"X-Big: " + b"a" * 70_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_a_protocol_error(kind: str, garbage: bytes) -> None:
    async def script(out: Out, _seen: Seen) -> None:
        out.raw(garbage)
        await out.until_gone()

    assert isinstance(await failure_of(kind, script), ProviderProtocolError)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"data: {nonsense}\n\n", ProviderProtocolError),
        (b"data: " + b"x" * 1_100_000, ProviderProtocolError),
        (b"<html>bad gateway</html>\n\n", ProviderProtocolError),
        (event("a") + STOP + usage_event(9, 5) + usage_event(9, 4), ProviderProtocolError),
        (data({"error": {"message": "boom"}}), ProviderStreamError),
        (ROLE + HELLO[0], ProviderClosedEarly),
        (b"", ProviderClosedEarly),
    ],
)
async def test_what_is_not_the_openai_wire_fails_as_its_kind(
    kind: str, body: bytes, error: type[ProviderError]
) -> None:
    def script(out: Out, _seen: Seen) -> None:
        out.raw(BARE_STREAM_HEAD + body)
        out.close()

    assert type(await failure_of(kind, script, times=Timeouts())) is error


async def test_a_broken_piece_after_content_fails_after_that_content(kind: str) -> None:
    async def script(out: Out, _seen: Seen) -> None:
        out.raw(STREAM_HEAD)
        out.piece(ROLE + HELLO[0])
        await asyncio.sleep(0.05)
        out.raw(b"not a length\r\n")
        await out.until_gone()

    async with client_of(kind, script) as (client, _):
        chunks = client.stream(ask(timeouts=Timeouts(connect_s=1, first_token_s=2, gap_s=0.4, total_s=5)))
        assert (await anext(chunks)).content_bytes == 3
        with pytest.raises(ProviderProtocolError if kind == "plain" else ProviderError):  # aiohttp may wait on
            await anext(chunks)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, ProviderRejectedRequest),
        (401, ProviderCredentialRejected),
        (402, ProviderCredentialRejected),
        (403, ProviderCredentialRejected),
        (408, ProviderTimeout),
        (413, ProviderRejectedRequest),
        (422, ProviderRejectedRequest),
        (429, ProviderOverloaded),
        (500, ProviderServerError),
        (502, ProviderServerError),
        (503, ProviderServerError),
        (504, ProviderTimeout),
        (529, ProviderOverloaded),
        (204, ProviderProtocolError),
        (302, ProviderProtocolError),
    ],
)
async def test_each_status_has_its_error_with_the_backends_words(
    kind: str, status: int, error: type[ProviderError]
) -> None:
    body = b"" if status == 204 else b'{"error":{"message":"because  of\\nreasons"}}'
    for is_stream in (True, False):
        failure = await failure_of(
            kind, lambda out, _: out.answer(status, body, "Location: http://127.0.0.1:1/"), is_stream=is_stream
        )

        assert type(failure) is error
        assert failure.status == status
        assert failure.detail == f"HTTP {status}" + (": because of reasons" if body else "")


async def test_a_404_says_that_the_model_is_not_served_there(kind: str) -> None:
    body = b'{"error":{"message":"because of reasons"}}'
    failure = await failure_of(kind, lambda out, _: out.answer(404, body), is_stream=False)
    assert type(failure) is ProviderModelMissing
    assert "does not serve" in failure.detail
    assert "HTTP 404: because of reasons" in failure.detail


@pytest.mark.parametrize(
    ("headers", "after_s"),
    [
        (("Retry-After: 7",), 7.0),
        (("Retry-After: 7", "retry-after-ms: 1500"), 1.5),
        (("Date: Wed, 21 Oct 2026 07:28:00 GMT", "Retry-After: Wed, 21 Oct 2026 07:28:30 GMT"), 30.0),
        (("Retry-After: soon",), None),
        ((), None),
    ],
)
async def test_an_overload_says_when_to_come_back(kind: str, headers: tuple[str, ...], after_s: float | None) -> None:
    failure = await failure_of(kind, lambda out, _: out.answer(429, b"{}", *headers))

    assert isinstance(failure, ProviderOverloaded)
    assert failure.retry_after_s == after_s


async def test_a_503_that_says_when_to_come_back_is_an_overload(kind: str) -> None:
    failure = await failure_of(kind, lambda out, _: out.answer(503, b"busy", "Retry-After: 2"))

    assert isinstance(failure, ProviderOverloaded)
    assert (failure.retry_after_s, failure.trips_breaker) == (2.0, False)


async def test_a_refusal_that_never_ends_is_cut_short(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("providers.openai_call.ERROR_S_MAX", 0.05)

    async def endless(out: Out, _seen: Seen) -> None:
        out.raw(b"HTTP/1.1 500 No\r\nContent-Length: 1000000\r\n\r\nit all went")
        await out.until_gone()

    failure = await failure_of(kind, endless)

    assert isinstance(failure, ProviderServerError)
    assert failure.detail == "HTTP 500: it all went"


async def test_a_long_refusal_is_shortened(kind: str) -> None:
    failure = await failure_of(kind, lambda out, _: out.answer(400, b"x" * 500_000, media="text/plain"))

    assert isinstance(failure, ProviderRejectedRequest)
    assert len(failure.detail) < 400


async def test_a_whole_answer_beyond_its_bound_is_a_protocol_error(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("providers.openai_call.Call.body.__defaults__", (100_000,))

    failure = await failure_of(kind, lambda out, _: out.answer(200, b" " * 200_000), is_stream=False)

    assert isinstance(failure, ProviderProtocolError)
    assert "more than 100000 bytes" in failure.detail


async def test_a_connection_is_used_again_after_a_whole_answer(kind: str) -> None:
    async with client_of(kind, lambda out, _: out.stream(GOOD)) as (client, backend):
        for _ in range(3):
            await collect(client)

    assert [seen.connection for seen in backend.seen] == [0, 0, 0]


async def test_a_connection_is_used_again_after_a_refusal(kind: str) -> None:
    async with client_of(kind, lambda out, _: out.answer(400, b"{}")) as (client, backend):
        for _ in range(2):
            with pytest.raises(ProviderRejectedRequest):
                await collect(client)

    assert [seen.connection for seen in backend.seen] == [0, 0]


async def test_a_kept_connection_that_turns_out_closed_is_replaced_unseen(kind: str) -> None:
    """The backend reads the second request on the old connection and closes without a byte, as a restart does."""
    scripts: list[Script] = [
        lambda out, _: out.stream(GOOD),
        lambda out, _: out.close(),
        lambda out, _: out.stream(GOOD),
    ]
    async with client_of(kind, *scripts) as (client, backend):
        await collect(client)
        chunks = await collect(client)

    assert chunks[-1].finish_reason == "stop"
    assert [seen.connection for seen in backend.seen] == [0, 0, 1]


async def test_a_new_connection_that_closes_is_not_tried_again(kind: str) -> None:
    async with client_of(kind, lambda out, _: out.close(), lambda out, _: out.stream(GOOD)) as (client, backend):
        with pytest.raises(ProviderUnreachable):
            await collect(client)

    assert len(backend.seen) == 1


async def test_a_kept_connection_that_closes_within_an_answer_is_not_tried_again(kind: str) -> None:
    def half(out: Out, _seen: Seen) -> None:
        out.raw(b"HTTP/1.1 200 OK\r\nContent-")
        out.close()

    scripts: list[Script] = [lambda out, _: out.stream(GOOD), half, lambda out, _: out.stream(GOOD)]
    async with client_of(kind, *scripts) as (client, backend):
        await collect(client)
        with pytest.raises((ProviderClosedEarly, ProviderUnreachable)):
            await collect(client)

    assert len(backend.seen) == 2


async def test_more_requests_than_connections_are_refused_as_overload(kind: str) -> None:
    async def hold(out: Out, _seen: Seen) -> None:
        await asyncio.sleep(0.1)
        out.stream(GOOD)

    limits = HttpLimits(connections_max=2, idle_max=2)
    async with client_of(kind, hold, limits=limits) as (client, backend):
        results = await asyncio.gather(*(collect(client) for _ in range(3)), return_exceptions=True)
        again = await collect(client)

    failures = [result for result in results if isinstance(result, BaseException)]
    assert [type(failure) for failure in failures] == [ProviderOverloaded]
    assert "all 2 connections" in str(failures[0])
    assert len(backend.seen) == 3
    assert again[-1].finish_reason == "stop"


async def test_after_closing_nothing_is_sent(kind: str) -> None:
    async with client_of(kind, lambda out, _: out.stream(GOOD)) as (client, backend):
        await client.close()
        with pytest.raises(ProviderUnreachable, match="closed"):
            await collect(client)

    assert backend.seen == []
