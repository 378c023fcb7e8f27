"""From the bytes of a streamed answer to what was delivered: one pass, each event decoded once. Pure."""

import contextlib

import msgspec

from pricing.usage import Usage
from providers.base import TokenChunk
from providers.errors import (
    DETAIL_MAX,
    ProviderClosedEarly,
    ProviderCredentialRejected,
    ProviderError,
    ProviderProtocolError,
    ProviderStreamError,
)
from providers.openai_chunks import (
    WireChoice,
    WireCompletion,
    WireFormatError,
    WireMessage,
    WireUsage,
    completion_of,
    error_words,
    identity_as_it_stands,
    is_about_credentials,
    text_bytes,
    without_usage,
)
from providers.sse import SseError, SseParser, event_of, plain_data

EVENT_BYTES_MAX = 1_048_576
CHOICES_MAX = 128
DONE = b"[DONE]"


class EventReader:
    """Folds the events of one streamed answer into :class:`TokenChunk`, one per read as a rule.

    Attributes:
        failure: what went wrong; raise it after the chunks that came with it have been passed on.
        is_over: True after ``[DONE]``, the end of the stream, or a failure: nothing more is to be fed.
        is_finished: True once every choice has its finish reason.
        has_content: True once anything readable has come.
        events_seen: events so far, keep-alive comments not among them.
    """

    __slots__ = (
        "_begun",
        "_choices",
        "_final",
        "_finish_reason",
        "_finished",
        "_is_reasoning_shown",
        "_is_usage_final",
        "_model",
        "_parser",
        "_passed",
        "_provider_id",
        "_raw_identity",
        "_reasoning_tokens",
        "_response_id",
        "_size",
        "_sized",
        "_tokens_through",
        "_usage",
        "events_seen",
        "failure",
        "has_content",
        "is_finished",
        "is_over",
    )

    def __init__(self, provider_id: str, choices: int = 1, event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self._provider_id = provider_id
        self._choices = choices
        self._parser = SseParser(event_bytes_max)
        self._passed: list[bytes] = []
        self._size = 0
        self._sized = 0
        self._response_id: str | None = None
        self._model: str | None = None
        self._raw_identity = ("", "")
        self._tokens_through: int | None = None
        self._begun: set[int] = set()
        self._finished: dict[int, str] = {}
        self._finish_reason: str | None = None
        self._usage: WireUsage | None = None
        self._final: Usage | None = None
        self._reasoning_tokens = 0
        self._is_usage_final = False
        self._is_reasoning_shown = False
        self.failure: ProviderError | None = None
        self.is_over = False
        self.is_finished = False
        self.has_content = False
        self.events_seen = 0

    def feed(self, data: bytes) -> list[TokenChunk]:
        """What one read brought. Look at ``failure`` afterwards."""
        had_content = self.has_content
        chunks: list[TokenChunk] = []
        try:
            for block in self._parser.feed(data):
                self._take(block, chunks)
                if self.is_over:
                    break
        except (SseError, WireFormatError) as error:
            self._fail(ProviderProtocolError(self._provider_id, str(error)[:DETAIL_MAX]))
        if self.failure is not None and not had_content:
            return []  # nothing has been shown to anyone, so somebody else may still be asked
        self._flush(chunks)
        return chunks

    def end(self) -> list[TokenChunk]:
        """What is left when the stream has ended without ``[DONE]``. Look at ``failure`` afterwards."""
        chunks: list[TokenChunk] = []
        rest = self._parser.rest()
        with contextlib.suppress(SseError, WireFormatError):  # a stump: the early end says more than it does
            if rest:
                self._take(rest, chunks)
        if not self.is_over:
            self._conclude()
        self._flush(chunks)
        return chunks

    def _take(self, block: bytes, chunks: list[TokenChunk]) -> None:
        data = plain_data(block)
        if data is None:
            event = event_of(block)
            if event is None:
                return
            if event.name == b"error":
                self._fail(reported_error(self._provider_id, None, event.data))
                return
            data, block = event.data, event.block
        self.events_seen += 1
        if data == DONE:
            self._conclude()
        else:
            self._fold(completion_of(data), data, block, chunks)

    def _fold(self, completion: WireCompletion, data: bytes, block: bytes, chunks: list[TokenChunk]) -> None:
        if completion.error is not None:
            self._fail(reported_error(self._provider_id, completion.error, data))
            return
        choices = completion.choices
        if choices and (completion.id != self._response_id or completion.model != self._model):
            self._identify(completion, data, chunks)
        if completion.usage is not None:
            self._note_usage(completion.usage, choices)
            if choices:
                block = b"data: " + without_usage(data)
        if choices:
            self._count(choices)
            self._passed.append(block)

    def _count(self, choices: list[WireChoice]) -> None:
        size = 0
        for choice in choices:
            delta = choice.delta
            if delta is not None:
                size += text_bytes(delta.content) if delta.is_plain else self._size_of(delta)
            if choice.finish_reason is not None:
                self._finish(choice.index or 0, choice.finish_reason)
            if self._choices > 1:
                self._begin(choice.index or 0)
        if size:
            self._size += size
            self._sized += 1
            self.has_content = True

    def _size_of(self, delta: WireMessage) -> int:
        if delta.reasoning_bytes():
            self._is_reasoning_shown = True
        return delta.content_bytes()

    def _begin(self, index: int) -> None:
        self._begun.add(index)
        if len(self._begun) > CHOICES_MAX:
            raise WireFormatError(f"an answer with more than {CHOICES_MAX} choices")

    def _finish(self, index: int, reason: str) -> None:
        if reason == "error":
            self._fail(ProviderStreamError(self._provider_id, "the answer finished with an error"))
        self._begin(index)
        self._finished[index] = reason
        if not self.is_finished and len(self._finished) >= self._choices:
            self.is_finished = True
            self._finish_reason = reason

    def _note_usage(self, usage: WireUsage, choices: list[WireChoice] | None) -> None:
        """Keeps the counts.

        Usage on its own is the final count. Usage beside choices is final from the finish reason on, before that it is
        a count on the way; which of several choices it counts is not said, so then it is ignored.
        """
        is_final = not choices or self.is_finished or any(each.finish_reason for each in choices)
        if not usage.is_stated or not (is_final or self._choices == 1):
            return
        earlier = self._usage
        if earlier is not None and usage.falls_below(earlier):
            raise WireFormatError(
                f"contradictory usage: {usage.prompt_tokens} input and {usage.completion_tokens} output tokens after "
                f"{earlier.prompt_tokens} and {earlier.completion_tokens}"
            )
        self._usage = usage
        self._is_usage_final = is_final
        self._tokens_through = usage.completion_tokens

    def _identify(self, completion: WireCompletion, data: bytes, chunks: list[TokenChunk]) -> None:
        self._flush(chunks)
        self._response_id, self._model = completion.id, completion.model
        self._raw_identity = identity_as_it_stands(data)

    def _conclude(self) -> None:
        """Ends the answer: well, when every choice that was begun has finished, though fewer may be than were asked."""
        self.is_over = True
        if not self._finished or self._begun - self._finished.keys():
            said = f"the answer ended after {self.events_seen} events without a finish reason"
            self._fail(ProviderClosedEarly(self._provider_id, said))
            return
        if not self.is_finished:
            self.is_finished = True
            self._finish_reason = next(reversed(self._finished.values()))
        try:
            self._settle_usage()
        except WireFormatError as error:
            self._fail(ProviderProtocolError(self._provider_id, str(error)))

    def _fail(self, failure: ProviderError) -> None:
        self.failure = self.failure or failure
        self.is_over = True

    def _flush(self, chunks: list[TokenChunk]) -> None:
        """Makes one chunk of what has gathered, if anything has."""
        is_well = self.failure is None
        final = self._final if is_well else None
        finish_reason = self._finish_reason if is_well else None
        if not self._passed and finish_reason is None and self._tokens_through is None and final is None:
            return
        response_id, model = self._raw_identity
        chunks.append(
            TokenChunk(
                events=b"\n\n".join(self._passed) + b"\n\n" if self._passed else b"",
                response_id=response_id,
                response_model=model,
                content_bytes=self._size,
                content_events=self._sized,
                tokens_through=self._tokens_through,
                reasoning_tokens=self._reasoning_tokens if final is not None else 0,
                finish_reason=finish_reason,
                usage=final,
            )
        )
        self._passed.clear()
        self._size = self._sized = 0
        self._tokens_through = self._finish_reason = None

    def _settle_usage(self) -> None:
        """Makes the final count, once; a count of nothing after content is none.

        Some backends count the prompt up front and never come back to it.
        """
        usage = self._usage if self._is_usage_final else None
        if usage is None or (usage.completion_tokens == 0 and self.has_content):
            return
        self._final = usage.counts()
        if not self._is_reasoning_shown:
            self._reasoning_tokens = min(usage.reasoning_tokens, self._final.output)


def reported_error(provider_id: str, error: object, data: bytes) -> ProviderError:
    """The error that a backend reported within an answer: in its ``error`` field, or as all of ``data``."""
    if not error_words(error):
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            error = msgspec.json.decode(data)
    detail = (error_words(error) or data.decode("utf-8", "replace"))[:DETAIL_MAX]
    if is_about_credentials(error):
        return ProviderCredentialRejected(provider_id, detail)
    return ProviderStreamError(provider_id, detail)
