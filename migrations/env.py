"""Alembic's environment: one transaction for all migrations, on SQLite and PostgreSQL alike."""

import asyncio
from collections.abc import Iterable
from typing import Any, Literal

from alembic import context
from sqlalchemy import Connection, text
from sqlmodel.sql.sqltypes import AutoString

from app.db import Database
from app.settings import Settings
from migrations.tables import all_tables

MIGRATION_LOCK = 0x6D69_6772  # "migr" in ASCII: processes that start together migrate one after the other


def _render_item(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Writes SQLModel's text type as SQLAlchemy's, so that migrations do not depend on SQLModel."""
    if kind == "type" and isinstance(item, AutoString):
        return f"sa.String(length={item.length})" if item.length else "sa.String()"
    return False


def _leave_out_empty(_context: Any, _revision: Any, directives: Iterable[Any]) -> None:
    """Writes no migration when nothing changed."""
    for script in list(directives):
        if context.config.cmd_opts is not None and script.upgrade_ops.is_empty():
            directives[:] = []  # pyright: ignore[reportIndexIssue] (Alembic hands in a list and reads it back)


def _migrate(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
    context.configure(
        connection=connection,
        target_metadata=all_tables(),
        render_item=_render_item,
        process_revision_directives=_leave_out_empty,
        compare_type=True,
        compare_server_default=True,
        transactional_ddl=True,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


async def _run() -> None:
    database = Database(context.config.attributes.get("url") or Settings().database_dsn)
    try:
        async with database.engine.begin() as connection:
            await connection.run_sync(_migrate)
    finally:
        await database.close()


asyncio.run(_run())
