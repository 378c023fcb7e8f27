"""Databases of before learn at which precision their deployments serve; what was answered stays as it was written."""

import asyncio
import json
from typing import Any

import pytest
from alembic import command
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.db import Database
from app.fleet.repository import columns_of
from migrations.run import _config, migrate
from tests.app.fleet.rosters import B200, T0_US
from tests.ledger_world import usage_row

pytest_plugins = ("tests.postgres",)

IDS = {
    "b200-trtllm-fp4-agg-tp2ep1": "fp4",
    "gb200-sglang-fp8-disagg-p-tp8x1-d-tp8x3-mtp": "fp8",
    "b200-vllm-fp8-guess-agg-tp1": "fp8?",
    "local-llama.cpp-q8_0-agg-n1": "q8_0",
    "cs3-cerebras-unknown-agg-n1": "",
    "acme-gpt-1": "",
    "agg": "",
    "fp8-agg": "",
}


async def insert(database: Database, table: str, row: dict[str, Any]) -> None:
    """Writes a row as the database then had it: what it has no column for yet is left out."""
    async with database.engine.begin() as connection:
        known = (await connection.execute(text(f"SELECT * FROM {table} LIMIT 0"))).keys()  # noqa: S608 (ours)
        stored = {
            name: json.dumps(value) if isinstance(value, dict | list) else value
            for name, value in row.items()
            if name in known
        }
        columns, values = ", ".join(f'"{name}"' for name in stored), ", ".join(f":{name}" for name in stored)
        await connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({values})"), stored)  # noqa: S608 (ours)


async def fill(url: str) -> None:
    database = Database(url)
    stamps = {"state": "enabled", "version": 3, "created_at_us": T0_US, "updated_at_us": T0_US}
    await insert(database, "provider_account", {"id": B200.provider_id, "name": "B200", **stamps})
    for deployment_id in IDS:
        row = {
            **columns_of(B200),
            "id": f"{B200.provider_id}/{deployment_id}",
            "deployment_id": deployment_id,
            **stamps,
        }
        await insert(database, "deployment", row)
    await insert(database, "usage_event", {**usage_row("gen-old").values, "timeline": b"kept"})
    await database.close()


async def ask(url: str, *statements: str) -> list[Any]:
    database = Database(url)
    try:
        async with database.engine.begin() as connection:
            results = [await connection.execute(text(statement)) for statement in statements]
            return list(results[-1].all()) if results[-1].returns_rows else []
    finally:
        await database.close()


def check_upgrade(url: str) -> None:
    command.upgrade(_config(url), "0004")
    asyncio.run(fill(url))
    migrate(url)
    found = asyncio.run(ask(url, "SELECT deployment_id, precision, version FROM deployment"))
    assert {row[0]: row[1] for row in found} == IDS
    assert {row[2] for row in found} == {3}
    assert [tuple(row) for row in asyncio.run(ask(url, "SELECT request_id, precision FROM usage_event"))] == [
        ("gen-old", "")
    ]
    with pytest.raises(DBAPIError, match="append-only"):
        asyncio.run(ask(url, "UPDATE usage_event SET precision = 'fp8'"))
    with pytest.raises(DBAPIError, match="append-only"):
        asyncio.run(ask(url, "UPDATE usage_event SET net = 0"))
    asyncio.run(ask(url, "UPDATE usage_event SET timeline = NULL"))
    assert asyncio.run(ask(url, "SELECT timeline FROM usage_event"))[0][0] is None


def test_a_sqlite_market_learns_the_precision_of_its_deployments(tmp_path: Any) -> None:
    check_upgrade(f"sqlite:///{tmp_path / 'market.sqlite3'}")


@pytest.mark.slow
@pytest.mark.postgres
def test_a_postgresql_market_learns_the_precision_of_its_deployments(postgres_url: str) -> None:
    check_upgrade(postgres_url)
