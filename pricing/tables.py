"""Reads the CSV tables that ship with the product; a bad row is refused with its file, line and reason."""

import csv
import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

DATA_DIR = Path(__file__).parent / "data"
MANIFEST = "MANIFEST.json"
DOCUMENTS = ("demand.json",)
"""What ships beside the tables and is hashed like them."""
ROWS_MAX = 1_000_000

Row = Mapping[str, str]
Parsed = TypeVar("Parsed")


class TableError(ValueError):
    """A shipped table that cannot be read: missing, without a column, or with a row that makes no sense."""


def parse_table(name: str, parse: Callable[[Row], Parsed], data_dir: Path = DATA_DIR) -> list[Parsed]:
    """Reads a table and turns each row into a value.

    Raises:
        TableError: no such file, a row of the wrong width, or a row that ``parse`` refuses with a ValueError or
            KeyError; the message names file, line and reason.
    """
    path = data_dir / name
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path}: {error}") from error
    if not 1 < len(lines) <= ROWS_MAX:
        raise TableError(f"{path}: {len(lines)} lines; needs a header and from 1 to {ROWS_MAX} rows")
    columns, found = lines[0], []
    for line, cells in enumerate(lines[1:], start=2):
        try:
            found.append(parse(dict(zip(columns, cells, strict=True))))
        except KeyError as error:
            raise TableError(f"{path} line {line}: there is no column {error}") from error
        except ValueError as error:
            raise TableError(f"{path} line {line}: {error}") from error
    return found


def optional_number(text: str) -> float | None:
    """A number, or None for an empty cell."""
    return float(text) if text else None


def optional_day(text: str) -> date | None:
    """An ISO date, or None for an empty cell."""
    return date.fromisoformat(text) if text else None


def table_hashes(data_dir: Path = DATA_DIR) -> dict[str, str]:
    """SHA-256 of every table and document in force, by file name."""
    documents = [data_dir / name for name in DOCUMENTS if (data_dir / name).exists()]
    files = sorted([*data_dir.glob("*.csv"), *documents])
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def changed_tables(data_dir: Path = DATA_DIR) -> list[str]:
    """Tables that differ from what was shipped: an operator's edit, which is fine, but should be seen."""
    try:
        manifest: dict[str, Any] = json.loads((data_dir / MANIFEST).read_text(encoding="utf-8"))["tables"]
    except (OSError, ValueError, KeyError) as error:
        raise TableError(
            f"{data_dir / MANIFEST}: {error!r}; rebuild it with docs/tools/rebuild_pricing_data.py"
        ) from error
    hashes = table_hashes(data_dir)
    names = sorted(hashes.keys() | manifest.keys())
    return [name for name in names if manifest.get(name, {}).get("sha256") != hashes.get(name)]


def tables_sha256(data_dir: Path = DATA_DIR) -> str:
    """One digest over all tables in force, for provenance."""
    listing = "\n".join(f"{digest}  {name}" for name, digest in table_hashes(data_dir).items())
    return hashlib.sha256(listing.encode()).hexdigest()
