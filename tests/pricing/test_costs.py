from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.candidates import Candidate
from pricing.costs import (
    CacheShares,
    CostError,
    Scenario,
    blended_usd_per_mtok,
    scenarios_at,
    split_from,
    split_of,
    token_costs,
)
from pricing.profiles import LengthClass, Mode
from pricing.usage import TokenClass
from tests.pricing.points import BOX, CHAT, found, point, profile

CLASSES = (LengthClass(8192, 1024), LengthClass(1024, 1024), LengthClass(1024, 8192))


def scenario(lengths: LengthClass, input_s: float, output_s: float, stretch: float = 1.0) -> Scenario:
    """One accelerator that takes exactly so long per input and output token, times ``stretch``."""
    request_s = (input_s * lengths.isl + output_s * lengths.osl) * stretch
    return Scenario(lengths, lengths.isl / request_s, lengths.osl / request_s)


def test_two_pools_each_pay_for_their_own_tokens() -> None:
    """16 + 40 accelerators, 42,560 input and 5,320 output tokens a second."""
    configuration: dict[str, Any] = {"n_gpus": 56, "mode": Mode.DISAGGREGATED, "prefill_gpus": 16, "decode_gpus": 40}
    (both,) = found(profile(point(160, 36, 5_320, LengthClass(8192, 1024)), **configuration), lengths=CLASSES[0]).points
    split = split_of(both)
    assert split.method == "pools"
    assert split.input_s == pytest.approx(16 / 42_560)
    assert split.output_s == pytest.approx(40 / 5_320)
    costs = token_costs(split, usd_per_hour=1.41)
    assert costs.input == pytest.approx(1e6 * 1.41 * 16 / (3600 * 42_560))
    assert costs.output == pytest.approx(1e6 * 1.41 * 40 / (3600 * 5_320))


def test_a_disaggregated_deployment_of_unknown_pools_is_costed_as_one() -> None:
    (one,) = found(profile(point(1, 50, 100), n_gpus=4, mode=Mode.DISAGGREGATED)).points
    assert split_of(one).method == "ratio"


@given(st.floats(1e-6, 1e-2), st.floats(2.0, 12.0))
def test_three_classes_at_equal_speed_recover_what_input_and_output_tokens_take(input_s: float, ratio: float) -> None:
    split = split_from([scenario(lengths, input_s, ratio * input_s) for lengths in CLASSES])
    assert split.method == "fit"
    assert split.input_s == pytest.approx(input_s, rel=1e-6)
    assert split.output_s == pytest.approx(ratio * input_s, rel=1e-6)
    assert split.residual == pytest.approx(0, abs=1e-9)
    assert split.classes == CLASSES


def test_a_small_disagreement_between_classes_leaves_a_residual_and_keeps_the_fit() -> None:
    stretched = [scenario(each, 1e-4, 5e-4, stretch) for each, stretch in zip(CLASSES, (1.1, 1.0, 0.95), strict=True)]
    split = split_from(stretched)
    assert split.method == "fit"
    assert split.residual is not None
    assert 0 < split.residual <= 0.2


def test_the_fit_minimises_the_relative_error_of_a_request() -> None:
    """Against a brute force over a grid of (a, b), written with request lengths as in the definition."""
    stretched = [scenario(each, 1e-4, 5e-4, stretch) for each, stretch in zip(CLASSES, (1.1, 1.0, 0.95), strict=True)]
    split = split_from(stretched)

    def error(a: float, b: float) -> float:
        seconds = [each.lengths.isl / each.input_tok_s for each in stretched]
        return sum(
            ((a * s.lengths.isl + b * s.lengths.osl) / g - 1) ** 2 for s, g in zip(stretched, seconds, strict=True)
        )

    least = error(split.input_s, split.output_s)
    assert split.residual == pytest.approx((least / 3) ** 0.5)
    grid = np.linspace(0.5, 2, 61)
    assert all(error(split.input_s * u, split.output_s * v) >= least - 1e-12 for u in grid for v in grid)


def test_a_fit_beyond_its_limit_gives_only_its_ratio() -> None:
    stretched = [scenario(each, 1e-4, 5e-4, stretch) for each, stretch in zip(CLASSES, (2.0, 0.5, 1.5), strict=True)]
    split = split_from(stretched)
    assert split.method == "ratio"
    assert split.residual is not None
    assert split.residual > 0.2
    assert not split.is_ratio_assumed
    assert_pays_for_the_asked_class(split.input_s, split.output_s, stretched[0])


def test_two_classes_give_a_ratio_and_the_asked_class_the_level() -> None:
    pair = [scenario(each, 1e-4, 6e-4) for each in CLASSES[:2]]
    split = split_from(pair)
    assert (split.method, split.ratio) == ("ratio", pytest.approx(6))
    assert (split.input_s, split.output_s) == pytest.approx((1e-4, 6e-4))


def test_one_class_alone_tells_no_ratio_so_four_is_assumed_and_marked() -> None:
    """8192 input and 1024 output tokens in 1 s: a = 1/(8192 + 4 · 1024)."""
    split = split_from([Scenario(CLASSES[0], 8_192, 1_024)])
    assert (split.method, split.ratio, split.is_ratio_assumed) == ("ratio", 4.0, True)
    assert split.input_s == pytest.approx(1 / (8_192 + 4 * 1_024))
    assert split.output_s == pytest.approx(4 * split.input_s)


def test_classes_of_one_shape_tell_no_ratio_either() -> None:
    shapes = [scenario(LengthClass(n * 128, n * 16), 1e-4, 5e-4) for n in (1, 2, 4)]
    assert split_from(shapes).is_ratio_assumed


@pytest.mark.parametrize(("true_ratio", "clipped"), [(30.0, 12.0), (0.5, 2.0)])
def test_a_ratio_outside_two_to_twelve_is_clipped_marked_and_still_pays_for_the_asked_class(
    true_ratio: float, clipped: float
) -> None:
    scenarios = [scenario(each, 1e-4, true_ratio * 1e-4) for each in CLASSES]
    split = split_from(scenarios)
    assert (split.method, split.ratio, split.is_ratio_clipped) == ("ratio", clipped, True)
    assert_pays_for_the_asked_class(split.input_s, split.output_s, scenarios[0])


def test_input_that_seems_free_is_clipped_too() -> None:
    """Requests take the same time however long the prompt: a = 0, so ρ would be infinite."""
    split = split_from([Scenario(each, each.isl / each.osl, 1.0) for each in CLASSES])
    assert (split.ratio, split.is_ratio_clipped) == (12.0, True)


def assert_pays_for_the_asked_class(input_s: float, output_s: float, asked: Scenario) -> None:
    """An accelerator's second buys exactly its own input and output tokens."""
    assert input_s * asked.input_tok_s + output_s * asked.output_tok_s == pytest.approx(1)


def test_a_split_needs_a_class() -> None:
    with pytest.raises(CostError, match="at least the asked class"):
        split_from([])


def test_other_classes_are_read_at_the_points_own_speed_and_never_beyond_their_range() -> None:
    """At 20 tok/s/user: class B lies half way from 10 to 30 in speed, class C was never that slow."""
    b, c = LengthClass(1000, 4000), LengthClass(4000, 1000)
    measured = profile(
        point(4, 20, 80),
        point(8, 10, 400, b),
        point(2, 30, 100, b),
        point(1, 40, 50, c),
        point(2, 30, 60, c),
    )
    asked = Candidate(measured, measured.points[0], BOX)
    scenarios = scenarios_at(asked)
    assert [each.lengths for each in scenarios] == [CHAT, b]
    assert scenarios[0].output_tok_s == pytest.approx(80)
    assert scenarios[1].output_tok_s == pytest.approx(200)
    assert scenarios[1].input_tok_s == pytest.approx(50)


def test_cached_reads_and_cache_writes_are_shares_of_a_fresh_token() -> None:
    split = split_from([Scenario(CHAT, 500, 125)])
    costs = token_costs(split, usd_per_hour=3.6, shares=CacheShares(cached=0.25, cache_write=1.25))
    assert costs.input == pytest.approx(3.6 / 3_600 * 1e6 / 1_000)
    assert costs.cached == pytest.approx(0.25 * costs.input)
    assert costs.cache_write == pytest.approx(1.25 * costs.input)
    assert list(costs.by_class()) == list(TokenClass)
    default = token_costs(split, usd_per_hour=3.6)
    assert (default.cached, default.cache_write) == pytest.approx((0.1 * costs.input, costs.input))


def test_the_blend_of_a_class_is_its_cost_per_million_tokens() -> None:
    """The costs of a point's own tokens come to the point's dollars per million tokens."""
    (one,) = found(profile(point(1, 50, 100, CLASSES[0])), lengths=CLASSES[0]).points
    costs = token_costs(split_of(one), BOX.usd_per_hour)
    assert blended_usd_per_mtok(costs, CLASSES[0]) == pytest.approx(one.usd_per_mtok)


@pytest.mark.parametrize("shares", [{"cached": -0.1}, {"cached": 1.1}, {"cache_write": -1.0}])
def test_shares_that_cannot_be_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(CostError, match=r"cached in \[0, 1\]"):
        CacheShares(**shares)
