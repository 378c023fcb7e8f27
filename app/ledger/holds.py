"""What the ledger is asked to reserve and to settle; pure values."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pricing.money import NanoUsd
from pricing.rating import Charge


class HoldState(StrEnum):
    """A hold is pending once and resolves at most once."""

    PENDING = "pending"
    CAPTURED = "captured"
    VOID = "void"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """Reserve ``amount`` on a customer's wallet before a request runs.

    Attributes:
        id: the request id (UUIDv7); asking again for the same id answers the same hold.
        amount: nano-USD reserved now; may be extended up to ``ceiling``.
        ceiling: nano-USD of the quote; the holds of one request never exceed it.
        expires_at_us: µs since the epoch; unless heart-beaten by then, the sweeper voids it.
    """

    id: str
    customer_id: str
    amount: NanoUsd
    ceiling: NanoUsd
    price_book_id: str
    model: str
    tier: str
    created_at_us: int
    expires_at_us: int


@dataclass(frozen=True, slots=True)
class Hold:
    """A reservation; ``state`` tells whether it still reserves, where an old one was asked for again."""

    id: str
    customer_id: str
    amount: NanoUsd
    state: HoldState = HoldState.PENDING


@dataclass(frozen=True, slots=True)
class PreparedRow:
    """A row of another room's table that must be written in the same transaction as the entries.

    Attributes:
        table: the table's name.
        values: by column, as the column's type takes them; a JSON column takes an object, or text already encoded.
    """

    table: str
    values: dict[str, Any] = field(hash=False)


class LateCause(StrEnum):
    """Who made tokens late; decides who bears the adjustment."""

    NONE = "none"
    PROVIDER = "provider"
    PLATFORM = "platform"


@dataclass(frozen=True, slots=True)
class Settlement:
    """Resolve a hold: capture what is owed, release the rest, book it, all in one transaction.

    Attributes:
        hold_id: the request id.
        charge: what the customer owes; ``charge.net`` may be 0, then the hold is void.
        cost: nano-USD the tokens cost us.
        is_owned: whether the provider's cost accrues by time (a fleet) or is payable by the token.
        rows: the usage event, outbox messages and the like.
        booked_at_us: µs since the epoch.
    """

    hold_id: str
    customer_id: str
    price_book_id: str
    model: str
    charge: Charge
    cost: NanoUsd
    provider_id: str
    is_owned: bool
    late_cause: LateCause
    booked_at_us: int
    rows: tuple[PreparedRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Balance:
    """A wallet at a moment, in nano-USD; ``available`` = posted − held."""

    posted: NanoUsd
    held: NanoUsd

    @property
    def available(self) -> NanoUsd:
        """What new holds may still reserve."""
        return NanoUsd(self.posted - self.held)
