"""Servers and databases that tests of the fleet share."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlmodel import SQLModel

from app.audit.models import AuditEvent
from app.db import Database
from app.fleet.models import DeploymentRow, ProviderAccess, ProviderAccount, ProviderContract, ProviderCredential
from app.metering.models import UsageEvent
from tests.app.fleet.lease_benches import RedisServer, running_server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One server for all tests that leave it running; each takes a namespace of its own."""
    with running_server() as server:
        yield server


@pytest.fixture
def mortal_server() -> Iterator[RedisServer]:
    """A server for one test, to kill or freeze."""
    with running_server() as server:
        yield server


FLEET = (ProviderAccount, ProviderAccess, ProviderContract, ProviderCredential, DeploymentRow)
TABLES = [SQLModel.metadata.tables[table.__tablename__] for table in (*FLEET, AuditEvent, UsageEvent)]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A SQLite database with the fleet's tables."""
    opened = Database(f"sqlite:///{tmp_path / 'fleet.sqlite3'}")
    async with opened.engine.begin() as connection:
        await connection.run_sync(lambda sync: SQLModel.metadata.create_all(sync, tables=TABLES))
    yield opened
    await opened.close()
