"""Ledgers over both databases; what runs on PostgreSQL is slow."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.ledger_world import World, open_world

POSTGRES = pytest.param("postgres", marks=[pytest.mark.slow, pytest.mark.postgres])


@pytest.fixture(params=["sqlite", POSTGRES])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path / 'ledger.sqlite3'}"


@pytest.fixture
async def world(url: str) -> AsyncIterator[World]:
    """A ledger over it."""
    async with open_world(url) as opened:
        yield opened
