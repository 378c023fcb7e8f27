"""Writes the first migration's SQL from the tables in code: ``python -m migrations.freeze``.

For use until the first release only; from then on ``versions/0001_*.sql`` is history, and changes come as revisions.
"""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from sqlalchemy import create_mock_engine
from sqlalchemy.schema import ExecutableDDLElement

from migrations.tables import all_tables

STEM = Path(__file__).parent / "versions" / "0001_the_market_opens"
URL_BY_DIALECT = {"sqlite": "sqlite://", "postgresql": "postgresql+asyncpg://"}


def statements(dialect: str) -> list[str]:
    """Every statement that makes an empty database ours, triggers included; no statement has a blank line."""
    seen: list[str] = []

    def note(element: ExecutableDDLElement, *_args: Any, **_options: Any) -> None:
        text = str(element.compile(dialect=engine.dialect))
        kept = "\n".join(line.strip("\t").rstrip() for line in text.splitlines() if line.strip())
        if kept not in seen:  # a function that several triggers share is made once
            seen.append(kept)

    engine = create_mock_engine(URL_BY_DIALECT[dialect], note)
    all_tables().create_all(engine, checkfirst=False)
    return _indexes_in_order(seen)


def _indexes_in_order(statements: list[str]) -> list[str]:
    """A table keeps its indexes in a set, so their order is made the same each time: by name, after their table."""
    ordered: list[str] = []
    for is_index, group in groupby(statements, key=lambda statement: " INDEX " in statement.partition("(")[0]):
        each = list(group)
        ordered.extend(sorted(each) if is_index else each)
    return ordered


def write() -> Iterator[Path]:
    """Writes one file per dialect, statements apart by a blank line."""
    for dialect in URL_BY_DIALECT:
        path = STEM.with_suffix(f".{dialect}.sql")
        path.write_text("\n\n".join(statements(dialect)) + "\n")
        yield path


if __name__ == "__main__":
    for written in write():
        print(written)  # noqa: T201 (a script's answer)
