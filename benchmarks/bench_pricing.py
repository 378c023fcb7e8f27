"""What a price costs to work out: loading the shipped points, one frontier, every model's prices, the optimiser.

Run as ``python -m benchmarks.bench_pricing``; prints JSON. Figures are CPU times on one thread, the least of a few
rounds; beside each stands the aim, and where there is one a baseline that was measured in the same run. Peak memory is
that of a fresh process which does all of it once, and of one that only imports numpy and scipy.
"""

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator

from pricing.anchors import list_prices
from pricing.assumptions import Assumptions
from pricing.candidates import FrontierError, candidates
from pricing.demand import TierTerms
from pricing.demand_document import drawn_buyers, shipped_demand, temperature
from pricing.derive import derive
from pricing.frontier import frontier
from pricing.hardware import hardware_costs
from pricing.modes import Anchored, CostPlus, Mode, ModeError, Optimised
from pricing.optimize import optimise
from pricing.price_response import Market, Resource
from pricing.profiles import LengthClass, Profile, cleaned
from pricing.shipped import parameters_billion, shipped_profiles
from pricing.slo import Tier
from pricing.tables import DATA_DIR

MODEL, LENGTHS = "gpt-oss-120b", LengthClass(8192, 1024)
SPEEDS = np.linspace(60.0, 300.0, 9)
ROUNDS = 5
USD = 0.2
TERMS = TierTerms(tuple(Tier), (336.0, 152.0, 28.0), 152.0, (2.0, 3.0, 900.0), (0.03, 0.03, 0.03))
COSTS = (0.19, 0.05, 0.018)
USE = (0.1, 0.03, 0.0126)
AMPLE, SCARCE = 1_000.0, 20.0
KIB_PER_MIB = 1_024
PEAK = "{};print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
IMPORTS = "import numpy,scipy.optimize,scipy.interpolate"


def measure() -> dict[str, Any]:
    """All of it; seconds and milliseconds of CPU."""
    profiles = shipped_profiles()
    return {
        "load": _load(profiles),
        "frontier": _frontier(profiles),
        "derive": {type(mode).__name__: _derive(profiles, mode) for mode in _modes()},
        "optimiser": _optimiser(),
        "peak_memory": _memory(),
    }


def everything() -> None:
    """Each of them once, for its peak memory."""
    profiles = shipped_profiles()
    for mode in _modes():
        _derive(profiles, mode)
    _optimise(SCARCE)


def _load(profiles: tuple[Profile, ...]) -> dict[str, Any]:
    spent_s, bare_s = _least_s(shipped_profiles), _least_s(_bare_rows)
    return {
        "points": sum(len(profile.points) for profile in profiles),
        "cpu_s": round(spent_s, 3),
        "csv_module_s": round(bare_s, 3),
        "ratio": round(spent_s / bare_s, 1),
        "aim_s": 0.5,
    }


def _bare_rows() -> int:
    """The same file through the csv module alone."""
    with (DATA_DIR / "operating_points.csv").open(newline="", encoding="utf-8") as file:
        return len(list(csv.reader(file)))


def _frontier(profiles: tuple[Profile, ...]) -> dict[str, Any]:
    usable, costs, parameters = cleaned(profiles), hardware_costs("hyperscaler"), parameters_billion()

    def drawn() -> None:
        found = candidates(usable, MODEL, LENGTHS, costs, parameters_billion=parameters)
        curve = frontier(found.points)
        curve.yields(SPEEDS)
        curve.goldilocks()

    curve = frontier(candidates(usable, MODEL, LENGTHS, costs, parameters_billion=parameters).points)
    spent_s = _least_s(drawn)
    bare_s = _least_s(lambda: PchipInterpolator(curve.x, np.log(curve.y))(SPEEDS))
    return {
        "points_on_it": len(curve.points),
        "cpu_ms": round(spent_s * 1e3, 2),
        "pchip_alone_ms": round(bare_s * 1e3, 2),
        "ratio": round(spent_s / bare_s, 1),
        "aim_ms": 50,
    }


def _modes() -> tuple[Mode, ...]:
    listed = list_prices()
    return CostPlus(), Anchored(listed), Optimised(shipped_demand(), listed)


def _derive(profiles: tuple[Profile, ...], mode: Mode) -> dict[str, Any]:
    """Tiers and prices of every model in every class that was measured; those that cannot be priced say why."""
    costs, parameters = hardware_costs("hyperscaler"), parameters_billion()
    classes = sorted({(each.model, lengths) for each in profiles for lengths in each.classes})
    priced, refused = 0, 0
    began_s = time.process_time()
    for model, lengths in classes:
        given = Assumptions(lengths=lengths, parameters_billion=parameters, mode=mode)
        try:
            priced += len(derive(model, profiles, costs, given).tiers)
        except (FrontierError, ModeError):
            refused += 1
    spent_s = time.process_time() - began_s
    return {"classes": len(classes), "refused": refused, "tiers": priced, "cpu_s": round(spent_s, 2), "aim_s": 10}


def _optimiser() -> dict[str, Any]:
    return {name: _optimise(amount) for name, amount in (("ample", AMPLE), ("scarce", SCARCE))}


def _optimise(amount: float) -> dict[str, Any]:
    model = shipped_demand()
    buyers = drawn_buyers(model, USD)
    scarce = (Resource("b200", USE, amount),)
    market = Market(buyers, TERMS, COSTS, temperature(model, buyers), scarce)
    began_s = time.process_time()
    found = optimise(market)
    spent_s = time.process_time() - began_s
    return {
        "types": buyers.types,
        "cpu_s": round(spent_s, 2),
        "converged": found.is_converged,
        "used": round(found.used["b200"], 4),
        "aim_s": 2,
    }


def _memory() -> dict[str, Any]:
    """Peaks of fresh processes, MiB, as Linux tells them: ``ru_maxrss`` would start from this process's own."""
    ours, bare = (
        _peak_mib(work) for work in (f"{IMPORTS};from benchmarks.bench_pricing import everything;everything()", IMPORTS)
    )
    return {"mib": ours, "numpy_and_scipy_mib": bare, "aim_mib": 500}


def _peak_mib(work: str) -> int:
    told = subprocess.run([sys.executable, "-c", PEAK.format(work)], capture_output=True, text=True, check=True)
    return round(int(told.stdout) / KIB_PER_MIB)


def _least_s(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        began_s = time.process_time()
        work()
        best = min(best, time.process_time() - began_s)
    return best


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
