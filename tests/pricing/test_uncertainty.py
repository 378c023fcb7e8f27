from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pricing.assumptions import Adder, Assumptions
from pricing.cost_plus import TierPrice
from pricing.costs import TokenCosts
from pricing.derivation_document import derivation_document
from pricing.derive import derive
from pricing.profiles import Profile
from pricing.slo import Tier
from pricing.uncertainty import Uncertainty, UncertaintyError, band
from pricing.usage import TokenClass
from tests.pricing.points import BOX, curve, point, profile

CERTAIN = Uncertainty(throughput=0, hourly=0, utilisation=0, leaves_out=False)
ONE = curve((10, 1_000), (50, 600), (100, 150))
OUTPUT = TokenClass.OUTPUT


def standard(*profiles: Profile, uncertainty: Uncertainty | None = None, **changes: Any) -> TierPrice:
    given = Assumptions(uncertainty=uncertainty, **changes)
    return derive("m", profiles, {"box": BOX}, given).tiers[Tier.STANDARD]


def test_where_nothing_is_uncertain_a_price_is_that_of_the_point_estimate() -> None:
    certain, plain = standard(ONE, uncertainty=CERTAIN), standard(ONE)
    assert certain.rates == plain.rates
    assert all(certain.bands[name].p90 == pytest.approx(plain.bands[name].p10) for name in TokenClass)


def test_a_band_is_as_wide_as_its_three_spreads_together() -> None:
    """ln C is normal with σ² = 0.06² + 0.10² + 0.05²; p90/p50 = exp(1.28155 σ), p75/p50 = exp(0.67449 σ)."""
    sigma = (0.06**2 + 0.10**2 + 0.05**2) ** 0.5
    price = standard(ONE, uncertainty=Uncertainty(draws=200_000))
    found, point_usd = price.bands[OUTPUT], price.cost.output / 1e6
    assert found.p50 == pytest.approx(point_usd, rel=0.002)
    assert found.p90 / found.p50 == pytest.approx(np.exp(1.28155 * sigma), rel=0.003)
    assert found.p50 / found.p10 == pytest.approx(np.exp(1.28155 * sigma), rel=0.003)
    assert price.cost_priced.output / price.cost_effective.output == pytest.approx(np.exp(0.67449 * sigma), rel=0.003)
    assert price.rates.output == pytest.approx(price.cost_priced.output * 1.4 * 1e6, abs=1)


@pytest.mark.parametrize("percentile", [10.0, 50.0, 90.0])
def test_the_percentile_that_prices_rest_on_is_an_operators_choice(percentile: float) -> None:
    """With every token on time and no overhead the effective cost is the cost."""
    given = {tier: {tier: 1.0} for tier in Tier}
    price = standard(ONE, uncertainty=Uncertainty(price_percentile=percentile), attainment=given)
    assert price.cost_priced.output == pytest.approx(getattr(price.bands[OUTPUT], f"p{percentile:.0f}"))


def test_equal_seeds_give_equal_bands_and_others_do_not() -> None:
    first, again = (standard(ONE, uncertainty=Uncertainty(seed=7)).bands for _ in range(2))
    assert first == again
    assert first != standard(ONE, uncertainty=Uncertainty(seed=8)).bands


def test_a_configuration_left_out_is_a_world_of_its_own() -> None:
    """Four machines, one twice as good: of five worlds one costs double, the other four do not.

    Each slower machine has the same shape at half the yield, so only the best is on the frontier.
    """
    best = profile(point(1, 100, 300), point(4, 50, 1_200), name="best")
    rest = [profile(point(1, 99, 150), point(4, 49, 600), name=f"rest{n}") for n in range(3)]
    price = standard(best, *rest, uncertainty=replace(CERTAIN, leaves_out=True, draws=1_000))
    assert price.spread is not None
    assert price.spread.worlds == 5
    values, counts = np.unique(np.round(price.spread.samples(OUTPUT), 9), return_counts=True)
    assert counts.tolist() == [800, 200]
    assert values[1] / values[0] == pytest.approx(2)
    assert price.rates.output == standard(best, *rest).rates.output
    assert price.bands[OUTPUT].p90 == pytest.approx(2 * price.bands[OUTPUT].p10)


def test_a_tier_that_only_one_configuration_carries_says_so() -> None:
    document = derivation_document(derive("m", [ONE], {"box": BOX}))
    assert [tier["uncertainty"]["irreplaceable"] for tier in document["tiers"]] == [["box-vllm-fp8-agg-tp1"]] * 3
    assert document["tiers"][0]["uncertainty"]["worlds"] == 1


def test_a_price_that_covers_the_loss_of_the_best_of_two_is_flagged() -> None:
    best = profile(point(1, 100, 300), point(4, 50, 1_200), name="best")
    rest = profile(point(1, 99, 150), point(4, 49, 600), name="rest")
    found = derive("m", [best, rest], {"box": BOX})
    assert any(
        flag.startswith("standard: few configurations were measured: the price rests on") for flag in found.flags
    )
    alike = [profile(point(1, 99, 150), point(4, 49, 600), name=f"alike{n}") for n in range(9)]
    assert not any("few configurations" in flag for flag in derive("m", [best, *alike], {"box": BOX}).flags)


def test_bands_follow_every_token_class_and_scale_with_what_an_hour_costs() -> None:
    once = standard(ONE, uncertainty=Uncertainty()).bands
    twice = derive("m", [ONE], {"box": replace(BOX, usd_per_hour=7.2)}).tiers[Tier.STANDARD].bands
    for name in TokenClass:
        assert twice[name].p90 == pytest.approx(2 * once[name].p90)
        assert once[name].p10 < once[name].p50 < once[name].p90


def test_an_adder_is_certain_but_for_the_utilisation_it_is_paid_at() -> None:
    adder = Adder(usd_per_mtok=TokenCosts(0, 0, 0, 5.0))
    still = standard(ONE, uncertainty=CERTAIN, adder=adder).bands[OUTPUT]
    assert still.p50 == pytest.approx(standard(ONE, uncertainty=CERTAIN).bands[OUTPUT].p50 + 5 / 0.6)


def test_utilisation_never_rises_above_one() -> None:
    price = standard(ONE, uncertainty=replace(CERTAIN, utilisation=0.5), utilisation=0.99)
    assert price.spread is not None
    assert price.spread.utilisation.max() == 1.0
    assert price.bands[OUTPUT].p10 == pytest.approx(price.cost_full.output)


def test_a_band_is_three_percentiles() -> None:
    """0…100 in steps of one: the percentiles are the values."""
    assert (band(np.arange(101.0)).p10, band(np.arange(101.0)).p90) == pytest.approx((10, 90))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"throughput": -0.1}, "spread of throughput"),
        ({"hourly": float("nan")}, "spread of hourly"),
        ({"draws": 5}, "draws must lie in"),
        ({"price_percentile": 100.0}, "price_percentile must lie in"),
    ],
)
def test_spreads_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UncertaintyError, match=message):
        Uncertainty(**changes)
