"""What every engine model answers: which requests it holds, when each token is made, when something next changes."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Nanos = NDArray[np.int64]

PS_PER_NS = 1_000
NS_PER_US = 1_000
NS_PER_S = 1_000_000_000
HORIZON_NS_MAX = 9_000_000_000_000_000
"""About 104 days: beyond it a time in picoseconds no longer fits 64 bits."""


class EngineError(ValueError):
    """A request or a moment that the engine cannot take: no tokens, too many, a key twice, or time run backwards."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A request whose last token was made.

    Attributes:
        token_ns: when each output token was made, ns on the driver's clock. Shape (output_tokens,). Read-only.
    """

    key: int
    token_ns: Nanos


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """What an engine holds at a moment.

    Attributes:
        running: requests in the batch, those being prefilled included.
        waiting: requests submitted and not yet in the batch.
        kv_tokens: tokens resident in the cache.
        prefill_tokens: prompt tokens submitted and not yet computed.
    """

    running: int
    waiting: int
    kv_tokens: int
    prefill_tokens: int


class Engine(Protocol):
    """A deployment on a clock that its driver owns.

    Times are ns from the driver's zero and never fall from one call to the next. A submission takes part from the
    first step that starts at or after it. Driver's rule for equal times: submissions and cancellations first, then
    :meth:`advance`.
    """

    @property
    def tokens_max(self) -> int:
        """The most tokens, prompt and answer, that one request may have."""
        ...

    def submit(self, key: int, input_tokens: int, output_tokens: int, at_ns: int) -> None:
        """Hands in a request.

        Raises:
            EngineError: it can never run here, its key is live, or time ran backwards.
        """
        ...

    def cancel(self, key: int, at_ns: int) -> Nanos | None:
        """Ends a request; its place is free from the next step on.

        Returns:
            When the tokens were made that it had by then; None when it is not live.
        """
        ...

    def next_event(self) -> int | None:
        """When :meth:`advance` next has something to do, ns; None when the engine is idle."""
        ...

    def advance(self, until_ns: int) -> list[Finished]:
        """Lets time pass, ``until_ns`` included; answers the requests that finished since the last call."""
        ...

    def take_started(self) -> list[tuple[int, int]]:
        """Key and ns of every first token made since the last call, in the order they were."""
        ...

    def made(self, key: int, at_ns: int) -> int:
        """How many tokens of a live request were made by ``at_ns``, after ``advance(at_ns)``; 0 when unknown."""
        ...

    def next_token(self, after_ns: int) -> int | None:
        """The first moment after ``after_ns`` at which any token may be made, for a driver that streams; ns."""
        ...

    def snapshot(self, at_ns: int) -> EngineSnapshot:
        """What the engine holds at ``at_ns``."""
        ...
