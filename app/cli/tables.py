"""Tables for a person: numbers flush right, ids never cut, and no line wrapped where another program reads them."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

PIPE_WIDTH = 1_000
"""Columns where nobody looks: enough for any row, so that what is piped is never wrapped."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: with the unit, where the title does not say it.
        is_number: flush right.
        is_wide: where the terminal is narrow, this one wraps, between words or else within one; others stay whole.
    """

    name: str
    is_number: bool = False
    is_wide: bool = False


def words(*names: str) -> list[Column]:
    """Columns of short text."""
    return [Column(name) for name in names]


def numbers(*names: str) -> list[Column]:
    """Columns of numbers."""
    return [Column(name, is_number=True) for name in names]


def wide(*names: str) -> list[Column]:
    """Columns of text that may wrap."""
    return [Column(name, is_wide=True) for name in names]


def table(title: str, columns: Sequence[Column]) -> Table:
    """An empty table.

    Args:
        title: with the units that its columns share; empty for none.
        columns: from left to right.
    """
    found = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
    for column in columns:
        justify = "right" if column.is_number else "left"
        found.add_column(column.name, justify=justify, overflow="fold", no_wrap=not column.is_wide)
    return found


def show(found: Table) -> None:
    """Prints a table as wide as the terminal, or as wide as it needs to be where there is none."""
    is_seen = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console(width=None if is_seen else PIPE_WIDTH, markup=False, emoji=False, highlight=False)
    console.print(found)
    console.print()
