"""Answers that come, or are handed on, as one JSON body. Pure."""

import json
from typing import Any

import msgspec

from pricing.usage import Usage
from providers.base import TokenChunk
from providers.errors import DETAIL_MAX, ProviderClosedEarly, ProviderProtocolError, ProviderStreamError
from providers.openai_chunks import WireFormatError, completion_of, error_words, identity_as_it_stands
from providers.openai_events import reported_error


def whole_chunk(provider_id: str, body: bytes) -> TokenChunk:
    """Reads a whole answer.

    Raises:
        ProviderStreamError: it is an error, whatever the status said.
        ProviderProtocolError: it is no answer, or its usage cannot be.
        ProviderClosedEarly: a choice has no finish reason.
    """
    try:
        answer = completion_of(body)
        counts = answer.usage.counts() if answer.usage is not None and answer.usage.is_stated else None
    except WireFormatError as error:
        raise ProviderProtocolError(provider_id, str(error)[:DETAIL_MAX]) from error
    if answer.error is not None:
        raise reported_error(provider_id, answer.error, body)
    messages = [choice.message for choice in answer.choices or () if choice.message is not None]
    if not answer.choices or len(messages) < len(answer.choices):
        raise ProviderProtocolError(provider_id, "an answer without choices or without a message")
    reasons = [choice.finish_reason for choice in answer.choices]
    if None in reasons:
        raise ProviderClosedEarly(provider_id, "an answer without a finish reason")
    if "error" in reasons:
        raise ProviderStreamError(provider_id, "the answer finished with an error")
    size = sum(message.content_bytes() for message in messages)
    if counts is not None and counts.output == 0 and size:
        counts = None
    is_reasoning_shown = any(message.reasoning_bytes() for message in messages)
    hidden = answer.usage.reasoning_tokens if answer.usage is not None and not is_reasoning_shown else 0
    response_id, model = identity_as_it_stands(body)
    return TokenChunk(
        events=body,
        response_id=response_id,
        response_model=model,
        content_bytes=size,
        content_events=1 if size else 0,
        tokens_through=counts.output if counts is not None else None,
        reasoning_tokens=min(hidden, counts.output) if counts is not None else 0,
        finish_reason=reasons[-1],
        usage=counts,
    )


class Assembly:
    """Puts the events of a streamed answer together into the body of one that was not.

    For backends that notice a customer's hanging up only while they stream.
    """

    __slots__ = ("_bytes_left", "_choices", "_frame", "_usage")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_left = bytes_max
        self._frame: dict[str, Any] = {}
        self._choices: dict[int, _Choice] = {}
        self._usage: tuple[Usage, int] | None = None

    def add(self, chunk: TokenChunk) -> None:
        """Adds what one read brought.

        Raises:
            WireFormatError: the answer outgrows its bound.
        """
        self._bytes_left -= len(chunk.events)
        if self._bytes_left < 0:
            raise WireFormatError("an answer larger than we take")
        if chunk.usage is not None:
            self._usage = (chunk.usage, chunk.reasoning_tokens)
        for block in chunk.events.split(b"\n\n"):
            data = b"\n".join(line.removeprefix(b"data:") for line in block.split(b"\n") if line.startswith(b"data:"))
            if data:
                self._add_event(json.loads(data))  # lenient where the reader of events was

    def body(self) -> bytes:
        """The whole answer as JSON."""
        frame = {name: value for name, value in self._frame.items() if name not in {"choices", "usage"}}
        frame["object"] = "chat.completion"
        frame["choices"] = [self._choices[index].document(index) for index in sorted(self._choices)]
        if self._usage is not None:
            frame["usage"] = _usage_document(*self._usage)
        return json.dumps(frame, separators=(",", ":")).encode()

    def _add_event(self, event: dict[str, Any]) -> None:
        self._frame.update(event)
        for choice in event["choices"]:
            index = choice.get("index") or 0
            self._choices.setdefault(index, _Choice()).add(choice)


class _Choice:
    """One choice so far."""

    __slots__ = ("_calls", "_finish_reason", "_logprobs", "_message")

    def __init__(self) -> None:
        self._message: dict[str, Any] = {"role": "assistant", "content": None}
        self._calls: dict[int, dict[str, Any]] = {}
        self._logprobs: dict[str, list[Any]] = {}
        self._finish_reason: str | None = None

    def add(self, choice: dict[str, Any]) -> None:
        """Adds one chunk's piece."""
        delta = choice.get("delta") or {}
        for call in delta.pop("tool_calls", None) or ():
            index = call.get("index")
            index = index if isinstance(index, int) else 0
            self._calls[index] = _merged(self._calls.get(index), {**call, "index": None})
        self._message = _merged(self._message, delta)
        logprobs = choice.get("logprobs")
        for name, entries in logprobs.items() if isinstance(logprobs, dict) else ():
            self._logprobs.setdefault(name, []).extend(entries if isinstance(entries, list) else ())
        self._finish_reason = choice.get("finish_reason") or self._finish_reason

    def document(self, index: int) -> dict[str, Any]:
        """The choice as a whole answer has it."""
        message = dict(self._message)
        if self._calls:
            calls = [self._calls[place] for place in sorted(self._calls)]
            message["tool_calls"] = [{k: v for k, v in call.items() if k != "index"} for call in calls]
        return {
            "index": index,
            "message": message,
            "logprobs": self._logprobs or None,
            "finish_reason": self._finish_reason,
        }


_WHOLE_STRINGS = frozenset({"role", "type", "id"})
"""Strings that a chunk repeats instead of continuing."""


def _merged(before: dict[str, Any] | None, piece: dict[str, Any]) -> dict[str, Any]:
    """Continues strings and lists, goes into objects, and otherwise takes the newer value."""
    merged = dict(before or {})
    for name, value in piece.items():
        old = merged.get(name)
        if value is None:
            merged.setdefault(name, None)
        elif isinstance(old, dict) and isinstance(value, dict):
            merged[name] = _merged(old, value)
        else:
            merged[name] = old + value if _is_continued(name, old, value) else value
    return merged


def _is_continued(name: str, old: Any, value: Any) -> bool:
    if isinstance(old, str):
        return isinstance(value, str) and name not in _WHOLE_STRINGS
    return isinstance(old, list) and isinstance(value, list)


def _usage_document(usage: Usage, reasoning_tokens: int) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_total,
        "completion_tokens": usage.output,
        "total_tokens": usage.input_total + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write},
        "completion_tokens_details": {"reasoning_tokens": reasoning_tokens},
    }


def first_words(body: bytes) -> str:
    """What the body of a refusal says, in short: its error message, else its beginning."""
    try:
        words = error_words(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        words = ""
    return " ".join((words or body.decode("utf-8", "replace")).split())[:DETAIL_MAX]
