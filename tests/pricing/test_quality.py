import itertools
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.assumptions import Assumptions
from pricing.candidates import Candidates, FrontierError, Selection, candidates
from pricing.capacity_options import tier_options
from pricing.derive import derive
from pricing.explain import explain
from pricing.hardware import hardware_costs
from pricing.profiles import Profile
from pricing.quality import LEVELS, Accuracy, Figure, Floor, QualityError, rank
from pricing.shipped import shipped_profiles
from pricing.slo import Tier
from pricing.tiers import BelowQuality, TierRules, eligible, tiers
from tests.pricing.points import BOX, CHAT, curve, found, point, profile

NAMES = [name for names in LEVELS for name in names]


def at(precision: str, name: str, *pairs: tuple[float, float], **configuration: str) -> Profile:
    """A deployment at a precision through (tok/s/user, output tok/s) pairs."""
    points = (point(2**step, x, y) for step, (x, y) in enumerate(sorted(pairs, reverse=True)))
    return profile(*points, name=name, precision=precision, **configuration)


COARSE = at("fp4", "coarse", (100, 300), (50, 2_000), (20, 4_000))
FINE = at("fp8", "fine", (90, 200), (45, 1_000), (18, 2_000))
GUESSED = at("fp8?", "guessed", (120, 400), (60, 3_000), (25, 6_000))


def pool(*profiles: Profile) -> Candidates:
    return candidates(profiles or (COARSE, FINE, GUESSED), "m", CHAT, {"box": BOX})


def figure(precision: str = "fp4", score: float = 0.49, **changes: Any) -> Figure:
    values: dict[str, Any] = {
        "model": "m",
        "precision": precision,
        "engine": "",
        "benchmark": "gpqa",
        "score": score,
        "reference": 0.50,
        "reference_precision": "bf16",
        "source": "own runs",
        "measured_on": date(2026, 11, 1),
    }
    return Figure(**{**values, **changes})


def test_precisions_are_ordered_from_coarse_to_fine() -> None:
    ranks = [rank(name) for name in ("q3_k", "fp4", "int4", "q5_k_m", "q6_k", "fp8", "bf16", "fp32")]
    assert None not in ranks
    assert ranks == sorted(ranks, key=lambda each: each or 0)
    assert len(set(ranks)) == len(ranks)
    assert rank("NVFP4") == rank("mxfp4") == rank("fp4")


@given(st.sampled_from(NAMES), st.sampled_from(NAMES))
def test_a_precision_passes_a_floor_when_it_is_no_coarser(own: str, least: str) -> None:
    passes = Floor(least).refusal(at(own, "one", (10, 10))) is None
    assert passes == ((rank(own) or 0) >= (rank(least) or 0))


@pytest.mark.parametrize(
    ("precision", "least"), [*itertools.product(["unknown", "", "fp8?", "bf16?"], ["fp4", "bf16"])]
)
def test_an_unknown_or_guessed_precision_passes_no_floor(precision: str, least: str) -> None:
    refusal = Floor(least).refusal(at(precision, "one", (10, 10)))
    assert refusal is not None
    assert "not known for sure" in refusal


def test_a_floor_that_is_no_precision_is_refused_with_the_order() -> None:
    with pytest.raises(QualityError, match=r"'fp9' is no precision.* < fp4 = nvfp4 = mxfp4 < int4"):
        Floor("fp9")


@pytest.mark.parametrize("least", [-0.1, 98.0, float("nan")])
def test_a_minimum_in_percent_is_refused(least: float) -> None:
    with pytest.raises(QualityError, match=r"write 98 % as 0\.98"):
        Floor(relative_min=least)
    with pytest.raises(QualityError, match="a gpqa accuracy minimum"):
        Floor(score_min={"gpqa": least})


def test_without_a_figure_no_minimum_is_met() -> None:
    assert Floor(relative_min=0.9).refusal(COARSE) == "no accuracy figure for m at fp4 on vllm"
    known = Accuracy((figure(),))
    assert Floor(score_min={"math": 0.4}, accuracy=known).refusal(COARSE) == "no math figure for m at fp4 on vllm"


def test_a_score_is_held_against_its_reference_and_against_a_least_score() -> None:
    known = Accuracy((figure(score=0.49), figure("fp8", 0.50)))  # 98 % and all of the reference's 0.50
    assert Floor(relative_min=0.98, accuracy=known).refusal(COARSE) is None
    below = Floor(relative_min=0.99, accuracy=known).refusal(COARSE)
    assert below == "m at fp4 on vllm keeps 0.98 of its reference on gpqa, below 0.99"
    assert Floor(relative_min=0.99, accuracy=known).refusal(FINE) is None
    assert Floor(score_min={"gpqa": 0.5}, accuracy=known).refusal(COARSE) == (
        "m at fp4 on vllm scores 0.49 on gpqa, below 0.5"
    )
    assert Floor(score_min={"gpqa": 0.49}, accuracy=known).refusal(COARSE) is None


def test_every_benchmark_must_keep_its_share() -> None:
    known = Accuracy((figure(score=0.50), figure(benchmark="math", score=0.40)))
    assert "math" in (Floor(relative_min=0.9, accuracy=known).refusal(COARSE) or "")


def test_the_newest_figure_and_the_engines_own_hold() -> None:
    old, new = figure(score=0.1), figure(score=0.5, measured_on=date(2026, 11, 2))
    assert Accuracy((old, new)).of("m", "fp4", "vllm") == (new,)
    own = figure(score=0.2, engine="vllm", measured_on=date(2026, 1, 1))
    assert Accuracy((old, new, own)).of("m", "fp4", "vllm") == (own,)
    assert Accuracy((old, new, own)).of("m", "fp4", "sglang") == (new,)
    assert Accuracy((own,)).of("m", "fp4", "sglang") == ()
    assert Accuracy((new, old)).of("m", "fp4", "vllm") == (new,)


def test_two_figures_of_one_day_are_refused() -> None:
    with pytest.raises(QualityError, match="two figures for m fp4 gpqa on 2026-11-01"):
        Accuracy((figure(), figure(score=0.3)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"score": 71.5}, r"write 71\.5 % as 0\.715"),
        ({"score": float("nan")}, "0 to 1"),
        ({"score": -0.1}, "0 to 1"),
        ({"reference": 0.0}, "above 0"),
        ({"score": 0.7, "reference": 0.007}, "same scale"),
        ({"source": ""}, "source must not be empty"),
    ],
)
def test_a_figure_that_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(QualityError, match=said):
        figure(**changes)


def test_a_floor_is_asked_before_the_frontier_is_drawn() -> None:
    """The coarse and the guessed points dominate; under a floor of FP8 only the fine ones are left."""
    rules = TierRules(floors={Tier.STANDARD: Floor("fp8")}, premium_share=0.01)
    chosen = tiers(pool(), rules)
    assert chosen.sold[Tier.STANDARD].chosen.profile.configuration.precision == "fp8"
    assert chosen.sold[Tier.STANDARD].chosen.tok_s_user == 45  # 45 · 1,000 is the largest of 18,000, 45,000, 36,000
    assert chosen.sold[Tier.BULK].chosen.profile.configuration.precision == "fp8?"
    assert chosen.sold[Tier.STANDARD].quality == "FP8 or finer is kept"


def test_a_floor_of_all_is_a_selection_and_says_what_it_left_out() -> None:
    left = candidates((COARSE, FINE), "m", CHAT, {"box": BOX}, Selection(floor=Floor("fp8")))
    assert {each.profile.configuration.precision for each in left.points} == {"fp8"}
    assert left.excluded == ((COARSE.id, "precision fp4 is below the floor of fp8"),)
    with pytest.raises(FrontierError, match="below the floor of bf16"):
        candidates((COARSE, FINE), "m", CHAT, {"box": BOX}, Selection(floor=Floor("bf16")))


def test_a_premium_that_nothing_is_good_enough_for_is_missing_with_the_reason() -> None:
    chosen = tiers(pool(), TierRules(floors={Tier.PREMIUM: Floor("bf16")}))
    assert Tier.PREMIUM not in chosen.sold
    assert (
        "is good enough for premium (precision bf16 or finer): precision fp4 is below" in chosen.missing[Tier.PREMIUM]
    )


def test_a_bulk_that_nothing_is_good_enough_for_is_missing_with_the_reason() -> None:
    chosen = tiers(pool(), TierRules(floors={Tier.BULK: Floor("bf16")}))
    assert Tier.STANDARD in chosen.sold
    assert "good enough for bulk" in chosen.missing[Tier.BULK]


def test_a_standard_that_nothing_is_good_enough_for_is_an_error() -> None:
    with pytest.raises(BelowQuality, match="good enough for standard"):
        tiers(pool(), TierRules(floors={Tier.STANDARD: Floor("bf16")}))


@given(st.sampled_from(NAMES), st.sampled_from(NAMES))
def test_a_higher_floor_never_admits_more_nor_makes_a_tier_cheaper(one: str, other: str) -> None:
    low, high = sorted((one, other), key=lambda name: rank(name) or 0)
    found_by: dict[str, set[str]] = {}
    for name in (low, high):
        try:
            kept = eligible(pool(COARSE, FINE), Tier.STANDARD, TierRules(floors={Tier.STANDARD: Floor(name)}))
        except BelowQuality:
            kept = ()
        found_by[name] = {each.id for each in kept}
    assert found_by[high] <= found_by[low]


def test_capacity_runs_a_tier_only_where_its_floor_allows() -> None:
    rules = TierRules(floors={Tier.STANDARD: Floor("fp8")})
    pools = pool(COARSE, FINE)
    options = tier_options(pools, tiers(pools, rules).sold, rules)
    by_tier = {option.tier: option.deployment_id for option in options}
    assert by_tier[Tier.STANDARD].startswith("box-vllm-fp8-agg-fine")
    assert by_tier[Tier.BULK].startswith("box-vllm-fp4-agg-coarse")


def test_a_tier_that_nothing_is_good_enough_for_has_no_capacity() -> None:
    pools = pool(COARSE, FINE)
    sold = tiers(pools).sold
    options = tier_options(pools, sold, TierRules(floors={Tier.PREMIUM: Floor("bf16")}))
    assert Tier.PREMIUM in sold
    assert {option.tier for option in options} == {Tier.STANDARD, Tier.BULK}


def test_a_declared_premium_keeps_its_floor_too() -> None:
    """The wafer does not say at which precision it serves."""
    wafer, b200 = "cs3-cerebras-unknown-agg-n1", Selection(hardware=frozenset({"b200"}))
    rules = TierRules(floors={Tier.PREMIUM: Floor("fp4")})
    asked = Assumptions(selection=b200, rules=rules, premium_deployment_id=wafer, uncertainty=None)
    with pytest.raises(BelowQuality, match=f"{wafer} cannot serve premium: precision unknown is not known for sure"):
        derive("gpt-oss-120b", shipped_profiles(), hardware_costs("hyperscaler"), asked)


def test_derived_prices_keep_the_floors_in_every_world() -> None:
    """No draw of standard's cost comes from a coarse point: one FP8 configuration alone, so it is irreplaceable."""
    given_ = Assumptions(lengths=CHAT, rules=TierRules(floors={Tier.STANDARD: Floor("fp8")}))
    prices = derive("m", (COARSE, FINE), {"box": BOX}, given_).tiers
    spread = prices[Tier.STANDARD].spread
    assert spread is not None
    assert spread.irreplaceable == (FINE.configuration.deployment_id,)
    assert "FP8" in explain(prices[Tier.STANDARD].point)
    assert "quality: FP8 or finer is kept" in explain(prices[Tier.STANDARD].point)


def test_an_explanation_says_the_figures_that_carry_a_tier() -> None:
    floor = Floor(relative_min=0.98, accuracy=Accuracy((figure(), figure("fp8", 0.5))))
    chosen = tiers(pool(COARSE, FINE), TierRules(floors=dict.fromkeys(Tier, floor)))
    assert chosen.sold[Tier.BULK].quality == "0.49 on gpqa, 98.00% of BF16's (own runs, 2026-11-01)"


def test_without_floors_nothing_changes() -> None:
    assert tiers(found(curve((100, 10), (50, 100)))).sold[Tier.BULK].quality == ""
