"""The tasks that beat sends, run as a worker runs them, on a real database."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import select
from structlog.testing import capture_logs

from app.clock import now_us
from app.db import Database
from app.ledger.holds import HoldRequest
from app.ledger.service import Ledger
from app.ledger.tasks import sweep_holds
from app.ledger.writer import LedgerWriter
from app.metering.models import UsageEvent
from app.metering.tasks import erase
from app.reconcile.tasks import check
from app.settings import Settings
from app.worker import Runtime, celery_app, runtime
from migrations.run import migrate
from pricing.goodput import Timeline
from pricing.money import NanoUsd
from pricing.usage import Usage
from tests.deliveries import delivery_row


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Runtime]:
    settings = Settings(data_dir=tmp_path)
    migrate(settings.database_dsn)
    celery_app(settings)
    yield runtime()
    runtime().close()


async def hold_that_expired(database: Database) -> None:
    async with LedgerWriter(database) as writer:
        ledger = Ledger(writer)
        await ledger.grant("cus_a", 1_000, "test", "grant-1")
        long_ago = now_us() - 1_000_000
        await ledger.hold(
            HoldRequest(
                id="gen-1",
                customer_id="cus_a",
                amount=NanoUsd(400),
                ceiling=NanoUsd(400),
                price_book_id="pb",
                model="m",
                tier="bulk",
                created_at_us=long_ago,
                expires_at_us=long_ago,
            )
        )


async def available(database: Database) -> int:
    async with LedgerWriter(database) as writer:
        return (await Ledger(writer).balance("cus_a")).available


def test_the_sweep_gives_back_what_a_dead_stream_held_once(worker: Runtime) -> None:
    worker.run(hold_that_expired)
    assert worker.run(available) == 600
    sweep_holds()
    assert worker.run(available) == 1_000
    sweep_holds()
    assert worker.run(available) == 1_000


def test_timelines_older_than_the_settings_say_are_forgotten_and_receipts_stay(worker: Runtime) -> None:
    day_us = 86_400_000_000
    keep_us = worker.settings.timeline_keep_days * day_us

    async def deliver(database: Database) -> None:
        async with database.writing() as session:
            for request_id, age_us in (("gen-old", keep_us + day_us), ("gen-new", keep_us - day_us)):
                finished_at_us = now_us() - age_us
                row = delivery_row(
                    Timeline((5,), (1,), (0,)), Usage(output=1), request_id=request_id, finished_at_us=finished_at_us
                )
                session.add(UsageEvent(**row.values))

    async def kept(database: Database) -> dict[str, bool]:
        async with database.reading() as session:
            events = (await session.exec(select(UsageEvent))).all()
            return {event.request_id: event.timeline is not None for event in events}

    worker.run(deliver)
    erase()
    erase()
    assert worker.run(kept) == {"gen-old": False, "gen-new": True}


def test_reconciliation_tells_drift_as_an_error(worker: Runtime) -> None:
    worker.run(hold_that_expired)
    sweep_holds()
    with capture_logs() as quiet:
        check()
    assert [event["event"] for event in quiet] == ["books.checked"]

    async def steal(database: Database) -> None:
        async with database.engine.begin() as connection:
            await connection.exec_driver_sql("UPDATE account SET posted = posted - 1 WHERE id LIKE 'wallet:%'")

    worker.run(steal)
    with capture_logs() as told:
        check()
    errors = {event["where"]: event["amount_nano"] for event in told if event["log_level"] == "error"}
    assert errors["account wallet:cus_a"] == -1
