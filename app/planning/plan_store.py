"""Plans as they were proposed: made from the demand of whole days, stored with their evidence, never acted upon."""

import asyncio
from typing import Any, Final

from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.service import Actor, Change, record
from app.clock import US_PER_S
from app.db import Database
from app.planning.input_store import append, inputs_at
from app.planning.models import PlanProposalRow
from app.planning.plan import Asked, Site, proposal_document
from app.planning.plan_shelf_store import Proposed, proposed
from app.planning.priced_store import priced_models_at
from app.planning.repository import first_answer_us, hourly_tokens, running
from app.planning.resolve import Shipped

ACTOR: Final = Actor("system", "planner", "planner")
DAY_US: Final = 86_400 * US_PER_S


async def propose_plan(database: Database, shipped: Shipped, days: int, now_us: int, actor: Actor = ACTOR) -> Proposed:
    """Plans for the demand of the last whole days; those before the first answer do not count.

    Args:
        database: of the market.
        shipped: what comes with the product.
        days: how many at most.
        now_us: µs since the epoch.
        actor: who asks for it.
    """
    until_us = max(now_us - now_us % DAY_US, DAY_US)
    async with database.snapshot() as session:
        first_us = await first_answer_us(session)
        since_us = _since_us(until_us, days, first_us)
        if since_us >= until_us:  # the first day is not over: what there is of it
            since_us, until_us = until_us, until_us + DAY_US
        asked = Asked(since_us, until_us, await hourly_tokens(session, since_us, until_us))
        given, specs = await inputs_at(session, now_us), await priced_models_at(session, now_us)
        site = Site(given, specs, await running(session), shipped)
    document = await asyncio.to_thread(proposal_document, site, asked)
    async with database.writing() as session:
        return await _store(session, asked, document, actor, now_us)


def _since_us(until_us: int, days: int, first_us: int | None) -> int:
    begin_us = until_us - days * DAY_US
    return begin_us if first_us is None else max(begin_us, first_us - first_us % DAY_US)


async def _store(session: AsyncSession, asked: Asked, document: dict[str, Any], actor: Actor, now_us: int) -> Proposed:
    def row(sequence: int) -> PlanProposalRow:
        return PlanProposalRow(
            sequence=sequence,
            document=document,
            since_us=asked.since_us,
            until_us=asked.until_us,
            created_at_us=now_us,
            actor=actor.name or actor.id,
        )

    stored = await append(session, PlanProposalRow, row)
    change = Change("plan.proposed", f"plan:{stored.sequence}", after={"models": len(document["models"])})
    await record(session, actor, change, now_us)
    return proposed(stored)
