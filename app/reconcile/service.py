"""Puts every question to the books, over one snapshot of the database."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

from sqlmodel.ext.asyncio.session import AsyncSession

from app.clock import US_PER_S
from app.db import Database
from app.ledger.chain import GENESIS_SHA256, ChainedTxn, batch_sha256
from app.ledger.journal import Leg
from app.ledger.models import EntryRow, JournalTxnRow, LedgerBatchRow
from app.metering.models import UsageEvent
from app.reconcile import repository
from app.reconcile.findings import Check, Finding, Report, Severity
from app.reconcile.rerate import Settled, disagreements
from pricing.pricebook import PriceBook, PriceBookError, book_from_record

ORPHAN_US = 300_000_000
"""A hold that expired so long ago should have been swept."""
OUTBOX_US = 900_000_000
"""A message that has been due for so long is stuck."""


async def verify(database: Database, now_us: int) -> Report:
    """Checks that the books balance, that every delivery was settled to the nano, and that nothing was tampered with.

    Args:
        database: read in one snapshot; the market may go on meanwhile.
        now_us: µs since the epoch; tells what is overdue.
    """
    async with database.snapshot() as session:
        return Report(
            now_us,
            (
                await _entries_balance(session),
                await _posted_is_entries(session),
                await _held_is_pending(session),
                await _trial_balance(session),
                await _chain_holds(session),
                await _events_are_settlements(session),
                await _deliveries_rate_again(session),
                await _nothing_is_overdue(session, now_us),
            ),
        )


async def _entries_balance(session: AsyncSession) -> Check:
    check = Check("R1", "The entries of every transaction sum to zero")
    check.counted = await repository.count(session, EntryRow)
    check.add(
        Finding(f"journal_txn {txn_id}", f"its entries sum to {total} nano-USD instead of 0", total)
        for txn_id, total in await repository.unbalanced_txns(session)
    )
    return check


async def _posted_is_entries(session: AsyncSession) -> Check:
    check = Check("R1", "Every account's balance is the sum of its entries")
    check.counted = await repository.count(session, repository.AccountRow)
    check.add(
        Finding(f"account {account_id}", f"posted {posted} nano-USD, its entries sum to {total}", posted - total)
        for account_id, posted, total in await repository.posted_and_entries(session)
    )
    return check


async def _held_is_pending(session: AsyncSession) -> Check:
    check = Check("R1", "Every wallet's reservations are the sum of its pending holds")
    check.counted = await repository.count(session, repository.HoldRow)
    check.add(
        Finding(f"account {account_id}", f"held {held} nano-USD, its pending holds sum to {total}", held - total)
        for account_id, held, total in await repository.held_and_pending(session)
    )
    return check


async def _trial_balance(session: AsyncSession) -> Check:
    check = Check("R1", "The trial balance is zero")
    by_kind = await repository.trial_balance(session)
    check.counted = len(by_kind)
    if total := sum(by_kind.values()):
        shown = ", ".join(f"{kind} {amount}" for kind, amount in sorted(by_kind.items()))
        check.add([Finding("trial balance", f"accounts sum to {total} nano-USD instead of 0: {shown}", total)])
    return check


async def _chain_holds(session: AsyncSession) -> Check:
    check = Check("chain", "No committed transaction was changed, added or taken away")
    seq, sha256, txn_last = 0, GENESIS_SHA256, 0
    async for page, txns in repository.batch_pages(session):
        entries = await repository.entries_of(session, page[0].txn_first, page[-1].txn_last)
        for batch in page:
            within = [txn for txn in txns if batch.txn_first <= txn.id <= batch.txn_last]
            check.add(_broken_links(batch, seq, sha256, txn_last))
            check.add(_broken_content(batch, within, entries))
            check.counted += 1
            seq, sha256, txn_last = batch.seq, batch.sha256, batch.txn_last
    unchained = await repository.count(session, JournalTxnRow) - txn_last
    if unchained:
        check.add(
            [Finding("journal", f"{abs(unchained)} transactions {'more' if unchained > 0 else 'fewer'} than chained")]
        )
    return check


def _broken_links(batch: LedgerBatchRow, seq: int, sha256: str, txn_last: int) -> Iterator[Finding]:
    where = f"ledger_batch {batch.seq}"
    if batch.seq != seq + 1:
        yield Finding(where, f"follows batch {seq}: {batch.seq - seq - 1} batches are missing")
    if batch.prev_sha256 != sha256:
        yield Finding(where, "is not chained to the digest of the batch before it")
    if batch.txn_first != txn_last + 1:
        yield Finding(where, f"begins with transaction {batch.txn_first}; {txn_last + 1} was due")


def _broken_content(
    batch: LedgerBatchRow, txns: Sequence[JournalTxnRow], entries: Mapping[int, list[EntryRow]]
) -> Iterator[Finding]:
    where = f"ledger_batch {batch.seq}"
    if batch_sha256(batch.prev_sha256, (chained(txn, entries.get(txn.id, [])) for txn in txns)) != batch.sha256:
        yield Finding(where, f"transactions {batch.txn_first} to {batch.txn_last} are not what was committed")
    for txn in txns:
        if txn.batch_seq != batch.seq:
            yield Finding(f"journal_txn {txn.id}", f"names batch {txn.batch_seq}, but belongs to {batch.seq}")


def chained(txn: JournalTxnRow, entries: Sequence[EntryRow]) -> ChainedTxn:
    """A stored transaction as the chain sees it."""
    return ChainedTxn(
        txn_id=txn.id,
        idem=txn.idem,
        kind=txn.kind,
        subject=txn.subject,
        booked_at_us=txn.booked_at_us,
        effective_at_us=txn.effective_at_us,
        price_book_id=txn.price_book_id,
        memo=txn.memo,
        legs=[Leg(entry.account_id, entry.amount) for entry in entries],
    )


async def _events_are_settlements(session: AsyncSession) -> Check:
    check = Check("R2", "Deliveries, settlements and captured holds are one to one")
    check.counted = await repository.count(session, JournalTxnRow)
    check.add(
        Finding(f"settlement of {txn.subject}", "was booked, but there is no usage event for it")
        for txn in await repository.settlements_without_event(session)
    )
    check.add(
        Finding(f"hold {hold.id}", f"captured {hold.captured} nano-USD, but nothing was booked", hold.captured)
        for hold in await repository.captured_without_settlement(session)
    )
    return check


async def _deliveries_rate_again(session: AsyncSession) -> Check:
    check = Check("R2", "Rating every delivery again under its price book gives every nano")
    books: dict[str, PriceBook | None] = {}
    async for page in repository.event_pages(session):
        async for settled in _settled(session, page, books, check):
            check.counted += 1
            check.skipped += settled.event.timeline is None
            check.add(disagreements(settled))
    return check


async def _settled(
    session: AsyncSession, page: Sequence[UsageEvent], books: dict[str, PriceBook | None], check: Check
) -> AsyncIterator[Settled]:
    request_ids = [event.request_id for event in page]
    txns = await repository.settlements_of(session, request_ids)
    holds = await repository.holds_of(session, request_ids)
    entries = await repository.entries_in(session, [txn.id for txn in txns.values()])
    for event in page:
        if event.price_book_id not in books:
            books[event.price_book_id] = await _stored_book(session, event.price_book_id, check)
        txn = txns.get(event.request_id)
        legs: dict[str, int] = {}
        for entry in entries.get(txn.id, []) if txn else []:
            legs[entry.account_id] = legs.get(entry.account_id, 0) + entry.amount
        yield Settled(event, txn, legs, holds.get(event.request_id), books[event.price_book_id])


async def _stored_book(session: AsyncSession, book_id: str, check: Check) -> PriceBook | None:
    row = await repository.price_book_row(session, book_id)
    if row is None:
        return None
    try:
        book = book_from_record(row.record)
    except (PriceBookError, KeyError, TypeError, ValueError) as error:
        check.add([Finding(f"price_book {book_id}", f"its stored form cannot be read: {error}")])
        return None
    if (book.sha256, book.id) != (row.sha256, row.id):
        check.add(
            [Finding(f"price_book {book_id}", f"its content has digest {book.sha256}, the row says {row.sha256}")]
        )
    return book


async def _nothing_is_overdue(session: AsyncSession, now_us: int) -> Check:
    check = Check("R5", "No hold is orphaned, no message is stuck, no wallet is below its limit")
    check.counted = await repository.count(session, repository.HoldRow)
    check.add(
        Finding(
            f"hold {hold.id}",
            f"reserves {hold.amount} nano-USD of {hold.customer_id}, {(now_us - hold.expires_at_us) / US_PER_S:.0f} s "
            "past its expiry: is the sweeper running?",
            hold.amount,
            Severity.ATTENTION,
        )
        for hold in await repository.orphan_holds(session, now_us - ORPHAN_US)
    )
    check.add(
        Finding(
            f"outbox {message.id}",
            f"is {message.state} after {message.attempts} attempts: {message.error or 'never tried'}",
            severity=Severity.ATTENTION,
        )
        for message in await repository.outbox_stuck(session, now_us - OUTBOX_US)
    )
    check.add(_wallet_short(account) for account in await repository.wallets_short(session))
    return check


def _wallet_short(account: repository.AccountRow) -> Finding:
    available, overdraft = account.posted - account.held, account.overdraft or 0
    where = f"account {account.id}"
    if available < -overdraft - account.overdue:
        what = f"{available} nano-USD available, below its overdraft of {overdraft} and {account.overdue} overdue"
        return Finding(where, what, available + overdraft + account.overdue)
    what = f"late settlements took it {account.overdue} nano-USD below its overdraft of {overdraft}"
    return Finding(where, what, -account.overdue, Severity.ATTENTION)
