"""The fleet as the scheduler sees it: offers, how fast each is at a given load, and how loaded each is now."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NewType

from pricing.slo import Tier
from pricing.usage import Rates
from scheduler.jobs import Capability

OfferId = NewType("OfferId", str)
UNBOUNDED = 1_000_000
"""Stands for "tolerates any concurrency" where an integer is needed."""


class SpeedCurveError(ValueError):
    """A load curve that no deployment can have: empty, unequal lengths, loads or times that do not rise."""


@dataclass(frozen=True, slots=True)
class SpeedCurve:
    """How fast one deployment is at a load, from its measured profile.

    Attributes:
        concurrency: loads measured, rising, starting at or above 1. Shape (points,).
        tpot_us: mean µs per output token at each load; never falls. Shape (points,).
        ttft_base_us: µs to a first token on an idle deployment, beyond the prefill itself.
        prefill_tok_s: prompt tokens per second that one replica takes in.

    Raises:
        SpeedCurveError: the measurements contradict the above.
    """

    concurrency: tuple[int, ...]
    tpot_us: tuple[float, ...]
    ttft_base_us: float
    prefill_tok_s: float

    def __post_init__(self) -> None:
        if not self.concurrency or len(self.concurrency) != len(self.tpot_us):
            raise SpeedCurveError(
                f"a curve needs one time per load and at least one load, got {len(self.concurrency)} loads and "
                f"{len(self.tpot_us)} times"
            )
        if self.concurrency[0] < 1 or any(b <= a for a, b in pairwise(self.concurrency)):
            raise SpeedCurveError(f"loads must start at or above 1 and rise, got {self.concurrency}")
        if not self.tpot_us[0] > 0 or any(not a <= b < math.inf for a, b in pairwise((0.0, *self.tpot_us))):
            raise SpeedCurveError(f"µs per token must be above 0, finite and never fall, got {self.tpot_us}")
        if not (0 <= self.ttft_base_us < math.inf and self.prefill_tok_s > 0):
            raise SpeedCurveError(
                f"a curve needs ttft_base_us >= 0 and prefill_tok_s > 0, got {self.ttft_base_us} and "
                f"{self.prefill_tok_s}"
            )

    @property
    def concurrency_measured(self) -> int:
        """The largest load measured; nothing is promised beyond it."""
        return self.concurrency[-1]


@dataclass(frozen=True, slots=True)
class Offer:
    """One deployment (hardware, engine, precision, parallelism, mode) that a provider sells for a model.

    Attributes:
        model: the public model name.
        speed: its measured load curve.
        concurrency_max: the most requests it takes at once.
        context_max: prompt plus answer, in tokens.
        cost: what a token of each class costs us there, pico-USD per token.
        is_owned: True when the fleet's cost accrues by time, False when tokens are bought.
        tiers: the tiers that it may serve.
        region: where it runs, such as ``eu-west-1``; empty when not known.
        precision: of its weights, such as ``fp8``; empty when not known.
    """

    id: OfferId
    provider_id: str
    deployment_id: str
    model: str
    speed: SpeedCurve
    concurrency_max: int
    context_max: int
    cost: Rates
    is_owned: bool = True
    capabilities: frozenset[Capability] = frozenset({Capability.STREAMING})
    tiers: frozenset[Tier] = frozenset(Tier)
    region: str = ""
    precision: str = ""


@dataclass(frozen=True, slots=True)
class Load:
    """What runs on an offer now, over all gateways.

    Attributes:
        in_flight: live leases.
        in_flight_tolerated: the smallest concurrency that every running request's promise tolerates; a new one must
            not push ``in_flight`` above it (do no harm).
        prefill_tokens: prompt tokens admitted whose first token has not come yet.
    """

    in_flight: int = 0
    in_flight_tolerated: int = UNBOUNDED
    prefill_tokens: int = 0


IDLE = Load()


@dataclass(frozen=True, slots=True)
class Calibration:
    """Learned corrections of an offer's predictions: observed over predicted, as a running quantile."""

    ttft: float = 1.0
    tpot: float = 1.0


NEUTRAL = Calibration()


@dataclass(frozen=True, slots=True)
class Fleet:
    """An immutable snapshot: what a decision may look at.

    Only ``loads`` may be a live view (a simulator's); everything else in it is replaced by a new object, never changed.

    Attributes:
        offers: by model.
        loads: by offer; a missing one is idle.
        calibrations: by offer; a missing one is neutral.
        closed: offers that must get no new work (drained, disabled, or their breaker is open).
        shares: by offer, the part in (0, 1] of its concurrency it may use (slow start); a missing one is whole.
        shadow_prices: by offer, λ in pico-USD per second that a request occupies a slot; a missing one is 0.
    """

    offers: Mapping[str, tuple[Offer, ...]]
    loads: Mapping[OfferId, Load] = field(default_factory=dict[OfferId, Load])
    calibrations: Mapping[OfferId, Calibration] = field(default_factory=dict[OfferId, Calibration])
    closed: frozenset[OfferId] = frozenset()
    shares: Mapping[OfferId, float] = field(default_factory=dict[OfferId, float])
    shadow_prices: Mapping[OfferId, float] = field(default_factory=dict[OfferId, float])

    def load(self, offer_id: OfferId) -> Load:
        """The load of an offer; idle when nothing is known."""
        return self.loads.get(offer_id, IDLE)

    def calibration(self, offer_id: OfferId) -> Calibration:
        """The calibration of an offer; neutral when nothing is known."""
        return self.calibrations.get(offer_id, NEUTRAL)
