from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.assumptions import Adder, AssumptionError, Assumptions, margins
from pricing.cost_plus import TierPrice, cost_plus, flags, rate_rounded_up
from pricing.costs import CacheShares, TokenCosts
from pricing.derive import derive, rate_cards
from pricing.money import Rate
from pricing.pricebook import price_book
from pricing.slo import Tier
from pricing.tiers import TierRules, tiers
from tests.pricing.points import BOX, CHAT, curve, found

POOL = found(curve((10, 1_000), (50, 600), (100, 100)))
CHOSEN = tiers(POOL, TierRules(ceilings={}))
PLAIN: dict[str, Any] = {
    "utilisation": 1.0,
    "attainment": {tier: {tier: 1.0} for tier in Tier},
    "margins": dict.fromkeys(Tier, 0.0),
}


def priced(**changes: Any) -> dict[Tier, TierPrice]:
    return cost_plus(CHOSEN, Assumptions(**{**PLAIN, **changes}))


def usd(price: TierPrice, kind: str = "output") -> float:
    return getattr(price.rates, kind) / 1e6


def test_at_full_use_and_attainment_without_margin_a_price_is_its_cost() -> None:
    """Standard: 600 output and 600 input tokens a second at 3.6 USD/h and ρ = 4: a = 1/(600 + 4·600) s."""
    standard = priced()[Tier.STANDARD]
    assert standard.cost_full.input == pytest.approx(1e-3 / 3_000 * 1e6)
    assert standard.rates.input == 333_334
    assert standard.rates.output == 1_333_334
    assert standard.cost == standard.rates


def test_idle_hours_are_paid_for_by_the_tokens_that_are_made() -> None:
    half = priced(utilisation=0.5)[Tier.STANDARD]
    assert half.cost.input == 666_667
    assert half.cost_effective.input == pytest.approx(2 / 3)


def test_tokens_that_miss_their_promise_are_paid_for_by_those_that_keep_it() -> None:
    """s = 0.8 and nothing else earns: 1/3 ÷ 0.8."""
    share = {tier: {tier: 0.8} for tier in Tier}
    assert priced(attainment=share)[Tier.STANDARD].cost_effective.input == pytest.approx(1 / 3 / 0.8)


def test_late_tokens_still_earn_the_lower_tiers_rate() -> None:
    """C_eff = (C − s_bulk · p_bulk)/s_standard with s = 0.8 and 0.2, bulk's price being its own cost, 0.2."""
    share = {tier: {tier: 1.0} for tier in Tier} | {Tier.STANDARD: {Tier.STANDARD: 0.8, Tier.BULK: 0.2}}
    prices = priced(attainment=share)
    assert usd(prices[Tier.BULK], "input") == pytest.approx(0.2)
    assert prices[Tier.STANDARD].cost_effective.input == pytest.approx((1 / 3 - 0.2 * 0.2) / 0.8)


def test_a_lower_tier_that_earns_more_than_a_token_costs_never_makes_a_cost_negative() -> None:
    share = {tier: {tier: 1.0} for tier in Tier} | {Tier.STANDARD: {Tier.STANDARD: 0.01, Tier.BULK: 0.99}}
    prices = priced(attainment=share, margins={**margins(0.0), Tier.BULK: 5.0})
    assert prices[Tier.STANDARD].cost_effective.input == 0
    assert prices[Tier.STANDARD].rates.input > prices[Tier.BULK].rates.input


def test_margins_and_overhead_are_added_after_the_effective_cost() -> None:
    prices = priced(margins=margins(0.4), overhead_usd_per_mtok=0.05)
    standard, premium = prices[Tier.STANDARD], prices[Tier.PREMIUM]
    assert usd(standard, "input") == pytest.approx((1 / 3 + 0.05) * 1.4, abs=1e-6)
    assert usd(premium, "input") == pytest.approx((1 / 500 * 1e-3 * 1e6 + 0.05) * 1.6, abs=1e-6)


def test_tiers_of_equal_cost_are_still_priced_apart_and_the_raise_is_noted() -> None:
    """One point is bulk and standard alike, and no margin tells them apart."""
    same = tiers(found(curve((100, 100), (50, 90))), TierRules(ceilings={}))
    prices = cost_plus(same, Assumptions(**PLAIN))
    bulk, standard = prices[Tier.BULK], prices[Tier.STANDARD]
    for dear, cheap in zip(standard.rates.by_class().values(), bulk.rates.by_class().values(), strict=True):
        assert dear == cheap + -(-cheap * 5 // 100)
    assert standard.notes == ("input, cached, cache_write, output raised to stay above the next lower tier",)
    assert bulk.notes == ()


def test_free_classes_are_priced_apart_by_a_pico() -> None:
    prices = priced(cache=CacheShares(cached=0.0))
    assert [price.rates.cached for price in prices.values()] == [3, 2, 1]


@pytest.mark.parametrize(
    ("usd_per_mtok", "rate"),
    [(0.0, 0), (0.1 + 0.2, 300_000), (1e-9, 1), (0.0230000001, 23_001), (1.1 * 3, 3_300_000), (1e9, 10**15)],
)
def test_a_float_becomes_a_rate_once_rounding_up_but_binary_debris_is_no_cost(usd_per_mtok: float, rate: int) -> None:
    assert rate_rounded_up(usd_per_mtok) == rate


@given(st.floats(0, 1e6))
def test_a_rate_is_never_below_its_cost_by_more_than_debris_nor_a_pico_above(usd_per_mtok: float) -> None:
    exact = Fraction(usd_per_mtok) * 10**6
    rate = rate_rounded_up(usd_per_mtok)
    assert exact - Fraction(1, 10**6) - exact / 2**52 <= rate < exact + 1 + exact / 2**52


@pytest.mark.parametrize("usd_per_mtok", [-0.1, float("nan"), float("inf"), 1.1e9])
def test_what_is_no_rate_is_refused(usd_per_mtok: float) -> None:
    with pytest.raises(AssumptionError, match="is no rate"):
        rate_rounded_up(usd_per_mtok)


costs_usd = st.floats(0.01, 100)


@given(
    st.lists(st.tuples(st.floats(5, 300), st.floats(10, 5_000)), min_size=2, max_size=12, unique_by=lambda xy: xy[0]),
    st.floats(0.05, 1.0),
    st.floats(0, 2),
    st.integers(0, 50),
)
def test_whatever_is_measured_and_assumed_a_book_of_the_cards_can_be_published(
    pairs: list[tuple[float, float]], utilisation: float, margin: float, step_percent: int
) -> None:
    given_ = Assumptions(
        utilisation=utilisation, margins=margins(margin), step_percent=step_percent, rules=TierRules(ceilings={})
    )
    derivation = derive("m", [curve(*pairs)], {"box": BOX}, given_)
    book = price_book(datetime(2026, 11, 24, tzinfo=UTC), rate_cards(derivation, "public"))
    assert book.tiers("public")[-1] is Tier.BULK
    for card in book.cards.values():
        rates, costs = card.rung.rates.by_class(), card.cost.by_class()
        assert all(rates[name] >= costs[name] for name in rates)


def test_flags_name_what_was_assumed_clipped_raised_or_unusual() -> None:
    prices = priced()
    found_flags = flags(prices, CHAT)
    assert "standard: the promise's p99 is assumed from one statistic" in found_flags
    assert "standard: output tokens are assumed to cost 4 times input tokens" in found_flags
    assert "premium is sold at 6.00 times standard; published multiples: 1.75 to 2.5" in found_flags
    assert "bulk is sold at 0.60 times standard; published multiples: 0.5" in found_flags
    without_standard = {tier: price for tier, price in prices.items() if tier is not Tier.STANDARD}
    assert not [flag for flag in flags(without_standard, CHAT) if "is sold at" in flag]
    split = prices[Tier.BULK].split
    assert split is not None
    clipped = replace(prices[Tier.BULK], split=replace(split, is_ratio_clipped=True))
    assert "bulk: the cost ratio of output to input tokens was clipped to 4" in flags({Tier.BULK: clipped}, CHAT)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"utilisation": 0.0}, r"utilisation must lie in \(0, 1\], got 0.0"),
        ({"utilisation": 1.01}, "utilisation must lie"),
        ({"utilisation": float("nan")}, "utilisation must lie"),
        ({"overhead_usd_per_mtok": -1.0}, "overhead_usd_per_mtok must not be negative"),
        ({"step_percent": -1}, "step_percent must not be negative"),
        ({"margins": {Tier.BULK: 0.1}}, "the premium margin must be 0 or more, got None"),
        ({"margins": {**margins(), Tier.BULK: float("inf")}}, "the bulk margin must be 0 or more, got inf"),
        ({"attainment": {tier: {} for tier in Tier}}, r"the premium attainment needs a share in \(0, 1\]"),
        ({"attainment": {tier: {Tier.PREMIUM: 1.0} for tier in Tier}}, "the standard attainment"),
        ({"attainment": {tier: {tier: 0.9, Tier.BULK: 0.2} for tier in Tier}}, "a sum of at most 1"),
    ],
)
def test_assumptions_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AssumptionError, match=message):
        Assumptions(**changes)


@pytest.mark.parametrize(
    "changes",
    [{"slowdown": 0.0}, {"slowdown": float("nan")}, {"tiers": frozenset()}, {"usd_per_mtok": TokenCosts(-1, 0, 0, 0)}],
)
def test_an_adder_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(AssumptionError):
        Adder(**changes)


def test_a_rate_is_money() -> None:
    assert isinstance(rate_rounded_up(1.0), int)
    assert rate_rounded_up(1.0) == Rate(1_000_000)
