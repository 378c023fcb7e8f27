"""A database with the catalog's tables, on SQLite or PostgreSQL."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlmodel import SQLModel

from app.audit.models import AuditEvent
from app.catalog.models import DraftRow, ModelOnSaleRow, PriceBookRow, PriceBookWithdrawalRow
from app.db import Database

CATALOG = (ModelOnSaleRow, PriceBookRow, PriceBookWithdrawalRow, DraftRow, AuditEvent)
TABLES = [SQLModel.metadata.tables[table.__tablename__] for table in CATALOG]


async def with_tables(database: Database) -> Database:
    async with database.engine.begin() as connection:
        await connection.run_sync(lambda sync: SQLModel.metadata.create_all(sync, tables=TABLES))
    return database


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A SQLite database of this test's own."""
    opened = await with_tables(Database(f"sqlite:///{tmp_path / 'catalog.sqlite3'}"))
    yield opened
    await opened.close()
