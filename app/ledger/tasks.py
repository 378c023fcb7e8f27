"""The ledger's background work: holds whose streams died give their credit back."""

from celery import shared_task

from app.clock import now_us
from app.db import Database
from app.ledger.service import Ledger
from app.ledger.writer import LedgerWriter
from app.logs import get_logger
from app.worker import runtime

log = get_logger("app.ledger")


@shared_task(name="ledger.sweep_holds")
def sweep_holds() -> None:
    """Voids every hold that nothing kept alive; running it twice voids nothing twice."""
    swept = runtime().run(_sweep)
    if swept:
        log.warning("holds.expired", holds=swept)


async def _sweep(database: Database) -> int:
    async with LedgerWriter(database) as writer:
        return await Ledger(writer).sweep(now_us())
