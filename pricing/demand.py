"""Who buys which tier at which price: one demand model for the optimiser and the simulator.

A buyer type i values a million tokens of tier t at

    ``U_it = v_i · (x_t / x_s)^γ_i − p_t − β_i · wait_t − μ_i · miss_t``

with x the tier's speed and x_s the reference (standard's), v its value in USD per million tokens there, γ how much
speed is worth to it, β what a second of waiting costs it and μ what a promise missed does, both in USD per million
tokens. It buys what it values most, or nothing, whose utility is zero. Tastes that are not modelled are Gumbel noise of
scale τ (USD per million tokens), so the shares are

    ``s_it = e^(U_it/τ) / (1 + Σ_k e^(U_ik/τ))``

and at τ = 0 everything goes to the best (ties shared; buying wins over not buying at zero).

**Source:** McFadden 1974 for the logit; Mussa and Rosen 1978 for quality as a menu.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from pricing.slo import US_PER_S, Slo, Tier

Floats = NDArray[np.float64]
TYPES_MAX = 1_000_000
UTILITY_MAX = 1e300


class DemandError(ValueError):
    """A buyer, an offer or a demand file that makes no sense."""


@dataclass(frozen=True, slots=True)
class Buyers:
    """Buyer types. Shape (types,) each; finite and none negative.

    Attributes:
        value: v, USD per million tokens at the reference speed.
        speed_taste: γ.
        wait_usd_per_s: β, USD per million tokens and second.
        miss_usd: μ, USD per million tokens if every promise were missed.
        volume: what the type would buy at most, million tokens per hour.
    """

    value: Floats
    speed_taste: Floats
    wait_usd_per_s: Floats
    miss_usd: Floats
    volume: Floats

    def __post_init__(self) -> None:
        shapes = {field.name: np.shape(getattr(self, field.name)) for field in fields(self)}
        if len(set(shapes.values())) != 1 or len(shapes["value"]) != 1 or not 1 <= shapes["value"][0] <= TYPES_MAX:
            raise DemandError(f"buyers need equally many figures each, from 1 to {TYPES_MAX}, got {shapes}")
        for name in shapes:
            values: Floats = getattr(self, name)
            if not (np.isfinite(values).all() and (values >= 0).all()):
                raise DemandError(f"every buyer's {name} must be finite and not negative")

    @property
    def types(self) -> int:
        """How many types there are."""
        return len(self.value)


@dataclass(frozen=True, slots=True)
class TierTerms:
    """What buyers are offered, best tier first.

    Attributes:
        tok_s_user: x_t.
        reference_tok_s_user: x_s.
        wait_s: expected wait before the first token; empty for none.
        miss_share: share of promises missed, in [0, 1]; empty for none.
    """

    tiers: tuple[Tier, ...]
    tok_s_user: tuple[float, ...]
    reference_tok_s_user: float
    wait_s: tuple[float, ...] = ()
    miss_share: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        ranks = [tier.rank for tier in self.tiers]
        lengths = {len(self.tok_s_user), len(self.waits), len(self.misses)}
        if not ranks or ranks != sorted(set(ranks)) or lengths != {len(ranks)}:
            raise DemandError(f"terms need tiers best first with one speed, wait and miss share each, got {self}")
        speeds = (*self.tok_s_user, self.reference_tok_s_user)
        if not all(math.isfinite(x) and x > 0 for x in speeds):
            raise DemandError(f"speeds must be above 0 tok/s/user, got {speeds}")
        waits, misses = self.waits, self.misses
        if not (all(math.isfinite(w) and w >= 0 for w in waits) and all(0 <= m <= 1 for m in misses)):
            raise DemandError(f"waits must be 0 s or more and miss shares in [0, 1], got {waits} and {misses}")

    @property
    def waits(self) -> tuple[float, ...]:
        """Seconds by tier; zero where not stated."""
        return self.wait_s or (0.0,) * len(self.tiers)

    @property
    def misses(self) -> tuple[float, ...]:
        """Shares by tier; zero where not stated."""
        return self.miss_share or (0.0,) * len(self.tiers)


def terms_of(offered: Mapping[Tier, tuple[float, Slo]], miss_share: Mapping[Tier, float]) -> TierTerms:
    """What buyers are offered by a model's tiers: its speeds, and as wait the time promised to the first token.

    The reference speed is standard's; without standard, that of the best tier sold.

    Args:
        offered: by tier, its speed in tok/s/user and its promise.
        miss_share: by tier, the share of promises that are missed.
    """
    tiers = tuple(tier for tier in Tier if tier in offered)
    if not tiers:
        raise DemandError("terms need at least one tier")
    return TierTerms(
        tiers=tiers,
        tok_s_user=tuple(offered[tier][0] for tier in tiers),
        reference_tok_s_user=offered[Tier.STANDARD if Tier.STANDARD in offered else tiers[0]][0],
        wait_s=tuple(offered[tier][1].ttft_us / US_PER_S for tier in tiers),
        miss_share=tuple(miss_share.get(tier, 0.0) for tier in tiers),
    )


def worth(buyers: Buyers, terms: TierTerms) -> Floats:
    """What each type would pay for each tier at most: its utility before the price. Shape (types, tiers).

    Raises:
        DemandError: a worth beyond all numbers.
    """
    ratio = np.log(np.array(terms.tok_s_user) / terms.reference_tok_s_user)
    with np.errstate(over="ignore", invalid="ignore"):
        values = buyers.value[:, None] * np.exp(buyers.speed_taste[:, None] * ratio)
        waits = buyers.wait_usd_per_s[:, None] * np.array(terms.waits)
        found = values - waits - buyers.miss_usd[:, None] * np.array(terms.misses)
    if not (np.abs(found) < UTILITY_MAX).all():
        raise DemandError("a tier's worth to some buyer is beyond all numbers; lower speed_taste, values or waits")
    return found


def utilities(buyers: Buyers, terms: TierTerms, prices: Floats) -> Floats:
    """Utility of each type for each tier at blended prices in USD per million tokens. Shape (types, tiers)."""
    return worth(buyers, terms) - prices


def shares(utility: Floats, temperature: float) -> Floats:
    """Which share of each type buys each tier; the rest buys nothing. Shape as ``utility``.

    Args:
        utility: shape (…, types, tiers).
        temperature: τ in USD per million tokens; 0 is the hard choice.
    """
    if not (math.isfinite(temperature) and temperature >= 0):
        raise DemandError(f"a temperature must be 0 or more, got {temperature}")
    best = np.maximum(utility.max(axis=-1, keepdims=True), 0.0)
    if temperature == 0:
        chosen = (utility == best).astype(np.float64)
        return chosen / np.maximum(chosen.sum(axis=-1, keepdims=True), 1.0)
    with np.errstate(over="ignore", under="ignore"):
        weight = np.exp((utility - best) / temperature)
        outside = np.exp(-best / temperature)
    return weight / (weight.sum(axis=-1, keepdims=True) + outside)


def tier_shares(buyers: Buyers, terms: TierTerms, prices: Floats, temperature: float) -> Floats:
    """Which share of all that could be bought goes to each tier. Shape (tiers,).

    Raises:
        DemandError: no type has any volume.
    """
    total = float(buyers.volume.sum())
    if total <= 0:
        raise DemandError("the buyers have no volume: nothing can be bought at any price")
    return buyers.volume @ shares(utilities(buyers, terms, prices), temperature) / total
