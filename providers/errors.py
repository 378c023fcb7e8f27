"""Everything that can go wrong with a backend, by what may be done about it."""

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import ClassVar

from providers.http_port import FaultKind, HttpFault

RETRY_AFTER_S_MAX = 3600.0
DETAIL_MAX = 300
"""Letters of a backend's own words that a message carries."""
REDACTED = "[redacted]"
SECRET_HEAD = 6
"""Letters by which a half masked credential is known."""


class ProviderError(Exception):
    """A backend failed.

    Attributes:
        provider_id: who.
        detail: what it said or did, short and without secrets.
        status: its HTTP status, where there was one.
        is_retryable: another offer may be tried, when no content has been delivered yet.
        trips_breaker: it says something about the backend's health, not about the request.
    """

    is_retryable: ClassVar[bool] = True
    trips_breaker: ClassVar[bool] = True

    def __init__(self, provider_id: str, detail: str, status: int | None = None) -> None:
        super().__init__(f"{provider_id}: {detail}")
        self.provider_id = provider_id
        self.detail = detail
        self.status = status


class ProviderUnreachable(ProviderError):
    """No connection: refused, reset before an answer, or the name does not resolve."""


class ProviderTimeout(ProviderError):
    """Silent for too long: while connecting, before the first token, between tokens, or in all."""


class ProviderServerError(ProviderError):
    """The backend answered with a 5xx."""


class ProviderProtocolError(ProviderError):
    """What came is not the OpenAI wire: garbage, an oversized event, or contradictory usage."""


class ProviderClosedEarly(ProviderError):
    """The stream ended before a finish reason."""


class ProviderStreamError(ProviderError):
    """The backend reported an error in mid-stream."""


class ProviderOverloaded(ProviderError):
    """The backend has no room (429 or 503 with Retry-After).

    Attributes:
        retry_after_s: what it asked for, when it did.
    """

    trips_breaker = False

    def __init__(
        self, provider_id: str, detail: str, status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(provider_id, detail, status)
        self.retry_after_s = retry_after_s


class ProviderCredentialRejected(ProviderError):
    """401 or 403: our credential is not accepted; the offer is closed until an operator mends it.

    Attributes:
        credential_id: which one it was; empty where it has no id.
    """

    credential_id = ""


class ProviderModelMissing(ProviderError):
    """The backend answers, but not as the model asked for: it does not serve it, or its adapter is not loaded.

    Nobody may be served by the base instead; another offer of the same model may be tried.
    """


class ProviderRejectedRequest(ProviderError):
    """The backend finds the request itself wrong (400, 413, 422); no other offer would help."""

    is_retryable = False
    trips_breaker = False


_BY_STATUS: Mapping[int, type[ProviderError]] = MappingProxyType(
    {
        401: ProviderCredentialRejected,
        402: ProviderCredentialRejected,  # our account there has no credit: only an operator can mend it
        403: ProviderCredentialRejected,
        408: ProviderTimeout,
        429: ProviderOverloaded,
        498: ProviderOverloaded,  # Groq: flex capacity exceeded
        504: ProviderTimeout,
        529: ProviderOverloaded,  # Anthropic: overloaded
    }
)
_BY_FAULT: Mapping[FaultKind, type[ProviderError]] = MappingProxyType(
    {
        FaultKind.REFUSED: ProviderUnreachable,
        FaultKind.POOL_FULL: ProviderOverloaded,
        FaultKind.CONNECT_TIMED_OUT: ProviderTimeout,
        FaultKind.TIMED_OUT: ProviderTimeout,
        FaultKind.CLOSED_UNANSWERED: ProviderUnreachable,
        FaultKind.CLOSED_EARLY: ProviderClosedEarly,
        FaultKind.GARBAGE: ProviderProtocolError,
    }
)
_UNAVAILABLE = 503


def error_for_fault(provider_id: str, fault: HttpFault) -> ProviderError:
    """Maps a failure below HTTP onto the tree."""
    return _BY_FAULT[fault.kind](provider_id, fault.detail)


def error_for_status(provider_id: str, status: int, detail: str, retry_after_s: float | None = None) -> ProviderError:
    """Maps an HTTP status other than 200 onto the tree.

    Args:
        provider_id: who answered.
        status: what it answered.
        detail: its own words, without secrets.
        retry_after_s: what it asked for; a 503 that says when to come back is busy, not broken.
    """
    kind = _BY_STATUS.get(status) or _kind_of_class(status)
    if kind is ProviderOverloaded or (status == _UNAVAILABLE and retry_after_s is not None):
        return ProviderOverloaded(provider_id, detail, status, retry_after_s)
    return kind(provider_id, detail, status)


def _kind_of_class(status: int) -> type[ProviderError]:
    match status // 100:
        case 4:
            return ProviderRejectedRequest
        case 5:
            return ProviderServerError
        case _:
            return ProviderProtocolError


def retry_after_s(after_ms: str, after: str, date: str) -> float | None:
    """Reads what a backend says about coming back.

    Args:
        after_ms: its ``retry-after-ms``; wins when it can be read.
        after: its ``retry-after``: seconds, or an HTTP date.
        date: its ``date``, against which an HTTP date is measured, so that no clock of ours is needed.

    Returns:
        Seconds from now, at least 0 and at most an hour; None when it says nothing that can be read.

    >>> retry_after_s("1500", "7", "")
    1.5
    >>> retry_after_s("", "Wed, 21 Oct 2026 07:28:30 GMT", "Wed, 21 Oct 2026 07:28:00 GMT")
    30.0
    """
    for seconds in (_number(after_ms, 0.001), _number(after, 1.0), _seconds_between(date, after)):
        if seconds is not None:
            return min(max(seconds, 0.0), RETRY_AFTER_S_MAX)
    return None


def _number(text: str, unit_s: float) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value * unit_s if math.isfinite(value) else None


def _seconds_between(earlier: str, later: str) -> float | None:
    try:
        return (parsedate_to_datetime(later) - parsedate_to_datetime(earlier)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None  # one is no date, or only one of them carries a time zone


def redacted(text: str, secret: str | None) -> str:
    """``text`` without our credential, nor any word that begins as it does: backends like to quote it, half masked.

    >>> redacted("Incorrect API key provided: sk-live-****wxyz.", "sk-live-abcdwxyz")
    'Incorrect API key provided: [redacted]'
    """
    if not secret:
        return text
    text = text.replace(secret, REDACTED)
    head = secret[:SECRET_HEAD]
    if len(secret) <= SECRET_HEAD or head not in text:
        return text
    return re.sub(rf"\S*{re.escape(head)}\S*", REDACTED, text)


def without_secret(failure: ProviderError, secret: str | None) -> ProviderError:
    """A failure like this one, its words cleaned of our credential."""
    detail = redacted(failure.detail, secret)
    if isinstance(failure, ProviderOverloaded):
        return ProviderOverloaded(failure.provider_id, detail, failure.status, failure.retry_after_s)
    cleaned = type(failure)(failure.provider_id, detail, failure.status)
    if isinstance(failure, ProviderCredentialRejected) and isinstance(cleaned, ProviderCredentialRejected):
        cleaned.credential_id = failure.credential_id
    return cleaned
