"""What the ledger can be asked to do, and what it answers; pure values that wait in the writer's queue."""

from dataclasses import dataclass

from app.ledger.holds import Hold, HoldRequest, PreparedRow, Settlement
from pricing.money import NanoUsd


@dataclass(frozen=True, slots=True)
class PlaceHold:
    """Reserve on a wallet. Answers a :class:`Hold`, or :class:`NoCredit`."""

    request: HoldRequest


@dataclass(frozen=True, slots=True)
class ExtendHold:
    """Reserve ``amount`` nano-USD more, up to the hold's ceiling. Answers whether the hold still covers its request."""

    hold_id: str
    amount: int


@dataclass(frozen=True, slots=True)
class SettleHold:
    """Capture what is owed, release the rest, book it. Answers a :class:`Transfer`; a duplicate answers the first."""

    settlement: Settlement


@dataclass(frozen=True, slots=True)
class VoidHold:
    """Release a hold of which nothing is owed. Answers whether this call did it."""

    hold_id: str
    reason: str
    at_us: int


@dataclass(frozen=True, slots=True)
class BeatHolds:
    """Move the expiry of live holds on, never back. Answers how many were live."""

    hold_ids: tuple[str, ...]
    expires_at_us: int


@dataclass(frozen=True, slots=True)
class SweepHolds:
    """Resolve up to ``holds_max`` pending holds that expired at or before ``now_us``. Answers how many."""

    now_us: int
    holds_max: int


@dataclass(frozen=True, slots=True)
class GrantCredit:
    """Give a customer credit once per ``idem``. Answers a :class:`Transfer`.

    Attributes:
        rows: of other rooms' tables, written with the grant and, like it, once.
    """

    customer_id: str
    amount: int
    reason: str
    idem: str
    at_us: int
    rows: tuple[PreparedRow, ...] = ()


Operation = PlaceHold | ExtendHold | SettleHold | VoidHold | BeatHolds | SweepHolds | GrantCredit


@dataclass(frozen=True, slots=True)
class Transfer:
    """A booked transaction, as its caller sees it.

    Attributes:
        txn_id: its number in the journal.
        idem: what made it once.
        kind: ``settlement``, ``late_settlement`` or ``grant``.
        customer_id: whose wallet it moved.
        amount: nano-USD that left the wallet (settlements) or entered it (grants).
        released: nano-USD of the hold that became available again.
        booked_at_us: µs since the epoch.
    """

    txn_id: int
    idem: str
    kind: str
    customer_id: str
    amount: NanoUsd
    released: NanoUsd
    booked_at_us: int

    @property
    def is_late(self) -> bool:
        """True when the hold had been resolved before the settlement arrived."""
        return self.kind == "late_settlement"


@dataclass(frozen=True, slots=True)
class NoCredit:
    """A hold was refused: the wallet has less available than was asked for.

    Attributes:
        posted, held: of the wallet, nano-USD.
        overdraft: how far below zero the wallet may go.
    """

    request: HoldRequest
    posted: int
    held: int
    overdraft: int


@dataclass(frozen=True, slots=True)
class UnknownHold:
    """There is no hold of that id, so nothing can be settled against it."""

    hold_id: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """The operation contradicts what the ledger already holds, or itself."""

    message: str


@dataclass(frozen=True, slots=True)
class KeyReused:
    """An idempotency key that already stands for something else."""

    message: str


Refusal = NoCredit | UnknownHold | Conflict | KeyReused
Outcome = Hold | Transfer | bool | int | Refusal
