"""When an engine's iterations end: a growing log from which a request's token times are one slice."""

from math import isqrt
from typing import NamedTuple

import numpy as np

from providers.engine_model.engine import PS_PER_NS, Nanos

CAPACITY_START = 1_024
SHORT_RUN = 12
"""Up to this many iterations a loop is faster than three array operations."""


class Run(NamedTuple):
    """A run of iterations of one batch: the first takes ``step_ps``, each further one ``growth_ps`` more.

    Attributes:
        start_ps: when the first iteration starts.
        steps: how many iterations; 0 stands for "none".
    """

    start_ps: int
    step_ps: int
    growth_ps: int
    steps: int

    def end_ps(self, step: int) -> int:
        """When iteration ``step`` (from 1) ends.

        >>> Run(start_ps=100, step_ps=10, growth_ps=2, steps=3).end_ps(3)
        136
        """
        return self.start_ps + step * self.step_ps + self.growth_ps * (step * (step - 1) // 2)

    def ended_by(self, at_ps: int) -> int:
        """How many of its iterations have ended by ``at_ps``; exact, in closed form.

        >>> [Run(100, 10, 2, 3).ended_by(at) for at in (109, 110, 121, 122, 10**9)]
        [0, 1, 1, 2, 3]
        """
        passed = at_ps - self.start_ps
        if passed <= 0 or not self.steps:
            return 0
        if not self.growth_ps:
            return min(self.steps, passed // self.step_ps)
        linear = 2 * self.step_ps - self.growth_ps
        step = (isqrt(linear * linear + 8 * self.growth_ps * passed) - linear) // (2 * self.growth_ps)
        return min(self.steps, step)

    def first_end_at(self, at_ps: int) -> int:
        """The first iteration (from 1) that ends at or after ``at_ps``; at most ``steps``."""
        return max(1, min(self.steps, self.ended_by(at_ps - 1) + 1))


class IterationLog:
    """End times of an engine's iterations in ns, rounded up; keeps what live requests still need."""

    def __init__(self) -> None:
        self._times: Nanos = np.empty(CAPACITY_START, dtype=np.int64)
        self._first = 0
        self._count = 0

    def has_room(self, steps: int) -> bool:
        """Whether ``steps`` more iterations fit; else call :meth:`make_room` first."""
        return self._count + steps <= len(self._times)

    def append(self, run: Run) -> None:
        """Adds all iterations of ``run``."""
        start, count = self._count, self._count + run.steps
        if run.steps <= SHORT_RUN:
            for step in range(1, run.steps + 1):
                self._times[start + step - 1] = -(-run.end_ps(step) // PS_PER_NS)
        else:
            step = np.arange(1, run.steps + 1, dtype=np.int64)
            ends_ps = run.start_ps + step * run.step_ps + (step * (step - 1) // 2) * run.growth_ps
            self._times[start:count] = (ends_ps + (PS_PER_NS - 1)) // PS_PER_NS
        self._count = count

    def between(self, first: int, end: int) -> Nanos:
        """End times of iterations ``first`` … ``end`` − 1 (from 0); a read-only view that stays valid."""
        view = self._times[first - self._first : end - self._first]
        view.flags.writeable = False
        return view

    def make_room(self, steps: int, oldest_needed: int) -> None:
        """Forgets the iterations before ``oldest_needed`` and makes room for ``steps`` more."""
        kept = self._times[oldest_needed - self._first : self._count]
        grown: Nanos = np.empty(max(CAPACITY_START, 2 * (len(kept) + steps)), dtype=np.int64)
        grown[: len(kept)] = kept
        self._times, self._first, self._count = grown, oldest_needed, len(kept)
