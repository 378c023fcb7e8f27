"""Starts the market's child processes, watches them, starts again those that die, and ends them in reverse order.

A child cannot outlive us (:mod:`app.tether`) and has a session of its own, so that Ctrl-C reaches us alone: the market
drains first and ends its children then.
"""

import asyncio
import signal
import time
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from app.cli.data_dir import put_aside
from app.logs import get_logger
from app.tether import tethered

LOG_LINES_SHOWN_MAX: Final = 12
RESTARTS_MAX: Final = 5
SETTLED_S: Final = 60.0
"""A child that ran for so long starts counting its restarts anew."""

BACKOFF_S: Final = 0.5
_POLL_S: Final = 0.05

log = get_logger("app.cli")


class ChildFailed(Exception):
    """A child process cannot run; the message ends with what it logged last."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One child process.

    Attributes:
        name: also the name of its log file.
        env: its whole environment.
        is_ready: asked until it says yes; None when the child is as good as ready once it runs.
        ready_s_max: how long that may take.
        stop_s_max: how long it may take to end when asked to, before it is killed.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(hash=False)
    is_ready: Callable[[], Awaitable[bool]] | None = None
    ready_s_max: float = 20.0
    stop_s_max: float = 10.0


class Supervisor:
    """The children of one market."""

    def __init__(self, logs: Path, backoff_s: float = BACKOFF_S) -> None:
        self._logs = logs
        self._backoff_s = backoff_s
        self._children: list[_Child] = []
        self._failure: asyncio.Future[ChildFailed] = asyncio.get_running_loop().create_future()

    async def start(self, spec: ChildSpec) -> None:
        """Starts a child and returns when it is ready; from then on it is kept running.

        Raises:
            ChildFailed: it ended, or was not ready in time.
        """
        child = _Child(spec, self._logs / f"{spec.name}.log")
        self._children.append(child)
        await child.start()
        child.keeper = asyncio.create_task(self._keep(child))

    async def failed(self) -> ChildFailed:
        """Waits for the first child that dies more often than is worth another try."""
        return await asyncio.shield(self._failure)

    async def stop(self) -> None:
        """Ends every child, the last started first."""
        while self._children:
            await self._children.pop().stop()

    async def _keep(self, child: "_Child") -> None:
        restarts = 0
        while True:
            started_s = time.monotonic()
            status = await child.ended()
            restarts = 0 if time.monotonic() - started_s > SETTLED_S else restarts
            log.warning("child.died", child=child.spec.name, status=status, restarts=restarts)
            if restarts == RESTARTS_MAX:
                break
            await asyncio.sleep(self._backoff_s * 2**restarts)
            restarts += 1
            with suppress(ChildFailed, OSError):  # counted, and tried again
                await child.start()
                log.info("child.restarted", child=child.spec.name, restarts=restarts)
        if not self._failure.done():
            self._failure.set_result(child.failure(f"died again after {RESTARTS_MAX} restarts"))


class _Child:
    """One child and its log."""

    def __init__(self, spec: ChildSpec, log_file: Path) -> None:
        self.spec = spec
        self.log_file = log_file
        self.keeper: asyncio.Task[None] | None = None
        self._process: Process | None = None

    async def start(self) -> None:
        self._rotate()
        with self.log_file.open("ab") as out:
            self._process = await asyncio.create_subprocess_exec(
                *tethered(self.spec.command),
                env=dict(self.spec.env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        try:
            await self._wait_until_ready(self._process)
        except BaseException:
            await self._end()
            raise

    async def ended(self) -> int:
        return 0 if self._process is None else await self._process.wait()

    async def stop(self) -> None:
        if self.keeper is not None and self.keeper is not asyncio.current_task():
            self.keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self.keeper
        await self._end()

    def failure(self, what: str) -> ChildFailed:
        """The error that says what happened, with the end of the log."""
        lines = self.log_file.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN_MAX:]
        return ChildFailed("\n  ".join([f"{self.spec.name} {what}; its log {self.log_file} ends:", *lines]))

    async def _wait_until_ready(self, process: Process) -> None:
        if self.spec.is_ready is None:
            return
        deadline_s = time.monotonic() + self.spec.ready_s_max
        while not await self.spec.is_ready():
            if process.returncode is not None:
                raise self.failure(f"ended with status {process.returncode} before it was ready")
            if time.monotonic() > deadline_s:
                raise self.failure(f"was not ready within {self.spec.ready_s_max:g} s")
            await asyncio.sleep(_POLL_S)

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        began_s = time.monotonic()
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self.spec.stop_s_max):
                await process.wait()
        except TimeoutError:
            log.warning("child.killed", child=self.spec.name, waited_s=self.spec.stop_s_max)
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        log.info("child.ended", child=self.spec.name, took_s=round(time.monotonic() - began_s, 3))

    def _rotate(self) -> None:
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        put_aside(self.log_file)
