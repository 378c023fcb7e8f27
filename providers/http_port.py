"""One small HTTP interface to every backend, carried by sockets of our own, or by aiohttp where there is TLS."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol
from urllib.parse import urlsplit


class FaultKind(StrEnum):
    """How an exchange can go wrong below HTTP's own status codes."""

    REFUSED = "refused"
    """No connection: refused, unreachable, or the name does not resolve."""
    POOL_FULL = "pool_full"
    """As many connections are open as we allow ourselves."""
    CONNECT_TIMED_OUT = "connect_timed_out"
    """No connection in time."""
    TIMED_OUT = "timed_out"
    """A deadline passed in silence."""
    CLOSED_UNANSWERED = "closed_unanswered"
    """The connection ended before the first byte of an answer."""
    CLOSED_EARLY = "closed_early"
    """The connection ended within an answer."""
    GARBAGE = "garbage"
    """What came is not HTTP, or is more of it than we take."""


class HttpFault(Exception):
    """An exchange failed below HTTP.

    Attributes:
        kind: how; the table in :mod:`providers.errors` says what follows.
        detail: in words, without secrets.
    """

    def __init__(self, kind: FaultKind, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Bounds of one transport.

    Attributes:
        connections_max: open at once, idle ones included.
        idle_max: kept open for the next request.
        idle_s_max: after this an idle connection is closed rather than trusted: engines drop theirs after 5 s.
        header_bytes_max: status line and headers of an answer.
        held_bytes_max: body read ahead of the reader before the socket is paused.
        tail_bytes_max: body thrown away at an answer's end to keep its connection.
        tail_s_max: how long to wait for that end.
    """

    connections_max: int = 1024
    idle_max: int = 256
    idle_s_max: float = 4.0
    header_bytes_max: int = 65_536
    held_bytes_max: int = 262_144
    tail_bytes_max: int = 65_536
    tail_s_max: float = 1.0


@dataclass(frozen=True, slots=True)
class HttpAsk:
    """One request.

    Attributes:
        target: path and query, as they stand on the request line.
        headers: all but Host and Content-Length, which the transport sets.
        connect_s: to open a connection, where none is free.
        answer_s: from the request sent to the end of the answer's headers.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    connect_s: float
    answer_s: float


class HttpReply(Protocol):
    """An answer whose headers have come and whose body may still be coming."""

    @property
    def status(self) -> int:
        """HTTP status."""
        ...

    @property
    def sent_at(self) -> float:
        """When the request had been handed to the socket, on the event loop's clock, in seconds."""
        ...

    def header(self, name: str) -> str:
        """The last value of a header by its lower-case name; empty when absent."""
        ...

    async def read(self, deadline: float) -> bytes:
        """The next bytes of the body as they came, or ``b""`` at its end.

        Args:
            deadline: on the event loop's clock, in seconds. Bytes that are already here are returned whatever it says.

        Raises:
            HttpFault: timed out, closed early, or garbage.
        """
        ...

    def finish(self) -> None:
        """Says that what is still to come does not matter; keeps the connection if its answer ends soon."""
        ...

    def abort(self) -> None:
        """Closes the connection at once, so that the backend sees nobody is reading."""
        ...


class HttpTransport(Protocol):
    """Makes requests to one origin."""

    async def ask(self, ask: HttpAsk) -> HttpReply:
        """Sends a request and waits for the answer's headers. The caller ends it with ``finish`` or ``abort``.

        Raises:
            HttpFault: no connection, or no answer.
        """
        ...

    async def close(self) -> None:
        """Closes every connection; answers still being read fail."""
        ...


@dataclass(frozen=True, slots=True)
class Origin:
    """Whom a transport talks to.

    Attributes:
        host: without brackets, also for IPv6.
        authority: host and port as they stand in the Host header.
        path: what stands before every target, without a closing slash.
    """

    is_tls: bool
    host: str
    port: int
    authority: str
    path: str


def origin_of(base_url: str) -> Origin:
    """Takes an address apart.

    >>> origin_of("http://127.0.0.1:8080/v1/").path
    '/v1'
    """
    parts = urlsplit(base_url)
    is_tls = parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    return Origin(is_tls, parts.hostname or "", port, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"))
