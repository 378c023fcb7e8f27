"""A long list in numbered pages, for lists that are whole in memory and stand still; pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
_DIGITS_MAX = 6


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """One page of a list.

    Attributes:
        page: from 1.
        total: rows of all pages.
    """

    rows: Sequence[T]
    page: int
    pages: int
    total: int


def slice_of(rows: Sequence[T], asked: str, rows_max: int) -> Slice[T]:
    """The page asked for by its number; the nearest there is, and the first for what is no number.

    >>> slice_of("abcde", "2", 2), slice_of("abcde", "9", 2).page, slice_of("", "x", 2)
    (Slice(rows='cd', page=2, pages=3, total=5), 3, Slice(rows='', page=1, pages=1, total=0))
    """
    pages = max(1, -(-len(rows) // rows_max))
    is_number = asked.isascii() and asked.isdigit() and len(asked) <= _DIGITS_MAX
    page = max(1, min(pages, int(asked))) if is_number else 1
    return Slice(rows[(page - 1) * rows_max : page * rows_max], page, pages, len(rows))
