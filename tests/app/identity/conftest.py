from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlmodel import SQLModel

from app.db import Database
from app.identity.models import AdminToken, ApiKey, Customer, LoginFailure, Operator, OperatorSession
from app.settings import Settings

TABLES = [
    SQLModel.metadata.tables[table.__tablename__]
    for table in (Customer, ApiKey, Operator, AdminToken, OperatorSession, LoginFailure)
]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'identity.sqlite3'}")
    async with database.engine.begin() as connection:
        await connection.run_sync(lambda sync: SQLModel.metadata.create_all(sync, tables=TABLES))
    yield database
    await database.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, key_cache_s=2.0, rpm_default=600, tpm_default=60_000, concurrency_default=64)
