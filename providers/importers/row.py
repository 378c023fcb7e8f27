"""Takes typed fields out of one row that others wrote; fields that are not asked for are left alone."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from pricing.document_reader import TEXT_MAX, shown
from pricing.profiles import ProfileError

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_DATE = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})(?:[T\s_-].*)?")
_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        fields: of a table or a JSON object.
        path: inside the row, for messages; empty for the row itself.
        is_text: True for a table, whose numbers are texts.
    """

    fields: Mapping[str, Any]
    path: str = ""
    is_text: bool = False

    def has(self, name: str) -> bool:
        """True when the field is there and holds something."""
        return self.fields.get(name) not in {None, ""} if _is_plain(self.fields.get(name)) else True

    def at(self, name: str) -> str:
        """The field's place, for messages."""
        return f"{self.path}.{name}" if self.path else name

    def first(self, *names: str) -> str | None:
        """The first of several names that is there."""
        return next((name for name in names if self.has(name)), None)

    def text(self, name: str) -> str | None:
        """A text, or None."""
        if not self.has(name):
            return None
        found = self.fields[name]
        if not isinstance(found, str) or len(found) > TEXT_MAX:
            raise ProfileError(f"{self.at(name)}: expected a text of at most {TEXT_MAX} letters, got {shown(found)}")
        return found.strip()

    def flag(self, name: str) -> bool:
        """A truth, however spelled; absent is false."""
        found = self.fields.get(name)
        spelled = "" if found is None else str(found).strip().lower()
        if spelled not in _WORDS:
            raise ProfileError(f"{self.at(name)}: expected true or false, got {shown(found)}")
        return _WORDS[spelled]

    def positive(self, name: str) -> float:
        """A finite number above zero."""
        number = self._number(name)
        if number <= 0:
            raise ProfileError(f"{self.at(name)}: expected a number above 0, got {shown(self.fields[name])}")
        return number

    def positive_or_none(self, name: str) -> float | None:
        """A finite number above zero, or None where there is nothing."""
        return self.positive(name) if self.has(name) else None

    def whole(self, name: str) -> int:
        """A whole number of at least one."""
        number = self.positive(name)
        if not number.is_integer():
            raise ProfileError(f"{self.at(name)}: expected a whole number, got {shown(self.fields[name])}")
        return int(number)

    def whole_or_none(self, name: str) -> int | None:
        """A whole number of at least one, or None."""
        return self.whole(name) if self.has(name) else None

    def count(self, name: str) -> int:
        """A whole number that may be zero; absent is zero."""
        return 0 if not self.has(name) or self._number(name) == 0 else self.whole(name)

    def day(self, name: str) -> date | None:
        """A date, with or without a time of day after it, or None."""
        found = self.fields.get(name)
        if not self.has(name):
            return None
        match = _DATE.fullmatch(str(found).strip())
        if match is None:
            raise ProfileError(f"{self.at(name)}: expected a date such as 2026-11-24, got {shown(found)}")
        try:
            return date(int(match[1]), int(match[2]), int(match[3]))
        except ValueError as error:
            raise ProfileError(f"{self.at(name)}: no such day: {shown(found)}") from error

    def row(self, name: str) -> "Row | None":
        """An object inside this one, or None."""
        found = self.fields.get(name)
        return Row(found, self.at(name)) if isinstance(found, Mapping) else None

    def _number(self, name: str) -> float:
        if not self.has(name):
            raise ProfileError(f"{self.at(name)}: missing")
        found = self.fields[name]
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        if not is_number and not (isinstance(found, str) and self.is_text and _NUMBER.fullmatch(found)):
            raise ProfileError(f"{self.at(name)}: expected a number, got {shown(found)}")
        try:
            number = float(found)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise ProfileError(f"{self.at(name)}: expected a finite number, got {shown(found)}")
        return number


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str)
