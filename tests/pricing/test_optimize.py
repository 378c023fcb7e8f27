import math
from collections.abc import Callable
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.demand import Buyers, DemandError, TierTerms, shares, utilities
from pricing.demand_document import drawn_buyers, shipped_demand, temperature
from pricing.optimize import Optimum, optimise
from pricing.price_response import Market, Resource
from pricing.slo import Tier

P, S, B = Tier.PREMIUM, Tier.STANDARD, Tier.BULK
ALONE = TierTerms((S,), (100.0,), 100.0)
TWO = TierTerms((S, B), (100.0, 30.0), 100.0)
THREE = TierTerms((P, S, B), (300.0, 100.0, 30.0), 100.0)
TERMS = {1: ALONE, 2: TWO, 3: THREE}
COSTS = {1: (0.2,), 2: (0.2, 0.05), 3: (0.5, 0.2, 0.05)}
USE = {1: (3.0,), 2: (3.0, 1.0), 3: (9.0, 3.0, 1.0)}


def buyers(values: Any, tastes: Any = 0.0, volumes: Any = 1.0) -> Buyers:
    shape = np.shape(values)
    none = np.zeros(shape)
    return Buyers(np.array(values, float), np.full(shape, tastes), none, none, np.full(shape, volumes))


def small(seed: int, tiers: int, tau: float, amount: float | None) -> Market:
    """A random market of two to seven types."""
    generator = np.random.default_rng(seed)
    count = int(generator.integers(2, 8))
    drawn = buyers(
        generator.uniform(0.2, 2, count), generator.uniform(0, 1, count), volumes=generator.uniform(1, 3, count)
    )
    resources = () if amount is None else (Resource("gpu", USE[tiers], amount),)
    return Market(drawn, TERMS[tiers], COSTS[tiers], tau, resources)


def sold_at(market: Market, prices: Any) -> Any:
    utility = utilities(market.buyers, market.terms, np.array(prices))
    return market.buyers.volume @ shares(utility, market.temperature)


def profit(market: Market, prices: Any) -> float:
    return float((np.array(prices) - np.array(market.costs)) @ sold_at(market, prices))


def brute(market: Market, steps: int, top: float) -> float:
    """The largest profit on a dense grid of prices that keep cost, order and resources; none of the search's code."""
    axes = [np.concatenate([np.linspace(cost, top, steps), np.geomspace(cost, top, steps)]) for cost in market.costs]
    grid = np.array(list(product(*axes)))
    for index in range(len(axes) - 1):
        grid = grid[grid[:, index] >= 1.01 * grid[:, index + 1]]
    best = 0.0
    for part in np.array_split(grid, max(len(grid) // 4_000, 1)):
        utility = utilities(market.buyers, market.terms, np.zeros(len(axes)))[None] - part[:, None, :]
        sold = np.einsum("pit,i->pt", shares(utility, market.temperature), market.buyers.volume)
        gains = ((part - np.array(market.costs)) * sold).sum(axis=1)
        for each in market.resources:
            gains[sold @ np.array(each.per_mtok) > each.amount] = -math.inf
        best = max(best, float(gains.max()))
    return best


def test_one_tier_and_one_type_has_the_logit_monopolys_price() -> None:
    """p − C = τ/(1 − s) and s = 1/(1 + e^((p − v)/τ)): with C = 0, v = 2, τ = 1, p = 1 + W(e) = 2 and s = ½."""
    found = optimise(Market(buyers([2.0]), ALONE, (0.0,), 1.0))
    assert found.prices[S] == pytest.approx(2.0, rel=1e-4)
    assert found.sold[S] == pytest.approx(0.5, rel=1e-4)
    assert found.profit_usd_per_h == pytest.approx(1.0, rel=1e-8)
    assert (found.is_converged, found.is_sold, found.flags) == (True, True, ())


@settings(max_examples=15, deadline=None)
@given(st.floats(0.1, 10), st.floats(0, 3), st.floats(0.02, 5), st.floats(0.1, 100))
def test_a_logit_monopoly_marks_up_by_tau_over_what_it_does_not_sell(
    value: float, cost: float, tau: float, volume: float
) -> None:
    found = optimise(Market(buyers([value], volumes=volume), ALONE, (cost,), tau))
    share = found.sold[S] / volume
    assert found.prices[S] - cost == pytest.approx(tau / (1 - share), rel=1e-3)
    assert found.is_sold == (share >= 1e-4)


def test_two_types_are_told_apart_as_mussa_and_rosen_have_it() -> None:
    """No noise, no cost; worth of standard (high, low) = (3, 1), of bulk = (1.5, 0.8).

    Bulk leaves the low type nothing, 0.8; standard leaves the high type its rent 1.5 − 0.8, so it costs 3 − 0.7 = 2.3.
    One of each: 3.1. Standard alone at 3 earns 3, for both at 1 only 2.
    """
    high, low = math.log(0.5) / math.log(0.3), math.log(0.8) / math.log(0.3)
    found = optimise(Market(buyers([3.0, 1.0], np.array([high, low])), TWO, (0.0, 0.0), 0.0))
    assert found.prices == pytest.approx({S: 2.3, B: 0.8}, rel=1e-6)
    assert found.profit_usd_per_h == pytest.approx(3.1, rel=1e-6)
    assert found.sold == {S: 1.0, B: 1.0}


def test_when_the_high_type_is_common_the_low_type_is_shut_out() -> None:
    """Three high types: rent for all of them (3 · 0.7) exceeds what the low one pays (0.8), so sell standard at 3."""
    high, low = math.log(0.5) / math.log(0.3), math.log(0.8) / math.log(0.3)
    drawn = buyers([3.0, 1.0], np.array([high, low]), np.array([3.0, 1.0]))
    found = optimise(Market(drawn, TWO, (0.0, 0.0), 0.0))
    assert found.profit_usd_per_h == pytest.approx(9, rel=1e-6)
    assert found.sold == {S: 3.0, B: 0.0}


def test_without_noise_the_price_is_what_the_best_set_of_types_would_pay() -> None:
    """Values 1, 3, 4 and cost 0.5: all three at 1 earn 1.5, two at 3 earn 5, one at 4 earns 3.5: sell at 3."""
    found = optimise(Market(buyers([1.0, 3.0, 4.0]), ALONE, (0.5,), 0.002))
    assert found.prices[S] == pytest.approx(3, rel=0.01)
    assert found.profit_usd_per_h == pytest.approx(5, rel=0.01)


def test_many_types_without_noise_pay_what_the_best_set_of_them_would() -> None:
    """The oracle tries every type's value as the price: cliffs by the thousand, of which one is the highest."""
    generator = np.random.default_rng(5)
    values, volumes = generator.lognormal(0, 0.8, 1_500), generator.lognormal(0, 1, 1_500)
    best = max(float((value - 0.3) * volumes[values >= value].sum()) for value in values)
    found = optimise(Market(buyers(values, volumes=volumes), ALONE, (0.3,), 0.0))
    assert best * 0.999 <= found.profit_usd_per_h <= best * (1 + 1e-9)


def test_capacity_rations_by_price() -> None:
    """Ten types at 1…10 and room for three: the price settles where three buy, between 7 and 8."""
    found = optimise(Market(buyers(np.arange(1.0, 11)), ALONE, (0.0,), 0.02, (Resource("gpu", (2.0,), 6.0),)))
    assert 7 < found.prices[S] <= 8
    assert found.sold[S] == pytest.approx(3, rel=0.02)
    assert found.used["gpu"] <= 1


@settings(max_examples=10, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([1, 2]),
    st.sampled_from([0.003, 0.03, 0.2, 1.0]),
    st.sampled_from([6.0, 2.0, None]),
)
def test_no_dense_grid_finds_more_on_small_markets(seed: int, tiers: int, tau: float, amount: float | None) -> None:
    market = small(seed, tiers, tau, amount)
    found = optimise(market)
    assert found.profit_usd_per_h >= brute(market, 60, 4.0) * (1 - 1e-6)
    assert found.profit_usd_per_h == pytest.approx(profit(market, list(found.prices.values())))
    assert all(share <= 1 for share in found.used.values())


@pytest.mark.parametrize(("seed", "tau", "amount"), [(5, 0.2, 6.0), (16, 0.03, 2.0), (42, 0.2, 2.0), (7, 0.003, None)])
def test_no_dense_grid_finds_more_with_three_tiers(seed: int, tau: float, amount: float | None) -> None:
    market = small(seed, 3, tau, amount)
    assert optimise(market).profit_usd_per_h >= brute(market, 22, 4.0) * (1 - 1e-6)


@pytest.fixture(scope="module")
def default() -> tuple[Market, Optimum]:
    model = shipped_demand()
    drawn = drawn_buyers(model, 0.2, 4_000)
    market = Market(drawn, THREE, (0.19, 0.05, 0.018), temperature(model, drawn), (Resource("gpu", (12, 3, 1), 2_000),))
    return market, optimise(market)


def test_prices_cover_cost_fall_from_tier_to_tier_and_use_what_is_scarce(default: tuple[Market, Optimum]) -> None:
    market, found = default
    prices = list(found.prices.values())
    assert all(price >= cost for price, cost in zip(prices, market.costs, strict=True))
    assert prices[0] >= 1.01 * prices[1] >= 1.01**2 * prices[2] * (1 - 1e-9)
    assert found.used["gpu"] == pytest.approx(1, abs=1e-6)
    assert found.used["gpu"] <= 1
    assert "gpu is used in full" in found.flags
    assert found.is_converged
    assert sum(found.sold_share.values()) == pytest.approx(sum(found.sold.values()) / market.buyers.volume.sum())


def test_at_the_optimum_the_hard_choice_is_compatible_and_rational(default: tuple[Market, Optimum]) -> None:
    market, found = default
    utility = utilities(market.buyers, market.terms, np.array(list(found.prices.values())))
    chosen = shares(utility, 0)
    got = (chosen * utility).sum(axis=1)
    assert (got >= utility.max(axis=1) - 1e-12)[chosen.any(axis=1)].all()
    assert (got >= 0).all()
    assert (utility[~chosen.any(axis=1)] < 0).all()
    assert len(set(chosen.argmax(axis=1)[chosen.any(axis=1)])) == 3


def test_at_the_optimum_realised_choices_are_compatible_rational_and_what_was_reckoned_with(
    default: tuple[Market, Optimum],
) -> None:
    """Each type draws Gumbel noise on every option, nothing included, many times; who chooses the best is content."""
    market, found = default
    utility = utilities(market.buyers, market.terms, np.array(list(found.prices.values())))
    options = np.c_[utility, np.zeros(len(utility))]
    generator, draws, sold = np.random.default_rng(3), 400, np.zeros(4)
    for _ in range(draws):
        noise = generator.gumbel(0, market.temperature, options.shape)
        realised = options + noise
        chosen = realised.argmax(axis=1)
        got = realised[np.arange(len(realised)), chosen]
        assert (got >= noise[:, 3]).all()
        assert (got[:, None] >= realised).all()
        sold += np.bincount(chosen, weights=market.buyers.volume, minlength=4)
    assert sold[:3] / draws == pytest.approx(list(found.sold.values()), rel=0.02)


def test_menus_earn_more_than_any_single_tier(default: tuple[Market, Optimum]) -> None:
    market, found = default
    free = optimise(Market(market.buyers, THREE, market.costs, market.temperature))
    for index, tier in enumerate(THREE.tiers):
        alone = TierTerms((tier,), (THREE.tok_s_user[index],), 100.0)
        single = optimise(Market(market.buyers, alone, (market.costs[index],), market.temperature))
        assert single.profit_usd_per_h < free.profit_usd_per_h
    assert found.profit_usd_per_h < free.profit_usd_per_h


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([2, 3]), st.sampled_from([0.03, 0.2, 1.0]))
def test_more_capacity_never_earns_less(seed: int, tiers: int, tau: float) -> None:
    gains = [optimise(small(seed, tiers, tau, amount)).profit_usd_per_h for amount in (0.7, 2.0, 6.0, 500.0)]
    for less, more in pairwise(gains):
        assert more >= less * (1 - 1e-9)


def test_tokens_that_are_late_earn_the_lower_tiers_price() -> None:
    """Half of standard's tokens earn 0.4 at most: its margin is (p + p_bulk)/2 − c, and the floor follows it."""
    earned = ((0.5, 0.5), (0.0, 1.0))
    market = Market(buyers([2.0, 1.0], 0.5), TWO, (0.3, 0.1), 0.05, earned=earned)
    found = optimise(market)
    standard, bulk = found.prices[S], found.prices[B]
    expected = ((standard + bulk) / 2 - 0.3) * found.sold[S] + (bulk - 0.1) * found.sold[B]
    assert found.profit_usd_per_h == pytest.approx(expected)
    dear = optimise(Market(buyers([0.5], 0.5), TWO, (1.0, 0.1), 0.05, earned=earned))
    assert dear.prices[S] >= (1.0 - 0.5 * dear.prices[B]) / 0.5 * (1 - 1e-9)


def test_an_upper_tier_worth_no_more_is_held_above_the_lower_one_and_says_so() -> None:
    """Nobody wants speed, and standard costs nothing more: it would undercut bulk if it might."""
    found = optimise(Market(buyers([1.0, 2.0]), TWO, (0.1, 0.5), 0.05, falls=(1.3,)))
    assert found.prices[S] >= 1.3 * found.prices[B] * (1 - 1e-9)
    assert "standard is held above bulk, at 1.3 times its price" in found.flags


def test_costs_that_nobody_would_pay_are_flagged_and_not_lost_on() -> None:
    found = optimise(Market(buyers([0.1, 0.2]), ALONE, (50.0,), 0.01))
    assert found.profit_usd_per_h == pytest.approx(0, abs=1e-9)
    assert not found.is_sold
    assert any("next to nobody buys" in flag for flag in found.flags)


def test_everybody_buys_what_is_cheap_and_much_wanted() -> None:
    found = optimise(Market(buyers([5.0] * 40), ALONE, (0.01,), 0.001))
    assert found.sold_share[S] == pytest.approx(1, abs=0.01)
    assert found.prices[S] == pytest.approx(5, rel=0.01)


@pytest.mark.parametrize(
    ("values", "tau", "volumes"),
    [
        ([1e6, 1e-6], 1e-6, 1.0),
        ([0.0, 0.0], 1.0, 1.0),
        ([0.0, 0.0], 0.0, 1.0),
        ([1.0], 1e6, 1.0),
        ([1e-9], 1e-12, 1.0),
        ([1.0, 2.0], 0.1, 0.0),
        ([1.0, 2.0], 0.0, 1.0),
        ([1e12], 0.1, 1e12),
        (np.ones(1_000), 0.1, 0.0),
    ],
)
def test_extreme_demand_gives_a_result_or_a_flag_but_no_nonsense(values: Any, tau: float, volumes: float) -> None:
    for resources in ((), (Resource("gpu", (9.0, 3.0, 1.0), 1e-9),)):
        found = optimise(Market(buyers(values, volumes=volumes), THREE, (0.3, 0.2, 0.1), tau, resources))
        assert all(math.isfinite(price) and price > 0 for price in found.prices.values())
        assert found.profit_usd_per_h >= 0
        assert found.is_sold or any("next to nobody buys" in flag for flag in found.flags)
        assert all(share <= 1 for share in found.used.values())


def test_noise_that_outweighs_values_is_flagged() -> None:
    assert any("rest on noise" in flag for flag in optimise(Market(buyers([1.0]), ALONE, (0.1,), 2.0)).flags)


def test_an_optimiser_stopped_early_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pricing.price_search.ROUNDS_MAX", 1)
    found = optimise(Market(buyers([1.0, 3.0]), ALONE, (0.5,), 0.1))
    assert not found.is_converged
    assert "has not converged" in found.flags[0]


def test_what_a_step_could_still_earn_counts_even_where_the_compass_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pricing.optimize.settled", lambda _, prices: (prices * 1.2, True))
    assert not optimise(Market(buyers([1.0, 3.0]), ALONE, (0.5,), 0.1)).is_converged


REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: Market(buyers([1.0]), ALONE, (0.1, 0.2), 1.0), "a cost of 0 or more for each of 1 tiers"),
    (lambda: Market(buyers([1.0]), ALONE, (-0.1,), 1.0), "a cost of 0 or more"),
    (lambda: Market(buyers([1.0]), ALONE, (0.1,), -1.0), "temperature of 0 or more"),
    (lambda: Market(buyers([1.0]), ALONE, (0.1,), 1.0, (Resource("x", (1.0,), 0.0),)), "an amount above 0"),
    (lambda: Market(buyers([1.0]), ALONE, (0.1,), 1.0, (Resource("x", (1.0,), math.nan),)), "an amount above 0"),
    (lambda: Market(buyers([1.0]), TWO, (0.1, 0.1), 1.0, falls=(1.0,)), "a multiple above 1"),
    (lambda: Market(buyers([1.0]), TWO, (0.1, 0.1), 1.0, earned=((1.0, 0.0), (0.1, 0.9))), "only of lower tiers"),
    (lambda: Market(buyers([1.0]), TWO, (0.1, 0.1), 1.0, earned=((0.9, 0.2), (0.0, 1.0))), "a sum of at most 1"),
    (lambda: Market(buyers([1.0]), TWO, (0.1, 0.1), 1.0, earned=((1.0,),)), "for each tier"),
]


@pytest.mark.parametrize(("build", "message"), REFUSED)
def test_markets_that_cannot_be_are_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(DemandError, match=message):
        build()
