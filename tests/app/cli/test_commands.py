import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli.configuration import HIDDEN, environment, load_settings, shown
from app.cli.failure import Failure
from app.cli.main import GROUPS, app
from app.cli.server import listening_socket, url_of
from app.settings import Settings
from migrations.run import migrate

Goodput = Callable[..., Any]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("market")
    migrate(Settings(data_dir=folder).database_dsn)
    return folder


@pytest.fixture
def goodput(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Goodput:
    """Runs a command that must succeed and answers what it prints as JSON."""
    monkeypatch.setenv("GOODPUT_DATA_DIR", str(data_dir))

    def run(*arguments: str) -> Any:
        result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return run


def test_an_operator_can_open_a_market_by_hand(goodput: Goodput) -> None:
    customer = goodput("customers", "create", "Ada")
    key = goodput("keys", "create", customer["id"], "--label", "first")
    assert key["api_key"].startswith("gp-")
    granted = goodput("credit", "grant", customer["id"], "12.5", "--idem", "welcome")
    assert granted["granted_usd"] == "12.50"
    goodput("credit", "grant", customer["id"], "12.5", "--idem", "welcome")
    (row,) = [row for row in goodput("customers", "list") if row["id"] == customer["id"]]
    assert (row["available_usd"], row["held_usd"]) == ("12.50", "0.00")
    assert goodput("keys", "revoke", key["id"]) == {"id": key["id"], "state": "revoked"}


def test_a_reset_password_and_a_token_go_to_the_operator_of_that_address(goodput: Goodput) -> None:
    made = goodput("admin", "create", "ops@example.com", "--role", "finance")
    reset = goodput("admin", "reset-password", "OPS@example.com")
    assert len(made["password"]) >= 20
    assert reset["password"] != made["password"]
    assert goodput("admin", "token", "ops@example.com")["admin_token"].startswith("gpa-")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("admin", "create", "x@example.com", "--role", "king"), "there is no role 'king'; choose one of viewer"),
        (("admin", "token", "nobody@example.com"), "there is no operator 'nobody@example.com'"),
        (("keys", "create", "cus_none"), "there is no customer 'cus_none'"),
        (("credit", "grant", "cus_none", "5"), "there is no customer 'cus_none'"),
        (("credit", "grant", "cus_none", "five"), "'five' is no amount of USD"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(
    goodput: Goodput, arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(Exception, match=message):
        goodput(*arguments)


@pytest.mark.slow
def test_a_failure_is_one_message_and_status_one(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "app.cli.main", "customers", "list"],
        env={"GOODPUT_DATA_DIR": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert "no such table" in result.stderr
    assert "goodput migrate" in result.stderr
    assert "Traceback" not in result.stderr


def test_every_group_of_commands_is_reachable() -> None:
    folder = Path(load_settings.__code__.co_filename).parent
    texts = {path.stem: path.read_text() for path in folder.glob("*.py")}
    written = {name for name, text in texts.items() if "\napp = typer.Typer(" in text} - {"main"}
    within = {name for text in texts.values() for name in re.findall(r"app\.add_typer\((\w+)\.app", text)}
    assert written == {*GROUPS, *within}
    assert not within & set(GROUPS)


def test_every_wrong_setting_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOODPUT_PORT", "70000")
    monkeypatch.setenv("GOODPUT_MARGIN", "much")
    with pytest.raises(Failure, match=r"(?s)GOODPUT_PORT: .*65535.*GOODPUT_MARGIN: .*number"):
        load_settings()


def test_a_flag_wins_over_the_environment_and_one_not_given_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOODPUT_PORT", "1234")
    assert load_settings({"port": 5678, "host": None}).port == 5678
    assert load_settings({"port": None}).port == 1234


def test_a_child_reads_the_very_settings_of_its_parent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parent = load_settings({"data_dir": tmp_path, "port": 77, "secret_key": "s3", "redis_url": "redis://h:1/2"})
    for name, value in environment(parent).items():
        monkeypatch.setenv(name, value)
    assert Settings() == parent


def test_shown_settings_hide_every_secret() -> None:
    settings = Settings.model_validate({"secret_key": "s3cret", "database_url": "postgresql://u:pass@h/db"})
    assert "s3cret" not in str(shown(settings, redact=True))
    assert shown(settings, redact=True)["GOODPUT_DATABASE_URL"] == f"postgresql://u:{HIDDEN}@h/db"
    assert shown(settings, redact=False)["GOODPUT_SECRET_KEY"] == "s3cret"


def test_a_taken_port_is_refused_with_what_to_do() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Failure, match=rf"port {port}: Address already in use.*another --port"):
            listening_socket(Settings.model_validate({"port": port}))


def test_an_address_of_no_machine_is_refused() -> None:
    with pytest.raises(Failure, match=r"cannot listen on 203\.0\.113\.9"):
        listening_socket(Settings.model_validate({"host": "203.0.113.9", "port": 0}))


@pytest.mark.parametrize(("host", "shown_host"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1")])  # noqa: S104
def test_the_url_is_one_that_this_machine_can_open(host: str, shown_host: str) -> None:
    with listening_socket(Settings.model_validate({"host": host, "port": 0})) as listener:
        assert url_of(listener) == f"http://{shown_host}:{listener.getsockname()[1]}"


def test_the_doctor_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOODPUT_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("GOODPUT_PORT", "0")
    monkeypatch.setenv("GOODPUT_ENGINE", "none")
    monkeypatch.setenv("GOODPUT_REDIS_URL", "redis://127.0.0.1:1/0")
    result = CliRunner().invoke(app, ["doctor", "--json"])
    states = {row["check"]: row for row in json.loads(result.stdout)}
    assert result.exit_code == 1
    assert states["redis"]["state"] == "NOT OK"
    assert "Connection refused" in states["redis"]["detail"]
    assert states["database"] == {"check": "database", "state": "ok", "detail": states["database"]["detail"]}
