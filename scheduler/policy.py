"""Every knob of a decision, its default and its meaning."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pricing.slo import US_PER_S, Tier


class PolicyError(ValueError):
    """A knob outside the range in which it means anything."""


def _floors() -> Mapping[Tier, float]:
    return {Tier.STANDARD: 0.10, Tier.BULK: 0.05}


@dataclass(frozen=True, slots=True)
class Policy:
    """How the dispatcher decides; one per process, fixed at start.

    Attributes:
        margin: the part of a promise kept as headroom; waived on an offer where nothing else runs.
        candidates_max: offers named in one admission.
        tie_share: offers whose values differ by less than this part of the job's price are equally good.
        explore_share: chance to try another feasible offer first, never for premium.
        bulk_share_max: the part of an offer's concurrency bulk may fill where better tiers are served too.
        ttft_shape: spread of a first token's time about its forecast; see :mod:`scheduler.scorers`.
        tpot_shape: spread of later tokens' times about theirs.
        floors: the part of a model's work that a waiting lower tier is always given.
        demand_half_life_us: how long a request counts as demand for its tier.
        queue_max: jobs that may wait at once.
        admitted_max: jobs that may be between admission and lease at once.
        tries_max: waiting jobs of one model tried per event.
        denials_max: times one job is offered anew after its leases were denied.
        customers_max: customers whose virtual token counter is remembered.
        poll_us: how often waiting jobs are looked at when nothing wakes them.
        answer_us_max: an admission neither leased, denied nor withdrawn for so long is refused.
        fresh_us_max: how long loads that came with a lease outrank an older snapshot's.
        retry_us_min: the shortest wait that a refusal names.
        retry_us_max: the longest; SDKs ignore longer ones.
        recovery_us: what a refusal names when offers must first recover (closed, or slower than measured).

    Raises:
        PolicyError: a knob is out of range.
    """

    margin: float = 0.07
    candidates_max: int = 3
    tie_share: float = 0.01
    explore_share: float = 0.0
    bulk_share_max: float = 0.75
    ttft_shape: float = 4.06
    tpot_shape: float = 13.66
    floors: Mapping[Tier, float] = field(default_factory=_floors)
    demand_half_life_us: int = 30 * US_PER_S
    queue_max: int = 512
    admitted_max: int = 4096
    tries_max: int = 64
    denials_max: int = 4
    customers_max: int = 10_000
    poll_us: int = 50_000
    answer_us_max: int = 60 * US_PER_S
    fresh_us_max: int = US_PER_S
    retry_us_min: int = 100_000
    retry_us_max: int = 120 * US_PER_S
    recovery_us: int = 5 * US_PER_S

    def __post_init__(self) -> None:
        _within("margin", self.margin, 0.0, 0.5)
        _within("tie_share", self.tie_share, 0.0, 1.0)
        _within("explore_share", self.explore_share, 0.0, 1.0)
        _within("bulk_share_max", self.bulk_share_max, 0.0, 1.0)
        for name in ("ttft_shape", "tpot_shape"):
            _within(name, getattr(self, name), 0.1, 100.0)
        for tier, floor in self.floors.items():
            _within(f"floors[{tier}]", floor, 0.0, 1.0)
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise PolicyError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.retry_us_min > self.retry_us_max:
            raise PolicyError(f"retry_us_min {self.retry_us_min} exceeds retry_us_max {self.retry_us_max}")


_AT_LEAST_ONE = (
    "demand_half_life_us",
    "candidates_max",
    "queue_max",
    "admitted_max",
    "tries_max",
    "denials_max",
    "customers_max",
    "poll_us",
    "answer_us_max",
    "fresh_us_max",
    "retry_us_min",
    "recovery_us",
)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise PolicyError(f"{name} must lie in [{low}, {high}], got {value}")


DEFAULT_POLICY = Policy()
