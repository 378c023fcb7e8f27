"""Why an import did not happen: every bad row found, with its file, its place in it and the reason."""

from dataclasses import dataclass

PROBLEMS_SHOWN_MAX = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        file: name of the file, without its folder.
        where: ``line 7`` of a table, the JSON path of a value such as ``$[3]``, or empty for the whole file.
        reason: what is wrong, the value, and what to do.
    """

    file: str
    where: str
    reason: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.where, self.reason) if part)


class ImportRefused(Exception):
    """Nothing was imported, because of at least one problem."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        shown = [str(problem) for problem in problems[:PROBLEMS_SHOWN_MAX]]
        if len(problems) > PROBLEMS_SHOWN_MAX:
            shown.append(f"and {len(problems) - PROBLEMS_SHOWN_MAX} more")
        super().__init__("nothing was imported:\n  " + "\n  ".join(shown))
        self.problems = problems
