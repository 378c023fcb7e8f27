"""What an input may be, and which of several applies when."""

import contextlib
import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.planning.in_force import in_force
from app.planning.input_rules import InputError
from app.planning.inputs import KINDS, checked, subject_kind
from app.planning.priced import PricedModelError, PricedModelSpec, Serving, adder_document, adder_from_document
from app.planning.resolve import assumptions, corrected, known_costs, known_profiles
from pricing.assumptions import Adder, Assumptions
from pricing.costs import TokenCosts
from pricing.derive import derive
from pricing.money import Rate
from pricing.profile_document import profile_document
from pricing.slo import Tier
from pricing.usage import Rates
from tests.app.planning.planning_market import CHAT, PROFILE, SHIPPED, SPEC, revision

BUILDUP = {"capex_usd": 8_760.0, "life_years": 4.0, "it_kw": 0.1, "usd_per_kwh": 0.2, "pue": 1.5}


@pytest.mark.parametrize(
    ("subject", "name", "value", "said"),
    [
        ("market", "utilisation", 0, "above 0, at most 1"),
        ("market", "utilisation", 1.01, "above 0, at most 1"),
        ("market", "utilisation", True, "no number"),
        ("market", "utilisation", "0.6", "no number"),
        ("market", "utilisation", math.nan, "above 0, at most 1"),
        ("market", "utilisation", math.inf, "above 0, at most 1"),
        ("market", "margin", -0.1, "from 0 to 100"),
        ("market", "step_percent", 2.5, "whole number from 0 to 1,000"),
        ("market", "ownership", "mine", "hyperscaler, neocloud or rental"),
        ("market", "attainment", {"premium": 1}, "input of model or tier, not of market"),
        ("market", "luck", 1, "there are accelerators, accuracy"),
        ("market", "accuracy", "a,b\n1,2", "table of accuracy figures"),
        ("tier:premium", "attainment", {"standard": 0.5}, "premium needs a share"),
        ("tier:bulk", "attainment", {"bulk": 0.5, "premium": 0.1}, "only of lower tiers"),
        ("tier:premium", "attainment", {"premium": 0.9, "bulk": 0.2}, "sum to 1.1"),
        ("tier:premium", "attainment", {}, "premium needs a share"),
        ("tier:premium", "attainment", 0.97, "no object"),
        ("tier:premium", "attainment", {"gold": 1}, "unknown tier gold"),
        ("tier:premium", "precision_floor", "fp9", "precision such as fp8"),
        ("model:m", "attainment", {"gold": {}}, "unknown tier gold"),
        ("hardware:b200", "usd_per_hour", 0, "above 0"),
        ("hardware:b200", "count_max", -1, "whole number from 0"),
        ("hardware:b200", "buildup", {"capex_usd": 1}, "missing"),
        ("hardware:b200", "buildup", {**BUILDUP, "pue": 0.9}, "pue >= 1"),
        ("hardware:b200", "buildup", {**BUILDUP, "luck": 1}, "unknown luck"),
        ("deployment:x", "tpot_scale", 0.05, "from 0.1 to 10"),
        ("profile:x", "document", {"format": "?"}, "profile document"),
        ("profile:x", "document", "no", "no object"),
        ("galaxy", "utilisation", 1, "is no subject"),
        ("tier:gold", "margin", 1, "is no subject"),
        ("model:", "margin", 1, "is no subject"),
        ("model: x", "margin", 1, "is no subject"),
        (f"model:{'x' * 300}", "margin", 1, "at most 300"),
        ("model:a\nb", "margin", 1, "is no subject"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(subject: str, name: str, value: object, said: str) -> None:
    with pytest.raises(InputError, match=said.replace("(", r"\(")):
        checked(subject, name, value)


@pytest.mark.parametrize(
    ("subject", "name", "value"),
    [
        ("market", "utilisation", 1),
        ("model:acme/chat", "utilisation", 0.01),
        ("tier:premium", "attainment", {"premium": 0.9, "standard": 0.06, "bulk": 0.04}),
        ("model:acme/chat", "attainment", {"premium": {"premium": 1.0}}),
        ("hardware:b200", "buildup", BUILDUP),
        ("market", "ownership", "rental"),
        ("market", "utilisation", None),
        (f"profile:{PROFILE.id}", "document", profile_document(PROFILE)),
    ],
)
def test_what_can_be_is_stored_as_it_is(subject: str, name: str, value: Any) -> None:
    assert checked(subject, name, value) == value


def test_a_document_must_be_of_the_profile_that_it_is_stored_for() -> None:
    with pytest.raises(InputError, match=PROFILE.id):
        checked("profile:other", "document", profile_document(PROFILE))


@given(
    st.sampled_from(sorted(KINDS)),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ),
)
def test_whatever_is_given_is_stored_or_refused_in_words(name: str, value: Any) -> None:
    kind = min(KINDS[name].subjects)
    subject = {"market": "market", "tier": "tier:bulk"}.get(kind, f"{kind}:x")
    with contextlib.suppress(InputError):
        stored = checked(subject, name, value)
        assert json.loads(json.dumps(stored)) == stored


@given(st.text(max_size=40))
def test_a_subject_is_known_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        assert text.startswith(subject_kind(text))


def test_the_latest_revision_of_a_moment_applies_and_a_withdrawn_one_no_longer() -> None:
    revisions = [
        revision("market", "utilisation", 0.5, 10, sequence=1),
        revision("market", "utilisation", 0.7, 30, sequence=2),
        revision("market", "utilisation", 0.6, 20, sequence=3),
        revision("market", "utilisation", 0.65, 20, sequence=4),
        revision("market", "utilisation", None, 40, sequence=5),
    ]
    found = {at: in_force(revisions, at).value("utilisation", ["market"], 0.1) for at in (9, 10, 19, 20, 29, 30, 40)}
    assert found == {9: 0.1, 10: 0.5, 19: 0.5, 20: 0.65, 29: 0.65, 30: 0.7, 40: 0.1}


def test_nothing_set_is_the_documented_defaults() -> None:
    expected = Assumptions(lengths=CHAT, selection=Assumptions().selection)
    assert assumptions(SPEC, in_force([], 0), {}) == expected


def test_the_most_specific_input_applies() -> None:
    given_now = in_force(
        [
            revision("market", "utilisation", 0.5),
            revision("model:acme/chat", "utilisation", 0.8),
            revision("market", "margin", 0.2),
            revision("tier:premium", "margin", 0.9),
            revision("tier:standard", "attainment", {"standard": 0.9, "bulk": 0.1}),
            revision("model:acme/chat", "attainment", {"bulk": {"bulk": 0.5}}),
            revision("tier:premium", "precision_floor", "fp8"),
        ],
        0,
    )
    found = assumptions(SPEC, given_now, {})
    assert found.utilisation == 0.8
    assert found.margins == {Tier.PREMIUM: 0.9, Tier.STANDARD: 0.2, Tier.BULK: 0.1}
    assert found.attainment[Tier.STANDARD] == {Tier.STANDARD: 0.9, Tier.BULK: 0.1}
    assert found.attainment[Tier.BULK] == {Tier.BULK: 0.5}
    assert found.rules.floor(Tier.PREMIUM).precision == "fp8"
    other = assumptions(PricedModelSpec("other", "acme/lm"), given_now, {})
    assert (other.utilisation, other.attainment[Tier.BULK]) == (0.5, {Tier.BULK: 0.97})


def test_a_models_own_margin_sets_all_of_its_tiers() -> None:
    given_now = in_force([revision("model:acme/chat", "margin", 1.0), revision("tier:premium", "margin", 0.9)], 0)
    found = assumptions(SPEC, given_now, {})
    assert found.margins == {Tier.PREMIUM: 1.5, Tier.STANDARD: 1.0, Tier.BULK: 0.5}


def test_hardware_costs_are_shipped_then_built_up_then_stated() -> None:
    shipped = known_costs(in_force([], 0))
    built = known_costs(in_force([revision("hardware:b200", "buildup", BUILDUP)], 0))
    stated = known_costs(
        in_force([revision("hardware:b200", "buildup", BUILDUP), revision("hardware:b200", "usd_per_hour", 3.0)], 0)
    )
    assert built["b200"].usd_per_hour == pytest.approx(0.28)  # 8,760 / 4 years / 8,760 h + 0.15 kW · 0.2
    assert built["b200"].hbm_gb == shipped["b200"].hbm_gb
    assert (stated["b200"].usd_per_hour, stated["b200"].source) == (3.0, "operator")
    assert known_costs(in_force([revision("hardware:new", "usd_per_hour", 1.0)], 0))["new"].usd_per_hour == 1.0
    assert known_costs(in_force([revision("market", "ownership", "rental")], 0)) != shipped


def test_a_correction_scales_times_and_costs_and_leaves_others_alone() -> None:
    slower = corrected(PROFILE, ttft_scale=1.0, tpot_scale=2.0)
    for before, after in zip(PROFILE.points, slower.points, strict=True):
        assert after.tpot_s_p50 == 2 * before.tpot_s_p50
        assert after.ttft_s_p50 == before.ttft_s_p50
        expected = after.concurrency * after.osl_mean / (after.ttft_s_p50 + (after.osl_mean - 1) * after.tpot_s_p50)
        assert after.output_tok_s == pytest.approx(expected)
    assert corrected(PROFILE, 1.0, 1.0) is PROFILE
    given_now = in_force([revision(f"deployment:{PROFILE.id}", "tpot_scale", 2.0)], 0)
    assert known_profiles(given_now, SHIPPED) == (slower,)
    costs = known_costs(in_force([], 0))
    plain, dear = (derive("acme/lm", [each], costs, Assumptions(lengths=CHAT)) for each in (PROFILE, slower))
    assert dear.tiers[Tier.STANDARD].cost.output > 1.5 * plain.tiers[Tier.STANDARD].cost.output
    assert dear.tiers[Tier.STANDARD].point.slo.tpot_us > plain.tiers[Tier.STANDARD].point.slo.tpot_us


def test_a_profile_of_the_operators_own_comes_last() -> None:
    given_now = in_force([revision(f"profile:{PROFILE.id}", "document", profile_document(PROFILE))], 0)
    assert len(known_profiles(given_now, SHIPPED)) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"public_name": ""},
        {"public_name": " x"},
        {"profiled_as": "a\nb"},
        {"adder": Adder(slowdown=1.2)},
        {"adder": Adder(usd_per_mtok=TokenCosts(0.0, 0.0, 0.0, 1.0))},
        {"adder": Adder(slowdown=1_000.0), "serving": Serving.SHARED},
        {"adder": Adder(usd_per_mtok=TokenCosts(math.inf, 0.0, 0.0, 0.0)), "serving": Serving.SHARED},
        {"deployment_ids": frozenset(map(str, range(300)))},
    ],
)
def test_a_model_that_cannot_be_priced_as_described_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PricedModelError):
        replace(SPEC, **changes)


_amounts = st.floats(0, 1e6)
_rates = st.builds(Rates, *(st.integers(0, 10**12).map(Rate),) * 4)


@given(
    st.builds(TokenCosts, *(_amounts,) * 4),
    st.floats(1, 100),
    st.sets(st.sampled_from(Tier), min_size=1).map(frozenset),
    st.none() | st.floats(0, 1, exclude_min=True),
    st.dictionaries(st.sampled_from(Tier), st.floats(0, 1e9)),
    st.dictionaries(st.sampled_from(Tier), _rates),
)
def test_an_adder_is_read_back_exactly_as_it_was_stored(
    costs: TokenCosts,
    slowdown: float,
    tiers: frozenset[Tier],
    utilisation: float | None,
    margins: dict[Tier, float],
    rates: dict[Tier, Rates],
) -> None:
    adder = Adder(costs, slowdown, tiers, utilisation, margins, rates)
    assert adder_from_document(json.loads(json.dumps(adder_document(adder))), tiers) == adder


def test_an_adder_of_before_utilisation_margins_and_rates_is_still_read() -> None:
    old = {"usd_per_mtok": {"input": 0.1, "cached": 0.0, "cache_write": 0.1, "output": 0.2}, "slowdown": 1.15}
    assert adder_from_document(old, frozenset(Tier)) == Adder(TokenCosts(0.1, 0.0, 0.1, 0.2), 1.15)


@pytest.mark.parametrize("document", [{"slowdown": 1}, {}, {"usd_per_mtok": [], "slowdown": 1}, {"usd_per_mtok": {}}])
def test_what_is_no_stored_adder_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(PricedModelError, match="not a stored adder"):
        adder_from_document(document, frozenset(Tier))
