"""What the first page shows, shaped from the day's figures; pure."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from app.admin.figures import ATTAINMENT_TARGET_PERCENT, US_PER_MINUTE, DayFigures, Minute, Sums
from app.console.shapes import percent, time_of_day, width
from pricing.slo import Tier

SPARK_WIDTH = 240
SPARK_HEIGHT = 36
MINUTES_FOR_RATE = 5
_US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class TierRow:
    """How well one tier's promise is kept today.

    Attributes:
        requests, tokens: attainment in words.
        filled: of the bar, per mille.
        tone: ``good`` on target, ``bad`` below, ``off`` without requests.
    """

    tier: Tier
    sums: Sums
    requests: str
    tokens: str
    filled: int
    tone: str


def tier_rows(figures: DayFigures) -> tuple[TierRow, ...]:
    """One row per tier, best first."""
    return tuple(_tier_row(tier, sums) for tier, sums in figures.by_tier.items())


def _tier_row(tier: Tier, sums: Sums) -> TierRow:
    on_target = sums.attained * 100 >= ATTAINMENT_TARGET_PERCENT * sums.accepted
    return TierRow(
        tier=tier,
        sums=sums,
        requests=percent(sums.attained, sums.accepted),
        tokens=percent(sums.tokens_good, sums.tokens_output),
        filled=width(sums.attained, sums.accepted),
        tone="off" if not sums.accepted else "good" if on_target else "bad",
    )


def minutes_chart(minutes: Sequence[Minute]) -> str:
    """The series of the tokens-per-minute chart, as JSON for the page's script."""
    return json.dumps(
        {
            "at": [time_of_day(minute.at_us)[:5] for minute in minutes],
            "good": [minute.tokens_good for minute in minutes],
            "late": [minute.tokens_output - minute.tokens_good for minute in minutes],
        },
        separators=(",", ":"),
    )


def spark(values: Sequence[int]) -> str:
    """A tiny line as the points of an SVG polyline; flat at the bottom when there is nothing to show.

    >>> spark([0, 5, 10])
    '0.0,35.0 120.0,18.5 240.0,2.0'
    """
    if not values:
        return ""
    low, high = min(0, *values), max(0, *values)
    step = SPARK_WIDTH / max(1, len(values) - 1)
    span = SPARK_HEIGHT - 3
    return " ".join(
        f"{index * step:.1f},{SPARK_HEIGHT - 1 - (span * (value - low) / (high - low) if high > low else 0):.1f}"
        for index, value in enumerate(values)
    )


def rate_per_s(minutes: Sequence[Minute], now_us: int, *, good: bool) -> int:
    """Tokens per second since four minutes before the present one began.

    >>> rate_per_s([Minute(0, 600, 300, 0, 0)] * 5, now_us=60_000_000, good=False)
    12
    """
    lately = minutes[-MINUTES_FOR_RATE:]
    tokens = sum(minute.tokens_good if good else minute.tokens_output for minute in lately)
    passed_us = (MINUTES_FOR_RATE - 1) * US_PER_MINUTE + now_us % US_PER_MINUTE
    return tokens * _US_PER_S // passed_us
