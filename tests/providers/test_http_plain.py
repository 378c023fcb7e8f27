"""The pool of sockets of our own, on both event loops: reuse, bounds, farewells, back-pressure and strangers' bytes."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import cast

import pytest
import uvloop

from providers.http_connection import keep_s
from providers.http_plain import PlainTransport
from providers.http_port import FaultKind, HttpAsk, HttpFault, HttpLimits, HttpReply, origin_of
from tests.providers.fake_backend import FakeBackend, Out, Script, Seen, fake_backend

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
QUICK = HttpLimits(connections_max=4, idle_max=2, idle_s_max=5.0, tail_s_max=0.1)


def on_both_loops(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """Runs an async test on asyncio's own event loop and on uvloop, which serves the product."""

    def run(new_loop: Callable[[], asyncio.AbstractEventLoop], **arguments: object) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(test(**arguments))

    said = inspect.signature(test)
    loop = inspect.Parameter("new_loop", inspect.Parameter.KEYWORD_ONLY)
    vars(run)["__signature__"] = said.replace(parameters=[*said.parameters.values(), loop])
    run.__name__ = test.__name__
    loops = [asyncio.new_event_loop, uvloop.new_event_loop]
    return pytest.mark.parametrize("new_loop", loops, ids=["asyncio", "uvloop"])(run)


@asynccontextmanager
async def pool(*scripts: Script, limits: HttpLimits = QUICK) -> AsyncGenerator[tuple[PlainTransport, FakeBackend]]:
    async with fake_backend(*scripts) as backend:
        transport = PlainTransport(origin_of(backend.base_url), limits)
        yield transport, backend
        await transport.close()


def get(answer_s: float = 1.0, body: bytes = b"") -> HttpAsk:
    return HttpAsk("POST" if body else "GET", "/x", (("A", "b"),), body, connect_s=1.0, answer_s=answer_s)


def soon(s: float = 1.0) -> float:
    return asyncio.get_running_loop().time() + s


async def all_of(reply: HttpReply) -> bytes:
    parts: list[bytes] = []
    while part := await reply.read(soon()):
        parts.append(part)
    reply.finish()
    return b"".join(parts)


def says(answer: bytes) -> Script:
    return lambda out, _: out.raw(answer)


@on_both_loops
async def test_answers_one_after_another_share_a_connection() -> None:
    async with pool(says(OK)) as (transport, backend):
        for _ in range(3):
            assert await all_of(await transport.ask(get())) == b"hello"
        assert (transport.open_count, transport.idle_count, backend.connections) == (1, 1, 1)


@on_both_loops
async def test_the_request_line_and_headers_are_as_asked() -> None:
    async with pool(says(OK)) as (transport, backend):
        await all_of(await transport.ask(get(body=b"x" * 200_000)))
        (seen,) = backend.seen

    assert (seen.method, seen.target) == ("POST", "/v1/x")
    assert (seen.headers["a"], seen.headers["content-length"]) == ("b", "200000")
    assert seen.body == b"x" * 200_000


@on_both_loops
async def test_an_answer_in_pieces_with_trailers_and_an_early_hint_is_read_to_its_end() -> None:
    answer = (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\n\r\n"
        b"3\r\nhel\r\n2;ext=1\r\nlo\r\n0\r\nX-A: trailer\r\n\r\n"
    )
    async with pool(says(answer)) as (transport, _):
        reply = await transport.ask(get())

        assert (reply.status, reply.header("x-a"), reply.header("link")) == (200, "1", "")
        assert await all_of(reply) == b"hello"
        assert transport.idle_count == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 5\r\n\r\nhello",
        OK + b"surplus",
        OK + OK,
    ],
)
@on_both_loops
async def test_a_connection_that_cannot_be_trusted_further_is_not_used_again(answer: bytes) -> None:
    async with pool(says(answer)) as (transport, backend):
        for _ in range(2):
            assert await all_of(await transport.ask(get())) == b"hello"

    assert [seen.connection for seen in backend.seen] == [0, 1]


@on_both_loops
async def test_bytes_that_nobody_asked_for_close_an_idle_connection() -> None:
    async def intrusive(out: Out, _seen: Seen) -> None:
        out.raw(OK)
        await asyncio.sleep(0.02)
        out.raw(b"HTTP/1.1 408 Request Timeout\r\n\r\n")

    async with pool(intrusive) as (transport, backend):
        await all_of(await transport.ask(get()))
        await asyncio.sleep(0.05)

        assert (transport.open_count, backend.open) == (0, set())


@on_both_loops
async def test_connections_that_the_backend_closes_while_idle_are_forgotten() -> None:
    async with pool(says(OK)) as (transport, backend):
        await all_of(await transport.ask(get()))
        backend.drop_idle()
        await asyncio.sleep(0.02)

        assert (transport.open_count, transport.idle_count) == (0, 0)
        assert await all_of(await transport.ask(get())) == b"hello"


@on_both_loops
async def test_idle_connections_are_bounded_in_number_and_time() -> None:
    async def late(out: Out, _seen: Seen) -> None:
        await asyncio.sleep(0.02)
        out.raw(OK)

    limits = HttpLimits(connections_max=4, idle_max=2, idle_s_max=0.05)
    async with pool(late, limits=limits) as (transport, backend):
        await asyncio.gather(*(all_of(each) for each in await asyncio.gather(*(transport.ask(get()) for _ in "abcd"))))
        await asyncio.sleep(0.01)
        kept = transport.idle_count
        await asyncio.sleep(0.15)

        assert (backend.connections, kept) == (4, 2)
        assert (transport.idle_count, transport.open_count, backend.open) == (0, 0, set())


@on_both_loops
async def test_the_open_connections_are_bounded() -> None:
    async def never(out: Out, _seen: Seen) -> None:
        await out.until_gone()

    async with pool(never) as (transport, _):
        waiting = [asyncio.create_task(transport.ask(get(5.0))) for _ in range(4)]
        await asyncio.sleep(0.05)
        with pytest.raises(HttpFault) as refused:
            await transport.ask(get())
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.sleep(0.01)

        assert refused.value.kind is FaultKind.POOL_FULL
        assert transport.open_count == 0


@on_both_loops
async def test_a_reader_that_does_not_read_stops_the_socket_and_reading_goes_on_where_it_was() -> None:
    body = bytes(range(256)) * 40_000

    async with pool(lambda out, _: out.answer(200, body)) as (transport, _):
        reply = await transport.ask(get())
        await asyncio.sleep(0.1)
        first = await reply.read(soon())

        assert len(first) < 2_000_000  # 256 KiB and at most one read more, not all 10 MB
        assert first + await all_of(reply) == body


@on_both_loops
async def test_an_answers_end_that_comes_soon_keeps_the_connection_and_one_that_does_not_closes_it() -> None:
    async def soon_over(out: Out, _seen: Seen) -> None:
        out.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await asyncio.sleep(0.02)
        out.raw(b"3\r\nend\r\n0\r\n\r\n")

    async def never_over(out: Out, _seen: Seen) -> None:
        out.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await out.until_gone()

    async def too_long(out: Out, _seen: Seen) -> None:
        out.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 900005\r\n\r\nhello")
        await asyncio.sleep(0.01)
        out.raw(b"x" * 900_000)

    for script, kept in ((soon_over, 1), (never_over, 0), (too_long, 0)):
        async with pool(script) as (transport, _):
            reply = await transport.ask(get())
            assert await reply.read(soon()) == b"hello"
            reply.finish()
            await asyncio.sleep(0.15)

            assert (transport.idle_count, transport.open_count) == (kept, kept)


@on_both_loops
async def test_an_answer_given_up_is_closed_at_once_and_its_reader_told() -> None:
    async def endless(out: Out, _seen: Seen) -> None:
        out.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await out.until_gone()

    async with pool(endless) as (transport, backend):
        reply = await transport.ask(get())
        reader = asyncio.create_task(reply.read(soon(5)))
        await asyncio.sleep(0.01)
        reply.abort()
        with pytest.raises(HttpFault, match="given up"):
            await reader
        await asyncio.sleep(0.02)

        assert (transport.open_count, backend.hang_ups) == (0, 1)


@on_both_loops
async def test_closing_the_pool_ends_what_is_being_read() -> None:
    async def endless(out: Out, _seen: Seen) -> None:
        out.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await out.until_gone()

    async with pool(endless) as (transport, _):
        reply = await transport.ask(get())
        reader = asyncio.create_task(reply.read(soon(5)))
        await asyncio.sleep(0.01)
        await transport.close()
        with pytest.raises(HttpFault):
            await reader
        with pytest.raises(HttpFault, match="closed"):
            await transport.ask(get())


@on_both_loops
async def test_bytes_that_are_here_are_given_whatever_the_deadline_says() -> None:
    async with pool(says(OK)) as (transport, _):
        reply = await transport.ask(get())
        await asyncio.sleep(0.01)

        assert await reply.read(soon(-5)) == b"hello"
        assert await reply.read(soon(-5)) == b""


@on_both_loops
async def test_a_deadline_that_moves_earlier_and_later_holds_each_time() -> None:
    async def slow(out: Out, _seen: Seen) -> None:
        out.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await out.pieces(b"a", b"b", b"c", apart_s=0.06)
        await out.until_gone()

    async with pool(slow) as (transport, _):
        reply = await transport.ask(get(30.0))
        for wait_s in (20.0, 0.1, 0.1):
            assert await reply.read(soon(wait_s))
        began = soon(0)
        with pytest.raises(HttpFault) as late:
            await reply.read(soon(0.15))

        assert late.value.kind is FaultKind.TIMED_OUT
        assert soon(0) - began >= 0.14
        reply.abort()


@on_both_loops
async def test_what_came_before_a_fault_is_read_before_it() -> None:
    def broken(out: Out, _seen: Seen) -> None:
        out.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n")

    async with pool(broken) as (transport, _):
        reply = await transport.ask(get())
        await asyncio.sleep(0.01)

        assert await reply.read(soon()) == b"hello"
        with pytest.raises(HttpFault) as fault:
            await reply.read(soon())
        assert fault.value.kind is FaultKind.GARBAGE
        reply.abort()


@on_both_loops
async def test_an_answer_that_comes_before_the_request_is_all_sent_ends_its_connection() -> None:
    class Deaf(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast("asyncio.Transport", transport)

        def data_received(self, data: bytes) -> None:
            assert data.startswith(b"POST")
            self.transport.pause_reading()
            self.transport.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")

    server = await asyncio.get_running_loop().create_server(Deaf, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport = PlainTransport(origin_of(f"http://127.0.0.1:{port}"), QUICK)
    reply = await transport.ask(get(body=b"x" * 50_000_000))
    await all_of(reply)
    await asyncio.sleep(0.01)

    assert (reply.status, transport.idle_count, transport.open_count) == (413, 0, 0)
    await transport.close()
    server.close()


@on_both_loops
async def test_a_protocol_switch_that_nobody_asked_for_is_garbage() -> None:
    async with pool(says(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n")) as (transport, _):
        with pytest.raises(HttpFault, match="switched protocols"):
            await transport.ask(get())


@pytest.mark.parametrize(
    ("header", "kept_s"),
    [("", 9.0), ("timeout=5, max=100", 4.0), ("max=100,timeout=60", 9.0), ("timeout=1", 0.0), ("timeout=x", 9.0)],
)
def test_an_idle_connection_is_trusted_a_second_less_than_the_backend_says(header: str, kept_s: float) -> None:
    assert keep_s(header, most_s=9.0) == kept_s
