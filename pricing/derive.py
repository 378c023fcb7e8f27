"""From profiles and hardware costs to rate cards, in one call."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pricing.assumptions import Assumptions
from pricing.candidates import Candidate, Candidates, FrontierError, candidates
from pricing.cost_plus import TierPrice, cost_plus, costing, flags
from pricing.explain import explain_price
from pricing.hardware import HardwareCost
from pricing.levels import Levels, missed, price_levels
from pricing.plausible import oddities_of, queue_dominated
from pricing.pricebook import RateCard
from pricing.profiles import LengthClass, Profile, cleaned
from pricing.slo import Rung, Tier
from pricing.tiers import BelowQuality, TierPoint, Tiers, promise, promises_in_order, tiers
from pricing.uncertainty import Spread, World, spread, worlds

REFERENCE_CLASS = LengthClass(8192, 1024)


@dataclass(frozen=True, slots=True)
class Derivation:
    """All that follows from profiles, hardware costs and assumptions for one model.

    Attributes:
        tiers: what is sold, best first.
        missing: tiers that the class lacks, and why.
        flags: what a reviewer should look at before publishing.
        excluded: profiles that could not be used, and why.
        levels: what the mode decided, and on what.
    """

    model: str
    lengths: LengthClass
    tiers: Mapping[Tier, TierPrice]
    missing: Mapping[Tier, str]
    flags: tuple[str, ...]
    excluded: tuple[tuple[str, str], ...]
    levels: Levels


def derive_cards(
    model: str,
    public_name: str,
    profiles: Iterable[Profile],
    hardware_costs: Mapping[str, HardwareCost],
    assumptions: Assumptions | None = None,
) -> tuple[RateCard, ...]:
    """Rate cards of one model, best tier first; a tier that the measurements do not carry is simply not there.

    Args:
        model: the profiles' own name of the model.
        public_name: the name it is sold under.
        profiles: of every deployment that may run it; others are ignored.
        hardware_costs: by hardware.
        assumptions: the operator's inputs; None takes the documented defaults.

    Raises:
        FrontierError: nothing measured can be priced; the message says why.
    """
    return rate_cards(derive(model, profiles, hardware_costs, assumptions), public_name)


def rate_cards(derivation: Derivation, public_name: str) -> tuple[RateCard, ...]:
    """The cards of a derivation under a public name."""
    return tuple(
        RateCard(
            model=public_name,
            rung=Rung(tier, price.point.slo, price.rates),
            deployment_id=price.point.chosen.deployment_id,
            interactivity_tok_s_user=round(price.point.chosen.tok_s_user / price.point.slowdown, 3),
            cost=price.cost,
            concurrency_max=price.point.chosen.point.concurrency,
            explanation=explain_price(price),
        )
        for tier, price in derivation.tiers.items()
    )


def derive(
    model: str,
    profiles: Iterable[Profile],
    hardware_costs: Mapping[str, HardwareCost],
    assumptions: Assumptions | None = None,
) -> Derivation:
    """Derives tiers, costs and prices of one model.

    Raises:
        FrontierError: nothing measured can be priced; the message says why.
        ModeError: the mode lacks what it rests on.
        DemandError: a demand that cannot be.
    """
    given = assumptions or Assumptions()
    measured = [profile for profile in profiles if profile.model == model]
    usable = cleaned(measured)
    lengths = given.lengths or reference_class(usable or measured, hardware_costs, given)
    if (waiting := queue_dominated(measured, lengths)) != "":
        raise FrontierError(waiting)
    _refuse_one_load(measured, lengths)
    found = candidates(usable, model, lengths, hardware_costs, given.selection, given.parameters_billion)
    chosen = _with_adder(_with_declared_premium(tiers(found, given.rules), usable, given), given)
    drawn = spreads(found, chosen, given)
    prices = cost_plus(chosen, given, drawn)
    levels = price_levels(model, prices, lengths, given)
    if levels.by_tier:
        prices = cost_plus(chosen, given, drawn, levels.by_tier, prices)
    said = (*flags(prices, lengths), *levels.flags, *missed(prices, levels.by_tier))
    odd = oddities_of((point.chosen.profile for point in chosen.sold.values()), lengths)
    return Derivation(model, lengths, prices, chosen.missing, (*said, *odd), found.excluded, levels)


def spreads(found: Candidates, chosen: Tiers, given: Assumptions) -> dict[Tier, Spread]:
    """Draws of the costs of every tier that is run by the hour; empty when uncertainty is not asked for."""
    sold = {tier: point.chosen for tier, point in chosen.sold.items() if point.chosen.cost is not None}
    if given.uncertainty is None:
        return {}
    among = worlds(found, given.rules, sold) if given.uncertainty.leaves_out else (World(None, sold),)
    return {tier: spread(tier, among, given.uncertainty, costing(given)) for tier in sold}


def reference_class(
    profiles: Iterable[Profile], hardware_costs: Mapping[str, HardwareCost], assumptions: Assumptions
) -> LengthClass:
    """The class that prices are derived from when none is asked for: 8192/1024, else the one with the most points."""
    points: dict[LengthClass, int] = {}
    for profile in profiles:
        is_priced = profile.configuration.hardware in hardware_costs and not profile.is_bought_by_token
        if is_priced and assumptions.selection.refusal(profile) is None:
            for point in profile.points:
                points[point.lengths] = points.get(point.lengths, 0) + 1
    if not points or points.get(REFERENCE_CLASS, 0) > 1:
        return REFERENCE_CLASS
    return max(points, key=lambda lengths: (points[lengths], -lengths.isl, -lengths.osl))


def _refuse_one_load(measured: Iterable[Profile], lengths: LengthClass) -> None:
    """One measured load tells nothing about others; where more were measured but only one is usable, a note says so."""
    loads = {
        (profile.id, point.concurrency)
        for profile in measured
        for point in profile.points
        if point.lengths == lengths and not profile.is_bought_by_token
    }
    if len(loads) == 1:
        ((profile_id, concurrency),) = loads
        raise FrontierError(
            f"{profile_id} at ISL/OSL {lengths} was measured at one load only, concurrency {concurrency}; measure at "
            "least two to see how speed falls with load"
        )


def _with_declared_premium(chosen: Tiers, profiles: Iterable[Profile], given: Assumptions) -> Tiers:
    if given.premium_deployment_id is None:
        return chosen
    offer = next(
        (
            Candidate(profile, point, None)
            for profile in profiles
            for point in reversed(profile.points)
            if profile.is_bought_by_token and point.lengths == chosen.lengths
            if profile.configuration.deployment_id == given.premium_deployment_id
        ),
        None,
    )
    if offer is None:
        raise FrontierError(
            f"no declared offer {given.premium_deployment_id!r} of {chosen.model} at ISL/OSL {chosen.lengths} to "
            "promise premium from"
        )
    floor = given.rules.floor(Tier.PREMIUM)
    if (below := floor.refusal(offer.profile) or given.selection.floor.refusal(offer.profile)) is not None:
        raise BelowQuality(f"{given.premium_deployment_id} cannot serve premium: {below}")
    needed = given.rules.separation * chosen.sold[Tier.STANDARD].chosen.tok_s_user
    if offer.tok_s_user < needed:
        raise FrontierError(
            f"{given.premium_deployment_id} declares {offer.tok_s_user:.4g} tok/s/user; premium needs {needed:.4g}, "
            f"{given.rules.separation:g} times standard's speed"
        )
    slo, is_assumed = promise(offer, given.rules.factors)
    note = "promised from a declared speed; no other deployment can stand in"
    point = TierPoint(Tier.PREMIUM, offer.tok_s_user, offer.usd_per_mtok, offer, slo, 0.0, is_assumed, notes=(note,))
    point = replace(point, quality=floor.said(offer.profile))
    sold = promises_in_order({**chosen.sold, Tier.PREMIUM: point})
    missing = {tier: reason for tier, reason in chosen.missing.items() if tier is not Tier.PREMIUM}
    return replace(chosen, sold=sold, missing=missing)


def _with_adder(chosen: Tiers, given: Assumptions) -> Tiers:
    """Loosens promises by a tuned model's slowdown, and leaves out the tiers that it is not sold at."""
    adder = given.adder
    missing = dict(chosen.missing)
    sold: dict[Tier, TierPoint] = {}
    for tier, base in chosen.sold.items():
        point = replace(base, slowdown=adder.slowdown)
        if tier not in adder.tiers:
            missing[tier] = "the tuned model is not sold at it"
        elif adder.slowdown == 1 or point.slo.is_window:
            sold[tier] = point
        else:
            slo, is_assumed = promise(point.chosen, given.rules.factors, adder.slowdown)
            notes = (*point.notes, f"every token takes {adder.slowdown:g} times as long as the base model's")
            sold[tier] = replace(point, slo=slo, is_tail_assumed=is_assumed, notes=notes)
    return replace(chosen, sold=promises_in_order(sold), missing=missing)
