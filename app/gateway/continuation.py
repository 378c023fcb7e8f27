"""Goes on with an answer that broke off, at another provider: the customer reads one answer and no token twice.

Only for whoever asked for it, only with text (a tool call or a document cannot be taken up in the middle), and only
where an offer says that it continues: it is sent the messages with the answer so far as their last. The delivery clock
runs on, so that what the break cost shows in the bill.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from pricing.usage import Usage
from providers.base import TokenChunk
from providers.sse import event_of

CONTINUES: Mapping[str, Any] = {"continue_final_message": True, "add_generation_prompt": False}
"""How vLLM and SGLang are told; llama.cpp's server continues a final assistant message without being told."""
TEXT_CHARS_MAX = 4_000_000
_ECHO_CHARS_MIN = 16
"""A repetition of less is likely the model's own."""
_ECHO_CHARS_MAX = 64
"""So much of the answer's beginning, said again, is no chance."""
_MESSAGES = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(slots=True)
class Spoken:
    """What an answer has said so far.

    Attributes:
        is_plain: it is text alone, which another provider can go on with.
    """

    parts: list[str] = field(default_factory=list[str])
    chars: int = 0
    is_plain: bool = True

    def hear(self, chunk: TokenChunk) -> None:
        """Keeps what a chunk says."""
        if not self.is_plain or not chunk.content_events:
            return
        for delta in deltas(chunk.events):
            content = delta.get("content")
            if isinstance(content, str) and content:
                self.parts.append(content)
                self.chars += len(content)
            if any(value for name, value in delta.items() if name not in {"content", "role"}):
                self.is_plain = False
        self.is_plain = self.is_plain and self.chars <= TEXT_CHARS_MAX

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.parts)


class Sound(StrEnum):
    """What a continuing attempt sounds like."""

    NEW = "new"
    """It goes on."""
    UNSURE = "unsure"
    """It may yet turn out to repeat the answer from its beginning."""
    ECHO = "echo"
    """It repeats the answer."""


@dataclass(slots=True)
class Resumed:
    """A continuing attempt.

    Attributes:
        text: what was delivered before it.
        tokens: of it, as counted.
        from_offer, to_offer: who broke off, and who goes on.
        failure: why it broke off.
        heard: what it has said so far, while that may be a repetition of ``text``.
    """

    text: str
    tokens: int
    from_offer: str
    to_offer: str
    failure: str
    heard: str = ""
    is_new: bool = False

    def hear(self, chunk: TokenChunk) -> Sound:
        """Judges it by one more chunk; a backend that begins again must not be taken for one that goes on."""
        self.heard += "".join(str(delta.get("content") or "") for delta in deltas(chunk.events))
        telling = min(len(self.text), _ECHO_CHARS_MAX)
        if self.is_new or telling < _ECHO_CHARS_MIN or not self.text.startswith(self.heard[:telling]):
            self.is_new = True
            return Sound.NEW
        if len(self.heard) >= telling:
            return Sound.ECHO
        self.is_new = chunk.finish_reason is not None
        return Sound.NEW if self.is_new else Sound.UNSURE

    def document(self) -> dict[str, Any]:
        """What a receipt tells of it."""
        return {"after_tokens": self.tokens, "from": self.from_offer, "to": self.to_offer, "failure": self.failure}


def deltas(events: bytes) -> list[dict[str, Any]]:
    """The deltas of all choices in some events."""
    found: list[dict[str, Any]] = []
    for block in events.split(b"\n\n"):
        event = event_of(block) if block else None
        if event is None:
            continue
        choices = json.loads(event.data).get("choices") or ()
        found += [choice["delta"] for choice in choices if isinstance(choice.get("delta"), dict)]
    return found


def resumed_fields(fields: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The fields of a request that goes on with an answer."""
    raw: msgspec.Raw = fields["messages"]
    said = msgspec.Raw(msgspec.json.encode({"role": "assistant", "content": text}))
    return {**fields, "messages": [*_MESSAGES.decode(raw), said], **CONTINUES}


def together(before: int, after: Usage) -> Usage:
    """The usage of a whole answer whose first ``before`` output tokens were part of the last attempt's prompt.

    They are taken off the fresh prompt first: it is the dearest.

    >>> together(40, Usage(input=100, cached=50, output=60))
    Usage(input=60, cached=50, cache_write=0, output=100)
    """
    left = before
    counts: list[int] = []
    for count in (after.input, after.cache_write, after.cached):
        cut = min(count, left)
        left -= cut
        counts.append(count - cut)
    fresh, written, cached = counts
    return Usage(input=fresh, cached=cached, cache_write=written, output=before + after.output)
