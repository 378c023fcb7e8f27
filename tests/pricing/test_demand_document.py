import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pricing.demand import DemandError
from pricing.demand_document import (
    Money,
    demand_from_file,
    demand_from_json,
    drawn_buyers,
    shipped_demand,
    temperature,
)
from pricing.profiles import LengthClass

SEGMENT: dict[str, Any] = {
    "name": "all",
    "share": 1.0,
    "value": 1.0,
    "speed_taste": 0.0,
    "wait_per_s": 0.0,
    "miss": 0.0,
    "volume_mtok_per_h": 10.0,
}


def document(segment: dict[str, Any] | None = None, **changes: Any) -> str:
    return json.dumps(
        {
            "format": "goodput-demand/1",
            "basis": "assumed",
            "source": "a test",
            "money": "usd_per_mtok",
            "temperature_share": 0.1,
            "types": 10,
            "seed": 1,
            "segments": [{**SEGMENT, **(segment or {})}],
            **changes,
        }
    )


def test_the_default_demand_is_documented_as_assumed_and_drawn_by_segment() -> None:
    model = shipped_demand()
    assert (model.basis, model.money, model.mix) == ("assumed", Money.LIST_PRICE, None)
    assert "replace them" in model.source
    drawn = drawn_buyers(model, 0.2)
    assert drawn.types == model.types == 20_000
    assert [int((drawn.speed_taste == taste).sum()) for taste in (0.1, 0.5, 1.0)] == [8_000, 8_000, 4_000]
    assert np.median(drawn.value[:8_000]) == pytest.approx(0.4 * 0.2, rel=0.05)
    assert [drawn.volume[part].sum() for part in (slice(8_000), slice(8_000, 16_000), slice(16_000, None))] == (
        pytest.approx([4_000, 3_000, 1_000])
    )
    assert temperature(model, drawn) == pytest.approx(0.05 * drawn.value.mean())
    assert (drawn_buyers(model, 0.2).value == drawn.value).all()
    assert drawn_buyers(model, 0.2, 2).types == 3


def test_money_of_a_file_is_what_one_of_it_is_worth() -> None:
    model = demand_from_json(document({"wait_per_s": 0.5, "miss": 0.25, "value": 2.0}))
    drawn = drawn_buyers(model, 3.0)
    assert (drawn.value[0], drawn.wait_usd_per_s[0], drawn.miss_usd[0]) == (6.0, 1.5, 0.75)
    assert drawn.volume.sum() == pytest.approx(10)
    with pytest.raises(DemandError, match="above 0 USD per million tokens, got 0"):
        drawn_buyers(model, 0.0)


def test_an_operators_own_demand_replaces_the_default(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_text(document(mix={"isl": 3, "osl": 1}), encoding="utf-8")
    model = demand_from_file(path)
    assert model.mix == LengthClass(3, 1)
    assert drawn_buyers(model).value.tolist() == [1.0] * 10


def test_a_segment_without_a_share_has_no_types_and_one_with_a_small_share_has_one() -> None:
    segments = [{**SEGMENT, "share": share} for share in (0.0, 0.001, 0.999)]
    assert drawn_buyers(demand_from_json(document(segments=segments))).types == 11


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "x"}, "format: expected 'goodput-demand/1', got 'x'"),
        ({"colour": 1}, "unknown fields: colour"),
        ({"segments": []}, "segments: expected a list with at least one object"),
        ({"segments": 3}, "segments: expected a list"),
        ({"temperature_share": -1}, "temperature_share: expected a number from 0 to .* got -1"),
        ({"types": 0}, "types: expected a whole number from 1 to 1000000"),
        ({"money": "euro"}, "money: expected one of usd_per_mtok, list_price, got 'euro'"),
        ({"seed": 1.5}, "seed: expected a whole number"),
        ({"basis": ""}, "basis: expected a text"),
        ({"mix": {"isl": 1}}, "mix.osl: missing"),
        ({"segment": {"name": 7}}, r"segments\[0\].name: expected a text"),
        ({"segment": {"share": 0.5}}, "their shares must sum to 1, got 0.5"),
        ({"segment": {"value": float("nan")}}, r"segments\[0\].value: expected a number from 0"),
        ({"segment": {"value_spread": 11}}, r"value_spread: expected a number from 0 to 10, got 11"),
        ({"segment": {"worth": 1}}, r"unknown fields: segments\[0\].worth"),
    ],
)
def test_a_demand_that_makes_no_sense_is_refused_with_the_field(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DemandError, match=message):
        demand_from_json(document(**changes))


def test_a_file_that_cannot_be_read_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(DemandError, match=r"none\.json: No such file"):
        demand_from_file(tmp_path / "none.json")
    bad = tmp_path / "bad.json"
    bad.write_text("{", encoding="utf-8")
    with pytest.raises(DemandError, match=r"bad\.json: the document is not JSON"):
        demand_from_file(bad)
    with pytest.raises(DemandError, match="longer than 1,000,000 bytes"):
        demand_from_json(" " * 1_000_001)
