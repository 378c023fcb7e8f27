"""Which revision of each input applies at a moment; pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from app.planning.inputs import Revision

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class InForce:
    """The latest revision of every input at one moment; withdrawn ones are not in it.

    Attributes:
        revisions: by subject and name.
    """

    revisions: Mapping[tuple[str, str], Revision]

    def value(self, name: str, subjects: Iterable[str], default: T) -> T:
        """The first value that one of ``subjects`` has; its type is that of the input's rule."""
        for subject in subjects:
            found = self.revisions.get((subject, name))
            if found is not None:
                return cast(T, found.value)
        return default

    def of_kind(self, kind: str, name: str) -> dict[str, Any]:
        """Every value of an input by what follows ``kind:`` in its subject."""
        prefix = f"{kind}:"
        return {
            subject.removeprefix(prefix): revision.value
            for (subject, each), revision in self.revisions.items()
            if each == name and subject.startswith(prefix)
        }


def in_force(revisions: Iterable[Revision], at_us: int) -> InForce:
    """The latest of each input that has come into force by ``at_us``; of one moment the one written last.

    Args:
        revisions: in any order.
        at_us: µs since the epoch.
    """
    latest: dict[tuple[str, str], Revision] = {}
    for each in revisions:
        key = (each.subject, each.name)
        if each.effective_at_us <= at_us and (key not in latest or _age(latest[key]) < _age(each)):
            latest[key] = each
    return InForce({key: each for key, each in latest.items() if each.value is not None})


def _age(revision: Revision) -> tuple[int, int]:
    return revision.effective_at_us, revision.sequence
