"""What the two stores share: the port they fill, how they fail, and how values become what a driver takes."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol

import msgspec
from sqlalchemy import JSON, Column, Dialect
from sqlmodel import SQLModel

from app.ledger.holds import PreparedRow
from app.ledger.operations import Operation, Outcome
from app.ledger.statements import Rows

Encode = Callable[[Any], Any]


class Contention(Exception):
    """Another process was in the way, or the connection was lost; the same batch may succeed when tried again."""


class Refused(Exception):
    """The database will not take what the batch would write: a constraint, a duplicate, a value out of range."""


class Unavailable(Exception):
    """The database cannot be reached or written: full disk, I/O error, no connection."""


class LedgerStore(Protocol):
    """Where batches are made durable."""

    async def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Carries out one batch in one transaction; durable when it returns, without a trace when it raises.

        Raises:
            Contention: try the same batch again.
            Refused: some operation of the batch cannot be written.
            Unavailable: nothing can be written now.
        """
        ...

    async def close(self) -> None:
        """Closes its connection."""
        ...


class UnknownColumns(ValueError):
    """A prepared row that names a table or columns that do not exist, or lacks one that must be there."""


def check_row(row: PreparedRow) -> None:
    """Refuses a row that no table could take, while its maker can still be told.

    Raises:
        UnknownColumns: no such table or columns, or a column without a default is missing.
    """
    _check_shape(row.table, tuple(row.values))


@cache
def _check_shape(table: str, columns: tuple[str, ...]) -> None:
    known = columns_of(table)
    if unknown := sorted(set(columns) - known.keys()):
        raise UnknownColumns(f"table {table} has no columns {', '.join(unknown)}; it has {', '.join(known)}")
    needed = {column.name for column in known.values() if not column.nullable and column.server_default is None}
    if missing := sorted(needed - set(columns)):
        raise UnknownColumns(f"a row of {table} needs {', '.join(missing)}")


def columns_of(table: str) -> dict[str, Column[Any]]:
    """The columns of a table by name.

    Raises:
        UnknownColumns: no such table, or its models were not imported.
    """
    found = SQLModel.metadata.tables.get(table)
    if found is None:
        raise UnknownColumns(f"there is no table {table}")
    return {column.name: column for column in found.columns}


def encode_rows(table: str, columns: tuple[str, ...], rows: Rows, dialect: Dialect) -> Rows:
    """Turns values into what the driver takes; rows whose columns are plain numbers and text pass unchanged."""
    encoders = _encoders(table, columns, dialect)
    if not encoders:
        return rows
    encoded: list[list[Any]] = []
    for row in rows:
        values = list(row)
        for index, encode in encoders:
            if values[index] is not None:
                values[index] = encode(values[index])
        encoded.append(values)
    return encoded


@cache
def _encoders(table: str, columns: tuple[str, ...], dialect: Dialect) -> tuple[tuple[int, Encode], ...]:
    known = columns_of(table)
    each = ((index, _encoder(known[name], dialect)) for index, name in enumerate(columns))
    return tuple((index, encode) for index, encode in each if encode is not None)


def _encoder(column: Column[Any], dialect: Dialect) -> Encode | None:
    if isinstance(column.type, JSON):
        return _json_text
    return column.type.dialect_impl(dialect).bind_processor(dialect)


def _json_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
