"""The Pareto set of speed and yield over many configurations, and what lies between its points.

A frontier is an envelope of many configurations, not a machine. Between two of its points :meth:`Frontier.at`
interpolates, for display and comparison; what can be promised is :meth:`Frontier.attainable`, the best *measured* point
that is at least as fast. Nothing is extrapolated.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from pricing.candidates import Axis, Candidate, FrontierError

Floats = NDArray[np.float64]
GRID_PER_INTERVAL = 256
"""Grid points between two neighbours of a frontier when a maximum or a crossing is looked for."""
ZONE_SHARE = 0.9
X_TOLERANCE = 1e-6
"""Speeds are printed with six decimals; one read back from print is the point's own, an end of the range too."""
YIELD_TOLERANCE = 1e-9
SHOWN = ".10g"


class OutsideMeasuredRange(FrontierError):
    """A speed that nobody measured; the message and the attributes say the range."""

    def __init__(self, x: float, low: float, high: float) -> None:
        super().__init__(
            f"{x:{SHOWN}} tok/s/user lies outside the measured range of {round(low, 6):{SHOWN}} to "
            f"{round(high, 6):{SHOWN}} tok/s/user; "
            "nothing is extrapolated: ask inside the range, or measure there"
        )
        self.low = low
        self.high = high


@dataclass(frozen=True, slots=True)
class Interpolated:
    """Figures on the frontier between two measured points, and the point that can be promised there.

    Attributes:
        tokens_per: the yield on the frontier's axis.
        neighbours: the measured points on either side; one and the same on a measured point.
        attainable: the best measured point at least as fast.
    """

    tok_s_user: float
    tokens_per: float
    tok_s_per_gpu: float
    output_tok_s_per_gpu: float
    usd_per_mtok: float
    tok_s_per_mw: float | None
    neighbours: tuple[Candidate, Candidate]
    attainable: Candidate

    @property
    def between(self) -> tuple[str, str]:
        """Ids of the neighbours; two runs of one load share theirs."""
        return self.neighbours[0].id, self.neighbours[1].id


@dataclass(frozen=True, slots=True)
class Zone:
    """The goldilocks zone: where speed × yield peaks, and the connected span that keeps a share of the peak.

    Attributes:
        share: how much of the peak the span keeps, 0.9 unless told otherwise.
        is_cut_low: the span ends where the measurements do, not where x·y falls off.
        is_cut_high: likewise at the fast end.
    """

    tok_s_user: float
    low: float
    high: float
    share: float
    is_cut_low: bool
    is_cut_high: bool


@dataclass(frozen=True, slots=True)
class Frontier:
    """The Pareto set in (speed, yield), rising in speed and falling in yield.

    Attributes:
        points: at least one.
    """

    points: tuple[Candidate, ...]
    axis: Axis = Axis.USD

    @property
    def x(self) -> Floats:
        """Speeds, tok/s/user, strictly rising. Shape (points,)."""
        return np.array([candidate.tok_s_user for candidate in self.points])

    @property
    def y(self) -> Floats:
        """Yields on the axis, strictly falling. Shape (points,)."""
        return np.array([candidate.tokens_per(self.axis) for candidate in self.points])

    @property
    def low(self) -> float:
        """The slowest speed measured."""
        return self.points[0].tok_s_user

    @property
    def high(self) -> float:
        """The fastest speed measured."""
        return self.points[-1].tok_s_user

    def yields(self, x: Floats) -> Floats:
        """Interpolated yields (PCHIP of log y over x); the caller stays inside the range. Shape as ``x``."""
        return _interpolated(self.x, self.y, x)

    def at(self, x: float) -> Interpolated:
        """Reads the frontier at a speed.

        Raises:
            OutsideMeasuredRange: beyond the slowest or the fastest measured point.
        """
        attainable = self.attainable(x)
        where = min(max(x, self.low), self.high)
        right = self.points.index(attainable)
        is_measured = attainable.tok_s_user <= where * (1 + X_TOLERANCE)  # and, being attainable, not below it either
        left = right if is_measured else right - 1
        where = attainable.tok_s_user if is_measured else where
        powers = [candidate.tok_s_per_mw for candidate in self.points]
        known = [power for power in powers if power is not None]
        return Interpolated(
            tok_s_user=where,
            tokens_per=self._read(where, [candidate.tokens_per(self.axis) for candidate in self.points]),
            tok_s_per_gpu=self._read(where, [candidate.tok_s_per_gpu for candidate in self.points]),
            output_tok_s_per_gpu=self._read(where, [candidate.output_tok_s_per_gpu for candidate in self.points]),
            usd_per_mtok=self._read(where, [candidate.usd_per_mtok for candidate in self.points]),
            tok_s_per_mw=self._read(where, known) if len(known) == len(powers) else None,
            neighbours=(self.points[left], self.points[right]),
            attainable=attainable,
        )

    def _read(self, x: float, values: list[float]) -> float:
        return float(_interpolated(self.x, np.array(values), np.array([x]))[0])

    def attainable(self, x: float) -> Candidate:
        """The best measured point with interactivity of at least ``x``.

        Raises:
            OutsideMeasuredRange: beyond the slowest or the fastest measured point.
        """
        if not self.low * (1 - X_TOLERANCE) <= x <= self.high * (1 + X_TOLERANCE):
            raise OutsideMeasuredRange(x, self.low, self.high)
        return next(candidate for candidate in self.points if candidate.tok_s_user * (1 + X_TOLERANCE) >= x)

    def next_at_least(self, x: float) -> Candidate | None:
        """The slowest point of the frontier at least as fast as ``x``; None when there is none."""
        return next((candidate for candidate in self.points if candidate.tok_s_user >= x), None)

    def goldilocks(self, share: float = ZONE_SHARE) -> Zone:
        """Where x·y(x) peaks (elasticity −1), and the connected span around it with at least ``share`` of the peak."""
        grid = _grid(self.x)
        product = grid * self.yields(grid)
        peak = int(np.argmax(product))
        below = product < share * product[peak]
        falls_low, falls_high = np.flatnonzero(below[:peak]), np.flatnonzero(below[peak:])
        low = int(falls_low[-1]) + 1 if len(falls_low) else 0
        high = peak + int(falls_high[0]) - 1 if len(falls_high) else len(grid) - 1
        return Zone(
            tok_s_user=float(grid[peak]),
            low=float(grid[low]),
            high=float(grid[high]),
            share=share,
            is_cut_low=not len(falls_low),
            is_cut_high=not len(falls_high),
        )

    def fastest_with(self, tokens_per: float) -> float | None:
        """The largest speed whose interpolated yield is at least ``tokens_per``; None when no speed has it."""
        grid = _grid(self.x)
        enough = np.flatnonzero(self.yields(grid) >= tokens_per * (1 - YIELD_TOLERANCE))
        return float(grid[enough[-1]]) if len(enough) else None


def frontier(points: Iterable[Candidate], axis: Axis = Axis.USD) -> Frontier:
    """The upper-right Pareto set: no other point is at least as fast and yields at least as much.

    Raises:
        FrontierError: no points.
    """
    ranked = sorted(points, key=lambda each: (-each.tok_s_user, -each.tokens_per(axis), each.id))
    kept: list[Candidate] = []
    best = 0.0
    for candidate in ranked:
        if (tokens_per := candidate.tokens_per(axis)) > best:
            kept.append(candidate)
            best = tokens_per
    if not kept:
        raise FrontierError("a frontier needs at least one operating point")
    return Frontier(tuple(reversed(kept)), axis)


def _grid(x: Floats) -> Floats:
    """The points themselves and ``GRID_PER_INTERVAL`` steps between each two neighbours, rising."""
    steps = [np.linspace(a, b, GRID_PER_INTERVAL, endpoint=False) for a, b in pairwise(x)]
    return np.concatenate([*steps, x[-1:]])


def _interpolated(x: Floats, values: Floats, at: Floats) -> Floats:
    if len(x) == 1:
        return np.full(at.shape, values[0])
    curve = PchipInterpolator(x, np.log(values))
    return np.exp(curve(at))
