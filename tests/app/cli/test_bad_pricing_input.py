"""Bad input of pricing through the command line: a status that is not 0, one message, and no traceback."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from app.cli.main import run
from pricing.profiles import Profile
from pricing.shipped import shipped_profiles


class Told:
    """What a command said, and its status."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


class Terminal:
    """Runs commands as the entry point does, its own handling of failures included."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def run(self, *arguments: str) -> Told:
        self._monkeypatch.setattr(sys, "argv", ["goodput", *arguments])
        with pytest.raises(SystemExit) as ended:
            run()
        out, err = self._capsys.readouterr()
        assert "Traceback" not in err
        status = ended.value.code
        return Told(status if isinstance(status, int) else 0, out, err)

    def refused(self, *arguments: str) -> str:
        told = self.run(*arguments)
        assert (told.status, told.out) == (1, ""), told.out
        assert told.err.startswith("goodput: ")
        assert "Error" not in told.err.partition(":")[2][:30]  # a message, not the name of an exception
        return told.err


@pytest.fixture(scope="module")
def tables() -> tuple[Profile, ...]:
    """The shipped tables, read once: every command would read them anew."""
    return shipped_profiles()


@pytest.fixture(autouse=True)
def _read_once(tables: tuple[Profile, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cli.pricing_inputs.shipped_profiles", lambda: tables)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(monkeypatch, capsys)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "input.json"


def profile(*loads: dict[str, Any], **changes: Any) -> str:
    configuration = {"hardware": "b200", "n_gpus": 1, "engine": "vllm", "precision": "fp8", "mode": "agg"}
    points = [{"isl": 1000, "osl": 100, **load} for load in loads]
    base = {
        "format": "goodput-profile/1",
        "model": "own",
        "configuration": {**configuration, **changes.pop("configuration", {})},
        "provenance": {"source": "bench", "basis": "measured", "licence": "own measurement"},
        "points": points,
    }
    return json.dumps({**base, **changes})


def load(concurrency: int, ttft_s: float, tpot_s: float) -> dict[str, Any]:
    return {"concurrency": concurrency, "ttft_s_p50": ttft_s, "tpot_s_p50": tpot_s}


GOOD = (load(1, 0.1, 0.01), load(8, 0.2, 0.02), load(32, 0.5, 0.05))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the document is not JSON"),
        (profile(), "points: expected a list with at least one object"),
        (profile(GOOD[0]), "measured at one load only, concurrency 1"),
        (profile(load(1, 100, 10), load(8, 200, 20)), "is it in milliseconds"),
        (profile(load(1, 200, 0.01)), "is the first token's time in milliseconds"),
        (profile(load(4, 100, 0.01), load(8, 200, 0.01)), "every load of own at ISL/OSL 1000/100 is queue-dominated"),
        (profile(GOOD[0], GOOD[0]), "two operating points for 1000/100 at concurrency 1"),
        (profile(load(1, -0.1, 0.01)), "ttft_s_p50: expected a number above 0"),
        (profile(*GOOD, configuration={"hardware": "tpu9"}), "no $/hour is known for tpu9"),
        (profile(*GOOD, price_usd_per_mtok={"input": "-1"}), "price_usd_per_mtok.input"),
    ],
)
def test_a_profile_that_nothing_can_be_priced_from(terminal: Terminal, path: Path, text: str, said: str) -> None:
    path.write_text(text, encoding="utf-8")
    command = ("prices", "derive", "--model", "own", "--isl", "1000", "--osl", "100", "--profile", str(path))
    assert said in terminal.refused(*command)


def test_a_profile_that_is_no_file(terminal: Terminal, path: Path) -> None:
    for name in (path, path.parent):
        assert str(name) in terminal.refused("prices", "derive", "--model", "own", "--profile", str(name))
    path.write_bytes(b"\x00\xff" * 100)
    assert "not JSON" in terminal.refused("prices", "derive", "--model", "own", "--profile", str(path))


def test_a_curve_that_speeds_up_under_load_is_priced_and_flagged(terminal: Terminal, path: Path) -> None:
    path.write_text(profile(load(1, 0.1, 0.01), load(8, 0.5, 0.05), load(32, 0.4, 0.02)), encoding="utf-8")
    own = ("--model", "own", "--isl", "1000", "--osl", "100", "--profile", str(path), "--json")
    for command in (("prices", "derive"), ("frontier",)):
        told = terminal.run(*command, *own)
        assert told.status == 0
        assert any("was measured faster at concurrency 32 than at 8" in flag for flag in json.loads(told.out)["flags"])


def test_a_frontier_of_one_load_is_drawn_and_flagged(terminal: Terminal, path: Path) -> None:
    path.write_text(profile(GOOD[1]), encoding="utf-8")
    own = ("frontier", "--model", "own", "--isl", "1000", "--osl", "100", "--profile", str(path))
    told = terminal.run(*own, "--json")
    assert json.loads(told.out)["flags"] == ["one operating point alone: how speed falls with load is not known"]
    beyond = terminal.run(*own, "--at", "60")
    assert beyond.status == 2
    assert "outside the measured range of 50 to 50 tok/s/user" in beyond.err


def test_a_model_that_fits_no_hardware(terminal: Terminal, path: Path) -> None:
    h100 = {"hardware": "h100", "n_gpus": 1}
    path.write_text(profile(*GOOD, model="DeepSeek-R1-0528", configuration=h100), encoding="utf-8")
    own = ("--model", "DeepSeek-R1-0528", "--isl", "1000", "--osl", "100", "--profile", str(path))
    for command in (("prices", "derive"), ("frontier",)):
        assert "705 GB of weights do not fit 1 x 80 GB" in terminal.refused(*command, *own)


def test_no_point_keeps_an_slo(terminal: Terminal) -> None:
    asked = ("frontier", "--model", "gpt-oss-120b", "--isl", "1024", "--osl", "1024")
    assert "the earliest p99 first token is" in terminal.refused(*asked, "--ttft-p99-max", "0.0001")
    assert "the best p99 speed" in terminal.refused(*asked, "--speed-p99-min", "99999")


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        ({"hardware": "b200", "usd_per_hour": 2, "kw": 0}, "kw: expected a number above 0"),
        ({"hardware": "b200", "usd_per_hour": 2, "kw": 2_170}, "is it in watts"),
        ({"hardware": "b200", "usd_per_hour": -2}, "usd_per_hour: expected a number above 0"),
        (
            {"hardware": "b200", "build_up": {"capex_usd": 1, "life_years": 4, "it_kw": 1, "usd_per_kwh": 80}},
            "is it in USD/MWh",
        ),
    ],
)
def test_a_cost_that_cannot_be(terminal: Terminal, path: Path, cost: dict[str, Any], said: str) -> None:
    path.write_text(json.dumps({"format": "goodput-hardware-cost/1", "hardware": [cost]}), encoding="utf-8")
    assert said in terminal.refused("hardware", "build-up", str(path))


def test_a_cost_that_cannot_be_is_refused_wherever_it_is_given(terminal: Terminal, path: Path) -> None:
    path.write_text('{"format": "goodput-hardware-cost/1", "hardware": []}', encoding="utf-8")
    asked = ("--model", "gpt-oss-120b", "--isl", "8192", "--osl", "1024", "--hardware-cost", str(path))
    for command in (("prices", "derive"), ("frontier",), ("whatif",), ("capacity", "--demand", "standard=1")):
        assert "hardware: expected a list with at least one object" in terminal.refused(*command, *asked)


@pytest.mark.parametrize("usd", ["-1", "nan", "cheap"])
def test_an_hours_price_that_cannot_be(terminal: Terminal, usd: str) -> None:
    said = terminal.refused("prices", "derive", "--model", "gpt-oss-120b", "--usd-per-hour", f"b200={usd}")
    assert "usd_per_hour must be above 0" in said or "expected HARDWARE=USD_PER_HOUR" in said


def test_an_unknown_model_or_class_says_what_is_known(terminal: Terminal) -> None:
    assert "no profile of 'gpt-6'" in terminal.refused("prices", "derive", "--model", "gpt-6")
    unmeasured = ("--model", "gpt-oss-120b", "--isl", "5", "--osl", "5")
    assert "measured: 1024/1024, 1024/8192, 4000/1000, 8192/1024" in terminal.refused("frontier", *unmeasured)


def test_a_demand_that_no_fleet_can_serve_has_a_status_of_its_own(terminal: Terminal) -> None:
    asked = ("--model", "gpt-oss-120b", "--isl", "8192", "--osl", "1024", "--hardware", "b200")
    told = terminal.run("capacity", *asked, "--demand", "standard=1e9", "--count", "b200=1")
    assert told.status == 3
    assert "infeasible" in told.out
