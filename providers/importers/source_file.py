"""Bytes of a file as text, JSON values or table rows; every refusal says what is wrong with the file itself."""

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from pricing.profiles import ProfileError

FILE_BYTES_MAX = 16_000_000
ROWS_MAX = 20_000
_BOMS = ("utf-16", (b"\xff\xfe", b"\xfe\xff"))


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to import.

    Attributes:
        name: without its folder: it becomes part of the provenance.
        sha256: digest of the bytes as they came, in hexadecimal.
    """

    name: str
    data: bytes
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha256", hashlib.sha256(self.data).hexdigest())

    def text(self) -> str:
        """The decoded text, without a byte order mark.

        Raises:
            ProfileError: empty, too large, or not UTF-8.
        """
        if len(self.data) > FILE_BYTES_MAX:
            raise ProfileError(f"the file is larger than {FILE_BYTES_MAX:,} bytes; split it")
        if self.data.startswith(_BOMS[1]):
            raise ProfileError(f"the file is {_BOMS[0]}; save it as UTF-8")
        try:
            text = self.data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ProfileError(f"the file is not UTF-8 at byte {error.start:,}; save it as UTF-8") from error
        if not text.strip():
            raise ProfileError("the file is empty")
        return text


@dataclass(frozen=True, slots=True)
class Placed:
    """A value and where it stands in its file."""

    where: str
    value: Any


def json_values(text: str) -> tuple[Placed, ...]:
    """The rows of a JSON file: its one object, the objects of its list, or one object after the other.

    Raises:
        ProfileError: not JSON, a name given twice, NaN or Infinity, or too many rows.
    """
    values = list(_documents(text))
    if len(values) > 1:
        rows = tuple(values)
    elif isinstance(values[0].value, list):
        rows = tuple(Placed(f"$[{index}]", value) for index, value in enumerate(values[0].value))
    else:
        rows = (Placed("$", values[0].value),)
    if not rows:
        raise ProfileError("the file holds an empty list")
    if len(rows) > ROWS_MAX:
        raise ProfileError(f"the file holds {len(rows):,} rows, at most {ROWS_MAX:,}; split it")
    return rows


def _documents(text: str) -> Iterator[Placed]:
    decoder = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_object)
    at, end, line = _skip_space(text, 0), len(text), 1
    counted = 0
    while at < end:
        line += text.count("\n", counted, at)
        counted = at
        try:
            value, after = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise ProfileError(f"the file is not JSON: {error}") from error
        except (ValueError, RecursionError) as error:
            raise ProfileError(f"the JSON value at line {line} cannot be read: {error}") from error
        yield Placed(f"line {line}", value)
        at = _skip_space(text, after)


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _refuse_constant(name: str) -> NoReturn:
    raise ProfileError(f"{name} is no number that can be measured; leave the field out instead")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ProfileError(f"the name {twice!r} is given twice in one object; keep one")
    return found


def table_header(text: str) -> tuple[str, ...]:
    """The column names of a table with commas.

    Raises:
        ProfileError: a column without a name, or named twice.
    """
    try:
        names = tuple(name.strip() for name in next(csv.reader(io.StringIO(text, newline="")), ()))
    except csv.Error as error:
        raise ProfileError(f"line 1: not a table with commas: {error}") from error
    counted = Counter(names)
    for name in names:
        if not name or counted[name] > 1:
            raise ProfileError(f"line 1: the column {name!r} is {'named twice' if name else 'without a name'}")
    return names


def table_rows(text: str) -> tuple[Placed, ...]:
    """The rows of a table with commas and a header; lines without anything are passed over.

    Raises:
        ProfileError: no rows, too many, or one whose number of fields differs from the header's.
    """
    header = table_header(text)
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Placed] = []
    try:
        next(lines)
        for cells in lines:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise ProfileError(f"line {lines.line_num}: {len(cells)} fields, but the header names {len(header)}")
            rows.append(Placed(f"line {lines.line_num}", dict(zip(header, map(str.strip, cells), strict=True))))
            if len(rows) > ROWS_MAX:
                raise ProfileError(f"the table has more than {ROWS_MAX:,} rows; split it")
    except csv.Error as error:
        raise ProfileError(f"line {lines.line_num}: not a table with commas: {error}") from error
    if not rows:
        raise ProfileError("the table has a header but no rows")
    return tuple(rows)
