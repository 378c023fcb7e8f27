"""First-token and per-token times out of named fields, in seconds; a unit is read, never guessed.

A field such as ``p99_ttft_ms`` or ``tpot_p50_ms`` says what, which statistic, and in which unit. Where a format's own
definition gives the unit of bare names, a witness must agree: the interactivity 1 / TPOT stated beside it, or the
throughput (Little's law). All times of a row are in one unit.
"""

import re
from dataclasses import dataclass
from types import MappingProxyType

from pricing.document_reader import shown
from pricing.profile_document import INTERACTIVITY_TOLERANCE
from pricing.profiles import ProfileError
from providers.importers.row import Row

PER_SECOND = MappingProxyType({"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000})
QUANTITIES = frozenset({"ttft", "tpot", "itl", "e2el"})
STATISTICS = MappingProxyType({"median": "p50", "p50": "p50", "mean": "mean", "avg": "mean", "p99": "p99"})
MEDIAN_FIRST = ("p50", "mean", "")
UNITLESS = "-"
_THOUSAND = (300.0, 3_000.0)


@dataclass(frozen=True, slots=True)
class Latencies:
    """Times of one row, in seconds.

    Attributes:
        statistic: what ``tpot_s`` is: ``p50``, ``mean``, or empty where the row does not say.
        ttft_s: median, else mean, else the one statistic known.
        e2e_tokens: mean tokens per answer that the mean times tell of, (e2e − ttft) / tpot + 1; None without them.
    """

    statistic: str
    ttft_s: float
    tpot_s: float
    ttft_s_p99: float | None
    tpot_s_p99: float | None
    e2e_tokens: float | None


def latencies(row: Row, bare_unit: str | None) -> Latencies:
    """Reads the times of a row.

    Args:
        row: with at least a TTFT and a TPOT.
        bare_unit: unit of names without one by the format's definition; None refuses them.

    Raises:
        ProfileError: times missing, in several units, without a unit, or given twice.
    """
    named = _named(row)
    unit = _one_unit(row, named, bare_unit)
    seconds = {key: row.positive(name) / PER_SECOND[unit] for key, (name, _) in named.items() if key[1] in _KEPT}
    statistic, tpot_s = _central(row, seconds, "tpot")
    return Latencies(
        statistic=statistic,
        ttft_s=_central(row, seconds, "ttft")[1],
        tpot_s=tpot_s,
        ttft_s_p99=seconds.get(("ttft", "p99")),
        tpot_s_p99=seconds.get(("tpot", "p99")),
        e2e_tokens=_e2e_tokens(seconds),
    )


_KEPT = frozenset({"p50", "mean", "p99", ""})


def _named(row: Row) -> dict[tuple[str, str], tuple[str, str]]:
    """(quantity, statistic) to the field's name and its unit."""
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for name in row.fields:
        read = _read_name(name)
        if read is None or not row.has(name):
            continue
        quantity, statistic, unit = read
        if (quantity, statistic) in found:
            other = found[quantity, statistic][0]
            raise ProfileError(f"{row.at(name)}: says the same as {other}; keep one of them")
        found[quantity, statistic] = (name, unit)
    return found


def _read_name(name: str) -> tuple[str, str, str] | None:
    parts = name.lower().split("_")
    quantity = [part for part in parts if part in QUANTITIES]
    units = [part for part in parts if part in PER_SECOND]
    statistics = [part for part in parts if part in STATISTICS]
    if len(quantity) != 1 or len(parts) != len(quantity) + len(units) + len(statistics):
        return None
    if len(units) > 1 or len(statistics) > 1:
        return None
    return quantity[0], STATISTICS[statistics[0]] if statistics else "", units[0] if units else UNITLESS


def _one_unit(row: Row, named: dict[tuple[str, str], tuple[str, str]], bare_unit: str | None) -> str:
    by_unit = {unit: name for name, unit in named.values()}
    if len(by_unit) > 1:
        shown_units = ", ".join(
            f"{name} ({'no unit' if unit == UNITLESS else unit})" for unit, name in sorted(by_unit.items())
        )
        raise ProfileError(f"times in several units: {shown_units}; give all of them in one")
    unit = next(iter(by_unit), UNITLESS)
    if unit != UNITLESS:
        return unit
    if bare_unit is None and by_unit:
        raise ProfileError(f"{row.at(by_unit[UNITLESS])}: the name gives no unit; name it …_ms or …_s")
    return bare_unit or "s"


def _central(row: Row, seconds: dict[tuple[str, str], float], quantity: str) -> tuple[str, float]:
    for statistic in MEDIAN_FIRST:
        if (quantity, statistic) in seconds:
            return statistic, seconds[quantity, statistic]
    raise ProfileError(f"{row.at(quantity)}: missing: neither a median nor a mean of the {quantity.upper()} is given")


def _e2e_tokens(seconds: dict[tuple[str, str], float]) -> float | None:
    keys = (("e2el", "mean"), ("ttft", "mean"), ("tpot", "mean"))
    if not all(key in seconds for key in keys):
        return None
    e2e_s, ttft_s, tpot_s = (seconds[key] for key in keys)
    return (e2e_s - ttft_s) / tpot_s + 1


def check_interactivity(tpot_s: float, stated_tok_s_user: float, name: str) -> None:
    """Refuses a stated interactivity that is not 1 / TPOT.

    Raises:
        ProfileError: with both figures, and the likely unit where they are a thousandfold apart.
    """
    factor = stated_tok_s_user * tpot_s
    if abs(factor - 1) > INTERACTIVITY_TOLERANCE:
        raise ProfileError(
            f"{name}: {stated_tok_s_user:g} tok/s/user disagrees with 1 / TPOT = {1 / tpot_s:g} "
            f"at a TPOT of {tpot_s:g} s{unit_hint(factor)}"
        )


def unit_hint(factor: float) -> str:
    """What a factor of about a thousand between two figures means."""
    low, high = _THOUSAND
    return (
        "; is one of them in milliseconds where the other is in seconds?"
        if low < max(factor, 1 / factor) < high
        else ""
    )


def unit_seconds(unit: object, where: str) -> float:
    """Seconds of one unit of time as AIPerf and GenAI-Perf spell it.

    >>> unit_seconds("ms", "time_to_first_token.unit")
    0.001

    Raises:
        ProfileError: no unit, or not one of time.
    """
    spelled = re.sub(r"[^a-zµ]", "", str(unit).lower())
    names = {
        **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
        **dict.fromkeys(("ms", "millisecond", "milliseconds"), "ms"),
        **dict.fromkeys(("us", "µs", "microsecond", "microseconds"), "us"),
        **dict.fromkeys(("ns", "nanosecond", "nanoseconds"), "ns"),
    }
    if not isinstance(unit, str) or spelled not in names:
        raise ProfileError(f"{where}: expected a unit of time such as ms, got {shown(unit)}")
    return 1 / PER_SECOND[names[spelled]]
