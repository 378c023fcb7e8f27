from typing import Any

import pytest

from pricing.candidates import (
    Axis,
    Candidate,
    Ceiling,
    FrontierError,
    Selection,
    TailFactors,
    admitted,
    candidates,
    tpot_tail,
    ttft_tail,
)
from pricing.hardware import HardwareCost
from pricing.money import Rate
from pricing.profiles import LengthClass, Mode, Profile
from pricing.usage import Rates
from tests.pricing.points import BOX, CHAT, curve, found, point, profile

FACTORS = TailFactors()


def test_a_tail_is_assumed_where_only_one_statistic_exists() -> None:
    only = point(1, 100, 100, ttft_s_p50=0.5)
    assert ttft_tail(only, FACTORS).seconds == pytest.approx(0.5 * 4.2)
    assert tpot_tail(only, FACTORS).seconds == pytest.approx(0.01 * 2.0)
    assert ttft_tail(only, FACTORS).is_assumed


def test_a_measured_tail_over_enough_requests_is_believed() -> None:
    many = point(1, 100, 100, ttft_s_p50=0.5, ttft_s_p99=0.6, requests=100)
    assert (ttft_tail(many, FACTORS).seconds, ttft_tail(many, FACTORS).is_assumed) == (0.6, False)
    unsaid = point(1, 100, 100, tpot_s_p99=0.011)
    assert (tpot_tail(unsaid, FACTORS).seconds, tpot_tail(unsaid, FACTORS).is_assumed) == (0.011, False)


def test_a_tail_over_few_requests_may_raise_the_assumed_one_but_not_lower_it() -> None:
    few = point(1, 100, 100, ttft_s_p50=0.5, ttft_s_p99=0.6, tpot_s_p99=0.03, requests=99)
    assert (ttft_tail(few, FACTORS).seconds, ttft_tail(few, FACTORS).is_assumed) == (pytest.approx(2.1), True)
    assert (tpot_tail(few, FACTORS).seconds, tpot_tail(few, FACTORS).is_assumed) == (0.03, False)


def test_a_p99_below_its_median_cannot_be_assumed() -> None:
    with pytest.raises(FrontierError, match="factors must be >= 1"):
        TailFactors(ttft=0.9)


def test_a_ceiling_looks_at_the_tail_not_at_the_median() -> None:
    measured = point(1, 100, 100, ttft_s_p50=0.5)
    assert Ceiling(2.1).admits(measured, FACTORS)
    assert not Ceiling(2.09).admits(measured, FACTORS)
    assert Ceiling(tok_s_user_min=50.0).admits(measured, FACTORS)
    assert not Ceiling(tok_s_user_min=50.1).admits(measured, FACTORS)


def test_the_filter_says_which_points_come_nearest_when_none_is_left() -> None:
    some = found(curve((100, 100), (10, 400)))
    message = r"m at ISL/OSL 1000/1000 keeps p99 first token <= 0.1 s, p99 speed >= 0 .* is 0.42 s .* 50 tok/s/user"
    with pytest.raises(FrontierError, match=message):
        admitted(some, Ceiling(0.1))
    with pytest.raises(FrontierError, match="keeps any first token, p99 speed >= 51"):
        admitted(some, Ceiling(tok_s_user_min=51))


def test_figures_per_accelerator_per_dollar_and_per_megawatt() -> None:
    """Two boxes at 3.6 USD and 2 kW each that make 500 + 500 tokens a second together."""
    (pair,) = found(profile(point(1, 100, 500), n_gpus=2)).points
    assert pair.tok_s_per_gpu == 500
    assert pair.output_tok_s_per_gpu == 250
    assert pair.usd_per_mtok == pytest.approx(2.0)
    assert pair.tok_s_per_mw == pytest.approx(250_000)
    assert [pair.tokens_per(axis) for axis in Axis] == pytest.approx([500_000, 250_000, 500])
    assert pair.id == "box-vllm-fp8-agg-tp1/c1"


def test_nothing_is_said_per_megawatt_where_the_power_is_not_known() -> None:
    (unpowered,) = candidates([curve((100, 100))], "m", CHAT, {"box": HardwareCost("box", 1.0)}).points
    assert unpowered.tok_s_per_mw is None
    with pytest.raises(FrontierError, match="the power of box is not known"):
        unpowered.tokens_per(Axis.MW)


def test_an_offer_bought_by_the_token_costs_its_price_at_the_points_own_mix() -> None:
    """One input token per output token at 1 and 3 USD per M."""
    price = Rates(Rate(1_000_000), Rate(0), Rate(0), Rate(3_000_000))
    measured = point(1, 100, 100)
    bought = Profile("m", profile(measured).configuration, (measured,), price=price)
    assert Candidate(bought, measured, None).usd_per_mtok == pytest.approx(2.0)
    assert Candidate(bought, measured, None).tok_s_per_mw is None
    with pytest.raises(FrontierError, match="neither a \\$/hour nor a declared price"):
        _ = Candidate(profile(measured), measured, None).usd_per_mtok


def test_what_cannot_be_costed_is_left_out_with_the_reason() -> None:
    price = Rates(Rate(1), Rate(1), Rate(1), Rate(1))
    bought = Profile("m", profile(point(1, 9, 9), name="b").configuration, (point(1, 9, 9),), price=price)
    others = [profile(point(1, 9, 9), hardware="tpu9"), profile(point(1, 9, 9), engine="sglang"), bought]
    kept = candidates(
        [curve((100, 100)), *others, profile(point(1, 9, 9), model="other")],
        "m",
        CHAT,
        {"box": BOX},
        Selection(engine=frozenset({"vllm"})),
    )
    assert [candidate.deployment_id for candidate in kept.points] == ["box-vllm-fp8-agg-tp1"]
    assert [reason for _, reason in kept.excluded] == [
        "no $/hour is known for tpu9",
        "engine sglang is not selected",
        "bought by the token: it has no $/hour",
    ]


def test_a_selection_for_no_speculation_takes_only_what_is_known_not_to_speculate() -> None:
    kinds = ["none", "mtp", "mtp?", "unknown"]
    profiles = [profile(point(1, 9, 9), spec_decoding=kind) for kind in kinds]
    only = Selection(spec_decoding=frozenset({"none"}))
    assert [each.configuration.spec_decoding for each in profiles if only.refusal(each) is None] == ["none"]


def test_every_part_of_a_configuration_can_be_selected() -> None:
    measured = profile(point(1, 9, 9))
    alone: dict[str, Any]
    another: dict[str, Any]
    for name, value in {
        "hardware": "box",
        "engine": "vllm",
        "precision": "fp8",
        "mode": "agg",
        "spec_decoding": "none",
        "deployment_id": "box-vllm-fp8-agg-tp1",
    }.items():
        alone, another = ({name: frozenset({each})} for each in (value, "other"))
        assert Selection(**alone).refusal(measured) is None
        assert Selection(**another).refusal(measured) == f"{name} {value} is not selected"


def test_a_model_that_does_not_fit_the_memory_is_left_out() -> None:
    """100 billion parameters at FP8 need 100 · 1.03 · 1.02 = 105.06 GB."""
    tight, ample = HardwareCost("box", 1.0, hbm_gb=105.0), HardwareCost("box", 1.0, hbm_gb=105.1)
    one = [curve((100, 100))]
    with pytest.raises(FrontierError, match="105 GB of weights do not fit 1 x 105 GB"):
        candidates(one, "m", CHAT, {"box": tight}, parameters_billion={"m": 100})
    assert candidates(one, "m", CHAT, {"box": ample}, parameters_billion={"m": 100}).points
    assert candidates(one, "m", CHAT, {"box": tight}, parameters_billion={"other": 100}).points


def test_the_smaller_pool_must_hold_the_model() -> None:
    pools = profile(point(1, 9, 9), n_gpus=5, mode=Mode.DISAGGREGATED, prefill_gpus=1, decode_gpus=4)
    with pytest.raises(FrontierError, match="do not fit 1 x 50 GB"):
        candidates([pools], "m", CHAT, {"box": HardwareCost("box", 1.0, hbm_gb=50.0)}, parameters_billion={"m": 100})


def test_a_precision_without_a_known_size_is_not_checked() -> None:
    odd = profile(point(1, 9, 9), precision="q3_k")
    cost = {"box": HardwareCost("box", 1.0, hbm_gb=1.0)}
    assert candidates([odd], "m", CHAT, cost, parameters_billion={"m": 100}).points


@pytest.mark.parametrize(
    ("model", "lengths", "message"),
    [
        ("n", CHAT, "no profile of 'n', or none of which a load can be used"),
        ("m", LengthClass(7, 7), "m was not measured at ISL/OSL 7/7; measured: 1000/1000"),
    ],
)
def test_nothing_to_price_says_what_is_known(model: str, lengths: LengthClass, message: str) -> None:
    with pytest.raises(FrontierError, match=message):
        candidates([curve((100, 100))], model, lengths, {"box": BOX})


def test_reasons_are_listed_briefly_when_nothing_can_be_costed() -> None:
    profiles = [profile(point(1, 9, 9), hardware=f"tpu{number}") for number in range(5)]
    with pytest.raises(FrontierError, match=r"can be costed \(.*tpu0.*tpu1.*tpu2 and 2 more\)"):
        candidates(profiles, "m", CHAT, {"box": BOX})


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (Selection(hardware=frozenset({"crate"})), "no measured profile of m on crate; measured on: box$"),
        (Selection(engine=frozenset({"vlm"})), "no measured profile of m with engine vlm; measured: sglang, vllm$"),
        (
            Selection(deployment_id=frozenset({"d"})),
            "with deployment_id d; measured: box-sglang-fp8-agg-tp1, .*-tp24 and 9 more$",
        ),
    ],
)
def test_a_name_that_nothing_has_is_refused_with_the_names_there_are(chosen: Selection, message: str) -> None:
    profiles = [
        profile(point(1, 9, 9), engine="sglang"),
        *(profile(point(1, 9, 9), name=f"tp{number}") for number in range(10, 34)),
    ]
    with pytest.raises(FrontierError, match=message):
        candidates(profiles, "m", CHAT, {"box": BOX}, chosen)
