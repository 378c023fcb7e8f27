"""The jobs that wait, bounded, and in which order they are served.

Order: tier, but a tier that is owed its floor goes first; then the customer served least (:mod:`scheduler.fairness`);
then the earliest deadline. A waiting job claims the offer where it is expected to start first: newer or lesser work
keeps off it, or a tight promise would never find the room that it waits for.
"""

import heapq
from collections.abc import Callable, Mapping

from pricing.slo import Tier
from scheduler.fairness import Deficits, VirtualCounters
from scheduler.fleet import OfferId
from scheduler.jobs import JobId
from scheduler.lines import Kind, Lane, Line, Waiting
from scheduler.policy import Policy


class JobQueue:
    """All jobs that wait in one process."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._items: dict[JobId, Waiting] = {}
        self._lines: dict[str, Line] = {}
        self._counters = VirtualCounters(policy.customers_max)
        self._seq = 0

    def __len__(self) -> int:
        return len(self._items)

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
        self._lines.setdefault(item.job.model, Line(Deficits(self._policy.floors))).add(item)
        self._counters.joins(item.job.customer_id)

    def pop(self, job_id: JobId) -> Waiting | None:
        """A job waits no more; None when it did not."""
        item = self._items.pop(job_id, None)
        if item is None:
            return None
        line = self._lines[item.job.model]
        line.remove(item)
        if not line.lanes:
            del self._lines[item.job.model]
        self._counters.leaves(item.job.customer_id)
        return item

    def late(self, now_us: int) -> list[Waiting]:
        """The jobs whose last moment to start has passed."""
        return [item for item in self._items.values() if now_us > item.until_us]

    def move_claim(self, item: Waiting, offer_id: OfferId) -> None:
        """A waiting job is now expected to start first on another offer."""
        self._lines[item.job.model].move_claim(item, offer_id)

    def ahead(self, model: str, tier: Tier, customer_id: str) -> Mapping[OfferId, int]:
        """By offer, the waiting jobs that claim it and would go before a new one of this customer."""
        line = self._lines.get(model)
        if line is None:
            return {}
        return line.ahead(tier, self._start(line, tier, customer_id), self._counters.served)

    def claimed_against(self, model: str, tier: Tier) -> frozenset[OfferId]:
        """The offers that an arrival of ``tier`` keeps off: claimed by its own or a better tier, or by one due."""
        line = self._lines.get(model)
        if line is None:
            return frozenset()
        return line.claimed_by({*range(tier.rank + 1), *(due.rank for due in line.due())})

    def claimed_above(self, model: str, tier: Tier) -> frozenset[OfferId]:
        """The offers that waiting jobs of ``tier`` keep off: those that better tiers claim."""
        line = self._lines.get(model)
        return frozenset() if line is None or not tier.rank else line.claimed_by(set(range(tier.rank)))

    def charge(self, customer_id: str, pico: int) -> None:
        """Counts service given to a customer, or takes it back when negative."""
        self._counters.charge(customer_id, pico)

    def worked(self, model: str, tier: Tier, tokens: int) -> None:
        """Work was given to a tier of a model."""
        line = self._lines.get(model)
        if line is not None:
            line.deficits.worked(tier, tokens, line.next_tokens())

    def place_for(self, model: str, tier: Tier, customer_id: str) -> Waiting | None:
        """The job to shed from a full queue for a new one: the one served last, if the new one goes before it.

        That is a job of the lowest tier that waits; among those, of the customer who is furthest ahead. Jobs of other
        models are compared by tier alone.
        """
        lasts = [(name, *line.last(self._counters.served)) for name, line in self._lines.items()]
        name, lowest, start, item = max(lasts, key=lambda last: (last[1].rank, last[2], last[3].seq))
        if lowest.rank > tier.rank:
            return item
        is_before = name == model and lowest is tier and self._start(self._lines[model], tier, customer_id) < start
        return item if is_before else None

    def turns(self, model: str) -> "Turns":
        """Walks the jobs of a model in the order in which they are to be tried."""
        line = self._lines[model]
        return Turns(line.lanes, line.due(), self._counters.served)

    def _start(self, line: Line, tier: Tier, customer_id: str) -> int:
        """The counter that a customer will have reached when the turn of one more job comes."""
        return self._counters.lifted(customer_id) + line.backlog_pico(tier, customer_id)


_Turn = tuple[int, int, int, list[Waiting], int]
"""A customer's next job: counter, deadline and number, which order it; the customer's jobs, and its position there."""


class Turns:
    """One walk over the waiting jobs of one model; each job comes up at most once.

    Only the job whose turn it is may leave the queue during the walk.
    """

    def __init__(self, lanes: Mapping[Kind, Lane], due: tuple[Tier, ...], served: Callable[[str], int]) -> None:
        self._served = served
        self._due = list(due)
        self._lanes = dict(lanes)
        self._heaps: dict[Kind, list[_Turn]] = {}
        self._current: tuple[Kind, _Turn, Waiting] | None = None

    def next(self) -> Waiting | None:
        """The next job to try; None when all had their turn."""
        self._put_back()
        for tier in (*self._due, *Tier):
            kinds = [kind for kind in self._lanes if kind[0] is tier and self._heap(kind)]
            if kinds:
                kind = min(kinds, key=lambda kind: self._heaps[kind][0])
                turn = heapq.heappop(self._heaps[kind])
                self._current = kind, turn, turn[3][turn[4]]
                return self._current[2]
        return None

    def is_due(self, item: Waiting) -> bool:
        """Whether the job's tier is owed its floor: it may then take what better tiers claim."""
        return item.tier in self._due

    def tried(self, item: Waiting) -> None:
        """The job was tried, with or without success: its tier has had its chance to go first."""
        if item.tier in self._due:
            self._due.remove(item.tier)

    def skip(self, kind: Kind) -> None:
        """No other job of the kind will find room: leaves them out of the rest of the walk."""
        del self._lanes[kind]

    def _heap(self, kind: Kind) -> list[_Turn]:
        heap = self._heaps.get(kind)
        if heap is None:
            heap = self._heaps[kind] = [_turn(jobs, 0, self._served) for jobs in self._lanes[kind].values()]
            heapq.heapify(heap)
        return heap

    def _put_back(self) -> None:
        if self._current is None:
            return
        kind, (_, _, _, jobs, position), item = self._current
        self._current = None
        if position < len(jobs) and jobs[position] is item:
            position += 1  # it still waits
        if position < len(jobs) and kind in self._lanes:
            heapq.heappush(self._heaps[kind], _turn(jobs, position, self._served))


def _turn(jobs: list[Waiting], position: int, served: Callable[[str], int]) -> _Turn:
    item = jobs[position]
    return served(item.job.customer_id), item.until_us, item.seq, jobs, position
