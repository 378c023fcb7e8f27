import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.cli import doctor, local_profile, main, market_run
from app.cli.failure import Failure
from app.cli.market_run import _last_error
from app.cli.startup import _read_json
from app.cli.terminal import answer, with_database
from app.cli.up import UpOptions, run_up
from app.db import Database
from app.settings import Settings
from providers.local_engine import MODEL_NAME


def test_rows_are_a_table_and_a_single_result_is_a_line_per_field(capsys: pytest.CaptureFixture[str]) -> None:
    answer([{"id": "a", "name": "long name"}, {"id": "bb", "name": "x"}], as_json=False)
    assert capsys.readouterr().out == "id  name\na   long name\nbb  x\n"
    answer({"id": "a", "api_key": "gp-1"}, as_json=False)
    assert capsys.readouterr().out == "id       a\napi_key  gp-1\n"
    answer([], as_json=False)
    assert capsys.readouterr().out == ""


def test_a_database_that_is_not_there_is_named_without_its_password() -> None:
    settings = Settings.model_validate({"database_url": "postgresql://u:s3cret@127.0.0.1:1/db"})
    with pytest.raises(Failure, match=r"127\.0\.0\.1:1/db did not do it.*goodput migrate") as refused:
        with_database(settings, _select)
    assert "s3cret" not in str(refused.value)


async def _select(database: Database) -> None:
    async with database.engine.connect():
        pass


@pytest.mark.slow
def test_help_loads_neither_a_database_nor_what_computes() -> None:
    heavy = ("sqlalchemy", "sqlmodel", "litestar", "celery", "redis", "numpy", "scipy", "pydantic")
    program = (
        "import sys; sys.argv = ['goodput', '--help']\n"
        "from app.cli.main import run\n"
        "try: run()\n"
        f"finally: print(sorted(set({heavy!r}) & set(sys.modules)), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert "A token marketplace" in result.stdout
    assert result.stderr == "[]\n"


def test_an_unexpected_error_is_one_line_unless_it_is_being_looked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(main, "app", broken)
    with pytest.raises(SystemExit, match="1"):
        main.run()
    assert capsys.readouterr().err == "goodput: ZeroDivisionError: by zero\nGOODPUT_LOG_LEVEL=debug shows where.\n"
    monkeypatch.setenv("GOODPUT_LOG_LEVEL", "debug")
    with pytest.raises(ZeroDivisionError):
        main.run()


def test_leases_in_one_process_are_no_ground_for_a_whole_market(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "var", redis_url="memory://")
    with pytest.raises(Failure, match="cannot carry background work"):
        run_up(settings, UpOptions())
    assert not (tmp_path / "var").exists()


def test_the_log_tells_why_the_api_did_not_start(tmp_path: Path) -> None:
    log = tmp_path / "market.log"
    trace = "  + Exception Group Traceback\n    |   File x\n    | DatabaseGone: it is away\n    +------"
    events: list[dict[str, str]] = [
        {"level": "error", "event": trace},
        {"level": "info", "event": "fine"},
        {"level": "error", "event": "Application startup failed. Exiting."},
    ]
    log.write_text("not json\n" + "\n".join(map(json.dumps, events)))
    assert _last_error(log) == "DatabaseGone: it is away"
    log.write_text("")
    assert _last_error(log) == "it says nothing"


def test_remembered_ports_that_make_no_sense_are_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    assert _read_json(file) == {}
    for text in ("nonsense", "[1]"):
        file.write_text(text)
        assert _read_json(file) == {}


async def test_a_spoilt_profile_of_the_engine_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / f"{MODEL_NAME}.json").write_text("{}")
    with pytest.raises(Failure, match=rf"{MODEL_NAME}\.json: .*Remove it to measure the local engine anew"):
        await local_profile.measured_once("http://127.0.0.1:1/v1", tmp_path, 1.0)


async def test_an_engine_that_is_not_there_cannot_be_measured(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"the local engine cannot be measured: .*--engine none leaves it out"):
        await local_profile.measured_once("http://127.0.0.1:1/v1", tmp_path, 1.0)
    assert not list(tmp_path.iterdir())  # noqa: ASYNC240 (nothing else runs here)


def test_the_doctor_says_what_to_run_for_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setattr(doctor, "_STATIC", tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=1))
    settings = Settings(data_dir=tmp_path / "not" / "there", port=0, engine="local")
    found: dict[str, Any] = {finding.about: finding for finding in doctor.examine(settings)}
    assert [found[name].is_well for name in ("python", "port")] == [True, True]
    assert "run make model" in found["local engine"].said
    assert "run make assets" in found["console assets"].said
    assert "0 MiB free" in found["disk"].said
    assert found["database"].said.startswith("SQLite, made on first start, schema ")


def test_a_market_without_a_demo_shows_how_to_make_its_first_operator() -> None:
    line = {"url": "http://127.0.0.1:1", "console_url": "http://127.0.0.1:1/console", "data_dir": "var"}
    shown = market_run._banner(line)
    assert "goodput admin create" in shown
    assert "$GOODPUT_API_KEY" in shown
