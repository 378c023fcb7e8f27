from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.adders import (
    Adapter,
    SharedBase,
    adapter_usd_per_hour,
    dedicated,
    replicas_of_its_own,
    shared,
    shared_slowdown,
)
from pricing.assumptions import Adder, AssumptionError, Assumptions
from pricing.costs import TokenCosts
from pricing.derive import Derivation, derive, rate_cards
from pricing.money import Rate
from pricing.slo import Tier
from pricing.usage import Rates, TokenClass
from tests.pricing.points import BOX, curve

BASE = SharedBase(adapters=100, concurrency=32, weight_bytes=64e9, usd_per_hour=2.0, n_gpus=2, utilisation=0.6)
ADAPTER = Adapter(rank=16, widths=1_000_000, tok_per_hour=2e6, storage_usd_per_hour=0.01, swaps_per_hour=9, swap_s=2.0)
PROFILE = curve((10, 1_000), (50, 600), (100, 150))


def derived(adder: Adder | None = None) -> Derivation:
    given_ = Assumptions(uncertainty=None) if adder is None else Assumptions(uncertainty=None, adder=adder)
    return derive("m", [PROFILE], {"box": BOX}, given_)


def test_a_shared_adapter_is_slower_by_what_a_step_reads_beside_the_base() -> None:
    """16 · 1e6 parameters of two bytes are 32 MB; 32 of them over 64 GB: 1.6 %."""
    assert shared_slowdown(ADAPTER, BASE) == pytest.approx(1.016)
    assert shared_slowdown(ADAPTER, replace(BASE, adapters=4)) == pytest.approx(1.002)
    assert shared_slowdown(replace(ADAPTER, rank=64), BASE) == pytest.approx(1.064)


def test_an_adapters_hour_is_storage_and_the_time_it_is_swapped_in() -> None:
    """9 swaps of 2 s are 18 s of two accelerators at 2 USD/h: 0.02; and 0.01 of storage."""
    assert adapter_usd_per_hour(ADAPTER, BASE) == pytest.approx(0.03)


def test_a_shared_adapters_hour_is_spread_over_what_it_sells() -> None:
    """0.03 USD over 2 M tokens: 0.015 a million sold, whatever the utilisation."""
    plain, tuned = derived().tiers[Tier.STANDARD], derived(shared(ADAPTER, BASE)).tiers[Tier.STANDARD]
    for name in ("input", "output"):
        before, after = getattr(plain.cost_full, name) / 0.6, tuned.cost.by_class()[TokenClass(name)] / 1e6
        assert after == pytest.approx(1.016 * before + 0.015, rel=1e-6)


def test_a_dedicated_adapter_pays_for_what_its_deployments_are_not_used_for() -> None:
    """300 of 2,000 tok/s keep one deployment 15 % busy: four times the cost at 60 %."""
    adder = dedicated(300, 2_000, 0.6)
    assert adder.utilisation == pytest.approx(0.15)
    plain, own = derived().tiers[Tier.STANDARD], derived(adder).tiers[Tier.STANDARD]
    assert own.cost.output == pytest.approx(4 * plain.cost.output, rel=1e-5)
    assert own.point.slo == plain.point.slo


def test_a_dedicated_adapter_is_never_taken_to_be_busier_than_the_market() -> None:
    assert derived(Adder(utilisation=0.95)).tiers[Tier.STANDARD].cost == derived().tiers[Tier.STANDARD].cost


@given(st.floats(1e-3, 1e7), st.floats(1e-3, 1e5), st.floats(0.05, 1.0))
def test_deployments_of_its_own_are_as_few_as_keep_the_largest_utilisation(
    demand: float, capacity: float, most: float
) -> None:
    if demand / (capacity * most) > 1e6:
        return
    count = replicas_of_its_own(demand, capacity, most)
    assert demand / (count * capacity) <= most * (1 + 1e-6)
    assert count == 1 or demand / ((count - 1) * capacity) > most * (1 - 1e-6)


@given(
    st.integers(1, 256),
    st.integers(1, 1_000),
    st.integers(1, 256),
    st.floats(0, 1),
    st.floats(1e3, 1e9),
    st.floats(0, 100),
)
def test_an_adder_never_lowers_a_cost_and_more_of_anything_never_lowers_it(
    rank: int, adapters: int, concurrency: int, storage: float, tok_per_hour: float, swaps: float
) -> None:
    base = replace(BASE, adapters=adapters, concurrency=concurrency)
    one = Adapter(rank, 1_000_000, tok_per_hour, storage, swaps, 2.0)
    made = shared(one, base)
    assert made.slowdown >= 1
    assert min(made.usd_per_mtok.by_class().values()) >= 0
    for more in (replace(one, rank=rank + 1), replace(one, storage_usd_per_hour=storage + 1)):
        dearer = shared(more, base)
        assert dearer.slowdown >= made.slowdown
        assert dearer.usd_per_mtok.output >= made.usd_per_mtok.output
    assert shared(one, replace(base, adapters=adapters + 1)).slowdown >= made.slowdown
    alone = shared(one, replace(base, adapters=1))
    assert alone.slowdown >= 1
    assert alone.slowdown <= made.slowdown


@settings(max_examples=25)
@given(st.floats(1.0, 3.0), st.floats(0, 5), st.none() | st.floats(0.01, 1.0))
def test_a_tuned_model_never_costs_less_than_its_base(slowdown: float, extra: float, own: float | None) -> None:
    adder = Adder(TokenCosts(extra, extra, extra, extra), slowdown, utilisation=own)
    plain, tuned = derived(), derived(adder)
    for tier, price in plain.tiers.items():
        for name in TokenClass:
            assert tuned.tiers[tier].cost.by_class()[name] >= price.cost.by_class()[name]


def test_a_tuned_models_own_margins_and_tiers_hold() -> None:
    adder = Adder(tiers=frozenset({Tier.STANDARD}), margins={Tier.STANDARD: 1.0})
    plain, tuned = derived(), derived(adder)
    assert set(tuned.tiers) == {Tier.STANDARD}
    ratio = tuned.tiers[Tier.STANDARD].rates.output / plain.tiers[Tier.STANDARD].rates.output
    assert ratio == pytest.approx(2.0 / 1.4, rel=1e-4)


def test_an_operators_own_rates_are_charged_and_flagged_where_they_lose_money() -> None:
    high = Rates(*(Rate(9_000_000),) * 4)
    adder = Adder(tiers=frozenset({Tier.STANDARD}), rates={Tier.STANDARD: high})
    (card,) = rate_cards(derived(adder), "acme/one")
    assert card.rung.rates == high
    low = Adder(tiers=frozenset({Tier.STANDARD}), rates={Tier.STANDARD: Rates(*(Rate(1),) * 4)})
    found = derived(low)
    assert found.tiers[Tier.STANDARD].rates == Rates(*(Rate(1),) * 4)
    assert any("the operator's own rate of input" in flag and "is below its cost" in flag for flag in found.flags)


def test_own_rates_still_fall_from_tier_to_tier() -> None:
    adder = Adder(rates={Tier.STANDARD: Rates(*(Rate(1),) * 4)})
    found = derived(adder)
    assert found.tiers[Tier.STANDARD].rates.output > found.tiers[Tier.BULK].rates.output
    assert any("raised to stay above the next lower tier" in flag for flag in found.flags)


@pytest.mark.parametrize(
    "changes",
    [
        {"slowdown": 0.99},
        {"slowdown": float("inf")},
        {"usd_per_mtok": TokenCosts(float("nan"), 0, 0, 0)},
        {"utilisation": 0.0},
        {"utilisation": 1.5},
        {"margins": {Tier.BULK: -0.1}},
        {"rates": {Tier.BULK: Rates(*(Rate(-1),) * 4)}},
    ],
)
def test_an_adder_that_would_make_something_cheaper_or_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(AssumptionError):
        Adder(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rank": 0}, "rank of 1 to"),
        ({"rank": 5_000}, "rank of 1 to"),
        ({"widths": 0}, "widths of at least 1"),
        ({"tok_per_hour": 0.0}, "tok_per_hour must be above 0"),
        ({"storage_usd_per_hour": -1.0}, "must not be negative"),
        ({"swaps_per_hour": 9.0, "swap_s": 2_000.0}, "is swap_s in milliseconds"),
    ],
)
def test_an_adapter_that_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(AssumptionError, match=said):
        replace(ADAPTER, **changes)


@pytest.mark.parametrize(
    "changes",
    [{"adapters": 0}, {"concurrency": 0}, {"weight_bytes": 0.0}, {"usd_per_hour": -1.0}, {"utilisation": 2.0}],
)
def test_a_shared_base_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(AssumptionError, match="a shared base has"):
        replace(BASE, **changes)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((0, 1, 0.5), "demand must be above 0"),
        ((1, float("nan"), 0.5), "capacity must be above 0"),
        ((1, 1, 0.0), "largest utilisation"),
        ((1e12, 1, 0.5), "at most 1,000,000"),
    ],
)
def test_a_dedicated_model_that_cannot_be_planned_is_refused(arguments: tuple[float, float, float], said: str) -> None:
    with pytest.raises(AssumptionError, match=said):
        dedicated(*arguments)
