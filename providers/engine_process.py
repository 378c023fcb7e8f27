"""Starts the local engine as a child of this process, waits until it serves, and ends it."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from typing import Any

from providers.local_engine import EngineOptions, EngineUnavailable

READY_S_MAX = 60.0
STOP_S_MAX = 10.0
LOG_BYTES_MAX = 8_192
LOG_LINES_SHOWN = 12
READ_BYTES = 4_096


class EngineProcess:
    """A running local engine. It dies with the thread that started it, whatever becomes of this process.

    Attributes:
        base_url: for a :class:`~providers.spec.ProviderSpec`.
        model_name: what it serves.
        slots: requests it decodes together.
        slot_tokens: context of each.
    """

    def __init__(self, process: Process, log: "_Log", ready: dict[str, Any]) -> None:
        self._process = process
        self._log = log
        self.base_url = f"{ready['url']}/v1"
        self.model_name = str(ready["model"])
        self.slots = int(ready["slots"])
        self.slot_tokens = int(ready["slot_tokens"])

    @classmethod
    async def start(cls, options: EngineOptions | None = None, ready_s_max: float = READY_S_MAX) -> "EngineProcess":
        """Starts an engine and returns when it has answered once.

        Raises:
            EngineUnavailable: it ended, or was not ready in time; with the end of its log.
        """
        asked = options or EngineOptions()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "providers.local_engine",
            *asked.arguments(),
            f"--parent={os.getpid()}",
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
        )
        log = _Log(process)
        try:
            return cls(process, log, await _ready(process, log, ready_s_max))
        except BaseException:
            await _end(process, log)
            raise

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """True until the child has ended."""
        return self._process.returncode is None

    def log_tail(self) -> str:
        """What it logged last."""
        return self._log.tail()

    async def stop(self) -> int:
        """Asks it to end, kills it if it does not, and returns its exit status."""
        return await _end(self._process, self._log)


class _Log:
    """Drains a child's standard error, and keeps its end."""

    def __init__(self, process: Process) -> None:
        self._kept = b""
        self._task = asyncio.create_task(self._drain(process))

    def tail(self) -> str:
        lines = self._kept.decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-LOG_LINES_SHOWN:])

    async def ended(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._task, timeout=1.0)

    async def _drain(self, process: Process) -> None:
        if process.stderr is None:
            return
        while data := await process.stderr.read(READ_BYTES):
            self._kept = (self._kept + data)[-LOG_BYTES_MAX:]


async def _ready(process: Process, log: _Log, ready_s_max: float) -> dict[str, Any]:
    if process.stdout is None:
        raise EngineUnavailable("the engine has no standard output to say that it is ready on")
    try:
        async with asyncio.timeout(ready_s_max):
            line = await process.stdout.readline()
    except TimeoutError as error:
        raise EngineUnavailable(_said(f"the local engine was not ready within {ready_s_max:g} s", log)) from error
    if not line:
        status = await process.wait()
        await log.ended()
        raise EngineUnavailable(_said(f"the local engine ended with status {status} before it was ready", log))
    return json.loads(line)


def _said(what: str, log: _Log) -> str:
    tail = log.tail()
    return f"{what}; its log ends:\n{tail}" if tail else f"{what}, and logged nothing"


async def _end(process: Process, log: _Log) -> int:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_S_MAX):
            status = await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        status = await process.wait()
    await log.ended()
    return status
