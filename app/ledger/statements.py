"""What a batch asks of a database, whichever it is; pure values. Each store renders them in its own SQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Row = Sequence[Any]
Rows = Sequence[Row]


@dataclass(frozen=True, slots=True)
class Fetch:
    """Read ``columns`` of the rows whose ``key`` is one of ``values``, ordered by key.

    Attributes:
        is_locked: keep the rows locked until the batch ends, where several processes write.
    """

    table: str
    columns: tuple[str, ...]
    key: str
    values: tuple[Any, ...]
    is_locked: bool = False


@dataclass(frozen=True, slots=True)
class FetchDue:
    """Read id and account of at most ``rows_max`` pending holds expired by ``now_us``, earliest first."""

    now_us: int
    rows_max: int


@dataclass(frozen=True, slots=True)
class FetchHead:
    """Lock the chain of batches until this one ends, and read ``seq, sha256, txn_last`` of its last link."""


@dataclass(frozen=True, slots=True)
class Insert:
    """Add rows, all with the same columns.

    Attributes:
        is_once: leave a row out that is there already.
    """

    table: str
    columns: tuple[str, ...]
    rows: Rows
    is_once: bool = False


@dataclass(frozen=True, slots=True)
class Update:
    """Change rows by key; the answer is how many were changed, for the asker to compare with what it asked.

    Attributes:
        sets: columns that take a new value.
        adds: columns that are increased.
        rows: per row the values of ``sets``, then of ``adds``, then the key.
        where: one column and the value that it must still have.
    """

    table: str
    key: str
    sets: tuple[str, ...]
    adds: tuple[str, ...]
    rows: Rows
    where: tuple[str, str] | None = None


Statement = Fetch | FetchDue | FetchHead | Insert | Update
Answer = Rows | int
"""Rows of a fetch, or how many rows an insert or update wrote."""
