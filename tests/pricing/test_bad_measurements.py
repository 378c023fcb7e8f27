"""Bad input of pricing, through its public functions: a clear error or a flag, never a silent number."""

import json
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from pricing.assumptions import Assumptions
from pricing.candidates import Ceiling, FrontierError, admitted, candidates
from pricing.derive import derive
from pricing.frontier import frontier
from pricing.frontier_document import frontier_document
from pricing.hardware import HardwareCost, HardwareError
from pricing.plausible import oddities, refuse_mixed_units
from pricing.profile_document import FORMAT, profile_from_json
from pricing.profiles import OperatingPoint, Profile, ProfileError
from pricing.slo import Tier
from pricing.tiers import TierRules, tiers
from pricing.usage import TokenClass
from tests.pricing.points import BOX, CHAT, curve, found, point, profile

COSTS = {"box": BOX}


def document(*points: dict[str, Any], **changes: Any) -> str:
    """A profile document whose loads are given as ISL 1024, OSL 128 unless told otherwise."""
    base = {
        "format": FORMAT,
        "model": "m",
        "configuration": {"hardware": "box", "n_gpus": 1, "engine": "vllm", "precision": "fp8", "mode": "agg"},
        "provenance": {"source": "bench", "basis": "measured", "licence": "own measurement"},
        "points": [{"isl": 1024, "osl": 128, "concurrency": 1, **each} for each in points],
    }
    return json.dumps({**base, **changes})


def load(ttft_s: float, tpot_s: float, **changes: Any) -> dict[str, Any]:
    return {"ttft_s_p50": ttft_s, "tpot_s_p50": tpot_s, **changes}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (document(), r"points: expected a list with at least one object, got \[\]"),
        ("", "not JSON"),
        (document(load(0.2, 9.0)), "9 s per token is slower than anything served; is it in milliseconds"),
        (document(load(0.01, 1.5)), "the first cannot come that much sooner; is one of them in milliseconds"),
        (document(load(200.0, 0.01)), "200 s to read a prompt of 1024 tokens .* is the first token's time in millis"),
        (document(load(0.2, 1e-6)), "1,000,000 tok/s/user; is it in another unit"),
        (document(load(0.2, 11.0)), "times are in seconds: is this in milliseconds"),
        (document(load(0.2, 0.01, output_tok_s=99_000.0)), "are the times in milliseconds"),
        (document(load(0.2, 0.01, interactivity_tok_s_user=0.1)), "are the times in milliseconds"),
        (document(load(-0.2, 0.01)), "ttft_s_p50: expected a number above 0"),
        (document(load(0.2, 0.0)), "tpot_s_p50: expected a number above 0"),
        (document(load(0.2, 0.01), load(0.3, 0.02)), "two operating points for 1024/128 at concurrency 1"),
        (document(load(0.2, 0.01, concurrency=0)), "concurrency: expected a whole number from 1"),
        (document(load(0.2, 0.01), price_usd_per_mtok=dict.fromkeys(TokenClass, "-1")), "price_usd_per_mtok.input"),
    ],
)
def test_a_profile_that_cannot_be_is_refused_with_what_is_likely_meant(text: str, said: str) -> None:
    with pytest.raises(ProfileError, match=said):
        profile_from_json(text)


def test_slow_and_fast_machines_that_exist_are_no_mixed_units() -> None:
    """A laptop at 2 tok/s, a wafer at 1,844 tok/s, a long prompt read in 40 s beside others."""
    for ttft_s, tpot_s, concurrency in ((4.0, 0.5, 1), (0.25, 1 / 1_844, 1), (40.0, 0.02, 64), (0.03, 0.06, 512)):
        refuse_mixed_units(point(concurrency, 1 / tpot_s, 100, ttft_s_p50=ttft_s))


def test_one_load_alone_is_no_price_and_a_flagged_frontier() -> None:
    alone = profile(point(4, 50, 600))
    with pytest.raises(FrontierError, match="measured at one load only, concurrency 4"):
        derive("m", [alone], COSTS)
    drawn = found(alone)
    shown = frontier_document(drawn, frontier(drawn.points))
    assert shown["flags"] == ["one operating point alone: how speed falls with load is not known"]


def test_no_profile_at_all_is_an_error() -> None:
    with pytest.raises(FrontierError, match="no profile of 'm'"):
        derive("m", [], COSTS)


def test_loads_that_only_wait_are_an_error_that_says_how_long() -> None:
    waiting = [point(n, 100, 500, ttft_s_p50=60.0) for n in (2, 4)]
    with pytest.raises(FrontierError, match="every load of m at ISL/OSL 1000/1000 is queue-dominated"):
        derive("m", [profile(*waiting)], COSTS, Assumptions(lengths=CHAT))


def test_a_curve_that_speeds_up_under_load_is_flagged() -> None:
    odd = profile(point(1, 100, 100), point(4, 50, 400), point(8, 80, 900), name="odd")
    said = "box-vllm-fp8-agg-odd was measured faster at concurrency 8 than at 4 (80 against 50 tok/s/user)"
    assert any(flag.startswith(said) for flag in derive("m", [odd], COSTS).flags)
    drawn = found(odd)
    assert any(flag.startswith(said) for flag in frontier_document(drawn, frontier(drawn.points))["flags"])
    assert oddities(curve((100, 100), (50, 400), (30, 900)), CHAT) == ()


def test_runs_of_one_load_that_lie_far_apart_are_flagged() -> None:
    twice = profile(point(1, 100, 100), point(4, 80, 400), point(4, 40, 300), name="twice")
    assert oddities(twice, CHAT) == (
        "box-vllm-fp8-agg-twice at concurrency 4: runs of one day differ 2.0 times in speed",
    )


def test_of_duplicate_runs_the_newest_day_counts() -> None:
    def day(of: OperatingPoint, number: int) -> OperatingPoint:
        return replace(of, provenance=replace(of.provenance, measured_on=date(2026, 11, number)))

    old, new = day(point(4, 40, 300), 1), day(point(4, 50, 400), 2)
    both: Profile = profile(day(point(1, 100, 100), 2), old, new)
    only = profile(day(point(1, 100, 100), 2), new)
    assert (
        derive("m", [both], COSTS).tiers[Tier.STANDARD].rates == derive("m", [only], COSTS).tiers[Tier.STANDARD].rates
    )


@pytest.mark.parametrize("kw", [0.0, -1.0, float("nan"), float("inf")])
def test_no_power_is_no_power(kw: float) -> None:
    with pytest.raises(HardwareError, match="kw must be above 0"):
        HardwareCost("box", 1.0, kw=kw)


@pytest.mark.parametrize("usd", [0.0, -1.0, float("nan"), float("inf")])
def test_an_hour_that_costs_nothing_is_refused(usd: float) -> None:
    with pytest.raises(HardwareError, match="usd_per_hour must be above 0"):
        HardwareCost("box", usd)


def test_a_model_that_fits_no_hardware_is_an_error_with_the_sizes() -> None:
    """671 billion parameters at 1.03 bytes and 2 % of room are 705 GB."""
    small = {"box": HardwareCost("box", 3.6, hbm_gb=80)}
    with pytest.raises(FrontierError, match="705 GB of weights do not fit 1 x 80 GB"):
        candidates([curve((10, 100), (20, 50))], "m", CHAT, small, parameters_billion={"m": 671})


def test_no_point_that_keeps_an_slo_is_an_error_that_names_the_nearest() -> None:
    some = found(curve((100, 100), (50, 400)))
    with pytest.raises(
        FrontierError, match=r"keeps p99 first token <= 0\.01 s.*the earliest p99 first token is 0\.42 s"
    ):
        admitted(some, Ceiling(0.01))
    for tier, said in ((Tier.STANDARD, "no operating point"), (Tier.BULK, "no operating point")):
        with pytest.raises(FrontierError, match=said):
            tiers(some, TierRules(ceilings={tier: Ceiling(0.01)}))
    chosen = tiers(some, TierRules(ceilings={Tier.PREMIUM: Ceiling(0.01)}))
    assert "the earliest p99 first token is 0.42 s" in chosen.missing[Tier.PREMIUM]
