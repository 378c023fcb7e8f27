"""Logarithmic axes whose ticks a reader can hold: one, two and five of every decade, in short figures."""

import math
from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from app.cli.pictures.figures import compact

STEPS = (1, 2, 5)
TICKS_MAX = 12
TICKS_MIN = 3
FINER_STEPS = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
PAD_DECADES = 0.07


def padded(low: float, high: float, after: float = 0.0) -> tuple[float, float]:
    """A range with room on both sides, for a log axis.

    Args:
        low: above zero.
        high: no less than ``low``.
        after: more room at the high end, as a share of the range.
    """
    decades = math.log10(high / low)
    room = max(PAD_DECADES, 0.05 * decades)
    return low / 10**room, high * 10 ** (room + after * decades)


def ticks(low: float, high: float) -> list[float]:
    """Round values inside a range, more finely where it is narrow, by decades alone where it is wide.

    >>> ticks(8, 450), ticks(80, 130)
    ([10.0, 20.0, 50.0, 100.0, 200.0], [80.0, 90.0, 100.0, 120.0])
    """
    found = _ticks(low, high, STEPS)
    if len(found) < TICKS_MIN:
        return _ticks(low, high, FINER_STEPS)
    return found if len(found) <= TICKS_MAX else _ticks(low, high, (1,))


def _ticks(low: float, high: float, steps: tuple[float, ...]) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = (round(step * 10.0**power, 12 - power) for power in decades for step in steps)
    return [value for value in values if low <= value <= high]


def logarithmic(axes: Axes, across: tuple[float, float], up: tuple[float, float]) -> None:
    """Makes both axes logarithmic over a range each, with a grid on their ticks."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(*across)
    axes.set_ylim(*up)
    label(axes.xaxis, ticks(*across), compact)
    label(axes.yaxis, ticks(*up), compact)
    axes.grid(visible=True)


def label(axis: Axis, at: list[float], said: Callable[[float], str]) -> None:
    """Puts ticks at some values and says them in words."""
    axis.set_major_locator(FixedLocator(at))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: said(value)))
