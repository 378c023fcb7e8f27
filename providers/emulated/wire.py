"""The OpenAI wire as an emulated provider speaks it: what is asked, and the bytes of answers and errors."""

import math
import zlib
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

import msgspec

from providers.emulated.spec import EmulatedDeployment
from providers.emulated.words import Text

BYTES_PER_TOKEN: Final = 4
LENGTH_SIGMA: Final = 0.5
"""Spread of the lengths of answers that name no limit: the logarithm's standard deviation."""


class WireError(Exception):
    """A request that cannot be answered, in OpenAI's error shape.

    Attributes:
        status: HTTP status.
        retry_after_s: when trying again could help.
    """

    def __init__(
        self, status: int, code: str, message: str, param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s

    def body(self) -> bytes:
        """The JSON body that says so."""
        return error_body(self.status, self.code, str(self), self.param)


def error_body(status: int, code: str, message: str, param: str | None = None) -> bytes:
    """An error in OpenAI's shape."""
    kind = "invalid_request_error" if status < 500 else "server_error"  # noqa: PLR2004 (HTTP's own boundary)
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})


class _Message(msgspec.Struct):
    role: str
    content: Any = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class _ChatRequest(msgspec.Struct):
    """The fields that matter here; others are ignored, as tolerant backends do."""

    model: str
    messages: list[_Message]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    ignore_eos: bool | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """One completion to make.

    Attributes:
        output_tokens: how long the answer will be.
        finish_reason: ``length`` when the request's limit ends it, else ``stop``.
        choice: picks the text; equal prompts get equal answers.
    """

    prompt_tokens: int
    output_tokens: int
    finish_reason: str
    choice: int
    is_stream: bool
    include_usage: bool
    usage_in_every_chunk: bool


def read_request(body: bytes, deployment: EmulatedDeployment) -> Asked:
    """Reads a chat completion request.

    Raises:
        WireError: 400 for what is no such request or does not fit, 404 for a model that is not here.
    """
    try:
        request = msgspec.json.decode(body, type=_ChatRequest)
    except msgspec.ValidationError as error:
        message = str(error)
        param = message.rpartition("`$.")[2].rstrip("`") if "`$." in message else None
        raise WireError(400, "invalid_value", f"{message}; see the chat completions API", param) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireError(400, "invalid_json", f"the body is not valid JSON: {error}") from error
    if request.model != deployment.model:
        raise WireError(
            404,
            "model_not_found",
            f"model {request.model!r} is not here; this backend has {deployment.model!r}",
            "model",
        )
    if not request.messages:
        raise WireError(400, "invalid_value", "messages must hold at least one message", "messages")
    if request.n not in {None, 1}:
        raise WireError(400, "unsupported_value", f"n = {request.n} is not supported; ask once per answer", "n")
    return _asked(request, deployment)


def _asked(request: _ChatRequest, deployment: EmulatedDeployment) -> Asked:
    prompt = b"\n".join(_content(message.content) for message in request.messages)
    prompt_tokens = max(1, -(-len(prompt) // BYTES_PER_TOKEN))
    choice = zlib.crc32(prompt, deployment.seed & 0xFFFF_FFFF)
    limit, param = _limit(request)
    room = deployment.context_max - prompt_tokens
    if room < (limit or 1):
        wanted = "" if limit is None else f" and {limit} in the answer"
        raise WireError(
            400,
            "context_length_exceeded",
            f"the context holds {deployment.context_max} tokens, but {prompt_tokens} are in the messages{wanted}; "
            "shorten one or the other",
            param or "messages",
        )
    natural = min(room, natural_length(choice, deployment.answer_tokens))
    may_stop = limit is None or (deployment.stops_early and not request.ignore_eos)
    output_tokens = min(natural, limit or natural) if may_stop else limit or natural
    options = request.stream_options or _StreamOptions()
    return Asked(
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        finish_reason="length" if output_tokens == limit else "stop",
        choice=choice,
        is_stream=bool(request.stream),
        include_usage=bool(options.include_usage),
        usage_in_every_chunk=bool(options.continuous_usage_stats),
    )


def natural_length(choice: int, median: int) -> int:
    """How long an answer gets when nothing limits it: log-normal around the median, by the prompt.

    >>> natural_length(2**31, median=256)
    256
    """
    deviation = NormalDist().inv_cdf((choice % 2**32 + 0.5) / 2**32)
    return max(1, round(median * math.exp(LENGTH_SIGMA * deviation)))


def _limit(request: _ChatRequest) -> tuple[int | None, str | None]:
    for name in ("max_completion_tokens", "max_tokens"):
        limit: int | None = getattr(request, name)
        if limit is not None:
            if limit < 1:
                raise WireError(400, "invalid_value", f"{name} must be at least 1, got {limit}", name)
            return limit, name
    return None, None


def _content(content: object) -> bytes:
    if isinstance(content, str):
        return content.encode()
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        return b"".join(text.encode() for text in texts if isinstance(text, str))
    return b""


def usage_document(asked: Asked, tokens: int) -> dict[str, Any]:
    """Usage in OpenAI's shape."""
    return {
        "prompt_tokens": asked.prompt_tokens,
        "completion_tokens": tokens,
        "total_tokens": asked.prompt_tokens + tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


class AnswerWriter:
    """The bytes of one answer, streamed or whole."""

    def __init__(
        self, deployment: EmulatedDeployment, text: Text, asked: Asked, *, answer_id: str, created: int
    ) -> None:
        self._asked = asked
        self._text = text
        self._start = text.start_for(asked.choice)
        self._frame = {
            "id": answer_id,
            "object": "chat.completion.chunk" if asked.is_stream else "chat.completion",
            "created": created,
            "model": deployment.model,
            "system_fingerprint": f"emulated:{deployment.deployment_id}",
        }
        head = msgspec.json.encode(self._frame)[:-1]
        self._before = b"data: " + head + b',"choices":[{"index":0,"delta":{"content":'
        self._after = b'},"logprobs":null,"finish_reason":null}]'

    def events(self, first: int, end: int) -> bytes:
        """One event for each of the tokens ``first`` … ``end`` − 1."""
        return b"".join(self._event(index) for index in range(first, end))

    def _event(self, index: int) -> bytes:
        piece = msgspec.json.encode(self._text.piece(self._start, index))
        role = b',"role":"assistant"' if index == 0 else b""
        usage = b""
        if self._asked.usage_in_every_chunk:
            usage = b',"usage":' + msgspec.json.encode(usage_document(self._asked, index + 1))
        return b"".join((self._before, piece, role, self._after, usage, b"}\n\n"))

    def finish_event(self) -> bytes:
        """The event that tells why the answer ends."""
        choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": self._asked.finish_reason}
        return sse(self._frame | {"choices": [choice]})

    def usage_event(self, tokens: int) -> bytes:
        """The event that carries usage."""
        return sse(self._frame | {"choices": [], "usage": usage_document(self._asked, tokens)})

    def body(self, usage: dict[str, Any] | None) -> bytes:
        """The whole answer as one JSON body."""
        asked = self._asked
        message = {"role": "assistant", "content": self._text.between(self._start, 0, asked.output_tokens)}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": asked.finish_reason}
        document = self._frame | {"choices": [choice]}
        return msgspec.json.encode(document if usage is None else document | {"usage": usage})


DONE: Final = b"data: [DONE]\n\n"


def sse(document: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + msgspec.json.encode(document) + b"\n\n"
