"""One socket of our own to a backend: it carries one exchange at a time and tells its pool when it is free or gone."""

import asyncio
from typing import Protocol, cast

import httptools

from providers.http_exchange import HttpExchange
from providers.http_port import FaultKind, HttpLimits

JOIN_BYTES_MAX = 65_536
"""Up to here head and body go out as one piece."""


class HttpKeeper(Protocol):
    """The pool, as far as a connection needs it."""

    def freed(self, connection: "HttpConnection") -> None:
        """Takes a connection back that can carry another exchange."""
        ...

    def lost(self, connection: "HttpConnection") -> None:
        """Forgets a connection that is closed."""
        ...


class HttpConnection(asyncio.Protocol):
    """A socket, its exchange if it has one, and whether it can carry another."""

    __slots__ = ("_exchange", "_is_gone", "_keeper", "_limits", "_loop", "_transport", "idle_until")

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: HttpLimits, keeper: HttpKeeper) -> None:
        self._loop = loop
        self._limits = limits
        self._keeper = keeper
        self._transport: asyncio.Transport | None = None
        self._exchange: HttpExchange | None = None
        self._is_gone = False
        self.idle_until = 0.0

    @property
    def is_usable(self) -> bool:
        """True while it is open, as far as anyone has told us."""
        return not self._is_gone and self._transport is not None and not self._transport.is_closing()

    def begin(self, head: bytes, body: bytes) -> HttpExchange:
        """Sends one request; its answer arrives at the exchange."""
        exchange = HttpExchange(self._loop, self._limits, self)
        self._exchange = exchange
        if not self.is_usable or self._transport is None:
            exchange.lost()
        elif len(body) <= JOIN_BYTES_MAX:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)
        exchange.sent_at = self._loop.time()
        return exchange

    def close(self) -> None:
        """Closes at once, whatever is going on."""
        if self._transport is not None:
            self._transport.abort()

    # What an exchange calls.

    def pause_reading(self) -> None:
        """Lets the backend feel that nobody reads."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Reads on."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def end(self, *, is_reusable: bool) -> None:
        """Takes the connection back from its exchange, to keep or to close."""
        exchange, self._exchange = self._exchange, None
        if is_reusable and exchange is not None and self.is_usable and self._is_all_sent():
            self.idle_until = self._loop.time() + keep_s(exchange.header("keep-alive"), self._limits.idle_s_max)
            self._keeper.freed(self)
        else:
            self.close()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Feeds the parser; bytes that nobody asked for end the connection."""
        exchange = self._exchange
        if exchange is None:
            self.close()
            return
        try:
            exchange.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            exchange.fail(FaultKind.GARBAGE, "the backend switched protocols without being asked")
        except httptools.HttpParserError as error:
            exchange.fail(FaultKind.GARBAGE, f"not HTTP: {error}")
        exchange.fed(len(data))

    def eof_received(self) -> bool:
        """Closes: whoever stops sending has ended the answer."""
        self._is_gone = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """Tells the exchange and the pool."""
        self._is_gone = True
        self._keeper.lost(self)
        if self._exchange is not None:
            self._exchange.lost()

    def _is_all_sent(self) -> bool:
        return self._transport is not None and self._transport.get_write_buffer_size() == 0


def keep_s(header: str, most_s: float) -> float:
    """Seconds for which an idle connection may be trusted, from the backend's ``Keep-Alive`` header.

    One second less than it says, so that our request does not cross its farewell.

    >>> keep_s("timeout=5, max=100", most_s=60.0)
    4.0
    """
    for part in header.split(","):
        name, _, value = part.partition("=")
        if name.strip().lower() == "timeout" and value.strip().isdecimal():
            return min(most_s, max(0.0, float(value.strip()) - 1.0))
    return most_s
