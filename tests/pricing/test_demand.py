from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.demand import (
    Buyers,
    DemandError,
    TierTerms,
    shares,
    terms_of,
    tier_shares,
    utilities,
    worth,
)
from pricing.demand_document import drawn_buyers, shipped_demand
from pricing.slo import Slo, Tier

TERMS = TierTerms(tuple(Tier), (400.0, 100.0, 25.0), 100.0, (0.0, 1.0, 60.0), (0.01, 0.02, 0.5))


def buyers(*rows: tuple[float, float, float, float, float]) -> Buyers:
    return Buyers(*np.array(rows, dtype=float).T)


ONE = buyers((0.1, 0.5, 0.001, 0.1, 2.0))


def test_utility_is_value_by_speed_less_price_wait_and_misses() -> None:
    """v·√(x/x_s) = 0.2, 0.1, 0.05; less β·wait 0, 0.001, 0.06; less μ·miss 0.001, 0.002, 0.05."""
    assert worth(ONE, TERMS)[0] == pytest.approx([0.199, 0.097, -0.06])
    assert utilities(ONE, TERMS, np.array([0.1, 0.05, 0.01]))[0] == pytest.approx([0.099, 0.047, -0.07])


def test_logit_shares_are_odds_against_buying_nothing() -> None:
    """U/τ = ln 2, 0, ln 3: weights 2, 1, 3 against 1."""
    utility = np.array([[np.log(2), 0.0, np.log(3)]]) * 0.01
    assert shares(utility, 0.01)[0] == pytest.approx(np.array([2, 1, 3]) / 7)


def test_without_noise_everything_goes_to_the_best_and_ties_are_shared() -> None:
    utility = np.array([[1.0, 2.0, 0.5], [-1.0, -2.0, -3.0], [0.7, 0.7, 0.1], [0.0, -1.0, -1.0]])
    assert shares(utility, 0).tolist() == [[0, 1, 0], [0, 0, 0], [0.5, 0.5, 0], [1, 0, 0]]


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=3), st.floats(1e-3, 10))
def test_shares_are_shares_and_fall_with_their_own_price(utility: list[float], tau: float) -> None:
    before = shares(np.array([utility]), tau)[0]
    assert (before >= 0).all()
    assert before.sum() <= 1 + 1e-12
    after = shares(np.array([utility]) - np.array([0.1, 0, 0]), tau)[0]
    assert after[0] <= before[0]
    assert (after[1:] >= before[1:]).all()


def test_shares_survive_utilities_beyond_what_an_exponential_can_hold() -> None:
    assert shares(np.array([[1e6, -1e6, 1e6]]), 1e-3)[0] == pytest.approx([0.5, 0, 0.5])
    assert shares(np.array([[-1e6, -1e6, -1e6]]), 1e-3)[0] == pytest.approx([0, 0, 0])


MENU = np.array([0.35, 0.12, 0.04])


def test_shares_tend_to_the_hard_choice_as_noise_vanishes_and_the_choice_is_compatible_and_rational() -> None:
    """Incentive compatibility: no type prefers another tier. Individual rationality: none is worse off than without."""
    utility = utilities(drawn_buyers(shipped_demand(), 0.2, 3_000), TERMS, MENU)
    hard = shares(utility, 0)
    margin = np.sort(np.c_[utility, np.zeros(len(utility))], axis=1)
    clear = margin[:, -1] - margin[:, -2] > 1e-3
    assert np.abs(shares(utility, 1e-5)[clear] - hard[clear]).max() < 1e-9
    for row, chosen in zip(utility[clear], hard[clear], strict=True):
        got = row[chosen.argmax()] if chosen.any() else 0.0
        assert got >= max(row.max(), 0.0)


def test_realised_choices_are_compatible_and_rational_and_as_frequent_as_the_logit_says() -> None:
    """Gumbel noise on every option, buying nothing included: whoever chooses the best realised utility is content."""
    tau, draws = 0.02, 200_000
    utility = utilities(ONE, TERMS, np.array([0.18, 0.08, 0.02]))[0]
    noise = np.random.default_rng(1).gumbel(0, tau, (draws, 4))
    realised = np.append(utility, 0.0) + noise
    chosen = realised.argmax(axis=1)
    got = realised[np.arange(draws), chosen]
    assert (got >= noise[:, 3]).all()
    assert (got[:, None] >= realised).all()
    expected = shares(utility[None], tau)[0]
    frequent = np.bincount(chosen, minlength=4)[:3] / draws
    assert frequent == pytest.approx(expected, abs=4 * 0.5 / draws**0.5)


def test_what_is_offered_waits_as_long_as_is_promised_and_standard_is_the_reference() -> None:
    slo = Slo(2_000_000, 10_000)
    offered = {Tier.BULK: (25.0, Slo(900_000_000, 0)), Tier.STANDARD: (100.0, slo)}
    terms = terms_of(offered, {Tier.STANDARD: 0.03})
    assert terms == TierTerms((Tier.STANDARD, Tier.BULK), (100.0, 25.0), 100.0, (2.0, 900.0), (0.03, 0.0))
    assert terms_of({Tier.BULK: offered[Tier.BULK]}, {}).reference_tok_s_user == 25
    with pytest.raises(DemandError, match="at least one tier"):
        terms_of({}, {})


def test_a_tiers_share_of_the_market_is_by_volume() -> None:
    """Two types without noise: one of volume 3 buys premium at 1, one of volume 1 buys nothing."""
    two = buyers((2.0, 0.0, 0.0, 0.0, 3.0), (0.5, 0.0, 0.0, 0.0, 1.0))
    terms = TierTerms((Tier.PREMIUM, Tier.BULK), (2.0, 1.0), 1.0)
    assert tier_shares(two, terms, np.array([1.0, 1.5]), 0).tolist() == [0.75, 0.0]
    with pytest.raises(DemandError, match="no volume"):
        tier_shares(buyers((2.0, 0.0, 0.0, 0.0, 0.0)), terms, np.array([1.0, 1.5]), 0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: buyers((-1, 0, 0, 0, 1)), "value must be finite and not negative"),
        (lambda: buyers((1, float("nan"), 0, 0, 1)), "speed_taste must be finite"),
        (lambda: Buyers(*(np.zeros(n) for n in (1, 1, 1, 1, 2))), "equally many"),
        (lambda: Buyers(*(np.zeros(0) for _ in range(5))), "from 1 to"),
        (lambda: TierTerms((Tier.BULK, Tier.PREMIUM), (1.0, 2.0), 1.0), "best first"),
        (lambda: TierTerms((Tier.BULK,), (1.0, 2.0), 1.0), "one speed"),
        (lambda: TierTerms((Tier.BULK,), (0.0,), 1.0), "speeds must be above 0"),
        (lambda: TierTerms((Tier.BULK,), (1.0,), 1.0, (1.0,), (1.5,)), "miss shares in"),
        (lambda: shares(np.zeros((1, 1)), -1.0), "temperature must be 0 or more"),
        (lambda: worth(buyers((1, 1e4, 0, 0, 1)), TERMS), "beyond all numbers"),
    ],
)
def test_buyers_and_terms_that_cannot_be_are_refused(build: Any, message: str) -> None:
    with pytest.raises(DemandError, match=message):
        build()
