"""Everything that can go wrong with a backend, by what may be done about it."""

from typing import ClassVar


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
    """401 or 403: our credential is not accepted; the offer is closed until an operator mends it."""


class ProviderRejectedRequest(ProviderError):
    """The backend finds the request itself wrong (400, 404, 413, 422); no other offer would help."""

    is_retryable = False
    trips_breaker = False
