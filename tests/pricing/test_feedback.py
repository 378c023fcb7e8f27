"""How an input moves after it was metered: never on little, never far, and always towards what was seen."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.costs import TokenCosts
from pricing.feedback import (
    Caution,
    FeedbackError,
    customer_weights,
    gpu_seconds,
    moved,
    moved_shares,
    utilisation,
    weight,
    weighted_median,
)
from pricing.slo import Tier
from pricing.usage import Usage

CAUTION = Caution()


def test_utilisation_pays_the_bill_for_the_hardware_exactly() -> None:
    """Two accelerators at $3.60/h for a day; tokens at C/u must come to 2 · 24 · 3.60 = $172.80."""
    costs = TokenCosts(input=0.1, cached=0.01, cache_write=0.1, output=0.5)
    used = Usage(input=50_000_000, cached=10_000_000, output=20_000_000)
    busy_s = gpu_seconds(used, costs, usd_per_hour=3.6)
    assert busy_s == pytest.approx((5 + 0.1 + 10) / (3.6 / 3600))
    u = utilisation(busy_s, 2 * 86_400)
    assert u is not None
    assert (50 * 0.1 + 10 * 0.01 + 20 * 0.5) / u == pytest.approx(172.8)
    assert utilisation(busy_s, 0) is None


def test_a_day_moves_a_figure_three_tenths_of_the_way_and_a_tenth_of_it_at_most() -> None:
    assert moved(0.6, 0.7, 0.2, 1.0) == pytest.approx(0.63)
    assert moved(0.6, 1.0, 0.2, 1.0) == pytest.approx(0.66)
    assert moved(0.6, 0.0, 0.2, 1.0) == pytest.approx(0.54)
    assert moved(0.6, 0.609, 0.2, 1.0) == 0.6  # 0.0027 is within the dead band of 0.003
    assert moved(0.6, math.nan, 0.2, 1.0) == 0.6
    assert moved(0.0, 0.5, 0.2, 1.0) == 0.0


@given(st.floats(0.01, 10), st.floats(0, 100), st.floats(0.01, 1), st.floats(1, 10))
def test_a_figure_moves_towards_what_was_seen_and_never_past_it_nor_far(
    before: float, observed: float, least: float, most: float
) -> None:
    after = moved(before, observed, least, most)
    wanted = min(max(observed, least), most)
    assert min(before, wanted) - 1e-6 <= after <= max(before, wanted) + 1e-6
    assert abs(after - before) <= CAUTION.clip * before + 1e-6


def test_what_is_seen_every_day_is_reached() -> None:
    value = 0.6
    for _ in range(60):
        value = moved(value, 0.3, 0.2, 1.0)
    assert value == pytest.approx(0.3, rel=CAUTION.dead_band / CAUTION.weight + 0.001)


shares = st.lists(st.floats(0, 1), min_size=3, max_size=3).map(
    lambda parts: {tier: part / max(sum(parts), 1.0) for tier, part in zip(Tier, parts, strict=True)}
)


@given(shares.filter(lambda found: found[Tier.PREMIUM] > 1e-5), shares)
def test_shares_stay_shares_however_they_move(before: dict[Tier, float], observed: dict[Tier, float]) -> None:
    after = moved_shares(before, observed, Tier.PREMIUM)
    assert 0 < after[Tier.PREMIUM] <= 1
    assert all(0 <= share <= 1 for share in after.values())
    assert math.fsum(after.values()) <= 1 + 1e-9
    for tier in Tier:
        assert abs(after.get(tier, 0.0) - before[tier]) <= CAUTION.clip + 1e-5


def test_a_tier_that_failed_altogether_keeps_a_share_to_divide_by() -> None:
    value = {Tier.BULK: 0.97}
    for _ in range(100):
        value = moved_shares(value, {}, Tier.BULK)
        assert value[Tier.BULK] > 0


def test_little_evidence_moves_nothing() -> None:
    assert not CAUTION.suffices(requests=199, tokens=10**9)
    assert not CAUTION.suffices(requests=10**6, tokens=49_999)
    assert CAUTION.suffices(requests=200, tokens=50_000)


@pytest.mark.parametrize("bad", [{"weight": 0.0}, {"clip": 1.0}, {"dead_band": -0.1}, {"requests_min": 0}])
def test_a_caution_that_cannot_be_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(FeedbackError, match="a caution needs"):
        Caution(**bad)  # pyright: ignore[reportArgumentType] (each a number of its field)


def test_tokens_count_by_what_they_cost() -> None:
    assert weight(Usage(input=8, cached=10, cache_write=2, output=3)) == pytest.approx(8 + 1 + 2 + 12)


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1e9), max_size=6), st.floats(1, 1e6))
def test_no_customer_outweighs_all_others_where_these_suffice(tokens: dict[str, float], least: float) -> None:
    weights = customer_weights(tokens, least)
    counted = {name: weights[name] * tokens[name] for name in tokens}
    for name, amount in counted.items():
        others = math.fsum(tokens.values()) - tokens[name]
        assert 0 < weights[name] <= 1
        assert amount <= max(others, 0.0) * (1 + 1e-9) or others < least


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 10)), min_size=1, max_size=20))
def test_half_of_the_weight_lies_on_either_side_of_the_median(pairs: list[tuple[float, float]]) -> None:
    middle = weighted_median(dict(enumerate(pairs)))
    half = math.fsum(each for _, each in pairs) / 2
    assert math.fsum(each for value, each in pairs if value <= middle) >= half * (1 - 1e-9)
    assert math.fsum(each for value, each in pairs if value >= middle) >= half * (1 - 1e-9)
