"""What recent traffic would have earned under a draft, as a page shows it; pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.console.shapes import count, moment
from pricing.book_impact import Impact, Line
from pricing.slo import Tier

ROWS_MAX = 40


@dataclass(frozen=True, slots=True)
class ImpactRow:
    """One tier of a model."""

    model: str
    tier: Tier
    line: Line


@dataclass(frozen=True, slots=True)
class ImpactView:
    """The table.

    Attributes:
        since_us: where the period begins, µs since the epoch.
        rows: those whose margin moves most, first.
        omitted: rows that are not shown.
        notes: what the figures rest on, a sentence each.
    """

    days: int
    since_us: int
    rows: Sequence[ImpactRow]
    total: Line
    omitted: int
    notes: tuple[str, ...]


def impact_view(impact: Impact, since_us: int, days: int) -> ImpactView:
    """Shapes an impact: what moves most comes first."""
    rows = [ImpactRow(model, tier, line) for (model, tier), line in impact.lines.items()]
    rows.sort(key=lambda row: -abs(row.line.margin_new - row.line.margin_old))
    total = impact.total
    shown = rows[:ROWS_MAX]
    return ImpactView(days, since_us, shown, total, len(rows) - len(shown), _notes(total, since_us))


def _notes(total: Line, since_us: int) -> tuple[str, ...]:
    """What the figures rest on."""
    answers = f"All {count(total.requests)} answers" if total.requests != 1 else "The one answer"
    notes = [f"{answers} delivered since {moment(since_us)} UTC, rated again by what was promised and charged."]
    if total.is_estimate:
        notes.append(
            f"An estimate: {count(total.sampled)} of them were rated one by one and stand for the rest of theirs."
        )
    if total.ungraded:
        notes.append(
            f"The timelines of {count(total.ungraded)} are erased: those are rated by the promises they were billed by."
        )
    notes.append("Who would buy more or less at another price is not guessed.")
    return tuple(notes)
