"""The market's services, one process each: ``serve``, ``worker``, ``beat``; ``up`` starts the same code."""

import asyncio
import os
import shutil
import signal
from pathlib import Path
from types import FrameType
from typing import Any, Final, cast

import uvicorn
import uvloop
from celery import Celery, signals
from uvicorn._types import ASGIApplication

from app import logs
from app.asgi import assemble
from app.cli.configuration import environment
from app.cli.failure import Failure
from app.cli.server import ApiServer, listening_socket
from app.http_protocol import FirstByteProtocol
from app.settings import IN_PROCESS, Settings
from app.worker import celery_app

SQLITE_WORKER: Final = ("--pool", "solo")
"""SQLite takes two writing processes, the API and one worker."""

_QUIET: Final = ("--without-gossip", "--without-mingle", "--without-heartbeat")


def application() -> ASGIApplication:
    """The market's application from the environment; what each of several server processes calls."""
    settings = Settings()
    logs.configure(settings.log_level, as_json=True)
    assembly = assemble(settings)

    def drain(number: int, frame: FrameType | None) -> None:
        assembly.market.is_draining = True
        if callable(stop := servers[signal.Signals(number)]):
            stop(number, frame)

    servers = {number: signal.signal(number, drain) for number in (signal.SIGINT, signal.SIGTERM)}
    return cast(Any, assembly.application)


def serve(settings: Settings, workers: int) -> None:
    """Serves the API and the console until told to stop.

    Raises:
        Failure: the port is taken, or several processes were asked of SQLite.
    """
    if workers > 1:
        _serve_with_many(settings, workers)
        return
    logs.configure(settings.log_level, as_json=True)
    with listening_socket(settings) as listener:
        server = ApiServer(assemble(settings), settings)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            for number in (signal.SIGINT, signal.SIGTERM):
                runner.get_loop().add_signal_handler(number, server.stop)
            runner.run(server.serve(listener))
    if not server.has_started:
        raise Failure("the API did not start; its log above says why.")


def work(settings: Settings, concurrency: int) -> None:
    """Runs background tasks until told to stop."""
    app = _celery(settings)
    is_sqlite = settings.database_dsn.startswith("sqlite")
    pool = SQLITE_WORKER if is_sqlite else ("--pool", "prefork", "--concurrency", str(concurrency))
    app.worker_main(["worker", "--loglevel", settings.log_level, *pool, *_QUIET])


def beat(settings: Settings) -> None:
    """Sends what is due to the worker until told to stop."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    state = settings.data_dir / "beat"
    _celery(settings).start(["beat", "--loglevel", settings.log_level, "--schedule", str(state), "--pidfile", ""])


def _celery(settings: Settings) -> Celery:
    if settings.redis_url == IN_PROCESS:
        raise Failure(f"background work needs a Redis server that several processes reach, not {IN_PROCESS}.")

    def configure(**_arguments: object) -> None:
        logs.configure(settings.log_level, as_json=True)

    signals.setup_logging.connect(configure, weak=False)
    return celery_app(settings)


def _serve_with_many(settings: Settings, workers: int) -> None:
    if settings.database_dsn.startswith("sqlite"):
        raise Failure(f"{workers} API processes need PostgreSQL: SQLite has one writer. Set GOODPUT_DATABASE_URL.")
    if settings.redis_url in {"", IN_PROCESS}:
        raise Failure(f"{workers} API processes share leases through a Redis server. Set GOODPUT_REDIS_URL.")
    os.environ.update(environment(settings) | {"PROMETHEUS_MULTIPROC_DIR": str(_empty(settings.data_dir / "metrics"))})
    uvicorn.run(
        "app.cli.services:application",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=workers,
        loop="uvloop",
        http=FirstByteProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=round(settings.drain_s_max),
    )


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
