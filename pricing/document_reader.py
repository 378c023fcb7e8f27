"""Takes typed fields out of an untrusted JSON object; every refusal names the path, the value and what is expected."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pricing.profiles import ProfileError

TEXT_MAX = 2_000
SHOWN_MAX = 80


class Reader:
    """One JSON object being read; a field is taken once, and what is left at the end was unknown."""

    def __init__(self, document: object, path: str = "") -> None:
        if not isinstance(document, Mapping):
            raise ProfileError(f"{path or 'the document'}: expected an object, got {shown(document)}")
        self._left: dict[str, Any] = {str(name): value for name, value in document.items()}
        self._path = path

    def at(self, name: str) -> str:
        """The path of a field, for messages."""
        return f"{self._path}.{name}" if self._path else name

    def take(self, name: str, *, optional: bool = False) -> object:
        """Takes a raw field; null and absent are the same for an optional one."""
        found = self._left.pop(name, None)
        if found is None and not optional:
            raise ProfileError(f"{self.at(name)}: missing")
        return found

    def finish(self) -> None:
        """Refuses whatever was not taken: a misspelt field would otherwise be silently ignored."""
        if self._left:
            names = ", ".join(self.at(name) for name in sorted(self._left))
            raise ProfileError(f"unknown fields: {names}; check their spelling and units")

    def section(self, name: str) -> "Reader":
        """Takes an object."""
        return Reader(self.take(name), self.at(name))

    def section_or_none(self, name: str) -> "Reader | None":
        """Takes an object that may be absent."""
        found = self.take(name, optional=True)
        return None if found is None else Reader(found, self.at(name))

    def sections(self, name: str, length_max: int) -> "list[Reader]":
        """Takes a list of at least one object."""
        found = self.take(name)
        if not isinstance(found, Sequence) or isinstance(found, str | bytes) or not found:
            raise ProfileError(f"{self.at(name)}: expected a list with at least one object, got {shown(found)}")
        if len(found) > length_max:
            raise ProfileError(f"{self.at(name)}: {len(found)} entries, at most {length_max}")
        return [Reader(each, f"{self.at(name)}[{index}]") for index, each in enumerate(found)]

    def text(self, name: str, default: str | None = None) -> str:
        """Takes a text; an empty one only where there is a default."""
        found = self.take(name, optional=default is not None)
        if found is None and default is not None:
            return default
        if not isinstance(found, str) or len(found) > TEXT_MAX or (default is None and not found.strip()):
            raise ProfileError(f"{self.at(name)}: expected a text of at most {TEXT_MAX} letters, got {shown(found)}")
        return found.strip()

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """Takes one of a few words."""
        found = self.take(name)
        if not isinstance(found, str) or found not in choices:
            raise ProfileError(f"{self.at(name)}: expected one of {', '.join(choices)}, got {shown(found)}")
        return found

    def whole(self, name: str, most: int) -> int:
        """Takes a whole number from 1 to ``most``."""
        found = self.take(name)
        if isinstance(found, bool) or not isinstance(found, int) or not 1 <= found <= most:
            raise ProfileError(f"{self.at(name)}: expected a whole number from 1 to {most}, got {shown(found)}")
        return found

    def _has(self, name: str) -> bool:
        """True when the field is there; a null counts as taken."""
        if self._left.get(name) is not None:
            return True
        self._left.pop(name, None)
        return False

    def whole_or_none(self, name: str, most: int) -> int | None:
        """Takes a whole number that may be absent."""
        return self.whole(name, most) if self._has(name) else None

    def positive(self, name: str, most: float) -> float:
        """Takes a finite number above 0, at most ``most``."""
        found = self.take(name)
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        if not (isinstance(found, int | float) and is_number and math.isfinite(found) and 0 < found <= most):
            hint = "; times are in seconds: is this in milliseconds?" if "_s_p" in name else ""
            raise ProfileError(
                f"{self.at(name)}: expected a number above 0, at most {most:g}, got {shown(found)}{hint}"
            )
        return float(found)

    def amount(self, name: str, most: float) -> float:
        """Takes a finite number from 0 to ``most``."""
        found = self.take(name)
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        if not (isinstance(found, int | float) and is_number and math.isfinite(found) and 0 <= found <= most):
            raise ProfileError(f"{self.at(name)}: expected a number from 0 to {most:g}, got {shown(found)}")
        return float(found)

    def amount_or_none(self, name: str, most: float) -> float | None:
        """Takes an amount that may be absent."""
        return self.amount(name, most) if self._has(name) else None

    def positive_or_none(self, name: str, most: float) -> float | None:
        """Takes a positive number that may be absent."""
        return self.positive(name, most) if self._has(name) else None


def shown(value: object) -> str:
    """A value as a message may show it: short."""
    text = repr(value)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"
