"""The jobs that wait for one model: who stands where, who claims which offer, and what each tier is owed."""

from bisect import insort
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from pricing.slo import Tier
from scheduler.fairness import Deficits
from scheduler.fleet import OfferId
from scheduler.jobs import Capability, Job
from scheduler.preferences import Preferences

Kind = tuple[Tier, tuple[frozenset[Capability], Preferences, frozenset[str]]]
"""What decides where a job of one model may find room: its tier, and its needs, wishes and tried offers."""


@dataclass(slots=True, eq=False)
class Waiting:
    """One job that waits.

    Attributes:
        index: of the rung of its ladder that it waits to be served at.
        until_us: the latest start that keeps that rung's promise.
        claim: the offer where it is expected to start first.
        price_pico: what it is expected to earn.
        denials: leases that it was denied so far.
        seq: rises with each job that starts to wait.
    """

    job: Job
    index: int
    until_us: int
    claim: OfferId
    price_pico: int
    denials: int = 0
    seq: int = 0

    @property
    def kind(self) -> Kind:
        """Jobs of one kind find room on the same offers."""
        return self.tier, (self.job.needs, self.job.wishes, self.job.excluded)

    @property
    def tier(self) -> Tier:
        """The tier that it waits to be served at."""
        return self.job.ladder.rungs[self.index].tier

    @property
    def work_tokens(self) -> int:
        """Its work, as far as fairness between tiers is concerned; at least 1."""
        return max(1, self.job.input_tokens + self.job.output_tokens)


Lane = dict[str, list[Waiting]]
"""The jobs of one kind, by customer, earliest deadline first."""


@dataclass(slots=True)
class Line:
    """What waits for one model.

    Attributes:
        lanes: by kind.
        claims: by offer, how many jobs claim it, by rank of their tier.
    """

    deficits: Deficits
    lanes: dict[Kind, Lane] = field(default_factory=dict[Kind, Lane])
    claims: dict[OfferId, list[int]] = field(default_factory=dict[OfferId, list[int]])
    _next_tokens: dict[Tier, int] | None = None

    def add(self, item: Waiting) -> None:
        """A job starts to wait."""
        insort(self.lanes.setdefault(item.kind, {}).setdefault(item.job.customer_id, []), item, key=_deadline)
        self._count(item.claim, item.tier, 1)
        self._next_tokens = None

    def remove(self, item: Waiting) -> None:
        """A job waits no more."""
        lane = self.lanes[item.kind]
        jobs = lane[item.job.customer_id]
        jobs.remove(item)
        self._count(item.claim, item.tier, -1)
        self._next_tokens = None
        if not jobs:
            del lane[item.job.customer_id]
        if not lane:
            del self.lanes[item.kind]
        if not any(tier is item.tier for tier, _ in self.lanes):
            self.deficits.settle(item.tier)

    def move_claim(self, item: Waiting, offer_id: OfferId) -> None:
        """A job is now expected to start first on another offer."""
        self._count(item.claim, item.tier, -1)
        item.claim = offer_id
        self._count(offer_id, item.tier, 1)

    def claimed_by(self, ranks: set[int]) -> frozenset[OfferId]:
        """The offers that jobs of these ranks claim."""
        return frozenset(offer_id for offer_id, by_rank in self.claims.items() if any(by_rank[rank] for rank in ranks))

    def starts(self, tier: Tier, served: Callable[[str], int]) -> Iterator[tuple[int, Waiting]]:
        """The jobs of a tier, each with the counter its customer will have reached when its turn comes."""
        for (each, _), lane in self.lanes.items():
            if each is tier:
                for customer_id, jobs in lane.items():
                    start = served(customer_id)
                    for item in jobs:
                        yield start, item
                        start += item.price_pico

    def backlog_pico(self, tier: Tier, customer_id: str) -> int:
        """What the waiting jobs of one customer at one tier are expected to earn."""
        own = (lane.get(customer_id, ()) for (each, _), lane in self.lanes.items() if each is tier)
        return sum(item.price_pico for jobs in own for item in jobs)

    def ahead(self, tier: Tier, start: int, served: Callable[[str], int]) -> Mapping[OfferId, int]:
        """By offer, the jobs that claim it and go before one of ``tier`` whose turn comes at counter ``start``."""
        counts = {offer_id: sum(by_rank[: tier.rank]) for offer_id, by_rank in self.claims.items()}
        for other_start, item in self.starts(tier, served):
            if other_start <= start:
                counts[item.claim] += 1
        return counts

    def last(self, served: Callable[[str], int]) -> tuple[Tier, int, Waiting]:
        """The job that is served last, with its tier and the counter at which its turn comes."""
        tier = max((tier for tier, _ in self.lanes), key=lambda tier: tier.rank)
        start, item = max(self.starts(tier, served), key=lambda each: (each[0], each[1].seq))
        return tier, start, item

    def next_tokens(self) -> Mapping[Tier, int]:
        """By tier that waits, the work of its smallest next job."""
        if self._next_tokens is not None:
            return self._next_tokens
        smallest: dict[Tier, int] = {}
        for (tier, _), lane in self.lanes.items():
            tokens = min(jobs[0].work_tokens for jobs in lane.values())
            smallest[tier] = min(tokens, smallest.get(tier, tokens))
        self._next_tokens = smallest
        return smallest

    def due(self) -> tuple[Tier, ...]:
        """The tiers that are owed their next job, best first."""
        ahead = self.next_tokens()
        return tuple(tier for tier in Tier if tier in ahead and self.deficits.is_due(tier, ahead[tier]))

    def _count(self, offer_id: OfferId, tier: Tier, change: int) -> None:
        by_rank = self.claims.setdefault(offer_id, [0] * len(Tier))
        by_rank[tier.rank] += change
        if not any(by_rank):
            del self.claims[offer_id]


def _deadline(item: Waiting) -> tuple[int, int]:
    return item.until_us, item.seq
