"""Figures that are looked up rather than counted: breakers, queues, and whether the ledger balances."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import func
from sqlmodel import col, select

from app import clock
from app.db import Database
from app.fleet.fleet_view import FleetView
from app.ledger.models import AccountRow
from app.ledger.writer import LedgerWriter
from app.telemetry import BREAKER_CLOSED, BREAKER_HALF_OPEN, BREAKER_OPEN, NANO_PER_USD, Metrics
from scheduler.breaker import BreakerState
from scheduler.dispatcher import Dispatcher

_STATES: Final = {
    BreakerState.CLOSED: BREAKER_CLOSED,
    BreakerState.HALF_OPEN: BREAKER_HALF_OPEN,
    BreakerState.OPEN: BREAKER_OPEN,
    BreakerState.DISABLED: BREAKER_OPEN,
}


@dataclass(frozen=True, slots=True)
class Gauges:
    """Where the figures come from, and where they go."""

    metrics: Metrics
    database: Database
    view: FleetView
    writer: LedgerWriter
    dispatcher: Dispatcher

    async def refresh(self) -> None:
        """Looks everything up once; every few seconds is often enough."""
        self._look_around()
        async with self.database.reading() as session:
            sums = select(
                func.coalesce(func.sum(col(AccountRow.posted)), 0), func.coalesce(func.sum(col(AccountRow.held)), 0)
            )
            posted, held = (await session.exec(sums)).one()
        self.metrics.ledger_imbalance.set(int(posted))
        self.metrics.wallet_held.set(int(held) / NANO_PER_USD)

    def _look_around(self) -> None:
        now_us = clock.now_us()
        for offers in self.view.fleet.offers.values():
            for offer in offers:
                self.metrics.breaker.labels(offer.id).set(_STATES[self.view.breaker_state(offer.id, now_us)])
        self.metrics.queue_depth.set(self.dispatcher.waiting)
        self.metrics.ledger_queue.set(self.writer.waiting)
