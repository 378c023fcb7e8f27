"""HTTP under TLS: the same small interface, carried by aiohttp."""

import asyncio
from types import SimpleNamespace

import aiohttp

from providers.http_port import FaultKind, HttpAsk, HttpFault, HttpLimits, HttpReply, Origin


class SecureTransport:
    """An aiohttp session to one origin. Belongs to one event loop."""

    def __init__(self, origin: Origin, limits: HttpLimits) -> None:
        self._origin = origin
        self._limits = limits
        self._session: aiohttp.ClientSession | None = None
        self._in_use = 0
        self._is_closed = False

    async def ask(self, ask: HttpAsk) -> HttpReply:
        """Sends a request and waits for the answer's headers.

        It is sent once more when it finds that its kept connection was closed meanwhile.

        Raises:
            HttpFault: no connection, or no answer.
        """
        if self._is_closed:
            raise HttpFault(FaultKind.REFUSED, "our connections to it are closed")
        if self._in_use >= self._limits.connections_max:
            raise HttpFault(FaultKind.POOL_FULL, f"all {self._limits.connections_max} connections to it are in use")
        self._in_use += 1
        is_answered = False
        try:
            response, sent_at = await self._ask(ask)
            is_answered = True
        finally:
            self._in_use -= not is_answered
        return SecureReply(self, response, sent_at)

    async def close(self) -> None:
        """Closes every connection; answers still being read fail."""
        self._is_closed = True
        if self._session is not None:
            await self._session.close()

    def ended(self) -> None:
        """Takes note that an answer is done with."""
        self._in_use -= 1

    async def _ask(self, ask: HttpAsk) -> tuple[aiohttp.ClientResponse, float]:
        attempt = _Attempt(ask)
        try:
            response = await self._send(ask, attempt)
        except HttpFault as fault:
            if fault.kind is not FaultKind.CLOSED_UNANSWERED or not attempt.is_reused:
                raise
            attempt = _Attempt(ask)
            response = await self._send(ask, attempt)
        return response, attempt.sent_at

    async def _send(self, ask: HttpAsk, attempt: "_Attempt") -> aiohttp.ClientResponse:
        where = self._origin
        try:
            async with asyncio.timeout(ask.connect_s + ask.answer_s) as attempt.limit:
                return await self._opened().request(
                    ask.method,
                    f"{'https' if where.is_tls else 'http'}://{where.authority}{where.path}{ask.target}",
                    data=ask.body or None,
                    headers=ask.headers,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None, connect=ask.connect_s),
                    trace_request_ctx=attempt,
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _fault(error, where, is_answered=False) from error

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            limits = self._limits
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=limits.idle_s_max),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                read_bufsize=limits.held_bytes_max // 2,  # aiohttp pauses at twice this
                max_line_size=limits.header_bytes_max,
                max_field_size=limits.header_bytes_max,
                trace_configs=[_tracing()],
            )
        return self._session


class SecureReply:
    """An answer read through aiohttp."""

    __slots__ = ("_owner", "_response", "sent_at", "status")

    def __init__(self, owner: SecureTransport, response: aiohttp.ClientResponse, sent_at: float) -> None:
        self._owner: SecureTransport | None = owner
        self._response = response
        self.sent_at = sent_at
        self.status = response.status

    def header(self, name: str) -> str:
        """The last value of a header; empty when absent."""
        values = self._response.headers.getall(name, [""])
        return values[-1]

    async def read(self, deadline: float) -> bytes:
        """The next bytes of the body as they came, or ``b""`` at its end.

        Raises:
            HttpFault: timed out, closed early, or garbage.
        """
        content = self._response.content
        try:
            data = content.read_nowait()
            if data or content.at_eof():
                return data
            async with asyncio.timeout_at(deadline):
                return await content.readany()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _fault(error, None, is_answered=True) from error

    def finish(self) -> None:
        """Gives the connection back when the answer has ended, else closes it."""
        self._end()
        self._response.release()

    def abort(self) -> None:
        """Closes the connection at once."""
        self._end()
        self._response.close()

    def _end(self) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.ended()


class _Attempt:
    """What aiohttp's tracing tells of one try."""

    __slots__ = ("answer_s", "is_reused", "limit", "sent_at")

    def __init__(self, ask: HttpAsk) -> None:
        self.answer_s = ask.answer_s
        self.is_reused = False
        self.limit: asyncio.Timeout | None = None
        self.sent_at = asyncio.get_running_loop().time()


def _tracing() -> aiohttp.TraceConfig:
    """Tells an attempt whether its connection is an old one, and starts the wait for an answer when it is sent."""

    async def note_reused(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
        context.trace_request_ctx.is_reused = True

    async def note_sent(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
        attempt: _Attempt = context.trace_request_ctx
        attempt.sent_at = asyncio.get_running_loop().time()
        if attempt.limit is not None:
            attempt.limit.reschedule(attempt.sent_at + attempt.answer_s)

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_reuseconn.append(note_reused)
    tracing.on_request_headers_sent.append(note_sent)
    return tracing


def _fault(error: Exception, where: Origin | None, *, is_answered: bool) -> HttpFault:
    """Says what an aiohttp exception means below HTTP."""
    to = f"no connection to {where.authority}" if where is not None else "the connection"
    match error:
        case aiohttp.ConnectionTimeoutError():
            kind, detail = FaultKind.CONNECT_TIMED_OUT, f"{to} in time"
        case TimeoutError():
            kind, detail = FaultKind.TIMED_OUT, "a deadline passed in silence"
        case aiohttp.ClientConnectorError() | aiohttp.ServerFingerprintMismatch() | aiohttp.InvalidURL():
            kind, detail = FaultKind.REFUSED, f"{to}: {error}"
        case aiohttp.ClientResponseError():
            kind, detail = FaultKind.GARBAGE, f"not HTTP: {error.message}"
        case aiohttp.ServerDisconnectedError() if not is_answered and isinstance(error.message, str):
            kind, detail = FaultKind.CLOSED_UNANSWERED, "the connection closed before an answer"
        case aiohttp.ClientOSError() if not is_answered:
            kind, detail = FaultKind.CLOSED_UNANSWERED, f"the connection closed before an answer: {error}"
        case _:
            kind, detail = FaultKind.CLOSED_EARLY, "the connection closed in the middle of the answer"
    return HttpFault(kind, detail)
