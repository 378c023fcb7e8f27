"""How sure a cost is: draws over throughput, price of an hour and utilisation, and every configuration left out once.

A frontier is the best of many measurements, an extreme value, and a plain bootstrap of it is biased low. Instead there
is a *world* in which nothing is left out, and one for each configuration measured in the class in which that one is:
its figures may have been luck. Each world chooses its tiers anew from what is left. A draw takes a world, each equally
often, and scales its cost:

    ``C = C_world · exp(σ_c·z₁ − σ_T·z₂) / (u · exp(σ_u·z₃))``

with independent standard normal z, and the utilisation never above one. The draws are the same for every tier and token
class. Tokens bought at a declared price have no draws: the price is what is paid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pricing.candidates import Candidate, Candidates, FrontierError
from pricing.costs import CacheShares, Split, TokenCosts, split_of, token_costs
from pricing.frontier import frontier
from pricing.slo import Tier
from pricing.tiers import TierRules, eligible, tiers
from pricing.usage import TokenClass

Floats = NDArray[np.float64]
DRAWS_MIN, DRAWS_MAX = 100, 1_000_000
PERCENTILES = (10.0, 50.0, 90.0)
SIGMA_MAX = 2.0


class UncertaintyError(ValueError):
    """A spread, a number of draws or a percentile that cannot be."""


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """What is not known exactly, and how careful a price is about it.

    Attributes:
        throughput: σ of the log of throughput.
        hourly: σ of the log of the price of an hour.
        utilisation: σ of the log of utilisation.
        leaves_out: whether each configuration of the frontiers is left out once.
        price_percentile: prices rest on this percentile of the effective cost.
        draws: how many.
        seed: of the generator; equal seeds give equal bands.
    """

    throughput: float = 0.06
    hourly: float = 0.10
    utilisation: float = 0.05
    leaves_out: bool = True
    price_percentile: float = 75.0
    draws: int = 4_096
    seed: int = 20_261_124

    def __post_init__(self) -> None:
        for name in ("throughput", "hourly", "utilisation"):
            sigma: float = getattr(self, name)
            if not 0 <= sigma <= SIGMA_MAX:
                raise UncertaintyError(f"the spread of {name} must lie in [0, {SIGMA_MAX:g}], got {sigma}")
        if not DRAWS_MIN <= self.draws <= DRAWS_MAX:
            raise UncertaintyError(f"draws must lie in [{DRAWS_MIN}, {DRAWS_MAX}], got {self.draws}")
        if not 0 < self.price_percentile < 100:  # noqa: PLR2004 (percent)
            raise UncertaintyError(f"price_percentile must lie in (0, 100), got {self.price_percentile}")


@dataclass(frozen=True, slots=True)
class Costing:
    """What turns a measured point into costs per token class.

    Attributes:
        utilisation: u, the share of paid-for time that makes tokens.
        slowdown: how much longer a token takes than it was measured: a tuned model's adapter.
        cache: what cached reads and writes cost.
    """

    utilisation: float
    slowdown: float = 1.0
    cache: CacheShares = CacheShares()  # noqa: RUF009 (frozen)

    def full(self, candidate: Candidate) -> TokenCosts:
        """USD per million tokens of each class at full use, without an adder; zero for tokens bought at a price."""
        return self.of_split(split_of(candidate), candidate)

    def of_split(self, split: Split, candidate: Candidate) -> TokenCosts:
        """The same, where the candidate's split is known."""
        usd_per_hour = 0.0 if candidate.cost is None else candidate.cost.usd_per_hour
        return token_costs(split, usd_per_hour * self.slowdown, self.cache)


@dataclass(frozen=True, slots=True)
class Band:
    """A figure's 10th, 50th and 90th percentile, USD per million tokens."""

    p10: float
    p50: float
    p90: float


@dataclass(frozen=True, slots=True)
class Spread:
    """What one tier's tokens cost in every draw.

    Attributes:
        full: USD per million tokens of each class at full use, without an adder. Shape (draws, 4).
        utilisation: u in each draw. Shape (draws,).
        worlds: how many worlds the draws come from.
        irreplaceable: deployments without which the tier could not be sold; those worlds have no cost.
    """

    full: Floats
    utilisation: Floats
    worlds: int
    irreplaceable: tuple[str, ...] = ()

    def samples(self, name: TokenClass, extra_usd: float = 0.0) -> Floats:
        """Cost of a million tokens of a class in each draw, at that draw's utilisation. Shape (draws,).

        Args:
            name: the token class.
            extra_usd: a tuned model's adder, at full use.
        """
        return (self.full[:, list(TokenClass).index(name)] + extra_usd) / self.utilisation


@dataclass(frozen=True, slots=True)
class World:
    """The tiers that would be sold with one configuration left out.

    Attributes:
        left_out: the deployment id; None where nothing is, or nothing that matters.
        sold: the measured point of each tier.
        weight: how many worlds are like this one.
    """

    left_out: str | None
    sold: Mapping[Tier, Candidate]
    weight: int = 1


def worlds(found: Candidates, rules: TierRules, chosen: Mapping[Tier, Candidate]) -> tuple[World, ...]:
    """The world as measured, and one for each configuration without it; those that are on no frontier change nothing.

    Args:
        found: every point that may be used.
        rules: how tiers are chosen.
        chosen: the points that are sold with nothing left out.
    """
    names: dict[str, None] = {}
    kept: dict[int, Candidate] = {}
    for tier in Tier:
        try:
            points = eligible(found, tier, rules)
        except FrontierError:
            continue
        names.update({each.deployment_id: None for each in frontier(points).points})
        kept.update({id(each): each for each in _best_of_each(points)})
    best = replace(found, points=tuple(kept.values()))
    unchanged = len({each.deployment_id for each in found.points} - names.keys()) + 1
    return (World(None, chosen, unchanged), *(World(name, _sold_without(name, best, rules)) for name in names))


def _best_of_each(points: Sequence[Candidate]) -> list[Candidate]:
    """The points that no other of the same configuration beats: no frontier of several configurations has others."""
    by_deployment: dict[str, list[Candidate]] = {}
    for each in points:
        by_deployment.setdefault(each.deployment_id, []).append(each)
    return [best for own in by_deployment.values() for best in frontier(own).points]


def _sold_without(name: str, found: Candidates, rules: TierRules) -> dict[Tier, Candidate]:
    left = tuple(each for each in found.points if each.deployment_id != name)
    if not left:
        return {}
    try:
        return {tier: point.chosen for tier, point in tiers(replace(found, points=left), rules).sold.items()}
    except FrontierError:
        return {}


def spread(tier: Tier, among: Sequence[World], given: Uncertainty, costing: Costing) -> Spread:
    """Draws the costs of a tier.

    Args:
        tier: sold in the first world, the one as measured, at a point with a price of an hour.
        among: from :func:`worlds`.
        given: how much is not known.
        costing: what turns a point into costs.
    """
    sold = [world.sold[tier] for world in among if tier in world.sold for _ in range(world.weight)]
    full = {
        id(each): list(costing.full(each).by_class().values()) for each in {id(each): each for each in sold}.values()
    }
    generator = np.random.default_rng(given.seed)
    hourly, throughput, used = generator.standard_normal((3, given.draws))
    world = generator.permutation(given.draws) % len(sold)
    factor = np.exp(given.hourly * hourly - given.throughput * throughput)
    return Spread(
        full=np.array([full[id(each)] for each in sold])[world] * factor[:, None],
        utilisation=np.minimum(costing.utilisation * np.exp(given.utilisation * used), 1.0),
        worlds=len(sold),
        irreplaceable=tuple(each.left_out for each in among if each.left_out is not None and tier not in each.sold),
    )


def band(samples: Floats) -> Band:
    """The 10th, 50th and 90th percentile of some draws."""
    low, middle, high = np.percentile(samples, PERCENTILES)
    return Band(float(low), float(middle), float(high))
