"""A settled answer, as its row tells it, made ready to be rated again; pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.metering import timeline_codec
from app.metering.timeline_codec import TimelineCodecError
from pricing.book_impact import Delivered
from pricing.goodput import Grade, Timeline, TimelineError
from pricing.rating import Ending
from pricing.slo import Tier
from pricing.usage import Usage

Row = Mapping[str, Any]
_INPUT = ("input", "cached", "cache_write")


def delivered(row: Row) -> Delivered:
    """One usage event by its columns; ``timeline`` may be left out."""
    tokens = int(row["tokens_output"])
    return Delivered(
        usage=Usage(row["tokens_input"], row["tokens_cached"], row["tokens_cache_write"], tokens),
        graded=_grade(row["lines"], tokens),
        ending=Ending(row["ending"]),
        net=row["net"],
        held=row["held"],
        cost=row["cost"],
        timeline=_timeline(row.get("timeline"), tokens),
    )


def _grade(lines: Sequence[Mapping[str, Any]], tokens: int) -> Grade:
    """Which promise each token met, as the lines of the bill state it."""
    met = tuple((Tier(line["tier"]), int(line["output"])) for line in lines)
    input_tier = next((Tier(line["tier"]) for line in lines if any(line[name] for name in _INPUT)), None)
    return Grade(met, tokens - sum(count for _, count in met), input_tier)


def _timeline(packed: bytes | None, tokens: int) -> Timeline | None:
    """The delivery's times; None where they were erased, or are not those of this many tokens."""
    if packed is None:
        return None
    try:
        found = timeline_codec.decode(packed)
    except (TimelineCodecError, TimelineError):
        return None  # counted as graded by its bill; whoever verifies the books is told that it is damaged
    return found if found.tokens == tokens else None
