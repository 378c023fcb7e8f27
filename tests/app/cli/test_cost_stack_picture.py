import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from app.cli.pictures.cost_stack import PARTS, cost_stack_picture, stack
from app.cli.pictures.picture import write_picture
from pricing.assumptions import Assumptions
from pricing.derive import Derivation, derive
from pricing.slo import Tier
from pricing.usage import TokenClass
from tests.pricing.points import BOX, CHAT, curve

SVG = "{http://www.w3.org/2000/svg}"
PLAIN = ("full-use", "idle", "late", "margin")
PROFILE = curve((10, 400), (20, 350), (40, 300), (70, 180), (100, 100))
SURE = Assumptions(lengths=CHAT, uncertainty=None, utilisation=0.5)


def derived(given: Assumptions = SURE) -> Derivation:
    return derive("m", [PROFILE], {"box": BOX}, given)


def parts(found: Derivation, tier: Tier, name: TokenClass = TokenClass.OUTPUT) -> Mapping[str, float]:
    return stack(found.tiers[tier], name).parts


@pytest.mark.parametrize("name", list(TokenClass))
@pytest.mark.parametrize("given", [SURE, replace(SURE, overhead_usd_per_mtok=0.5), Assumptions(lengths=CHAT)])
def test_parts_sum_to_the_price(name: TokenClass, given: Assumptions) -> None:
    for tier, price in derived(given).tiers.items():
        found = stack(price, name)
        assert sum(found.parts.values()) == pytest.approx(found.price)
        assert found.price == pytest.approx(price.rates.by_class()[name] / 1e6), tier


def test_each_part_is_what_its_name_says() -> None:
    """Bulk on 400 output and 400 input tokens/s at 3.60 USD/h, one output token taken to cost four input ones.

    An hour makes 1.44 M of each: 3.60 = 1.44·(a + 4a), so an output token costs 4·0.5 = 2 USD/M at full use, as much
    again while half of the time is idle, and 4/0.97 − 4 more for the 3 % that come late. The margin is a fifth of that.
    """
    found = parts(derived(), Tier.BULK)
    assert found["full use"] == pytest.approx(2)
    assert found["idle"] == pytest.approx(2, abs=1e-5)
    assert found["late"] == pytest.approx(4 / 0.97 - 4, abs=1e-5)
    assert found["caution"] == 0
    assert found["margin"] == pytest.approx(0.2 * 4 / 0.97, abs=1e-5)


def test_late_tokens_that_still_earn_take_from_the_cost(tmp_path: Path) -> None:
    """Where lateness earns more than it costs, its part is drawn back from the end, hatched, and the legend says so."""
    shares = {Tier.STANDARD: 0.5, Tier.BULK: 0.5}
    given = replace(SURE, attainment={**SURE.attainment, Tier.STANDARD: shares}, margins=dict.fromkeys(Tier, 3.0))
    found = derived(given)
    assert parts(found, Tier.STANDARD)["late"] < 0
    path = tmp_path / "s.svg"
    write_picture(cost_stack_picture(found, "rental", {}), path)
    root = ET.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314 (our own)
    added = sum(width(root, f"output-standard-{part}") for part in ("full-use", "idle", "margin"))
    taken, whole = width(root, "output-standard-late"), sum(width(root, f"output-bulk-{part}") for part in PLAIN)
    assert added - taken == pytest.approx(whole, rel=2e-3)
    assert "hatched: taken off again" in [each.text for each in root.iter(f"{SVG}text")]


def width(root: ET.Element, name: str) -> float:
    (group,) = [each for each in root.iter(f"{SVG}g") if each.get("id") == name]
    (path,) = group.iter(f"{SVG}path")
    across = [float(x) for x in re.findall(r"[ML] ([\d.]+) ", path.attrib["d"])]
    return max(across) - min(across)


def test_pieces_are_as_wide_as_their_dollars(tmp_path: Path) -> None:
    path = tmp_path / "s.svg"
    found = derived()
    write_picture(cost_stack_picture(found, "rental", {}), path)
    root = ET.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314 (our own)
    for tier in found.tiers:
        own = parts(found, tier)
        drawn = {part: width(root, f"output-{tier}-{part.replace(' ', '-')}") for part in PARTS if own[part]}
        whole, price = sum(drawn.values()), sum(own.values())
        assert {part: wide / whole for part, wide in drawn.items()} == pytest.approx(
            {part: own[part] / price for part in drawn}, abs=2e-3
        )


def test_every_tier_and_class_has_a_row_with_its_band() -> None:
    found = derived(Assumptions(lengths=CHAT))
    shown = cost_stack_picture(found, "rental", {})
    assert len(shown.rows) == len(found.tiers) * len(TokenClass)
    low, middle, high = (shown.columns.index(name) for name in ("cost p10", "cost p50", "cost p90"))
    assert all(float(row[low]) < float(row[middle]) < float(row[high]) for row in shown.rows)
    assert list(shown.notes) == list(found.flags)
