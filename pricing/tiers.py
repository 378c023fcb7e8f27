"""Premium, standard, bulk: for each tier the operating point to run and the promise that is sold from it.

* **bulk** is where the yield is largest; its promise is a window, not a speed.
* **standard** (goldilocks) is where speed × yield peaks.
* **premium** is the fastest speed that still has a tenth of the largest yield, and at least 1.5 times standard's.

Each rule points at a speed on the interpolated frontier; what is sold is the attainable measured point there, and the
promise is that point's tail, rounded up to two digits. Where measurements are sparse the attainable point can be far
from the curve; when it keeps less than ``SNAP_SHARE`` of what the rule asks for, the rule is applied to the measured
points themselves instead, and a note says so.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from pricing.candidates import (
    REASONS_SHOWN,
    Candidate,
    Candidates,
    Ceiling,
    FrontierError,
    TailFactors,
    admitted,
    tpot_tail,
    ttft_tail,
)
from pricing.frontier import ZONE_SHARE, Frontier, Zone, frontier
from pricing.profiles import US_PER_S, LengthClass
from pricing.quality import Floor, refused
from pricing.slo import Slo, Tier

DIGITS = 2
FLEX_WINDOW_S = 900.0
SNAP_SHARE = 0.9
DEFAULT_FACTORS = TailFactors()


class BelowQuality(FrontierError):
    """No point of the class is good enough for a tier, however fast or cheap."""


def _ceilings() -> dict[Tier, Ceiling]:
    return {Tier.PREMIUM: Ceiling(10.0), Tier.STANDARD: Ceiling(90.0), Tier.BULK: Ceiling(FLEX_WINDOW_S)}


@dataclass(frozen=True, slots=True)
class TierRules:
    """An operator's knobs; every default is documented in ``pricing/README.md``.

    Attributes:
        ceilings: what each tier demands of a point before its frontier is drawn.
        factors: p99 over the one statistic known.
        premium_share: premium's yield is at least this share of the largest one.
        separation: premium is at least this many times as fast as standard.
        zone_share: how far x·y may fall inside the goldilocks zone.
        flex_window_s: bulk's promise for a synchronous request.
        floors: the least quality that each tier may be served at, asked before its frontier is drawn.
    """

    ceilings: Mapping[Tier, Ceiling] = field(default_factory=_ceilings)
    factors: TailFactors = DEFAULT_FACTORS
    premium_share: float = 0.1
    separation: float = 1.5
    zone_share: float = ZONE_SHARE
    flex_window_s: float = FLEX_WINDOW_S
    floors: Mapping[Tier, Floor] = field(default_factory=dict[Tier, Floor])

    def __post_init__(self) -> None:
        shares_fit = 0 < self.premium_share <= 1 and 0 < self.zone_share <= 1
        if not (shares_fit and self.separation >= 1 and self.flex_window_s > 0):
            raise FrontierError(
                f"tier rules need shares in (0, 1], a separation >= 1 and a window > 0, got premium_share "
                f"{self.premium_share}, zone_share {self.zone_share}, separation {self.separation}, "
                f"flex_window_s {self.flex_window_s}"
            )

    def ceiling(self, tier: Tier) -> Ceiling:
        """What a tier demands of a point; nothing when not stated."""
        return self.ceilings.get(tier, Ceiling())

    def floor(self, tier: Tier) -> Floor:
        """The least quality of a tier; anything when not stated."""
        return self.floors.get(tier, Floor())


@dataclass(frozen=True, slots=True)
class TierPoint:
    """One tier's operating point and promise.

    Attributes:
        target_tok_s_user: the speed its rule points at, on the interpolated frontier.
        target_usd_per_mtok: interpolated cost there, per million tokens of input and output alike.
        chosen: the measured point that is run and promised.
        yield_share: its yield over the largest of the class.
        is_tail_assumed: True when a p99 in the promise comes from a factor.
        zone: the goldilocks zone; standard only.
        slowdown: how much longer a token takes than at ``chosen``: a tuned model's adapter.
        quality: what its floor keeps, in words; empty without one.
        notes: what a reader must know, a sentence each.
    """

    tier: Tier
    target_tok_s_user: float
    target_usd_per_mtok: float
    chosen: Candidate
    slo: Slo
    yield_share: float
    is_tail_assumed: bool
    zone: Zone | None = None
    slowdown: float = 1.0
    quality: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tiers:
    """The tiers of one model and class.

    Attributes:
        missing: tiers that the class lacks, and why.
    """

    model: str
    lengths: LengthClass
    sold: Mapping[Tier, TierPoint]
    missing: Mapping[Tier, str]


def eligible(found: Candidates, tier: Tier, rules: TierRules = TierRules()) -> tuple[Candidate, ...]:
    """The points that may serve a tier: good enough, then fast enough. Only of these is its frontier drawn.

    Raises:
        BelowQuality: no point passes the tier's floor; the message says why.
        FrontierError: none of those keeps the tier's ceiling.
    """
    floor = rules.floor(tier)
    if floor.is_empty:
        return admitted(found, rules.ceiling(tier), rules.factors)
    below = refused({each.profile.id: each.profile for each in found.points}.values(), floor)
    kept = tuple(each for each in found.points if each.profile.id not in below)
    if not kept:
        reasons = "; ".join(list(dict.fromkeys(below.values()))[:REASONS_SHOWN])
        raise BelowQuality(
            f"no operating point of {found.model} at ISL/OSL {found.lengths} is good enough for {tier} ({floor}): "
            f"{reasons}"
        )
    return admitted(replace(found, points=kept), rules.ceiling(tier), rules.factors)


def tiers(found: Candidates, rules: TierRules = TierRules()) -> Tiers:
    """Chooses the operating points and promises of a class.

    Raises:
        FrontierError: no point meets bulk's ceiling, or standard's ceiling or floor.
    """
    standard_front = _front(found, Tier.STANDARD, rules)
    missing: dict[Tier, str] = {}
    sold: dict[Tier, TierPoint] = {}
    most = float(standard_front.y[0])
    try:
        bulk_front = _front(found, Tier.BULK, rules)
    except BelowQuality as error:
        missing[Tier.BULK] = str(error)
    else:
        most, sold[Tier.BULK] = float(bulk_front.y[0]), _bulk(bulk_front, rules)
    sold[Tier.STANDARD] = _standard(standard_front, most, rules)
    premium = _premium(found, sold[Tier.STANDARD], most, rules)
    if isinstance(premium, str):
        missing[Tier.PREMIUM] = premium
    else:
        sold[Tier.PREMIUM] = premium
    if len({(each.deployment_id, each.point.concurrency) for each in found.points}) == 1:
        sold = {tier: replace(point, notes=(*point.notes, _ONE_LOAD)) for tier, point in sold.items()}
    sold = {tier: replace(point, quality=rules.floor(tier).said(point.chosen.profile)) for tier, point in sold.items()}
    return Tiers(found.model, found.lengths, promises_in_order(sold), missing)


def promises_in_order(sold: Mapping[Tier, TierPoint]) -> dict[Tier, TierPoint]:
    """Sorts the tiers best first, and lengthens a lesser tier's promise where it would promise more than a better one.

    A fast point may have a late first token (a loaded prefill pool); what the lesser tier adds is then slack.
    """
    ordered: dict[Tier, TierPoint] = {}
    least = Slo(1, 0)
    for tier in Tier:
        if tier not in sold:
            continue
        own = sold[tier].slo
        tpot_us = own.tpot_us if own.is_window else max(own.tpot_us, least.tpot_us)
        least = Slo(max(own.ttft_us, least.ttft_us), tpot_us)
        notes = () if least == own else ("its promise is lengthened to that of the better tier",)
        ordered[tier] = replace(sold[tier], slo=least, notes=sold[tier].notes + notes)
    return ordered


def promise(chosen: Candidate, factors: TailFactors, slowdown: float = 1.0) -> tuple[Slo, bool]:
    """The p99 of a measured point as a promise, rounded up to two digits, and whether a factor was assumed.

    Args:
        chosen: the point.
        factors: p99 over the one statistic known.
        slowdown: how much longer everything takes than it was measured (an adapter's work, say).
    """
    ttft, tpot = ttft_tail(chosen.point, factors), tpot_tail(chosen.point, factors)
    slo = Slo(rounded_up(ttft.seconds * slowdown * US_PER_S), rounded_up(tpot.seconds * slowdown * US_PER_S))
    return slo, ttft.is_assumed or tpot.is_assumed


def rounded_up(value: float, digits: int = DIGITS) -> int:
    """The smallest whole number of at most so many significant digits that is no less than ``value``.

    >>> rounded_up(12_557.2), rounded_up(99.1), rounded_up(7.2), rounded_up(130_000)
    (13000, 100, 8, 130000)
    """
    whole = math.ceil(round(value, 6))
    unit = 10 ** max(len(str(whole)) - digits, 0)
    return -(-whole // unit) * unit


def _front(found: Candidates, tier: Tier, rules: TierRules) -> Frontier:
    return frontier(eligible(found, tier, rules))


def _bulk(front: Frontier, rules: TierRules) -> TierPoint:
    chosen = front.points[0]
    window = Slo(math.ceil(rules.flex_window_s * US_PER_S), 0)
    return TierPoint(
        Tier.BULK, chosen.tok_s_user, chosen.usd_per_mtok, chosen, window, yield_share=1.0, is_tail_assumed=False
    )


def _standard(front: Frontier, most: float, rules: TierRules) -> TierPoint:
    zone = front.goldilocks(rules.zone_share)
    products = front.x * front.y
    peak = zone.tok_s_user * float(front.yields(np.array([zone.tok_s_user]))[0])
    chosen, notes = front.attainable(zone.tok_s_user), ()
    if chosen.tok_s_user * chosen.tokens_per(front.axis) < SNAP_SHARE * peak:
        chosen = front.points[int(np.argmax(products))]
        notes = (_SPARSE,)
    return replace(_sold(Tier.STANDARD, front, zone.tok_s_user, chosen, most, rules), zone=zone, notes=notes)


def _sold(tier: Tier, front: Frontier, x: float, chosen: Candidate, most: float, rules: TierRules) -> TierPoint:
    slo, is_assumed = promise(chosen, rules.factors)
    share = chosen.tokens_per(front.axis) / most
    return TierPoint(tier, x, 1e6 / float(front.yields(np.array([x]))[0]), chosen, slo, share, is_assumed)


def _premium(found: Candidates, standard: TierPoint, most: float, rules: TierRules) -> TierPoint | str:
    """Premium's point, or why the class has none."""
    try:
        front = _front(found, Tier.PREMIUM, rules)
    except FrontierError as error:
        return str(error)
    needed = rules.separation * standard.chosen.tok_s_user
    premium = _fastest_with_share(front, most, rules)
    if premium is not None and premium.chosen.tok_s_user >= needed:
        return premium
    separate = front.next_at_least(needed)
    if separate is None:
        return (
            f"no measured point is {rules.separation:g} times as fast as standard's {standard.chosen.tok_s_user:.3g} "
            f"tok/s/user; the fastest reaches {front.high:.3g}"
        )
    raised = _sold(Tier.PREMIUM, front, separate.tok_s_user, separate, most, rules)
    note = f"raised to {rules.separation:g} times standard's speed, at {raised.yield_share:.1%} of the largest yield"
    return replace(raised, notes=(note,))


def _fastest_with_share(front: Frontier, most: float, rules: TierRules) -> TierPoint | None:
    floor = rules.premium_share * most
    x = front.fastest_with(floor)
    if x is None:
        return None
    chosen, notes = front.attainable(x), ()
    if chosen.tokens_per(front.axis) < SNAP_SHARE * floor:
        chosen = next(point for point in reversed(front.points) if point.tokens_per(front.axis) >= floor)
        notes = (_SPARSE,)
    return replace(_sold(Tier.PREMIUM, front, x, chosen, most, rules), notes=notes)


_ONE_LOAD = "only one load could be used, so how speed falls with load is not known"
_SPARSE = "measurements are sparse here, so the rule was applied to the measured points instead of the curve"
