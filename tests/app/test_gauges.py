"""The figures that are looked up, on a market put together as in production, without a server."""

from pathlib import Path

import pytest

from app.asgi import assemble
from app.db import Database
from app.gauges import Gauges
from app.ledger.holds import HoldRequest
from app.ledger.service import Ledger
from app.ledger.writer import LedgerWriter
from app.settings import IN_PROCESS, Settings
from app.telemetry import Metrics
from migrations.run import migrate
from pricing.money import NanoUsd
from scheduler.dispatcher import Dispatcher


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(data_dir=tmp_path, redis_url=IN_PROCESS)
    migrate(made.database_dsn)
    return made


async def test_held_credit_shows_and_a_missing_nano_shows(settings: Settings) -> None:
    metrics, database = Metrics(), Database(settings.database_dsn)
    async with LedgerWriter(database) as writer:
        ledger = Ledger(writer)
        await ledger.grant("cus_a", 5_000_000_000, "test", "grant-1")
        await ledger.hold(
            HoldRequest(
                id="gen-1",
                customer_id="cus_a",
                amount=NanoUsd(2_000_000_000),
                ceiling=NanoUsd(2_000_000_000),
                price_book_id="pb",
                model="m",
                tier="bulk",
                created_at_us=1,
                expires_at_us=2,
            )
        )
        gauges = Gauges(metrics, database, assemble(settings).view, writer, Dispatcher())
        await gauges.refresh()
        assert metrics.registry.get_sample_value("goodput_wallet_held_usd") == 2.0
        assert metrics.registry.get_sample_value("goodput_ledger_imbalance_nano_usd") == 0
        async with database.engine.begin() as connection:
            await connection.exec_driver_sql("UPDATE account SET posted = posted - 1 WHERE id LIKE 'wallet:%'")
        await gauges.refresh()
        assert metrics.registry.get_sample_value("goodput_ledger_imbalance_nano_usd") == -1
    await database.close()


async def test_an_empty_ledger_is_in_balance(settings: Settings) -> None:
    metrics, database = Metrics(), Database(settings.database_dsn)
    async with LedgerWriter(database) as writer:
        await Gauges(metrics, database, assemble(settings).view, writer, Dispatcher()).refresh()
    assert metrics.registry.get_sample_value("goodput_ledger_imbalance_nano_usd") == 0
    assert metrics.registry.get_sample_value("goodput_queue_depth") == 0
    await database.close()
