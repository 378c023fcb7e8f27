"""What a lease store is asked and answers; pure. In-flight work is a set of expiring leases, never a bare counter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from app.identity.caller import Limits
from scheduler.fleet import Load, OfferId

TTL_S_MAX = 3_600.0
CANDIDATES_MAX = 16


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
class Quota:
    """How much of something may be used by all gateways together: of a contract, or of a customer's tuned model.

    Attributes:
        name: offers that share it name it alike.
        rpm, tpm: requests and tokens a minute; None without a limit.
        concurrency: requests in flight over all offers that share it; None without a limit.
    """

    name: str
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None


Quotas = Mapping[OfferId, tuple[Quota, ...]]
"""By offer; an offer without any is not in it."""


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """One admission: check the customer's limits, then lease the first candidate that still has room.

    Attributes:
        lease_id: the request id; asking again for a live lease answers the same lease.
        limits: None skips the customer's limits (a retry of an admitted request after a failover).
        prefill_tokens: prompt tokens, pending until ``started``.
        tokens: what counts against tokens per minute, of the customer and of the offer's quotas.
        ttl_s: how long the lease lives without a beat; at most an hour.

    Raises:
        ValueError: no id, negative tokens, a time to live out of range, too many candidates or one offer twice.
    """

    lease_id: str
    customer_id: str
    limits: Limits | None
    candidates: tuple[LeaseCandidate, ...]
    prefill_tokens: int
    tokens: int
    ttl_s: float

    def __post_init__(self) -> None:
        if not self.lease_id or not self.customer_id:
            raise ValueError("a lease needs an id and a customer")
        if min(self.prefill_tokens, self.tokens) < 0:
            raise ValueError(
                f"tokens must not be negative, got {self.prefill_tokens} to prefill and {self.tokens} in all"
            )
        if not 0 < self.ttl_s <= TTL_S_MAX:
            raise ValueError(f"a lease lives more than 0 and at most {TTL_S_MAX} s, got {self.ttl_s}")
        offers = {candidate.offer_id for candidate in self.candidates}
        if len(offers) != len(self.candidates) or len(offers) > CANDIDATES_MAX:
            raise ValueError(f"candidates must be at most {CANDIDATES_MAX} different offers, got {self.candidates}")


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
        retry_after_s: when it would be allowed; infinite when this request alone exceeds the limit.
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
        """Fresh loads, expired leases not counted; an offer whose quota is used up tolerates nothing more."""
        ...

    def limit(self, quotas: Quotas) -> None:
        """From now on these are the offers' quotas; what was used of one of the same name stays used."""
        ...

    async def close(self) -> None:
        """Closes its connections."""
        ...
