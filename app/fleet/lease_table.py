"""All live leases of one process, as plain data; pure: every call takes the time.

It is the in-process lease store's memory, and the Redis-backed store's record of what this process runs. Leases expire
by themselves: whoever asks first after that reaps them, and every count follows from the leases that are left.
"""

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.fleet.allowances import US_PER_S, Debt, after, allowance, drained, wait_us
from app.fleet.leases import Allowance, Denied, LeaseCandidate, Leased, LeaseRequest, Limited, Quotas
from app.fleet.quotas import QuotaBook
from app.identity.caller import Limits
from scheduler.fleet import UNBOUNDED, Load, OfferId

CONCURRENCY_RETRY_S = 1.0
"""What a customer at the concurrency limit is told: nobody knows when a running answer ends."""
DEBT_KEPT_US = 120 * US_PER_S
"""A debt older than this is forgotten: a minute regains everything under an unchanged limit."""
_SWEEP_MIN = 1024

LeaseKey = tuple[OfferId, str]


@dataclass(slots=True)
class Lease:
    """One request in flight on one offer.

    Attributes:
        in_flight_max: the largest concurrency that its promise tolerates there.
        prefill_tokens: prompt tokens still to be taken in; 0 once its first token came.
        expires_at_us: on the clock of whoever keeps the table; it is dead from then on.
    """

    lease_id: str
    offer_id: OfferId
    customer_id: str
    in_flight_max: int
    prefill_tokens: int
    expires_at_us: int


@dataclass(slots=True)
class _OnOffer:
    live: dict[str, Lease] = field(default_factory=dict[str, Lease])
    bounds: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    prefill_tokens: int = 0


class LeaseTable:
    """Leases by offer, what each customer has running, and what each has left of their limits.

    Attributes:
        gateways: how many processes like this one share the offers without seeing each other's leases. Every load is
            then told as if each ran as much as this one, so that it takes at most its share; each may always run one.
    """

    def __init__(self, gateways: int = 1) -> None:
        self.gateways = gateways
        self._offers: dict[OfferId, _OnOffer] = {}
        self._running: dict[str, int] = {}
        self._debts: dict[str, Debt] = {}
        self._expiries: list[tuple[int, OfferId, str]] = []
        self._sweep_at = _SWEEP_MIN
        self._quotas = QuotaBook(self._in_flight)

    def limit(self, quotas: Quotas) -> None:
        """From now on these are the offers' quotas."""
        self._quotas.limit(quotas)

    def admit(self, request: LeaseRequest, now_us: int) -> Leased | Denied | Limited:
        """One admission, as :meth:`app.fleet.leases.LeaseStore.admit`."""
        self._reap(now_us)
        limits = request.limits
        debt = drained(self._debts.get(request.customer_id, Debt()), limits, now_us) if limits else Debt()
        for candidate in request.candidates:
            if self._find(candidate.offer_id, request.lease_id):
                return Leased(candidate.offer_id, self._loads_of(request, now_us), _told(debt, limits))
        if limits and (limited := self._limited(request, limits, debt)):
            return limited
        chosen = next((each for each in request.candidates if self._may_take(each, request, now_us)), None)
        if chosen is None:
            return Denied(self._loads_of(request, now_us), _told(debt, limits))
        if limits:
            debt = after(debt, request.tokens)
            self._owe(request.customer_id, debt)
        self._quotas.take(chosen.offer_id, request.tokens, now_us)
        self._write(lease_of(request, chosen.offer_id, now_us))
        return Leased(chosen.offer_id, self._loads_of(request, now_us), _told(debt, limits))

    def started(self, lease_id: str, offer_id: OfferId, now_us: int) -> None:
        """Takes the prompt of a live lease out of what its offer still has to prefill."""
        self._reap(now_us)
        if lease := self._find(offer_id, lease_id):
            self._offers[offer_id].prefill_tokens -= lease.prefill_tokens
            lease.prefill_tokens = 0

    def release(self, lease_id: str, offer_id: OfferId, now_us: int) -> bool:
        """Ends a lease; True when it was live."""
        self._reap(now_us)
        lease = self._find(offer_id, lease_id)
        if lease is None:
            return False
        self._forget(lease)
        return True

    def beat(self, leases: Sequence[tuple[str, OfferId]], ttl_s: float, now_us: int) -> None:
        """Extends live leases, never shortens one."""
        self._reap(now_us)
        expires_at_us = now_us + round(ttl_s * US_PER_S)
        for lease_id, offer_id in leases:
            if lease := self._find(offer_id, lease_id):
                lease.expires_at_us = max(lease.expires_at_us, expires_at_us)

    def mirror(self, lease: Lease, now_us: int) -> None:
        """Writes a lease that another store granted; a live one stays as it is."""
        self._reap(now_us)
        if self._find(lease.offer_id, lease.lease_id) is None:
            self._write(lease)

    def loads(self, offer_ids: Sequence[OfferId], now_us: int) -> Mapping[OfferId, Load]:
        """The load of each offer asked for."""
        self._reap(now_us)
        return {offer_id: self._shown(offer_id, 1, now_us) for offer_id in offer_ids}

    def live(self, now_us: int) -> tuple[Lease, ...]:
        """Every live lease."""
        self._reap(now_us)
        return tuple(lease for on_offer in self._offers.values() for lease in on_offer.live.values())

    def find(self, lease_id: str, offer_id: OfferId, now_us: int) -> Lease | None:
        """The lease, when it is live here."""
        self._reap(now_us)
        return self._find(offer_id, lease_id)

    def _limited(self, request: LeaseRequest, limits: Limits, debt: Debt) -> Limited | None:
        for limit, owed, allowed, cost in (
            ("requests", debt.requests, limits.rpm, 1),
            ("tokens", debt.tokens, limits.tpm, request.tokens),
        ):
            pause_us = wait_us(owed, allowed, cost)
            if pause_us != 0:
                retry_after_s = math.inf if pause_us is None else pause_us / US_PER_S
                return Limited(limit, retry_after_s, allowance(debt, limits))
        if self._running.get(request.customer_id, 0) >= limits.concurrency:
            return Limited("concurrency", CONCURRENCY_RETRY_S, allowance(debt, limits))
        return None

    def _may_take(self, candidate: LeaseCandidate, request: LeaseRequest, now_us: int) -> bool:
        return self._has_room(candidate) and self._quotas.allows(
            candidate.offer_id, request.tokens, now_us, self.gateways
        )

    def _has_room(self, candidate: LeaseCandidate) -> bool:
        load = self._load(candidate.offer_id)
        return load.in_flight < min(candidate.concurrency_max, candidate.in_flight_max, load.in_flight_tolerated)

    def _loads_of(self, request: LeaseRequest, now_us: int) -> Mapping[OfferId, Load]:
        return {each.offer_id: self._shown(each.offer_id, request.tokens, now_us) for each in request.candidates}

    def _shown(self, offer_id: OfferId, tokens: int, now_us: int) -> Load:
        return self._quotas.shown(offer_id, self._load(offer_id), now_us, tokens=tokens, gateways=self.gateways)

    def _in_flight(self, offer_id: OfferId) -> int:
        on_offer = self._offers.get(offer_id)
        return len(on_offer.live) if on_offer else 0

    def _load(self, offer_id: OfferId) -> Load:
        on_offer = self._offers.get(offer_id)
        if on_offer is None:
            return Load()
        bounds, live = on_offer.bounds, on_offer.live
        while bounds and not _is_bound_of(bounds[0], live):
            heapq.heappop(bounds)
        in_flight = (len(live) + 1) * self.gateways - 1  # one more here means one more everywhere
        tolerated = min(bounds[0][0], UNBOUNDED) if bounds else UNBOUNDED
        return Load(in_flight, tolerated, on_offer.prefill_tokens * self.gateways)

    def _owe(self, customer_id: str, debt: Debt) -> None:
        self._debts[customer_id] = debt
        if len(self._debts) >= self._sweep_at:
            oldest_us = debt.at_us - DEBT_KEPT_US
            self._debts = {customer: owed for customer, owed in self._debts.items() if owed.at_us > oldest_us}
            self._sweep_at = max(_SWEEP_MIN, 2 * len(self._debts))

    def _find(self, offer_id: OfferId, lease_id: str) -> Lease | None:
        on_offer = self._offers.get(offer_id)
        return on_offer.live.get(lease_id) if on_offer else None

    def _write(self, lease: Lease) -> None:
        on_offer = self._offers.setdefault(lease.offer_id, _OnOffer())
        on_offer.live[lease.lease_id] = lease
        on_offer.prefill_tokens += lease.prefill_tokens
        if len(on_offer.bounds) > 2 * len(on_offer.live) + _SWEEP_MIN:  # mostly leases long gone
            on_offer.bounds = [(other.in_flight_max, other.lease_id) for other in on_offer.live.values()]
            heapq.heapify(on_offer.bounds)
        else:
            heapq.heappush(on_offer.bounds, (lease.in_flight_max, lease.lease_id))
        heapq.heappush(self._expiries, (lease.expires_at_us, lease.offer_id, lease.lease_id))
        self._running[lease.customer_id] = self._running.get(lease.customer_id, 0) + 1

    def _forget(self, lease: Lease) -> None:
        on_offer = self._offers[lease.offer_id]
        del on_offer.live[lease.lease_id]
        on_offer.prefill_tokens -= lease.prefill_tokens
        if not on_offer.live:
            del self._offers[lease.offer_id]
        self._running[lease.customer_id] -= 1
        if not self._running[lease.customer_id]:
            del self._running[lease.customer_id]

    def _reap(self, now_us: int) -> None:
        while self._expiries and self._expiries[0][0] <= now_us:
            _, offer_id, lease_id = heapq.heappop(self._expiries)
            lease = self._find(offer_id, lease_id)
            if lease is None:
                continue
            if lease.expires_at_us <= now_us:
                self._forget(lease)
            else:  # it was beaten since: look again when it is due
                heapq.heappush(self._expiries, (lease.expires_at_us, offer_id, lease_id))


def lease_of(request: LeaseRequest, offer_id: OfferId, now_us: int) -> Lease:
    """The lease that an admission of ``request`` writes on ``offer_id``, one of its candidates."""
    chosen = next(candidate for candidate in request.candidates if candidate.offer_id == offer_id)
    return Lease(
        lease_id=request.lease_id,
        offer_id=offer_id,
        customer_id=request.customer_id,
        in_flight_max=chosen.in_flight_max,
        prefill_tokens=request.prefill_tokens,
        expires_at_us=now_us + round(request.ttl_s * US_PER_S),
    )


def _told(debt: Debt, limits: Limits | None) -> Allowance | None:
    return allowance(debt, limits) if limits else None


def _is_bound_of(entry: tuple[int, str], live: Mapping[str, Lease]) -> bool:
    lease = live.get(entry[1])
    return lease is not None and lease.in_flight_max == entry[0]
