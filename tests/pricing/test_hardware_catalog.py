import csv
import shutil
from collections import Counter
from pathlib import Path

import pytest

from pricing.hardware import hardware_costs
from pricing.hardware_catalog import (
    BOUGHT,
    NO_PROFILE,
    Scale,
    known_hardware,
    market_costs,
    standing,
    without_profile,
    worker_counts,
)
from pricing.profiles import Profile
from pricing.shipped import shipped_profiles, source_titles
from pricing.tables import DATA_DIR, TableError

COLLECTED = Path(__file__).parents[2] / "../shared/data/profiles"


@pytest.fixture(scope="module")
def shipped() -> tuple[Profile, ...]:
    return shipped_profiles()


def test_every_known_pool_size_is_cited_once_and_agrees_with_the_profile(shipped: tuple[Profile, ...]) -> None:
    pools = {(each.model, each.configuration): each for each in shipped if each.configuration.has_pools}
    cited = {(each.model, each.configuration): each for each in worker_counts()}
    assert pools.keys() == cited.keys()
    assert len(cited) == len(worker_counts())
    titles = source_titles()
    for key, count in cited.items():
        assert count.points == len(pools[key].points)
        assert count.source in titles
        assert (count.source == "inferencex-configs") == (count.counted != "dataset")


@pytest.mark.skipif(not COLLECTED.exists(), reason="the collected source data are not beside this checkout")
def test_joined_counts_are_those_that_the_collection_joined() -> None:
    with (COLLECTED / "inferencex_measured_points.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if not row["flag"] and row["mode"] == "disagg"]
    joined = sum(row["worker_count_from"] == "joined" for row in rows)
    counted = Counter()
    for each in worker_counts():
        counted[each.counted] += each.points
    assert counted["joined"] == joined == 527
    assert sum(counted.values()) == sum(bool(row["prefill_gpus"]) for row in rows)


def test_hardware_stands_as_measured_unmeasured_or_bought_by_the_token(shipped: tuple[Profile, ...]) -> None:
    by_name = {each.hardware: each for each in known_hardware()}
    assert standing(by_name["b200"], shipped).endswith("measured profiles")
    for name in ("mi300x", "trainium2", "helios"):
        assert standing(by_name[name], shipped) == NO_PROFILE
    assert standing(by_name["cs3"], shipped) == BOUGHT
    assert {"mi325x", "trainium3", "helios"} <= set(without_profile(shipped))
    assert "cs3" not in without_profile(shipped)


def test_a_rack_is_known_by_its_domain_and_a_placeholder_has_no_figures() -> None:
    by_name = {each.hardware: each for each in known_hardware()}
    assert (by_name["gb200"].scale, by_name["gb200"].domain) == (Scale.RACK, 72)
    assert by_name["h200"].scale is Scale.SERVER
    for name in ("trainium2", "helios", "cs3"):
        entry = by_name[name]
        assert (entry.usd_per_hour, entry.kw, entry.hbm_gb) == ((), None, None)
        assert name not in hardware_costs("rental")


def test_market_figures_are_cited_and_none_is_of_a_wafer_or_recalled() -> None:
    titles = source_titles()
    found = market_costs()
    assert found
    assert {each.source for each in found} <= titles.keys()
    assert "cs3" not in {each.hardware for each in found}
    assert not any("recalled" in titles[each.source] for each in found)
    assert not any(each.value == 270_000 for each in found)  # a recalled purchase price of the collection


def test_a_placeholder_sold_otherwise_is_refused_with_its_line(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(DATA_DIR, folder)
    path = folder / "hardware_placeholders.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(",rack,hour,", ",rack,day,", 1), encoding="utf-8")
    with pytest.raises(TableError, match=r"hardware_placeholders\.csv line 2: sold 'day'"):
        known_hardware(folder)
