"""How soon a first token comes from an offer, and how fast the others follow, at a given load.

    ``TTFT̂ = α · (base + W + isl / R)``    W = prompt tokens still waiting there / R
    ``TPOT̂ = β · f(n + 1)``                f interpolated linearly between the loads measured

Below the smallest load measured f is what was measured there: never faster than measured. Beyond the largest one there
is no forecast, and the offer is not on offer. α and β are learned: :mod:`scheduler.calibration`.
"""

import math
from bisect import bisect_right

from pricing.slo import US_PER_S
from scheduler.fleet import SpeedCurve


def tpot_us(curve: SpeedCurve, in_flight: int) -> float:
    """f(n): mean µs per output token when ``in_flight`` requests run; infinite beyond what was measured.

    >>> curve = SpeedCurve((2, 4), (10_000.0, 12_000.0), 0.0, 1.0)
    >>> tpot_us(curve, 1), tpot_us(curve, 3), tpot_us(curve, 5)
    (10000.0, 11000.0, inf)
    """
    return interpolated(curve.concurrency, curve.tpot_us, in_flight)


def tpot_us_experienced(curve: SpeedCurve, in_flight: int) -> float:
    """f(n) for what is already running: beyond the loads measured, the slowest speed measured."""
    return interpolated(curve.concurrency, curve.tpot_us, min(in_flight, curve.concurrency_measured))


def in_flight_max(curve: SpeedCurve, tpot_limit_us: float) -> int:
    """The largest load at which a token still takes at most ``tpot_limit_us``; 0 when it does not even alone.

    >>> curve = SpeedCurve((2, 4), (10_000.0, 12_000.0), 0.0, 1.0)
    >>> in_flight_max(curve, 9_999.0), in_flight_max(curve, 11_999.0), in_flight_max(curve, 1e9)
    (0, 3, 4)
    """
    return load_within(curve.concurrency, curve.tpot_us, tpot_limit_us)


def ttft_us(curve: SpeedCurve, prefill_tokens: int, input_tokens: int) -> float:
    """µs from dispatch to the first token, behind ``prefill_tokens`` prompt tokens that wait there.

    >>> ttft_us(SpeedCurve((1,), (1.0,), 50_000.0, 10_000.0), prefill_tokens=1_000, input_tokens=500)
    200000.0
    """
    return curve.ttft_base_us + (prefill_tokens + input_tokens) * prompt_token_us(curve)


def prompt_token_us(curve: SpeedCurve) -> float:
    """µs to take in one prompt token."""
    return US_PER_S / curve.prefill_tok_s


def interpolated(concurrency: tuple[int, ...], times_us: tuple[float, ...], in_flight: int) -> float:
    """The time at a load, linear between the loads measured."""
    above = bisect_right(concurrency, in_flight)
    if above == 0:
        return times_us[0]
    below = above - 1
    if above == len(concurrency):
        return times_us[below] if in_flight == concurrency[below] else math.inf
    left, low = concurrency[below], times_us[below]
    return low + (times_us[above] - low) * (in_flight - left) / (concurrency[above] - left)


def load_within(concurrency: tuple[int, ...], times_us: tuple[float, ...], limit_us: float) -> int:
    """The largest load whose time is at most ``limit_us``: the inverse of :func:`interpolated`; 0 when none is."""
    above = bisect_right(times_us, limit_us)
    if above == 0:
        return 0
    left = concurrency[above - 1]
    if above == len(concurrency):
        return left
    low = times_us[above - 1]
    load = left + int((limit_us - low) * (concurrency[above] - left) / (times_us[above] - low))
    if interpolated(concurrency, times_us, load + 1) <= limit_us:  # the division rounded down
        return load + 1
    return load if interpolated(concurrency, times_us, load) <= limit_us else load - 1
