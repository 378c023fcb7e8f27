"""The level of each tier's price: at cost and margin, held to what others publish, or what earns most from a demand.

Every mode starts from the cost-plus prices, whose costs it takes as they are: their percentile and what late tokens
earn are already in them. A level never lies below effective cost, and levels lie far enough apart that rates fall from
tier to tier in every token class. Both come before a band or an optimum, and are told where they bind.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import assert_never

import numpy as np

from pricing.anchors import PROVIDERS_MIN, Anchor, anchors
from pricing.assumptions import Assumptions
from pricing.cost_plus import TierPrice, blended
from pricing.costs import blended_usd_per_mtok
from pricing.demand import Buyers, terms_of
from pricing.demand_document import Money, drawn_buyers, temperature
from pricing.modes import Anchored, CostPlus, Level, ModeError, ModeName, Optimised, mode_name
from pricing.optimize import Optimum, optimise
from pricing.price_response import Market, Resource
from pricing.profiles import LengthClass
from pricing.slo import Tier
from pricing.usage import TokenClass

APART = 1e-9
MISSED = 1e-2
"""A tier whose blended price ends up further than this share from its level is flagged."""
S_PER_HOUR = 3_600
TOKENS_PER_MTOK = 1_000_000
KW_PER_MW = 1_000


@dataclass(frozen=True, slots=True)
class Levels:
    """What a mode decided.

    Attributes:
        by_tier: empty for cost-plus, which charges cost and margin.
        anchors: what others publish, where the mode looked at it.
        optimum: what the optimiser found, in that mode.
        flags: what a reviewer should look at before publishing.
    """

    mode: ModeName
    by_tier: Mapping[Tier, Level]
    anchors: Mapping[Tier, Anchor]
    optimum: Optimum | None
    flags: tuple[str, ...]


def price_levels(model: str, base: Mapping[Tier, TierPrice], lengths: LengthClass, given: Assumptions) -> Levels:
    """Sets the level of every tier.

    Args:
        model: the profiles' own name, under which list prices are kept.
        base: the cost-plus prices, best tier first.
        lengths: the class that is priced.
        given: the operator's inputs; the mode is one of them.

    Raises:
        ModeError: the mode lacks what it rests on: a list price, a power figure.
        DemandError: a demand that cannot be.
    """
    mode = given.mode
    match mode:
        case CostPlus():
            return Levels(mode_name(mode), {}, {}, None, ())
        case Anchored():
            return _anchored(model, base, lengths, given, mode)
        case Optimised():
            return _optimised(model, base, lengths, given, mode)
        case _:
            assert_never(mode)


def missed(prices: Mapping[Tier, TierPrice], levels: Mapping[Tier, Level]) -> tuple[str, ...]:
    """Where rates had to leave their tier's level: own rates of the operator, or classes kept apart."""
    found: list[str] = []
    for tier, level in levels.items():
        charged = blended(prices[tier].rates, level.mix)
        if abs(charged - level.usd_per_mtok) > MISSED * level.usd_per_mtok + 1e-6:
            found.append(f"{tier} is charged {charged:.4g} USD/M at {level.mix}; its level is {level.usd_per_mtok:.4g}")
    return tuple(found)


def _floors(base: Mapping[Tier, TierPrice], mix: LengthClass) -> dict[Tier, float]:
    """Effective cost of each tier, blended."""
    return {tier: blended_usd_per_mtok(price.cost_priced, mix) for tier, price in base.items()}


def _multiples(base: Mapping[Tier, TierPrice], mix: LengthClass, step_percent: int) -> tuple[float, ...]:
    """How many times the next lower tier's level a tier's is at least, so that every class is dearer by the step.

    Classes follow their tier's costs, so the class whose share of the cost falls most from lower to upper decides.
    """
    alone = {tier: price.cost_alone.by_class() for tier, price in base.items()}
    whole = {tier: blended_usd_per_mtok(price.cost_alone, mix) for tier, price in base.items()}
    found: list[float] = []
    for upper, lower in pairwise(base):
        pairs = ((alone[upper][name], alone[lower][name]) for name in TokenClass)
        ratios = [cheap / whole[lower] / (dear / whole[upper]) for dear, cheap in pairs if dear > 0 and cheap > 0]
        found.append(max((1 + step_percent / 100) * max(ratios, default=1.0), 1 + APART))
    return tuple(found)


def _anchored(
    model: str, base: Mapping[Tier, TierPrice], lengths: LengthClass, given: Assumptions, mode: Anchored
) -> Levels:
    found = {tier: anchor for tier, anchor in anchors(model, mode.list_prices).items() if tier in base}
    if not found:
        known = ", ".join(sorted({price.model for price in mode.list_prices})) or "none"
        raise ModeError(f"nobody publishes a price of {model}; published: {known}. Price it by cost plus or by demand")
    wanted = _wanted(base, found, lengths, mode)
    floors, multiples = _floors(base, lengths), (*_multiples(base, lengths, given.step_percent), 0.0)
    flags = [
        f"{tier}'s anchor rests on {anchor.providers} published price{'s' if anchor.providers > 1 else ''} only"
        for tier, anchor in found.items()
        if anchor.providers < PROVIDERS_MIN
    ]
    levels: dict[Tier, Level] = {}
    lower = 0.0
    for tier, multiple in reversed(list(zip(base, multiples, strict=True))):
        level = wanted[tier]
        least, bound = max((floors[tier], "effective cost"), (lower * multiple, "the tier below it"))
        if level.usd_per_mtok < least:
            flags.append(f"{tier} leaves its level of {level.usd_per_mtok:.4g} USD/M: {bound} asks for {least:.4g}")
            level = Level(least, lengths, f"{level.why}; raised to {least:.4g} USD/M by {bound}")
        levels[tier], lower = level, level.usd_per_mtok
    return Levels(mode_name(mode), {tier: levels[tier] for tier in base}, found, None, tuple(flags))


def _wanted(
    base: Mapping[Tier, TierPrice], found: Mapping[Tier, Anchor], lengths: LengthClass, mode: Anchored
) -> dict[Tier, Level]:
    """The market's levels, before cost and order; a tier whose like nobody publishes moves with the main one."""
    main = Tier.STANDARD if Tier.STANDARD in found else next(iter(found))
    moved = _clipped(base, main, found, lengths, mode)[0] / blended(base[main].rates, lengths)
    levels: dict[Tier, Level] = {}
    for tier in base:
        if tier in found:
            usd, why = _clipped(base, tier, found, lengths, mode)
        else:
            usd = blended(base[tier].rates, lengths) * moved
            why = f"price: nobody publishes the like; cost plus, moved {moved:.2f} times with {main}"
        levels[tier] = Level(usd, lengths, why)
    return levels


def _clipped(
    base: Mapping[Tier, TierPrice], tier: Tier, found: Mapping[Tier, Anchor], lengths: LengthClass, mode: Anchored
) -> tuple[float, str]:
    """Cost plus within the band, and what bound it."""
    anchor, own = found[tier].usd_per_mtok(lengths), blended(base[tier].rates, lengths)
    low, high = mode.low * anchor, mode.high * anchor
    said = f"{low:.4g}–{high:.4g} USD/M around the median of {found[tier].providers} published prices, {anchor:.4g}"
    if own < low:
        return low, f"price: lower end of {said}; cost plus would be {own:.4g}"
    if own > high:
        return high, f"price: upper end of {said}; cost plus would be {own:.4g}"
    return own, f"price: cost plus, {own:.4g}, lies within {said}"


def _optimised(
    model: str, base: Mapping[Tier, TierPrice], lengths: LengthClass, given: Assumptions, mode: Optimised
) -> Levels:
    mix = mode.demand.mix or lengths
    found = anchors(model, mode.list_prices)
    buyers = _buyers(model, found, mix, mode)
    resources, idle = _resources(base, mix, given, mode)
    tau = temperature(mode.demand, buyers)
    optimum = optimise(_market(base, mix, given, buyers, tau, resources))
    flags = [f"optimiser: {said}" for said in (*optimum.flags, *idle)]
    if mode.demand.basis == "assumed":
        flags.append(f"the demand is assumed, not measured: {mode.demand.source}")
    if not optimum.is_sold:
        return Levels(mode_name(mode), {}, found, optimum, (*flags, "prices are cost plus instead"))
    held = "; ".join(optimum.flags) or "nothing but demand holds it"
    levels = {
        tier: Level(usd, mix, f"price: earns most from the demand, selling {optimum.sold_share[tier]:.1%}; {held}")
        for tier, usd in optimum.prices.items()
    }
    return Levels(mode_name(mode), levels, found, optimum, tuple(flags))


def _buyers(model: str, found: Mapping[Tier, Anchor], mix: LengthClass, mode: Optimised) -> Buyers:
    if mode.demand.money is Money.USD_PER_MTOK:
        return drawn_buyers(mode.demand)
    if Tier.STANDARD not in found:
        raise ModeError(
            f"the demand is in multiples of list prices, and nobody publishes a standard price of {model}; state the "
            "demand in usd_per_mtok"
        )
    return drawn_buyers(mode.demand, found[Tier.STANDARD].usd_per_mtok(mix))


def _market(
    base: Mapping[Tier, TierPrice],
    mix: LengthClass,
    given: Assumptions,
    buyers: Buyers,
    tau: float,
    resources: tuple[Resource, ...],
) -> Market:
    """What the optimiser is told; ``cost_alone`` is ``c_t/S_tt``, as S holds what late tokens earn."""
    points = {tier: price.point for tier, price in base.items()}
    offered = {tier: (point.chosen.tok_s_user / point.slowdown, point.slo) for tier, point in points.items()}
    missing = {tier: 1 - given.attainment[tier][tier] for tier in base}
    earned = np.array([[given.attainment[sold].get(tier, 0.0) for tier in base] for sold in base])
    alone = np.array([blended_usd_per_mtok(price.cost_alone, mix) for price in base.values()])
    return Market(
        buyers=buyers,
        terms=terms_of(offered, missing),
        costs=tuple(map(float, np.diag(earned) * alone)),
        temperature=tau,
        resources=resources,
        falls=_multiples(base, mix, given.step_percent),
        earned=tuple(tuple(map(float, row)) for row in earned),
    )


def _resources(
    base: Mapping[Tier, TierPrice], mix: LengthClass, given: Assumptions, mode: Optimised
) -> tuple[tuple[Resource, ...], list[str]]:
    """What is scarce, in accelerator-hours and MWh per million tokens of each tier, and what serves no tier."""
    hours = {tier: _accelerator_hours(price, mix, given) for tier, price in base.items()}
    runs_on = {tier: price.point.chosen.profile.configuration.hardware for tier, price in base.items()}
    found: list[Resource] = []
    idle: list[str] = []
    for name, count in mode.accelerators.items():
        use = tuple(hours[tier] if runs_on[tier] == name else 0.0 for tier in base)
        if any(use):
            found.append(Resource(name, use, count))
        else:
            idle.append(f"no tier runs on {name}; they run on {', '.join(dict.fromkeys(runs_on.values()))}")
    if mode.mw is not None:
        found.append(Resource("power", _mwh(base, hours), mode.mw))
    return tuple(found), idle


def _accelerator_hours(price: TierPrice, mix: LengthClass, given: Assumptions) -> float:
    """Of a million tokens at the mix, at the utilisation that costs are reckoned with; none for tokens bought."""
    split = price.split
    if split is None:
        return 0.0
    seconds = (split.input_s * mix.isl + split.output_s * mix.osl) / (mix.isl + mix.osl)
    return seconds * TOKENS_PER_MTOK / S_PER_HOUR * price.point.slowdown / given.utilisation_used


def _mwh(base: Mapping[Tier, TierPrice], hours: Mapping[Tier, float]) -> tuple[float, ...]:
    found: list[float] = []
    for tier, price in base.items():
        cost = price.point.chosen.cost
        if hours[tier] > 0 and (cost is None or cost.kw is None):
            hardware = price.point.chosen.profile.configuration.hardware
            raise ModeError(f"the power of {hardware} is not known, so nothing can be promised under a power cap")
        found.append(hours[tier] * (0.0 if cost is None or cost.kw is None else cost.kw) / KW_PER_MW)
    return tuple(found)
