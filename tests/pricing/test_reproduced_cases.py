"""Published and hand-checked figures that the shipped tables must reproduce, with their tolerances."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pricing.assumptions import Assumptions
from pricing.candidates import Candidate, Candidates, Selection, candidates
from pricing.costs import split_of, token_costs
from pricing.derive import Derivation, derive
from pricing.frontier import Frontier, frontier
from pricing.hardware import hardware_costs, tok_s_per_mw, usd_per_mtok
from pricing.profiles import LengthClass, Profile, cleaned
from pricing.shipped import shipped_profiles
from pricing.slo import Tier
from pricing.tiers import tiers

COSTS = hardware_costs("hyperscaler")
SUMMARY, CHAT, REASONING = LengthClass(8192, 1024), LengthClass(1024, 1024), LengthClass(1024, 8192)
RAW_RUNS = Path(__file__).parents[2] / "../shared/data/profiles/inferencex_glm5_p50_p99_points.csv"


@pytest.fixture(scope="module")
def profiles() -> tuple[Profile, ...]:
    return cleaned(shipped_profiles())


def pool(profiles: tuple[Profile, ...], model: str, lengths: LengthClass, **selected: str) -> Candidates:
    chosen = replace(Selection(), **{name: frozenset({value}) for name, value in selected.items()})
    return candidates(profiles, model, lengths, COSTS, chosen)


def front(profiles: tuple[Profile, ...], model: str, lengths: LengthClass, **selected: str) -> Frontier:
    return frontier(pool(profiles, model, lengths, **selected).points)


@pytest.fixture(scope="module")
def orientation(profiles: tuple[Profile, ...]) -> Derivation:
    """gpt-oss-120b on B200, 8k/1k, at a hyperscaler's cost."""
    chosen = Selection(hardware=frozenset({"b200"}))
    return derive("gpt-oss-120b", profiles, COSTS, Assumptions(lengths=SUMMARY, selection=chosen))


@pytest.mark.parametrize(("hardware", "tok_s", "expected"), [("b200", 25_319.6, 11.668e6), ("mi300x", 725.2, 405_140)])
def test_tokens_per_second_per_megawatt(hardware: str, tok_s: float, expected: float) -> None:
    kw = COSTS[hardware].kw
    assert kw is not None
    assert tok_s_per_mw(tok_s, kw) == pytest.approx(expected, rel=1e-4)


def test_dollars_per_million_tokens_on_mi325x() -> None:
    assert COSTS["mi325x"].usd_per_hour == 1.28
    assert usd_per_mtok(COSTS["mi325x"].usd_per_hour, 1_998.6) == pytest.approx(0.178, abs=0.0005)


def test_the_frontier_of_gpt_oss_on_b200_at_72_tokens_a_second(profiles: tuple[Profile, ...]) -> None:
    read = front(profiles, "gpt-oss-120b", CHAT, hardware="b200", precision="fp4").at(72)
    assert read.tok_s_per_gpu == pytest.approx(25_320, rel=0.05)


@pytest.fixture(scope="module")
def sixteen_and_forty(profiles: tuple[Profile, ...]) -> Candidate:
    found = pool(profiles, "DeepSeek-R1-0528", SUMMARY, hardware="h200", precision="fp8", mode="disagg").points
    pools = [
        each
        for each in found
        if (each.profile.configuration.prefill_gpus, each.profile.configuration.decode_gpus) == (16, 40)
    ]
    return min(pools, key=lambda each: abs(each.tok_s_user - 36))


def test_costs_of_two_pools_on_h200(sixteen_and_forty: Candidate) -> None:
    costs = token_costs(split_of(sixteen_and_forty), COSTS["h200"].usd_per_hour)
    assert sixteen_and_forty.tok_s_user == pytest.approx(36, abs=1)
    assert costs.output == pytest.approx(2.955, rel=0.03)
    assert costs.input <= 0.226
    assert costs.input == pytest.approx(0.146, rel=0.02)


def test_margins_at_the_published_price_of_deepseek_r1(sixteen_and_forty: Candidate) -> None:
    """Sold at 1.35 in and 5.40 out; at the bound of 0.226 and 2.955 the margins are 83.3 % and 45.3 %."""
    assert pytest.approx(0.833, abs=0.0005) == 1 - 0.226 / 1.35
    assert pytest.approx(0.453, abs=0.0005) == 1 - 2.955 / 5.40
    costs = token_costs(split_of(sixteen_and_forty), COSTS["h200"].usd_per_hour)
    assert 1 - costs.input / 1.35 == pytest.approx(0.89, abs=0.005)
    assert 1 - costs.output / 5.40 == pytest.approx(0.453, abs=0.015)


@pytest.mark.parametrize("lengths", [CHAT, SUMMARY, REASONING])
def test_a_frontier_without_speculation_has_no_multi_token_prediction_in_it(
    profiles: tuple[Profile, ...], lengths: LengthClass
) -> None:
    everything = front(profiles, "DeepSeek-R1-0528", lengths)
    plain = front(profiles, "DeepSeek-R1-0528", lengths, spec_decoding="none")
    assert any("mtp" in each.profile.configuration.spec_decoding for each in everything.points)
    assert {each.profile.configuration.spec_decoding for each in plain.points} == {"none"}


def test_sparse_points_flatter_an_interpolation_and_more_of_them_correct_it(profiles: tuple[Profile, ...]) -> None:
    """DeepSeek-R1 FP8 1k/1k on B200 at 80 tok/s/user: 1,050 from disaggregated points alone, 833 with all."""
    chosen = {"hardware": "b200", "precision": "fp8"}
    alone = front(profiles, "DeepSeek-R1-0528", CHAT, mode="disagg", **chosen).at(80)
    together = front(profiles, "DeepSeek-R1-0528", CHAT, **chosen).at(80)
    assert alone.tok_s_per_gpu == pytest.approx(1_050, rel=0.02)
    assert together.tok_s_per_gpu == pytest.approx(833, rel=0.02)
    assert together.attainable.tok_s_per_gpu >= alone.attainable.tok_s_per_gpu


def test_tiers_of_gpt_oss_on_b200_point_where_they_are_known_to(orientation: Derivation) -> None:
    targets = {tier: price.point for tier, price in orientation.tiers.items()}
    assert targets[Tier.BULK].target_tok_s_user == pytest.approx(28, abs=0.5)
    assert targets[Tier.STANDARD].target_tok_s_user == pytest.approx(152, abs=1)
    assert targets[Tier.PREMIUM].target_tok_s_user == pytest.approx(336, abs=1)
    assert targets[Tier.BULK].target_usd_per_mtok == pytest.approx(0.0087, abs=0.00005)
    assert targets[Tier.STANDARD].target_usd_per_mtok == pytest.approx(0.023, abs=0.0005)
    assert targets[Tier.PREMIUM].target_usd_per_mtok == pytest.approx(0.087, abs=0.0005)
    zone = targets[Tier.STANDARD].zone
    assert zone is not None
    assert (zone.low, zone.high) == pytest.approx((78, 222), abs=1)


def test_tiers_of_gpt_oss_on_b200_are_sold_at_measured_points_close_by(orientation: Derivation) -> None:
    sold = {tier: price.point.chosen for tier, price in orientation.tiers.items()}
    assert sold[Tier.STANDARD].id == "b200-trtllm-fp4-agg-tp2ep1/c32"
    assert sold[Tier.PREMIUM].id == "b200-trtllm-fp4-agg-tp2ep1/c4"
    assert sold[Tier.BULK].id == "b200-trtllm-fp4-agg-tp1ep1/c256"
    for price in orientation.tiers.values():
        assert price.point.chosen.tok_s_user == pytest.approx(price.point.target_tok_s_user, rel=0.05)
        assert price.point.chosen.usd_per_mtok == pytest.approx(price.point.target_usd_per_mtok, rel=0.06)


def test_goldilocks_of_deepseek_on_h200_is_25_and_not_112(profiles: tuple[Profile, ...]) -> None:
    chosen = tiers(pool(profiles, "DeepSeek-R1-0528", SUMMARY, hardware="h200", precision="fp8")).sold[Tier.STANDARD]
    assert chosen.target_tok_s_user == pytest.approx(25, abs=1)
    assert chosen.chosen.tok_s_user == pytest.approx(25, abs=1)


@pytest.mark.skipif(not RAW_RUNS.exists(), reason="the collected source data are not beside this checkout")
def test_assumed_tails_are_the_75th_percentile_of_the_raw_runs() -> None:
    with RAW_RUNS.open(newline="", encoding="utf-8") as file:
        runs = list(csv.DictReader(file))
    ratios = {
        kind: [float(run[f"{kind}_p99_ms"]) / float(run[f"{kind}_p50_ms"]) for run in runs] for kind in ("ttft", "tpot")
    }
    assert len(runs) == 97
    assert np.percentile(ratios["ttft"], 75) == pytest.approx(4.2, abs=0.05)
    assert np.percentile(ratios["tpot"], 75) == pytest.approx(2.0, abs=0.05)
