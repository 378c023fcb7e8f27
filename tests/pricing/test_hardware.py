import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.hardware import (
    Buildup,
    HardwareCost,
    HardwareError,
    Ownership,
    built_up,
    by_hardware,
    hardware_costs,
    joules_per_token,
    local_machine,
    tok_s_per_mw,
    usd_per_mtok,
)


def test_an_hour_is_built_up_from_its_parts() -> None:
    """876,000 USD over 87,600 h: 10 USD/h; 12 kW · 0.10: 1.2; 10 · 73 · 12/8760: 1; 0.5; 1 % spares a year: 1."""
    buildup = Buildup(
        capex_usd=876_000,
        life_years=10,
        it_kw=10,
        usd_per_kwh=0.10,
        pue=1.2,
        colocation_usd_per_kw_month=73,
        staff_usd_per_hour=0.5,
        spares_share=0.01,
    )
    cost = built_up("rack", buildup)
    assert dict(cost.parts) == pytest.approx({"capital": 10, "energy": 1.2, "colocation": 1, "staff": 0.5, "spares": 1})
    assert cost.usd_per_hour == pytest.approx(13.7)
    assert cost.kw == pytest.approx(12)


def test_capital_at_interest_is_an_annuity() -> None:
    """1,000 USD at 10 % over 2 years is repaid by 1000·0.1/(1 − 1.1^−2) = 576.19 a year."""
    cost = built_up("box", Buildup(1_000, 2, 0.001, 0.0, cost_of_capital=0.1))
    assert cost.usd_per_hour * 8_760 == pytest.approx(576.190476)


def test_a_residual_value_is_not_paid_for() -> None:
    without_interest = built_up("box", Buildup(1_000, 4, 0.001, 0.0, residual_share=0.2))
    assert without_interest.usd_per_hour * 8_760 == pytest.approx(200)
    at_interest = built_up("box", Buildup(1_000, 1, 0.001, 0.0, cost_of_capital=0.1, residual_share=0.2))
    assert at_interest.usd_per_hour * 8_760 == pytest.approx(1_000 * 1.1 - 200)


@given(st.floats(0.001, 0.5), st.floats(0.5, 20))
def test_an_annuity_pays_the_purchase_price_back_at_the_cost_of_capital(rate: float, years: float) -> None:
    yearly = built_up("box", Buildup(1_000, years, 0.001, 0.0, cost_of_capital=rate)).usd_per_hour * 8_760
    present_value = yearly * (1 - (1 + rate) ** -years) / rate
    assert present_value == pytest.approx(1_000)


def test_this_machine_costs_its_purchase_and_its_electricity() -> None:
    cost = local_machine(power_w=100, usd_per_kwh=0.2, purchase_usd=876, life_years=2)
    assert cost.hardware == "local"
    assert cost.usd_per_hour == pytest.approx(876 / 2 / 8_760 + 0.1 * 0.2)


@pytest.mark.parametrize(
    "changes",
    [
        {"capex_usd": -1},
        {"life_years": 0},
        {"it_kw": 0},
        {"pue": 0.9},
        {"usd_per_kwh": float("nan")},
        {"residual_share": 1.0},
        {"staff_usd_per_hour": float("inf")},
    ],
)
def test_an_impossible_buildup_is_refused(changes: dict[str, float]) -> None:
    values = {"capex_usd": 1.0, "life_years": 1.0, "it_kw": 1.0, "usd_per_kwh": 1.0}
    with pytest.raises(HardwareError):
        Buildup(**{**values, **changes})


def test_a_machine_that_costs_nothing_is_refused_with_what_to_do() -> None:
    with pytest.raises(HardwareError, match="an hour costs nothing; state a purchase price"):
        local_machine(power_w=65, usd_per_kwh=0, purchase_usd=0, life_years=4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"usd_per_hour": 0.0}, "usd_per_hour must be above 0, got 0.0"),
        ({"usd_per_hour": -1.0}, "usd_per_hour must be above 0"),
        ({"kw": 0.0}, "kw must be above 0, got 0.0; leave unknown power out"),
        ({"hbm_gb": float("nan")}, "hbm_gb must be above 0"),
    ],
)
def test_zero_power_and_free_hours_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(HardwareError, match=message):
        HardwareCost(**{"hardware": "box", "usd_per_hour": 1.0, **changes})  # pyright: ignore[reportArgumentType]


def test_shipped_costs_differ_by_ownership() -> None:
    by_ownership = {each: hardware_costs(each)["b200"].usd_per_hour for each in Ownership}
    assert by_ownership == {Ownership.HYPERSCALER: 1.95, Ownership.NEOCLOUD: 2.34, Ownership.RENTAL: 2.90}


def test_an_unknown_ownership_is_refused() -> None:
    with pytest.raises(ValueError, match="landlord"):
        hardware_costs("landlord")


def test_an_operators_own_figure_replaces_the_shipped_one() -> None:
    costs = by_hardware([*hardware_costs("rental").values(), HardwareCost("b200", 9.99)])
    assert costs["b200"].usd_per_hour == 9.99


def test_units_of_cost_and_energy() -> None:
    assert usd_per_mtok(3.6, 1_000) == pytest.approx(1.0)
    assert tok_s_per_mw(1_000, 2.0) == 500_000
    assert joules_per_token(1_000, 2.0) == 2.0
