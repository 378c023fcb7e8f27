"""Routers against each other: goodput dollars per fleet dollar and attainment, over the same demand and fleet; pure.

Every heat of one load and seed meets the very same customers, so that differences between routers are theirs. Demand
ends at ``demand_s``; what was begun by then may end, and what has not by ``DRAIN_S`` later has missed its promise. Each
cluster is paid for while there is demand, and from then on until its last answer has left.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from math import sqrt
from statistics import fmean, stdev
from typing import Any, Final

from app.simulation.conditions import Conditions
from app.simulation.contest_fleet import Contest, demand_at, misjudged
from app.simulation.engine import Run, Simulator
from app.simulation.plant import NS_PER_US
from app.simulation.router import Router
from app.simulation.routers import NeverRefuses, PlainRouter, PolicyName, rule
from app.simulation.tally import Sales
from app.simulation.workload import NS_PER_S
from pricing.slo import Tier
from scheduler.dispatcher import Dispatcher

FORMAT: Final = "goodput-routing/1"
DRAIN_S: Final = 1_800.0
LOADS: Final = (0.6, 1.0, 1.5)
SEEDS_MIN: Final = 2
T_95: Final = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Two-sided 95 % quantiles of Student's t for 1, 2, … degrees of freedom; 1.96 beyond."""


class Admission(StrEnum):
    """Who says which requests are taken, and how many an offer may run."""

    OURS = "ours"
    NONE = "none"


class Variant(StrEnum):
    """What is taken from the dispatcher, or wrong in what it is told."""

    WHOLE = "whole"
    NO_DO_NO_HARM = "no_do_no_harm"
    NO_SHEDDING = "no_shedding"
    STALE_1_S = "stale_1_s"
    STALE_5_S = "stale_5_s"
    PROFILE_FAST_CALIBRATED = "profile_30_percent_fast"
    PROFILE_FAST_UNCALIBRATED = "profile_30_percent_fast_uncalibrated"
    PROFILE_SLOW_CALIBRATED = "profile_30_percent_slow"
    PROFILE_SLOW_UNCALIBRATED = "profile_30_percent_slow_uncalibrated"


_CONDITIONS: Final = {
    Variant.NO_DO_NO_HARM: Conditions(does_harm=True),
    Variant.NO_SHEDDING: Conditions(has_no_limits=True),
    Variant.STALE_1_S: Conditions(stale_us=1_000_000),
    Variant.STALE_5_S: Conditions(stale_us=5_000_000),
    Variant.PROFILE_FAST_UNCALIBRATED: Conditions(is_calibrated=False),
    Variant.PROFILE_SLOW_UNCALIBRATED: Conditions(is_calibrated=False),
}
_MISJUDGED: Final = {
    Variant.PROFILE_FAST_CALIBRATED: 0.7,
    Variant.PROFILE_FAST_UNCALIBRATED: 0.7,
    Variant.PROFILE_SLOW_CALIBRATED: 1.3,
    Variant.PROFILE_SLOW_UNCALIBRATED: 1.3,
}


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One line of the table."""

    policy: PolicyName
    admission: Admission
    variant: Variant = Variant.WHOLE


@dataclass(frozen=True, slots=True)
class Heat:
    """One run of one entry."""

    entry: Entry
    load: float
    seed: int
    demand_s: float


@dataclass(frozen=True, slots=True)
class TierOutcome:
    """What became of the requests of one tier asked for."""

    offered: int
    accepted: int
    attained: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a heat earned and kept.

    Attributes:
        goodput: nano-USD that customers paid, late tokens at the lower rates they earned.
        fleet: nano-USD that the fleet's hours and the tokens bought cost.
    """

    heat: Heat
    goodput: int
    fleet: int
    tiers: dict[Tier, TierOutcome] = field(default_factory=dict[Tier, TierOutcome])

    @property
    def ratio(self) -> float:
        """Goodput dollars per fleet dollar."""
        return self.goodput / self.fleet


def entries(*, with_variants: bool) -> list[Entry]:
    """Ours, every baseline with and without our admission, and what each part of ours is worth."""
    baselines = [
        Entry(name, admission) for name, admission in product(PolicyName, Admission) if name is not PolicyName.GOODPUT
    ]
    variants = [Entry(PolicyName.GOODPUT, Admission.OURS, each) for each in Variant if each is not Variant.WHOLE]
    return [Entry(PolicyName.GOODPUT, Admission.OURS), *baselines, *(variants if with_variants else [])]


def run_heat(given: Contest, heat: Heat) -> Outcome:
    """Runs one heat to its end."""
    entry = heat.entry
    conditions = _CONDITIONS.get(entry.variant, Conditions(has_no_limits=entry.admission is Admission.NONE))
    factor = _MISJUDGED.get(entry.variant, 1.0)
    market = given.market if factor == 1.0 else misjudged(given.market, factor)
    simulator = Simulator(market, demand_at(given, heat.load), heat.seed, _router(given, heat), conditions)
    demand_ns = round(heat.demand_s * NS_PER_S)
    run = simulator.run(demand_ns + round(DRAIN_S * NS_PER_S), demand_ns=demand_ns)
    return _outcome(heat, run, demand_ns)


def _router(given: Contest, heat: Heat) -> Router:
    entry = heat.entry
    if entry.variant is Variant.NO_SHEDDING:
        return NeverRefuses(heat.seed)
    rank = rule(entry.policy, given.homes)
    return Dispatcher(seed=heat.seed, rank=rank) if entry.admission is Admission.OURS else PlainRouter(rank, heat.seed)


def _outcome(heat: Heat, run: Run, demand_ns: int) -> Outcome:
    tally = run.tally
    sales = {tier: tally.by_tier.get(tier, Sales()) for tier in Tier}
    owned = sum(
        unit.supply.cost_of_time(max(demand_ns, unit.worked_until_us * NS_PER_US)) for unit in run.units.values()
    )
    return Outcome(
        heat=heat,
        goodput=sum(each.net for each in sales.values()),
        fleet=owned + tally.bought,
        tiers={
            tier: TierOutcome(tally.offered[tier], tally.dispatched[tier], sales[tier].attained)
            for tier in Tier
            if tally.offered[tier]
        },
    )


def table(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """One row per entry and load, JSON-ready: means over seeds with their 95 % intervals, best first at each load."""
    groups: dict[tuple[float, Entry], list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda each: each.heat.seed):
        groups.setdefault((outcome.heat.load, outcome.heat.entry), []).append(outcome)
    ours = {load: group for (load, entry), group in groups.items() if entry == _OURS}
    rows = [_row(load, entry, group, ours.get(load)) for (load, entry), group in groups.items()]
    return sorted(
        rows, key=lambda row: (row["load"], row["variant"] != Variant.WHOLE, -row["goodput_usd_per_fleet_usd"])
    )


_OURS: Final = Entry(PolicyName.GOODPUT, Admission.OURS)


def _row(load: float, entry: Entry, group: Sequence[Outcome], ours: Sequence[Outcome] | None) -> dict[str, Any]:
    ratio, half = mean_and_half([outcome.ratio for outcome in group])
    tiers = [tier for tier in Tier if any(tier in outcome.tiers for outcome in group)]
    attainment = {tier: mean_and_half(_attainments(group, tier)) for tier in tiers}
    lead = None
    if ours is not None and entry != _OURS and len(ours) == len(group):
        pairs = zip(ours, group, strict=True)
        lead = mean_and_half([mine.ratio - theirs.ratio for mine, theirs in pairs])
    return {
        "policy": entry.policy.value,
        "admission": entry.admission.value,
        "variant": entry.variant.value,
        "load": load,
        "seeds": len(group),
        "goodput_usd_per_fleet_usd": round(ratio, 4),
        "goodput_usd_per_fleet_usd_half_ci95": _rounded(half),
        "attainment": {tier.value: _rounded(mean) for tier, (mean, _) in attainment.items()},
        "attainment_half_ci95": {tier.value: _rounded(half) for tier, (_, half) in attainment.items()},
        "accepted_share": {tier.value: _rounded(_accepted(group, tier)) for tier in tiers},
        "ours_leads_by": None if lead is None else _rounded(lead[0]),
        "ours_leads_by_half_ci95": None if lead is None else _rounded(lead[1]),
    }


def _attainments(group: Sequence[Outcome], tier: Tier) -> list[float]:
    found = [outcome.tiers[tier] for outcome in group if tier in outcome.tiers]
    return [each.attained / each.accepted for each in found if each.accepted]


def _accepted(group: Sequence[Outcome], tier: Tier) -> float | None:
    found = [outcome.tiers[tier] for outcome in group if tier in outcome.tiers]
    offered = sum(each.offered for each in found)
    return sum(each.accepted for each in found) / offered if offered else None


def mean_and_half(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % confidence interval by Student's t; NaN where too few values tell.

    >>> mean_and_half([1.0, 2.0, 3.0])[0], round(mean_and_half([1.0, 2.0, 3.0])[1], 3)
    (2.0, 2.484)
    """
    if not values:
        return float("nan"), float("nan")
    if len(values) < SEEDS_MIN:
        return values[0], float("nan")
    freedom = len(values) - 1
    quantile = T_95[freedom - 1] if freedom <= len(T_95) else 1.96
    return fmean(values), quantile * stdev(values) / sqrt(len(values))


def _rounded(value: float | None) -> float | None:
    return None if value is None or value != value else round(value, 4)  # noqa: PLR0124 (NaN differs from itself)
