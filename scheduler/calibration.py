"""Learns, per offer, how far the measured curve is off: observed over predicted, as a running quantile.

A profile is a promise about hardware; a provider has bad days. For each offer and each of TTFT and TPOT a factor
follows the τ-quantile of ``r = observed / predicted`` by stochastic approximation,

    ``q ← q · exp(η · (τ − 1[r < q]))``    (τ = 0.95 for premium, 0.9 for the lesser tiers)

which is right in the long run but slow after a sudden change: at τ = 0.95 it falls by only 0.05·η a sample. Two guards
follow from what cannot happen by chance while q is right:

* three samples in a row at or above q happen once in 8,000 (0.05³): q rises at once to the least of them;
* the largest of the last 32 samples lies above the 0.95-quantile four times in five: q is never left above it.

A factor that nobody has tested for a while drifts back to 1 (half of its logarithm per ``half_life_us``), so that an
offer that lost its traffic is tried again; it is then a guess, and the first slower answer sets it straight back.

**TPOT must be normalised by the load that the request actually experienced**, not by the load at admission, else a
correct profile is "corrected" for its neighbours' coming and going: see :class:`ExperiencedLoad`.

Source: Robbins and Monro (1951) for the recursion in its multiplicative form; the guards are ours.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from pricing.slo import US_PER_S, Tier
from scheduler.fleet import Calibration, OfferId, SpeedCurve
from scheduler.forecast import tpot_us_experienced


@dataclass(frozen=True, slots=True)
class CalibrationPolicy:
    """How fast and how far factors move.

    Attributes:
        step: η.
        tau_premium: the quantile that a premium sample pulls towards.
        tau_lesser: the quantile that standard and bulk samples pull towards.
        run_max: samples in a row at or above the factor that lift it at once.
        window: samples whose largest bounds the factor from above.
        factor_min: an offer is never believed to be faster than this.
        factor_max: nor slower than this.
        patience_us: an untested factor stays as it is for so long.
        half_life_us: time in which it then loses half of its logarithm.
    """

    step: float = 0.05
    tau_premium: float = 0.95
    tau_lesser: float = 0.90
    run_max: int = 3
    window: int = 32
    factor_min: float = 0.5
    factor_max: float = 50.0
    patience_us: int = 5 * US_PER_S
    half_life_us: int = 10 * US_PER_S

    def tau(self, tier: Tier) -> float:
        """The quantile for a tier."""
        return self.tau_premium if tier is Tier.PREMIUM else self.tau_lesser


DEFAULT_CALIBRATION_POLICY = CalibrationPolicy()


@dataclass(slots=True)
class _Factor:
    value: float = 1.0
    recent: deque[float] = field(default_factory=deque[float])
    in_a_row: deque[float] = field(default_factory=deque[float])
    untested_us: int = 0
    is_guess: bool = False


@dataclass(slots=True)
class _Track:
    ttft: _Factor = field(default_factory=_Factor)
    tpot: _Factor = field(default_factory=_Factor)


class Calibrator:
    """The factors of all offers; one per process."""

    def __init__(self, policy: CalibrationPolicy = DEFAULT_CALIBRATION_POLICY) -> None:
        self._policy = policy
        self._tracks: dict[OfferId, _Track] = {}
        self._relaxed_at_us: int | None = None

    def on_first_token(self, offer_id: OfferId, predicted_us: float, observed_us: float, tier: Tier) -> None:
        """A first token came.

        Args:
            offer_id: where.
            predicted_us: :attr:`Candidate.ttft_us` of the dispatch (before calibration).
            observed_us: from dispatch to the first token.
            tier: the tier served.
        """
        self._observe(self._track(offer_id).ttft, predicted_us, observed_us, tier)

    def on_finished(self, offer_id: OfferId, predicted_tpot_us: float, observed_tpot_us: float, tier: Tier) -> None:
        """An answer ended, or a long one reports how it goes: it may be told again and again along the way.

        Args:
            offer_id: where.
            predicted_tpot_us: by the measured curve at the load experienced; :meth:`ExperiencedLoad.tpot_us_since`.
            observed_tpot_us: mean time per output token over the same span.
            tier: the tier served.
        """
        self._observe(self._track(offer_id).tpot, predicted_tpot_us, observed_tpot_us, tier)

    def calibration(self, offer_id: OfferId) -> Calibration:
        """The factors of one offer as they stand."""
        track = self._tracks.get(offer_id)
        return Calibration() if track is None else Calibration(track.ttft.value, track.tpot.value)

    def calibrations(self, now_us: int) -> Mapping[OfferId, Calibration]:
        """All factors, for a new snapshot; untested ones have drifted towards 1 since the last call."""
        since_us = 0 if self._relaxed_at_us is None else max(0, now_us - self._relaxed_at_us)
        self._relaxed_at_us = now_us
        for track in self._tracks.values():
            for factor in (track.ttft, track.tpot):
                _relax(factor, since_us, self._policy)
        return {offer_id: self.calibration(offer_id) for offer_id in self._tracks}

    def forget(self, offer_id: OfferId) -> None:
        """Drops what was learned: the offer was re-measured, changed or removed."""
        self._tracks.pop(offer_id, None)

    def _track(self, offer_id: OfferId) -> _Track:
        return self._tracks.setdefault(offer_id, _Track())

    def _observe(self, factor: _Factor, predicted_us: float, observed_us: float, tier: Tier) -> None:
        if not (0 < predicted_us < math.inf and 0 <= observed_us < math.inf):
            return  # there is no ratio to learn from
        policy = self._policy
        ratio = min(max(observed_us / predicted_us, policy.factor_min), policy.factor_max)
        factor.untested_us = 0
        if factor.is_guess and ratio > factor.value:
            factor.value = ratio
        factor.is_guess = False
        _note(factor, ratio, policy)
        moved = factor.value * math.exp(policy.step * (policy.tau(tier) - (ratio < factor.value)))
        factor.value = min(max(_guarded(factor, moved, policy), policy.factor_min), policy.factor_max)


def _note(factor: _Factor, ratio: float, policy: CalibrationPolicy) -> None:
    factor.recent.append(ratio)
    if len(factor.recent) > policy.window:
        factor.recent.popleft()
    if ratio < factor.value:
        factor.in_a_row.clear()
    else:
        factor.in_a_row.append(ratio)
    if len(factor.in_a_row) > policy.run_max:
        factor.in_a_row.popleft()


def _guarded(factor: _Factor, moved: float, policy: CalibrationPolicy) -> float:
    if len(factor.in_a_row) == policy.run_max:
        moved = max(moved, min(factor.in_a_row))
    if len(factor.recent) == policy.window:
        moved = min(moved, max(factor.recent))
    return moved


def _relax(factor: _Factor, since_us: int, policy: CalibrationPolicy) -> None:
    factor.untested_us += since_us
    drifting_us = min(since_us, factor.untested_us - policy.patience_us)
    if drifting_us > 0:
        factor.value **= 0.5 ** (drifting_us / policy.half_life_us)
        factor.is_guess = True
        factor.recent.clear()
        factor.in_a_row.clear()


@dataclass(frozen=True, slots=True)
class ExperiencedLoad:
    """How many tokens the measured curve would have given one stream by now: the running integral of dt / f(n(t)).

    One per offer, advanced whenever its load changes. Two readings of it bound a request: between its first token and
    its end the curve predicts ``(t₁ − t₀) / (I(t₁) − I(t₀))`` µs per token, whatever came and went meanwhile.

    Attributes:
        in_flight: the load since ``at_us``.
        at_us: when it last changed.
        tokens: the integral up to ``at_us``.

    >>> curve = SpeedCurve((1, 2), (10_000.0, 20_000.0), 0.0, 1.0)
    >>> start = ExperiencedLoad(curve, in_flight=1, at_us=0)
    >>> later = start.advance(2, at_us=1_000_000)      # alone for 1 s: 100 tokens
    >>> later.tokens_at(3_000_000)                     # then in company for 2 s: 100 more
    200.0
    >>> later.tpot_us_since(0, 0.0, 3_000_000)
    15000.0
    """

    curve: SpeedCurve
    in_flight: int
    at_us: int
    tokens: float = 0.0

    def advance(self, in_flight: int, at_us: int) -> "ExperiencedLoad":
        """The integral after the load changed to ``in_flight`` at ``at_us``."""
        return ExperiencedLoad(self.curve, in_flight, max(at_us, self.at_us), self.tokens_at(at_us))

    def tokens_at(self, now_us: int) -> float:
        """The integral up to ``now_us``; a time before the last change adds nothing."""
        return self.tokens + max(0, now_us - self.at_us) / tpot_us_experienced(self.curve, self.in_flight)

    def tpot_us_since(self, since_us: int, tokens_then: float, now_us: int) -> float | None:
        """Predicted mean µs per token between two readings; None when no time passed between them."""
        tokens = self.tokens_at(now_us) - tokens_then
        elapsed_us = now_us - since_us
        return elapsed_us / tokens if tokens > 0 and elapsed_us > 0 else None
