import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from sqlalchemy import text

from app import worker
from app.db import Database
from app.embedded_redis import embedded_redis
from app.settings import Settings
from app.worker import HARD_LIMIT_S, TASK_S_MAX, VISIBILITY_S, Runtime, broker_url, celery_app, runtime, schedule


async def select_seven(database: Database) -> int:
    async with database.reading() as session:
        return (await session.exec(text("SELECT 7"))).scalar_one()  # pyright: ignore[reportCallIssue, reportArgumentType]


async def loop_id(_database: Database) -> int:
    await asyncio.sleep(0)
    return id(asyncio.get_running_loop())


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Runtime]:
    made = Runtime(Settings(data_dir=tmp_path))
    yield made
    made.close()


def test_asynchronous_work_of_many_tasks_runs_on_one_loop_with_one_database(local: Runtime) -> None:
    assert local.run(select_seven) == 7
    assert local.run(loop_id) == local.run(loop_id)


def test_work_that_takes_too_long_is_cut_off(local: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    assert local.run(select_seven) == 7
    monkeypatch.setattr(worker, "TASK_S_MAX", 0.05)

    async def endless(_database: Database) -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        local.run(endless)
    monkeypatch.setattr(worker, "TASK_S_MAX", 30.0)
    assert local.run(select_seven) == 7


def test_a_message_comes_back_only_after_the_longest_task_is_surely_over() -> None:
    assert TASK_S_MAX < HARD_LIMIT_S < VISIBILITY_S


def test_every_scheduled_task_exists_in_the_modules_that_a_worker_loads(tmp_path: Path) -> None:
    app = celery_app(Settings(data_dir=tmp_path))
    app.loader.import_default_modules()
    assert {entry["task"] for entry in schedule().values()} <= set(app.tasks)


@pytest.mark.parametrize(
    ("redis_dsn", "expected"),
    [
        ("unix:///srv/x/redis.sock", "redis+socket:///srv/x/redis.sock?virtual_host=0"),
        ("unix:///srv/x/redis.sock?db=3", "redis+socket:///srv/x/redis.sock?virtual_host=3"),
        ("rediss://u:p@cache:6380/1", "rediss://u:p@cache:6380/1"),
    ],
)
def test_the_broker_is_the_markets_own_redis(redis_dsn: str, expected: str) -> None:
    assert broker_url(redis_dsn) == expected


@pytest.mark.slow
def test_a_task_travels_over_the_embedded_socket_and_reaches_the_database(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "a market, 100 %")
    settings.data_dir.mkdir()
    app = celery_app(settings)
    app.conf.update(include=[])
    answered = threading.Event()
    answers: list[Any] = []

    def ask(number: int) -> None:
        answers.append(number + runtime().run(select_seven))
        answered.set()

    app.task(name="test.ask")(ask)
    with (
        embedded_redis(settings.redis_socket, tmp_path / "redis.log"),
        running_worker(app),
    ):
        app.send_task("test.ask", (35,))
        assert answered.wait(10)
    assert answers == [42]


def running_worker(app: Celery) -> Any:
    return start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=10)
