"""Brings an embedded market up, step by step, until only its API is missing."""

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col, select

from app.cli import demo
from app.cli.configuration import environment
from app.cli.data_dir import write_private
from app.cli.failure import Failure
from app.cli.http_probe import is_well
from app.cli.local_profile import LocalEngine, measured_once
from app.cli.ports import LOOPBACK, free_ports
from app.cli.processes import ChildSpec, Supervisor
from app.cli.seed import Credentials, seed
from app.cli.supply import Supply
from app.cli.terminal import note
from app.db import Database
from app.embedded_redis import answers, server_command
from app.ledger.holds import HoldState
from app.ledger.models import HoldRow
from app.ledger.service import Ledger
from app.ledger.writer import LedgerWriter
from app.logs import get_logger
from app.settings import Settings
from migrations.run import migrate
from pricing.shipped import shipped_profiles

ENGINE_READY_S_MAX: Final = 60.0
ORPHANS_PER_ROUND_MAX: Final = 1_000
ENGINE_NAME: Final = "local-engine"

log = get_logger("app.cli")


class Startup:
    """The steps of one start; each says what it does on standard error."""

    def __init__(self, settings: Settings, supervisor: Supervisor, *, is_demo: bool) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._is_demo = is_demo
        self._env = environment(settings)
        self._folder = settings.data_dir

    async def run(self) -> Credentials | None:
        """Everything up to the API.

        Returns:
            The demo market's credentials; None where no demo was asked for.

        Raises:
            ChildFailed, EmbeddedRedisError, Failure: a step failed; the message says which and why.
        """
        began_s = time.monotonic()
        if not self._settings.redis_url:
            await self._start_redis()
        await self._migrate()
        database = Database(self._settings.database_dsn)
        try:
            async with LedgerWriter(database) as writer:
                ledger = Ledger(writer)
                if database.is_sqlite:
                    await _release_orphans(database, ledger)
                credentials = await self._open_demo(database, ledger) if self._is_demo else None
        finally:
            await database.close()
        await self._start_background()
        log.info("market.prepared", took_s=round(time.monotonic() - began_s, 3))
        return credentials

    async def _start_redis(self) -> None:
        socket = self._settings.redis_socket

        async def is_ready() -> bool:
            return await asyncio.to_thread(answers, socket)

        command = server_command(socket)
        await self._supervisor.start(ChildSpec("redis", tuple(command), self._env, is_ready))

    async def _migrate(self) -> None:
        try:
            await asyncio.to_thread(migrate, self._settings.database_dsn)
        except (OSError, SQLAlchemyError) as error:
            raise Failure(
                f"the database cannot be brought to the newest schema: {str(error).splitlines()[0]}"
            ) from error

    async def _open_demo(self, database: Database, ledger: Ledger) -> Credentials | None:
        profiles = shipped_profiles()
        offers = demo.curves(profiles)
        ports = self._ports([*offers, *([ENGINE_NAME] if self._settings.engine == "local" else [])])
        await self._start_emulated(demo.emulated_document(offers, ports), [ports[name] for name in offers])
        addresses = {name: f"http://{LOOPBACK}:{port}/v1" for name, port in ports.items()}
        engine = await self._start_engine(ports[ENGINE_NAME]) if ENGINE_NAME in ports else None
        supply = Supply(profiles=profiles, offers=offers, addresses=addresses, engine=engine)
        return await seed(database, ledger, self._settings, supply)

    def _ports(self, names: list[str]) -> dict[str, int]:
        file = self._folder / "ports.json"
        ports = free_ports(names, _read_json(file))
        write_private(file, json.dumps(ports))
        return ports

    async def _start_emulated(self, document: Mapping[str, Any], ports: list[int]) -> None:
        file = self._folder / "emulated.json"
        write_private(file, json.dumps(document))

        async def is_ready() -> bool:
            return all([await is_well(f"http://{LOOPBACK}:{port}/health") for port in ports])

        command = (sys.executable, "-m", "providers.emulated", "--spec", str(file))
        await self._supervisor.start(ChildSpec("emulated-providers", command, self._env, is_ready))

    async def _start_engine(self, port: int) -> LocalEngine:
        note("Starting the local engine (llama.cpp, SmolLM2-135M).")
        command = (sys.executable, "-m", "providers.local_engine", "--port", str(port))

        async def is_ready() -> bool:
            return await is_well(f"http://{LOOPBACK}:{port}/health")

        spec = ChildSpec(ENGINE_NAME, command, self._env, is_ready, ready_s_max=ENGINE_READY_S_MAX)
        await self._supervisor.start(spec)
        folder, seconds_max = self._folder / "profiles", self._settings.engine_measure_s_max
        return await measured_once(f"http://{LOOPBACK}:{port}/v1", folder, seconds_max)

    async def _start_background(self) -> None:
        for name in ("worker", "beat"):
            command = (sys.executable, "-m", "app.cli.main", name)
            await self._supervisor.start(ChildSpec(name, command, self._env))


async def _release_orphans(database: Database, ledger: Ledger) -> None:
    """Voids what a killed market still held: its data directory is ours alone, so no stream can be alive."""
    released = ORPHANS_PER_ROUND_MAX
    while released == ORPHANS_PER_ROUND_MAX:
        async with database.reading() as session:
            pending = select(HoldRow.id).where(col(HoldRow.state) == HoldState.PENDING.value)
            orphans = (await session.exec(pending.limit(ORPHANS_PER_ROUND_MAX))).all()
        released = sum([await ledger.void(hold_id, "the market ended in mid-stream") for hold_id in orphans])
        if released:
            log.warning("holds.released", holds=released)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found: object = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportReturnType] (keys of a JSON object are text)
