"""Plans as they were stored; reading one loads nothing that makes one."""

from dataclasses import dataclass
from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.clock import from_us
from app.errors import MarketError
from app.planning.models import PlanProposalRow


class NoPlan(MarketError):
    """Nothing was planned yet."""


@dataclass(frozen=True, slots=True)
class Proposed:
    """A stored plan."""

    sequence: int
    created_at_us: int
    since_us: int
    until_us: int
    actor: str
    document: dict[str, Any]


async def latest_plan(session: AsyncSession) -> Proposed:
    """The plan proposed last.

    Raises:
        NoPlan: there is none.
    """
    statement = select(PlanProposalRow).order_by(col(PlanProposalRow.sequence).desc()).limit(1)
    row = (await session.exec(statement)).first()
    if row is None:
        raise NoPlan(
            404, "no_plan", "Nothing was planned yet: the planner runs once a day. Run `goodput plan make` for one now."
        )
    return proposed(row)


async def plans_page(session: AsyncSession, rows_max: int) -> list[Proposed]:
    """The last plans, newest first."""
    statement = select(PlanProposalRow).order_by(col(PlanProposalRow.sequence).desc()).limit(rows_max)
    return [proposed(row) for row in (await session.exec(statement)).all()]


def plan_row_document(found: Proposed) -> dict[str, Any]:
    """A stored plan for machines."""
    return {
        "sequence": found.sequence,
        "created_at": from_us(found.created_at_us).isoformat(),
        "actor": found.actor,
        **found.document,
    }


def proposed(row: PlanProposalRow) -> Proposed:
    """A row as a value."""
    return Proposed(row.sequence, row.created_at_us, row.since_us, row.until_us, row.actor, row.document)
