"""Metering's background work: timelines are kept as long as the settings say, and no longer."""

from celery import shared_task

from app.clock import US_PER_S, now_us
from app.db import Database
from app.logs import get_logger
from app.metering.repository import ERASE_ROWS_MAX, erase_timelines
from app.worker import runtime

ROUNDS_MAX = 2_000
"""Some half a million timelines in one night; what is left goes the next night."""
S_PER_DAY = 86_400
log = get_logger("app.metering")


@shared_task(name="metering.erase_timelines")
def erase() -> None:
    """Forgets timelines older than ``timeline_keep_days``; running it twice forgets nothing twice."""
    kept_us = runtime().settings.timeline_keep_days * S_PER_DAY * US_PER_S
    erased = runtime().run(lambda database: _erase(database, now_us() - kept_us))
    if erased:
        log.info("timelines.erased", timelines=erased)


async def _erase(database: Database, finished_before_us: int) -> int:
    """One short transaction a round, so that the ledger's writer never waits long for the database."""
    erased = 0
    for _ in range(ROUNDS_MAX):
        async with database.writing() as session:
            found = await erase_timelines(session, finished_before_us)
        erased += found
        if found < ERASE_ROWS_MAX:
            break
    return erased
