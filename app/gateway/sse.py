"""The customer's side of one exchange: reads the body, hands over bytes, notices refusal, stalling and hang-up.

Only the transport knows when a reader refuses bytes. A ``send`` that returns at once was accepted; one that suspends
was refused until it returns, and that time is the reader's own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any

from litestar.types import Receive, Send

from app.clock import monotonic_ns
from app.gateway.errors import body_too_large, body_too_slow

Headers = Sequence[tuple[bytes, bytes]]
STREAM_HEADERS: Headers = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
DONE = b"data: [DONE]\n\n"


class HangUp(Exception):
    """The customer went away, or took nothing for too long."""


class Exchange:
    """One request and its answer on an ASGI connection.

    Hang-up interrupts whatever the request's task awaits, as :func:`asyncio.timeout` does: the task is cancelled, and
    :meth:`watch` turns that cancellation into :class:`HangUp`.
    """

    def __init__(
        self, receive: Receive, send: Send, stall_s_max: float, abort: Callable[[], None] | None = None
    ) -> None:
        self._receive = receive
        self._send = send
        self._stall_s_max = stall_s_max
        self._abort = abort
        self._task: asyncio.Task[Any] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.is_started = False
        self.is_hung_up = False

    async def read_body(self, declared_bytes: int | None, bytes_max: int, seconds_max: float) -> bytes:
        """Reads the whole body.

        Raises:
            MarketError: 413 when larger than ``bytes_max``, 408 when slower than ``seconds_max``.
            HangUp: the customer left before it was complete.
        """
        if declared_bytes is not None and declared_bytes > bytes_max:
            raise body_too_large(bytes_max)
        try:
            async with asyncio.timeout(seconds_max):
                return await self._collect(bytes_max)
        except TimeoutError as error:
            raise body_too_slow(seconds_max) from error

    async def _collect(self, bytes_max: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise HangUp
            part = message.get("body", b"")
            size += len(part)
            if size > bytes_max:
                raise body_too_large(bytes_max)
            parts.append(part)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def watch(self) -> None:
        """From now on a hang-up interrupts the current task."""
        self._task = asyncio.current_task()
        self._watcher = asyncio.ensure_future(self._until_disconnect())

    def unwatch(self) -> None:
        """From now on a hang-up no longer interrupts."""
        if self._watcher is not None:
            self._watcher.cancel()
        self._watcher = self._task = None

    def absorb(self) -> bool:
        """True when the cancellation just caught was a hang-up; the task then goes on uncancelled."""
        task = asyncio.current_task()
        if not self.is_hung_up or task is None:
            return False
        return task.uncancel() == 0

    def _hang_up(self) -> None:
        task, self._task = self._task, None
        self.is_hung_up = True
        if task is not None:
            task.cancel()

    async def _until_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._hang_up()

    async def start(self, status: int, headers: Headers) -> int:
        """Sends the status line and headers.

        Returns:
            ns for which the transport refused them; as :meth:`write`.
        """
        self.is_started = True
        return await self._hand_over({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes) -> int:
        """Hands bytes to the transport.

        Returns:
            ns for which the transport refused them; 0 when it took them at once.
        """
        if not data:
            return 0
        return await self._hand_over({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes = b"") -> None:
        """Hands over the last bytes and ends the answer."""
        await self._hand_over({"type": "http.response.body", "body": data, "more_body": False})

    def _hand_over(self, message: Any) -> "_Refusable":
        return _Refusable(self._send(message), self._on_stall)

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Sends a whole answer at once."""
        await self.start(status, [*headers, (b"content-length", str(len(body)).encode())])
        await self.finish(body)

    def _on_stall(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._stall_s_max, self._give_up)

    def _give_up(self) -> None:
        """A reader that took nothing for so long is cut off; what it never took is no longer kept for it."""
        if self._abort is not None:
            self._abort()
        self._hang_up()


class _Refusable:
    """Awaits a send and tells for how long it was refused; costs nothing when it was taken at once."""

    __slots__ = ("_on_stall", "_sending")

    def __init__(self, sending: Awaitable[None], on_stall: Callable[[], asyncio.TimerHandle]) -> None:
        self._sending = sending
        self._on_stall = on_stall

    def __await__(self) -> Generator[Any, None, int]:
        steps = self._sending.__await__()
        try:
            waiting_for = next(steps)
        except StopIteration:
            return 0
        began_ns = monotonic_ns()
        timer = self._on_stall()
        try:
            yield waiting_for
            yield from steps
        finally:
            timer.cancel()
        return monotonic_ns() - began_ns
