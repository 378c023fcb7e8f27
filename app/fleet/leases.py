"""What a lease store is asked and answers; pure. In-flight work is a set of expiring leases, never a bare counter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from app.identity.caller import Limits
from scheduler.fleet import Load, OfferId


@dataclass(frozen=True, slots=True)
class LeaseCandidate:
    """One offer to try.

    Attributes:
        concurrency_max: the most the offer takes at once.
        in_flight_max: the largest concurrency, this request included, that its own promise tolerates there.
    """

    offer_id: OfferId
    concurrency_max: int
    in_flight_max: int


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """One admission: check the customer's limits, then lease the first candidate that still has room.

    Attributes:
        lease_id: the request id; asking again for a live lease answers the same lease.
        limits: None skips the customer's limits (a retry of an admitted request after a failover).
        prefill_tokens: prompt tokens, pending until ``started``.
        tokens: what counts against tokens per minute.
    """

    lease_id: str
    customer_id: str
    limits: Limits | None
    candidates: tuple[LeaseCandidate, ...]
    prefill_tokens: int
    tokens: int
    ttl_s: float


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a customer's per-minute limits, for the ``x-ratelimit-*`` headers."""

    limit_requests: int
    remaining_requests: int
    reset_requests_s: float
    limit_tokens: int
    remaining_tokens: int
    reset_tokens_s: float


@dataclass(frozen=True, slots=True)
class Leased:
    """A lease was written on ``offer_id``; ``loads`` are fresh, this lease included."""

    offer_id: OfferId
    loads: Mapping[OfferId, Load]
    allowance: Allowance | None = None


@dataclass(frozen=True, slots=True)
class Denied:
    """No candidate has room any more; ``loads`` are fresh."""

    loads: Mapping[OfferId, Load] = field(default_factory=dict[OfferId, Load])
    allowance: Allowance | None = None


@dataclass(frozen=True, slots=True)
class Limited:
    """The customer is over a limit.

    Attributes:
        limit: ``requests``, ``tokens`` or ``concurrency``.
        retry_after_s: when it would be allowed.
    """

    limit: str
    retry_after_s: float
    allowance: Allowance


class LeaseStore(Protocol):
    """Shared, expiring leases; one atomic call per admission."""

    async def admit(self, request: LeaseRequest) -> "Leased | Denied | Limited":
        """Reaps expired leases, checks limits, re-checks each candidate's load, writes at most one lease."""
        ...

    async def started(self, lease_id: str, offer_id: OfferId) -> None:
        """The first token came: its prompt no longer waits to be prefilled."""
        ...

    async def release(self, lease_id: str, offer_id: OfferId) -> bool:
        """Ends a lease; True exactly once, whoever calls how often."""
        ...

    async def beat(self, leases: Sequence[tuple[str, OfferId]], ttl_s: float) -> None:
        """Extends live leases; a reaped one stays reaped."""
        ...

    async def loads(self, offer_ids: Sequence[OfferId]) -> Mapping[OfferId, Load]:
        """Fresh loads, expired leases not counted."""
        ...

    async def close(self) -> None:
        """Closes its connections."""
        ...
