from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from pricing.assumptions import Adder, Assumptions
from pricing.candidates import FrontierError, Selection
from pricing.costs import TokenCosts
from pricing.derivation_document import derivation_document
from pricing.derive import derive, derive_cards, rate_cards, reference_class
from pricing.explain import configuration_name, explain
from pricing.hardware import HardwareCost, hardware_costs, local_machine
from pricing.pricebook import price_book
from pricing.profile_document import profile_from_document
from pricing.profiles import Basis, Configuration, LengthClass, Mode, Profile, Provenance
from pricing.rating import quote
from pricing.shipped import shipped_profiles
from pricing.slo import Slo, Tier
from tests.pricing.points import BOX, CHAT, curve, point, profile

NOW = datetime(2026, 11, 24, tzinfo=UTC)
COSTS = {"box": BOX}
WAFER = "cs3-cerebras-unknown-agg-n1"


@pytest.fixture(scope="module")
def shipped() -> tuple[Profile, ...]:
    return shipped_profiles()


def local_profile(points: list[tuple[int, float, float]]) -> Profile:
    """A prober's document of llama.cpp on this machine: (concurrency, TTFT s, TPOT s)."""
    rows = [
        {"isl": 128, "osl": 64, "concurrency": n, "ttft_s_p50": ttft, "tpot_s_p50": tpot, "requests": 30}
        for n, ttft, tpot in points
    ]
    return profile_from_document(
        {
            "format": "goodput-profile/1",
            "model": "SmolLM2-135M-Instruct",
            "configuration": {
                "hardware": "local",
                "n_gpus": 1,
                "engine": "llama.cpp",
                "precision": "q8_0",
                "mode": "agg",
            },
            "limits": {"concurrency_max": 8},
            "provenance": {"source": "goodput providers measure", "basis": "measured", "licence": "own measurement"},
            "points": rows,
        }
    )


LOCAL = local_profile([(1, 0.05, 0.010), (2, 0.07, 0.016), (4, 0.11, 0.028), (8, 0.20, 0.050)])
LOCAL_COST = {"local": local_machine(65, 0.15, 900, 4)}


def test_cards_make_a_book_under_the_public_name() -> None:
    cards = derive_cards("m", "acme/chat", [curve((10, 1_000), (50, 600), (100, 150))], COSTS)
    book = price_book(NOW, cards)
    assert book.models() == ("acme/chat",)
    assert book.tiers("acme/chat") == tuple(Tier)
    standard = book.cards["acme/chat", Tier.STANDARD]
    assert standard.deployment_id == "box-vllm-fp8-agg-tp1"
    assert standard.interactivity_tok_s_user == 50
    assert standard.concurrency_max == 2


def test_a_small_local_profile_sells_standard_and_bulk_and_says_what_it_lacks() -> None:
    """x·y: 100 · 94, 62 · 119, 36 · 137, 20 · 153: alone it is best for standard, eight at once for bulk."""
    found = derive("SmolLM2-135M-Instruct", [LOCAL], LOCAL_COST)
    assert {tier: price.point.chosen.point.concurrency for tier, price in found.tiers.items()} == {
        Tier.STANDARD: 1,
        Tier.BULK: 8,
    }
    assert found.tiers[Tier.STANDARD].point.slo == Slo(210_000, 20_000)
    assert "1.5 times as fast" in found.missing[Tier.PREMIUM]
    assert price_book(NOW, rate_cards(found, "smollm2")).tiers("smollm2") == (Tier.STANDARD, Tier.BULK)
    assert explain(found.tiers[Tier.STANDARD].point).startswith(
        "standard at 100 tok/s/user on this machine, llama.cpp, Q8_0, up to 1 concurrent: x·y peaks here; 90 % zone"
    )


def test_a_machine_that_gains_nothing_from_load_still_sells_both() -> None:
    starved = local_profile([(1, 0.05, 0.010), (2, 0.2, 0.025), (4, 0.5, 0.06)])
    found = derive("SmolLM2-135M-Instruct", [starved], LOCAL_COST)
    assert list(found.tiers) == [Tier.STANDARD, Tier.BULK]
    assert found.tiers[Tier.STANDARD].rates.output > found.tiers[Tier.BULK].rates.output


def test_one_measured_load_is_an_error_not_a_price() -> None:
    with pytest.raises(FrontierError, match="measured at one load only, concurrency 1; measure at least two"):
        derive_cards("SmolLM2-135M-Instruct", "x", [local_profile([(1, 0.05, 0.010)])], LOCAL_COST)


def test_one_usable_load_of_several_is_priced_and_flagged() -> None:
    """A starved machine: alone it serves, at two and four at once every answer is mostly waiting."""
    starved = local_profile([(1, 0.9, 0.015), (2, 9.0, 0.015), (4, 20.0, 0.015)])
    found = derive("SmolLM2-135M-Instruct", [starved], LOCAL_COST)
    assert list(found.tiers) == [Tier.STANDARD, Tier.BULK]
    assert "standard: only one load could be used, so how speed falls with load is not known" in found.flags


def test_only_queue_dominated_loads_are_no_prices_either() -> None:
    queued = local_profile([(8, 40.0, 0.010), (16, 80.0, 0.010)])
    with pytest.raises(FrontierError, match=r"at best 40 of 40\.63 s, .* is the first token's time in milliseconds"):
        derive_cards("SmolLM2-135M-Instruct", "x", [queued], LOCAL_COST)


def standard_quote(profiles: list[Profile], usd_per_hour: float = 3.6) -> int:
    book = price_book(NOW, derive_cards("m", "m", profiles, {"box": HardwareCost("box", usd_per_hour)}))
    ladder = book.ladder("m", Tier.STANDARD)
    assert ladder is not None
    return quote(ladder, 1_000, 1_000).ceiling


def test_a_quote_moves_with_the_price_of_an_hour_and_with_every_row_of_a_profile() -> None:
    pairs = ((10.0, 1_000.0), (50.0, 600.0), (100.0, 150.0))
    base = standard_quote([curve(*pairs)])
    assert standard_quote([curve(*pairs)], usd_per_hour=7.2) == pytest.approx(2 * base, abs=1)
    faster = curve((10, 1_000), (50, 1_200), (100, 150))
    assert standard_quote([faster]) == pytest.approx(base / 2, rel=1e-4)


def test_a_newer_run_of_a_load_replaces_the_older_one_in_the_price() -> None:
    newer = Provenance("bench", Basis.MEASURED, "own measurement", date(2026, 12, 1))
    slower = profile(point(2, 50, 300, provenance=newer))
    old = curve((10, 1_000), (50, 600), (100, 150))
    assert standard_quote([old, slower]) > standard_quote([old])


def test_a_wafer_scale_offer_sets_premium_only_when_the_operator_says_so(shipped: tuple[Profile, ...]) -> None:
    costs, b200 = hardware_costs("hyperscaler"), Selection(hardware=frozenset({"b200"}))
    by_itself = derive("gpt-oss-120b", shipped, costs, Assumptions(selection=b200))
    assert by_itself.tiers[Tier.PREMIUM].point.chosen.profile.configuration.hardware == "b200"
    chosen = derive("gpt-oss-120b", shipped, costs, Assumptions(selection=b200, premium_deployment_id=WAFER))
    premium = chosen.tiers[Tier.PREMIUM]
    assert premium.point.target_tok_s_user == pytest.approx(1_844)
    assert premium.point.slo.tpot_us == 1_100
    assert premium.split is None
    assert premium.cost.by_class() == {"input": 350_000, "cached": 350_000, "cache_write": 350_000, "output": 750_000}
    assert premium.rates.output > premium.cost.output
    cards = rate_cards(chosen, "gpt-oss-120b")
    assert price_book(NOW, cards).tiers("gpt-oss-120b") == tuple(Tier)
    assert (
        "CS3, Cerebras, precision unknown, up to 64 concurrent: chosen by the operator; declared there: 1844 tok/s/user"
    ) in cards[0].explanation


@pytest.mark.parametrize(
    ("deployment_id", "separation", "message"),
    [("nowhere", 1.5, "no declared offer 'nowhere' of gpt-oss-120b"), (WAFER, 99.0, "premium needs 1.5")],
)
def test_a_choice_that_cannot_be_honoured_is_refused(
    shipped: tuple[Profile, ...], deployment_id: str, separation: float, message: str
) -> None:
    base = Assumptions(selection=Selection(hardware=frozenset({"b200"})), premium_deployment_id=deployment_id)
    given = replace(base, rules=replace(base.rules, separation=separation))
    with pytest.raises(FrontierError, match=message):
        derive("gpt-oss-120b", shipped, hardware_costs("hyperscaler"), given)


def test_a_tuned_model_costs_its_base_and_its_adapter_and_promises_its_own_pace() -> None:
    base = [curve((10, 1_000), (50, 600), (100, 150))]
    adder = Adder(TokenCosts(0.1, 0.0, 0.0, 0.3), slowdown=1.25, tiers=frozenset({Tier.STANDARD, Tier.BULK}))
    plain, tuned = derive("m", base, COSTS), derive("m", base, COSTS, Assumptions(adder=adder))
    before, after = plain.tiers[Tier.STANDARD], tuned.tiers[Tier.STANDARD]
    assert after.cost_full.input == pytest.approx(1.25 * before.cost_full.input + 0.1)
    assert after.cost_full.cached == pytest.approx(1.25 * before.cost_full.cached)
    assert after.cost_full.output == pytest.approx(1.25 * before.cost_full.output + 0.3)
    assert before.point.slo == Slo(840_000, 40_000)
    assert after.point.slo == Slo(1_100_000, 50_000)
    assert tuned.missing[Tier.PREMIUM] == "the tuned model is not sold at it"
    assert rate_cards(tuned, "acme")[0].interactivity_tok_s_user == 40
    assert "every token takes 1.25 times as long" in explain(after.point)
    assert tuned.tiers[Tier.BULK].point.slo == plain.tiers[Tier.BULK].point.slo


def test_prices_are_derived_from_8192_1024_where_it_is_measured_and_else_from_the_best_measured_class() -> None:
    long = LengthClass(8192, 1024)
    both = profile(*(point(n, 100 - n, 50 * n, lengths) for lengths in (CHAT, long) for n in (1, 2)))
    assert reference_class([both], COSTS, Assumptions()) == long
    more_chat = profile(*(point(n, 100 - n, 50 * n) for n in (1, 2, 4)), point(1, 90, 90, long))
    assert reference_class([more_chat], COSTS, Assumptions()) == CHAT
    assert reference_class([more_chat], {}, Assumptions()) == long
    assert derive("m", [both], COSTS, Assumptions(lengths=CHAT)).lengths == CHAT


def test_what_was_left_out_is_told() -> None:
    other = profile(point(1, 9, 9), hardware="tpu9")
    found = derive("m", [curve((10, 1_000), (50, 600)), other], COSTS)
    assert found.excluded == ((other.id, "no $/hour is known for tpu9"),)


@pytest.mark.parametrize(
    ("configuration", "name"),
    [
        (Configuration("b200", 2, "trtllm", "fp4", "tp2ep2+dpattn"), "B200, TP2 EP2 DP attention, TensorRT-LLM, FP4"),
        (
            Configuration("h200", 56, "sglang", "fp8", "P:tp8 D:tp8", Mode.DISAGGREGATED, "mtp", 16, 40),
            "H200, 16 prefill + 40 decode, SGLang, FP8, MTP",
        ),
        (Configuration("gb200", 72, "vllm", "fp4", "wide", Mode.DISAGGREGATED), "GB200, 72 accelerators, vLLM, FP4"),
        (
            Configuration("local", 1, "llama.cpp", "unknown", "", Mode.AGGREGATED, "unknown"),
            "this machine, llama.cpp, precision unknown",
        ),
    ],
)
def test_a_configuration_is_named_as_a_person_would(configuration: Configuration, name: str) -> None:
    assert configuration_name(configuration) == name


def test_a_measured_tail_is_called_measured_and_a_cut_zone_says_where() -> None:
    def exact(n: int, x: float, y: float) -> Any:
        return point(n, x, y, ttft_s_p99=0.5, tpot_s_p99=2 / x, requests=1_000)

    found = derive("m", [profile(exact(4, 10, 1_000), exact(2, 50, 600), exact(1, 60, 500))], COSTS)
    sentence = explain(found.tiers[Tier.STANDARD].point)
    assert "p99 as measured" in sentence
    assert "(fastest measured)" in sentence


def test_a_derivation_is_a_document_with_prices_as_strings_and_costs_as_numbers() -> None:
    """Standard's output: 4/3 USD at full use, ÷ 0.6 in use, ÷ 0.97 attained, × 1.4: 3.207331…, rounded up."""
    given = Assumptions(uncertainty=None)
    document = derivation_document(derive("m", [curve((10, 1_000), (50, 600), (100, 150))], COSTS, given))
    assert (document["model"], document["isl"], document["osl"]) == ("m", 1000, 1000)
    assert [tier["tier"] for tier in document["tiers"]] == ["premium", "standard", "bulk"]
    standard, bulk = document["tiers"][1], document["tiers"][2]
    assert standard["price_usd_per_mtok"]["output"] == "3.207332"
    assert standard["cost_point_usd_per_mtok"]["output"] == 2.222223
    assert standard["cost_usd_per_mtok"]["output"] == dict.fromkeys(("p10", "p50", "p90"), 2.22222222)
    assert standard["cost_full_usd_per_mtok"]["output"] == pytest.approx(4 / 3, abs=1e-6)
    assert standard["slo"] == {"ttft_s": 0.84, "tpot_s": 0.04, "tok_s_user": 25.0}
    assert standard["goldilocks"]["low"] < 50 <= standard["goldilocks"]["high"]
    assert standard["measured"]["measured_on"] == "2026-11-01"
    assert standard["measured"]["joules_per_token"] == pytest.approx(2 * 1_000 / 1_200, abs=1e-6)
    assert (bulk["slo"]["tpot_s"], bulk["goldilocks"]) == (None, None)
    assert standard["split"]["is_ratio_assumed"] is True


def test_a_bought_tier_has_no_split_and_an_unpowered_point_no_megawatts(shipped: tuple[Profile, ...]) -> None:
    given = Assumptions(selection=Selection(hardware=frozenset({"b200"})), premium_deployment_id=WAFER)
    premium = derivation_document(derive("gpt-oss-120b", shipped, hardware_costs("rental"), given))["tiers"][0]
    assert premium["split"] is None
    assert premium["measured"]["tok_s_per_mw"] is None
    assert premium["measured"]["joules_per_token"] is None
