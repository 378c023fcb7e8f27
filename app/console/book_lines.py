"""Published books as a table shows them: which is live, which is to come, which were, and what can be done; pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.catalog.models import PriceBookRow
from app.console.panels import State

LIVE, SCHEDULED, RETIRED, REPLACED = (
    State("Live", "good"),
    State("Scheduled", "warn", "comes into force at its moment unless it is withdrawn"),
    State("Retired", "off", "was in force once; receipts under it stay recomputable"),
    State("Replaced", "off", "another book took its moment; it was never in force, or only for an instant"),
)


@dataclass(frozen=True, slots=True)
class BookLine:
    """One published book.

    Attributes:
        origin: how it came about; empty where that is not known.
    """

    id: str
    state: State
    effective_at_us: int
    published_by: str
    reason: str
    origin: str

    @property
    def can_withdraw(self) -> bool:
        """True while it is to come."""
        return self.state is SCHEDULED

    @property
    def can_roll_back(self) -> bool:
        """True when its prices are no longer, or were never, in force."""
        return self.state in {RETIRED, REPLACED}


def book_line(row: PriceBookRow, live_id: str | None, now_us: int, replaced: frozenset[str]) -> BookLine:
    """One row of the table.

    Args:
        row: the book.
        live_id: the book in force.
        now_us: µs since the epoch.
        replaced: ids of books whose moment a later publication took.
    """
    if row.id == live_id:
        state = LIVE
    elif row.id in replaced:
        state = REPLACED
    else:
        state = SCHEDULED if row.effective_at_us > now_us else RETIRED
    return BookLine(row.id, state, row.effective_at_us, row.published_by, row.reason, str(getattr(row, "origin", "")))


def replaced_books(rows: Sequence[PriceBookRow]) -> frozenset[str]:
    """Of books that share a moment, all but the one published last: they never come into force."""
    latest: dict[int, PriceBookRow] = {}
    for row in rows:
        other = latest.get(row.effective_at_us)
        if other is None or row.sequence > other.sequence:
            latest[row.effective_at_us] = row
    return frozenset(row.id for row in rows if latest[row.effective_at_us].id != row.id)
