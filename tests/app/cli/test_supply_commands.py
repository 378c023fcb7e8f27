"""``goodput providers …`` as an operator meets it: what is told, what is refused, and that no secret is shown."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from app.cli.failure import Failure
from app.cli.main import app
from app.cli.provider_emulate import EmulateOptions, emulated_document, read_faults
from app.errors import MarketError
from migrations.run import migrate
from providers.emulated.spec import read_deployments

SECRET = "sk-live-7f3a9c1d5e8b2f4a6c0d"
PROFILE = ("--profile", "b200-trtllm-fp4-agg-tp2ep1", "--profiled-as", "gpt-oss-120b", "--context-max", "131072")
ADD = ("providers", "add", "acme", "--url", "http://127.0.0.1:9/v1", "--model", "open/one", *PROFILE)
OFFER = "acme/b200-trtllm-fp4-agg-tp2ep1"


pytestmark = [pytest.mark.usefixtures("market"), pytest.mark.slow]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A market in which acme is registered, made once."""
    folder = tmp_path_factory.mktemp("supply")
    migrate(f"sqlite:///{folder / 'goodput.sqlite3'}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOODPUT_DATA_DIR", str(folder))
        told(*ADD)
    return folder / "goodput.sqlite3"


@pytest.fixture
def market(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "goodput.sqlite3").write_bytes(template.read_bytes())
    (tmp_path / "secret_key").write_text("a market's own secret\n")
    monkeypatch.setenv("GOODPUT_DATA_DIR", str(tmp_path))
    return tmp_path


def run(*arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(app, list(arguments), input=typed or None)


def told(*arguments: str, typed: str = "") -> Any:
    result = run(*arguments, "--json", typed=typed)
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def refused(*arguments: str, typed: str = "") -> str:
    result = run(*arguments, typed=typed)
    assert isinstance(result.exception, Failure | MarketError), (result.output, result.exception)
    assert SECRET not in str(result.exception) + result.output
    return str(result.exception)


def test_a_provider_is_added_listed_shown_drained_and_removed() -> None:
    assert told(*ADD, "--input", "0.25", "--output", "0.69")["id"] == OFFER
    [row] = told("providers", "list")["data"]
    assert (row["id"], row["state"], row["is_owned"]) == (OFFER, "enabled", False)
    assert row["cost_usd_per_mtok"]["output"] == "0.69"
    shown = CliRunner().invoke(app, ["providers", "list"], env={"COLUMNS": "80"}).stdout
    assert f"{OFFER}  open/one" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert told("providers", "drain", "acme", "--reason", "firmware")["state"] == "draining"
    assert told("providers", "list")["data"][0]["state"] == "draining"
    assert told("providers", "enable", "acme")["state"] == "enabled"
    assert told("providers", "disable", OFFER)["state"] == "disabled"
    assert "remove them first" in refused("providers", "remove", "acme")
    assert told("providers", "remove", OFFER)["is_removed"]
    assert told("providers", "remove", "acme")["is_removed"]
    assert told("providers", "list")["data"] == []


def test_what_runs_on_hardware_is_rated_at_its_cost_and_owned() -> None:
    [row] = told("providers", "list")["data"]
    assert row["is_owned"]
    assert 0 < float(row["cost_usd_per_mtok"]["output"]) < 100


def test_a_credential_is_piped_in_and_only_its_fingerprint_comes_out(market: Path) -> None:
    shown = told("providers", "credential", "set", "acme", "--credential-stdin", typed=f"{SECRET}\n")
    assert (shown["prefix"], shown["state"]) == ("sk-l", "in use")
    outputs = [run("providers", command, *who) for command, who in (("list", ()), ("show", ("acme",)))]
    outputs += [run("providers", "show", "acme", "--json"), run("config", "show")]
    assert all(SECRET not in each.output for each in outputs)
    assert shown["fingerprint"] in outputs[1].stdout
    assert SECRET.encode() not in b"".join(file.read_bytes() for file in market.glob("goodput.sqlite3*"))
    assert told("providers", "credential", "remove", "acme")["is_removed"]


def test_a_credential_is_taken_from_no_argument() -> None:
    assert run("providers", "credential", "set", "acme", SECRET).exit_code == 2
    assert "--credential-stdin" in refused("providers", "credential", "set", "acme", typed=SECRET)
    assert "no credential came" in refused("providers", "credential", "set", "acme", "--credential-stdin", typed="\n")


def test_a_changed_secret_key_is_followed_by_sealing_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    told("providers", "credential", "set", "acme", "--credential-stdin", typed=f"{SECRET}\n")
    monkeypatch.setenv("GOODPUT_SECRET_KEY", "another")
    assert "GOODPUT_SECRET_KEY" in told("providers", "list")["data"][0]["trouble"]
    assert "another secret key" in refused("providers", "credential", "reseal")
    monkeypatch.setenv("GOODPUT_SECRET_KEYS_FORMER", "a market's own secret, unused")
    assert told("providers", "credential", "reseal") == {"resealed": 1}
    monkeypatch.delenv("GOODPUT_SECRET_KEYS_FORMER")
    assert told("providers", "list")["data"][0]["trouble"] == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*ADD[:4], "file:///etc/passwd", *ADD[5:]), "expected http://host:port/v1"),
        ((*ADD, "--kind", "quantum"), "kind 'quantum' is unknown"),
        ((*ADD[:2], "Not A Slug", *ADD[3:]), "lower-case letters"),
        ((*ADD[:7], "--profile", "nope"), "no profile 'nope'"),
        ((*ADD[:7],), "one of --profile ID, --profile-file FILE or --measure"),
        ((*ADD, "--input", "1"), "both --input and --output"),
        ((*ADD, "--tier", "gold"), "gold"),
        ((*ADD, "--isl", "7", "--osl", "7"), "was not measured at ISL/OSL"),
        ((*ADD, "--header", "x"), "expected NAME=VALUE"),
        (("providers", "show", "nobody"), "no provider 'nobody'"),
        (("providers", "probe", "nobody/x"), "no deployment 'nobody/x'"),
        (("providers", "drain", "nobody"), "no provider 'nobody'"),
    ],
)
def test_what_cannot_be_registered_or_found_is_refused_in_words(arguments: tuple[str, ...], words: str) -> None:
    assert words in refused(*arguments)


def test_a_probe_of_a_backend_that_is_away_says_so_and_ends_with_a_status_of_its_own() -> None:
    result = run("providers", "probe", OFFER, "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["trouble"].startswith("ProviderUnreachable")


def test_a_contract_is_signed_told_in_a_statement_and_ended() -> None:
    signed = told("providers", "contract", "add", "acme", "--usd-per-hour", "98.32", "--starts-at", "2026-10-01")
    document = told("providers", "statement", "acme", "--month", "2026-10")
    assert document["owed_usd"] == "73150.08"  # 744 hours at 98.32
    assert "the ledger agrees" in run("providers", "statement", "acme", "--month", "2026-10").stdout
    assert "end it first" in refused("providers", "contract", "add", "acme", "--input", "1", "--output", "2")
    assert told("providers", "contract", "end", signed["id"], "--ends-at", "2026-11-01")["ends_at_us"]
    assert told("providers", "list")["data"][0]["trouble"].startswith("its contract")
    assert "input" in refused("providers", "contract", "add", "acme", "--output", "2")
    assert "period" in refused("providers", "statement", "acme", "--from", "2026-11-02", "--until", "2026-11-01")


def test_how_a_provider_is_asked_is_set_once() -> None:
    asked = ("providers", "access", "acme", "--auth-header", "x-api-key", "--auth-scheme", "", "--header", "x-org=a")
    assert told(*asked) == {"id": "acme", "is_changed": True}
    assert told(*asked) == {"id": "acme", "is_changed": False}
    assert told("providers", "show", "acme")["access"]["headers"] == {"x-org": "a"}


def test_an_emulated_backend_follows_the_profile_with_the_faults_asked_for() -> None:
    given = EmulateOptions(
        profile="b200-trtllm-fp4-agg-tp2ep1",
        profiled_as="gpt-oss-120b",
        port=0,
        fault=["slowdown=5", "status=429,retry_after_s=2.5,share=0.1", "usage=missing"],
    )
    [deployment] = read_deployments(emulated_document(given))
    assert deployment.model == "gpt-oss-120b"
    assert (deployment.fault.slowdown, deployment.fault.status, deployment.fault.share) == (5, 429, 0.1)
    assert deployment.fault.usage == "missing"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (["slowness=3"], "unknown fields slowness"),
        (["status=200"], "status must be 400 to 599"),
        (["slowdown"], "expected NAME=VALUE"),
        (["usage=odd"], "usage must be one of"),
        (["status=429", "status=503"], "given twice"),
        (["stall_at_token=soon"], "must be a number"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_in_words(fault: list[str], words: str) -> None:
    with pytest.raises(Failure, match=words):
        read_faults(fault)
