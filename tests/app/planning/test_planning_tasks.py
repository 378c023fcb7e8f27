"""Planning's tasks as a worker runs them, and its races on PostgreSQL."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import select
from structlog.testing import capture_logs

from app.catalog.models import PriceBookRow
from app.clock import now_us
from app.db import Database
from app.planning.input_store import history
from app.planning.inputs import Source
from app.planning.loop_store import meter_days
from app.planning.models import PlanProposalRow
from app.planning.plan_store import propose_plan
from app.planning.repricer_store import Outcome, Reprice, reprice
from app.planning.tasks import meter, plan
from app.planning.tasks import reprice as reprice_task
from app.settings import Settings
from app.worker import Runtime, celery_app, runtime, schedule
from migrations.run import migrate
from tests.app.planning.planning_market import (
    DAY_US,
    HOUR_US,
    SHIPPED,
    T0_US,
    answer_row,
    deliver,
    deploy,
    set_market,
    set_up,
)
from tests.app.planning.test_return_loop import EASY

pytest_plugins = ("tests.postgres",)
LATER_US = T0_US + 2 * DAY_US


@pytest.fixture
def worker(tmp_path: Path, empty_market: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    """A worker over a copy of an empty market, whose product ships one profile."""
    settings = Settings(data_dir=tmp_path, reprice="publish")
    (tmp_path / "goodput.sqlite3").write_bytes(empty_market.read_bytes())
    monkeypatch.setattr("app.planning.service.shipped", lambda: SHIPPED)
    celery_app(settings)
    yield runtime()
    runtime().close()


def test_beat_sends_what_planning_does() -> None:
    sent = {entry["task"] for entry in schedule().values()}
    assert {"planning.reprice", "planning.meter", "planning.plan"} <= sent


def test_the_repricers_task_does_what_the_setting_allows(worker: Runtime) -> None:
    worker.run(lambda database: set_up(database, now_us() - 3 * DAY_US))
    worker.run(lambda database: set_market(database, "utilisation", 0.5, now_us() - HOUR_US))
    with capture_logs() as told:
        reprice_task()
        reprice_task()
    assert [event["outcome"] for event in told] == [Outcome.QUIET, Outcome.QUIET]  # two at once are one run
    celery_app(Settings(data_dir=worker.settings.data_dir, reprice="off"))
    with capture_logs() as told:
        reprice_task()
    assert told == []
    runtime().close()


def test_the_loops_task_meters_yesterday_once(worker: Runtime) -> None:
    yesterday_us = now_us() - now_us() % DAY_US - DAY_US

    async def open_market(database: Database) -> None:
        await set_up(database, yesterday_us - DAY_US)
        await deploy(database, yesterday_us - DAY_US)
        await deliver(database, [answer_row(n, yesterday_us + n * 60_000_000) for n in range(300)])

    worker.run(open_market)
    with capture_logs() as told:
        meter()
        meter()
    (day,) = [event for event in told if event["event"] == "day.metered"]
    assert (day["answers"], day["inputs_moved"] > 0) == (300, True)


def test_the_planners_task_stores_a_plan(worker: Runtime) -> None:
    worker.run(set_up)
    plan()

    async def plans(database: Database) -> int:
        async with database.reading() as session:
            return len((await session.exec(select(PlanProposalRow.sequence))).all())

    assert worker.run(plans) == 1


@pytest.mark.slow
@pytest.mark.postgres
async def test_of_workers_at_once_on_postgres_one_publishes_and_one_meters(postgres_url: str) -> None:
    await asyncio.to_thread(migrate, postgres_url)
    workers = [Database(postgres_url) for _ in range(4)]
    try:
        first = workers[0]
        await set_up(first)
        await deploy(first, T0_US)
        await deliver(first, [answer_row(n, T0_US + n * 60_000_000) for n in range(100)])
        await set_market(first, "utilisation", 0.5, LATER_US)
        await reprice(first, SHIPPED, Reprice.PUBLISH, LATER_US)
        runs = (reprice(each, SHIPPED, Reprice.PUBLISH, LATER_US + HOUR_US) for each in workers)
        outcomes = [done.outcome for done in await asyncio.gather(*runs)]
        assert outcomes.count(Outcome.PUBLISHED) == 1
        assert set(outcomes) <= {Outcome.PUBLISHED, Outcome.OVERTAKEN, Outcome.QUIET}
        days = await asyncio.gather(*(meter_days(each, lambda: SHIPPED, EASY, T0_US + DAY_US) for each in workers))
        assert sum(day.is_done for found in days for day in found) == 1
        async with first.reading() as session:
            books = (await session.exec(select(PriceBookRow.origin))).all()
            metered = [each for each in await history(session) if each.source is Source.METERED]
        assert sorted(books) == ["derived", "repricer"]
        assert len({(each.subject, each.name) for each in metered}) == len(metered) > 0
        assert {each.once for each in metered} == {f"metered:{T0_US}"}
        planned = await propose_plan(first, SHIPPED, 7, T0_US + DAY_US)
        assert planned.document["demand"]["requests"] == 100
    finally:
        for each in workers:
            await each.close()
