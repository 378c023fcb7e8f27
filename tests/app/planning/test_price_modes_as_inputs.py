"""What sets the level of prices, an operator's own class rates and quality floors, as dated inputs of the market."""

import json
from dataclasses import replace
from typing import Any

import pytest

from app.planning.derivation import Derived, derived
from app.planning.in_force import in_force
from app.planning.input_rules import InputError
from app.planning.inputs import KINDS, Revision, checked
from app.planning.price_modes import price_mode
from app.planning.service import shipped
from pricing.anchors import ListPrice
from pricing.cost_plus import blended
from pricing.demand_document import DemandError, shipped_demand
from pricing.modes import Anchored, CostPlus, ModeError, Optimised
from pricing.money import usd_per_mtok
from pricing.pricebook import RateCard
from pricing.slo import Tier
from pricing.tables import DATA_DIR
from tests.app.planning.planning_market import CHAT, MODEL, PROFILED, SHIPPED, SPEC, revision

DEMAND: dict[str, Any] = json.loads((DATA_DIR / "demand.json").read_text())
PUBLISHED = tuple(ListPrice(PROFILED, name, Tier.STANDARD, input=100.0, output=100.0) for name in ("a", "b", "c"))
MARKET = replace(SHIPPED, list_prices=PUBLISHED, demand=shipped_demand())


def priced(*revisions: Revision) -> dict[Tier, RateCard]:
    return {card.rung.tier: card for card in found(*revisions).cards}


def found(*revisions: Revision) -> Derived:
    return derived([SPEC], in_force(revisions, 0), MARKET)


def test_prices_are_cost_plus_until_somebody_says_otherwise_and_again_once_it_is_withdrawn() -> None:
    plain = priced()
    assert priced(revision("market", "price_mode", "cost_plus")) == plain
    stated = revision("market", "price_mode", "anchored")
    assert priced(stated) != plain
    assert priced(stated, replace(stated, value=None, sequence=1)) == plain


def test_anchored_prices_keep_to_the_band_around_what_others_publish() -> None:
    band = revision("market", "price_band", [0.5, 0.6])
    cards = priced(revision("market", "price_mode", "anchored"), band)
    assert blended(cards[Tier.STANDARD].rung.rates, CHAT) == pytest.approx(50.0, rel=1e-5)  # half of 100: the low end
    assert "100" in found(revision("market", "price_mode", "anchored"), band).cards[1].explanation


def test_a_models_own_mode_wins_over_the_markets() -> None:
    given = in_force(
        [revision("market", "price_mode", "anchored"), revision(f"model:{MODEL}", "price_mode", "cost_plus")], 0
    )
    assert price_mode(MODEL, given, PUBLISHED) == CostPlus()
    assert price_mode("other", given, PUBLISHED) == Anchored(PUBLISHED, 0.8, 1.2)


def test_optimised_prices_rest_on_the_demand_and_capacity_that_are_stated() -> None:
    mode = revision("market", "price_mode", "optimised")
    site = revision("hardware:b200", "count_max", 64), revision("market", "mw_max", 2.0)
    default = price_mode(MODEL, in_force([mode, *site], 0), PUBLISHED, MARKET.demand)
    assert default == Optimised(shipped_demand(), PUBLISHED, {"b200": 64}, 2.0)
    own = [
        revision("market", "demand", {**DEMAND, "seed": 7}),
        revision(f"model:{MODEL}", "accelerators", {"b200": 8.0}),
        revision(f"model:{MODEL}", "mw_max", 0.5),
    ]
    stated = price_mode(MODEL, in_force([mode, *site, *own], 0), PUBLISHED, MARKET.demand)
    assert isinstance(stated, Optimised)
    assert (stated.demand.seed, stated.accelerators, stated.mw) == (7, {"b200": 8.0}, 0.5)
    cards = priced(mode)
    assert cards
    assert all(card.rung.rates.output > card.cost.output for card in cards.values())


def test_a_mode_that_lacks_what_it_rests_on_is_that_models_trouble() -> None:
    anchored = in_force([revision("market", "price_mode", "anchored")], 0)
    assert "nobody publishes" in derived([SPEC], anchored, SHIPPED).troubles[MODEL]
    optimised = in_force([revision("market", "price_mode", "optimised")], 0)
    with pytest.raises(DemandError):
        price_mode(MODEL, optimised, PUBLISHED)
    none = in_force([*optimised.revisions.values(), revision("hardware:b200", "count_max", 0)], 0)
    with pytest.raises(ModeError, match="b200 must be above 0"):
        price_mode(MODEL, none, PUBLISHED, MARKET.demand)


def test_a_rate_that_an_operator_sets_for_a_class_is_charged_whatever_the_mode_says() -> None:
    own = revision(f"model:{MODEL}", "class_rates", {"standard": {"output": 77.5}})
    for mode in ("cost_plus", "anchored"):
        card = priced(revision("market", "price_mode", mode), own)[Tier.STANDARD]
        assert card.rung.rates.output == usd_per_mtok("77.5")


def test_a_floor_on_precision_takes_a_tier_off_what_is_coarser() -> None:
    assert set(priced()) == set(Tier)
    without = found(revision("tier:premium", "precision_floor", "fp8"))  # what was measured is FP4
    assert {card.rung.tier for card in without.cards} < set(Tier)
    assert Tier.PREMIUM not in {card.rung.tier for card in without.cards}
    assert set(priced(revision("tier:premium", "precision_floor", "fp4"))) == set(Tier)


@pytest.mark.parametrize(("name", "value"), [("accuracy_min", 0.98), ("score_min", {"gpqa": 0.7})])
def test_a_minimum_is_met_only_by_figures_of_ones_own(name: str, value: object) -> None:
    least = revision("tier:premium", name, value)
    head = "model,precision,benchmark,score,reference,source,date\n"
    good, bad = (f"{head}{PROFILED},fp4,gpqa,{score},0.72,own,2026-11-01" for score in (0.715, 0.69))
    assert Tier.PREMIUM not in priced(least)
    assert Tier.PREMIUM not in priced(least, revision("market", "accuracy", bad))
    assert Tier.PREMIUM in priced(least, revision("market", "accuracy", good))


@pytest.mark.parametrize(
    ("subject", "name", "value", "said"),
    [
        ("market", "price_mode", "luck", "cost_plus, anchored or optimised"),
        ("market", "price_mode", None, None),
        ("market", "price_band", [1.2, 0.8], "two multiples"),
        ("market", "price_band", [0, 1], "two multiples"),
        ("market", "price_band", [1], "two multiples"),
        ("market", "price_band", {"low": 1}, "two multiples"),
        ("market", "demand", {"format": "?"}, "goodput-demand/1"),
        ("market", "demand", "file.json", "no object"),
        ("market", "demand", DEMAND, None),
        ("model:m", "accelerators", {"b200": 0}, "b200: above 0"),
        ("model:m", "accelerators", {}, "accelerators by hardware"),
        ("market", "accelerators", {"b200": 1}, "input of model, not of market"),
        ("model:m", "class_rates", {"gold": {"input": 1}}, "unknown tier gold"),
        ("model:m", "class_rates", {"bulk": {"thought": 1}}, "unknown token class thought"),
        ("model:m", "class_rates", {"bulk": {"input": -1}}, "USD per Mtok"),
        ("tier:premium", "precision_floor", "fp9", "int2 < fp4 < int4 < q5_0 < q6_k < fp8 < bf16 < fp32"),
        ("tier:premium", "precision_floor", "FP8", None),
        ("tier:premium", "score_min", {"gpqa": 70}, "least scores by benchmark"),
        ("tier:premium", "score_min", {" ": 0.7}, "least scores by benchmark"),
    ],
)
def test_what_a_mode_or_a_floor_may_be_told(subject: str, name: str, value: Any, said: str | None) -> None:
    if said is None:
        stored = checked(subject, name, value)
        assert stored == (value.lower() if isinstance(value, str) else value)
        return
    with pytest.raises(InputError) as refused:
        checked(subject, name, value)
    assert said in str(refused.value)


def test_the_markets_own_tables_are_read_once_with_what_ships() -> None:
    known = shipped()
    assert known.list_prices
    assert known.demand == shipped_demand()
    assert KINDS["price_mode"].subjects == {"market", "model"}
