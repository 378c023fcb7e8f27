"""Expected refusals, and how each surface renders them.

Everything a caller may be told is a :class:`MarketError`; subclasses live beside whoever raises them and are named as
facts. ``/v1/*`` renders the OpenAI error shape, every other path ``application/problem+json``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Retry:
    """What a client should be told about trying again.

    Attributes:
        should_retry: value of ``x-should-retry``; None leaves it to the SDK.
        after_s: value of ``retry-after``, at most 120 (SDKs ignore longer ones).
    """

    should_retry: bool | None = None
    after_s: float | None = None

    def headers(self) -> dict[str, str]:
        """The headers that say so."""
        headers: dict[str, str] = {}
        if self.should_retry is not None:
            headers["x-should-retry"] = "true" if self.should_retry else "false"
        if self.after_s is not None:
            after_s = min(max(self.after_s, 0.001), RETRY_AFTER_S_MAX)
            headers["retry-after-ms"] = str(round(after_s * 1000))
            headers["retry-after"] = str(max(1, round(after_s)))
        return headers


RETRY_AFTER_S_MAX = 120.0
NO_RETRY = Retry(should_retry=False)


@dataclass(slots=True)
class MarketError(Exception):
    """A refusal that a caller can understand and act on.

    Attributes:
        status: HTTP status.
        code: stable machine-readable name, for example ``insufficient_credits``.
        message: what happened, the numbers, and what to do.
        type: the OpenAI error type.
        param: the request field at fault, if one is.
    """

    status: int
    code: str
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    retry: Retry = field(default_factory=Retry)
    extra_headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        Exception.__init__(self, self.message)

    def headers(self) -> dict[str, str]:
        """Response headers that go with it."""
        return {**self.retry.headers(), **self.extra_headers}

    def openai_body(self) -> dict[str, Any]:
        """The body ``/v1/*`` answers with."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def problem_body(self) -> dict[str, Any]:
        """The ``application/problem+json`` body every other path answers with."""
        return {
            "type": f"urn:goodput:error:{self.code}",
            "title": self.code,
            "status": self.status,
            "detail": self.message,
        }
