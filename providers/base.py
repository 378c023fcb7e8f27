"""The port through which every token comes in, whoever makes it."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from pricing.usage import Usage


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a provider may be silent, in seconds.

    Attributes:
        connect_s: to open a connection.
        first_token_s: from the request sent to the first content. An answer that the backend does not stream has only
            ``total_s``.
        gap_s: between two reads after that which bring an event; a keep-alive comment is no sign of life.
        total_s: for the whole answer.
    """

    connect_s: float = 5.0
    first_token_s: float = 60.0
    gap_s: float = 30.0
    total_s: float = 900.0

    def tightest(self, other: "Timeouts") -> "Timeouts":
        """The shorter of each."""
        return Timeouts(
            connect_s=min(self.connect_s, other.connect_s),
            first_token_s=min(self.first_token_s, other.first_token_s),
            gap_s=min(self.gap_s, other.gap_s),
            total_s=min(self.total_s, other.total_s),
        )


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One chat completion to send to a backend.

    Attributes:
        id: our request id; sent along for the backend's logs.
        fields: the customer's request body by field, values as received (``msgspec.Raw``) or plain JSON values. The
            provider sets ``model``, ``stream`` and ``stream_options`` itself.
        is_stream: whether the customer reads a stream; when False exactly one chunk comes back, the whole body.
    """

    id: str
    fields: Mapping[str, Any]
    is_stream: bool
    timeouts: Timeouts = Timeouts()


class TokenChunk(msgspec.Struct, frozen=True, gc=False):
    """What one read from a backend brought. A msgspec struct: one is made per token, at a tenth of a dataclass's cost.

    Attributes:
        events: complete SSE events to pass on, without usage, comments and ``[DONE]`` and with LF line ends, else
            unchanged; or the whole JSON body when the request was not streamed. May be empty.
        response_id: the backend's id of the answer, as it stands in ``events`` between its quotes; empty when it gave
            none. The same for all events of one chunk.
        response_model: the backend's name of the model, as it stands in ``events``; likewise.
        content_bytes: UTF-8 bytes of visible content, refusals, reasoning, and tool names and arguments in ``events``.
        content_events: how many of the events carried any.
        tokens_through: output tokens so far, where the backend says so along the way.
        reasoning_tokens: of the final usage, tokens that were generated but never shown.
        finish_reason: set once, when the answer ends.
        usage: the backend's final count; in the last chunk only, and None when it gave none.
    """

    events: bytes
    response_id: str = ""
    response_model: str = ""
    content_bytes: int = 0
    content_events: int = 0
    tokens_through: int | None = None
    reasoning_tokens: int = 0
    finish_reason: str | None = None
    usage: Usage | None = None


class Provider(Protocol):
    """A backend that serves one model."""

    @property
    def id(self) -> str:
        """The provider's id in the fleet."""
        ...

    def stream(self, request: CompletionRequest) -> AsyncGenerator[TokenChunk, None]:
        """Runs one completion.

        The iterator is an async generator: closing it cancels the work at the backend.

        Raises:
            ProviderError: of the kind that tells the caller what may be done about it.
        """
        ...

    async def probe(self) -> None:
        """Makes one health request.

        Raises:
            ProviderError: the backend is not well.
        """
        ...

    async def close(self) -> None:
        """Closes its connections."""
        ...
