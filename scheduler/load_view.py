"""What runs where, as one process best knows it now.

A snapshot may be up to a second old. Since it was taken this process has seen fresher loads (each lease and each denial
brings some), and it has admitted jobs whose lease is still being written. Both are laid over the snapshot, so that a
burst of arrivals is not sent to the same idle offer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

from scheduler.fleet import IDLE, Fleet, Load, OfferId
from scheduler.jobs import Job, JobId
from scheduler.placement import Candidate


@dataclass(frozen=True, slots=True)
class _Fresh:
    instead_of: Load
    load: Load
    until_us: int


@dataclass(slots=True)
class _Pending:
    loads: dict[JobId, Load]
    total: Load


class LoadView:
    """The loads of a snapshot, corrected by what was learned since.

    Attributes:
        fleet: the snapshot last seen.
    """

    def __init__(self, fresh_us_max: int) -> None:
        self.fleet = Fleet({})
        self._fresh_us_max = fresh_us_max
        self._now_us = 0
        self._fresh: dict[OfferId, _Fresh] = {}
        self._reserved: dict[JobId, OfferId] = {}
        self._pending: dict[OfferId, _Pending] = {}

    def see(self, fleet: Fleet, now_us: int) -> None:
        """Takes a snapshot in; newer loads than the last one's outrank what was laid over it."""
        if fleet.loads is not self.fleet.loads:
            self._fresh.clear()
        self.fleet = fleet
        self._now_us = now_us

    def load(self, offer_id: OfferId) -> Load:
        """The load of an offer, admissions in progress included."""
        load = self.fleet.loads.get(offer_id, IDLE)
        fresh = self._fresh.get(offer_id)
        if fresh is not None and fresh.instead_of is load and self._now_us < fresh.until_us:
            load = fresh.load
        pending = self._pending.get(offer_id)
        return load if pending is None else _together(load, pending.total)

    def freshen(self, loads: Mapping[OfferId, Load], now_us: int) -> None:
        """Lays loads over the snapshot that are newer than it."""
        self._now_us = max(self._now_us, now_us)
        until_us = self._now_us + self._fresh_us_max
        for offer_id, load in loads.items():
            self._fresh[offer_id] = _Fresh(self.fleet.load(offer_id), load, until_us)

    def reserve(self, job: Job, candidate: Candidate) -> None:
        """Counts an admitted job where it is expected to run, until its lease is answered."""
        pending = self._pending.setdefault(candidate.offer.id, _Pending({}, IDLE))
        load = _alone(job, candidate)
        pending.loads[job.id] = load
        pending.total = _together(pending.total, load)
        self._reserved[job.id] = candidate.offer.id

    def unreserve(self, job_id: JobId) -> None:
        """The lease was answered, or nobody waits for it any more."""
        offer_id = self._reserved.pop(job_id, None)
        if offer_id is None:
            return
        pending = self._pending[offer_id]
        del pending.loads[job_id]
        if pending.loads:
            pending.total = reduce(_together, pending.loads.values())
        else:
            del self._pending[offer_id]

    def leased(self, job: Job, candidate: Candidate, loads: Mapping[OfferId, Load], now_us: int) -> Load:
        """Takes in the loads that came with a lease; the load of its offer, the lease included."""
        self.unreserve(job.id)
        offer_id = candidate.offer.id
        load = loads.get(offer_id) or _together(self.load(offer_id), _alone(job, candidate))
        self.freshen({**loads, offer_id: load}, now_us)
        return load


def _alone(job: Job, candidate: Candidate) -> Load:
    return Load(1, candidate.in_flight_max, job.input_tokens)


def _together(one: Load, other: Load) -> Load:
    return Load(
        one.in_flight + other.in_flight,
        min(one.in_flight_tolerated, other.in_flight_tolerated),
        one.prefill_tokens + other.prefill_tokens,
    )
