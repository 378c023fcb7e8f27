"""What to run for the demand that was metered: pools by linear programme, prefill : decode ratios by balance; pure.

Demand is taken by hour of the day, so that the peak hour sizes the pool and bulk fills the troughs. Within an hour a
pool is filled to :data:`HOUR_FILL` only, for what an hour's mean hides. Models are planned one after the other, the
largest demand first, and what one takes of a cap the next no longer has.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from app.catalog.derivation import PricedModel
from app.clock import from_us
from app.planning.in_force import InForce
from app.planning.inputs import MARKET
from app.planning.priced import PricedModelSpec
from app.planning.resolve import Shipped, priced_model
from app.planning.supplied import HourlyTokens, Running
from pricing.candidates import Candidates, candidates
from pricing.capacity import Demand, Plan, Problem, plan
from pricing.capacity_document import plan_document
from pricing.capacity_options import hardware_pools, tier_options
from pricing.derive import reference_class
from pricing.hardware import HardwareCost
from pricing.profiles import LengthClass, Profile, cleaned
from pricing.ratio import RatioError, recommend
from pricing.ratio_document import recommendation_document
from pricing.slo import Tier
from pricing.tiers import Tiers, tiers

HOURS: Final = 24
S_PER_HOUR: Final = 3_600
DAY_US: Final = 86_400_000_000
HOUR_FILL: Final = 0.8
MODELS_MAX: Final = 200
RATIOS_MAX: Final = 5
KW_PER_MW: Final = 1_000
Cited = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of the market.

    Attributes:
        since_us, until_us: whole days, µs since the epoch, half open.
        tokens: by model, tier and hour of the day.
    """

    since_us: int
    until_us: int
    tokens: Sequence[HourlyTokens]

    @property
    def days(self) -> float:
        """How many days it is a sum of."""
        return (self.until_us - self.since_us) / DAY_US

    def of(self, model: str) -> list[HourlyTokens]:
        """What was asked of one model."""
        return [each for each in self.tokens if each.model == model]


@dataclass(frozen=True, slots=True)
class Site:
    """What there is."""

    given: InForce
    specs: tuple[PricedModelSpec, ...]
    running: tuple[Running, ...]
    shipped: Shipped


@dataclass(frozen=True, slots=True)
class Caps:
    """What is left of the site's limits; a missing one is none."""

    counts: Mapping[str, float]
    mw: float | None

    def less(self, found: Plan) -> "Caps":
        """What another plan leaves."""
        counts = {name: max(left - found.gpus.get(name, 0.0), 0.0) for name, left in self.counts.items()}
        return Caps(counts, None if self.mw is None else max(self.mw - (found.mw or 0.0), 0.0))


def proposal_document(site: Site, asked: Asked) -> dict[str, Any]:
    """The whole proposal, JSON-ready, with the evidence that it rests on."""
    caps = Caps(
        {name: float(count) for name, count in site.given.of_kind("hardware", "count_max").items()},
        site.given.value("mw_max", [MARKET], None),
    )
    models: list[dict[str, Any]] = []
    for spec in _by_demand(site.specs, asked)[:MODELS_MAX]:
        document, caps = _model(spec, site, asked, caps)
        models.append(document)
    return {
        "demand": {
            "since": from_us(asked.since_us).isoformat(),
            "until": from_us(asked.until_us).isoformat(),
            "days": asked.days,
            "requests": sum(each.requests for each in asked.tokens),
            "requests_emulated": sum(each.requests for each in asked.tokens if each.is_emulated),
            "tokens": sum(each.tokens_input + each.tokens_output for each in asked.tokens),
        },
        "hour_fill": HOUR_FILL,
        "models": models,
        "left": {"counts": dict(caps.counts), "mw": caps.mw},
    }


def demand_of(tokens: Iterable[HourlyTokens], days: float) -> Demand:
    """Tokens per second by hour of the day for interactive tiers; bulk's mean, which may run in any hour."""
    by_hour: dict[Tier, list[float]] = {}
    bulk = 0.0
    for each in tokens:
        count = each.tokens_input + each.tokens_output
        if each.tier is Tier.BULK:
            bulk += count / (days * HOURS * S_PER_HOUR)
        else:
            by_hour.setdefault(each.tier, [0.0] * HOURS)[each.hour] += count / (days * S_PER_HOUR)
    return Demand(by_hour, [1 / HOURS] * HOURS, {Tier.BULK: bulk} if bulk else None)


def mix_of(tokens: Iterable[HourlyTokens], classes: Iterable[LengthClass]) -> dict[LengthClass, float]:
    """The share of requests by measured class: each hour's mean lengths count as the class nearest to them.

    >>> one = HourlyTokens("m", Tier.BULK, 3, tokens_input=80_000, tokens_output=9_000, requests=10, is_emulated=False)
    >>> mix_of([one], [LengthClass(8192, 1024), LengthClass(1024, 1024)])
    {LengthClass(isl=8192, osl=1024): 1.0}
    """
    known = sorted(classes)
    requests: dict[LengthClass, int] = {}
    for each in tokens:
        if known and each.requests and each.tokens_output:
            means = each.tokens_input / each.requests, each.tokens_output / each.requests
            nearest = min(known, key=lambda lengths: _distance(lengths, *means))
            requests[nearest] = requests.get(nearest, 0) + each.requests
    total = sum(requests.values())
    return {lengths: count / total for lengths, count in sorted(requests.items())}


def _distance(lengths: LengthClass, isl: float, osl: float) -> float:
    return abs(math.log(lengths.isl / max(isl, 1.0))) + abs(math.log(lengths.osl / osl))


def _by_demand(specs: Iterable[PricedModelSpec], asked: Asked) -> list[PricedModelSpec]:
    def place(spec: PricedModelSpec) -> tuple[int, str]:
        return -sum(each.tokens_output for each in asked.of(spec.public_name)), spec.public_name

    return sorted(specs, key=place)


def _model(spec: PricedModelSpec, site: Site, asked: Asked, caps: Caps) -> tuple[dict[str, Any], Caps]:
    """One model's plan, and what it leaves of the caps."""
    ours = asked.of(spec.public_name)
    running = _running(spec, site)
    head = {"model": spec.public_name, "profiled_as": spec.profiled_as, "running": running, "notes": []}
    if not any(each.tokens_output for each in ours):
        return {**head, "notes": ["nothing was asked of it; its pools stay as they are"], "plan": None}, caps
    model = priced_model(spec, site.given, site.shipped)
    try:
        found, chosen = _measured(model)
        document, caps = _pools(model, (found, chosen), (ours, asked.days), caps)
    except ValueError as error:  # an unmeasured model, or a programme that cannot be
        return {**head, "notes": [str(error)], "plan": None}, caps
    ratios, notes = _ratios(model, chosen, ours, site.shipped.worker_counts)
    notes = [*document.pop("notes"), *notes]
    return {**head, **document, "changes": _changes(document["plan"], running), "ratios": ratios, "notes": notes}, caps


def _measured(model: PricedModel) -> tuple[Candidates, Tiers]:
    """The class that it is priced from, without the fleet's own selection: other deployments may be better."""
    usable = cleaned(model.profiles)
    given = replace(model.assumptions, selection=replace(model.assumptions.selection, deployment_id=None))
    lengths = given.lengths or reference_class(usable, model.hardware_costs, given)
    found = candidates(usable, model.model, lengths, model.hardware_costs, given.selection, given.parameters_billion)
    own = candidates(
        usable, model.model, lengths, model.hardware_costs, model.assumptions.selection, given.parameters_billion
    )
    return found, tiers(own, given.rules)


def _pools(
    model: PricedModel, measured: tuple[Candidates, Tiers], asked: tuple[Sequence[HourlyTokens], float], caps: Caps
) -> tuple[dict[str, Any], Caps]:
    found, chosen = measured
    demand = demand_of(*asked)
    options = tier_options(found, chosen.sold, model.assumptions.rules, HOUR_FILL / model.assumptions.adder.slowdown)
    costs, notes = _powered(model.hardware_costs, caps)
    options = tuple(option for option in options if option.hardware in costs)
    problem = Problem(hardware_pools(options, costs, caps.counts), options, demand, caps.mw)
    made = plan(problem)
    document = {
        "isl": found.lengths.isl,
        "osl": found.lengths.osl,
        "demand_tok_s": {
            **{tier.value: [round(each, 3) for each in hours] for tier, hours in demand.tok_s.items()},
            **{tier.value: round(mean, 3) for tier, mean in (demand.deferrable_tok_s or {}).items()},
        },
        "plan": plan_document(made),
        "notes": [*notes, *([made.reason] if made.reason else [])],
    }
    return document, caps.less(made)


def _powered(costs: Mapping[str, HardwareCost], caps: Caps) -> tuple[dict[str, HardwareCost], list[str]]:
    """Under a power cap, hardware whose power is not known cannot be planned with."""
    if caps.mw is None:
        return dict(costs), []
    unknown = sorted(name for name, cost in costs.items() if cost.kw is None)
    notes = [f"left out under the power cap, power unknown: {', '.join(unknown)}"] if unknown else []
    return {name: cost for name, cost in costs.items() if cost.kw is not None}, notes


def _running(spec: PricedModelSpec, site: Site) -> dict[str, int]:
    """Replicas of its own by deployment."""
    found: dict[str, int] = {}
    for each in site.running:
        if each.model == spec.public_name and each.is_owned and each.is_paid:
            found[each.deployment_id] = found.get(each.deployment_id, 0) + 1
    return found


def _changes(planned: Mapping[str, Any], running: Mapping[str, int]) -> list[dict[str, Any]]:
    """By deployment, what runs and what would; tiers that share a deployment add up."""
    wanted: dict[str, int] = {}
    for use in planned["uses"]:
        deployment = use["deployment"].rpartition("/c")[0]  # a candidate's id is its deployment and load
        wanted[deployment] = wanted.get(deployment, 0) + use["replicas"]
    names = sorted({*running, *(name for name, count in wanted.items() if count)})
    return [
        {"deployment": name, "runs": running.get(name, 0), "proposed": wanted.get(name, 0)}
        for name in names
        if running.get(name, 0) != wanted.get(name, 0)
    ]


def _ratios(
    model: PricedModel, chosen: Tiers, ours: Sequence[HourlyTokens], cited: Cited
) -> tuple[list[dict[str, Any]], list[str]]:
    """The prefill : decode ratios of disaggregated pools for the metered mix, at each interactive tier's speed."""
    usable = [profile for profile in cleaned(model.profiles) if profile.configuration.has_pools]
    classes = {lengths for profile in usable for lengths in profile.classes}
    found: list[dict[str, Any]] = []
    notes: list[str] = []
    for tier, point in chosen.sold.items():
        mix = mix_of([each for each in ours if each.tier is tier], classes)
        if not mix or tier is Tier.BULK:
            continue
        try:
            made = recommend(_points(model, usable, mix), mix, point.chosen.tok_s_user)
        except RatioError as error:
            notes.append(f"{tier}: {error}")
            continue
        found.extend(
            {"tier": tier.value, **recommendation_document(each, max(_gpus(each.rows), 2), cited)}
            for each in made[:RATIOS_MAX]
        )
    return found, notes


def _points(model: PricedModel, usable: Sequence[Profile], mix: Iterable[LengthClass]) -> list[Any]:
    """Every measured point of known pools in the mix's classes."""
    given = model.assumptions
    selection = replace(given.selection, deployment_id=None)
    return [
        point
        for lengths in mix
        for point in candidates(
            usable, model.model, lengths, model.hardware_costs, selection, given.parameters_billion
        ).points
    ]


def _gpus(rows: Iterable[Any]) -> int:
    """The largest pair of pools that was measured."""
    return max((row.prefill_gpus + row.decode_gpus for row in rows), default=2)
