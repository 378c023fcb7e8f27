"""How much of which hardware to run: the cheapest fleet that serves every tier's demand, as a linear programme.

    minimise    Σ_h c_h · n_h
    subject to  Σ_o T_o · x_op = d_tp            every interactive tier t in every period p (o: the tier's options)
                Σ_p w_p Σ_o T_o · x_op = D_t     every deferrable tier t (bulk): only its total counts
                Σ_{o on h} x_op ≤ n_h            hardware h in every period
                n_h ≤ N_h,  Σ_h kW_h · n_h ≤ the site's power,  x, n ≥ 0

n_h is paid for around the clock, x_op is what runs where and when. Interactive tiers must be served as they come; a
deferrable tier takes what the troughs leave and adds hardware only when they do not suffice. Solved by HiGHS; n is
continuous, and ``replicas`` rounds it up to whole deployments.

**Shadow prices** are the duals: what one more unit would save or cost. A tier's marginal cost in a period is high where
its demand decides how much hardware there is, and zero where hardware idles: the basis of peak prices.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from pricing.slo import Tier

Floats = NDArray[np.float64]
S_PER_HOUR = 3_600
KW_PER_MW = 1_000
CELLS_MAX = 4_000_000
TIE = 1e-7
OPTIMAL, INFEASIBLE, UNBOUNDED = 0, 2, 3


class CapacityError(ValueError):
    """A demand, cap or option that cannot be, or a programme that the solver gave up on."""


class Status(StrEnum):
    """How a plan came out."""

    OPTIMAL = "optimal"
    INFEASIBLE = "infeasible"


@dataclass(frozen=True, slots=True)
class Hardware:
    """One kind of hardware that may be run.

    Attributes:
        usd_per_hour: of one accelerator.
        kw: all-in power of one; None where it is not known, which a power cap does not allow.
        count_max: how many there are; None for as many as needed.
    """

    name: str
    usd_per_hour: float
    kw: float | None = None
    count_max: float | None = None


@dataclass(frozen=True, slots=True)
class Option:
    """One way to serve a tier.

    Attributes:
        tok_s_per_gpu: input and output tokens per second per accelerator at the tier's promise, at full use.
        n_gpus: accelerators of one replica.
    """

    tier: Tier
    hardware: str
    tok_s_per_gpu: float
    deployment_id: str = ""
    n_gpus: int = 1


@dataclass(frozen=True, slots=True)
class Demand:
    """What must be served.

    Attributes:
        weights: share of time of each period; they sum to one.
        tok_s: by interactive tier, tokens per second in each period. Shape (periods,) each.
        deferrable_tok_s: by deferrable tier, tokens per second on average over all periods.
    """

    tok_s: Mapping[Tier, Sequence[float]]
    weights: Sequence[float] = (1.0,)
    deferrable_tok_s: Mapping[Tier, float] | None = None

    def __post_init__(self) -> None:
        weights, later = list(self.weights), dict(self.deferrable_tok_s or {})
        if not weights or min(weights) <= 0 or not math.isclose(math.fsum(weights), 1, rel_tol=1e-9):
            raise CapacityError(f"the periods' shares must be above 0 and sum to 1, got {weights}")
        for tier, values in self.tok_s.items():
            if len(values) != len(weights):
                raise CapacityError(f"{tier} has {len(values)} demands for {len(weights)} periods")
        if both := sorted(set(later) & set(self.tok_s)):
            raise CapacityError(f"{', '.join(both)} cannot be both interactive and deferrable")
        for tier, value in [(t, v) for t, values in self.tok_s.items() for v in values] + list(later.items()):
            if not (math.isfinite(value) and value >= 0):
                raise CapacityError(f"{tier}: a demand must be 0 or more tok/s, got {value}")


@dataclass(frozen=True, slots=True)
class Problem:
    """What there is, what may be done with it, what must be served, and the site's power.

    Attributes:
        mw_max: None for no cap.
    """

    hardware: tuple[Hardware, ...]
    options: tuple[Option, ...]
    demand: Demand
    mw_max: float | None = None

    def __post_init__(self) -> None:
        names = [each.name for each in self.hardware]
        if not self.hardware or len(set(names)) != len(names):
            raise CapacityError(f"needs hardware, each kind once, got {names}")
        for each in self.hardware:
            _check_hardware(each, self.mw_max)
        for option in self.options:
            if option.hardware not in names:
                raise CapacityError(f"{option.deployment_id or option.tier} runs on unknown hardware {option.hardware}")
            if not (math.isfinite(option.tok_s_per_gpu) and option.tok_s_per_gpu > 0 and option.n_gpus >= 1):
                raise CapacityError(f"an option needs tok_s_per_gpu > 0 and n_gpus >= 1, got {option}")
        if self.mw_max is not None and not (math.isfinite(self.mw_max) and self.mw_max >= 0):
            raise CapacityError(f"a power cap must be 0 or more MW, got {self.mw_max}")


def _check_hardware(each: Hardware, mw_max: float | None) -> None:
    if not (math.isfinite(each.usd_per_hour) and each.usd_per_hour > 0):
        raise CapacityError(
            f"{each.name}: an hour must cost more than 0 USD, got {each.usd_per_hour}; hardware that costs nothing or "
            "earns by standing there has no cheapest amount (the programme would be unbounded)"
        )
    if mw_max is not None and each.kw is None:
        raise CapacityError(f"{each.name}: its power is not known, so nothing can be promised under a power cap")
    for name, value, least in (("kw", each.kw, 1e-12), ("count_max", each.count_max, 0.0)):
        if value is not None and not (math.isfinite(value) and value >= least):
            raise CapacityError(f"{each.name}: {name} must be {'above' if least else 'at least'} 0, got {value}")


@dataclass(frozen=True, slots=True)
class Use:
    """What one option does.

    Attributes:
        gpus: running in each period. Shape (periods,).
        replicas: whole deployments that the busiest period needs.
    """

    option: Option
    gpus: tuple[float, ...]
    replicas: int


@dataclass(frozen=True, slots=True)
class Shadows:
    """Duals of an optimal plan; a constraint that does not bind has zero.

    Attributes:
        usd_per_mtok: by tier, the cost of a million tokens more, in each period (deferrable: the same in all).
        usd_per_gpu_hour: by hardware, what one more accelerator of a kind that is scarce would save an hour.
        usd_per_mw_hour: what one more megawatt would save an hour.
    """

    usd_per_mtok: Mapping[Tier, tuple[float, ...]]
    usd_per_gpu_hour: Mapping[str, float]
    usd_per_mw_hour: float


@dataclass(frozen=True, slots=True)
class Plan:
    """The cheapest fleet, or why there is none.

    Attributes:
        gpus: accelerators by hardware.
        mw: power drawn; None where it is not known.
        shadows: None when infeasible.
        unserved_tok_s: by tier, what no fleet within the caps can serve, on average over the periods; when infeasible.
        reason: empty when optimal.
    """

    status: Status
    usd_per_hour: float
    gpus: Mapping[str, float]
    mw: float | None
    uses: tuple[Use, ...]
    shadows: Shadows | None
    unserved_tok_s: Mapping[Tier, float]
    reason: str = ""


def plan(problem: Problem) -> Plan:
    """Finds the cheapest fleet.

    Raises:
        CapacityError: the programme is too large, or the solver gave up.
    """
    rows = _Rows(problem)
    result = linprog(rows.cost, rows.caps, rows.limits, rows.serving, rows.demands, rows.bounds, "highs")
    if result.status == INFEASIBLE:
        return _infeasible(problem, rows)
    if result.status != OPTIMAL:
        unbounded = "the programme is unbounded: " if result.status == UNBOUNDED else ""
        raise CapacityError(f"no plan was found: {unbounded}{result.message}")
    shadows = _shadows(
        problem,
        rows,
        served_usd=np.asarray(result.eqlin.marginals),
        power_usd=-float(result.ineqlin.marginals[-1]),
        count_usd=-np.asarray(result.upper.marginals),
    )
    return _plan(problem, rows, np.asarray(result.x), shadows)


class _Rows:
    """The programme in matrix form: variables n_h, then x_op; rows serve, fit, power.

    Attributes:
        serves: the tier and period of each demand row; period None for a deferrable tier.
    """

    def __init__(self, problem: Problem) -> None:
        self.hardware = [each.name for each in problem.hardware]
        self.periods = len(problem.demand.weights)
        self.width = len(self.hardware) + len(problem.options) * self.periods
        later = dict(problem.demand.deferrable_tok_s or {})
        self.serves: list[tuple[Tier, int | None]] = [
            *((tier, period) for tier in problem.demand.tok_s for period in range(self.periods)),
            *((tier, None) for tier in later),
        ]
        fits = len(self.hardware) * self.periods + 1
        height = len(self.serves) + fits
        if height * self.width > CELLS_MAX:
            raise CapacityError(f"{height} rows x {self.width} columns exceed {CELLS_MAX} cells; use fewer periods")
        self.serving = np.zeros((len(self.serves), self.width))
        self.demands = np.zeros(len(self.serves))
        self.caps = np.zeros((fits, self.width))
        self.limits = np.zeros(fits)
        self._serve(problem, later)
        self._fit(problem)
        self._power(problem)
        self.cost = np.zeros(self.width)
        self.cost[: len(self.hardware)] = [each.usd_per_hour for each in problem.hardware]
        free = [(0.0, None)] * (self.width - len(self.hardware))
        self.bounds: list[tuple[float, float | None]] = [*((0.0, each.count_max) for each in problem.hardware), *free]

    def column(self, option: int, period: int) -> int:
        """Where x_op stands."""
        return len(self.hardware) + option * self.periods + period

    def _serve(self, problem: Problem, later: Mapping[Tier, float]) -> None:
        weights = problem.demand.weights
        for row, (tier, period) in enumerate(self.serves):
            self.demands[row] = later[tier] if period is None else problem.demand.tok_s[tier][period]
            for index, option in enumerate(problem.options):
                if option.tier is not tier:
                    continue
                for each in range(self.periods):
                    if period in {None, each}:
                        weight = weights[each] if period is None else 1.0
                        self.serving[row, self.column(index, each)] = option.tok_s_per_gpu * weight

    def _fit(self, problem: Problem) -> None:
        for number, name in enumerate(self.hardware):
            for period in range(self.periods):
                row = number * self.periods + period
                self.caps[row, number] = -1.0
                for index, option in enumerate(problem.options):
                    if option.hardware == name:
                        self.caps[row, self.column(index, period)] = 1.0

    def _power(self, problem: Problem) -> None:
        """The last row; without a cap it says nothing."""
        if problem.mw_max is not None:
            self.caps[-1, : len(self.hardware)] = [each.kw or 0.0 for each in problem.hardware]
            self.limits[-1] = problem.mw_max * KW_PER_MW


def _plan(problem: Problem, rows: _Rows, x: Floats, shadows: Shadows | None) -> Plan:
    gpus = {name: max(0.0, float(count)) for name, count in zip(rows.hardware, x, strict=False)}
    known = all(each.kw is not None for each in problem.hardware)
    return Plan(
        status=Status.OPTIMAL,
        usd_per_hour=math.fsum(each.usd_per_hour * gpus[each.name] for each in problem.hardware),
        gpus=gpus,
        mw=math.fsum((each.kw or 0.0) * gpus[each.name] for each in problem.hardware) / KW_PER_MW if known else None,
        uses=tuple(_use(option, index, rows, x) for index, option in enumerate(problem.options)),
        shadows=shadows,
        unserved_tok_s={},
    )


def _use(option: Option, index: int, rows: _Rows, x: Floats) -> Use:
    running = tuple(max(0.0, float(x[rows.column(index, period)])) for period in range(rows.periods))
    return Use(option, running, math.ceil(max(running) / option.n_gpus - TIE))


def _shadows(problem: Problem, rows: _Rows, served_usd: Floats, power_usd: float, count_usd: Floats) -> Shadows:
    """Duals per unit: a demand row's is USD per hour for one tok/s more, that is for 3,600 tokens more."""
    weights = problem.demand.weights
    usd_per_mtok: dict[Tier, list[float]] = {}
    for row, (tier, period) in enumerate(rows.serves):
        usd = max(float(served_usd[row]), 0.0) / S_PER_HOUR * 1e6
        shares = [usd] * rows.periods if period is None else [usd / weights[period]]
        usd_per_mtok.setdefault(tier, []).extend(shares)
    return Shadows(
        usd_per_mtok={tier: tuple(values) for tier, values in usd_per_mtok.items()},
        usd_per_gpu_hour={name: max(float(count_usd[number]), 0.0) for number, name in enumerate(rows.hardware)},
        usd_per_mw_hour=max(power_usd, 0.0) * KW_PER_MW,
    )


def _infeasible(problem: Problem, rows: _Rows) -> Plan:
    """Says how much cannot be served: the least unserved tokens per second, weighted by time, within the caps."""
    weights = problem.demand.weights
    worth = [1.0 if period is None else weights[period] for _, period in rows.serves]
    unserving = np.zeros((len(rows.limits), len(rows.serves)))
    result = linprog(
        np.concatenate([np.zeros(rows.width), worth]),
        np.hstack([rows.caps, unserving]),
        rows.limits,
        np.hstack([rows.serving, np.eye(len(rows.serves))]),
        rows.demands,
        [*rows.bounds, *[(0.0, None)] * len(rows.serves)],
        "highs",
    )
    unserved: dict[Tier, float] = {}
    for (tier, _), share, short in zip(rows.serves, worth, result.x[rows.width :], strict=True):
        unserved[tier] = unserved.get(tier, 0.0) + share * float(short)
    unserved = {tier: short for tier, short in unserved.items() if short > TIE}
    told = ", ".join(f"{tier} {short:.4g} tok/s" for tier, short in unserved.items())
    return Plan(Status.INFEASIBLE, math.nan, {}, None, (), None, unserved, f"{_binding(problem)}; unserved: {told}")


def _binding(problem: Problem) -> str:
    demanded = {tier for tier, values in problem.demand.tok_s.items() if max(values) > 0}
    demanded |= {tier for tier, value in (problem.demand.deferrable_tok_s or {}).items() if value > 0}
    if without := sorted(demanded - {option.tier for option in problem.options}):
        return f"nothing can serve {', '.join(without)}"
    counts = [f"{each.count_max:g} {each.name}" for each in problem.hardware if each.count_max is not None]
    power = [] if problem.mw_max is None else [f"{problem.mw_max:g} MW"]
    return f"the demand exceeds what {' and '.join([', '.join(counts), *power] if counts else power)} can serve"
