"""Leases kept in this process: for a market of one process, and for tests."""

from collections.abc import Callable, Mapping, Sequence

from app.clock import monotonic_us
from app.fleet.lease_table import LeaseTable
from app.fleet.leases import Denied, Leased, LeaseRequest, Limited, Quotas
from scheduler.fleet import Load, OfferId


class InProcessLeaseStore:
    """A :class:`app.fleet.leases.LeaseStore` over a :class:`LeaseTable`; atomic because it never awaits.

    Args:
        clock_us: µs that never run backwards.
    """

    def __init__(self, clock_us: Callable[[], int] = monotonic_us) -> None:
        self._clock_us = clock_us
        self._table = LeaseTable()

    async def admit(self, request: LeaseRequest) -> Leased | Denied | Limited:
        """Leases the first candidate with room."""
        return self._table.admit(request, self._clock_us())

    async def started(self, lease_id: str, offer_id: OfferId) -> None:
        """The first token came."""
        self._table.started(lease_id, offer_id, self._clock_us())

    async def release(self, lease_id: str, offer_id: OfferId) -> bool:
        """Ends a lease; True exactly once."""
        return self._table.release(lease_id, offer_id, self._clock_us())

    async def beat(self, leases: Sequence[tuple[str, OfferId]], ttl_s: float) -> None:
        """Extends live leases."""
        self._table.beat(leases, ttl_s, self._clock_us())

    async def loads(self, offer_ids: Sequence[OfferId]) -> Mapping[OfferId, Load]:
        """Fresh loads."""
        return self._table.loads(offer_ids, self._clock_us())

    def limit(self, quotas: Quotas) -> None:
        """From now on these are the offers' quotas."""
        self._table.limit(quotas)

    async def close(self) -> None:
        """Has nothing to close."""
