"""The customer's side: bodies bounded, refusal measured, stalling and hang-up noticed."""

import asyncio
from typing import Any

import pytest

from app.errors import MarketError
from app.gateway.sse import Exchange, HangUp


class Reader:
    """A customer at the other end of an ASGI connection, who can refuse bytes and leave."""

    def __init__(self, *parts: bytes) -> None:
        self.sent: list[dict[str, Any]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.left = asyncio.Event()
        self._parts = list(parts)

    async def receive(self) -> Any:
        if self._parts:
            return {"type": "http.request", "body": self._parts.pop(0), "more_body": bool(self._parts)}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if not self.open.is_set():
            await self.open.wait()
        self.sent.append(message)


def exchange_with(reader: Reader, stall_s_max: float = 5.0, aborted: list[str] | None = None) -> Exchange:
    abort = None if aborted is None else lambda: aborted.append("aborted")
    return Exchange(reader.receive, reader.send, stall_s_max, abort)


async def test_a_body_in_parts_is_read_whole() -> None:
    assert await exchange_with(Reader(b"ab", b"", b"c")).read_body(None, 3, 1.0) == b"abc"


async def test_a_body_over_the_limit_is_refused_whether_declared_or_not() -> None:
    for declared, parts in ((4, ()), (None, (b"ab", b"cd"))):
        with pytest.raises(MarketError) as refused:
            await exchange_with(Reader(*parts)).read_body(declared, 3, 1.0)
        assert refused.value.status == 413


async def test_a_body_that_does_not_come_is_refused_in_time() -> None:
    reader = Reader()
    with pytest.raises(MarketError) as refused:
        await exchange_with(reader).read_body(None, 10, 0.01)
    assert refused.value.status == 408


async def test_leaving_before_the_body_is_complete_is_a_hang_up() -> None:
    reader = Reader()
    reader.left.set()
    with pytest.raises(HangUp):
        await exchange_with(reader).read_body(None, 10, 1.0)


async def test_bytes_taken_at_once_excuse_nothing() -> None:
    reader = Reader()
    exchange = exchange_with(reader)
    await exchange.start(200, [])
    assert await exchange.write(b"token") == 0
    assert reader.sent[-1]["body"] == b"token"


async def test_the_time_a_reader_refuses_bytes_is_measured() -> None:
    reader = Reader()
    exchange = exchange_with(reader)
    reader.open.clear()
    asyncio.get_running_loop().call_later(0.05, reader.open.set)
    refused_ns = await exchange.write(b"token")
    assert 45_000_000 <= refused_ns < 2_000_000_000
    assert reader.sent[-1]["body"] == b"token"


async def test_nothing_to_write_sends_nothing() -> None:
    reader = Reader()
    assert await exchange_with(reader).write(b"") == 0
    assert reader.sent == []


async def leave_during(exchange: Exchange, reader: Reader) -> str:
    exchange.watch()
    asyncio.get_running_loop().call_soon(reader.left.set)
    try:
        await asyncio.sleep(5)
    except asyncio.CancelledError:
        return "absorbed" if exchange.absorb() else "cancelled"
    finally:
        exchange.unwatch()
    return "slept"


async def test_a_hang_up_interrupts_and_the_task_goes_on() -> None:
    reader = Reader()
    exchange = exchange_with(reader)
    task = asyncio.ensure_future(leave_during(exchange, reader))
    assert await task == "absorbed"
    assert exchange.is_hung_up


async def test_a_cancellation_from_elsewhere_is_not_taken_for_a_hang_up() -> None:
    reader = Reader()
    exchange = exchange_with(reader)

    async def wait() -> str:
        exchange.watch()
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            return "absorbed" if exchange.absorb() else "cancelled"
        finally:
            exchange.unwatch()
        return "slept"

    task = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "cancelled"


async def test_a_reader_that_takes_nothing_for_too_long_is_cut_off() -> None:
    reader = Reader()
    aborted: list[str] = []
    exchange = exchange_with(reader, stall_s_max=0.02, aborted=aborted)
    reader.open.clear()

    async def write() -> str:
        exchange.watch()
        try:
            await exchange.write(b"token")
        except asyncio.CancelledError:
            return "hung up" if exchange.absorb() else "cancelled"
        finally:
            exchange.unwatch()
        return "written"

    assert await asyncio.ensure_future(write()) == "hung up"
    assert aborted == ["aborted"]
    assert reader.sent == []


async def test_after_unwatch_a_hang_up_interrupts_nothing() -> None:
    reader = Reader()
    exchange = exchange_with(reader)
    exchange.watch()
    exchange.unwatch()
    reader.left.set()
    await asyncio.sleep(0.01)
    assert not exchange.is_hung_up


@pytest.mark.parametrize("what", ["start", "finish"])
async def test_a_reader_that_takes_nothing_is_cut_off_at_the_first_and_the_last_byte_too(what: str) -> None:
    # As when it has not yet read the answer to the request before, on the same connection.
    reader = Reader()
    aborted: list[str] = []
    exchange = exchange_with(reader, stall_s_max=0.02, aborted=aborted)
    if what == "finish":
        await exchange.start(200, [])
    reader.open.clear()
    sending = asyncio.ensure_future(exchange.start(200, []) if what == "start" else exchange.finish(b"last"))
    await asyncio.sleep(0.05)
    assert (aborted, exchange.is_hung_up, sending.done()) == (["aborted"], True, False)
    reader.open.set()  # a server ends the wait of whoever writes to an aborted connection
    await asyncio.wait_for(sending, 1)


async def test_the_time_in_which_the_head_is_refused_is_measured() -> None:
    reader = Reader()
    exchange = exchange_with(reader)
    reader.open.clear()
    asyncio.get_running_loop().call_later(0.05, reader.open.set)
    assert 45_000_000 <= await exchange.start(200, []) < 2_000_000_000


async def test_a_stalled_reader_without_a_way_to_abort_is_still_noticed() -> None:
    reader = Reader()
    exchange = exchange_with(reader, stall_s_max=0.01)
    reader.open.clear()
    asyncio.get_running_loop().call_later(0.03, reader.open.set)
    await exchange.finish()
    assert exchange.is_hung_up
