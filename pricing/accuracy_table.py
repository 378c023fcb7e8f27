"""Reads an operator's accuracy figures from a CSV table; a bad row is refused with its line and reason.

The columns, in any order: ``model,precision,benchmark,score,reference,source,date``, and ``engine`` where figures
differ by engine. ``score`` is a share, 0 to 1. ``reference`` is the score at the reference precision, or the name of a
precision whose own row of the same model, benchmark (and engine, else any) gives it. ``date`` is an ISO day.
"""

import csv
import io
from collections.abc import Mapping
from datetime import date

from pricing.quality import Accuracy, Figure, QualityError

COLUMNS = ("model", "precision", "benchmark", "score", "reference", "source", "date")
ROWS_MAX = 10_000
TEXT_MAX = 5_000_000

Row = Mapping[str, str]
Scores = Mapping[tuple[str, str, str, str], float]


def accuracy_from_csv(text: str) -> Accuracy:
    r"""Figures from the text of a table; it is refused as a whole.

    Raises:
        QualityError: a missing or unknown column, or a row that cannot be, with its line.

    >>> table = "model,precision,benchmark,score,reference,source,date\nm,fp8,gpqa,0.49,0.50,own,2026-11-01"
    >>> accuracy_from_csv(table).figures[0].ratio
    0.98
    """
    rows = _rows(text)
    dated = sorted(rows, key=lambda each: each[1]["date"])
    scores = {_key(row, row["precision"], row["engine"]): _number(row, "score", line) for line, row in dated}
    return Accuracy(tuple(_figure(row, line, scores) for line, row in rows))


def _rows(text: str) -> list[tuple[int, dict[str, str]]]:
    if len(text) > TEXT_MAX:
        raise QualityError(f"the table is {len(text):,} letters long, at most {TEXT_MAX:,}")
    try:
        lines = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"))))
    except csv.Error as error:
        raise QualityError(f"the table is no CSV: {error}") from error
    if not 1 < len(lines) <= ROWS_MAX + 1:
        raise QualityError(f"an accuracy table has a header and 1 to {ROWS_MAX} rows, got {len(lines)} lines")
    header = [name.strip() for name in lines[0]]
    missing, unknown = set(COLUMNS) - set(header), set(header) - {*COLUMNS, "engine"}
    if missing or unknown or len(set(header)) != len(header):
        raise QualityError(
            f"line 1: the columns are {', '.join(COLUMNS)} and, if need be, engine, each once; missing: "
            f"{', '.join(sorted(missing)) or 'none'}; not known: {', '.join(sorted(unknown)) or 'none'}"
        )
    found: list[tuple[int, dict[str, str]]] = []
    for line, cells in enumerate(lines[1:], start=2):
        if len(cells) != len(header):
            raise QualityError(f"line {line}: {len(cells)} cells for {len(header)} columns")
        row = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
        lowered = {name: row.get(name, "").lower() for name in ("precision", "engine")}
        found.append((line, {**row, **lowered}))
    return found


def _figure(row: Row, line: int, scores: Scores) -> Figure:
    reference, named = _reference(row, line, scores)
    try:
        measured_on = date.fromisoformat(row["date"])
        return Figure(
            model=row["model"],
            precision=row["precision"],
            engine=row["engine"],
            benchmark=row["benchmark"],
            score=_number(row, "score", line),
            reference=reference,
            reference_precision=named,
            source=row["source"],
            measured_on=measured_on,
        )
    except QualityError as error:
        raise QualityError(f"line {line}: {error}") from error
    except ValueError as error:
        raise QualityError(f"line {line}: date {row['date']!r}: expected a day such as 2026-11-24") from error


def _reference(row: Row, line: int, scores: Scores) -> tuple[float, str]:
    """The reference's score, and its precision where that is what the row names."""
    try:
        return float(row["reference"]), ""
    except ValueError:
        named = row["reference"].lower()
    for engine in (row["engine"], ""):
        if (found := scores.get(_key(row, named, engine))) is not None:
            return found, named
    raise QualityError(
        f"line {line}: reference {row['reference']!r} is no score, and there is no row of {row['model']} at that "
        f"precision on {row['benchmark']}"
    )


def _key(row: Row, precision: str, engine: str) -> tuple[str, str, str, str]:
    return row["model"], precision, engine, row["benchmark"]


def _number(row: Row, name: str, line: int) -> float:
    try:
        return float(row[name])
    except ValueError as error:
        raise QualityError(f"line {line}: {name} {row[name]!r} is no number") from error
