"""One request and its answer on a connection of our own: what httptools tells, and what the reader waits for."""

import asyncio
from typing import Protocol

from httptools import HttpResponseParser

from providers.http_port import FaultKind, HttpFault, HttpLimits

INFORMATIONAL_END = 200
SWITCHING_PROTOCOLS = 101
HEADER_ENCODING = "latin-1"


class HttpCarrier(Protocol):
    """The connection, as far as an exchange needs it."""

    def pause_reading(self) -> None:
        """Lets the backend feel that nobody reads."""
        ...

    def resume_reading(self) -> None:
        """Reads on."""
        ...

    def end(self, *, is_reusable: bool) -> None:
        """Takes the connection back from the exchange, to keep or to close."""
        ...


class HttpExchange:
    """One answer being read: httptools calls ``on_*``, the connection ``fed``, ``fail`` and ``lost``, readers the rest.

    There is no task and at most one timer: a reader that waits leaves its deadline behind, and the timer, when it
    goes off too soon for a deadline that has moved, is set again.
    """

    __slots__ = (
        "_deadline",
        "_fault",
        "_fed_bytes",
        "_header_bytes",
        "_headers",
        "_held",
        "_is_answered",
        "_is_paused",
        "_limits",
        "_loop",
        "_parts",
        "_tail_left",
        "_timer",
        "_timer_at",
        "_waiter",
        "carrier",
        "is_complete",
        "is_reusable",
        "parser",
        "sent_at",
        "status",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: HttpLimits, carrier: "HttpCarrier") -> None:
        self._loop = loop
        self._limits = limits
        self.carrier: HttpCarrier | None = carrier
        self.parser = HttpResponseParser(self)
        self.status = 0
        self.sent_at = 0.0
        self.is_complete = False
        self.is_reusable = False
        self._headers: dict[str, str] = {}
        self._fed_bytes = 0
        self._header_bytes = 0
        self._is_answered = False
        self._parts: list[bytes] = []
        self._held = 0
        self._is_paused = False
        self._tail_left = -1
        self._fault: tuple[FaultKind, str] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    # What a reader calls.

    def header(self, name: str) -> str:
        """The last value of a header by its lower-case name; empty when absent."""
        return self._headers.get(name, "")

    async def answered(self, deadline: float) -> None:
        """Waits for the end of the headers.

        Raises:
            HttpFault: timed out, closed, or garbage.
        """
        while not self._is_answered:
            if self._fault is not None:
                raise HttpFault(*self._fault)
            await self._wait(deadline)

    async def read(self, deadline: float) -> bytes:
        """The next bytes of the body as they came, or ``b""`` at its end.

        Raises:
            HttpFault: timed out, closed early, or garbage; after what came before it has been read.
        """
        parts = self._parts
        while not parts:
            if self.is_complete:
                return b""
            if self._fault is not None:
                raise HttpFault(*self._fault)
            await self._wait(deadline)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._held = 0
        if self._is_paused and self.carrier is not None:
            self._is_paused = False
            self.carrier.resume_reading()
        return data

    def finish(self) -> None:
        """Gives the connection back, at once or when the answer's end comes soon."""
        if self.carrier is None:
            return
        if self.is_complete or self._fault is not None:
            self._hand_back()
            return
        self._parts.clear()
        self._held = 0
        self._tail_left = self._limits.tail_bytes_max
        self._deadline = self._loop.time() + self._limits.tail_s_max
        self._arm(self._deadline)
        if self._is_paused:
            self._is_paused = False
            self.carrier.resume_reading()

    def abort(self) -> None:
        """Closes the connection at once."""
        self.fail(FaultKind.CLOSED_EARLY, "the answer was given up")
        self._hand_back()
        self._wake()

    # What the connection calls.

    def fed(self, size: int) -> None:
        """Takes note that ``size`` bytes went through the parser, and wakes the reader."""
        if not self._is_answered:
            self._fed_bytes += size
            self._check_headers(self._fed_bytes)
        if self._tail_left >= 0:
            self._drain()
        elif self._held > self._limits.held_bytes_max and not self._is_paused and self.carrier is not None:
            self._is_paused = True
            self.carrier.pause_reading()
        self._wake()

    def lost(self) -> None:
        """Takes note that the connection ended."""
        if self._is_answered and self._is_ended_by_close():
            self.is_complete = True
        elif self._is_answered:
            self.fail(FaultKind.CLOSED_EARLY, "the connection closed in the middle of the answer")
        elif self._fed_bytes:
            self.fail(FaultKind.CLOSED_EARLY, "the connection closed within the answer's headers")
        else:
            self.fail(FaultKind.CLOSED_UNANSWERED, "the connection closed before an answer")
        self.is_reusable = False
        if self._tail_left >= 0:
            self._hand_back()
        self._wake()

    def fail(self, kind: FaultKind, detail: str) -> None:
        """Ends the exchange with a fault, the first of which counts."""
        if self._fault is None:
            self._fault = (kind, detail)
        self.is_reusable = False

    # What httptools calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keeps a header; a trailer, after the body, is of no use."""
        if not self._is_answered:
            self._header_bytes += len(name) + len(value)
            self._check_headers(self._header_bytes)
            self._headers[name.decode(HEADER_ENCODING).lower()] = value.decode(HEADER_ENCODING)

    def on_headers_complete(self) -> None:
        """Takes the status, unless it is an informational one that precedes the answer."""
        if self._is_answered or self._fault is not None:
            return
        status = self.parser.get_status_code()
        if status == SWITCHING_PROTOCOLS:
            self.fail(FaultKind.GARBAGE, "the backend switched protocols (101) without being asked")
        if status < INFORMATIONAL_END:
            self._headers.clear()
            return
        self.status = status
        self._is_answered = True

    def on_body(self, body: bytes) -> None:
        """Holds body bytes for the reader."""
        if self.is_complete:
            return
        self._held += len(body)
        if self._tail_left < 0:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        """Takes note of the answer's end, and whether the connection may carry another."""
        if self._is_answered:
            self.is_reusable = self._fault is None and not self.is_complete and self.parser.should_keep_alive()
            self.is_complete = True

    # Helpers.

    def _check_headers(self, size: int) -> None:
        if size > self._limits.header_bytes_max:
            self.fail(FaultKind.GARBAGE, f"headers of more than {self._limits.header_bytes_max} bytes")

    def _is_ended_by_close(self) -> bool:
        return "content-length" not in self._headers and "transfer-encoding" not in self._headers

    def _drain(self) -> None:
        if self._held > self._tail_left:
            self.is_reusable = False
        elif not self.is_complete and self._fault is None:
            return
        self._hand_back()

    def _hand_back(self) -> None:
        carrier, self.carrier = self.carrier, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._parts.clear()
        if carrier is not None:
            del self.parser  # it holds our methods: without this every answer would be a cycle for the collector
            carrier.end(is_reusable=self.is_complete and self.is_reusable)

    async def _wait(self, deadline: float) -> None:
        waiter = self._loop.create_future()
        self._waiter = waiter
        self._deadline = deadline
        if self._timer is None or self._timer_at > deadline:
            self._arm(deadline)
        try:
            await waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._tail_left >= 0:
            self.abort()
        elif self._waiter is not None and self._loop.time() < self._deadline:
            self._arm(self._deadline)
        elif self._waiter is not None:
            self.fail(FaultKind.TIMED_OUT, "a deadline passed in silence")
            self._wake()
