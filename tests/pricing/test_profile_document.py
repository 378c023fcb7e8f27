import copy
import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.money import usd_per_mtok
from pricing.profile_document import profile_document, profile_from_document, profile_from_json
from pricing.profiles import Basis, EngineLimits, LengthClass, Mode, ProfileError
from pricing.shipped import shipped_profiles
from pricing.usage import Rates

DOCUMENT: dict[str, Any] = {
    "format": "goodput-profile/1",
    "model": "SmolLM2-135M-Instruct",
    "configuration": {"hardware": "local", "n_gpus": 1, "engine": "llama.cpp", "precision": "Q8_0", "mode": "agg"},
    "limits": {"concurrency_max": 8, "context_max": 4096, "batch_tokens_max": None},
    "provenance": {
        "source": "goodput providers measure",
        "basis": "measured",
        "licence": "own measurement",
        "measured_on": "2026-11-24",
    },
    "points": [
        {
            "isl": 128,
            "osl": 65,
            "concurrency": 2,
            "ttft_s_p50": 0.36,
            "tpot_s_p50": 0.01,
            "ttft_s_p99": 0.5,
            "tpot_s_p99": 0.02,
            "requests": 40,
        }
    ],
}


def changed(path: str, value: object) -> dict[str, Any]:
    """The document with one field set, or removed when the value is Ellipsis."""
    document = copy.deepcopy(DOCUMENT)
    *steps, last = path.split(".")
    target: Any = document
    for step in steps:
        target = target[int(step)] if step.isdigit() else target[step]
    key = int(last) if last.isdigit() else last
    if value is ...:
        del target[key]
    else:
        target[key] = value
    return document


def test_a_document_becomes_a_profile_in_our_units() -> None:
    profile = profile_from_document(DOCUMENT)
    (point,) = profile.points
    assert profile.configuration.deployment_id == "local-llama.cpp-q8_0-agg-n1"
    assert profile.configuration.mode is Mode.AGGREGATED
    assert point.lengths == LengthClass(128, 65)
    assert (point.ttft_s_p99, point.tpot_s_p99, point.requests) == (0.5, 0.02, 40)
    assert point.provenance.measured_on == date(2026, 11, 24)
    assert point.provenance.basis is Basis.MEASURED
    assert profile.limits.concurrency_max == 8


def test_a_missing_throughput_follows_from_littles_law() -> None:
    """2 requests of 0.36 + 64 · 0.01 = 1 s each: 2 requests/s of 65 output and 128 input tokens."""
    (point,) = profile_from_document(DOCUMENT).points
    assert point.output_tok_s == pytest.approx(130)
    assert point.input_tok_s == pytest.approx(256)
    assert point.requests_s == pytest.approx(2)


def test_a_stated_throughput_is_kept() -> None:
    (point,) = profile_from_document(changed("points.0.output_tok_s", 120.5)).points
    assert point.output_tok_s == 120.5
    assert point.input_tok_s == pytest.approx(120.5 * 128 / 65)


def test_limits_that_nobody_stated_are_unknown() -> None:
    assert profile_from_document(changed("limits", ...)).limits == EngineLimits()


def test_tokens_bought_at_a_price_keep_it_exactly() -> None:
    price = {"input": "0.35", "cached": "0.035", "cache_write": "0.35", "output": "0.75"}
    profile = profile_from_document(changed("price_usd_per_mtok", price))
    assert profile.is_bought_by_token
    assert profile.price == Rates(*(usd_per_mtok(text) for text in price.values()))


def test_a_point_may_name_its_own_provenance() -> None:
    other = {"source": "vendor", "basis": "declared", "licence": "facts"}
    (point,) = profile_from_document(changed("points.0.provenance", other)).points
    assert (point.provenance.source, point.provenance.basis, point.provenance.measured_on) == (
        "vendor",
        Basis.DECLARED,
        None,
    )


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", "goodput-profile/9", r"format: expected 'goodput-profile/1', got 'goodput-profile/9'"),
        ("model", ..., "model: missing"),
        ("model", "  ", "model: expected a text"),
        ("model", 7, "model: expected a text"),
        ("configuration", [], r"configuration: expected an object, got \[\]"),
        ("configuration.mode", "both", "configuration.mode: expected one of agg, disagg, got 'both'"),
        ("configuration.n_gpus", 0, "configuration.n_gpus: expected a whole number from 1"),
        ("configuration.n_gpus", True, "configuration.n_gpus: expected a whole number"),
        ("configuration.gpu", 1, "unknown fields: configuration.gpu"),
        ("limits.concurrency_max", 1.5, "limits.concurrency_max: expected a whole number"),
        ("provenance.basis", "guessed", "provenance.basis: expected one of measured, modelled, declared"),
        ("provenance.measured_on", "24.11.2026", "provenance.measured_on: expected a date such as 2026-11-24"),
        ("price_usd_per_mtok", {"input": "0.35"}, "price_usd_per_mtok.cached: missing"),
        ("points", [], "points: expected a list with at least one object"),
        ("points", "many", "points: expected a list"),
        ("points.0", 3, r"points\[0\]: expected an object, got 3"),
        ("points.0.osl", 0, r"points\[0\].osl: expected a whole number"),
        ("points.0.osl", 1, r"points\[0\].osl: an answer of one token"),
        ("points.0.concurrency", -1, r"points\[0\].concurrency"),
        ("points.0.tpot_s_p50", 0, r"points\[0\].tpot_s_p50: expected a number above 0"),
        ("points.0.tpot_s_p50", float("nan"), r"points\[0\].tpot_s_p50: expected a number above 0"),
        ("points.0.tpot_s_p50", 12.5, "is this in milliseconds"),
        ("points.0.ttft_s_p99", 0.1, r"points\[0\].ttft_s_p99: a p99 of 0.1 s lies below its median of 0.36 s"),
        ("points.0.tpot_s_p99", 0.009, r"points\[0\].tpot_s_p99: a p99"),
        ("points.0.interactivity_tok_s_user", 50, r"50 tok/s/user disagrees with 1 / tpot_s_p50 = 100"),
        ("points.0.interactivity_tok_s_user", 0.1, "are the times in milliseconds"),
        ("points.0.output_tok_s", 13, r"points\[0\].output_tok_s: 13 tok/s .* disagrees .* give 130"),
        (
            "points.0.input_tok_s",
            25_600,
            r"points\[0\].input_tok_s: 25600 .* at 128 tokens in and 65 out, which give 256$",
        ),
        ("points.0.input_tok_s", 2.56, r"points\[0\].input_tok_s: 2.56 tok/s .* which give 256$"),
        ("points.0.isl_mean", 0.5, r"points\[0\].isl_mean: a prompt has one token at least, got a mean of 0.5"),
        ("points.0.ttft_ms_p50", 360, r"unknown fields: points\[0\].ttft_ms_p50; check their spelling and units"),
    ],
)
def test_a_wrong_field_is_refused_with_its_path_and_value(path: str, value: object, message: str) -> None:
    with pytest.raises(ProfileError, match=message):
        profile_from_document(changed(path, value))


def test_milliseconds_given_as_seconds_are_caught_by_the_throughput() -> None:
    """TPOT 0.01 ms would be 1e5 tok/s/user; the stated 130 tok/s cannot come from it."""
    document = changed("points.0.output_tok_s", 130)
    document["points"][0] |= {"ttft_s_p50": 0.00036, "tpot_s_p50": 0.00001, "ttft_s_p99": None, "tpot_s_p99": None}
    with pytest.raises(ProfileError, match="are the times in milliseconds"):
        profile_from_document(document)


def test_two_points_of_one_load_and_day_are_refused() -> None:
    document = copy.deepcopy(DOCUMENT)
    document["points"] *= 2
    with pytest.raises(ProfileError, match="two operating points for 128/65 at concurrency 2 measured on 2026-11-24"):
        profile_from_document(document)


def test_a_price_finer_than_a_pico_is_refused_with_its_path() -> None:
    price = {"input": "0.0000001", "cached": "0", "cache_write": "0", "output": "0"}
    with pytest.raises(ProfileError, match=r"price_usd_per_mtok.input: .* at most six decimals"):
        profile_from_document(changed("price_usd_per_mtok", price))


@pytest.mark.parametrize(
    ("pools", "message"),
    [
        ({"prefill_gpus": 1, "decode_gpus": 2}, "sum to n_gpus = 4"),
        ({"prefill_gpus": 1}, "give both prefill_gpus and decode_gpus"),
    ],
)
def test_pools_that_do_not_add_up_are_refused(pools: dict[str, int], message: str) -> None:
    document = changed("configuration.n_gpus", 4)
    document["configuration"] |= {"mode": "disagg", **pools}
    with pytest.raises(ProfileError, match=message):
        profile_from_document(document)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", b"\xff\xfe\x00", "[" * 100_000])
def test_what_is_no_json_object_is_refused(text: str | bytes) -> None:
    with pytest.raises(ProfileError):
        profile_from_json(text)


def test_a_document_beyond_any_size_is_refused_unread() -> None:
    with pytest.raises(ProfileError, match="16,000,001 long"):
        profile_from_json(b" " * 16_000_001)


def test_too_many_points_are_refused() -> None:
    with pytest.raises(ProfileError, match="10001 entries, at most 10000"):
        profile_from_document(changed("points", [{}] * 10_001))


def test_every_shipped_profile_survives_the_journey_through_its_document() -> None:
    for profile in shipped_profiles()[::7]:
        text = json.dumps(profile_document(profile))
        if _has_twins(profile.points):
            continue
        assert profile_from_json(text) == profile


def _has_twins(points: Any) -> bool:
    loads = [(point.lengths, point.concurrency, point.provenance.measured_on) for point in points]
    return len(set(loads)) < len(loads)


LEAVES = st.none() | st.booleans() | st.floats() | st.text()


@settings(max_examples=40)
@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_nothing_but_a_profile_error_comes_out_of_nonsense(nonsense: Any) -> None:
    for document in (nonsense, {**DOCUMENT, "points": nonsense}, {**DOCUMENT, "configuration": nonsense}):
        with pytest.raises(ProfileError):
            profile_from_document(document)
