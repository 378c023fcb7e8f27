"""What the OpenAI wire says, as typed values: only the fields that are counted, everything else is let through unseen.

Backends differ: strings may be null, content may be a list of parts, unknown fields are common. What is decoded here is
therefore lenient in what it ignores and strict in what it counts.
"""

import json
from typing import Any

import msgspec

from pricing.usage import Usage, UsageError, usage_from_totals

TOKENS_MAX = 1_000_000_000
"""No answer has more tokens; a larger count is garbage."""
USAGE_MEMBER = b',"usage":'
ERROR_FIELDS = ("error", "message", "detail", "msg", "type", "code")
"""Where backends put what went wrong, most telling first."""

CREDENTIAL_CODES = frozenset(
    {"401", "403", "invalid_api_key", "authentication_error", "permission_error", "permission_denied", "unauthorized"}
)
"""What backends put as ``code``, ``status`` or ``type`` when they do not accept who asks."""


class WireFormatError(ValueError):
    """Not what the OpenAI wire looks like."""


class PromptDetails(msgspec.Struct, gc=False):
    """Of the input tokens, those read from and written to a cache."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class CompletionDetails(msgspec.Struct, gc=False):
    """Of the output tokens, those spent on reasoning."""

    reasoning_tokens: int | None = None


class WireUsage(msgspec.Struct, gc=False):
    """Inclusive counts, as backends give them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None

    @property
    def is_stated(self) -> bool:
        """True when it says how many tokens there are; some backends send it empty."""
        return self.prompt_tokens is not None and self.completion_tokens is not None

    def falls_below(self, earlier: "WireUsage") -> bool:
        """True when it counts less than it did before, which cannot be."""
        return (self.prompt_tokens or 0) < (earlier.prompt_tokens or 0) or (self.completion_tokens or 0) < (
            earlier.completion_tokens or 0
        )

    def counts(self) -> Usage:
        """Disjoint counts.

        Raises:
            WireFormatError: counts that cannot be.
        """
        prompt, completion = self.prompt_tokens or 0, self.completion_tokens or 0
        if max(prompt, completion) > TOKENS_MAX:
            raise WireFormatError(f"usage of {prompt} + {completion} tokens; at most {TOKENS_MAX} can be")
        details = self.prompt_tokens_details or PromptDetails()
        try:
            return usage_from_totals(prompt, completion, details.cached_tokens or 0, details.cache_write_tokens or 0)
        except UsageError as error:
            raise WireFormatError(f"usage that cannot be: {error}") from error

    @property
    def reasoning_tokens(self) -> int:
        """Output tokens spent on reasoning, shown or not."""
        details = self.completion_tokens_details
        return max(0, details.reasoning_tokens or 0) if details is not None else 0


class WireFunction(msgspec.Struct, gc=False):
    """A piece of a call: a name, arguments, or both."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None

    @property
    def size(self) -> int:
        """Bytes of name and arguments."""
        return text_bytes(self.name) + text_bytes(self.arguments)


class WireToolCall(msgspec.Struct, gc=False):
    """A piece of a tool call."""

    function: WireFunction | None = None


class WireMessage(msgspec.Struct, gc=False):
    """A whole message, or the piece of one that a chunk adds."""

    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    reasoning: str | dict[str, Any] | None = None
    refusal: str | None = None
    tool_calls: list[WireToolCall] | None = None
    function_call: WireFunction | None = None

    @property
    def is_plain(self) -> bool:
        """True when there is nothing in it but perhaps content."""
        return (
            self.reasoning_content is None
            and self.reasoning is None
            and self.refusal is None
            and self.tool_calls is None
            and self.function_call is None
        )

    def reasoning_bytes(self) -> int:
        """Bytes of reasoning; where both spellings are there, they say the same and count once."""
        return text_bytes(self.reasoning_content) or text_bytes(self.reasoning)

    def content_bytes(self) -> int:
        """Bytes of everything in it that somebody can read."""
        size = text_bytes(self.content)
        return size if self.is_plain else size + self.reasoning_bytes() + self._other_bytes()

    def _other_bytes(self) -> int:
        called = [call.function for call in self.tool_calls or ()] + [self.function_call]
        return text_bytes(self.refusal) + sum(function.size for function in called if function is not None)


class WireChoice(msgspec.Struct, gc=False):
    """One choice of an answer: ``delta`` in a stream, ``message`` in a whole."""

    index: int | None = 0
    delta: WireMessage | None = None
    message: WireMessage | None = None
    finish_reason: str | None = None


class WireCompletion(msgspec.Struct, gc=False):
    """A chunk or a whole answer."""

    id: str | None = None
    model: str | None = None
    choices: list[WireChoice] | None = None
    usage: WireUsage | None = None
    error: Any = None


class _Identity(msgspec.Struct):
    id: msgspec.Raw = msgspec.Raw()
    model: msgspec.Raw = msgspec.Raw()


_COMPLETIONS = msgspec.json.Decoder(WireCompletion)
_IDENTITIES = msgspec.json.Decoder(_Identity)
_VALUES = msgspec.json.Decoder(msgspec.Raw)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def completion_of(data: bytes) -> WireCompletion:
    """Decodes a chunk or a whole answer.

    Raises:
        WireFormatError: not JSON, or not of the OpenAI wire's shape.
    """
    try:
        return _COMPLETIONS.decode(data)
    except msgspec.ValidationError as error:
        raise WireFormatError(f"not the OpenAI wire: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _leniently(data, error)


def identity_as_it_stands(data: bytes) -> tuple[str, str]:
    r"""The id and the model as they stand between their quotes in ``data``, escapes and all.

    >>> identity_as_it_stands(rb'{"id":"a","model":"org\/m","choices":[]}')
    ('a', 'org\\/m')
    """
    try:
        identity = _IDENTITIES.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "", ""
    return _unquoted(bytes(identity.id)), _unquoted(bytes(identity.model))


def without_usage(data: bytes) -> bytes:
    """A chunk without its ``usage``, all else as it was; the usual place, the end, costs no second decoding.

    Raises:
        WireFormatError: what only Python's lenient parser could read.

    >>> without_usage(b'{"choices":[],"usage":{"prompt_tokens":1}}')
    b'{"choices":[]}'
    """
    start = data.rfind(USAGE_MEMBER)
    if start > 0 and _is_value(data[start + len(USAGE_MEMBER) : -1]):
        return data[:start] + b"}"  # one value up to the last brace: the last member of the outermost object
    try:
        fields = _FIELDS.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireFormatError(f"not JSON: {error}") from error
    fields.pop("usage", None)
    return msgspec.json.encode(fields)


def _is_value(data: bytes) -> bool:
    try:
        _VALUES.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def text_bytes(text: object) -> int:
    """UTF-8 bytes of a string; of the strings in a list of content parts; of anything else as JSON.

    >>> text_bytes("día"), text_bytes(None), text_bytes([{"type": "text", "text": "ab"}])
    (4, 0, 2)
    """
    if text is None:
        return 0
    if isinstance(text, str):
        return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    if isinstance(text, list):
        return sum(text_bytes(part.get("text") if isinstance(part, dict) else part) for part in text)
    return len(msgspec.json.encode(text))


def error_words(error: object, depth: int = 4) -> str:
    """What a backend's error says, from whichever of the usual shapes it has; empty when it has none.

    >>> error_words({"message": "no such model", "code": 404}), error_words("busy"), error_words(None)
    ('no such model', 'busy', '')
    """
    if depth == 0:
        return ""
    if isinstance(error, dict):
        named = (error_words(error.get(name), depth - 1) for name in ERROR_FIELDS)
        return next(filter(None, named), "")
    if isinstance(error, list):
        return "; ".join(filter(None, (error_words(each, depth - 1) for each in error[:3])))
    return str(error) if isinstance(error, str | int) and not isinstance(error, bool) else ""


def is_about_credentials(error: object, depth: int = 4) -> bool:
    """Whether a backend's error says that our credential is not accepted (any more).

    >>> is_about_credentials({"message": "key revoked", "code": 401}), is_about_credentials({"code": 500})
    (True, False)
    """
    if depth == 0 or not isinstance(error, dict):
        return False
    said = {str(error.get(name)).lower() for name in ("code", "status", "type")}
    return not said.isdisjoint(CREDENTIAL_CODES) or is_about_credentials(error.get("error"), depth - 1)


def _leniently(data: bytes, cause: Exception) -> WireCompletion:
    """Takes JSON that Python's own parser takes: some backends cut emoji in two and send each half escaped."""
    try:
        return msgspec.convert(json.loads(data), WireCompletion)
    except (ValueError, RecursionError) as error:
        raise WireFormatError(f"not JSON: {cause}") from error


def _unquoted(raw: bytes) -> str:
    return raw[1:-1].decode("utf-8", "replace") if raw.startswith(b'"') else ""
