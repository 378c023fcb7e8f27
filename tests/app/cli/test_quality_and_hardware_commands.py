import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli.failure import Failure
from app.cli.main import app
from pricing.profiles import Profile
from pricing.shipped import shipped_profiles

pytestmark = pytest.mark.slow

R1 = ("--model", "DeepSeek-R1-0528", "--isl", "8192", "--osl", "1024")
DERIVE = ("prices", "derive", *R1, "--hardware", "b200")
CAPACITY = ("capacity", "--model", "gpt-oss-120b", "--isl", "8192", "--osl", "1024", "--demand", "standard=1e5")
RATIO = ("ratio", "--model", "DeepSeek-R1-0528", "--mix", "8192/1024", "--hardware", "h200")


def run(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False, env={"COLUMNS": "80"})
    assert result.exit_code == status, result.output
    return result.output


def document(*arguments: str) -> dict[str, Any]:
    return json.loads(CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False).stdout)


def refused(*arguments: str) -> str:
    with pytest.raises(Failure) as failure:
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    return str(failure.value)


@pytest.fixture(scope="module")
def tables() -> tuple[Profile, ...]:
    """The shipped tables, read once: every command would read them anew."""
    return shipped_profiles()


@pytest.fixture(autouse=True)
def _read_once(tables: tuple[Profile, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cli.pricing_inputs.shipped_profiles", lambda: tables)


@pytest.fixture
def accuracy(tmp_path: Path) -> Path:
    path = tmp_path / "accuracy.csv"
    path.write_text(
        "model,precision,benchmark,score,reference,source,date\n"
        "DeepSeek-R1-0528,fp8,gpqa,0.71,0.715,own,2026-11-01\n"
        "DeepSeek-R1-0528,fp4,gpqa,0.68,0.715,own,2026-11-01\n",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def costs(tmp_path: Path) -> Path:
    """A rack of 72 at 43,800 USD each over five years, 2 kW each: 1.00 + 0.20 USD/h."""
    path = tmp_path / "costs.json"
    parts = {"capex_usd": 3_153_600, "life_years": 5, "it_kw": 144, "usd_per_kwh": 0.1}
    entry = {"hardware": "gb200", "accelerators": 72, "build_up": parts}
    path.write_text(json.dumps({"format": "goodput-hardware-cost/1", "hardware": [entry]}), encoding="utf-8")
    return path


def precisions(found: dict[str, Any]) -> dict[str, str]:
    return {tier["tier"]: tier["precision"] for tier in found["tiers"]}


def test_a_precision_floor_holds_for_its_tier_alone() -> None:
    free, floored = document(*DERIVE), document(*DERIVE, "--precision-floor", "premium=fp8")
    assert precisions(free) == {"premium": "fp4", "standard": "fp4", "bulk": "fp4"}
    assert precisions(floored) == {"premium": "fp8", "standard": "fp4", "bulk": "fp4"}
    assert floored["tiers"][0]["quality"] == "FP8 or finer is kept"
    assert "FP8 or finer is kept" in floored["tiers"][0]["explanation"]


def test_a_floor_without_a_tier_holds_for_all_and_a_tiers_own_replaces_it() -> None:
    found = document(*DERIVE, "--precision-floor", "bulk=fp4", "--precision-floor", "fp8")
    assert precisions(found) == {"premium": "fp8", "standard": "fp8", "bulk": "fp4"}


def test_an_accuracy_minimum_is_held_against_ones_own_figures(accuracy: Path) -> None:
    """FP4 keeps 0.68/0.715 = 95.1 %, FP8 99.3 %."""
    found = document(*DERIVE, "--accuracy", str(accuracy), "--accuracy-min", "standard=0.98")
    assert precisions(found) == {"premium": "fp4", "standard": "fp8", "bulk": "fp4"}
    assert "99.30% of its reference" in found["tiers"][1]["quality"]
    found = document(*DERIVE, "--accuracy", str(accuracy), "--accuracy-min", "bulk=gpqa:0.70")
    assert precisions(found)["bulk"] == "fp8"


def test_a_premium_that_nothing_passes_is_missing_with_the_reason() -> None:
    found = document(*DERIVE, "--precision-floor", "premium=bf16")
    assert "premium" not in precisions(found)
    assert "precision bf16 or finer" in found["missing"]["premium"]


def test_a_frontier_or_lever_can_have_a_floor_too() -> None:
    drawn = document("frontier", *R1, "--precision-floor", "fp8")
    assert {point["precision"] for point in drawn["frontier"]} == {"fp8"}
    assert any(each["reason"] == "precision fp4 is below the floor of fp8" for each in drawn["excluded"])
    found = document("whatif", *R1, "--at", "40", "--precision-floor", "fp8")
    assert "no FP4" not in {row["lever"] for row in found["tornado"][0]["levers"]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--precision-floor", "bf16"), "no operating point of DeepSeek-R1-0528"),
        (("--precision-floor", "gold=fp8"), "'gold' is no tier"),
        (("--precision-floor", "fp9"), "'fp9' is no precision for a floor; known:"),
        (("--accuracy-min", "0.98"), "needs --accuracy FILE"),
    ],
)
def test_floors_that_make_no_sense_are_refused(arguments: tuple[str, ...], said: str) -> None:
    assert said in refused(*DERIVE, *arguments)


def test_an_accuracy_table_that_cannot_be_is_refused_with_its_name(accuracy: Path, tmp_path: Path) -> None:
    assert "decides nothing without --accuracy-min" in refused(*DERIVE, "--accuracy", str(accuracy))
    with_it = (*DERIVE, "--accuracy", str(accuracy))
    assert "write 98 % as 0.98" in refused(*with_it, "--accuracy-min", "98")
    assert "expected a share such as 0.98" in refused(*with_it, "--accuracy-min", "standard=high")
    accuracy.write_text("model\nm\n", encoding="utf-8")
    assert "accuracy.csv: line 1: the columns are" in refused(*with_it, "--accuracy-min", "0.9")
    accuracy.write_bytes(b"\xff\xfe\x00")
    assert "accuracy.csv" in refused(*with_it, "--accuracy-min", "0.9")
    missing = str(tmp_path / "none.csv")
    assert "No such file" in refused(*DERIVE, "--accuracy", missing, "--accuracy-min", "0.9")


def test_a_built_up_cost_replaces_the_shipped_one(costs: Path) -> None:
    stack = document("hardware", "build-up", str(costs))["hardware"][0]
    assert stack["usd_per_hour"] == pytest.approx(1.2)
    shares = {part["part"]: part["share"] for part in stack["parts"]}
    assert shares["capital"] == pytest.approx(1 / 1.2)
    assert "capital" in run("hardware", "build-up", str(costs))
    only = ("--model", "DeepSeek-R1-0528", "--mix", "8192/1024", "--hardware", "gb200", "--at", "36")
    base, own = document("ratio", *only), document("ratio", *only, "--hardware-cost", str(costs))
    figures = [found["recommendations"][0]["balanced"]["usd_per_mtok_total"] for found in (base, own)]
    assert figures[1] / figures[0] == pytest.approx(1.2 / 2.21, rel=1e-4)


def test_a_cost_document_that_cannot_be_is_refused_with_its_name(costs: Path) -> None:
    costs.write_text('{"format": "goodput-hardware-cost/1", "hardware": [{"hardware": "b200"}]}', encoding="utf-8")
    for command in ((*DERIVE, "--hardware-cost"), ("hardware", "build-up")):
        assert "costs.json: b200: state usd_per_hour or build_up" in refused(*command, str(costs))
    assert "No such file" in refused("hardware", "build-up", str(costs.parent / "none.json"))


def test_hardware_that_nobody_measured_says_so_wherever_it_is_named() -> None:
    listed = {row["hardware"]: row for row in document("hardware", "list")["hardware"]}
    for name in ("trainium2", "helios", "mi300x"):
        assert listed[name]["standing"] == "no measured profile"
    assert listed["helios"]["usd_per_hour"] == {}
    assert listed["cs3"]["standing"] == "bought by the token at its declared price"
    assert (listed["cs3"]["usd_per_hour"], listed["cs3"]["kw"]) == ({}, None)
    assert "no measured profile" in run("hardware", "list")
    assert "no measured profile" in run("hardware", "show", "trainium2")
    assert "helios" in run("profiles", "list").splitlines()[-1]
    assert "helios" in document("profiles", "list")["without_profile"]
    assert "helios: no measured profile" in refused("profiles", "list", "--hardware", "helios")
    on_helios = ("prices", "derive", *R1, "--hardware", "helios")
    assert "no measured profile of DeepSeek-R1-0528 on helios; measured on: b200" in refused(*on_helios)
    assert "no hardware 'b2000'; known: h100" in refused("hardware", "show", "b2000")


def test_market_figures_are_shown_beside_ones_own() -> None:
    market = document("hardware", "show", "b200")["market"]
    assert [(each["value"], each["unit"]) for each in market] == [(6.03, "USD/GPU-h")]
    assert "6.03 USD/GPU-h" in run("hardware", "show", "b200")


def test_capacity_says_which_hardware_it_cannot_use() -> None:
    found = document(*CAPACITY, "--count", "helios=100", "--hardware", "b200")
    assert found["unused"] == {"helios": "no measured profile that can be costed"}
    assert "helios is not used: no measured profile" in run(*CAPACITY, "--count", "helios=100", "--hardware", "b200")


def test_capacity_keeps_the_floors_of_its_tiers() -> None:
    demand = ("capacity", *R1, "--demand", "standard=1e5")
    used = [use for use in document(*demand, "--precision-floor", "fp8")["uses"] if max(use["gpus"]) > 0]
    assert used
    assert all("-fp8-" in use["deployment"] for use in used)


def test_a_ratio_divides_the_gpus_and_shows_how_yield_moves() -> None:
    found = document(*RATIO, "--at", "36", "--gpus", "56")
    best = found["recommendations"][0]
    assert abs(best["prefill_gpus"] - 16) <= 4
    assert best["prefill_gpus"] + best["decode_gpus"] == 56
    assert {row["basis"] for row in best["measured"]} == {"measured"}
    assert best["balanced"]["basis"] == "modelled"
    assert any(row["worker_counts_from"].startswith("dataset") for row in best["measured"])
    text = run(*RATIO, "--at", "36", "--gpus", "56")
    assert "by balance (prefill limits)" in text
    assert "16 + 40" in text


def test_without_a_speed_the_ratio_is_told_where_speed_times_yield_peaks() -> None:
    assert document(*RATIO)["interactivity_tok_s_user"] > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--mix", "8192/1024=0.7"), "sum to 1, got 0.7"),
        (("--mix", "chat"), "expected ISL/OSL=SHARE"),
        (("--at", "9999"), "the fastest at 8192/1024 reaches"),
        (("--at", "-1"), "above 0 tok/s/user"),
        (("--at", "36", "--gpus", "1"), "2 to 100000 GPUs"),
        (("--mix", "77/77"), "was not measured at ISL/OSL 77/77"),
        (("--precision-floor", "bf16"), "below the floor of bf16"),
    ],
)
def test_a_ratio_that_cannot_be_told_says_why(arguments: tuple[str, ...], said: str) -> None:
    assert said in refused(*RATIO, *arguments)


def test_a_model_without_pools_has_no_ratio() -> None:
    with pytest.raises(Failure, match="with mode disagg; measured: agg"):
        CliRunner().invoke(app, ["ratio", "--model", "Llama-3.x-70B", "--mix", "1024/1024"], catch_exceptions=False)
