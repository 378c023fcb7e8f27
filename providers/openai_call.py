"""One request on the OpenAI wire, from the moment it is sent to its last byte: deadlines, sizes, and who failed."""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import msgspec

from providers.base import Timeouts, TokenChunk
from providers.errors import (
    ProviderCredentialRejected,
    ProviderError,
    ProviderModelMissing,
    ProviderProtocolError,
    ProviderTimeout,
    error_for_fault,
    error_for_status,
    retry_after_s,
    without_secret,
)
from providers.http_port import FaultKind, HttpAsk, HttpFault, HttpReply, HttpTransport
from providers.openai_chunks import WireFormatError
from providers.openai_events import CHOICES_MAX, EventReader
from providers.openai_whole import Assembly, first_words, whole_chunk
from providers.spec import ProviderSpec

BODY_BYTES_MAX = 33_554_432
ERROR_BYTES_MAX = 65_536
ERROR_S_MAX = 5.0
"""How long to listen to why a request was refused."""
TAIL_S_MAX = 5.0
"""How long to wait, after the finish reason, for usage and the end."""
OK = 200
NOT_FOUND = 404


class Pace:
    """The deadlines of one answer, on the event loop's clock.

    Until the first content there is one deadline; after it each event moves the next. An answer that is not streamed
    has only the last.
    """

    __slots__ = ("_events_seen", "_is_tail", "_loop", "_next_at", "_times", "_total_at", "is_streamed")

    def __init__(self, times: Timeouts, *, is_streamed: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._times = times
        self.is_streamed = is_streamed
        self._next_at = self._total_at = 0.0
        self._events_seen = -1
        self._is_tail = False

    @property
    def answer_s(self) -> float:
        """From the request sent to the answer's headers."""
        return min(self._times.first_token_s, self._times.total_s) if self.is_streamed else self._times.total_s

    @property
    def connect_s(self) -> float:
        """To open a connection."""
        return self._times.connect_s

    def begin(self, sent_at: float) -> None:
        """Starts at the moment the request was sent."""
        self._total_at = sent_at + self._times.total_s
        self._next_at = sent_at + self.answer_s

    def next_deadline(self, reader: EventReader) -> float:
        """By when the next read has to bring something."""
        if reader.is_finished:
            if not self._is_tail:
                self._is_tail = True
                self._next_at = self._loop.time() + min(TAIL_S_MAX, self._times.gap_s)
        elif reader.has_content and reader.events_seen != self._events_seen:
            self._events_seen = reader.events_seen
            self._next_at = self._loop.time() + self._times.gap_s
        return min(self._next_at, self._total_at)

    def last_deadline(self) -> float:
        """By when all of it has to be here."""
        return self._total_at

    def words(self, *, has_content: bool) -> str:
        """Which deadline it was that passed."""
        if not self.is_streamed or self._next_at >= self._total_at > 0:
            return f"no whole answer within {self._times.total_s:g} s"
        if has_content:
            return f"silent for {self._times.gap_s:g} s between tokens"
        return f"no first token within {self._times.first_token_s:g} s"


class Call:
    """One request and its answer; an async context that ends the connection rightly whatever happens.

    Whatever is raised within leaves as a :class:`ProviderError`, without our credential in its words.
    """

    __slots__ = ("_ask", "_is_well", "_pace", "_reader", "_reply", "_spec", "_transport")

    def __init__(
        self, spec: ProviderSpec, transport: HttpTransport, ask: HttpAsk, pace: Pace, choices: int = 1
    ) -> None:
        self._spec = spec
        self._transport = transport
        self._ask = ask
        self._pace = pace
        self._reader = EventReader(spec.id, choices)
        self._reply: HttpReply | None = None
        self._is_well = False

    async def __aenter__(self) -> Self:
        is_answered = False
        try:
            self._reply = await self._transport.ask(self._ask)
            self._pace.begin(self._reply.sent_at)
            await self._expect_answer(self._reply)
            is_answered = True
        except (HttpFault, WireFormatError, ProviderError) as error:
            raise self._translated(error) from error
        finally:
            if not is_answered:
                self._end()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        if isinstance(error, HttpFault | WireFormatError | ProviderError):
            raise self._translated(error) from error

    @property
    def is_over(self) -> bool:
        """True when there is nothing more to read."""
        return self._reader.is_over and self._reader.failure is None

    async def read(self) -> list[TokenChunk]:
        """What the next read of a streamed answer brings.

        Raises:
            HttpFault, ProviderError: see :class:`Call`.
        """
        reader = self._reader
        if reader.failure is not None:
            raise reader.failure
        try:
            data = await self._open_reply().read(self._pace.next_deadline(reader))
        except HttpFault:
            if not reader.is_finished:
                raise
            return reader.end()  # the answer is whole; what is missing is only its count or its [DONE]
        chunks = reader.feed(data) if data else reader.end()
        if reader.is_over:
            self._is_well = reader.failure is None
        return chunks

    async def assembled(self) -> TokenChunk:
        """A streamed answer, put together as one that was not streamed."""
        assembly = Assembly(BODY_BYTES_MAX)
        while not self.is_over:
            for chunk in await self.read():
                assembly.add(chunk)
        return whole_chunk(self._spec.id, assembly.body())

    async def whole(self) -> TokenChunk:
        """An answer that is not streamed."""
        return whole_chunk(self._spec.id, await self.body())

    async def body(self, bytes_max: int = BODY_BYTES_MAX) -> bytes:
        """All of an answer that is not streamed."""
        reply = self._open_reply()
        parts: list[bytes] = []
        size = 0
        while data := await reply.read(self._pace.last_deadline()):
            parts.append(data)
            size += len(data)
            if size > bytes_max:
                raise HttpFault(FaultKind.GARBAGE, f"an answer of more than {bytes_max} bytes")
        self._is_well = True
        return b"".join(parts)

    # Helpers.

    def _open_reply(self) -> HttpReply:
        if self._reply is None:
            raise RuntimeError("the call has not begun")
        return self._reply

    def _end(self) -> None:
        if self._reply is None:
            return
        if self._is_well:
            self._reply.finish()
        else:
            self._reply.abort()

    async def _expect_answer(self, reply: HttpReply) -> None:
        """Lets only an answer pass, of the shape that was asked for."""
        if reply.status != OK:
            raise await self._refusal(reply)
        coding = reply.header("content-encoding").lower()
        if coding not in {"", "identity"}:
            raise ProviderProtocolError(self._spec.id, f"an answer compressed with {coding!r} that nobody asked for")
        if not self._pace.is_streamed:
            return
        media = reply.header("content-type").partition(";")[0].strip().lower()
        if media.endswith("json"):
            whole_chunk(self._spec.id, await self.body())  # raises what the body says, if it is an error
            raise ProviderProtocolError(self._spec.id, "one JSON body where a stream was asked for")
        if media in {"text/html", "application/xml", "text/xml"}:
            raise ProviderProtocolError(self._spec.id, f"an answer of type {media!r} where a stream was asked for")

    async def _refusal(self, reply: HttpReply) -> ProviderError:
        words = first_words(await self._refusal_body(reply))
        after_s = retry_after_s(reply.header("retry-after-ms"), reply.header("retry-after"), reply.header("date"))
        detail = f"HTTP {reply.status}: {words}" if words else f"HTTP {reply.status}"
        if reply.status == NOT_FOUND and self._ask.method == "POST":
            model = self._spec.backend_model
            return ProviderModelMissing(self._spec.id, f"it does not serve {model!r} there ({detail})", reply.status)
        return error_for_status(self._spec.id, reply.status, detail, after_s)

    async def _refusal_body(self, reply: HttpReply) -> bytes:
        deadline = min(asyncio.get_running_loop().time() + ERROR_S_MAX, self._pace.last_deadline())
        body = b""
        try:
            while len(body) < ERROR_BYTES_MAX:
                data = await reply.read(deadline)
                if not data:
                    self._is_well = True
                    break
                body += data
        except HttpFault:
            return body  # the status has said enough
        return body

    def _translated(self, error: HttpFault | WireFormatError | ProviderError) -> ProviderError:
        match error:
            case HttpFault(kind=FaultKind.TIMED_OUT):
                failure = ProviderTimeout(self._spec.id, self._pace.words(has_content=self._reader.has_content))
            case HttpFault():
                failure = error_for_fault(self._spec.id, error)
            case WireFormatError():
                failure = ProviderProtocolError(self._spec.id, str(error))
            case _:
                failure = error
        if isinstance(failure, ProviderCredentialRejected):
            failure.credential_id = self._spec.credential_id
        return without_secret(failure, self._spec.api_key)


def choices_asked(fields: Mapping[str, Any]) -> int:
    """How many choices a request asks for; 1 where it says nothing that a backend would accept."""
    asked = plain_value(fields.get("n"))
    return asked if isinstance(asked, int) and not isinstance(asked, bool) and 1 <= asked <= CHOICES_MAX else 1


def plain_value(value: Any) -> Any:
    """A field's value, decoded where it is still raw."""
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
