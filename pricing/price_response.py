"""What prices bring: sales, profit and how both move with each price; the ground that an optimiser climbs on.

Prices p are blended, in USD per million tokens at the reference mix, best tier first; sales q are million tokens an
hour. A token sold at tier t earns its own price where its promise was kept, and a lower tier's where only that tier's
was: a share S_tk of the tokens of tier t earns p_k. With c_t what a token costs us, the margin of a token of tier t is

    ``m = S·p − c``,  the profit  ``m·q(p)``,  and  ``m ≥ 0``  is  ``p_t ≥ C_eff,t``.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pricing.demand import Buyers, DemandError, Floats, TierTerms, worth

CELLS_MAX = 1_500_000
"""How many utilities are held at once."""
STEP = 0.01
ROOM = 40
"""So many temperatures above its worth and its cost, a tier is bought by fewer than one in 10¹⁷."""


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that tiers share and of which there is only so much.

    Attributes:
        per_mtok: by tier, in the order of the terms, what a million tokens take of it.
        amount: how much there is an hour; accelerator-hours, say.
    """

    name: str
    per_mtok: tuple[float, ...]
    amount: float


@dataclass(frozen=True, slots=True)
class Market:
    """Everything a price decision rests on; the order of the terms, best tier first, holds for all.

    Attributes:
        costs: c, USD per million tokens sold, blended.
        temperature: τ, USD per million tokens.
        falls: by tier but the lowest, how many times the next lower tier's price its price is at least; empty for 1.01.
        earned: S, by tier sold, the share of its tokens that earns each tier's price; empty where all earn their own.
    """

    buyers: Buyers
    terms: TierTerms
    costs: tuple[float, ...]
    temperature: float
    resources: tuple[Resource, ...] = ()
    falls: tuple[float, ...] = ()
    earned: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        count = len(self.terms.tiers)
        if len(self.costs) != count or not all(math.isfinite(cost) and cost >= 0 for cost in self.costs):
            raise DemandError(f"needs a cost of 0 or more for each of {count} tiers, got {self.costs}")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise DemandError(f"needs a temperature of 0 or more, got {self.temperature}")
        if len(self.multiples) != count - 1 or not all(math.isfinite(each) and each > 1 for each in self.multiples):
            raise DemandError(f"needs a multiple above 1 for each tier but the lowest, got {self.falls}")
        self._check_earned(count)
        for each in self.resources:
            self._check_resource(each, count)

    def _check_earned(self, count: int) -> None:
        if not self.earned:
            return
        is_square = [len(row) for row in self.earned] == [count] * count
        is_known = is_square and all(
            (share > 0 if tier == sold else share == 0 if tier < sold else share >= 0)
            for sold, row in enumerate(self.earned)
            for tier, share in enumerate(row)
        )
        if not is_known or any(math.fsum(row) > 1 + 1e-9 for row in self.earned):
            raise DemandError(
                "shares earned need, for each tier, a share above 0 at its own price, shares only of lower tiers and a "
                f"sum of at most 1, got {self.earned}"
            )

    def _check_resource(self, each: Resource, count: int) -> None:
        fits = len(each.per_mtok) == count and min(each.per_mtok) >= 0 and each.amount > 0
        if not (fits and all(map(math.isfinite, (*each.per_mtok, each.amount)))):
            raise DemandError(f"a resource needs a use of 0 or more for each tier and an amount above 0, got {each}")

    @property
    def multiples(self) -> tuple[float, ...]:
        """The least multiples between neighbours."""
        return self.falls or (1 + STEP,) * (len(self.terms.tiers) - 1)

    @property
    def shares_earned(self) -> Floats:
        """S. Shape (tiers, tiers)."""
        return np.array(self.earned) if self.earned else np.eye(len(self.terms.tiers))


class Response:
    """Sales, profit and their slopes for some buyer types; arrays are laid out by tier, then type.

    Attributes:
        worth: shape (tiers, types).
        volume: shape (types,).
        ceiling: prices at which next to nobody buys. Shape (tiers,).
    """

    def __init__(self, market: Market, chosen: NDArray[np.int64] | None = None) -> None:
        """Looks at all types, or at ``chosen`` ones standing for equal parts of the volume each."""
        values, volume = worth(market.buyers, market.terms).T, market.buyers.volume
        top = values.max(axis=1)
        if chosen is not None:
            volume = np.full(len(chosen), volume.sum() / len(chosen))
            values = values[:, chosen]
        self.worth, self.volume = np.ascontiguousarray(values), volume
        self.temperature, self.costs = market.temperature, np.array(market.costs)
        self.earned, self.multiples = market.shares_earned, market.multiples
        self.use = np.array([each.per_mtok for each in market.resources]).reshape(-1, len(self.costs))
        self.amount = np.array([each.amount for each in market.resources])
        self.scale = max(float(top.max()), *market.costs, market.temperature, 1e-300)
        room = ROOM * market.temperature + 1e-6 * self.scale
        self.ceiling = self.lifted(self.lifted(np.maximum(top, 0.0)) + room)

    def lifted(self, prices: Floats) -> Floats:
        """The least prices, no lower than given, that cover costs and fall from tier to tier. Shape (…, tiers)."""
        found = np.maximum(prices, 1e-9 * self.scale)
        for tier in range(len(self.costs) - 1, -1, -1):
            late = found[..., tier + 1 :] @ self.earned[tier, tier + 1 :]
            floor = (self.costs[tier] - late) / self.earned[tier, tier]
            found[..., tier] = np.maximum(found[..., tier], floor)
            if tier + 1 < len(self.costs):
                found[..., tier] = np.maximum(found[..., tier], found[..., tier + 1] * self.multiples[tier])
        return found

    def sales(self, prices: Floats) -> Floats:
        """Sales at many prices. Shape (points, tiers), as ``prices``."""
        size = max(CELLS_MAX // self.worth.size, 1)
        parts = [self._sales(prices[start : start + size]) for start in range(0, len(prices), size)]
        return np.concatenate(parts) if parts else np.zeros_like(prices)

    def _sales(self, prices: Floats) -> Floats:
        weight, rest = self._weights(self.worth[None] - prices[:, :, None])
        return np.einsum("ptn,pn->pt", weight, self.volume / rest)

    def _weights(self, utility: Floats) -> tuple[Floats, Floats]:
        """Unnormalised shares and what to divide them by; as :func:`pricing.demand.shares`, in place and transposed."""
        best = np.maximum(utility.max(axis=-2), 0.0)
        if self.temperature == 0:
            chosen = (utility == best[..., None, :]).astype(np.float64)
            return chosen, np.maximum(chosen.sum(axis=-2), 1.0)
        with np.errstate(over="ignore", under="ignore"):
            utility -= best[..., None, :]
            utility /= self.temperature
            np.exp(utility, out=utility)
            return utility, utility.sum(axis=-2) + np.exp(-best / self.temperature)

    def slopes(self, prices: Floats) -> tuple[Floats, Floats]:
        """Sales q and ``∂q_t/∂p_k = (Σ_i volume·s_it·s_ik − [t = k]·q_t)/τ`` at one set of prices; τ above 0."""
        weight, rest = self._weights(self.worth - prices[:, None])
        share = weight / rest
        sold = share * self.volume
        q = sold.sum(axis=1)
        return q, (sold @ share.T - np.diag(q)) / self.temperature

    def profits(self, prices: Floats, sales: Floats) -> Floats:
        """USD per hour. Shape (points,)."""
        return ((prices @ self.earned.T - self.costs) * sales).sum(axis=1)

    def profit_slope(self, prices: Floats) -> tuple[float, Floats]:
        """Profit and its gradient at one set of prices."""
        q, slope = self.slopes(prices)
        margin = self.earned @ prices - self.costs
        return float(margin @ q), self.earned.T @ q + slope.T @ margin

    def used(self, sales: Floats) -> Floats:
        """The share of each resource that is used. Shape (points, resources)."""
        return sales @ self.use.T / self.amount

    def fits(self, sales: Floats) -> NDArray[np.bool_]:
        """Where every resource suffices. Shape (points,)."""
        return np.all(self.used(sales) <= 1, axis=1)
