import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from pricing.hardware import hardware_costs
from pricing.profiles import Basis, Mode, Profile, cleaned
from pricing.shipped import parameters_billion, shipped_profiles, source_titles
from pricing.tables import DATA_DIR, TableError, changed_tables, parse_table, table_hashes, tables_sha256

COLLECTED = Path(__file__).parents[2] / "../shared/data/profiles/inferencex_measured_points.csv"
BYTES_MAX = 1_000_000


@pytest.fixture(scope="module")
def shipped() -> tuple[Profile, ...]:
    return shipped_profiles()


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    shutil.copytree(DATA_DIR, folder)
    return folder


def replace_cell(path: Path, line: int, column: str, value: str) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    cells = lines[line - 1].split(",")
    cells[lines[0].split(",").index(column)] = value
    lines[line - 1] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_what_ships_is_what_its_manifest_says() -> None:
    assert changed_tables() == []
    manifest = json.loads((DATA_DIR / "MANIFEST.json").read_text(encoding="utf-8"))["tables"]
    assert {name: entry["sha256"] for name, entry in manifest.items()} == table_hashes()
    assert manifest["operating_points.csv"]["rows"] == 3_532


def test_the_tables_stay_small() -> None:
    assert sum(path.stat().st_size for path in DATA_DIR.iterdir()) < BYTES_MAX


def test_every_point_names_its_source_its_licence_and_its_basis(shipped: tuple[Profile, ...]) -> None:
    titles = source_titles()
    points = [point for profile in shipped for point in profile.points]
    assert {point.provenance.source for point in points} <= titles.keys()
    assert {point.provenance.licence for point in points} == {"Apache-2.0", "facts"}
    assert Counter(point.provenance.basis for point in points) == {Basis.MEASURED: 3_532, Basis.DECLARED: 6}


def test_no_two_configurations_share_an_id(shipped: tuple[Profile, ...]) -> None:
    assert max(Counter(profile.id for profile in shipped).values()) == 1


def test_cleaning_keeps_every_deployment_and_drops_older_runs(shipped: tuple[Profile, ...]) -> None:
    kept = cleaned(shipped)
    assert {profile.id for profile in kept} == {profile.id for profile in shipped}
    assert sum(len(profile.points) for profile in kept) < 3_538


def test_pools_are_known_for_most_disaggregated_deployments(shipped: tuple[Profile, ...]) -> None:
    split = [profile.configuration for profile in shipped if profile.configuration.mode is Mode.DISAGGREGATED]
    assert sum(configuration.has_pools for configuration in split) / len(split) > 0.9


def test_the_wafer_scale_offer_is_bought_at_its_declared_price(shipped: tuple[Profile, ...]) -> None:
    (wafer,) = [profile for profile in shipped if profile.is_bought_by_token]
    assert wafer.model == "gpt-oss-120b"
    assert wafer.price is not None
    assert (wafer.price.input, wafer.price.output) == (350_000, 750_000)
    assert wafer.points[0].interactivity_tok_s_user == pytest.approx(1_844)
    assert "assumed, not declared" in wafer.notes
    assert wafer.configuration.hardware not in hardware_costs("hyperscaler")


def test_models_have_parameter_counts_for_the_memory_check() -> None:
    assert parameters_billion()["gpt-oss-120b"] == 117


def test_an_edited_table_still_loads_and_shows_as_changed(copied: Path) -> None:
    before = tables_sha256(copied)
    replace_cell(copied / "hardware.csv", 4, "usd_per_hour_rental", "9.5")
    assert hardware_costs("rental", copied)["b200"].usd_per_hour == 9.5
    assert changed_tables(copied) == ["hardware.csv"]
    assert tables_sha256(copied) != before == tables_sha256()


def test_hardware_without_a_figure_for_an_ownership_is_left_out_of_it(copied: Path) -> None:
    replace_cell(copied / "hardware.csv", 4, "usd_per_hour_rental", "")
    assert "b200" not in hardware_costs("rental", copied)
    assert "b200" in hardware_costs("neocloud", copied)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("tpot_s", "0", "operating_points.csv line 17: tpot_s must be above 0, got 0"),
        ("ttft_s", "nan", "line 17: ttft_s must be above 0"),
        ("tpot_s", "fast", "line 17: could not convert string to float"),
        ("concurrency", "0", "line 17: concurrency 0 and osl .* must be above 1"),
        ("mode", "both", "line 17: 'both' is not a valid Mode"),
        ("source", "hearsay", "line 17: source 'hearsay' is not in sources.csv"),
        ("n_gpus", "0", "line 17: .* at least one accelerator"),
        ("measured_on", "soon", "line 17: Invalid isoformat string: 'soon'"),
    ],
)
def test_a_bad_row_is_refused_with_its_line_and_reason(copied: Path, column: str, value: str, message: str) -> None:
    replace_cell(copied / "operating_points.csv", 17, column, value)
    with pytest.raises(TableError, match=message):
        shipped_profiles(copied)


def test_a_row_of_another_width_and_a_missing_column_are_refused(copied: Path) -> None:
    path = copied / "models.csv"
    path.write_text(path.read_text(encoding="utf-8") + "one,two\n", encoding="utf-8")
    with pytest.raises(TableError, match=r"models\.csv line 11"):
        parameters_billion(copied)
    with pytest.raises(TableError, match="line 2: there is no column 'colour'"):
        parse_table("sources.csv", lambda row: row["colour"], copied)


def test_a_missing_empty_or_unreadable_table_is_refused(copied: Path) -> None:
    (copied / "models.csv").write_text("model\n", encoding="utf-8")
    with pytest.raises(TableError, match="needs a header and from 1"):
        parameters_billion(copied)
    (copied / "models.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(TableError, match=r"models\.csv"):
        parameters_billion(copied)
    (copied / "models.csv").unlink()
    with pytest.raises(TableError, match="No such file"):
        parameters_billion(copied)
    (copied / "MANIFEST.json").unlink()
    with pytest.raises(TableError, match="rebuild_pricing_data"):
        changed_tables(copied)


@pytest.mark.skipif(not COLLECTED.exists(), reason="the collected source data are not beside this checkout")
def test_every_collected_row_without_a_flag_is_shipped_with_its_throughput(shipped: tuple[Profile, ...]) -> None:
    """Derived throughput must agree with the collection's own column, row by row, as multisets."""

    def collect(row: dict[str, str]) -> tuple[str, str, int, float] | None:
        if row["flag"]:
            return None
        return row["model"], row["hardware"], int(float(row["concurrency"])), float(row["tput_tok_s_per_gpu"])

    rows = [row for row in parse_table(COLLECTED.name, lambda row: collect(dict(row)), COLLECTED.parent) if row]
    ours = [
        (
            profile.model,
            profile.configuration.hardware,
            point.concurrency,
            point.total_tok_s / profile.configuration.n_gpus,
        )
        for profile in shipped
        for point in profile.points
        if point.provenance.basis is Basis.MEASURED
    ]
    assert len(ours) == len(rows)
    for mine, theirs in zip(sorted(ours), sorted(rows), strict=True):
        assert mine[:3] == theirs[:3]
        assert mine[3] == pytest.approx(theirs[3], rel=1e-3, abs=0.06)
