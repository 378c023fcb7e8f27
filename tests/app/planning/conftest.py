"""A SQLite database with every table, for each test its own: a copy of one that is made once."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.db import Database
from tests.app.planning.planning_market import opened_database


@pytest.fixture(scope="session")
def empty_market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that is copied."""
    file = tmp_path_factory.mktemp("planning") / "empty.sqlite3"

    async def make() -> None:
        async with opened_database(f"sqlite:///{file}"):
            """Its tables are made; it is closed again."""

    asyncio.run(make())
    return file


@pytest.fixture
async def database(tmp_path: Path, empty_market: Path) -> AsyncIterator[Database]:
    file = tmp_path / "planning.sqlite3"
    shutil.copy(empty_market, file)
    opened = Database(f"sqlite:///{file}")
    yield opened
    await opened.close()
