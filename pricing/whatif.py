"""What a lever is worth: the cost of the same speed without it, attainable and interpolated, ready for a tornado.

A *lever* is something one could do without (FP4, disaggregation, all engines but one, speculation) or have otherwise
(the price of power, who owns the hardware). Each is compared with the base at equal interactivity. What is *attainable*
without a restricting lever can never be cheaper than with it: the base chooses among the same points and more. What is
*interpolated* can, where the points left are sparse and the curve between them flatters; both are reported.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pricing.candidates import Candidate, FrontierError
from pricing.frontier import X_TOLERANCE, Frontier, OutsideMeasuredRange, frontier
from pricing.hardware import HardwareCost

POWER_USD_PER_KWH = 0.08
"""What a kilowatt-hour is taken to cost inside a $/hour that does not say: an assumption, stated with every result."""

_UNSAID = '"no MTP" keeps points whose source does not say whether they speculate; "no speculation" does not'

Recosted = Mapping[str, HardwareCost]


class WhatIfError(ValueError):
    """A lever that makes no sense."""


@dataclass(frozen=True, slots=True)
class Lever:
    """One thing done otherwise.

    Attributes:
        name: as a chart shows it, ``no FP4``.
        keeps: which points remain.
        costs: the price of an hour by hardware, where the lever changes it; hardware not in it has no cost any more.
        assumption: what had to be assumed; empty when nothing.
    """

    name: str
    keeps: Callable[[Candidate], bool] = lambda _: True
    costs: Recosted | None = None
    assumption: str = ""


@dataclass(frozen=True, slots=True)
class Effect:
    """What one lever does at one speed; dollars are per million tokens, input and output alike.

    Attributes:
        attainable: of the best measured point at least as fast; None when nothing so fast is left.
        interpolated: read off the curve; None outside the measured range.
        saved_usd: what the base saves over doing without the lever, attainable; negative when the lever is cheaper.
        saved_usd_interpolated: likewise, interpolated.
        deployment_id: of the attainable point.
        reason: why a figure is missing.
    """

    lever: str
    tok_s_user: float
    base_attainable: float
    base_interpolated: float
    attainable: float | None
    interpolated: float | None
    deployment_id: str | None
    reason: str = ""

    @property
    def saved_usd(self) -> float | None:
        """Attainable cost without the lever, less the base's."""
        return None if self.attainable is None else self.attainable - self.base_attainable

    @property
    def saved_usd_interpolated(self) -> float | None:
        """Interpolated cost without the lever, less the base's."""
        return None if self.interpolated is None else self.interpolated - self.base_interpolated


def levers(points: Iterable[Candidate]) -> tuple[Lever, ...]:
    """The restricting levers that mean something among some points: those that leave out some and keep some."""
    pool = tuple(points)
    engines = sorted({each.profile.configuration.engine for each in pool})
    known = (
        Lever("no FP4", lambda each: each.profile.configuration.precision.rstrip("?") not in {"fp4", "int4"}),
        Lever("no disaggregation", lambda each: each.profile.configuration.mode.value == "agg"),
        Lever("no MTP", _without_mtp, assumption=_UNSAID if any(map(_is_unsaid, pool)) else ""),
        Lever("no speculation", lambda each: each.profile.configuration.spec_decoding == "none"),
        *(Lever(f"{engine} only", _on_engine(engine)) for engine in engines),
    )
    return tuple(lever for lever in known if 0 < sum(map(lever.keeps, pool)) < len(pool))


def _without_mtp(candidate: Candidate) -> bool:
    return not candidate.profile.configuration.spec_decoding.startswith("mtp")


def _is_unsaid(candidate: Candidate) -> bool:
    return candidate.profile.configuration.spec_decoding == "unknown"


def _on_engine(engine: str) -> Callable[[Candidate], bool]:
    return lambda each: each.profile.configuration.engine == engine


def power_lever(
    costs: Mapping[str, HardwareCost], usd_per_kwh: float, included_usd_per_kwh: float = POWER_USD_PER_KWH
) -> Lever:
    """Another price of power. Where an hour was built up, its own energy is replaced; else the difference is added.

    Args:
        costs: by hardware; one whose power is not known drops out.
        usd_per_kwh: the price to try.
        included_usd_per_kwh: what a direct $/hour is taken to include.

    Raises:
        WhatIfError: a price that is negative, or makes an hour cost nothing.
    """
    if not (math.isfinite(usd_per_kwh) and usd_per_kwh >= 0 and included_usd_per_kwh >= 0):
        raise WhatIfError(f"a price of power must be 0 or more USD/kWh, got {usd_per_kwh} over {included_usd_per_kwh}")
    changed: dict[str, HardwareCost] = {}
    for name, cost in costs.items():
        if cost.kw is None:
            continue
        energy_usd = dict(cost.parts).get("energy", cost.kw * included_usd_per_kwh)
        usd_per_hour = cost.usd_per_hour - energy_usd + cost.kw * usd_per_kwh
        if usd_per_hour <= 0:
            raise WhatIfError(
                f"an hour of {name} costs {cost.usd_per_hour:g} USD; it cannot include {energy_usd:.4g} USD of energy"
            )
        changed[name] = replace(cost, usd_per_hour=usd_per_hour, parts=())
    return Lever(
        f"power at {usd_per_kwh:g} USD/kWh",
        costs=changed,
        assumption=f"a direct $/hour is taken to include power at {included_usd_per_kwh:g} USD/kWh",
    )


def ownership_lever(name: str, costs: Mapping[str, HardwareCost]) -> Lever:
    """Another kind of ownership, from its own costs by hardware."""
    return Lever(f"{name} ownership", costs=costs)


def effects(points: Sequence[Candidate], speeds: Iterable[float], tried: Iterable[Lever]) -> tuple[Effect, ...]:
    """What every lever does at every speed.

    Args:
        points: all that may be used in the base, the SLO filter already applied.
        speeds: tok/s/user, inside the base's measured range.
        tried: the levers.

    Raises:
        FrontierError: no points.
        OutsideMeasuredRange: a speed outside the base's range.
    """
    base = frontier(points)
    fronts = [(lever, _without(points, lever)) for lever in tried]
    return tuple(_effect(lever, front, base, x) for x in speeds for lever, front in fronts)


def _without(points: Iterable[Candidate], lever: Lever) -> Frontier | None:
    kept = [each for each in points if lever.keeps(each)]
    if lever.costs is not None:
        kept = [
            replace(each, cost=lever.costs[hardware])
            for each in kept
            if (hardware := each.profile.configuration.hardware) in lever.costs
        ]
    try:
        return frontier(kept)
    except FrontierError:
        return None


def _effect(lever: Lever, front: Frontier | None, base: Frontier, x: float) -> Effect:
    sure, read = base.attainable(x), base.at(x)
    known = (lever.name, x, sure.usd_per_mtok, read.usd_per_mtok)
    if front is None:
        return Effect(*known, None, None, None, "no measured point is left")
    best = front.next_at_least(x / (1 + X_TOLERANCE))
    if best is None:
        return Effect(*known, None, None, None, f"the fastest point left reaches {front.high:.4g} tok/s/user")
    try:
        interpolated, reason = front.at(x).usd_per_mtok, ""
    except OutsideMeasuredRange:
        interpolated, reason = None, f"the slowest point left is at {front.low:.4g} tok/s/user"
    return Effect(*known, best.usd_per_mtok, interpolated, best.deployment_id, reason)


def tornado(found: Iterable[Effect]) -> dict[float, tuple[Effect, ...]]:
    """Effects by speed, the largest attainable change first; a lever that nothing is left without comes before all."""
    by_speed: dict[float, list[Effect]] = {}
    for effect in found:
        by_speed.setdefault(effect.tok_s_user, []).append(effect)
    return {x: tuple(sorted(rows, key=_size, reverse=True)) for x, rows in by_speed.items()}


def _size(effect: Effect) -> float:
    return math.inf if effect.saved_usd is None else abs(effect.saved_usd)


def effect_document(effect: Effect) -> dict[str, Any]:
    """One bar, for machines; shares are of the base's cost."""
    saved, saved_interpolated = effect.saved_usd, effect.saved_usd_interpolated
    return {
        "lever": effect.lever,
        "interactivity_tok_s_user": effect.tok_s_user,
        "base_usd_per_mtok": {"attainable": effect.base_attainable, "interpolated": effect.base_interpolated},
        "usd_per_mtok": {"attainable": effect.attainable, "interpolated": effect.interpolated},
        "saved_usd_per_mtok": {"attainable": saved, "interpolated": saved_interpolated},
        "saved_share": {
            "attainable": None if saved is None else saved / effect.base_attainable,
            "interpolated": None if saved_interpolated is None else saved_interpolated / effect.base_interpolated,
        },
        "deployment": effect.deployment_id,
        "reason": effect.reason or None,
    }
