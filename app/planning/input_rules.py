"""What an input's value may be: a range in words, and the check that keeps it; pure."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from pricing.accuracy_table import accuracy_from_csv
from pricing.demand_document import demand_from_json
from pricing.hardware import Buildup, Ownership, built_up
from pricing.modes import ModeName
from pricing.profile_document import profile_from_document
from pricing.quality import LEVELS, Floor
from pricing.slo import Tier
from pricing.usage import TokenClass

ROUNDING: Final = 1e-9
FIGURE_MAX: Final = 1e12
USD_PER_MTOK_MAX: Final = 1e6
BAND_MAX: Final = 100.0
KEYS_MAX: Final = 200


class InputError(ValueError):
    """An input that does not exist, or a value outside what it can mean; the message names the range."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A range.

    Attributes:
        allowed: in words.
        check: answers the value as it is stored, or raises ``ValueError``.
    """

    allowed: str
    check: Callable[[object], Any]


def between(least: float, most: float) -> Rule:
    """A number from ``least`` to ``most``."""
    return Rule(f"a number from {least:,g} to {most:,.10g}", lambda value: _number(value, least, most))


def above(least: float, most: float) -> Rule:
    """A number above ``least``, at most ``most``."""

    def check(value: object) -> float:
        number = _number(value, least, most)
        if number == least:
            raise InputError
        return number

    return Rule(f"a number above {least:,g}, at most {most:,.10g}", check)


def whole(least: int, most: int) -> Rule:
    """A whole number from ``least`` to ``most``."""

    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise InputError
        return value

    return Rule(f"a whole number from {least:,} to {most:,}", check)


def shares_of_tier(served: str, value: object) -> dict[str, float]:
    """Shares of one tier's tokens by the tier whose deadline they met: some of its own, none of a better one.

    Raises:
        InputError: they are none.
    """
    if not isinstance(value, Mapping):
        raise InputError("no object")
    if unknown := sorted(set(map(str, value)) - set(Tier)):
        raise InputError(f"unknown tier {', '.join(unknown)}")
    shares = {str(tier): _number(share, 0, 1) for tier, share in value.items()}
    better = [tier for tier in shares if Tier(tier).rank < Tier(served).rank]
    if not shares.get(served) or better:
        raise InputError(f"{served} needs a share in (0, 1] of its own, and shares only of lower tiers")
    if math.fsum(shares.values()) > 1 + ROUNDING:
        raise InputError(f"the shares of {served} sum to {math.fsum(shares.values()):.6g}, at most 1")
    return shares


def shares_by_tier(value: object) -> dict[str, dict[str, float]]:
    """Such shares by tier served.

    Raises:
        InputError: they are none.
    """
    if not isinstance(value, Mapping) or not value:
        raise InputError("no object")
    if unknown := sorted(set(map(str, value)) - set(Tier)):
        raise InputError(f"unknown tier {', '.join(unknown)}")
    return {str(served): shares_of_tier(str(served), shares) for served, shares in value.items()}


def _number(value: object, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError("no number")
    if not (least <= value <= most and math.isfinite(value)):
        raise InputError
    return float(value)


def _ownership(value: object) -> str:
    return Ownership(str(value)).value


def _mode(value: object) -> str:
    return ModeName(str(value)).value


def _precision(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise InputError("no name")
    return Floor(precision=value.strip().lower()).precision


def _scores(value: object) -> dict[str, float]:
    """Least scores by benchmark."""
    return _numbers(value, 0, 1)


def _counts(value: object) -> dict[str, float]:
    """Accelerators by hardware."""
    counts = _numbers(value, 0, FIGURE_MAX)
    if none := sorted(name for name, count in counts.items() if count == 0):
        raise InputError(f"{', '.join(none)}: above 0")
    return counts


def _numbers(value: object, least: float, most: float) -> dict[str, float]:
    if not isinstance(value, Mapping) or not value:
        raise InputError("no object")
    if len(value) > KEYS_MAX or not all(isinstance(name, str) and name == name.strip() != "" for name in value):
        raise InputError(f"1 to {KEYS_MAX} names")
    return {str(name): _number(each, least, most) for name, each in value.items()}


def _band(value: object) -> list[float]:
    if not isinstance(value, list) or len(value) != 2:  # noqa: PLR2004 (two ends)
        raise InputError("no two numbers")
    low, high = (_number(each, 0, BAND_MAX) for each in value)
    if not 0 < low <= high:
        raise InputError(f"{low:g} is not above 0 and at most {high:g}")
    return [low, high]


def _demand(value: object) -> dict[str, Any]:
    """The document as it was given, read once to see that it can be."""
    if not isinstance(value, dict):
        raise InputError("no object")
    document: dict[str, Any] = value
    demand_from_json(json.dumps(document))
    return document


def _class_rates(value: object) -> dict[str, dict[str, float]]:
    if not isinstance(value, Mapping) or not value:
        raise InputError("no object")
    if unknown := sorted(set(map(str, value)) - set(Tier)):
        raise InputError(f"unknown tier {', '.join(unknown)}")
    found = {str(tier): _numbers(rates, 0, USD_PER_MTOK_MAX) for tier, rates in value.items()}
    if unknown := sorted({name for rates in found.values() for name in rates} - set(TokenClass)):
        raise InputError(f"unknown token class {', '.join(unknown)}; there are {', '.join(TokenClass)}")
    return found


def _accuracy(value: object) -> str:
    """The table as it was given, read once to see that it can be."""
    if not isinstance(value, str):
        raise InputError("no text")
    accuracy_from_csv(value)
    return value


def _buildup(value: object) -> dict[str, float]:
    """A build-up that comes to a cost above nothing."""
    if not isinstance(value, Mapping):
        raise InputError("no object")
    known = {each.name for each in fields(Buildup)}
    if unknown := sorted(set(map(str, value)) - known):
        raise InputError(f"unknown {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    if lacking := sorted({"capex_usd", "life_years", "it_kw", "usd_per_kwh"} - set(map(str, value))):
        raise InputError(f"{', '.join(lacking)} missing")
    numbers = {str(name): _number(each, 0, FIGURE_MAX) for name, each in value.items()}
    built_up("hardware", Buildup(**numbers))
    return numbers


def _profile(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError("no object")
    document: dict[str, Any] = value
    profile_from_document(document)
    return document


def _as_given(value: object) -> object:
    """Whatever it is: its subject decides what it must be."""
    return value


SHARE: Final = above(0, 1)
ATTAINMENT: Final = Rule(
    'shares in [0, 1] that sum to at most 1, such as {"premium": 0.95, "standard": 0.03}; of a model one such object '
    "by tier",
    _as_given,
)
PRECISION: Final = Rule(
    f"a precision such as fp8 ({' < '.join(next((n for n in names if '_' not in n), names[0]) for names in LEVELS)})",
    _precision,
)
SCORES: Final = Rule('least scores by benchmark from 0 to 1, such as {"gpqa": 0.7}', _scores)
MODE: Final = Rule(" or ".join(", ".join(ModeName).rsplit(", ", 1)), _mode)
BAND: Final = Rule("two multiples of the median list price, such as [0.8, 1.2]", _band)
DEMAND: Final = Rule("a demand document (goodput-demand/1)", _demand)
COUNTS: Final = Rule('accelerators by hardware, such as {"b200": 64}', _counts)
CLASS_RATES: Final = Rule('USD per Mtok by tier and class, such as {"standard": {"input": 0.25}}', _class_rates)
ACCURACY: Final = Rule("a table of accuracy figures (CSV)", _accuracy)
OWNERSHIP: Final = Rule("hyperscaler, neocloud or rental", _ownership)
BUILDUP: Final = Rule("an object with capex_usd, life_years, it_kw and usd_per_kwh at least", _buildup)
PROFILE: Final = Rule("a profile document (goodput-profile/1)", _profile)
