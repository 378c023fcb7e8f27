"""Tables of the ledger: accounts, holds, the append-only journal, and the chain of hashes over it.

Rows are written by :mod:`app.ledger.writer` alone. All amounts are nano-USD; all ``*_at_us`` are µs since the epoch.
Entries are signed: credits are positive, and the entries of one transaction sum to zero.
"""

from typing import Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Index, text
from sqlmodel import Field, SQLModel

from app.db import keep_append_only

_BY_US: dict[str, Any] = {"autoincrement": False}


class AccountRow(SQLModel, table=True):
    """One account of the chart.

    Attributes:
        id: for example ``wallet:cus_x`` or ``revenue:gpt-oss-120b:premium``.
        kind: ``wallet``, or the class of account: ``asset``, ``liability``, ``income``, ``contra``, ``expense``,
            ``equity``.
        posted: sum of its entries.
        held: sum of its pending holds.
        overdraft: how far below zero ``posted − held`` may go; NULL means without bound.
        overdue: how much further late settlements took a wallet; falls back as credit arrives.
    """

    __tablename__: ClassVar[Any] = "account"
    __table_args__ = (
        CheckConstraint(
            "kind IN ('wallet', 'asset', 'liability', 'income', 'contra', 'expense', 'equity')", name="kind_known"
        ),
        CheckConstraint("posted - held >= -overdraft - overdue", name="available_within_overdraft"),
        CheckConstraint("kind <> 'wallet' OR overdraft IS NOT NULL", name="wallet_is_bounded"),
        CheckConstraint("held >= 0", name="held_not_negative"),
        CheckConstraint("kind = 'wallet' OR held = 0", name="only_wallets_hold"),
        CheckConstraint("overdraft IS NULL OR overdraft >= 0", name="overdraft_not_negative"),
        CheckConstraint("overdue >= 0", name="overdue_not_negative"),
    )

    id: str = Field(primary_key=True, max_length=400)
    kind: str = Field(max_length=16)
    posted: int = Field(default=0, sa_type=BigInteger)
    held: int = Field(default=0, sa_type=BigInteger)
    overdraft: int | None = Field(default=None, sa_type=BigInteger)
    overdue: int = Field(default=0, sa_type=BigInteger)


class HoldRow(SQLModel, table=True):
    """A reservation on a wallet: pending once, resolved at most once.

    Attributes:
        id: the request id.
        amount: reserved; kept as it was when the hold resolved.
        ceiling: of the quote; ``amount`` never exceeds it.
        captured: what the customer paid of it.
        expires_at_us: unless beaten by then, the sweeper resolves it as ``expired``.
        reason: why it was voided; empty otherwise.
    """

    __tablename__: ClassVar[Any] = "hold"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'captured', 'void', 'expired')", name="state_known"),
        CheckConstraint("amount >= 0 AND amount <= ceiling", name="amount_within_ceiling"),
        CheckConstraint("captured >= 0 AND captured <= amount", name="captured_within_amount"),
        CheckConstraint("state = 'captured' OR captured = 0", name="only_captured_holds_pay"),
        CheckConstraint("(state = 'pending') = (resolved_at_us IS NULL)", name="resolved_when_not_pending"),
        Index("ix_hold_pending_expiry", "expires_at_us", sqlite_where=text("state = 'pending'"),
              postgresql_where=text("state = 'pending'")),
    )  # fmt: skip

    id: str = Field(primary_key=True, max_length=64)
    account_id: str = Field(foreign_key="account.id", max_length=400)
    customer_id: str = Field(max_length=64)
    state: str = Field(max_length=16)
    amount: int = Field(sa_type=BigInteger)
    ceiling: int = Field(sa_type=BigInteger)
    captured: int = Field(default=0, sa_type=BigInteger)
    price_book_id: str = Field(max_length=64)
    model: str = Field(max_length=200)
    tier: str = Field(max_length=16)
    created_at_us: int = Field(sa_type=BigInteger)
    expires_at_us: int = Field(sa_type=BigInteger)
    resolved_at_us: int | None = Field(default=None, sa_type=BigInteger)
    reason: str = Field(default="", max_length=200)


class LedgerBatchRow(SQLModel, table=True):
    """One committed batch of transactions, chained by hash to the one before: tamper evidence.

    Attributes:
        seq: 1, 2, 3 … without gaps.
        prev_sha256: digest of the batch before; 64 zeros for the first.
        sha256: digest over ``prev_sha256`` and this batch's transactions and entries.
        txn_first, txn_last: the transactions in it, both included.
    """

    __tablename__: ClassVar[Any] = "ledger_batch"
    __table_args__ = (
        CheckConstraint("seq >= 1", name="seq_positive"),
        CheckConstraint("txn_first >= 1 AND txn_last >= txn_first", name="txns_in_order"),
        CheckConstraint("length(prev_sha256) = 64 AND length(sha256) = 64", name="digests_whole"),
    )

    seq: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs=_BY_US)
    prev_sha256: str = Field(unique=True, max_length=64)
    sha256: str = Field(max_length=64)
    txn_first: int = Field(sa_type=BigInteger)
    txn_last: int = Field(sa_type=BigInteger)


class JournalTxnRow(SQLModel, table=True):
    """One transaction of the journal.

    Attributes:
        id: 1, 2, 3 … without gaps, in the order of booking.
        idem: what makes it once, for example ``settle:gen-…``.
        kind: the template: ``settlement``, ``late_settlement``, ``grant``.
        subject: the request, top-up or customer it is about.
        booked_at_us: when it was booked; ``effective_at_us`` is when it counts.
        price_book_id: the book stamped at admission; NULL where no price was applied.
    """

    __tablename__: ClassVar[Any] = "journal_txn"
    __table_args__ = (CheckConstraint("id >= 1", name="id_positive"),)

    id: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs=_BY_US)
    idem: str = Field(unique=True, max_length=200)
    kind: str = Field(max_length=32)
    subject: str = Field(max_length=200)
    batch_seq: int = Field(foreign_key="ledger_batch.seq", sa_type=BigInteger)
    booked_at_us: int = Field(sa_type=BigInteger, index=True)
    effective_at_us: int = Field(sa_type=BigInteger)
    price_book_id: str | None = Field(default=None, max_length=64)
    memo: str = Field(default="", max_length=1000)


class EntryRow(SQLModel, table=True):
    """One leg of a transaction.

    Attributes:
        leg: 0, 1, 2 … within the transaction.
        amount: nano-USD, credits positive, never zero.
    """

    __tablename__: ClassVar[Any] = "entry"
    __table_args__ = (
        CheckConstraint("amount <> 0", name="amount_not_zero"),
        CheckConstraint("leg >= 0", name="leg_not_negative"),
        Index("ix_entry_account_id_txn_id", "account_id", "txn_id"),
    )

    txn_id: int = Field(primary_key=True, foreign_key="journal_txn.id", sa_type=BigInteger)
    leg: int = Field(primary_key=True, sa_column_kwargs=_BY_US)
    account_id: str = Field(foreign_key="account.id", max_length=400)
    amount: int = Field(sa_type=BigInteger)


for _row in (LedgerBatchRow, JournalTxnRow, EntryRow):
    keep_append_only(_row.__table__)  # pyright: ignore[reportAttributeAccessIssue] (SQLModel adds it at run time)
