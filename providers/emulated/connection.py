"""HTTP/1.1 for an emulated backend: one connection, one exchange at a time, everything bounded."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, cast

import httptools

from providers.emulated.answer import Answer
from providers.emulated.wire import error_body

BODY_BYTES_MAX: Final = 32_000_000
HEAD_BYTES_MAX: Final = 65_536
AHEAD_MAX: Final = 16
"""How many requests a client may send ahead while one is being answered."""
IDLE_S_MAX: Final = 300.0
"""How long a connection may take to bring a whole request."""
STALL_S_MAX: Final = 60.0
"""A client that takes no bytes for so long is cut off."""
LINGER_S: Final = 2.0
"""A refused connection stays for so long, so that the client can read the refusal."""
_JSON: Final = b"content-type: application/json\r\n"
_MARK: Final = b"x-emulated: true\r\n"


@dataclass(slots=True)
class Exchange:
    """One request, as far as it has come.

    Attributes:
        headers: by lower-case name; of several with one name, the last.
        is_chunked: False for an HTTP/1.0 client, who knows no chunks.
        stays_open: whether the connection may serve another request after it.
    """

    method: str = ""
    target: bytes = b""
    is_chunked: bool = True
    stays_open: bool = True
    headers: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    body: list[bytes] = field(default_factory=list[bytes])
    body_bytes: int = 0

    @property
    def path(self) -> str:
        """The path without its query."""
        return self.target.partition(b"?")[0].decode("ascii", "replace")


class Connection(asyncio.Protocol):
    """One client's connection; an :class:`~providers.emulated.answer.Outlet` for the exchange under way.

    Args:
        on_request: answers a whole request through the connection; may start an answer that goes on.
        on_gone: called with the live answer when its client has gone.
        on_resumed: called with the live answer when its client takes bytes again.
        connections: all open connections; this one puts itself in and takes itself out.
        connections_max: one more than that is turned away.
    """

    def __init__(
        self,
        on_request: "Callable[[Connection, Exchange], None]",
        on_gone: Callable[[Answer], None],
        on_resumed: Callable[[Answer], None],
        connections: "set[Connection]",
        connections_max: int,
    ) -> None:
        self._on_request = on_request
        self._on_gone = on_gone
        self._on_resumed = on_resumed
        self._connections = connections
        self._connections_max = connections_max
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._arriving = Exchange()
        self._waiting: deque[Exchange] = deque()
        self._present: Exchange | None = None
        self._refusal: tuple[int, str, str] | None = None
        self._is_refused = False
        self._is_in_head = True
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self.answer: Answer | None = None
        self.is_paused = False

    @property
    def peer(self) -> str:
        """The client's address."""
        name = None if self._transport is None else self._transport.get_extra_info("peername")
        return str(name[0]) if name else ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes a connection in, or turns it away when there are too many."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class does not derive from it
        if len(self._connections) >= self._connections_max:
            self._refuse(503, "too_many_connections", f"{self._connections_max} connections are open; try later")
            return
        self._connections.add(self)
        self._set_deadline(IDLE_S_MAX)

    def connection_lost(self, exc: Exception | None) -> None:
        """Lets go of the connection; a live answer is told."""
        del exc
        self._connections.discard(self)
        self._transport = None
        self._set_deadline(None)
        if self.answer is not None:
            answer, self.answer = self.answer, None
            self._on_gone(answer)

    def pause_writing(self) -> None:
        """The client reads slower than tokens come: from here on they wait."""
        self.is_paused = True
        self._set_deadline(STALL_S_MAX)

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.is_paused = False
        self._set_deadline(IDLE_S_MAX if self._present is None else None)
        if self.answer is not None:
            self._on_resumed(self.answer)

    def data_received(self, data: bytes) -> None:
        """Takes in bytes; a next request waits until the present one is answered."""
        if self._refusal is not None:
            return
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(400, "bad_request", "an upgrade is not offered here")
        except httptools.HttpParserError as error:
            self._refuse(400, "bad_request", f"that is not HTTP/1.1: {error}")
        if self._is_in_head and self._head_bytes > HEAD_BYTES_MAX:
            self._refuse(431, "head_too_large", f"a request's head may have {HEAD_BYTES_MAX} bytes")
        elif self._arriving.body_bytes > BODY_BYTES_MAX:
            self._refuse(413, "body_too_large", f"a body may have {BODY_BYTES_MAX} bytes")
        elif len(self._waiting) > AHEAD_MAX:
            self._refuse(429, "too_many_requests", f"at most {AHEAD_MAX} requests may be sent ahead")
        self._turn()

    def on_url(self, url: bytes) -> None:
        """The parser found (a part of) the target."""
        self._arriving.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser found a header."""
        self._arriving.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """The parser has the whole head."""
        self._is_in_head = False
        self._arriving.method = self._parser.get_method().decode("ascii")
        if self._arriving.headers.get(b"expect", b"").lower() == b"100-continue" and self._present is None:
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """The parser found a part of the body; once it is too large, none is kept."""
        self._arriving.body_bytes += len(body)
        if self._arriving.body_bytes <= BODY_BYTES_MAX:
            self._arriving.body.append(body)

    def on_message_complete(self) -> None:
        """The parser has a whole request."""
        self._arriving.stays_open = self._parser.should_keep_alive()
        self._arriving.is_chunked = self._parser.get_http_version() != "1.0"
        self._waiting.append(self._arriving)
        self._arriving = Exchange()
        self._is_in_head = True
        self._head_bytes = 0

    def begin_stream(self) -> None:
        """Sends the head of a streamed answer."""
        framing = b"transfer-encoding: chunked\r\n" if self._is_chunked else b""
        if not self._stays_open:
            framing += b"connection: close\r\n"
        kind = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
        self._send(b"HTTP/1.1 200 OK\r\n" + kind + _MARK + framing + b"\r\n")

    def write(self, data: bytes) -> None:
        """Sends a part of a streamed answer."""
        self._send(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    def end_stream(self) -> None:
        """Ends a streamed answer properly."""
        if self._is_chunked:
            self._send(b"0\r\n\r\n")
        self._end_exchange(stays_open=self._stays_open)

    def respond(self, status: int, body: bytes, headers: bytes = b"") -> None:
        """Sends a whole answer."""
        stays_open = self._stays_open
        head = b"HTTP/1.1 %d %b\r\ncontent-length: %d\r\n" % (status, _phrase(status), len(body))
        close = b"" if stays_open else b"connection: close\r\n"
        self._send(head + _JSON + _MARK + headers + close + b"\r\n" + body)
        self._end_exchange(stays_open=stays_open)

    def break_off(self, last: bytes = b"") -> None:
        """Sends ``last`` as it is and cuts the connection without a proper end."""
        if last:
            self.write(last)
        self._end_exchange(stays_open=False)

    def close(self) -> None:
        """Cuts the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def _is_chunked(self) -> bool:
        return self._present is None or self._present.is_chunked

    @property
    def _stays_open(self) -> bool:
        return self._present is not None and self._present.stays_open and self._present.is_chunked

    def _refuse(self, status: int, code: str, message: str) -> None:
        """What comes from here on is not read; the answers to what came before go out first."""
        self._refusal = self._refusal or (status, code, message)
        self._turn()

    def _turn(self) -> None:
        """Turns to the next request, or to the refusal after the last one."""
        if self._present is not None or self._is_refused or self._transport is None or self._transport.is_closing():
            return
        if self._waiting:
            self._present = self._waiting.popleft()
            self._set_deadline(None)
            self._on_request(self, self._present)
        elif self._refusal is not None:
            status, code, message = self._refusal
            self._is_refused = True
            self.respond(status, error_body(status, code, message))

    def _send(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _end_exchange(self, *, stays_open: bool) -> None:
        self.answer = None
        self._present = None
        if self._transport is None:
            return
        if self._is_refused:
            # The client may still be sending: closing now would reset the connection before it reads why.
            self._transport.write_eof()
            self._set_deadline(LINGER_S)
            return
        if not stays_open:
            self._set_deadline(STALL_S_MAX)
            self._transport.close()
            return
        self._set_deadline(IDLE_S_MAX)
        self._loop.call_soon(self._turn)

    def _set_deadline(self, after_s: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if after_s is None else self._loop.call_later(after_s, self.close)


def _phrase(status: int) -> bytes:
    return HTTPStatus(status).phrase.encode() if status in _STATUSES else b"Error"


_STATUSES: Final = frozenset(status.value for status in HTTPStatus)
