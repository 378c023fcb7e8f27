"""What load an answer really met on its offer, so that a slow neighbourhood is not taken for a slow backend; pure.

The scheduler predicts the time per token from the load at admission; neighbours come and go after that. Per offer the
running integral of tokens that the measured curve would have given is kept with readings of its past, and two of them
give the prediction for any span between.
"""

from bisect import bisect_right
from collections import deque

from scheduler.calibration import ExperiencedLoad
from scheduler.fleet import SpeedCurve

READINGS_MAX = 2_048
READING_US = 250_000
"""A reading at most so often: eight and a half minutes of past in all."""


class LoadHistory:
    """The load of one offer, as this process saw it.

    Args:
        curve: the offer's measured one.
        in_flight: its load now.
        at_us: now.
    """

    def __init__(self, curve: SpeedCurve, in_flight: int, at_us: int) -> None:
        self._now = ExperiencedLoad(curve, in_flight, at_us)
        self._readings: deque[tuple[int, float]] = deque([(at_us, 0.0)], maxlen=READINGS_MAX)

    @property
    def curve(self) -> SpeedCurve:
        """The curve it follows."""
        return self._now.curve

    def note(self, in_flight: int, at_us: int) -> None:
        """The load is ``in_flight`` from ``at_us`` on."""
        if in_flight != self._now.in_flight:
            self._now = self._now.advance(in_flight, at_us)
        if at_us - self._readings[-1][0] >= READING_US:
            self._readings.append((at_us, self._now.tokens_at(at_us)))

    def tpot_us_since(self, since_us: int, now_us: int) -> float | None:
        """µs per token that the measured curve predicts between two moments; None when no time passed.

        What began before the oldest reading is judged by the span since then.
        """
        since_us = max(since_us, self._readings[0][0])
        return self._now.tpot_us_since(since_us, self._tokens_at(since_us), now_us)

    def _tokens_at(self, at_us: int) -> float:
        """The integral at a past moment, between readings by proportion."""
        after = bisect_right(self._readings, at_us, key=lambda reading: reading[0])
        before_us, before = self._readings[after - 1]
        if after == len(self._readings):
            later_us, later = self._now.at_us, self._now.tokens
            if at_us >= later_us:
                return self._now.tokens_at(at_us)
        else:
            later_us, later = self._readings[after]
        return before + (later - before) * (at_us - before_us) / max(1, later_us - before_us)
