"""One run of the embedded market: start everything, serve, drain, end everything, whatever happens in between."""

import asyncio
import json
import signal
import socket
from collections.abc import Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, TypeVar

import typer

from app.asgi import assemble
from app.cli.demo import GPT_OSS
from app.cli.failure import Failure
from app.cli.http_probe import get
from app.cli.processes import ChildFailed, Supervisor
from app.cli.seed import Credentials
from app.cli.server import ApiServer, url_of
from app.cli.startup import Startup
from app.cli.terminal import note
from app.cli.up import UpOptions
from app.embedded_redis import EmbeddedRedisError
from app.settings import Settings

API_READY_S_MAX: Final = 30.0
LOG_LINES_READ_MAX: Final = 1_000
_POLL_S: Final = 0.05
T = TypeVar("T")


class MarketRun:
    """One run of the market: its children, its server, and the wish to stop."""

    def __init__(self, settings: Settings, options: UpOptions, listener: socket.socket) -> None:
        self._settings = settings
        self._options = options
        self._listener = listener
        self._stop = asyncio.Event()
        self._server: ApiServer | None = None

    async def run(self) -> None:
        """Opens the market and keeps it open until told to stop.

        Raises:
            Failure: it cannot open, or a part of it died for good; the message says which and why.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._told_to_stop)
        supervisor = Supervisor(self._settings.data_dir / "logs")
        try:
            startup = Startup(self._settings, supervisor, is_demo=self._options.is_demo)
            credentials = await self._unless_stopped(startup.run())
            if not isinstance(credentials, _Stopped):
                await self._serve(supervisor, credentials)
        except (ChildFailed, EmbeddedRedisError) as failure:
            raise Failure(str(failure)) from failure
        finally:
            await supervisor.stop()
            if not self._settings.redis_url:
                self._settings.redis_socket.unlink(missing_ok=True)

    async def _serve(self, supervisor: Supervisor, credentials: Credentials | None) -> None:
        server = self._server = ApiServer(assemble(self._settings), self._settings)
        serving = asyncio.create_task(server.serve(self._listener))
        failing = asyncio.create_task(supervisor.failed())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await self._wait_until_ready(server, serving)
            self._announce(credentials)
            await asyncio.wait({serving, failing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                note("Draining: running requests finish, new ones are turned away. Ctrl-C again to stop at once.")
        finally:
            server.stop()
            await serving
            stopping.cancel()
            failing.cancel()
        if failing.done() and not failing.cancelled():
            raise failing.result()

    def _told_to_stop(self) -> None:
        """Once: drain. Twice: end what still runs; its holds are released at the next start."""
        if self._stop.is_set() and self._server is not None:
            self._server.stop()
        self._stop.set()

    async def _wait_until_ready(self, server: ApiServer, serving: "asyncio.Task[None]") -> None:
        deadline_s = asyncio.get_running_loop().time() + API_READY_S_MAX
        url = f"{url_of(self._listener)}/readyz"
        status, said = 0, ""
        while not self._stop.is_set():
            if serving.done():
                await serving
                log = _log_of(self._settings)
                raise Failure(f"the API ended before it was ready; its log {log} says: {_last_error(log)}")
            if server.has_started:
                status, said = await get(url)
                if status == 200:  # noqa: PLR2004 (HTTP's OK)
                    return
            if asyncio.get_running_loop().time() > deadline_s:
                raise Failure(f"the market was not ready within {API_READY_S_MAX:g} s: {status} {said[:2000]}")
            await asyncio.sleep(_POLL_S)

    def _announce(self, credentials: Credentials | None) -> None:
        if self._stop.is_set():
            return
        url = url_of(self._listener)
        known = {} if credentials is None else asdict(credentials)
        line = {"url": url, "console_url": f"{url}/console", **known, "data_dir": str(self._settings.data_dir)}
        if self._options.as_json:
            typer.echo(json.dumps(line))
        else:
            typer.echo(_banner(line))

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> "T | _Stopped":
        """Waits for ``work``, or for the wish to stop, which ends it."""
        working = asyncio.create_task(work)
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if working.done():
            return working.result()
        working.cancel()
        await asyncio.wait({working})
        return _Stopped()


class _Stopped:
    """Stands for a result that nobody waits for any more."""


def _last_error(file: Path) -> str:
    """What the market's log says went wrong: the last line of its last error but the server's own farewell."""
    for line in reversed(file.read_text(errors="replace").splitlines()[-LOG_LINES_READ_MAX:]):
        event = json.loads(line) if line.startswith("{") else {}
        said = [text.strip(" |+-") for text in str(event.get("event", "")).splitlines()]
        told = [text for text in said if text and not text.startswith("Application startup failed")]
        if event.get("level") == "error" and told:
            return told[-1]
    return "it says nothing"


def _log_of(settings: Settings) -> Path:
    return settings.data_dir / "logs" / "market.log"


def _banner(line: dict[str, str]) -> str:
    url, key = line["url"], line.get("api_key", "$GOODPUT_API_KEY")
    login = f"{line['admin_email']}  {line['admin_password']}" if "admin_email" in line else "goodput admin create"
    order = {"model": GPT_OSS, "service_tier": "priority"}
    quote = json.dumps({**order, "input_tokens": 500, "max_tokens": 200})
    ask = json.dumps({**order, "stream": True, "max_tokens": 200, "messages": [{"role": "user", "content": "Hello"}]})
    return "\n".join(
        [
            "",
            "  The market is open. Ctrl-C drains and closes it.",
            "",
            f"  API        {url}/v1",
            f"  Console    {line['console_url']}",
            f"  Sign in    {login}",
            f"  API key    {key}",
            f"  Data       {line['data_dir']}",
            "",
            f"  curl {url}/v1/models -H 'Authorization: Bearer {key}'",
            f"  curl {url}/v1/quotes -H 'Authorization: Bearer {key}' --json '{quote}'",
            f"  curl -N {url}/v1/chat/completions -H 'Authorization: Bearer {key}' --json '{ask}'",
            "",
        ]
    )
