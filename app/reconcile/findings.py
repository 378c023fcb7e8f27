"""What reconciliation can find, and how it is told; pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

FINDINGS_KEPT_MAX = 50
"""Findings told in full per check; more are counted."""


class Severity(StrEnum):
    """How bad a finding is."""

    DRIFT = "drift"
    """The books contradict themselves or what was delivered: money is wrong somewhere."""
    ATTENTION = "attention"
    """The books are right, but something waits for an operator."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        where: the row at fault, for example ``account wallet:cus_a``.
        what: what is wrong, with the numbers.
        amount: how much, in nano-USD: found less expected; None where it is no amount.
    """

    where: str
    what: str
    amount: int | None = None
    severity: Severity = Severity.DRIFT


@dataclass(slots=True)
class Check:
    """One question put to the books.

    Attributes:
        id: ``R1`` … ``R5``, or ``chain``.
        title: what is held true.
        counted: rows looked at.
        skipped: rows that could not be checked any more, such as answers whose timeline was erased.
        findings: the first of them; ``found`` counts all.
    """

    id: str
    title: str
    counted: int = 0
    skipped: int = 0
    found: int = 0
    drifted: int = 0
    findings: list[Finding] = field(default_factory=list[Finding])

    def add(self, findings: Iterable[Finding]) -> None:
        """Notes findings; keeps the first :data:`FINDINGS_KEPT_MAX`."""
        for finding in findings:
            self.found += 1
            self.drifted += finding.severity is Severity.DRIFT
            if len(self.findings) < FINDINGS_KEPT_MAX:
                self.findings.append(finding)


@dataclass(frozen=True, slots=True)
class Report:
    """Every check of one run, over one snapshot of the database."""

    at_us: int
    checks: tuple[Check, ...]

    @property
    def is_balanced(self) -> bool:
        """True when no check found drift."""
        return not any(check.drifted for check in self.checks)

    @property
    def found(self) -> int:
        """Findings of all checks."""
        return sum(check.found for check in self.checks)
