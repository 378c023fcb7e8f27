"""A database of before upgrades with what is in it."""

import asyncio
import json
from pathlib import Path

from alembic import command
from sqlalchemy import text

from app.db import Database
from app.fleet.models import DeploymentRow
from app.fleet.repository import columns_of, read_roster
from migrations.run import _config, migrate
from tests.app.fleet.rosters import B200, T0_US

LATER = ("precision", "region")
"""Columns that later revisions added."""


def test_a_registered_fleet_survives_the_upgrade_and_may_then_have_other_kinds(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'market.sqlite3'}"
    command.upgrade(_config(url), "0002")

    known = {name: value for name, value in columns_of(B200).items() if name not in LATER}
    columns = {**known, "state": "draining", "version": 7, "created_at_us": T0_US, "updated_at_us": T0_US}
    stored = {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in columns.items()}
    account = {"id": "cluster-b200", "name": "B200", "state": "enabled", "version": 1}
    account |= {"created_at_us": T0_US, "updated_at_us": T0_US}

    async def fill() -> None:
        database = Database(url)
        async with database.engine.begin() as connection:
            for name, row in (("provider_account", account), ("deployment", stored)):
                fields = ", ".join(row)
                values = ", ".join(f":{field}" for field in row)
                insert = f"INSERT INTO {name} ({fields}) VALUES ({values})"  # noqa: S608 (a test's own names)
                await connection.execute(text(insert), row)
        await database.close()

    asyncio.run(fill())
    migrate(url)

    async def read() -> tuple[str, tuple[int, int]]:
        database = Database(url)
        async with database.reading() as session:
            (deployed,) = (await read_roster(session, T0_US)).deployed
        await database.close()
        return deployed.state.value, deployed.version

    assert asyncio.run(read()) == ("draining", (7, 1))

    async def rename() -> None:
        database = Database(url)
        async with database.writing() as session:
            row = await session.get(DeploymentRow, B200.id)
            assert row is not None
            row.kind = "toy"
        await database.close()

    asyncio.run(rename())
