"""The market as compose.yaml runs it: PostgreSQL, Redis, two API processes, worker, beat, an emulated provider."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from app.cli.demo import GPT_OSS
from app.cli.ports import free_ports
from app.clock import now_us
from app.db import Database
from app.embedded_redis import embedded_redis
from app.ledger.holds import HoldRequest
from app.ledger.service import Ledger
from app.ledger.writer import LedgerWriter
from pricing.money import NanoUsd
from tests.app.cli.running_market import RunningMarket, children_of, is_alive, wait_until

pytest_plugins = ("tests.postgres",)
pytestmark = [pytest.mark.slow, pytest.mark.postgres]

Env = dict[str, str]


@dataclass(frozen=True)
class Site:
    """Everything that runs, and the settings that all of it shares."""

    env: Env
    processes: dict[str, subprocess.Popen[bytes]]
    market: RunningMarket


async def execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


def run(env: Env, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app.cli.main", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@contextmanager
def process(env: Env, log: Path, *arguments: str) -> Generator[subprocess.Popen[bytes]]:
    """A command that runs until it is told to stop."""
    with log.open("wb") as out:
        command = [sys.executable, "-m", "app.cli.main", *arguments]
        started = subprocess.Popen(command, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        yield started
    finally:
        if started.poll() is None:
            started.terminate()
            try:
                started.wait(30)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()


@pytest.fixture(scope="module")
def site(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    asyncio.run(execute(postgres_server, "CREATE DATABASE site"))
    ports = free_ports(["api", "provider"], {})
    env = {
        **os.environ,
        "GOODPUT_DATABASE_URL": postgres_server.replace("/postgres?", "/site?"),
        "GOODPUT_REDIS_URL": f"unix://{folder}/redis.sock",
        "GOODPUT_SECRET_KEY": "5" * 64,
        "GOODPUT_DATA_DIR": str(folder / "var"),
        "GOODPUT_PORT": str(ports["api"]),
        "GOODPUT_ENGINE": "none",
    }
    with ExitStack() as stack:
        stack.enter_context(embedded_redis(folder / "redis.sock", folder / "redis.log"))
        assert run(env, "migrate").returncode == 0
        seeding = ("seed", f"--at=cluster-h100=http://127.0.0.1:{ports['provider']}", "--json")
        seeded = run(env, *seeding)
        assert seeded.returncode == 0, seeded.stderr
        commands = {
            "provider": ("emulate", "cluster-h100", "--port", str(ports["provider"])),
            "api": ("serve", "--workers", "2"),
            "worker": ("worker", "--concurrency", "1"),
            "beat": ("beat",),
        }
        running = {
            name: stack.enter_context(process(env, folder / f"{name}.log", *command))
            for name, command in commands.items()
        }
        credentials: dict[str, str] = json.loads(seeded.stdout)
        market = RunningMarket(running["api"], {**credentials, "url": f"http://127.0.0.1:{ports['api']}"})  # pyright: ignore[reportArgumentType] (read by nobody)
        assert wait_until(lambda: is_ready(market), 60), (folder / "api.log").read_text()[-4000:]
        yield Site(env, running, market)
    asyncio.run(execute(postgres_server, "DROP DATABASE site WITH (FORCE)"))


def is_ready(market: RunningMarket) -> bool:
    try:
        return market.ask("/readyz")[0] == 200
    except OSError:
        return False


def test_two_api_processes_sell_from_one_database(site: Site) -> None:
    assert len(children_of(site.processes["api"].pid)) >= 2
    answers = [site.market.complete(GPT_OSS, tier) for tier in ("default", "flex", "default", "flex")]
    assert [status for status, _ in answers] == [200] * 4
    verified = run(site.env, "ledger", "verify", "--json")
    assert verified.returncode == 0, verified.stdout


def test_seeding_again_keeps_the_operator_and_tells_no_secret(site: Site) -> None:
    again = run(site.env, "seed", "--at=cluster-h100=http://127.0.0.1:9")
    assert again.returncode == 0
    assert again.stdout == ""
    assert "credentials were told" in again.stderr
    (port,) = [word for word in site.processes["provider"].args if str(word).isdigit()]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
    assert run(site.env, "seed", f"--at=cluster-h100=http://127.0.0.1:{port}").returncode == 0


LEASE_US = 20_000_000
"""Long enough for the command below to see the hold before anybody may void it."""


def test_beat_has_the_worker_void_a_hold_whose_stream_died(site: Site) -> None:
    async def place() -> None:
        database = Database(site.env["GOODPUT_DATABASE_URL"])
        async with LedgerWriter(database) as writer:
            placed_us = now_us()
            hold = HoldRequest(
                id="gen-dead",
                customer_id=site.market.line["customer_id"],
                amount=NanoUsd(1_000_000_000),
                ceiling=NanoUsd(1_000_000_000),
                price_book_id="pb",
                model=GPT_OSS,
                tier="bulk",
                created_at_us=placed_us,
                expires_at_us=placed_us + LEASE_US,
            )
            await Ledger(writer).hold(hold)
        await database.close()

    asyncio.run(place())

    def held() -> str:
        return json.loads(run(site.env, "customers", "list", "--json").stdout)[0]["held_usd"]

    assert held() == "1.00"
    assert wait_until(lambda: held() == "0.00", 60)


@pytest.mark.parametrize(
    ("arguments", "changes", "message"),
    [
        (("serve", "--workers", "2"), {"GOODPUT_DATABASE_URL": ""}, "2 API processes need PostgreSQL"),
        (("serve", "--workers", "2"), {"GOODPUT_REDIS_URL": ""}, "share leases through a Redis server"),
        (("worker",), {"GOODPUT_REDIS_URL": "memory://"}, "needs a Redis server that several processes reach"),
        (("emulate", "nobody"), {}, "no demo provider nobody; there are cluster-b200"),
        (("seed", "--at=cluster-b200"), {}, "expected PROVIDER=http://host:port"),
        (("seed", "--at=nobody=http://127.0.0.1:1"), {}, "no demo provider nobody"),
    ],
)
def test_what_cannot_run_is_refused_with_what_to_set(
    site: Site, arguments: tuple[str, ...], changes: Env, message: str
) -> None:
    refused = run({**site.env, **changes}, *arguments)
    assert refused.returncode == 1
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr


def test_one_api_process_drains_and_ends_well_when_told_to(site: Site, tmp_path: Path) -> None:
    (port,) = free_ports(["api"], {}).values()
    env = {**site.env, "GOODPUT_PORT": str(port)}
    with process(env, tmp_path / "serve.log", "serve") as serving:
        single = RunningMarket(serving, {**site.market.line, "url": f"http://127.0.0.1:{port}"})  # pyright: ignore[reportArgumentType] (read by nobody)
        assert wait_until(lambda: is_ready(single), 60), (tmp_path / "serve.log").read_text()[-4000:]
        assert single.complete(GPT_OSS, "default")[0] == 200
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(30) == 0


def test_every_service_ends_when_it_is_told_to(site: Site) -> None:
    api_processes = children_of(site.processes["api"].pid)
    for name in ("beat", "worker", "api", "provider"):
        began_s = time.monotonic()
        site.processes[name].terminate()
        assert site.processes[name].wait(40) in {0, -signal.SIGTERM}, name
        assert time.monotonic() - began_s < 40
    assert wait_until(lambda: not [pid for pid in api_processes if is_alive(pid)], 10)
