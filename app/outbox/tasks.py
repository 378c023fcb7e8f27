"""The outbox's background work: what is due leaves; alerts go to the operators' log."""

from typing import Final

from celery import shared_task

from app.clock import now_us
from app.db import Database
from app.logs import get_logger
from app.outbox.messages import Message
from app.outbox.service import Deliver, deliver_due
from app.worker import runtime

log = get_logger("app.outbox")


async def alert(message: Message) -> None:
    """Tells the operators through the log, as an error."""
    log.error(message.topic, subject=message.subject, **message.payload)


DELIVERERS: Final[dict[str, Deliver]] = {"settlement.arrived_late": alert}


@shared_task(name="outbox.deliver")
def deliver() -> None:
    """Delivers what is due; a message that a dying worker had begun is delivered again."""
    delivered = runtime().run(_deliver)
    if delivered:
        log.info("outbox.delivered", messages=delivered)


async def _deliver(database: Database) -> int:
    return await deliver_due(database, DELIVERERS, now_us)
