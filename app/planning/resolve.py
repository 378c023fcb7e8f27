"""From the inputs in force to what a derivation takes: assumptions, hardware costs, corrected profiles; pure.

The most specific input wins: a model's before a tier's before the market's before the documented default.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from app.catalog.derivation import PricedModel
from app.planning.in_force import InForce
from app.planning.inputs import MARKET
from app.planning.price_modes import class_rates, price_mode
from app.planning.priced import PricedModelSpec
from pricing.accuracy_table import accuracy_from_csv
from pricing.anchors import ListPrice
from pricing.assumptions import MARGIN_SHARES, Assumptions
from pricing.candidates import Selection
from pricing.costs import CacheShares
from pricing.demand_document import DemandModel
from pricing.hardware import Buildup, HardwareCost, Ownership, built_up, hardware_costs
from pricing.profile_document import profile_from_document
from pricing.profiles import OperatingPoint, Profile, little_output_tok_s
from pricing.quality import Accuracy, Floor
from pricing.slo import Tier
from pricing.uncertainty import Uncertainty

DEFAULT_OWNERSHIP: Final = Ownership.HYPERSCALER


@dataclass(frozen=True, slots=True)
class Shipped:
    """What comes with the product.

    Attributes:
        profiles: measured deployments and declared offers.
        parameters_billion: by model.
        worker_counts: where the pool sizes of a deployment come from, by its id.
        list_prices: what others publish.
        demand: the documented defaults of who would buy what.
    """

    profiles: tuple[Profile, ...]
    parameters_billion: Mapping[str, float]
    worker_counts: Mapping[str, str] = field(default_factory=dict[str, str])
    list_prices: tuple[ListPrice, ...] = ()
    demand: DemandModel | None = None


def known_profiles(given: InForce, shipped: Shipped) -> tuple[Profile, ...]:
    """Every profile, the operator's own last so that it replaces older runs, each corrected as was observed."""
    own = [profile_from_document(document) for _, document in sorted(given.of_kind("profile", "document").items())]
    ttft, tpot = given.of_kind("deployment", "ttft_scale"), given.of_kind("deployment", "tpot_scale")
    return tuple(corrected(each, ttft.get(each.id, 1.0), tpot.get(each.id, 1.0)) for each in (*shipped.profiles, *own))


def corrected(profile: Profile, ttft_scale: float, tpot_scale: float) -> Profile:
    """The profile as it was observed to be: times scaled, throughput as Little's law follows them.

    A replica whose tokens take 1.1 times as long at the same load makes fewer of them: cost follows, not the promise
    alone. Times that stay the same leave every figure as it was measured.
    """
    if ttft_scale == tpot_scale == 1:
        return profile
    points = tuple(_scaled(point, ttft_scale, tpot_scale) for point in profile.points)
    prefill = None if profile.prefill_tok_s is None else profile.prefill_tok_s / ttft_scale
    note = f"corrected as observed: first token × {ttft_scale:g}, each token × {tpot_scale:g}"
    return replace(profile, points=points, prefill_tok_s=prefill, notes="; ".join(filter(None, (profile.notes, note))))


def _scaled(point: OperatingPoint, ttft_scale: float, tpot_scale: float) -> OperatingPoint:
    ttft_s, tpot_s = point.ttft_s_p50 * ttft_scale, point.tpot_s_p50 * tpot_scale
    before = little_output_tok_s(point.concurrency, point.ttft_s_p50, point.tpot_s_p50, point.osl_mean)
    share = little_output_tok_s(point.concurrency, ttft_s, tpot_s, point.osl_mean) / before
    return replace(
        point,
        ttft_s_p50=ttft_s,
        tpot_s_p50=tpot_s,
        ttft_s_p99=None if point.ttft_s_p99 is None else point.ttft_s_p99 * ttft_scale,
        tpot_s_p99=None if point.tpot_s_p99 is None else point.tpot_s_p99 * tpot_scale,
        output_tok_s=point.output_tok_s * share,
        input_tok_s=point.input_tok_s * share,
    )


def known_costs(given: InForce) -> dict[str, HardwareCost]:
    """Hardware costs: the shipped ones of the ownership in force, then what the operator built up or states."""
    costs = hardware_costs(given.value("ownership", [MARKET], DEFAULT_OWNERSHIP.value))
    for hardware, document in given.of_kind("hardware", "buildup").items():
        memory = costs[hardware].hbm_gb if hardware in costs else None
        costs[hardware] = built_up(hardware, Buildup(**document), memory)
    for hardware, usd in given.of_kind("hardware", "usd_per_hour").items():
        known = costs.get(hardware, HardwareCost(hardware, usd))
        costs[hardware] = replace(known, usd_per_hour=usd, source="operator", parts=())
    for name in ("kw", "hbm_gb"):
        for hardware, value in given.of_kind("hardware", name).items():
            if hardware in costs:
                costs[hardware] = replace(costs[hardware], **{name: value})
    return costs


def priced_model(spec: PricedModelSpec, given: InForce, shipped: Shipped) -> PricedModel:
    """What the prices of one model follow from, at the moment of ``given``."""
    return PricedModel(
        model=spec.profiled_as,
        public_name=spec.public_name,
        profiles=tuple(each for each in known_profiles(given, shipped) if each.model == spec.profiled_as),
        hardware_costs=known_costs(given),
        assumptions=replace(
            assumptions(spec, given, shipped.parameters_billion),
            mode=price_mode(spec.public_name, given, shipped.list_prices, shipped.demand),
            class_rates=class_rates(spec.public_name, given),
        ),
    )


def assumptions(spec: PricedModelSpec, given: InForce, parameters_billion: Mapping[str, float]) -> Assumptions:
    """The assumptions of one model: its own inputs, else the market's, else the documented defaults."""
    base, subjects = Assumptions(), [f"model:{spec.public_name}", MARKET]
    cache = CacheShares(
        given.value("cached_share", subjects, base.cache.cached),
        given.value("cache_write_share", subjects, base.cache.cache_write),
    )
    rules = replace(
        base.rules,
        flex_window_s=given.value("flex_window_s", [MARKET], base.rules.flex_window_s),
        premium_share=given.value("premium_share", [MARKET], base.rules.premium_share),
        separation=given.value("separation", [MARKET], base.rules.separation),
        floors=_floors(given),
    )
    percentile = given.value("price_percentile", [MARKET], Uncertainty().price_percentile)
    return replace(
        base,
        lengths=spec.lengths,
        selection=Selection(deployment_id=spec.deployment_ids or None),
        rules=rules,
        cache=cache,
        utilisation=given.value("utilisation", subjects, base.utilisation),
        attainment=_attainment(spec, given, base),
        margins=_margins(spec, given, base),
        overhead_usd_per_mtok=given.value("overhead_usd_per_mtok", subjects, base.overhead_usd_per_mtok),
        step_percent=given.value("step_percent", [MARKET], base.step_percent),
        adder=spec.adder,
        premium_deployment_id=spec.premium_deployment_id or None,
        parameters_billion=parameters_billion,
        uncertainty=Uncertainty(price_percentile=percentile),
    )


def _margins(spec: PricedModelSpec, given: InForce, base: Assumptions) -> dict[Tier, float]:
    """By tier: the model's, then the tier's, then the market's; those of model and market are standard's."""
    market = given.value("margin", [MARKET], base.margins[Tier.STANDARD])
    own = given.revisions.get((f"model:{spec.public_name}", "margin"))
    found: dict[Tier, float] = {}
    for tier in Tier:
        general = given.value("margin", [f"tier:{tier}"], market * MARGIN_SHARES[tier])
        found[tier] = general if own is None else float(own.value) * MARGIN_SHARES[tier]
    return found


def _attainment(spec: PricedModelSpec, given: InForce, base: Assumptions) -> dict[Tier, Mapping[Tier, float]]:
    own: Mapping[str, Mapping[str, float]] = given.value("attainment", [f"model:{spec.public_name}"], {})
    found: dict[Tier, Mapping[Tier, float]] = {}
    for tier in Tier:
        general = given.value("attainment", [f"tier:{tier}"], base.attainment[tier])
        shares = own.get(tier.value, general)
        found[tier] = {Tier(name): share for name, share in shares.items()}
    return found


def _floors(given: InForce) -> dict[Tier, Floor]:
    """Floors of the tiers that have one."""
    table = given.value("accuracy", [MARKET], "")
    accuracy = accuracy_from_csv(table) if table else Accuracy()
    floors = {
        tier: Floor(
            precision=given.value("precision_floor", [f"tier:{tier}"], ""),
            relative_min=given.value("accuracy_min", [f"tier:{tier}"], 0.0),
            score_min=given.value("score_min", [f"tier:{tier}"], {}),
            accuracy=accuracy,
        )
        for tier in Tier
    }
    return {tier: floor for tier, floor in floors.items() if not floor.is_empty}
