"""``goodput up`` as a user meets it: real processes, real ports, real signals."""

import http.client
import json
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.cli.demo import GPT_OSS, LOCAL, TUNED
from app.cli.market_run import _banner
from tests.app.cli.running_market import (
    RunningMarket,
    children_of,
    goodput,
    is_alive,
    running_market,
    wait_until,
)

pytestmark = pytest.mark.slow

CHILDREN = 4  # server, emulated providers, worker, beat


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMarket]:
    with running_market(tmp_path_factory.mktemp("up") / "var", "--engine", "none") as running:
        yield running


def stream(market: RunningMarket, tokens: int) -> http.client.HTTPResponse:
    """A streamed answer, of which the head has arrived."""
    place = urlsplit(market.line["url"])
    connection = http.client.HTTPConnection(place.netloc, timeout=60)
    body = {"model": GPT_OSS, "stream": True, "max_tokens": tokens, "messages": [{"role": "user", "content": "Go on"}]}
    headers = {"authorization": f"Bearer {market.line['api_key']}", "content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    answer = connection.getresponse()
    assert answer.status == 200
    answer.readline()
    return answer


def test_the_ready_line_names_everything_that_opens_the_market(market: RunningMarket) -> None:
    promised = {"url", "console_url", "admin_email", "admin_password", "admin_token", "api_key", "data_dir"}
    assert promised <= set(market.line)
    assert market.ask("/health")[0] == 200
    assert market.ask("/readyz")[1]["status"] == "ready"
    assert market.ask("/v1/credits")[0] == 200
    assert market.ask("/v1/credits", token="gp-" + "x" * 43)[0] == 401
    assert market.ask("/admin/overview", token=market.line["admin_token"])[0] == 200
    assert market.ask("/admin/overview")[0] == 401


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
def test_the_commands_that_the_banner_shows_work_as_they_stand(market: RunningMarket) -> None:
    shown = [line.strip() for line in _banner(market.line).splitlines() if line.strip().startswith("curl ")]
    said = [subprocess.run(shlex.split(line), capture_output=True, text=True, check=True).stdout for line in shown]
    models, quote, answer = said
    assert {model["id"] for model in json.loads(models)["data"]} == {GPT_OSS, TUNED}
    assert json.loads(quote)["object"] == "quote"
    assert answer.rstrip().endswith("data: [DONE]")


def test_secrets_are_readable_by_their_user_alone(market: RunningMarket) -> None:
    for name in ("credentials.json", "secret_key"):
        assert stat.S_IMODE((market.data_dir / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(market.data_dir.stat().st_mode) == 0o700


@pytest.mark.parametrize("model", [GPT_OSS, TUNED])
@pytest.mark.parametrize("tier", ["priority", "default", "flex"])
def test_every_model_answers_at_every_tier_and_says_that_it_is_emulated(
    market: RunningMarket, model: str, tier: str
) -> None:
    status, answer = market.complete(model, tier)
    assert (status, answer["service_tier"]) == (200, tier)
    assert 1 <= answer["usage"]["completion_tokens"] <= 8
    assert answer["system_fingerprint"].startswith("emulated:")


def test_what_was_sold_and_what_stands_is_told_to_prometheus(market: RunningMarket) -> None:
    assert market.complete(GPT_OSS, "priority")[0] == 200

    def told() -> str:
        with urllib.request.urlopen(f"{market.line['url']}/metrics", timeout=10) as answer:  # noqa: S310 (loopback)
            return answer.read().decode()

    assert wait_until(lambda: "goodput_breaker_state{" in told())
    assert f'goodput_requests_total{{model="{GPT_OSS}"' in told()
    assert "goodput_ledger_imbalance_nano_usd 0.0" in told()


def test_without_an_engine_its_model_is_not_on_sale(market: RunningMarket) -> None:
    assert market.complete(LOCAL, "default")[0] == 404


def test_a_second_market_on_the_same_data_is_refused_and_leaves_the_first_alone(market: RunningMarket) -> None:
    command = [sys.executable, "-m", "app.cli.main", "up", "--data-dir", str(market.data_dir), "--port", "0"]
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert f"another market (process {market.process.pid}) runs in {market.data_dir}" in second.stderr
    assert market.ask("/health")[0] == 200


def test_a_taken_port_is_refused_before_anything_starts(market: RunningMarket, tmp_path: Path) -> None:
    port = str(urlsplit(market.line["url"]).port)
    command = [sys.executable, "-m", "app.cli.main", "up", "--data-dir", str(tmp_path / "var"), "--port", port]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert f"port {port}: Address already in use" in refused.stderr
    assert not (tmp_path / "var" / "goodput.sqlite3").exists()


def test_a_child_that_is_killed_comes_back_and_the_market_sells_on(market: RunningMarket) -> None:
    before = market.child("providers.emulated")
    subprocess.run(["kill", "-9", str(before)], check=True)
    assert wait_until(lambda: not is_alive(before))
    assert wait_until(lambda: market.complete(GPT_OSS, "default")[0] == 200)
    assert market.child("providers.emulated") != before
    assert "child.restarted" in (market.data_dir / "logs" / "market.log").read_text()


def test_a_stream_finishes_and_is_settled_while_the_market_drains(tmp_path: Path) -> None:
    with running_market(tmp_path / "var", "--engine", "none") as market:
        children = children_of(market.process.pid)
        assert len(children) == CHILDREN
        answer = stream(market, tokens=400)
        market.process.send_signal(signal.SIGTERM)
        assert answer.read().rstrip().endswith(b"data: [DONE]")
        assert market.process.wait(60) == 0
        assert not [pid for pid in children if is_alive(pid)]
        assert not (market.data_dir / "redis.sock").exists()
    (customer,) = goodput(market.data_dir, "customers", "list")
    assert customer["held_usd"] == "0.00"
    assert float(customer["available_usd"]) < 25
    assert goodput(market.data_dir, "ledger", "verify")["is_balanced"]


def test_a_killed_market_leaves_nothing_behind_and_the_next_start_gives_its_holds_back(tmp_path: Path) -> None:
    with running_market(tmp_path / "var", "--engine", "none") as market:
        children = children_of(market.process.pid)
        answer = stream(market, tokens=5_000)
        assert market.stop(signal.SIGKILL) == -signal.SIGKILL
        assert wait_until(lambda: not [pid for pid in children if is_alive(pid)], seconds=10)
        answer.close()
    (customer,) = goodput(market.data_dir, "customers", "list")
    assert customer["held_usd"] != "0.00"
    with running_market(tmp_path / "var", "--engine", "none") as again:
        kept = ("admin_email", "admin_password", "admin_token", "api_key")
        assert [again.line[name] for name in kept] == [market.line[name] for name in kept]
        assert again.ask("/v1/key")[0] == 200
        (customer,) = goodput(market.data_dir, "customers", "list")
        assert (customer["available_usd"], customer["held_usd"]) == ("25.00", "0.00")
        assert again.complete(GPT_OSS, "default")[0] == 200
        assert again.stop() == 0
    assert goodput(market.data_dir, "ledger", "verify")["is_balanced"]


def test_a_market_told_to_stop_while_it_starts_ends_at_once_and_whole(tmp_path: Path) -> None:
    data_dir = tmp_path / "var"
    command = [sys.executable, "-m", "app.cli.main", "up", "--data-dir", str(data_dir), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--engine", "none"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert wait_until((data_dir / "logs" / "redis.log").exists)
    children = children_of(process.pid)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in err
    assert wait_until(lambda: not [pid for pid in children if is_alive(pid)], seconds=5)


@pytest.mark.engine
def test_the_local_engine_is_measured_once_and_sold_from_its_own_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOODPUT_ENGINE_MEASURE_S_MAX", "20")
    with running_market(tmp_path / "var") as market:
        profile = json.loads((market.data_dir / "profiles" / f"{LOCAL}.json").read_text())
        assert profile["provenance"]["basis"] == "measured"
        assert len(profile["points"]) >= 2
        status, answer = market.complete(LOCAL, "flex")
        assert status == 200
        assert not str(answer["system_fingerprint"]).startswith("emulated")
        assert market.stop() == 0
    with running_market(tmp_path / "var") as again:
        assert again.complete(LOCAL, "flex")[0] == 200
        assert (again.data_dir / "logs" / "market.log").read_text().count("engine.measured") == 1
