"""The accounts, holds and transactions that one batch works on, in memory, while the database holds them locked; pure.

Every change a batch makes is made here first, in arrival order; :mod:`app.ledger.batch` then writes the difference.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from app.ledger import chart
from app.ledger.holds import HoldState, PreparedRow
from app.ledger.journal import Draft, Leg
from app.ledger.operations import Transfer

INT64_MAX = 2**63 - 1


@dataclass(slots=True)
class AccountLine:
    """One account, as loaded and as changed by the batch. Amounts in nano-USD."""

    id: str
    posted: int
    held: int
    overdraft: int | None
    overdue: int
    posted_loaded: int = field(init=False)
    held_loaded: int = field(init=False)
    overdue_loaded: int = field(init=False)

    def __post_init__(self) -> None:
        self.posted_loaded, self.held_loaded, self.overdue_loaded = self.posted, self.held, self.overdue

    @property
    def room(self) -> int:
        """What a new hold may still reserve: available credit and the agreed overdraft."""
        return INT64_MAX if self.overdraft is None else self.posted - self.held + self.overdraft

    @property
    def changes(self) -> tuple[int, int, int]:
        """How ``posted``, ``held`` and ``overdue`` differ from what was loaded."""
        return self.posted - self.posted_loaded, self.held - self.held_loaded, self.overdue - self.overdue_loaded

    def settle_overdue(self, *, may_rise: bool) -> None:
        """Sets ``overdue`` to what the wallet lacks beyond its overdraft; only a late settlement may raise it."""
        if self.overdraft is None:
            return
        lacking = max(0, self.held - self.posted - self.overdraft)
        self.overdue = lacking if may_rise else min(self.overdue, lacking)


@dataclass(slots=True)
class HoldLine:
    """One hold, as loaded or placed, and as changed by the batch."""

    id: str
    account_id: str
    customer_id: str
    state: str
    amount: int
    ceiling: int
    captured: int
    price_book_id: str
    model: str
    tier: str
    created_at_us: int
    expires_at_us: int
    resolved_at_us: int | None = None
    reason: str = ""

    @property
    def is_pending(self) -> bool:
        """True while it reserves its amount."""
        return self.state == HoldState.PENDING


@dataclass(frozen=True, slots=True)
class BookedTxn:
    """A draft that has its number in the journal."""

    txn_id: int
    draft: Draft


@dataclass(slots=True)
class Sheet:
    """Everything one batch reads and writes.

    Attributes:
        transfers: settled or granted before or within this batch, by ``idem``.
        txn_next: the number that the next transaction of the journal takes.
        due: ids of pending holds found past their expiry, earliest first, for sweeping.
        rows: rows of other rooms' tables that belong to the batch's settlements.
    """

    accounts: dict[str, AccountLine] = field(default_factory=dict[str, AccountLine])
    holds: dict[str, HoldLine] = field(default_factory=dict[str, HoldLine])
    transfers: dict[str, Transfer] = field(default_factory=dict[str, Transfer])
    txn_next: int = 1
    due: tuple[str, ...] = ()
    holds_placed: dict[str, HoldLine] = field(default_factory=dict[str, HoldLine])
    holds_changed: dict[str, HoldLine] = field(default_factory=dict[str, HoldLine])
    txns: list[BookedTxn] = field(default_factory=list[BookedTxn])
    rows: list[PreparedRow] = field(default_factory=list[PreparedRow])

    def place(self, hold: HoldLine) -> None:
        """Adds a new hold and reserves its amount."""
        self.accounts[hold.account_id].held += hold.amount
        self.holds[hold.id] = self.holds_placed[hold.id] = hold

    def touch(self, hold: HoldLine) -> None:
        """Marks a hold as changed; one placed within this batch is written once, as it ends up."""
        if hold.id not in self.holds_placed:
            self.holds_changed[hold.id] = hold

    def release(self, hold: HoldLine, state: HoldState, at_us: int, reason: str = "") -> None:
        """Resolves a pending hold: its whole amount is no longer reserved."""
        self.accounts[hold.account_id].held -= hold.amount
        hold.state, hold.resolved_at_us, hold.reason = state.value, at_us, reason
        self.touch(hold)

    def overflows(self, legs: Iterable[Leg]) -> bool:
        """True when booking ``legs`` would take an account beyond what the database can hold."""
        return any(abs(self.accounts[leg.account_id].posted + leg.amount) > INT64_MAX for leg in legs)

    def book(self, draft: Draft) -> int:
        """Posts a draft's legs and numbers it; returns its number."""
        for leg in draft.legs:
            self.accounts[leg.account_id].posted += leg.amount
        txn_id = self.txn_next
        self.txn_next += 1
        self.txns.append(BookedTxn(txn_id, draft))
        return txn_id

    def changed_accounts(self) -> Iterator[AccountLine]:
        """Accounts that differ from what was loaded, by id: every batch updates them in the same order."""
        return (line for _, line in sorted(self.accounts.items()) if any(line.changes))


def new_account(account_id: str) -> tuple[str, str, int | None]:
    """Id, kind and overdraft of an account when it is opened: a wallet may not go below zero, others may."""
    kind = chart.kind_of(account_id)
    return account_id, kind.value, 0 if kind is chart.AccountKind.WALLET else None
