"""What reconciliation reads: sums that must agree, and pages of what must be compared row by row."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import func, literal
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.catalog.models import PriceBookRow
from app.ledger.models import AccountRow, EntryRow, HoldRow, JournalTxnRow, LedgerBatchRow
from app.metering.models import UsageEvent
from app.outbox.models import OutboxMessage

PAGE_ROWS = 256
BATCHES_PAGE = 32
LISTED_MAX = 1_000
"""Rows that a query for what is wrong brings at most."""


async def count(session: AsyncSession, model: Any) -> int:
    """How many rows a table has."""
    return (await session.exec(select(func.count()).select_from(model))).one()


async def unbalanced_txns(session: AsyncSession) -> Sequence[tuple[int, int]]:
    """Transactions whose entries do not sum to zero, with their sum."""
    total = func.sum(EntryRow.amount)
    query = (
        select(EntryRow.txn_id, total)
        .group_by(col(EntryRow.txn_id))
        .having(total != 0)
        .order_by(col(EntryRow.txn_id))
        .limit(LISTED_MAX)
    )
    return [(txn_id, int(amount)) for txn_id, amount in await session.exec(query)]


async def posted_and_entries(session: AsyncSession) -> Sequence[tuple[str, int, int]]:
    """Accounts whose ``posted`` differs from the sum of their entries: id, posted, sum."""
    sums = (
        select(col(EntryRow.account_id).label("account_id"), func.sum(EntryRow.amount).label("total"))
        .group_by(col(EntryRow.account_id))
        .subquery()
    )
    total = func.coalesce(sums.c.total, 0)
    query = (
        select(AccountRow.id, AccountRow.posted, total)
        .outerjoin(sums, sums.c.account_id == AccountRow.id)
        .where(AccountRow.posted != total)
        .order_by(col(AccountRow.id))
        .limit(LISTED_MAX)
    )
    return [(row[0], row[1], int(row[2])) for row in await session.exec(query)]


async def held_and_pending(session: AsyncSession) -> Sequence[tuple[str, int, int]]:
    """Accounts whose ``held`` differs from the sum of their pending holds: id, held, sum."""
    sums = (
        select(col(HoldRow.account_id).label("account_id"), func.sum(HoldRow.amount).label("total"))
        .where(col(HoldRow.state) == "pending")
        .group_by(col(HoldRow.account_id))
        .subquery()
    )
    total = func.coalesce(sums.c.total, 0)
    query = (
        select(AccountRow.id, AccountRow.held, total)
        .outerjoin(sums, sums.c.account_id == AccountRow.id)
        .where(AccountRow.held != total)
        .order_by(col(AccountRow.id))
        .limit(LISTED_MAX)
    )
    return [(row[0], row[1], int(row[2])) for row in await session.exec(query)]


async def trial_balance(session: AsyncSession) -> dict[str, int]:
    """Posted amounts by kind of account; they sum to zero."""
    query = select(AccountRow.kind, func.sum(AccountRow.posted)).group_by(col(AccountRow.kind))
    return {kind: int(posted) for kind, posted in await session.exec(query)}


async def house_accounts(session: AsyncSession) -> Sequence[AccountRow]:
    """Every account but the customers' wallets, by id; at most :data:`LISTED_MAX`."""
    query = select(AccountRow).where(col(AccountRow.kind) != "wallet").order_by(col(AccountRow.id)).limit(LISTED_MAX)
    return (await session.exec(query)).all()


async def wallets_total(session: AsyncSession) -> tuple[int, int, int]:
    """All wallets together: how many, posted, held."""
    posted, held = func.coalesce(func.sum(AccountRow.posted), 0), func.coalesce(func.sum(AccountRow.held), 0)
    query = select(func.count(), posted, held).where(col(AccountRow.kind) == "wallet")
    wallets, all_posted, all_held = (await session.exec(query)).one()
    return wallets, int(all_posted), int(all_held)


async def wallets_short(session: AsyncSession) -> Sequence[AccountRow]:
    """Wallets that are below their overdraft, or would be but for late settlements."""
    available = col(AccountRow.posted) - col(AccountRow.held)
    query = (
        select(AccountRow)
        .where(col(AccountRow.kind) == "wallet")
        .where((available < -col(AccountRow.overdraft) - col(AccountRow.overdue)) | (col(AccountRow.overdue) > 0))
        .order_by(col(AccountRow.id))
        .limit(LISTED_MAX)
    )
    return (await session.exec(query)).all()


async def settlements_without_event(session: AsyncSession) -> Sequence[JournalTxnRow]:
    """Settlements of requests that left no usage event."""
    query = (
        select(JournalTxnRow)
        .outerjoin(UsageEvent, col(JournalTxnRow.subject) == col(UsageEvent.request_id))
        .where(col(JournalTxnRow.kind).in_(("settlement", "late_settlement")), col(UsageEvent.request_id).is_(None))
        .order_by(col(JournalTxnRow.id))
        .limit(LISTED_MAX)
    )
    return (await session.exec(query)).all()


async def captured_without_settlement(session: AsyncSession) -> Sequence[HoldRow]:
    """Holds that were captured although nothing was booked for them."""
    query = (
        select(HoldRow)
        .outerjoin(JournalTxnRow, col(JournalTxnRow.idem) == literal("settle:") + col(HoldRow.id))
        .where(col(HoldRow.state) == "captured", col(JournalTxnRow.id).is_(None))
        .order_by(col(HoldRow.id))
        .limit(LISTED_MAX)
    )
    return (await session.exec(query)).all()


async def orphan_holds(session: AsyncSession, expired_before_us: int) -> Sequence[HoldRow]:
    """Pending holds that should have been swept long ago."""
    query = (
        select(HoldRow)
        .where(col(HoldRow.state) == "pending", col(HoldRow.expires_at_us) < expired_before_us)
        .order_by(col(HoldRow.expires_at_us))
        .limit(LISTED_MAX)
    )
    return (await session.exec(query)).all()


async def outbox_stuck(session: AsyncSession, available_before_us: int) -> Sequence[OutboxMessage]:
    """Messages that gave up, or have been due for too long."""
    is_late = col(OutboxMessage.state).in_(("pending", "sent")) & (
        col(OutboxMessage.available_at_us) < available_before_us
    )
    query = (
        select(OutboxMessage)
        .where(is_late | (col(OutboxMessage.state) == "dead"))
        .order_by(col(OutboxMessage.available_at_us))
        .limit(LISTED_MAX)
    )
    return (await session.exec(query)).all()


async def price_book_row(session: AsyncSession, book_id: str) -> PriceBookRow | None:
    """A stored price book."""
    return (await session.exec(select(PriceBookRow).where(col(PriceBookRow.id) == book_id))).first()


async def event_pages(session: AsyncSession) -> AsyncIterator[Sequence[UsageEvent]]:
    """All usage events, a page at a time, by request id."""
    last = ""
    while True:
        query = select(UsageEvent).where(col(UsageEvent.request_id) > last).order_by(col(UsageEvent.request_id))
        page = (await session.exec(query.limit(PAGE_ROWS))).all()
        if not page:
            return
        last = page[-1].request_id
        yield page
        session.expunge_all()


async def settlements_of(session: AsyncSession, request_ids: Sequence[str]) -> dict[str, JournalTxnRow]:
    """Settlements by request id."""
    idems = [f"settle:{request_id}" for request_id in request_ids]
    found = await session.exec(select(JournalTxnRow).where(col(JournalTxnRow.idem).in_(idems)))
    return {txn.idem.removeprefix("settle:"): txn for txn in found}


async def holds_of(session: AsyncSession, hold_ids: Sequence[str]) -> dict[str, HoldRow]:
    """Holds by id."""
    found = await session.exec(select(HoldRow).where(col(HoldRow.id).in_(hold_ids)))
    return {hold.id: hold for hold in found}


async def entries_of(session: AsyncSession, txn_first: int, txn_last: int) -> dict[int, list[EntryRow]]:
    """Entries of a range of transactions, both ends included, legs in order."""
    query = (
        select(EntryRow)
        .where(col(EntryRow.txn_id) >= txn_first, col(EntryRow.txn_id) <= txn_last)
        .order_by(col(EntryRow.txn_id), col(EntryRow.leg))
    )
    return _by_txn(list(await session.exec(query)))


async def entries_in(session: AsyncSession, txn_ids: Sequence[int]) -> dict[int, list[EntryRow]]:
    """Entries of some transactions."""
    return _by_txn(list(await session.exec(select(EntryRow).where(col(EntryRow.txn_id).in_(txn_ids)))))


def _by_txn(entries: Sequence[EntryRow]) -> dict[int, list[EntryRow]]:
    grouped: dict[int, list[EntryRow]] = {}
    for entry in entries:
        grouped.setdefault(entry.txn_id, []).append(entry)
    return grouped


async def batch_pages(session: AsyncSession) -> AsyncIterator[tuple[Sequence[LedgerBatchRow], list[JournalTxnRow]]]:
    """The chain in order, a page at a time: batches, and the transactions in their range."""
    seq = 0
    while True:
        query = select(LedgerBatchRow).where(col(LedgerBatchRow.seq) > seq).order_by(col(LedgerBatchRow.seq))
        page = (await session.exec(query.limit(BATCHES_PAGE))).all()
        if not page:
            return
        seq = page[-1].seq
        txns = (
            select(JournalTxnRow)
            .where(col(JournalTxnRow.id) >= page[0].txn_first, col(JournalTxnRow.id) <= page[-1].txn_last)
            .order_by(col(JournalTxnRow.id))
        )
        yield page, list(await session.exec(txns))
        session.expunge_all()
