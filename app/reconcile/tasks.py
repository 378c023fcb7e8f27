"""The daily look into the books: every finding is logged, and drift as an error."""

from celery import shared_task

from app.clock import now_us
from app.db import Database
from app.logs import get_logger
from app.reconcile.findings import Report, Severity
from app.reconcile.service import verify
from app.worker import runtime

log = get_logger("app.reconcile")


@shared_task(name="reconcile.check")
def check() -> None:
    """Puts every question of :func:`app.reconcile.service.verify` to the books; changes nothing."""
    report = runtime().run(_verify)
    for finding in (finding for each in report.checks for finding in each.findings):
        tell = log.error if finding.severity is Severity.DRIFT else log.warning
        tell("books.disagreed", where=finding.where, what=finding.what, amount_nano=finding.amount)
    log.info("books.checked", is_balanced=report.is_balanced, found=report.found)


async def _verify(database: Database) -> Report:
    return await verify(database, now_us())
