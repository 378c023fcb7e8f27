"""How commands are told what sets the level of prices: ``--mode`` and what each mode needs.

``cost_plus`` needs nothing, ``anchored`` takes ``--band``, ``optimised`` takes ``--demand``, ``--capacity``, ``--mw``.
``--rate TIER.CLASS=USD`` sets a rate of one token class whatever the mode says.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.failure import Failure

if TYPE_CHECKING:
    from pricing.derive import Derivation
    from pricing.modes import Mode
    from pricing.slo import Tier
    from pricing.usage import TokenClass

MODES = ("cost_plus", "anchored", "optimised")
MODE_HELP = "What sets the level of prices: cost_plus, anchored (list prices) or optimised (demand)."
BAND_HELP = "anchored: LOW:HIGH, multiples of the median list price.  [default: 0.8:1.2]"
DEMAND_HELP = "optimised: a demand file; left out, the documented defaults."
CAPACITY_HELP = "optimised: HARDWARE=COUNT there are for this model; repeatable."
MW_HELP = "optimised: power there is for this model, MW."
RATE_HELP = "Your own rate, TIER.CLASS=USD per million (class: input, cached, cache_write, output); repeatable."


def price_mode(
    mode: str, band: str | None, demand: Path | None, capacity: Sequence[str] | None, mw: float | None
) -> "Mode":
    """The mode that the options name.

    Raises:
        Failure: no such mode, an option of another mode, or a value that cannot be.
    """
    from pricing.anchors import list_prices
    from pricing.demand_document import demand_from_file, shipped_demand
    from pricing.modes import BAND, Anchored, CostPlus, Optimised

    name = mode.replace("-", "_")
    if name not in MODES:
        raise Failure(f"--mode is {', '.join(MODES[:-1])} or {MODES[-1]}, not {mode!r}")
    _refuse_foreign(name, {"--band": band}, "anchored")
    _refuse_foreign(name, {"--demand": demand, "--capacity": capacity, "--mw": mw}, "optimised")
    try:
        if name == "anchored":
            low, high = BAND if band is None else _band(band)
            return Anchored(list_prices(), low, high)
        if name == "optimised":
            given = shipped_demand() if demand is None else demand_from_file(demand)
            return Optimised(given, list_prices(), _counts(capacity or []), mw)
    except ValueError as error:
        raise Failure(str(error)) from error
    return CostPlus()


def _refuse_foreign(mode: str, options: dict[str, object], owner: str) -> None:
    for option, value in options.items():
        if value and mode != owner:
            raise Failure(f"{option} belongs to --mode {owner}; the mode is {mode}")


def _band(text: str) -> tuple[float, float]:
    low, _, high = text.partition(":")
    try:
        return float(low), float(high)
    except ValueError as error:
        raise Failure(f"--band {text!r}: expected LOW:HIGH, such as 0.8:1.2") from error


def _counts(texts: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in texts:
        name, _, count = text.partition("=")
        try:
            found[name.strip().lower()] = float(count)
        except ValueError as error:
            raise Failure(f"--capacity {text!r}: expected HARDWARE=COUNT, such as b200=64") from error
    return found


def class_rates(texts: Sequence[str]) -> "dict[Tier, dict[TokenClass, float]]":
    """Rates of single token classes that an operator sets.

    Raises:
        Failure: no such tier or class, or no number.
    """
    from pricing.slo import Tier
    from pricing.usage import TokenClass

    found: dict[Tier, dict[TokenClass, float]] = {}
    for text in texts:
        name, _, usd = text.partition("=")
        tier, _, kind = name.partition(".")
        try:
            found.setdefault(Tier(tier), {})[TokenClass(kind)] = float(usd)
        except ValueError as error:
            raise Failure(f"--rate {text!r}: expected TIER.CLASS=USD, such as standard.input=0.25 ({error})") from error
    return found


def level_lines(found: "Derivation") -> list[str]:
    """What a mode looked at and what came out, a line each."""
    levels = found.levels
    lines = [
        f"published for {tier}: median of {anchor.providers} at {found.lengths}: "
        f"{anchor.usd_per_mtok(found.lengths):.4g} USD/M"
        for tier, anchor in levels.anchors.items()
    ]
    if levels.optimum is not None:
        sold = ", ".join(f"{tier} {share:.1%}" for tier, share in levels.optimum.sold_share.items())
        used = "".join(f"; {name} used to {share:.1%}" for name, share in levels.optimum.used.items())
        state = "converged" if levels.optimum.is_converged else "NOT converged"
        lines.append(f"optimiser {state}: {levels.optimum.profit_usd_per_h:,.2f} USD/h over cost, sells {sold}{used}")
    return lines
