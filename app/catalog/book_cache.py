"""Price books and models at hand in this process: what a request reads instead of the database.

A book never changes, so one that was read is kept. Which one is in force follows from the clock alone; a book that is
published elsewhere, or a model put on sale, is seen after at most one refresh.
"""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession
from structlog.stdlib import BoundLogger

from app.catalog import repository
from app.catalog.models import PriceBookRow
from app.catalog.sale import ModelOnSale
from app.catalog.service import no_price_book
from app.clock import now_us
from app.db import Database
from app.logs import get_logger
from pricing.pricebook import PriceBook

REFRESH_S = 1.0
MODELS_MAX = 1_000
BOOKS_AT_ONCE_MAX = 64
"""Books read in one step, and of the last published at start; older ones are read when somebody asks for them."""
SCHEDULED_MAX = 1_000


class BookShelf:
    """The price books and models of one process.

    Args:
        database: where they are published.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._books: dict[str, PriceBook] = {}
        self._by_effect: list[tuple[datetime, int, PriceBook]] = []
        self._sequence = 0
        self._withdrawn: set[str] = set()
        self._withdrawals = 0
        self._models: dict[str, ModelOnSale] = {}
        self._turn = asyncio.Lock()
        self._log = get_logger("app.catalog")

    def live(self, now: datetime) -> PriceBook:
        """The book in force.

        Raises:
            NoPriceBook: none is.
        """
        for effective_at, _, book in reversed(self._by_effect):
            if effective_at <= now and book.id not in self._withdrawn:
                return book
        raise no_price_book()

    def by_id(self, book_id: str) -> PriceBook | None:
        """A published book that is at hand, withdrawn or not; see :meth:`find` for those that are not at hand."""
        return self._books.get(book_id)

    def models(self) -> tuple[ModelOnSale, ...]:
        """Every model on sale, by name; those without a price in the live book too."""
        return tuple(self._models.values())

    def model(self, name: str) -> ModelOnSale | None:
        """A model on sale; None when it is not."""
        return self._models.get(name)

    def context_max(self, model: str) -> int | None:
        """Prompt plus answer of a model on sale, in tokens; None when it is not."""
        found = self._models.get(model)
        return None if found is None else found.context_max

    async def find(self, book_id: str) -> PriceBook | None:
        """Any book that was ever published, from the database if need be; None when there is none of that id."""
        if book_id not in self._books:
            async with self._database.reading() as session:
                row = await repository.row_by_id(session, book_id)
            if row is None:
                return None
            self._books[book_id] = repository.book_of(row)
        return self._books[book_id]

    async def refresh(self) -> None:
        """Reads what was published and withdrawn since the last time, and the models on sale; one call at a time."""
        async with self._turn, self._database.reading() as session:
            await self._hear_of_withdrawals(session)  # first: what they are about must not come into force meanwhile
            if not self._by_effect:
                await self._start(session)
            while rows := await repository.rows_after(session, self._sequence, BOOKS_AT_ONCE_MAX):
                for row in rows:
                    self._take(row)
            models = await repository.models_on_sale(session, MODELS_MAX)
        self._models = {model.name: model for model in models}

    async def run(self, every_s: float = REFRESH_S) -> None:
        """Refreshes for as long as the process runs; a database that is away leaves what is known in force."""
        await keep_fresh(self.refresh, every_s, self._log)

    async def _hear_of_withdrawals(self, session: AsyncSession) -> None:
        while gone := await repository.withdrawals_after(session, self._withdrawals, BOOKS_AT_ONCE_MAX):
            self._withdrawn.update(row.book_id for row in gone)
            self._withdrawals = gone[-1].sequence

    async def _start(self, session: AsyncSession) -> None:
        """Begins with what is or will be in force and the last few books, not with all of history."""
        latest = await repository.latest_row(session)
        if latest is None:
            return
        self._sequence = max(0, latest.sequence - BOOKS_AT_ONCE_MAX)
        live = await repository.live_row(session, now_us())
        since_us = 0 if live is None else live.effective_at_us
        for row in await repository.rows_effective_since(session, since_us, SCHEDULED_MAX):
            if row.sequence <= self._sequence:
                self._keep(row)

    def _take(self, row: PriceBookRow) -> None:
        self._keep(row)
        self._sequence = max(self._sequence, row.sequence)

    def _keep(self, row: PriceBookRow) -> None:
        book = repository.book_of(row)
        self._books[book.id] = book
        self._by_effect.append((book.effective_at, row.sequence, book))
        self._by_effect.sort(key=lambda entry: entry[:2])


async def keep_fresh(refresh: Callable[[], Coroutine[Any, Any, None]], every_s: float, log: BoundLogger) -> None:
    """Refreshes something for as long as the process runs; a failure is logged, and what was known stays.

    Cancelled, it lets the refresh under way finish first: a database connection that is dropped in mid-query is lost.
    """
    while True:
        await asyncio.sleep(every_s)
        task = asyncio.ensure_future(refresh())
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task})
            raise
        except Exception as error:  # noqa: BLE001 (the edge of a background task, which must outlive a bad minute)
            log.warning("refresh.failed", what=refresh.__qualname__, error=repr(error))
