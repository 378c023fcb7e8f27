import json
from typing import Any

import pytest

from pricing.hardware import Buildup, HardwareCost, HardwareError, built_up
from pricing.hardware_document import ENTRIES_MAX, FORMAT, hardware_cost_document, hardware_costs_from_json

RACK: dict[str, Any] = {
    "hardware": "GB200",
    "accelerators": 72,
    "hbm_gb": 186,
    "source": "our books",
    "build_up": {
        "capex_usd": 3_153_600,
        "life_years": 5,
        "cost_of_capital": 0.0,
        "it_kw": 144,
        "pue": 1.25,
        "usd_per_kwh": 0.08,
        "colocation_usd_per_kw_month": 73,
        "staff_usd_per_hour": 7.2,
        "spares_share": 0.02,
    },
}


def text(*entries: dict[str, Any], **changes: Any) -> str:
    return json.dumps({"format": FORMAT, "hardware": list(entries), **changes})


def test_a_rack_is_divided_among_its_accelerators() -> None:
    """43,800 USD each over 43,800 h: 1; 2 kW · 1.25 · 0.08: 0.2; 2 · 73 · 12/8760: 0.2; 7.2/72; 2 % a year: 0.1."""
    (cost,) = hardware_costs_from_json(text(RACK))
    assert (cost.hardware, cost.kw, cost.hbm_gb, cost.source) == ("gb200", 2.5, 186, "our books")
    assert dict(cost.parts) == pytest.approx(
        {"capital": 1.0, "energy": 0.2, "colocation": 0.2, "staff": 0.1, "spares": 0.1}
    )
    assert cost.usd_per_hour == pytest.approx(1.6)


def test_an_hour_of_a_whole_server_is_divided_too() -> None:
    (cost,) = hardware_costs_from_json(text({"hardware": "b200", "usd_per_hour": 16, "kw": 17.6, "accelerators": 8}))
    assert (cost.usd_per_hour, cost.kw, cost.parts) == (2.0, 2.2, ())


def test_the_document_shows_the_stack_with_shares_that_sum_to_one() -> None:
    (cost,) = hardware_costs_from_json(text(RACK))
    document = hardware_cost_document(cost)
    assert json.loads(json.dumps(document)) == document
    assert sum(part["share"] for part in document["parts"]) == pytest.approx(1)
    assert sum(part["usd_per_hour"] for part in document["parts"]) == pytest.approx(document["usd_per_hour"])


def test_capital_is_an_annuity_at_the_cost_of_capital() -> None:
    """1,000 USD over two years at 10 %: 576.19 a year (annuity tables: 0.576190)."""
    parts = dict(built_up("box", Buildup(1_000, 2, 1, 0.1, cost_of_capital=0.10)).parts)
    assert parts["capital"] * 8_760 == pytest.approx(576.190476, abs=1e-5)


def test_a_cost_of_capital_of_next_to_nothing_is_none() -> None:
    none, little = (built_up("box", Buildup(1_000, 4, 1, 0.1, cost_of_capital=rate)) for rate in (0.0, 1e-18))
    assert little.usd_per_hour == pytest.approx(none.usd_per_hour)


def built(**changes: Any) -> dict[str, Any]:
    return {
        "hardware": "b200",
        "build_up": {"capex_usd": 1, "life_years": 4, "it_kw": 1, "usd_per_kwh": 0.1, **changes},
    }


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (built(it_kw=1_000), "it_kw of 1000 is more than 250 an accelerator; is it in watts"),
        (built(life_years=48), "is it in months"),
        (built(usd_per_kwh=80), "USD/MWh"),
        (built(cost_of_capital=8), "write 8 % as 0.08"),
        (built(spares_share=2), "write 2 % as 0.02"),
        (built(pue=12), "pue of 12 is more than 4"),
        (built(pue=0.9), "pue >= 1"),
        (built(it_kw=0), "it_kw > 0"),
        (built(life_years=0), "life_years > 0"),
        (built(capex_usd=-1), r"hardware\[0\]\.build_up\.capex_usd: expected a number from 0"),
        (built(capex_usd=float("nan")), "capex_usd: expected a number"),
        (built(capex_usd=True), "capex_usd: expected a number"),
        (built(price=3), r"unknown fields: hardware\[0\]\.build_up\.price"),
        ({"hardware": "b200"}, "state usd_per_hour or build_up, one of them"),
        ({**built(), "usd_per_hour": 2}, "one of them"),
        ({**built(), "kw": 2}, r"states its power as build_up\.it_kw"),
        ({"hardware": "b200", "usd_per_hour": 0}, r"usd_per_hour: expected a number above 0"),
        ({"hardware": "b200", "usd_per_hour": -2}, r"usd_per_hour: expected a number above 0"),
        ({"hardware": "b200", "usd_per_hour": 2, "kw": 0}, "kw: expected a number above 0"),
        ({"hardware": "b200", "usd_per_hour": 2, "kw": 2_170}, "kw of 2170 is more than 250; is it in watts"),
        ({"hardware": "b200", "usd_per_hour": 2, "accelerators": 0}, "accelerators: expected a whole number"),
    ],
)
def test_what_cannot_be_is_refused_with_its_path_or_likely_unit(entry: dict[str, Any], said: str) -> None:
    with pytest.raises(HardwareError, match=said):
        hardware_costs_from_json(text(entry))


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("", "not JSON"),
        ("[1]", "expected an object"),
        ("[" * 100_000, "not JSON"),
        (" " * 1_000_001, "at most 1000000"),
        (json.dumps({"format": "other"}), "format: expected 'goodput-hardware-cost/1'"),
        (json.dumps({"format": FORMAT, "hardware": []}), "at least one object"),
        (text(*[{"hardware": "x", "usd_per_hour": 1}] * (ENTRIES_MAX + 1)), "1001 entries"),
        (text({"hardware": "b200", "usd_per_hour": 1}, {"hardware": "B200", "usd_per_hour": 2}), "b200: stated twice"),
        (text(RACK, note="mine"), "unknown fields: note"),
    ],
)
def test_a_document_that_is_none_is_refused(document: str, said: str) -> None:
    with pytest.raises(HardwareError, match=said.replace("1000000", "1,000,000")):
        hardware_costs_from_json(document)


def test_power_in_watts_is_refused_wherever_a_cost_is_made() -> None:
    with pytest.raises(HardwareError, match="is it in watts"):
        HardwareCost("b200", 1.95, kw=2_170)
