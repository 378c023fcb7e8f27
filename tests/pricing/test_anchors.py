import shutil
from pathlib import Path

import pytest

from pricing.anchors import Anchor, ListPrice, anchors, list_prices
from pricing.profiles import LengthClass
from pricing.shipped import shipped_profiles, source_titles
from pricing.slo import Tier
from pricing.tables import DATA_DIR, TableError, parse_table


def price(
    provider: str, usd_in: float, usd_out: float, cached: float | None = None, tier: Tier = Tier.STANDARD
) -> ListPrice:
    return ListPrice("m", provider, tier, usd_in, usd_out, cached)


def test_an_anchor_is_the_median_of_each_token_class_over_the_providers() -> None:
    """Inputs 1, 2, 9 and 3: between 2 and 3. Outputs 4, 4, 5, 6: between 4 and 5. Two publish a cached price."""
    voices = [price("a", 1, 4, 0.1), price("b", 2, 4), price("c", 9, 5, 0.3), price("d", 3, 6)]
    found = anchors("m", [*voices, ListPrice("other", "a", Tier.STANDARD, 100, 100)])
    assert found == {Tier.STANDARD: Anchor(Tier.STANDARD, 4, 2.5, 4.5, 0.2)}
    assert found[Tier.STANDARD].usd_per_mtok(LengthClass(3000, 1000)) == pytest.approx((3 * 2.5 + 4.5) / 4)


def test_services_are_kept_apart_and_an_unpublished_class_is_not_made_up() -> None:
    found = anchors("m", [price("a", 1, 4), price("a", 3, 9, tier=Tier.PREMIUM), price("a", 0.5, 2, tier=Tier.BULK)])
    assert list(found) == list(Tier)
    assert found[Tier.PREMIUM].cached is None
    assert anchors("nothing", [price("a", 1, 4)]) == {}


def test_a_provider_has_one_voice() -> None:
    with pytest.raises(TableError, match="a lists m twice as standard; keep one"):
        anchors("m", [price("a", 1, 4), price("a", 1, 4)])


def test_what_ships_names_models_that_were_measured_and_sources_that_are_known() -> None:
    measured = {profile.model for profile in shipped_profiles()}
    rows = parse_table("list_prices.csv", lambda row: (row["model"], row["source"], row["as_of"], row["basis"]))
    assert {model for model, *_ in rows} <= measured
    assert {source for _, source, *_ in rows} <= source_titles().keys()
    assert {(day, basis) for *_, day, basis in rows} == {("2026-11-23", "declared")}
    for model in {each.model for each in list_prices()}:
        assert Tier.STANDARD in anchors(model, list_prices())


def test_the_shipped_anchor_of_gpt_oss_120b_is_the_median_of_its_sixteen_providers() -> None:
    """Sorted inputs: .03 .039 .05 .09 .1 .1 .15 ×6 .22 .3 .35 .35; outputs: .15 .18 .25 .3 .4 .47 .5 .59 | .6 …"""
    found = anchors("gpt-oss-120b", list_prices())[Tier.STANDARD]
    assert (found.providers, found.input, found.cached) == (16, 0.15, 0.045)
    assert found.output == pytest.approx((0.59 + 0.6) / 2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",3,,8,", ",-3,,8,", "line 2: input_usd_per_mtok must be above 0 and at most 1e.06, got -3"),
        (",3,,8,", ",3,,nan,", "line 2: output_usd_per_mtok must be above 0"),
        (",3,,8,", ",3,0,8,", "line 2: cached_usd_per_mtok must be above 0"),
        ("fireworks,standard", "fireworks,fastest", "line 2: service 'fastest' is none of standard, fast, batch"),
    ],
)
def test_a_list_price_that_cannot_be_is_refused_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    folder = tmp_path / "data"
    shutil.copytree(DATA_DIR, folder)
    path = folder / "list_prices.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(TableError, match=message):
        list_prices(folder)
