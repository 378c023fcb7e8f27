"""Every knob of a decision, its default and its meaning."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pricing.slo import US_PER_S, Tier


class PolicyError(ValueError):
    """A knob outside the range in which it means anything."""


def _floors() -> Mapping[Tier, float]:
    return {Tier.STANDARD: 0.10, Tier.BULK: 0.05}


def _attainment_floors() -> Mapping[Tier, float]:
    return {Tier.PREMIUM: 0.95, Tier.STANDARD: 0.90}


@dataclass(frozen=True, slots=True)
class Policy:
    """How the dispatcher decides; one per process, fixed at start.

    Attributes:
        margin: the part of a promise kept as headroom; waived on an offer where nothing else runs.
        bank_share: the part of the time that an early first token saves which later tokens may be planned to use.
        displaced_share: how much of what a job displaces on an offer counts against placing it there.
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
        retry_share: the part of the requests that may be tried again after a failed attempt.
        retry_burst: so many retries more, saved up; there at the start.
        retry_spread_us: a first retry is delayed by up to so much at random, each further one by up to twice as much.
        hedge_share: the part of the requests that may get a second attempt beside the first; 0 hedges none.
        hedge_burst: so many hedges may be saved up.
        hedge_load_max: no hedge while more than this part of the model's room is taken.
        affinity_load_max: an offer that may have a prompt's prefix cached is gone back to only while at most this part
            of its room is taken; 0 never goes back.
        affinity_us: for how long it may.
        affinity_max: prefixes remembered.
        attainment_floors: the part of a tier's answers whose every token should be good.
        margin_max: the largest margin that missing a floor leads to.
        margin_step: how far one answer moves it; 0 leaves margins alone.
        scarcity_gain: by how much λ rises for lesser tiers while a better one misses its floor, at most.

    Raises:
        PolicyError: a knob is out of range.
    """

    margin: float = 0.07
    bank_share: float = 0.8
    displaced_share: float = 1.0
    candidates_max: int = 3
    tie_share: float = 0.01
    explore_share: float = 0.0
    bulk_share_max: float = 0.75
    ttft_shape: float = 4.06
    tpot_shape: float = 13.66
    floors: Mapping[Tier, float] = field(default_factory=_floors)
    demand_half_life_us: int = 5 * US_PER_S
    queue_max: int = 2_048
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
    retry_share: float = 0.10
    retry_burst: float = 10.0
    retry_spread_us: int = 10_000
    hedge_share: float = 0.0
    hedge_burst: float = 10.0
    hedge_load_max: float = 0.70
    affinity_load_max: float = 0.0
    affinity_us: int = 300 * US_PER_S
    affinity_max: int = 20_000
    attainment_floors: Mapping[Tier, float] = field(default_factory=_attainment_floors)
    margin_max: float = 0.25
    margin_step: float = 0.0
    scarcity_gain: float = 4.0

    def __post_init__(self) -> None:
        _within("margin", self.margin, 0.0, 0.5)
        _within("margin_max", self.margin_max, 0.0, 0.5)
        for name in _PARTS:
            _within(name, getattr(self, name), 0.0, 1.0)
        for name in ("ttft_shape", "tpot_shape"):
            _within(name, getattr(self, name), 0.1, 100.0)
        for name in ("floors", "attainment_floors"):
            for tier, floor in getattr(self, name).items():
                _within(f"{name}[{tier}]", floor, 0.0, 1.0)
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise PolicyError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.retry_us_min > self.retry_us_max:
            raise PolicyError(f"retry_us_min {self.retry_us_min} exceeds retry_us_max {self.retry_us_max}")


_PARTS = (
    "bank_share",
    "displaced_share",
    "tie_share",
    "explore_share",
    "bulk_share_max",
    "retry_share",
    "hedge_share",
    "hedge_load_max",
    "affinity_load_max",
    "margin_step",
)
_AT_LEAST_ONE = (
    "affinity_max",
    "affinity_us",
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
