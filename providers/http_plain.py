"""Plain HTTP over a bounded pool of sockets of our own: what engines inside a cluster speak, and the cheap path."""

import asyncio
from collections import deque

from providers.http_connection import HttpConnection
from providers.http_exchange import HttpExchange
from providers.http_port import FaultKind, HttpAsk, HttpFault, HttpLimits, HttpReply, Origin


class PlainTransport:
    """A pool of connections to one origin. Belongs to one event loop."""

    def __init__(self, origin: Origin, limits: HttpLimits) -> None:
        self._origin = origin
        self._limits = limits
        self._open: set[HttpConnection] = set()
        self._connecting = 0
        self._idle: deque[HttpConnection] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def open_count(self) -> int:
        """Connections open or being opened."""
        return len(self._open) + self._connecting

    @property
    def idle_count(self) -> int:
        """Connections waiting for a request."""
        return len(self._idle)

    async def ask(self, ask: HttpAsk) -> HttpReply:
        """Sends a request and waits for the answer's headers.

        An idle connection may have been closed at the other end while the request was under way; when that happens
        before the first byte of an answer, the request is sent once more on a new connection.

        Raises:
            HttpFault: no connection, or no answer.
        """
        head = _head(ask, self._origin)
        connection = self._take_idle()
        if connection is not None:
            try:
                return await _answered(connection.begin(head, ask.body), ask.answer_s)
            except HttpFault as fault:
                if fault.kind is not FaultKind.CLOSED_UNANSWERED:
                    raise
        connection = await self._connect(ask.connect_s)
        return await _answered(connection.begin(head, ask.body), ask.answer_s)

    async def close(self) -> None:
        """Closes every connection; answers still being read fail."""
        self._is_closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in tuple(self._open):
            connection.close()
        await asyncio.sleep(0)

    # What a connection calls.

    def freed(self, connection: HttpConnection) -> None:
        """Keeps a free connection for the next request, or closes it when there are enough."""
        if self._is_closed or len(self._idle) >= self._limits.idle_max:
            connection.close()
            return
        self._idle.append(connection)
        if self._sweeper is None:
            self._set_sweeper()

    def lost(self, connection: HttpConnection) -> None:
        """Forgets a closed connection."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    # Helpers.

    def _take_idle(self) -> HttpConnection | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable and now < connection.idle_until:
                return connection
            connection.close()
        return None

    async def _connect(self, connect_s: float) -> HttpConnection:
        if self._is_closed:
            raise HttpFault(FaultKind.REFUSED, "our connections to it are closed")
        if self.open_count >= self._limits.connections_max:
            raise HttpFault(FaultKind.POOL_FULL, f"all {self._limits.connections_max} connections to it are in use")
        loop = asyncio.get_running_loop()
        where = self._origin
        self._connecting += 1
        try:
            async with asyncio.timeout(connect_s):
                _, connection = await loop.create_connection(
                    lambda: HttpConnection(loop, self._limits, self), where.host, where.port
                )
        except TimeoutError as error:
            raise HttpFault(
                FaultKind.CONNECT_TIMED_OUT, f"no connection to {where.authority} within {connect_s:g} s"
            ) from error
        except (OSError, UnicodeError) as error:  # UnicodeError: a host name that IDNA refuses
            raise HttpFault(FaultKind.REFUSED, f"no connection to {where.authority}: {error}") from error
        finally:
            self._connecting -= 1
        if self._is_closed:
            connection.close()
        if connection.is_usable:
            self._open.add(connection)
        return connection

    def _set_sweeper(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(self._limits.idle_s_max, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        now = asyncio.get_running_loop().time()
        for connection in [each for each in self._idle if each.idle_until <= now]:
            connection.close()
        if self._idle:
            self._set_sweeper()


async def _answered(exchange: HttpExchange, answer_s: float) -> HttpExchange:
    is_answered = False
    try:
        await exchange.answered(exchange.sent_at + answer_s)
        is_answered = True
    finally:
        if not is_answered:
            exchange.abort()
    return exchange


def _head(ask: HttpAsk, origin: Origin) -> bytes:
    lines = [f"{ask.method} {origin.path}{ask.target} HTTP/1.1", f"Host: {origin.authority}"]
    lines += [f"{name}: {value}" for name, value in ask.headers]
    if ask.body or ask.method != "GET":
        lines.append(f"Content-Length: {len(ask.body)}")
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1")
