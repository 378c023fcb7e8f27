"""Prices that earn most from a demand: self-selection over the tiers, capacity, and prices that fall from tier to tier.

    maximise    Σ_t m_t(p) · q_t(p)            m = S·p − c, see :mod:`pricing.price_response`
    subject to  p_t ≥ C_eff,t,  p_t ≥ falls_t · p_next lower,  A · q ≤ b

The profit is not concave, so nothing can promise the best of all prices; :mod:`pricing.price_search` says how they are
looked for. Of many types a few hundred, drawn evenly by volume, stand for all while the search is wide; the last climbs
and the verdict look at all. The result says whether it has converged: whether a small step could still earn more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pricing.demand import Floats
from pricing.price_response import Market, Response
from pricing.price_search import SLACK, climbed, settled, slack, starts, thinned
from pricing.slo import Tier

SAMPLE = 400
LAST_CLIMBS = 3
SETTLED = 3
SCARCE = 1e-3
NOBODY = 1e-4
ALIKE = 1e-6
ANNEALED = (0.05, 0.01, 0.002)
"""Temperatures as shares of the mean value."""


@dataclass(frozen=True, slots=True)
class Optimum:
    """What the optimiser found.

    Attributes:
        prices: USD per million tokens, blended, by tier, best first.
        sold: million tokens per hour, by tier.
        sold_share: of all that could be sold, by tier.
        profit_usd_per_h: contribution over cost.
        used: of each resource, the share used.
        is_converged: no small step of the prices earns more.
        is_sold: whether anybody to speak of buys.
        flags: what a reviewer should look at.
    """

    prices: Mapping[Tier, float]
    sold: Mapping[Tier, float]
    sold_share: Mapping[Tier, float]
    profit_usd_per_h: float
    used: Mapping[str, float]
    is_converged: bool
    is_sold: bool
    flags: tuple[str, ...]


def optimise(market: Market) -> Optimum:
    """Finds the prices that earn most; equal arguments give equal results."""
    whole = Response(market)
    prices, is_converged = _best(replace(market, resources=()))
    if not whole.fits(whole.sales(prices[None]))[0]:
        prices, is_converged = _best(market)
    return _optimum(market, whole, prices, is_converged=is_converged)


def _best(market: Market) -> tuple[Floats, bool]:
    """The best prices found, and whether they have settled."""
    whole = Response(market)
    is_few = market.buyers.types <= SAMPLE
    sampled = whole if is_few else Response(market, representatives(market))
    begun = starts(sampled)
    found = _ranked(sampled, [*begun, *(climbed(sampled, start) for start in begun)])
    if not is_few:
        begun = [*thinned(whole, np.array(found[:LAST_CLIMBS])), *_annealed(market, whole, found[0])]
        found = _ranked(whole, [*begun, *(climbed(whole, start) for start in begun)])
    ended = [settled(whole, prices) for prices in found[: SETTLED if is_few else 1]]
    best = _ranked(whole, [prices for prices, _ in ended])[0]
    is_settled = next(is_settled for prices, is_settled in ended if np.array_equal(prices, best))
    return best, is_settled and slack(whole, best) <= SLACK


def _annealed(market: Market, whole: Response, start: Floats) -> list[Floats]:
    """Where the peaks of a smoother demand lie, from very smooth down to its own temperature.

    Many types without noise make a ground of tiny cliffs, on which every climb ends early.
    """
    mean, found = float(market.buyers.value.mean()), list[Floats]()
    for share in ANNEALED:
        if share * mean > market.temperature:
            start = climbed(Response(replace(market, temperature=share * mean)), start)
            found.append(start)
    return list(thinned(whole, np.array(found))) if found else []


def representatives(market: Market) -> NDArray[np.int64]:
    """Types that stand for equal parts of the volume each: every so many tokens an hour along a line of rising value.

    >>> from pricing.demand import Buyers, TierTerms
    >>> none, volume = np.zeros(3), np.array([0.0, 1.0, 9.0])
    >>> buyers = Buyers(np.array([3.0, 2.0, 1.0]), none, none, none, volume)
    >>> market = Market(buyers, TierTerms((Tier.BULK,), (1.0,), 1.0), (0.0,), 1.0)
    >>> np.bincount(representatives(market)).tolist()
    [0, 40, 360]
    """
    order = np.argsort(market.buyers.value, kind="stable")
    filled = np.cumsum(market.buyers.volume[order])
    if filled[-1] <= 0:
        return order[:SAMPLE]
    marks = (np.arange(SAMPLE) + 0.5) / SAMPLE * filled[-1]
    return order[np.searchsorted(filled, marks)]


def _ranked(response: Response, found: Sequence[Floats]) -> list[Floats]:
    """Prices that fit, best first, each differing from those before; where none fits, those at which nobody buys."""
    prices = np.array(found).reshape(-1, len(response.costs))
    sales = response.sales(prices)
    fits = response.fits(sales) if len(response.amount) else np.ones(len(prices), dtype=bool)
    gains = response.profits(prices, sales)
    kept: list[Floats] = []
    for index in np.argsort(-gains, kind="stable"):
        each = prices[index]
        if fits[index] and all(np.max(np.abs(each / other - 1)) > ALIKE for other in kept):
            kept.append(each)
    return kept or [response.ceiling]


def _optimum(market: Market, whole: Response, prices: Floats, *, is_converged: bool) -> Optimum:
    sales = whole.sales(prices[None])
    sold, tiers = sales[0], market.terms.tiers
    used = dict(zip((each.name for each in market.resources), map(float, whole.used(sales)[0]), strict=True))
    volume = float(whole.volume.sum())
    is_sold = volume > 0 and float(sold.sum()) >= NOBODY * volume
    return Optimum(
        prices=dict(zip(tiers, map(float, prices), strict=True)),
        sold=dict(zip(tiers, map(float, sold), strict=True)),
        sold_share=dict(zip(tiers, map(float, sold / max(volume, 1e-300)), strict=True)),
        profit_usd_per_h=float(whole.profits(prices[None], sales)[0]),
        used=used,
        is_converged=is_converged,
        is_sold=is_sold,
        flags=(*_doubts(market, is_converged=is_converged, is_sold=is_sold), *_bound(market, prices, used)),
    )


def _doubts(market: Market, *, is_converged: bool, is_sold: bool) -> list[str]:
    found: list[str] = []
    if not is_converged:
        found.append("the optimiser has not converged: a small step of a price may still earn more")
    if not is_sold:
        found.append("next to nobody buys at prices that cover cost: lower the costs, or look at the demand figures")
    mean = float(market.buyers.value.mean())
    if market.temperature > mean:
        found.append(
            f"tastes that are not modelled outweigh values (temperature {market.temperature:.4g}, mean value "
            f"{mean:.4g} USD/M): the prices rest on noise"
        )
    return found


def _bound(market: Market, prices: Floats, used: Mapping[str, float]) -> list[str]:
    """What holds the prices where they are, besides demand."""
    found = [f"{name} is used in full" for name, share in used.items() if share > 1 - SCARCE]
    margins = market.shares_earned @ prices - np.array(market.costs)
    for tier, margin, cost in zip(market.terms.tiers, margins, market.costs, strict=True):
        if cost > 0 and margin <= ALIKE * cost:
            found.append(f"{tier} is sold at cost")
    for index, least in enumerate(market.multiples):
        upper, lower = market.terms.tiers[index : index + 2]
        if prices[index] <= prices[index + 1] * least * (1 + ALIKE):
            found.append(f"{upper} is held above {lower}, at {least:.4g} times its price")
    return found
