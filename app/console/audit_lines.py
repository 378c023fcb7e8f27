"""A record of the audit log, field by field: what was, what is, and nothing that stayed as it was; pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

DEPTH_MAX = 6
SEPARATOR = " · "


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One field that changed; empty where it was not, or no longer is."""

    name: str
    was: str
    now: str


def audit_lines(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[AuditLine, ...]:
    """What a record says changed, in the order in which it was recorded.

    >>> audit_lines({"a": {"x": 1, "y": 2}}, {"a": {"x": 1, "y": 3}, "b": ["p", "q"], "c": None})
    (AuditLine(name='a · y', was='2', now='3'), AuditLine(name='b', was='', now='p, q'))
    """
    was, now = dict(_leaves(before)), dict(_leaves(after))
    names = dict.fromkeys((*was, *now))
    lines = (AuditLine(name, was.get(name, ""), now.get(name, "")) for name in names)
    return tuple(line for line in lines if line.was != line.now)


def _leaves(fields: Mapping[str, object], head: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    for key, value in fields.items():
        name = f"{head}{SEPARATOR}{key}" if head else key
        if isinstance(value, Mapping) and depth < DEPTH_MAX:
            yield from _leaves(cast("Mapping[str, object]", value), name, depth + 1)
        elif isinstance(value, list):
            yield name, ", ".join(map(str, cast("Sequence[object]", value)))
        else:
            yield name, "" if value is None else str(value)
