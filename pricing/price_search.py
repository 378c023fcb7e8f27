"""Finds the prices that earn most: where to start, how to climb, and when to stop.

The profit has many peaks, so the search starts wide. At a peak every price leaves some buyer type all but indifferent:
between buying and not buying, or between two tiers. For each way in which tiers can be tied to each other or to buying
nothing (a tree), :func:`menus` lists prices a few temperatures below such indifference, beside a plain grid. From the
best of these, well apart from each other, sequential quadratic programming climbs with the logit's exact slopes, and a
compass search settles the result.

Scarce capacity bends the ground: along its edge no step of one price helps, though a step of several would. So a menu
that needs more than there is is *thinned*: all its prices are raised by one factor until it fits. The best menus at
many shadow prices of capacity are thinned and then climbed from, and every step of the compass is thinned too.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, nnls

from pricing.demand import Floats
from pricing.price_response import Response

MENU_CELLS_MAX = 3_000_000
MENUS_MAX = 90_000
AXIS_MIN, AXIS_MAX = 5, {1: 1_000, 2: 64, 3: 24}
"""How many prices of one tier are looked at, at least and at most (by how many tiers there are)."""
BELOW = (1.0, 4.0)
"""How many temperatures below indifference a menu's price lies."""
HAIR = 1e-9
SHADOWS = np.geomspace(1e-3, 1e3, 13)
THINNED_MAX = 160
STARTS = 10
APART = 0.03
RANKED_MAX = 4_000
ITERATIONS_MAX = 80
THIN_STEPS = 30
FIRST, LAST, GAIN = 0.05, 1e-5, 1e-10
SHRINK = 4.0
ROUNDS_MAX = 80
COMPASS_CELLS_MAX = 16_000_000
TIGHT = 1e-6
SLACK = 1e-6
"""What a small step may still earn, as a share of the profit, where prices count as settled."""


def menus(sampled: Response) -> Floats:
    """Prices worth a look, all covering costs and falling from tier to tier. Shape (menus, tiers)."""
    tiers = len(sampled.costs)
    most = min(max(MENU_CELLS_MAX // sampled.worth.size, 500), MENUS_MAX)
    trees = list(_trees(tiers))
    size = min(max(int((most / (len(trees) + 1)) ** (1 / tiers)), AXIS_MIN), AXIS_MAX[tiers])
    found = [_grid(sampled, size)]
    for tree in trees:
        axes = [_axis(sampled, tier, other, size) for tier, other in enumerate(tree)]
        offsets = np.array(list(product(*axes)))
        found.append(_along(tree, offsets))
    prices = np.concatenate([sampled.lifted(np.zeros((1, tiers))), sampled.ceiling[None], *found])
    return np.minimum(sampled.lifted(prices), sampled.ceiling)


def _grid(sampled: Response, size: int) -> Floats:
    low = sampled.lifted(np.zeros(len(sampled.costs)))
    axes = [np.geomspace(max(least, 1e-4 * most), most, size) for least, most in zip(low, sampled.ceiling, strict=True)]
    return np.array(list(product(*axes)))


def _trees(tiers: int) -> Iterator[tuple[int | None, ...]]:
    """For each tier what its price is tied to: another tier, or None for buying nothing; without circles."""
    for tree in product(*([None, *(other for other in range(tiers) if other != tier)] for tier in range(tiers))):
        if all(_reaches_nothing(tree, tier) for tier in range(tiers)):
            yield tree


def _reaches_nothing(tree: Sequence[int | None], tier: int) -> bool:
    at: int | None = tier
    for _ in tree:
        at = tree[at] if at is not None else None
    return at is None


def _axis(sampled: Response, tier: int, other: int | None, size: int) -> Floats:
    """By how much a tier's price exceeds the other's (or zero) so that some type is all but indifferent."""
    gap = sampled.worth[tier] - (0.0 if other is None else sampled.worth[other])
    kinds = np.unique(gap)
    below = np.maximum(sampled.temperature * np.array(BELOW), HAIR * sampled.scale)
    count = max(size // len(below), 2)
    if len(kinds) > count:
        kinds = np.quantile(gap, (np.arange(count) + 0.5) / count)
    return np.unique(kinds[:, None] - below)


def _along(tree: Sequence[int | None], offsets: Floats) -> Floats:
    prices = np.zeros_like(offsets)
    for tier in range(len(tree)):
        at: int | None = tier
        while at is not None:
            prices[:, tier] += offsets[:, at]
            at = tree[at]
    return prices


def starts(sampled: Response) -> list[Floats]:
    """The best menus, well apart from each other; where capacity is scarce, those that fit and those thinned to fit."""
    prices = menus(sampled)
    sales = sampled.sales(prices)
    gains = sampled.profits(prices, sales)
    if len(sampled.amount):
        fits = sampled.fits(sales)
        over = thinned(sampled, prices[_scarce(sampled, gains, sales)])
        prices = np.concatenate([prices[fits], over])
        sales = sampled.sales(prices)
        gains = np.where(sampled.fits(sales), sampled.profits(prices, sales), -math.inf)
    found: list[Floats] = []
    for index in np.argsort(-gains, kind="stable")[:RANKED_MAX]:
        each = prices[index]
        if gains[index] > -math.inf and all(np.max(np.abs(np.log(each / other))) > APART for other in found):
            found.append(each)
        if len(found) == STARTS:
            break
    return found


def _scarce(sampled: Response, gains: Floats, sales: Floats) -> NDArray[np.intp]:
    """The menus that earn most when capacity has a price, at many such prices; by index."""
    used = np.maximum(sampled.used(sales), 0.0).sum(axis=1)
    unit = max(float(np.max(gains)), 1e-300)
    each = max(THINNED_MAX // len(SHADOWS), 1)
    return np.unique([np.argsort(-(gains - shadow * unit * used))[:each] for shadow in SHADOWS])


def thinned(response: Response, prices: Floats) -> Floats:
    """The same menus with all prices raised by the least factor found at which capacity suffices. Shape as given."""
    over = ~response.fits(response.sales(prices))
    if not over.any():
        return prices
    found, menu = prices.copy(), prices[over]
    high = np.log(np.maximum(np.max(response.ceiling / menu, axis=1), 1.0))
    low = np.zeros_like(high)
    for _ in range(THIN_STEPS):
        middle = (low + high) / 2
        fits = response.fits(response.sales(menu * np.exp(middle)[:, None]))
        low, high = np.where(fits, low, middle), np.where(fits, middle, high)
    found[over] = menu * np.exp(high)[:, None]
    return found


def climbed(response: Response, start: Floats) -> Floats:
    """Sequential quadratic programming from a start; its word is not taken for it, the result is thinned to fit.

    Prices are scaled by the start's. Costs and order are linear in prices; capacity is not.
    """
    if response.temperature == 0:
        return start
    worth = max(abs(response.profit_slope(start)[0]), 1e-12 * response.scale)

    def loss(x: Floats) -> tuple[float, Floats]:
        value, slope = response.profit_slope(x * start)
        return -value / worth, -slope * start / worth

    bonds, least = _bonds(response)
    constraints: list[dict[str, object]] = [
        {"type": "ineq", "fun": lambda x: bonds @ (x * start) - least, "jac": lambda _: bonds * start}
    ]
    if len(response.amount):
        constraints.append(
            {
                "type": "ineq",
                "fun": lambda x: 1 - response.used(response.sales((x * start)[None]))[0],
                "jac": lambda x: -(response.use / response.amount[:, None]) @ response.slopes(x * start)[1] * start,
            }
        )
    bounds = [(1e-6, max(float(top), 1.0)) for top in response.ceiling / start]
    options = {"maxiter": ITERATIONS_MAX, "ftol": 1e-12}
    with np.errstate(all="ignore"):
        found = minimize(
            loss, np.ones_like(start), jac=True, method="SLSQP", bounds=bounds, constraints=constraints, options=options
        )
    prices = np.minimum(response.lifted(found.x * start), response.ceiling) if np.isfinite(found.x).all() else start
    return thinned(response, prices[None])[0]


def _bonds(response: Response) -> tuple[Floats, Floats]:
    """Costs and order as ``A·p ≥ b``, each row scaled to be about one."""
    tiers = len(response.costs)
    order = np.eye(tiers)[:-1] - np.diag(response.multiples, k=1)[:-1] if tiers > 1 else np.zeros((0, 1))
    return np.concatenate([response.earned, order]), np.concatenate([response.costs, np.zeros(tiers - 1)])


def settled(response: Response, start: Floats) -> tuple[Floats, bool]:
    """Compass search: every combination of steps up and down, shrunk until none earns more; and whether it ended.

    Steps are shares of the prices, thinned where they would use more than there is. For many types, where each step
    looks at all of them, there are fewer rounds, and they start small where the climb has reached a peak.
    """
    moves = np.array([move for move in product((-1, 0, 1), repeat=len(start)) if any(move)], dtype=np.float64)
    rounds = min(COMPASS_CELLS_MAX // (len(moves) * response.worth.size) + 2, ROUNDS_MAX)
    best, gain = start, _profit(response, start)
    is_wide = rounds > ROUNDS_MAX // 4
    last = LAST if is_wide else LAST * SHRINK
    size = FIRST if is_wide else last * SHRINK ** (0 if slack(response, start) <= SLACK else 3)
    for _ in range(rounds):
        tried = np.minimum(response.lifted(best * np.exp(size * moves)), response.ceiling)
        tried = thinned(response, tried) if is_wide else tried
        sales = response.sales(tried)
        gains = np.where(response.fits(sales), response.profits(tried, sales), -math.inf)
        top = int(np.argmax(gains))
        if gains[top] > gain + GAIN * abs(gain):
            best, gain = tried[top], float(gains[top])
        elif size <= last:
            return best, True
        else:
            size /= SHRINK
    return best, False


def _profit(response: Response, prices: Floats) -> float:
    return float(response.profits(prices[None], response.sales(prices[None]))[0])


def slack(response: Response, prices: Floats) -> float:
    """What a small step could still earn to first order, as a share of the profit; zero at a peak.

    The profit's slope (per relative change of each price), less what costs, order and capacity that bind hold up, over
    a step as long as demand is even: a temperature, or a hundredth of the price. By Karush, Kuhn and Tucker nothing is
    left at a peak.
    """
    if response.temperature == 0:
        return 0.0
    value, slope = response.profit_slope(prices)
    if value <= 0:
        return 0.0
    held = [row * prices / least for row, least in _binding(response, prices)]
    if len(response.amount):
        sales, moved = response.slopes(prices)
        used = response.used(sales[None])[0]
        over = -(response.use / response.amount[:, None]) @ moved * prices
        held += [row for row, share in zip(over, used, strict=True) if share > 1 - 10 * TIGHT]
    left = slope * prices / value
    if held:
        matrix = np.array(held).T
        norms = np.maximum(np.linalg.norm(matrix, axis=0), 1e-300)
        left = left + (matrix / norms) @ nnls(matrix / norms, -left)[0]
    step = np.minimum(response.temperature / prices, 0.01)
    return float(np.sum((left**2) * step))


def _binding(response: Response, prices: Floats) -> list[tuple[Floats, float]]:
    bonds, least = _bonds(response)
    sizes = np.maximum(np.abs(bonds) @ prices, 1e-300)
    return [
        (row, float(size))
        for row, size, over in zip(bonds, sizes, bonds @ prices - least, strict=True)
        if over <= TIGHT * size
    ]
