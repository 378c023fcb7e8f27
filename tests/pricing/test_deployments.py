from dataclasses import replace

import pytest

from pricing.deployments import deployment, deployments, slowed
from pricing.money import Rate
from pricing.profiles import Basis, EngineLimits, LengthClass, ProfileError, Provenance
from pricing.shipped import shipped_profiles
from pricing.usage import Rates
from tests.pricing.points import CHAT, curve, point, profile

LONG = LengthClass(4000, 1000)


def test_a_load_curve_rises_with_load_in_microseconds() -> None:
    found = deployment(curve((100, 100), (50, 300), (20, 600)), CHAT)
    assert found.concurrency == (1, 2, 4)
    assert found.tpot_us == pytest.approx((10_000, 20_000, 50_000))
    assert found.ttft_us == pytest.approx((100_000, 200_000, 500_000))
    assert found.n_gpus == 1
    assert found.basis is Basis.MEASURED


def test_times_that_fall_as_load_rises_are_evened_out() -> None:
    """10 and 8 ms become their mean; the rise after them stays."""
    found = deployment(profile(point(1, 100, 100), point(2, 125, 250), point(4, 50, 200)), CHAT)
    assert found.tpot_us == pytest.approx((9_000, 9_000, 20_000))


def test_of_two_runs_of_one_load_the_slower_is_followed() -> None:
    found = deployment(profile(point(1, 100, 100), point(1, 50, 50)), CHAT)
    assert (found.concurrency, found.tpot_us) == ((1,), pytest.approx((20_000,)))
    assert len(found.points) == 1


def test_a_limit_that_nobody_stated_is_the_largest_load_measured_and_marked() -> None:
    measured = curve((100, 100), (50, 300))
    assumed, stated = deployment(measured, CHAT), deployment(replace(measured, limits=EngineLimits(16, 4096)), CHAT)
    assert (assumed.concurrency_max, assumed.is_limit_assumed, assumed.context_max) == (2, True, None)
    assert (stated.concurrency_max, stated.is_limit_assumed, stated.context_max) == (16, False, 4096)


def test_prefill_speed_is_the_slope_of_idle_first_tokens_over_prompt_lengths() -> None:
    """0.1 s + 1000/10,000 = 0.2 s, and 0.1 s + 4000/10,000 = 0.5 s."""
    measured = profile(point(1, 100, 100, ttft_s_p50=0.2), point(1, 100, 100, LONG, ttft_s_p50=0.5))
    found = deployment(measured, CHAT)
    assert found.prefill_tok_s == pytest.approx(10_000)
    assert found.ttft_base_us == pytest.approx(100_000)


def test_with_one_prompt_length_all_of_the_first_token_counts_as_prefill() -> None:
    found = deployment(profile(point(1, 100, 100, ttft_s_p50=0.25)), CHAT)
    assert found.prefill_tok_s == pytest.approx(4_000)
    assert found.ttft_base_us == pytest.approx(0)


def test_a_replica_takes_in_at_least_what_it_was_measured_to_take_in() -> None:
    """A loaded first token of 1 s says 1,000 prompt tokens a second, but 20,000 came in."""
    busy = profile(point(64, 100, 20_000, ttft_s_p50=1.0))
    assert deployment(busy, CHAT).prefill_tok_s == pytest.approx(20_000)
    assert deployment(busy, CHAT).ttft_base_us == pytest.approx(950_000)


def test_first_tokens_that_do_not_grow_with_the_prompt_still_give_a_finite_speed() -> None:
    flat = profile(point(1, 100, 100, ttft_s_p50=0.5), point(1, 100, 100, LONG, ttft_s_p50=0.1))
    assert deployment(flat, LONG).prefill_tok_s == pytest.approx(40_000)


def test_a_stated_prefill_speed_is_taken_as_it_is() -> None:
    stated = replace(profile(point(1, 100, 100, ttft_s_p50=0.25)), prefill_tok_s=8_000.0)
    assert deployment(stated, CHAT).prefill_tok_s == 8_000
    assert deployment(stated, CHAT).ttft_base_us == pytest.approx(125_000)


def test_a_slower_deployment_is_slower_in_everything() -> None:
    base = deployment(curve((100, 100), (50, 300)), CHAT)
    slow = slowed(base, 1.25)
    assert slow.tpot_us == pytest.approx((12_500, 25_000))
    assert slow.ttft_us == pytest.approx((125_000, 250_000))
    assert slow.prefill_tok_s == pytest.approx(base.prefill_tok_s / 1.25)
    assert slow.ttft_base_us == pytest.approx(base.ttft_base_us * 1.25)
    with pytest.raises(ProfileError, match="a slowdown must be above 0, got 0"):
        slowed(base, 0)


def test_a_class_that_was_not_measured_is_refused_with_those_that_were() -> None:
    with pytest.raises(ProfileError, match="not measured at ISL/OSL 4000/1000; measured: 1000/1000"):
        deployment(curve((100, 100)), LONG)


def test_deployments_are_those_of_a_model_and_class_by_id_and_cleaned() -> None:
    queued = point(64, 10, 640, ttft_s_p50=200.0)
    profiles = [
        profile(point(1, 100, 100), queued, name="b"),
        profile(point(1, 90, 90), name="a"),
        profile(point(1, 80, 80, LONG), name="c"),
        profile(point(1, 70, 70), name="d", model="other"),
    ]
    found = deployments(profiles, "m", 1000, 1000)
    assert [each.deployment_id for each in found] == ["box-vllm-fp8-agg-a", "box-vllm-fp8-agg-b"]
    assert found[1].concurrency == (1,)
    assert deployments(profiles, "nobody", 1000, 1000) == ()


def test_a_curve_with_any_point_that_is_not_measured_is_not_called_measured() -> None:
    declared = Provenance("vendor", Basis.DECLARED, "facts")
    mixed = profile(point(1, 100, 100), point(2, 90, 180, provenance=declared))
    assert deployment(mixed, CHAT).basis is Basis.MODELLED


def test_a_bought_offer_carries_its_price() -> None:
    price = Rates(Rate(1), Rate(2), Rate(3), Rate(4))
    assert deployment(replace(curve((100, 100)), price=price), CHAT).price == price


def test_every_shipped_curve_rises_and_predicts_idle_first_tokens_no_later_than_measured() -> None:
    for measured in shipped_profiles()[::5]:
        for lengths in measured.classes:
            found = deployment(measured, lengths)
            assert list(found.concurrency) == sorted(set(found.concurrency))
            assert list(found.tpot_us) == sorted(found.tpot_us)
            assert list(found.ttft_us) == sorted(found.ttft_us)
            assert found.prefill_tok_s > 0
            mean = found.points[0].isl_mean
            predicted_us = found.ttft_base_us + mean / found.prefill_tok_s * 1e6
            assert predicted_us <= max(each.ttft_s_p50 for each in found.points) * 1e6 * 1.001
