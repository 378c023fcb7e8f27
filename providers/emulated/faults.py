"""What can be made to go wrong on purpose, and to which requests it happens."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final

STALL_S_MAX: Final = 3_600.0
SLOWDOWN_MAX: Final = 10_000.0
TOKENS_MAX: Final = 10_000_000
REQUESTS_MAX: Final = 1_000_000_000
RETRY_AFTER_S_MAX: Final = 86_400.0


class FaultError(ValueError):
    """A fault that cannot be: an unknown field, a value of the wrong kind or out of range."""


def _within(name: str, value: float | None, least: float, most: float) -> None:
    if value is not None and not least <= value <= most:
        raise FaultError(f"{name} must be {least:g} to {most:g}, got {value:g}")


class UsageFault(StrEnum):
    """What is wrong with the usage reported."""

    NORMAL = "normal"
    MISSING = "missing"
    WRONG = "wrong"
    REPEATED = "repeated"


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to misbehave; all parts that are set happen together. The default does nothing.

    Attributes:
        slowdown: the engine runs so many times slower, for every request, from now on.
        status: answer with this HTTP error instead (400–599); 429 and 503 carry ``Retry-After``.
        retry_after_s: what ``Retry-After`` says.
        stall_at_token: fall silent before this token (0 is the first); None never.
        stall_s: for how long.
        close_at_token: cut the connection before this token.
        garbage_at_token: send bytes that are not the protocol before this token, then cut the connection.
        error_at_token: send an error event before this token and end the stream there.
        usage: what is wrong with the usage reported.
        share: of requests, how many it happens to; evenly spread.
        requests: it happens to so many and then never again; None without end.
    """

    slowdown: float = 1.0
    status: int | None = None
    retry_after_s: float = 1.0
    stall_at_token: int | None = None
    stall_s: float = STALL_S_MAX
    close_at_token: int | None = None
    garbage_at_token: int | None = None
    error_at_token: int | None = None
    usage: UsageFault = UsageFault.NORMAL
    share: float = 1.0
    requests: int | None = None

    def __post_init__(self) -> None:
        _within("slowdown", self.slowdown, 0.001, SLOWDOWN_MAX)
        _within("status", self.status, 400, 599)
        _within("retry_after_s", self.retry_after_s, 0.0, RETRY_AFTER_S_MAX)
        _within("stall_s", self.stall_s, 0.0, STALL_S_MAX)
        _within("share", self.share, 0.0, 1.0)
        _within("requests", self.requests, 0, REQUESTS_MAX)
        for name in ("stall_at_token", "close_at_token", "garbage_at_token", "error_at_token"):
            _within(name, getattr(self, name), 0, TOKENS_MAX)

    def ends_at(self) -> int | None:
        """The token before which the answer breaks off; None when it does not."""
        ends = [at for at in (self.close_at_token, self.garbage_at_token, self.error_at_token) if at is not None]
        return min(ends, default=None)


NO_FAULT: Final = Fault()


class FaultPlan:
    """Hands each request its fault: spreads a share evenly and stops after the requested number."""

    def __init__(self, fault: Fault = NO_FAULT) -> None:
        self.fault = fault
        self._due = 0.0
        self._left = fault.requests

    def next(self) -> Fault:
        """The fault of the next request; the engine's speed is not in it."""
        if self._left == 0:
            return NO_FAULT
        self._due += self.fault.share
        if self._due < 1.0:
            return NO_FAULT
        self._due -= 1.0
        if self._left is not None:
            self._left -= 1
        return self.fault

    def document(self) -> dict[str, Any]:
        """The fault in force, JSON-ready."""
        return asdict(self.fault) | {"requests_left": self._left}


def read_fault(document: object) -> Fault:
    """Reads a fault from its JSON form; fields that are left out do nothing.

    Raises:
        FaultError: an unknown field, a value of the wrong kind or out of range.

    >>> read_fault({"status": 503, "share": 0.5}).status
    503
    """
    if not isinstance(document, Mapping):
        raise FaultError(f"a fault is a JSON object, got {json.dumps(document)[:80]}")
    known = {field.name for field in fields(Fault)}
    unknown = sorted(str(name) for name in document if name not in known)
    if unknown:
        raise FaultError(f"unknown fields {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    return replace(NO_FAULT, **{name: _value(name, value) for name, value in document.items()})


_WHOLE: Final = frozenset(
    {"status", "stall_at_token", "close_at_token", "garbage_at_token", "error_at_token", "requests"}
)
_OPTIONAL: Final = _WHOLE


def _value(name: str, value: object) -> object:
    if value is None and name in _OPTIONAL:
        return None
    if name == "usage":
        if value not in set(UsageFault):
            raise FaultError(f"usage must be one of {', '.join(UsageFault)}, got {value!r}")
        return UsageFault(str(value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FaultError(f"{name} must be a number, got {value!r}")
    if name in _WHOLE and not isinstance(value, int):
        raise FaultError(f"{name} must be a whole number, got {value!r}")
    return value
