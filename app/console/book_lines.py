"""Published books as a table shows them: which is in force, which is to come, and what can be done with each; pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.catalog.book_store import BookHead, BookState
from app.console.panels import State

STATES: Mapping[BookState, State] = {
    BookState.LIVE: State("Live", "good"),
    BookState.SCHEDULED: State("Scheduled", "warn", "comes into force at its moment unless it is withdrawn"),
    BookState.PAST: State("Retired", "off", "was in force once; receipts under it stay recomputable"),
    BookState.WITHDRAWN: State("Withdrawn", "off", "was taken back before its moment; it was never in force"),
}


@dataclass(frozen=True, slots=True)
class BookLine:
    """One published book."""

    head: BookHead
    book_state: BookState

    @property
    def id(self) -> str:
        """The book's id."""
        return self.head.id

    @property
    def state(self) -> State:
        """Where it stands, in a word."""
        return STATES[self.book_state]

    @property
    def can_withdraw(self) -> bool:
        """True while it is to come."""
        return self.book_state is BookState.SCHEDULED

    @property
    def can_roll_back(self) -> bool:
        """True when it was in force and no longer is."""
        return self.book_state is BookState.PAST


def book_lines(heads: Iterable[BookHead], live_id: str | None, now_us: int) -> tuple[BookLine, ...]:
    """Every book with its state, in the order given."""
    return tuple(BookLine(head, head.state(live_id, now_us)) for head in heads)
