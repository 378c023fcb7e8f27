"""One batch of operations as one database transaction, without a database: statements out, answers in; pure.

:func:`transact` is a generator, so that the same lines run against SQLite in a thread and PostgreSQL on an event loop:
lock and load what the batch touches, carry the operations out in arrival order in memory, write the difference.

Locks are always taken in one order: accounts by id, holds by id, the chain. Two batches never wait for each other
in a circle.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from operator import attrgetter, itemgetter
from typing import Any, cast

from app.ledger import chart, journal
from app.ledger.chain import GENESIS_SHA256, ChainedTxn, batch_sha256
from app.ledger.holds import PreparedRow
from app.ledger.journal import Draft
from app.ledger.operations import (
    BeatHolds,
    ExtendHold,
    GrantCredit,
    Operation,
    Outcome,
    PlaceHold,
    SettleHold,
    SweepHolds,
    Transfer,
    VoidHold,
)
from app.ledger.rules import apply
from app.ledger.sheet import AccountLine, HoldLine, Sheet, new_account
from app.ledger.statements import Answer, Fetch, FetchDue, FetchHead, Insert, Rows, Statement, Update
from pricing.money import NanoUsd

Transaction = Generator[Statement, Answer, list[Outcome]]
Step = Generator[Statement, Answer, None]

_ACCOUNT = ("id", "posted", "held", "overdraft", "overdue")
_HOLD = (
    "id",
    "account_id",
    "customer_id",
    "state",
    "amount",
    "ceiling",
    "captured",
    "price_book_id",
    "model",
    "tier",
    "created_at_us",
    "expires_at_us",
    "resolved_at_us",
    "reason",
)
_HOLD_CHANGES = ("state", "amount", "captured", "expires_at_us", "resolved_at_us", "reason")
_WHOLE_HOLD = attrgetter(*_HOLD)
_CHANGED_HOLD = attrgetter(*_HOLD_CHANGES, "id")
_TXN = ("id", "idem", "kind", "subject", "batch_seq", "booked_at_us", "effective_at_us", "price_book_id", "memo")
_TXN_REPLAYED = ("id", "idem", "kind", "subject", "booked_at_us")


class LostUpdate(RuntimeError):
    """Rows that were locked changed nevertheless; the batch is rolled back and tried again."""


def transact(operations: Sequence[Operation]) -> Transaction:
    """Carries out operations in arrival order; the answers are in the same order.

    Raises:
        LostUpdate: a row changed under the batch.
    """
    sheet = Sheet()
    chain: list[tuple[int, str]] = []
    yield from _load_accounts(operations, sheet)
    yield from _load_holds(operations, sheet)
    if any(isinstance(operation, SettleHold | GrantCredit) for operation in operations):
        yield from _load_chain(sheet, chain)
        yield from _load_transfers(operations, sheet)
    outcomes = [apply(operation, sheet) for operation in operations]
    yield from _write_holds(sheet)
    yield from _write_accounts(sheet)
    yield from _write_journal(sheet, chain)
    yield from _write_rows(sheet.rows)
    return outcomes


def _rows(answer: Answer) -> Rows:
    return cast("Rows", answer)


# Load: lock what the batch touches, in the one order.


def _load_accounts(operations: Sequence[Operation], sheet: Sheet) -> Step:
    wallets, opened = _accounts_named(operations)
    due: list[str] = []
    for operation in operations:
        if isinstance(operation, SweepHolds):
            found = _rows((yield FetchDue(operation.now_us, operation.holds_max)))
            due.extend(row[0] for row in found)
            wallets.update(row[1] for row in found)
    sheet.due = tuple(dict.fromkeys(due))
    if unplaced := tuple(sorted(_holds_without_wallet(operations))):
        found = _rows((yield Fetch("hold", ("id", "account_id"), "id", unplaced)))
        wallets.update(row[1] for row in found)
    yield from _lock_accounts(wallets | opened, sheet)
    if missing := sorted(opened - sheet.accounts.keys()):
        accounts = [new_account(account_id) for account_id in missing]
        yield Insert(
            "account", ("id", "kind", "overdraft", "posted", "held", "overdue"), _opened(accounts), is_once=True
        )
        yield from _lock_accounts(set(missing), sheet)


def _opened(accounts: Iterable[tuple[str, str, int | None]]) -> Rows:
    return [(*account, 0, 0, 0) for account in accounts]


def _lock_accounts(account_ids: set[str], sheet: Sheet) -> Step:
    if account_ids:
        found = _rows((yield Fetch("account", _ACCOUNT, "id", tuple(sorted(account_ids)), is_locked=True)))
        sheet.accounts.update((row[0], AccountLine(*row)) for row in found)


def _accounts_named(operations: Iterable[Operation]) -> tuple[set[str], set[str]]:
    """Accounts that the operations name: those that must exist to be touched, and those that they may open."""
    wallets: set[str] = set()
    opened: set[str] = set()
    for operation in operations:
        match operation:
            case PlaceHold(request):
                (wallets if request.amount else opened).add(chart.wallet(request.customer_id))
            case SettleHold(settlement):
                opened.update(journal.settlement_accounts(settlement))
            case GrantCredit(customer_id):
                opened.update((chart.wallet(customer_id), chart.PROMO_DISCOUNT))
            case _:
                pass
    return wallets, opened


def _holds_without_wallet(operations: Iterable[Operation]) -> Iterator[str]:
    for operation in operations:
        match operation:
            case ExtendHold(hold_id) | VoidHold(hold_id):
                yield hold_id
            case BeatHolds(hold_ids):
                yield from hold_ids
            case _:
                pass


def _holds_named(operations: Iterable[Operation]) -> Iterator[str]:
    for operation in operations:
        match operation:
            case PlaceHold(request):
                yield request.id
            case SettleHold(settlement):
                yield settlement.hold_id
            case _:
                pass
    yield from _holds_without_wallet(operations)


def _load_holds(operations: Sequence[Operation], sheet: Sheet) -> Step:
    if hold_ids := tuple(sorted({*_holds_named(operations), *sheet.due})):
        found = _rows((yield Fetch("hold", _HOLD, "id", hold_ids, is_locked=True)))
        sheet.holds.update((row[0], HoldLine(*row)) for row in found)


def _load_chain(sheet: Sheet, chain: list[tuple[int, str]]) -> Step:
    head = _rows((yield FetchHead()))
    seq, sha256, txn_last = head[0] if head else (0, GENESIS_SHA256, 0)
    chain.append((seq, sha256))
    sheet.txn_next = txn_last + 1


def _load_transfers(operations: Sequence[Operation], sheet: Sheet) -> Step:
    """Finds what was settled or granted before, so that a duplicate is answered with the first transfer."""
    idems = tuple(sorted(set(_idems_replayed(operations, sheet))))
    found = _rows((yield Fetch("journal_txn", _TXN_REPLAYED, "idem", idems))) if idems else []
    if not found:
        return
    txn_ids = tuple(row[0] for row in found)
    entries = _rows((yield Fetch("entry", ("txn_id", "account_id", "amount"), "txn_id", txn_ids)))
    moved = {row[0]: (row[1], row[2]) for row in entries if chart.kind_of(row[1]) is chart.AccountKind.WALLET}
    for row in found:
        sheet.transfers[row[1]] = _replayed(row, moved.get(row[0]), sheet)


def _idems_replayed(operations: Iterable[Operation], sheet: Sheet) -> Iterator[str]:
    """A pending hold has no settlement yet, so only resolved ones are looked up."""
    for operation in operations:
        match operation:
            case SettleHold(settlement):
                hold = sheet.holds.get(settlement.hold_id)
                if hold is not None and not hold.is_pending:
                    yield journal.settle_idem(hold.id)
            case GrantCredit():
                yield journal.grant_idem(operation.idem)
            case _:
                pass


def _replayed(row: Sequence[Any], moved: tuple[str, int] | None, sheet: Sheet) -> Transfer:
    txn_id, idem, kind, subject, booked_at_us = row
    amount = abs(moved[1]) if moved else 0
    hold = sheet.holds.get(subject)
    released = hold.amount - amount if hold and kind == journal.TxnKind.SETTLEMENT.value else 0
    customer_id = hold.customer_id if hold else subject
    return Transfer(txn_id, idem, kind, customer_id, NanoUsd(amount), NanoUsd(released), booked_at_us)


# Write: the difference, in the order that foreign keys ask for.


def _write_holds(sheet: Sheet) -> Step:
    if placed := [_WHOLE_HOLD(hold) for hold in sheet.holds_placed.values()]:
        yield Insert("hold", _HOLD, placed)
    rows = [_CHANGED_HOLD(hold) for _, hold in sorted(sheet.holds_changed.items())]
    if rows:
        # Only pending holds change, so this guard makes each resolve once whatever else may write.
        changed = yield Update("hold", "id", _HOLD_CHANGES, (), rows, where=("state", "pending"))
        _expect(changed, len(rows), "holds")


def _write_accounts(sheet: Sheet) -> Step:
    rows = [(*line.changes, line.id) for line in sheet.changed_accounts()]
    if rows:
        changed = yield Update("account", "id", (), ("posted", "held", "overdue"), rows)
        _expect(changed, len(rows), "accounts")


def _write_journal(sheet: Sheet, chain: Sequence[tuple[int, str]]) -> Step:
    if not sheet.txns:
        return
    seq, prev_sha256 = chain[0]
    sha256 = batch_sha256(prev_sha256, (_chained(txn.txn_id, txn.draft) for txn in sheet.txns))
    link = (seq + 1, prev_sha256, sha256, sheet.txns[0].txn_id, sheet.txns[-1].txn_id)
    yield Insert("ledger_batch", ("seq", "prev_sha256", "sha256", "txn_first", "txn_last"), [link])
    yield Insert("journal_txn", _TXN, [_txn_row(txn.txn_id, txn.draft, seq + 1) for txn in sheet.txns])
    entries = [
        (txn.txn_id, index, leg.account_id, leg.amount)
        for txn in sheet.txns
        for index, leg in enumerate(txn.draft.legs)
    ]
    if entries:
        yield Insert("entry", ("txn_id", "leg", "account_id", "amount"), entries)


def _chained(txn_id: int, draft: Draft) -> ChainedTxn:
    return ChainedTxn(
        txn_id=txn_id,
        idem=draft.idem,
        kind=draft.kind.value,
        subject=draft.subject,
        booked_at_us=draft.booked_at_us,
        effective_at_us=draft.effective_at_us,
        price_book_id=draft.price_book_id,
        memo=draft.memo,
        legs=draft.legs,
    )


def _txn_row(txn_id: int, draft: Draft, seq: int) -> tuple[object, ...]:
    return (
        txn_id,
        draft.idem,
        draft.kind.value,
        draft.subject,
        seq,
        draft.booked_at_us,
        draft.effective_at_us,
        draft.price_book_id,
        draft.memo,
    )


def _write_rows(rows: Iterable[PreparedRow]) -> Step:
    by_shape: dict[tuple[str, tuple[str, ...]], list[Sequence[Any]]] = {}
    for row in rows:
        by_shape.setdefault((row.table, tuple(row.values)), []).append(tuple(row.values.values()))
    for (table, columns), values in sorted(by_shape.items(), key=itemgetter(0)):
        yield Insert(table, columns, values)


def _expect(changed: Answer, expected: int, what: str) -> None:
    if changed != expected:
        raise LostUpdate(f"{changed} of {expected} {what} changed; something else wrote to them")
