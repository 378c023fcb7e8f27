import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from app.cli.failure import Failure
from app.cli.main import app

pytestmark = pytest.mark.slow

CHAT = ("frontier", "--model", "gpt-oss-120b", "--isl", "1024", "--osl", "1024")
B200 = (*CHAT, "--hardware", "b200", "--precision", "fp4")
FIGURES = (
    "interactivity_tok_s_user",
    "tput_tok_s_per_gpu",
    "output_tok_s_per_gpu",
    "usd_per_mtok_total",
    "tok_s_per_mw",
)
SVG = "{http://www.w3.org/2000/svg}"
NAMES = ("hardware", "engine", "precision", "mode", "concurrency", "measured_on", "source")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.stdout


def document(*arguments: str) -> dict[str, Any]:
    return json.loads(run(*arguments, "--json"))


def test_a_frontier_is_one_object_with_points_readings_and_the_zone() -> None:
    found = document(*B200, "--at", "72,86")
    assert (found["model"], found["isl"], found["osl"], found["ownership"]) == (
        *("gpt-oss-120b", 1024, 1024),
        "hyperscaler",
    )
    for row in (*found["frontier"], *found["at"], *(read["attainable"] for read in found["at"])):
        assert set(FIGURES) | set(NAMES) <= row.keys()
    speeds = [row["interactivity_tok_s_user"] for row in found["frontier"]]
    assert speeds == sorted(speeds)
    assert found["goldilocks"]["low"] < found["goldilocks"]["interactivity_tok_s_user"] < found["goldilocks"]["high"]


def test_a_reading_between_two_machines_names_only_what_they_share() -> None:
    """25,320 tok/s/GPU at 72 within 5 %; $/M = 1.95 / (T · 0.0036); T · 1000 / 2.17 kW."""
    read, sure = (found := document(*B200, "--at", "72")["at"][0]), found["attainable"]
    assert read["interactivity_tok_s_user"] == 72
    assert read["tput_tok_s_per_gpu"] == pytest.approx(25_320, rel=0.05)
    assert read["usd_per_mtok_total"] == pytest.approx(1.95 / (read["tput_tok_s_per_gpu"] * 0.0036), rel=1e-4)
    assert read["tok_s_per_mw"] == pytest.approx(read["tput_tok_s_per_gpu"] * 1000 / 2.17)
    assert (read["hardware"], read["engine"], read["deployment"], len(read["between"])) == ("b200", "trtllm", None, 2)
    assert sure["interactivity_tok_s_user"] >= 72
    assert sure["id"] == read["between"][1]


def test_a_reading_on_a_measured_point_is_that_point() -> None:
    fastest = document(*B200)["frontier"][-1]
    read = document(*B200, "--at", repr(fastest["interactivity_tok_s_user"]))["at"][0]
    assert read["between"] == [fastest["id"]] * 2
    assert {name: read[name] for name in NAMES} == {name: fastest[name] for name in NAMES}


@pytest.mark.parametrize("speed", ["1", "72,100000"])
def test_a_speed_outside_the_measured_range_exits_with_2_and_the_range(speed: str) -> None:
    result = CliRunner().invoke(app, [*B200, "--at", speed, "--json"])
    assert result.exit_code == 2
    assert "outside the measured range of 56.69995 to 436.910171 tok/s/user" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("speed", ["fast", "-3", "nan", "72,,80", "inf"])
def test_a_speed_that_is_none_exits_with_2(speed: str) -> None:
    result = CliRunner().invoke(app, [*B200, "--at", speed])
    assert result.exit_code == 2
    assert "is no speed" in result.stderr


@pytest.mark.parametrize(
    "ceiling", ["--ttft-p99-max=nan", "--ttft-p99-max=0", "--speed-p99-min=-1", "--speed-p99-min=inf"]
)
def test_a_ceiling_that_bounds_nothing_exits_with_2(ceiling: str) -> None:
    result = CliRunner().invoke(app, [*B200, ceiling])
    assert result.exit_code == 2
    assert "is no" in result.stderr


@pytest.mark.parametrize(
    ("more", "name", "values"),
    [
        (("--mode", "agg"), "mode", {"agg"}),
        (("--mode", "disagg"), "mode", {"disagg"}),
        (("--spec-decoding", "none"), "spec_decoding", {"none"}),
        (("--engine", "trtllm", "--hardware", "gb200"), "hardware", {"gb200"}),
        (("--precision-floor", "fp8"), "precision", {"fp8"}),
        (("--deployment", "h200-sglang-fp8-agg-tp8ep1-unknown"), "deployment", {"h200-sglang-fp8-agg-tp8ep1-unknown"}),
    ],
)
def test_a_frontier_holds_what_it_is_filtered_to(more: tuple[str, ...], name: str, values: set[str]) -> None:
    deepseek = ("frontier", "--model", "DeepSeek-R1-0528", "--isl", "8192", "--osl", "1024")
    assert {row[name] for row in document(*deepseek, *more)["frontier"]} == values


def test_ownership_scales_dollars_and_leaves_speeds_alone() -> None:
    owned, rented = document(*B200), document(*B200, "--ownership", "rental")
    for mine, theirs in zip(owned["frontier"], rented["frontier"], strict=True):
        assert theirs["usd_per_mtok_total"] == pytest.approx(mine["usd_per_mtok_total"] * 2.9 / 1.95, rel=1e-3)
        assert theirs["tput_tok_s_per_gpu"] == mine["tput_tok_s_per_gpu"]


def test_another_unit_of_money_scales_every_cost_however_small() -> None:
    dear, cheap = document(*B200, "--at", "72"), document(*B200, "--at", "72", "--usd-per-hour", "b200=0.0000195")
    for mine, theirs in zip(dear["frontier"] + dear["at"], cheap["frontier"] + cheap["at"], strict=True):
        assert theirs["usd_per_mtok_total"] == pytest.approx(mine["usd_per_mtok_total"] * 1e-5, rel=1e-7)


def test_a_ceiling_on_the_first_token_comes_before_the_frontier() -> None:
    free, bound = document(*CHAT), document(*CHAT, "--ttft-p99-max", "2")
    assert free["frontier"][0]["ttft_s"] * 4.2 > 2
    assert all(row["ttft_s"] * 4.2 <= 2 for row in bound["frontier"])


def test_a_person_gets_a_table_with_readings() -> None:
    text = run(*B200, "--at", "72")
    assert "B200, TP1, TensorRT-LLM, FP4" in text
    assert "at 72 tok/s/user: 25,3" in text
    assert "attainable: 22,566 tok/s/GPU" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*CHAT, "--hardware", "mi300x"), "no measured profile of gpt-oss-120b on mi300x"),
        ((*CHAT, "--deployment", "none"), "with deployment_id none; measured: b200-trtllm-fp4-agg-tp1ep1"),
        (
            (*CHAT, "--engine", "trt"),
            "no measured profile of gpt-oss-120b with engine trt; measured: cerebras, trtllm, vllm",
        ),
        (("frontier", "--model", "none", "--isl", "1", "--osl", "1"), "no profile of 'none'"),
        (("frontier", "--model", "gpt-oss-120b", "--isl", "7", "--osl", "7"), "was not measured at ISL/OSL 7/7"),
        ((*CHAT, "--ownership", "gift"), "GOODPUT_OWNERSHIP"),
        ((*CHAT, "--ttft-p99-max", "0.001"), "keeps p99 first token <= 0.001 s"),
        ((*CHAT, "--plot", "/nowhere/picture.svg"), "there is no directory /nowhere; make it first"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(Failure) as failure:
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert message in str(failure.value)


@pytest.mark.parametrize("name", ["picture.gif", "picture"])
def test_another_suffix_than_a_pictures_is_a_usage_error(name: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [*CHAT, "--plot", str(tmp_path / name)])
    assert result.exit_code == 2
    assert "a picture ends in .png, .svg, .html" in " ".join(result.stderr.replace("│", " ").split())
    assert not list(tmp_path.iterdir())


def marks(path: Path, group: str) -> list[ET.Element]:
    """The marks of a group that bear a tooltip."""
    root = ET.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314 (our own)
    (found,) = [each for each in root.iter(f"{SVG}g") if each.get("id") == group]
    return [each for each in found.iter() if each.find(f"{SVG}title") is not None]


def test_a_picture_marks_every_measured_point_once(tmp_path: Path) -> None:
    """On the frontier or pale beside it; from slow to fast the frontier's marks go right and down."""
    path = tmp_path / "frontier.svg"
    found = document(*B200, "--at", "72", "--plot", str(path))
    on_it = marks(path, "frontier-0")
    assert len(on_it) == len(found["frontier"])
    assert len(on_it) + len(marks(path, "measured-0")) == found["candidates"]
    across, down = ([float(each.attrib[name]) for each in on_it] for name in ("x", "y"))
    assert across == sorted(across)
    assert down == sorted(down)


def test_tiers_are_marked_where_they_are_sold(tmp_path: Path) -> None:
    path = tmp_path / "frontier.svg"
    summary = ("--model", "gpt-oss-120b", "--isl", "8192", "--osl", "1024", "--hardware", "b200")
    run("frontier", *summary, "--plot", str(path))
    derived = json.loads(run("prices", "derive", *summary, "--json"))
    for tier in derived["tiers"]:
        (mark,) = marks(path, f"{tier['tier']}-0")
        assert f"{tier['measured']['interactivity_tok_s_user']:.1f} tok/s/user" in (mark.findtext(f"{SVG}title") or "")


def test_several_models_are_one_document_and_one_picture(tmp_path: Path) -> None:
    """And none of them changes another: each is what it would be alone."""
    path = tmp_path / "two.html"
    both = ("--model", "DeepSeek-R1-0528", "--isl", "1024", "--osl", "1024")
    found = document(*CHAT, *both, "--plot", str(path))["frontiers"]
    assert found == [document(*CHAT), document("frontier", *both)]
    assert "What speed costs: gpt-oss-120b, DeepSeek-R1-0528" in path.read_text(encoding="utf-8")


def test_nothing_is_drawn_and_no_library_loaded_where_no_picture_is_asked_for() -> None:
    script = (
        "import sys; from typer.testing import CliRunner; from app.cli.main import app\n"
        f"result = CliRunner().invoke(app, {[*B200, '--json']!r})\n"
        "assert result.exit_code == 0, result.output\n"
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
