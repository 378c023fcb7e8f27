"""Keyset pages: a cursor names the last row shown, so that a page never shifts while new rows arrive; pure."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.errors import MarketError

ROWS_DEFAULT = 50
INTEGER_MAX = 2**63
T = TypeVar("T")
_CURSOR = re.compile(r"(\d{1,19})\.([A-Za-z0-9_.:-]{1,64})")
_NUMBER = re.compile(r"[0-9]{1,19}")
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class BadCursor(MarketError):
    """A cursor that no page of ours ever gave."""

    def __init__(self, cursor: str) -> None:
        super().__init__(
            400,
            "invalid_cursor",
            f"{cursor[:80]!r} is no cursor of this list; take 'next' from the page before, or leave it out",
            param="after",
        )


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page of events begins: after the event of this moment and id."""

    at_us: int
    id: str

    def __str__(self) -> str:
        return f"{self.at_us}.{self.id}"


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows of a list.

    Attributes:
        next: the cursor of the page after this one; None when this is the last.
    """

    rows: Sequence[T]
    next: str | None


def page_of(rows: Sequence[T], rows_max: int, cursor_of: Callable[[T], str]) -> Page[T]:
    """Makes a page out of up to ``rows_max`` + 1 rows read; the extra one only tells that there are more.

    >>> page_of(["a", "b", "c"], 2, str)
    Page(rows=['a', 'b'], next='b')
    """
    shown = rows[:rows_max]
    return Page(shown, cursor_of(shown[-1]) if len(rows) > rows_max else None)


def read_cursor(text: str) -> Cursor | None:
    """Reads a cursor of events; None when there is none.

    Raises:
        BadCursor: the text is none.
    """
    if not text:
        return None
    match = _CURSOR.fullmatch(text)
    if match is None or int(match.group(1)) >= INTEGER_MAX:
        raise BadCursor(text)
    return Cursor(int(match.group(1)), match.group(2))


def read_id_cursor(text: str) -> str:
    """Reads a cursor that is the id of a row; empty when there is none.

    Raises:
        BadCursor: the text is none.
    """
    if text and _ID.fullmatch(text) is None:
        raise BadCursor(text)
    return text


def read_number_cursor(text: str) -> int | None:
    """Reads a cursor that is the number of a row; None when there is none.

    Raises:
        BadCursor: the text is none.
    """
    if text and (_NUMBER.fullmatch(text) is None or int(text) >= INTEGER_MAX):
        raise BadCursor(text)
    return int(text) if text else None


def rows_wanted(asked: int | None, rows_max: int) -> int:
    """How many rows a page has: what was asked for, within the limits.

    >>> rows_wanted(None, 100), rows_wanted(1000, 100), rows_wanted(0, 100)
    (50, 100, 1)
    """
    return max(1, min(ROWS_DEFAULT if asked is None else asked, rows_max))
