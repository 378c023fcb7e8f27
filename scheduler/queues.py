"""The jobs that wait, bounded, and in which order they are served.

Order: tier, but a tier that is owed its floor goes first; then the customer served least (:mod:`scheduler.fairness`);
then the earliest deadline. A waiting job claims the offer where it is expected to start first: newer or lesser work
keeps off it, or a tight promise would never find the room that it waits for.
"""

import heapq
from bisect import insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pricing.slo import Tier
from scheduler.fairness import Deficits, VirtualCounters
from scheduler.fleet import OfferId
from scheduler.jobs import Job, JobId
from scheduler.policy import Policy


@dataclass(slots=True)
class Waiting:
    """One job that waits.

    Attributes:
        index: of the rung of its ladder that it waits to be served at.
        until_us: the latest start that keeps that rung's promise.
        claim: the offer where it is expected to start first.
        denials: leases that it was denied so far.
        seq: rises with each job that starts to wait.
        is_hopeless: it was found that it cannot start in time.
    """

    job: Job
    index: int
    until_us: int
    claim: OfferId
    denials: int = 0
    seq: int = 0
    is_hopeless: bool = False

    @property
    def tier(self) -> Tier:
        """The tier that it waits to be served at."""
        return self.job.ladder.rungs[self.index].tier

    @property
    def work_tokens(self) -> int:
        """Its work, as far as fairness between tiers is concerned; at least 1."""
        return max(1, self.job.input_tokens + self.job.output_tokens)


_Lane = dict[str, list[Waiting]]
"""The jobs of one model and tier, by customer, earliest deadline first."""


@dataclass(slots=True)
class _Line:
    """What waits for one model."""

    deficits: Deficits
    lanes: dict[Tier, _Lane] = field(default_factory=dict[Tier, _Lane])
    claims: dict[OfferId, list[int]] = field(default_factory=dict[OfferId, list[int]])

    def next_tokens(self) -> dict[Tier, int]:
        """By tier that waits, the work of its smallest next job."""
        return {tier: min(jobs[0].work_tokens for jobs in lane.values()) for tier, lane in self.lanes.items()}

    def due(self) -> tuple[Tier, ...]:
        """The tiers that are owed their next job, best first."""
        ahead = self.next_tokens()
        return tuple(tier for tier in Tier if tier in ahead and self.deficits.is_due(tier, ahead[tier]))


class JobQueue:
    """All jobs that wait in one process."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._items: dict[JobId, Waiting] = {}
        self._lines: dict[str, _Line] = {}
        self._counters = VirtualCounters(policy.customers_max)
        self._seq = 0

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._items.values())

    @property
    def is_full(self) -> bool:
        """No more jobs may wait."""
        return len(self._items) >= self._policy.queue_max

    def models(self) -> tuple[str, ...]:
        """The models for which jobs wait."""
        return tuple(self._lines)

    def push(self, item: Waiting) -> None:
        """A job starts to wait."""
        self._seq += 1
        item.seq = self._seq
        self._items[item.job.id] = item
        line = self._lines.setdefault(item.job.model, _Line(Deficits(self._policy.floors)))
        insort(line.lanes.setdefault(item.tier, {}).setdefault(item.job.customer_id, []), item, key=_deadline)
        self._counters.joins(item.job.customer_id)
        _count(line, item.claim, item.tier, 1)

    def pop(self, job_id: JobId) -> Waiting | None:
        """A job waits no more; None when it did not."""
        item = self._items.pop(job_id, None)
        if item is None:
            return None
        line = self._lines[item.job.model]
        lane = line.lanes[item.tier]
        jobs = lane[item.job.customer_id]
        jobs.remove(item)
        _count(line, item.claim, item.tier, -1)
        self._counters.leaves(item.job.customer_id)
        if not jobs:
            del lane[item.job.customer_id]
        if not lane:
            del line.lanes[item.tier]
            line.deficits.settle(item.tier)
        if not line.lanes:
            del self._lines[item.job.model]
        return item

    def claim(self, item: Waiting, offer_id: OfferId) -> None:
        """A waiting job is now expected to start first on another offer."""
        line = self._lines[item.job.model]
        _count(line, item.claim, item.tier, -1)
        item.claim = offer_id
        _count(line, offer_id, item.tier, 1)

    def claims(self, model: str, rank: int) -> Mapping[OfferId, int]:
        """By offer, how many waiting jobs of rank ``rank`` or better claim it."""
        line = self._lines.get(model)
        if line is None:
            return {}
        counts = ((offer_id, sum(by_rank[: rank + 1])) for offer_id, by_rank in line.claims.items())
        return {offer_id: count for offer_id, count in counts if count}

    def claimed_against(self, model: str, tier: Tier) -> frozenset[OfferId]:
        """The offers that an arrival of ``tier`` keeps off: claimed by its own or a better tier, or by one due."""
        line = self._lines.get(model)
        if line is None:
            return frozenset()
        ranks = {*range(tier.rank + 1), *(due.rank for due in line.due())}
        return frozenset(offer_id for offer_id, by_rank in line.claims.items() if any(by_rank[rank] for rank in ranks))

    def charge(self, customer_id: str, pico: int) -> None:
        """Counts service given to a customer, or takes it back when negative."""
        self._counters.charge(customer_id, pico)

    def worked(self, model: str, tier: Tier, tokens: int) -> None:
        """Work was given to a tier of a model."""
        line = self._lines.get(model)
        if line is not None:
            line.deficits.worked(tier, tokens, line.next_tokens())

    def newest_below(self, tier: Tier) -> Waiting | None:
        """The job to shed for one of ``tier``: the newest of the lowest tier, if that is lower; None otherwise."""
        last = max(self._items.values(), key=lambda item: (item.tier.rank, item.seq), default=None)
        return last if last is not None and last.tier.rank > tier.rank else None

    def turns(self, model: str) -> "Turns":
        """Walks the jobs of a model in the order in which they are to be tried."""
        line = self._lines[model]
        return Turns(line.lanes, line.due(), self._counters)


@dataclass(order=True, slots=True)
class _Turn:
    served: int
    deadline_us: int
    seq: int
    jobs: list[Waiting] = field(compare=False)
    position: int = field(compare=False, default=0)

    @property
    def item(self) -> Waiting:
        return self.jobs[self.position]


class Turns:
    """One walk over the waiting jobs of one model; each job comes up at most once."""

    def __init__(self, lanes: Mapping[Tier, _Lane], due: tuple[Tier, ...], counters: VirtualCounters) -> None:
        self._counters = counters
        self._due = list(due)
        self._heaps = {tier: self._heap(lanes[tier]) for tier in Tier if tier in lanes}
        self._current: _Turn | None = None

    def _heap(self, lane: _Lane) -> list[_Turn]:
        heap = [self._turn(list(jobs), 0) for jobs in lane.values()]
        heapq.heapify(heap)
        return heap

    def _turn(self, jobs: list[Waiting], position: int) -> _Turn:
        item = jobs[position]
        return _Turn(self._counters.served(item.job.customer_id), item.until_us, item.seq, jobs, position)

    def next(self) -> Waiting | None:
        """The next job to try; None when all had their turn."""
        self._put_back()
        tier = self._tier()
        if tier is None:
            return None
        self._current = heapq.heappop(self._heaps[tier])
        return self._current.item

    def is_due(self, item: Waiting) -> bool:
        """Whether the job's tier is owed its floor: it may then take what better tiers claim."""
        return item.tier in self._due

    def tried(self, item: Waiting) -> None:
        """The job was tried, with or without success: its tier has had its chance to go first."""
        if item.tier in self._due:
            self._due.remove(item.tier)

    def _put_back(self) -> None:
        turn, self._current = self._current, None
        if turn is not None and turn.position + 1 < len(turn.jobs):
            heapq.heappush(self._heaps[turn.item.tier], self._turn(turn.jobs, turn.position + 1))

    def _tier(self) -> Tier | None:
        for tier in (*self._due, *Tier):
            if self._heaps.get(tier):
                return tier
        return None


def _deadline(item: Waiting) -> tuple[int, int]:
    return item.until_us, item.seq


def _count(line: _Line, offer_id: OfferId, tier: Tier, change: int) -> None:
    by_rank = line.claims.setdefault(offer_id, [0] * len(Tier))
    by_rank[tier.rank] += change
    if not any(by_rank):
        del line.claims[offer_id]
