"""A small market that has traded, for reconciliation to look at."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.ledger_world import World, open_world
from tests.traded_market import trade


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(f"sqlite:///{tmp_path / 'market.sqlite3'}") as opened:
        await trade(opened)
        yield opened
