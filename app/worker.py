"""Background work: the Celery application over the market's Redis, its schedule, and how tasks reach the database.

Tasks live in ``app/<room>/tasks.py`` and are plain functions; what is asynchronous in them runs on the one event loop
that their process keeps (:class:`Runtime`). Every task may run twice or after a crash: it is delivered again when its
worker dies, so each is idempotent by what it writes.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlsplit

from celery import Celery, current_app
from celery.schedules import crontab

from app.db import Database
from app.settings import Settings

TASK_MODULES: Final = (
    *("app.ledger.tasks", "app.metering.tasks", "app.outbox.tasks", "app.planning.tasks", "app.reconcile.tasks"),
)
TASK_S_MAX: Final = 240.0
"""How long a task's work may take; enforced by :meth:`Runtime.run`, in every pool."""

HARD_LIMIT_S: Final = 300
VISIBILITY_S: Final = 900
"""A message taken but not acknowledged for so long is delivered again; longer than any task may run."""

SWEEP_EVERY_S: Final = 15.0
DELIVER_EVERY_S: Final = 10.0
_RUNTIME: Final = "goodput_runtime"
T = TypeVar("T")


class Runtime:
    """One event loop and one set of database connections for the tasks of one process; made on first use.

    A worker that forks makes them in each child, where the first task runs.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._runner: asyncio.Runner | None = None
        self._database: Database | None = None

    @property
    def database(self) -> Database:
        """The database in force; connections belong to this process's loop."""
        if self._database is None:
            self._database = Database(self.settings.database_dsn)
        return self._database

    def run(self, work: Callable[[Database], Coroutine[Any, Any, T]]) -> T:
        """Runs ``work`` to its end on this process's loop, for at most :data:`TASK_S_MAX`.

        Raises:
            TimeoutError: it took longer; its transaction is rolled back.
        """
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(_bounded(work(self.database)))

    def close(self) -> None:
        """Closes connections and loop."""
        if self._runner is None:
            return
        if self._database is not None:
            self._runner.run(self._database.close())
        self._runner.close()
        self._runner = self._database = None


def runtime() -> Runtime:
    """The runtime of the worker that calls; for tasks."""
    return cast(Any, current_app).conf[_RUNTIME]


def celery_app(settings: Settings) -> Celery:
    """The Celery application for these settings, set as the current one of this process."""
    app = Celery("goodput", broker=broker_url(settings.redis_dsn), include=list(TASK_MODULES), set_as_current=True)
    app.conf.update(
        {
            _RUNTIME: Runtime(settings),
            "task_acks_late": True,
            "task_reject_on_worker_lost": True,
            "task_ignore_result": True,
            "task_time_limit": HARD_LIMIT_S,
            "task_default_queue": "goodput",
            "broker_transport_options": {"visibility_timeout": VISIBILITY_S},
            "broker_connection_retry_on_startup": True,
            "worker_prefetch_multiplier": 1,
            "worker_hijack_root_logger": False,
            "worker_send_task_events": False,
            "enable_utc": True,
            "timezone": "UTC",
            "accept_content": ["json"],
            "task_serializer": "json",
            "beat_schedule": schedule(),
        }
    )
    return app


def schedule() -> dict[str, dict[str, Any]]:
    """What beat sends, and when (UTC). A message that nobody took before the next one is due expires."""
    return {
        "sweep expired holds": {
            "task": "ledger.sweep_holds",
            "schedule": SWEEP_EVERY_S,
            "options": {"expires": SWEEP_EVERY_S},
        },
        "deliver what is due": {
            "task": "outbox.deliver",
            "schedule": DELIVER_EVERY_S,
            "options": {"expires": DELIVER_EVERY_S},
        },
        "erase old timelines": {
            "task": "metering.erase_timelines",
            "schedule": crontab(minute=47, hour=3),
            "options": {"expires": 3600},
        },
        "meter days that are over": {
            "task": "planning.meter",
            "schedule": crontab(minute=11),  # hourly, so that a day missed is made up for; a day is metered once
            "options": {"expires": 3600},
        },
        "reprice": {"task": "planning.reprice", "schedule": crontab(minute=23), "options": {"expires": 1800}},
        "plan": {"task": "planning.plan", "schedule": crontab(minute=37, hour=4), "options": {"expires": 3600}},
        "reconcile": {"task": "reconcile.check", "schedule": crontab(minute=17, hour=3), "options": {"expires": 3600}},
    }


def broker_url(redis_dsn: str) -> str:
    """The market's Redis as Celery names it.

    >>> broker_url("unix:///srv/goodput/redis.sock?db=2")
    'redis+socket:///srv/goodput/redis.sock?virtual_host=2'
    >>> broker_url("redis://cache:6379/1")
    'redis://cache:6379/1'
    """
    parts = urlsplit(redis_dsn)
    if parts.scheme != "unix":
        return redis_dsn
    database = parts.query.removeprefix("db=") or "0"
    return f"redis+socket://{parts.path}?virtual_host={database}"


async def _bounded(work: Coroutine[Any, Any, T]) -> T:
    async with asyncio.timeout(TASK_S_MAX):
        return await work
