"""How each tier could be served on each kind of hardware, from what was measured: the capacity programme's columns."""

from collections.abc import Collection, Mapping

from pricing.candidates import Candidate, Candidates, FrontierError
from pricing.capacity import Hardware, Option
from pricing.frontier import frontier
from pricing.hardware import HardwareCost
from pricing.hardware_catalog import NO_PROFILE
from pricing.slo import Tier
from pricing.tiers import TierPoint, TierRules, eligible, promise


def tier_options(
    found: Candidates, sold: Mapping[Tier, TierPoint], rules: TierRules, utilisation: float = 1.0
) -> tuple[Option, ...]:
    """For every tier and hardware the best measured point that keeps the tier's promise.

    That is the point with the largest yield among those that keep the tier's ceiling, are at least as fast as what is
    sold and whose own p99 is no later than the promise (for bulk, at any speed). Hardware without one cannot serve the
    tier.

    Args:
        found: every point that may be used.
        sold: the tiers' points.
        rules: how they were chosen.
        utilisation: the share of a fleet's time that makes tokens; what stands idle must be run too.
    """
    options: list[Option] = []
    for tier, point in sold.items():
        by_hardware: dict[str, list[Candidate]] = {}
        for candidate in _keeping(point, _eligible(found, tier, rules), rules):
            by_hardware.setdefault(candidate.profile.configuration.hardware, []).append(candidate)
        for name, points in sorted(by_hardware.items()):
            front = frontier(points)
            best = front.points[0] if tier is Tier.BULK else front.next_at_least(point.chosen.tok_s_user)
            if best is not None:
                n_gpus = best.profile.configuration.n_gpus
                options.append(Option(tier, name, best.tok_s_per_gpu * utilisation, best.id, n_gpus))
    return tuple(options)


def _keeping(point: TierPoint, points: tuple[Candidate, ...], rules: TierRules) -> tuple[Candidate, ...]:
    """Those whose tails, promised, would promise no less than what is sold; all of them where a window is."""
    if point.slo.is_window:
        return points
    own = ((each, promise(each, rules.factors, point.slowdown)[0]) for each in points)
    return tuple(each for each, slo in own if slo.ttft_us <= point.slo.ttft_us and slo.tpot_us <= point.slo.tpot_us)


def _eligible(found: Candidates, tier: Tier, rules: TierRules) -> tuple[Candidate, ...]:
    try:
        return eligible(found, tier, rules)
    except FrontierError:
        return ()


def unused(counts: Mapping[str, float], options: tuple[Option, ...], measured: Collection[str]) -> dict[str, str]:
    """Hardware that one has and that serves no tier, and why.

    Args:
        counts: how many there are, by hardware.
        options: how each tier can be served.
        measured: hardware with points of the model and class.
    """
    serving = {option.hardware for option in options}
    return {
        name: "no measured point keeps any tier's promise" if name in measured else f"{NO_PROFILE} that can be costed"
        for name in counts
        if name not in serving
    }


def hardware_pools(
    options: tuple[Option, ...], costs: Mapping[str, HardwareCost], counts: Mapping[str, float]
) -> tuple[Hardware, ...]:
    """The kinds of hardware that the options run on, with their cost, power and how many there are at most."""
    names = sorted({option.hardware for option in options})
    return tuple(Hardware(name, costs[name].usd_per_hour, costs[name].kw, counts.get(name)) for name in names)
