"""Puts a streamed answer together for a customer who wants one body; pure."""

import json

import msgspec

from providers.base import TokenChunk
from providers.errors import ProviderProtocolError
from providers.openai_call import BODY_BYTES_MAX
from providers.openai_chunks import WireFormatError
from providers.openai_whole import Assembly, whole_chunk


class _Delta(msgspec.Struct, forbid_unknown_fields=True):
    content: str
    role: str | None = None


class _Choice(msgspec.Struct, forbid_unknown_fields=True):
    delta: _Delta
    index: int = 0
    finish_reason: None = None
    logprobs: None = None


class _Plain(msgspec.Struct):
    """An event that brings text and nothing else, as nearly all do."""

    choices: list[_Choice]


_PLAIN = msgspec.json.Decoder(_Plain)
_DATA = b"data: "
_END = b"\n\n"


class Whole:
    """The growing body of one answer; text is gathered first and put in its place at once.

    Args:
        provider_id: who makes it.
    """

    __slots__ = ("_assembly", "_bytes", "_events", "_provider_id", "_text")

    def __init__(self, provider_id: str) -> None:
        self._provider_id = provider_id
        self._assembly = Assembly(BODY_BYTES_MAX)
        self._events = self._bytes = 0
        self._text: list[str] = []

    @property
    def has_content(self) -> bool:
        """Whether anything was said yet."""
        return self._events > 0

    def add(self, chunk: TokenChunk) -> None:
        """Adds what one read brought.

        Raises:
            ProviderProtocolError: the answer outgrows its bound.
        """
        is_first = not self._events
        self._events += chunk.content_events
        text = None if is_first else plain_text(chunk)
        if text is None:
            self._put(chunk)
            return
        self._text.append(text)
        self._bytes += len(chunk.events)
        if self._bytes > BODY_BYTES_MAX:
            raise ProviderProtocolError(self._provider_id, f"an answer of more than {BODY_BYTES_MAX} bytes")

    def _put(self, chunk: TokenChunk | None) -> None:
        """Puts the text gathered, and then a chunk, into the body."""
        text, self._text = "".join(self._text), []
        try:
            if text:
                choice = {"index": 0, "delta": {"content": text}}
                self._assembly.add(TokenChunk(_DATA + json.dumps({"choices": [choice]}).encode() + _END))
            if chunk is not None:
                self._assembly.add(chunk)
        except WireFormatError as error:
            raise ProviderProtocolError(self._provider_id, str(error)) from error

    def chunk(self) -> TokenChunk:
        """The whole answer as one read.

        Raises:
            ProviderError: it is none.
        """
        self._put(None)
        found = whole_chunk(self._provider_id, self._assembly.body())
        return msgspec.structs.replace(found, content_events=max(found.content_events, self._events))


def plain_text(chunk: TokenChunk) -> str | None:
    """The text of a chunk that is one event of text and nothing else; None for any other."""
    events = chunk.events
    if chunk.usage is not None or not events.startswith(_DATA) or events.find(_END) != len(events) - 2:
        return None
    try:
        choices = _PLAIN.decode(memoryview(events)[6:-2]).choices
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return choices[0].delta.content if len(choices) == 1 and not choices[0].index else None
