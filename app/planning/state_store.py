"""What a recurring task remembers, with a version: a run that began at an older one writes nothing."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import col, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.planning.models import PlanningStateRow


async def remembered(session: AsyncSession, name: str) -> tuple[int, Mapping[str, Any] | None]:
    """Version and document of a task's memory; 0 and None before its first run."""
    row = await session.get(PlanningStateRow, name, populate_existing=True)
    return (0, None) if row is None else (row.version, row.document)


async def remember(session: AsyncSession, name: str, version: int, document: Mapping[str, Any], now_us: int) -> bool:
    """Writes a task's memory unless another run did since ``version``; False then, and nothing is written."""
    values: dict[str, Any] = {"document": dict(document), "version": version + 1, "updated_at_us": now_us}
    if version == 0:
        try:
            async with session.begin_nested():
                session.add(PlanningStateRow(name=name, **values))
                await session.flush()
        except IntegrityError:
            return False
        return True
    statement = (
        update(PlanningStateRow)
        .where(col(PlanningStateRow.name) == name, col(PlanningStateRow.version) == version)
        .values(values)
        .execution_options(synchronize_session=False)
    )
    return (await session.exec(statement)).rowcount == 1
