import json
import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.anchors import ListPrice, list_prices
from pricing.assumptions import Adder, AssumptionError, Assumptions
from pricing.candidates import Selection
from pricing.cost_plus import TierPrice, blended
from pricing.demand import DemandError
from pricing.demand_document import DemandModel, demand_from_json, shipped_demand
from pricing.derivation_document import derivation_document
from pricing.derive import Derivation, derive, rate_cards
from pricing.hardware import HardwareCost, hardware_costs
from pricing.modes import Anchored, CostPlus, ModeError, ModeName, Optimised
from pricing.profiles import LengthClass
from pricing.shipped import shipped_profiles
from pricing.slo import Tier
from pricing.tiers import TierRules
from pricing.usage import TokenClass
from tests.pricing.points import BOX, CHAT, curve

WAFER = "cs3-cerebras-unknown-agg-n1"
P, S, B = Tier.PREMIUM, Tier.STANDARD, Tier.BULK
PROFILE = curve((10, 1_000), (50, 600), (100, 100))
PLAIN: dict[str, Any] = {
    "lengths": CHAT,
    "rules": TierRules(ceilings={}),
    "utilisation": 1.0,
    "attainment": {tier: {tier: 1.0} for tier in Tier},
    "margins": dict.fromkeys(Tier, 0.0),
    "uncertainty": None,
}
"""Blended cost at 1:1 and ρ = 4: premium 5, standard 5/6, bulk 1/2 USD per million tokens."""
COST = {P: 5.0, S: 5 / 6, B: 0.5}


def derived(mode: Any, box: HardwareCost = BOX, **changes: Any) -> Derivation:
    return derive("m", [PROFILE], {"box": box}, Assumptions(**{**PLAIN, "mode": mode, **changes}))


def listed(usd: float, tier: Tier = S, providers: int = 3) -> list[ListPrice]:
    return [ListPrice("m", f"p{index}", tier, usd, usd) for index in range(providers)]


def charged(found: Derivation) -> dict[Tier, float]:
    return {tier: blended(price.rates, CHAT) for tier, price in found.tiers.items()}


def demand(value: float, volume: float = 100.0, tau: float = 0.2, **changes: Any) -> DemandModel:
    segment = {"name": "one", "share": 1, "value": value, "speed_taste": 0, "wait_per_s": 0, "miss": 0}
    document = {
        "format": "goodput-demand/1",
        "basis": "measured",
        "source": "a test",
        "money": "usd_per_mtok",
        "temperature_share": tau,
        "types": 1,
        "seed": 1,
        "segments": [{**segment, "volume_mtok_per_h": volume}],
        **changes,
    }
    return demand_from_json(json.dumps(document))


ALONE: dict[str, Any] = {"adder": Adder(tiers=frozenset({S}))}


def test_cost_plus_sets_no_level_and_says_its_margin() -> None:
    found = derived(CostPlus(), margins={P: 0.6, S: 0.4, B: 0.2})
    assert (found.levels.mode, found.levels.by_tier) == (ModeName.COST_PLUS, {})
    assert charged(found) == pytest.approx({P: 5 * 1.6, S: 5 / 6 * 1.4, B: 0.5 * 1.2}, abs=2e-6)
    assert rate_cards(found, "m")[1].explanation.endswith("; price: 40 % over effective cost")


def test_below_its_band_a_price_is_lifted_to_the_lower_end_and_its_classes_keep_their_costs_proportion() -> None:
    """Anchor 2, band 1.6 to 2.4, cost plus 5/6: level 1.6, of which input takes (1/3)/(5/6) and output (4/3)/(5/6).

    Nobody publishes the like of the other tiers: they move with standard, by 1.6/(5/6) = 1.92 times.
    """
    found = derived(Anchored(tuple(listed(2.0))))
    assert charged(found) == pytest.approx({P: 9.6, S: 1.6, B: 0.96}, abs=2e-5)
    standard = found.tiers[S]
    assert (standard.rates.input, standard.rates.output) == (640_000, 2_560_000)
    assert standard.why.startswith("price: lower end of 1.6–2.4 USD/M around the median of 3 published prices, 2")
    assert found.tiers[P].why == "price: nobody publishes the like; cost plus, moved 1.92 times with standard"
    assert rate_cards(found, "m")[1].explanation.endswith(standard.why)


def test_within_its_band_a_price_is_cost_plus() -> None:
    found = derived(Anchored(tuple(listed(1.0)), low=0.5, high=1.0))
    assert charged(found) == pytest.approx(COST, abs=2e-6)
    assert "lies within 0.5–1 USD/M" in found.tiers[S].why


def test_cost_comes_before_the_band_and_is_flagged() -> None:
    """Anchor 0.5, upper end 0.6, below standard's cost of 5/6; bulk would move to 0.36, below its cost of 0.5."""
    found = derived(Anchored(tuple(listed(0.5))))
    assert charged(found) == pytest.approx(COST, abs=2e-6)
    assert "standard leaves its level of 0.6 USD/M: effective cost asks for 0.8333" in found.flags
    assert "bulk leaves its level of 0.36 USD/M: effective cost asks for 0.5" in found.flags
    assert found.tiers[S].why.endswith("raised to 0.8333 USD/M by effective cost")


def test_the_order_of_tiers_comes_before_the_band_and_is_flagged() -> None:
    """Bulk's like is published at 2, so its level is 1.6; standard's at 1, in whose band its cost lies; 1.6 · 1.05."""
    found = derived(Anchored((*listed(1.0), *listed(2.0, B))))
    assert charged(found)[B] == pytest.approx(1.6, abs=2e-6)
    assert charged(found)[S] == pytest.approx(1.68, abs=5e-6)
    assert "standard leaves its level of 0.8333 USD/M: the tier below it asks for 1.68" in found.flags


def test_a_model_without_a_standard_price_follows_the_tier_that_has_one() -> None:
    found = derived(Anchored(tuple(listed(10.0, P))))
    assert charged(found) == pytest.approx({P: 8.0, S: 5 / 6 * 1.6, B: 0.8}, abs=2e-5)


def test_few_published_prices_are_used_and_flagged() -> None:
    assert "standard's anchor rests on 1 published price only" in derived(Anchored(tuple(listed(2.0, S, 1)))).flags
    assert "standard's anchor rests on 2 published prices only" in derived(Anchored(tuple(listed(2.0, S, 2)))).flags


def test_a_model_that_nobody_publishes_cannot_be_anchored() -> None:
    with pytest.raises(ModeError, match="nobody publishes a price of m; published: other"):
        derived(Anchored((ListPrice("other", "a", S, 1, 1),)))
    with pytest.raises(ModeError, match="published: none"):
        derived(Anchored(()))


@given(st.floats(0.01, 100), st.floats(0.01, 100), st.floats(0.1, 3), st.integers(0, 30))
def test_anchored_rates_cover_cost_and_fall_strictly_whatever_others_publish(
    standard: float, bulk: float, band: float, step: int
) -> None:
    mode = Anchored((*listed(standard), *listed(bulk, B)), band, band * 1.1)
    found = derived(mode, step_percent=step)
    assert all(usd >= COST[tier] * (1 - 1e-9) for tier, usd in charged(found).items())
    rates = [list(price.rates.by_class().values()) for price in found.tiers.values()]
    assert all(high > low for upper, lower in pairwise(rates) for high, low in zip(upper, lower, strict=True))


def test_one_tier_and_one_type_are_priced_as_the_logits_monopoly() -> None:
    """v = 5, τ = 0.2 · 5 = 1, C = 5/6: p = C + τ/(1 − s)."""
    found = derived(Optimised(demand(5.0)), **ALONE)
    optimum = found.levels.optimum
    assert optimum is not None
    share = optimum.sold_share[S]
    price = charged(found)[S]
    assert price == pytest.approx(5 / 6 + 1 / (1 - share), rel=1e-3)
    assert share == pytest.approx(1 / (1 + math.exp(price - 5)), rel=1e-3)
    rates = found.tiers[S].rates
    assert rates.output == pytest.approx(4 * rates.input, rel=1e-5)
    assert found.tiers[S].why == f"price: earns most from the demand, selling {share:.1%}; nothing but demand holds it"


def test_scarce_accelerators_ration_by_price() -> None:
    """A million tokens take 5/2/3000 s · 1e6 / 3600 = 0.2315 hours of the one box there is: 4.32 million an hour."""
    found = derived(Optimised(demand(5.0), accelerators={"box": 1.0}), **ALONE)
    optimum = found.levels.optimum
    assert optimum is not None
    assert optimum.sold[S] == pytest.approx(4.32, rel=1e-3)
    assert optimum.used == pytest.approx({"box": 1.0}, abs=1e-6)
    assert "optimiser: box is used in full" in found.flags
    assert "box is used in full" in found.tiers[S].why


def test_scarce_power_rations_alike() -> None:
    """Two kW a box: 0.002 MW run one."""
    optimum = derived(Optimised(demand(5.0), mw=0.002), **ALONE).levels.optimum
    assert optimum is not None
    assert optimum.sold[S] == pytest.approx(4.32, rel=1e-3)
    with pytest.raises(ModeError, match="the power of box is not known"):
        derived(Optimised(demand(5.0), mw=1.0), HardwareCost("box", 3.6))


def test_half_the_utilisation_needs_twice_the_accelerators() -> None:
    optimum = derived(Optimised(demand(9.0), accelerators={"box": 1.0}), utilisation=0.5, **ALONE).levels.optimum
    assert optimum is not None
    assert optimum.sold[S] == pytest.approx(2.16, rel=1e-3)


def test_hardware_that_no_tier_runs_on_is_told() -> None:
    flags = derived(Optimised(demand(5.0), accelerators={"tpu": 1.0})).flags
    assert "optimiser: no tier runs on tpu; they run on box" in flags


def test_optimised_rates_fall_strictly_in_every_class_and_cover_cost() -> None:
    found = derived(Optimised(demand(9.0, tau=0.5)))
    rates = [list(price.rates.by_class().values()) for price in found.tiers.values()]
    assert all(high > low for upper, lower in pairwise(rates) for high, low in zip(upper, lower, strict=True))
    assert all(usd >= COST[tier] * (1 - 1e-9) for tier, usd in charged(found).items())
    assert not any("its level is" in flag for flag in found.flags)


def test_where_nobody_would_buy_prices_are_cost_plus_and_flagged() -> None:
    found = derived(Optimised(demand(0.01)))
    assert charged(found) == pytest.approx(COST, abs=2e-6)
    assert "prices are cost plus instead" in found.flags
    assert any("next to nobody buys" in flag for flag in found.flags)


def test_a_demand_in_multiples_of_list_prices_needs_one() -> None:
    """Anchor 2.5, value twice that."""
    relative = demand(2.0, money="list_price")
    by_list = derived(Optimised(relative, tuple(listed(2.5))), **ALONE)
    assert charged(by_list) == pytest.approx(charged(derived(Optimised(demand(5.0)), **ALONE)), rel=1e-4)
    with pytest.raises(ModeError, match="nobody publishes a standard price of m; state the demand in usd_per_mtok"):
        derived(Optimised(relative))


def test_a_demand_may_name_its_own_mix() -> None:
    """At three input tokens for one output token a token costs (3 · 1/3 + 4/3)/4 = 7/12."""
    found = derived(Optimised(demand(5.0, mix={"isl": 3, "osl": 1})), **ALONE)
    level, optimum = found.levels.by_tier[S], found.levels.optimum
    assert optimum is not None
    assert level.mix == LengthClass(3, 1)
    assert level.usd_per_mtok == pytest.approx(7 / 12 + 1 / (1 - optimum.sold_share[S]), rel=1e-3)
    assert blended(found.tiers[S].rates, level.mix) == pytest.approx(level.usd_per_mtok, abs=2e-6)


def test_late_tokens_are_reckoned_with() -> None:
    """Of standard's tokens 0.8 earn their rate and 0.2 bulk's, which may be more than they cost: classes stay apart."""
    shares = {**PLAIN["attainment"], S: {S: 0.8, B: 0.2}}
    found = derived(Optimised(demand(9.0)), attainment=shares)
    optimum = found.levels.optimum
    assert optimum is not None
    prices = charged(found)
    earned = (0.8 * prices[S] + 0.2 * prices[B] - 5 / 6) * optimum.sold[S]
    rest = sum((prices[tier] - COST[tier]) * optimum.sold[tier] for tier in (P, B))
    assert optimum.profit_usd_per_h == pytest.approx(earned + rest, rel=1e-4)
    assert found.tiers[S].rates.output == pytest.approx(4 * found.tiers[S].rates.input, rel=1e-5)


def test_an_operators_own_class_rate_wins_over_every_mode_and_is_told() -> None:
    own = {S: {TokenClass.INPUT: 9.0}}
    for mode in (CostPlus(), Anchored(tuple(listed(2.0)))):
        found = derived(mode, class_rates=own, adder=Adder(tiers=frozenset({S, B})))
        assert found.tiers[S].rates.input == 9_000_000
        assert found.tiers[S].why.endswith("set by the operator: input")
    assert any(flag.startswith("standard is charged") for flag in found.flags)
    below = derived(CostPlus(), class_rates={S: {TokenClass.OUTPUT: 1.0}})
    assert "standard: the operator's own rate of output is below its cost" in below.flags
    with pytest.raises(AssumptionError, match="the standard rate of input tokens must be 0 or more USD/M, got -1"):
        Assumptions(class_rates={S: {TokenClass.INPUT: -1.0}})


def test_tokens_that_cost_nothing_are_charged_their_level() -> None:
    free = HardwareCost("box", 1e-30, 2.0)
    found = derived(Anchored(tuple(listed(1.0))), free, **ALONE)
    assert found.tiers[S].rates.input > 0


def test_the_document_tells_the_mode_its_level_and_what_the_optimiser_found() -> None:
    document = derivation_document(derived(Optimised(demand(5.0), tuple(listed(2.0))), **ALONE))
    assert document["mode"] == "optimised"
    assert document["optimiser"]["converged"] is True
    assert document["optimiser"]["sold_share"]["standard"] > 0
    assert document["anchors"] == [
        {
            "tier": "standard",
            "providers": 3,
            "input_usd_per_mtok": 2.0,
            "cached_usd_per_mtok": None,
            "output_usd_per_mtok": 2.0,
            "blended_usd_per_mtok": 2.0,
        }
    ]
    (tier,) = document["tiers"]
    assert float(tier["price_blended_usd_per_mtok"]) == pytest.approx(tier["level_usd_per_mtok"], abs=2e-6)
    plain = derivation_document(derived(CostPlus()))
    assert (plain["mode"], plain["optimiser"], plain["anchors"]) == ("cost_plus", None, [])
    assert plain["tiers"][2]["price_blended_usd_per_mtok"] == "0.50"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Anchored((), 0.0, 1.0), "0 < low <= high"),
        (lambda: Anchored((), 1.2, 0.8), "0 < low <= high"),
        (lambda: Anchored((), 0.8, math.inf), "0 < low <= high"),
        (lambda: Optimised(demand(1.0), accelerators={"b200": 0.0}), "the capacity of b200 must be above 0"),
        (lambda: Optimised(demand(1.0), mw=math.nan), "the capacity of mw must be above 0"),
    ],
)
def test_modes_that_cannot_be_are_refused(build: Any, message: str) -> None:
    with pytest.raises(ModeError, match=message):
        build()


def test_tokens_that_are_bought_take_no_accelerators_and_an_assumed_demand_is_told() -> None:
    mode = Optimised(shipped_demand(), list_prices(), {"b200": 1e6})
    b200 = Selection(hardware=frozenset({"b200"}))
    given_ = Assumptions(mode=mode, selection=b200, premium_deployment_id=WAFER)
    found = derive("gpt-oss-120b", shipped_profiles(), hardware_costs("hyperscaler"), given_)
    optimum = found.levels.optimum
    assert optimum is not None
    assert optimum.sold[P] > 0
    hours = [tier_hours(found.tiers[tier]) * optimum.sold[tier] for tier in (S, B)]
    assert optimum.used["b200"] == pytest.approx(sum(hours) / 1e6)
    assert any(flag.startswith("the demand is assumed, not measured") for flag in found.flags)


def tier_hours(price: TierPrice) -> float:
    """Accelerator-hours of a million tokens at 8192/1024, by what they cost: USD over USD an hour, at 0.6 use."""
    cost = price.point.chosen.cost
    assert cost is not None
    whole = (price.cost_full.input * 8192 + price.cost_full.output * 1024) / 9216
    return whole / cost.usd_per_hour / 0.6


def test_a_demand_without_any_volume_is_no_silent_number() -> None:
    found = derived(Optimised(demand(5.0, volume=0.0)))
    assert "prices are cost plus instead" in found.flags
    with pytest.raises(DemandError):
        derived(Optimised(demand(5.0, temperature_share=1e13)))
