"""Numbers on axes and in labels: short, in digits that a reader can hold."""

from collections.abc import Iterable
from datetime import date

from pricing.profiles import Provenance

STEPS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
SOURCES_SHOWN = 3


def compact(value: float) -> str:
    """A number with a letter for its thousands.

    >>> compact(12_500_000), compact(2_000), compact(150), compact(0.05)
    ('12.5M', '2k', '150', '0.05')
    """
    for size, letter in STEPS:
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def dollars(value: float) -> str:
    """Dollars in three significant digits, never as a power of ten.

    >>> dollars(0.0087), dollars(2.488583), dollars(1234.6), dollars(0.000123), dollars(-0.02), dollars(0)
    ('$0.00870', '$2.49', '$1,235', '$0.000123', '−$0.0200', '$0')
    """
    sign, size = "−" if value < 0 else "", abs(value)
    if size == 0:
        return "$0"
    if size >= 1_000:  # noqa: PLR2004 (three digits and a comma)
        return f"{sign}${size:,.0f}"
    digits = max(2 - _magnitude(size), 0)
    return f"{sign}${size:.{digits}f}"


def _magnitude(size: float) -> int:
    return int(f"{size:.2e}".split("e")[1])


def source_line(provenances: Iterable[Provenance], titles: dict[str, str]) -> str:
    """Who measured, modelled or declared what is shown, and from when to when it was.

    Args:
        provenances: of every point shown.
        titles: what the source keys of shipped tables stand for.
    """
    points = list(provenances)
    bases = [str(basis) for basis in dict.fromkeys(sorted(point.basis for point in points))]
    names = [_short(titles.get(name, name)) for name in sorted({point.source for point in points})]
    shown = names[:SOURCES_SHOWN]
    more = f" and {len(names) - SOURCES_SHOWN} more" if len(names) > SOURCES_SHOWN else ""
    return f"{' and '.join(bases).capitalize()}: {'; '.join(shown)}{more}.{_days(points)}"


def _short(title: str) -> str:
    return title.split(", via ", maxsplit=1)[0].split(", systems/", maxsplit=1)[0]


def _days(points: list[Provenance]) -> str:
    days: list[date] = sorted(point.measured_on for point in points if point.measured_on)
    undated = sum(point.measured_on is None for point in points)
    without = f" {undated} of {len(points)} points bear no date." if undated else ""
    if not days:
        return " No point bears a date."
    span = f" Run on {days[0]}." if days[0] == days[-1] else f" Run from {days[0]} to {days[-1]}."
    return span + without
