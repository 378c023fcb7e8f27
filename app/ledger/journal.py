"""Double entry: one template per kind of transfer, whose legs sum to zero by construction; pure.

Entries are signed, credits positive, in nano-USD.
"""

from dataclasses import dataclass
from enum import StrEnum

from app.ledger import chart
from app.ledger.holds import Settlement


class TxnKind(StrEnum):
    """Which template a transaction follows."""

    SETTLEMENT = "settlement"
    LATE_SETTLEMENT = "late_settlement"
    """A settlement whose hold had been resolved before it arrived; posted against the overdraft."""
    GRANT = "grant"


class JournalError(ValueError):
    """Legs that do not sum to zero, or a settlement whose amounts contradict each other."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One signed amount on one account.

    Attributes:
        amount: nano-USD, credits positive, never zero.
    """

    account_id: str
    amount: int


@dataclass(frozen=True, slots=True)
class Draft:
    """A transaction ready to be booked.

    Attributes:
        idem: what makes it once.
        subject: the request, top-up or customer it is about.
        legs: sum to zero; none at all where nothing moved.
        booked_at_us: µs since the epoch; ``effective_at_us`` is when it counts.
        memo: a person's words, where a person did it.

    Raises:
        JournalError: the legs do not sum to zero.
    """

    idem: str
    kind: TxnKind
    subject: str
    legs: tuple[Leg, ...]
    booked_at_us: int
    effective_at_us: int
    price_book_id: str | None = None
    memo: str = ""

    def __post_init__(self) -> None:
        if drift := sum(leg.amount for leg in self.legs):
            raise JournalError(f"{self.idem}: legs sum to {drift} nano-USD instead of 0")


def settle_idem(request_id: str) -> str:
    """The one settlement of a request."""
    return f"settle:{request_id}"


def grant_idem(idem: str) -> str:
    """The one grant under a caller's idempotency key."""
    return f"grant:{idem}"


def settlement_accounts(settlement: Settlement) -> tuple[str, ...]:
    """Every account a settlement may touch, whatever its amounts turn out to be."""
    tier = settlement.charge.tier.value
    return (
        chart.wallet(settlement.customer_id),
        chart.revenue(settlement.model, tier),
        chart.slo_adjustments(tier, settlement.late_cause.value),
        chart.PROVIDER_VARIANCE,
        chart.cogs(settlement.provider_id),
        chart.provider_counter(settlement.provider_id, is_owned=settlement.is_owned),
    )


def draft_settlement(settlement: Settlement, captured: int, *, is_late: bool) -> Draft:
    """Books a delivery: gross revenue, what lateness gave back, what the customer pays, and what it cost us.

    Args:
        settlement: what was delivered.
        captured: nano-USD that the customer pays, at most ``charge.net``; the excess of ``net`` over it is ours.
        is_late: the hold had been resolved before.

    Raises:
        JournalError: ``net`` is not ``gross − adjustment``, an amount is negative, or ``captured`` exceeds ``net``.

    Worked example: gross 100, adjustment 30, net 70, captured 70, cost 40, bought by the token:
    wallet −70, revenue +100, slo_adjustments −30, cogs −40, provider_payable +40.
    """
    charge = settlement.charge
    check_settlement(settlement)
    if not 0 <= captured <= charge.net:
        raise JournalError(f"{settlement.hold_id}: captured {captured} is not within 0 and net {charge.net}")
    wallet, revenue, adjustments, variance, cogs, counter = settlement_accounts(settlement)
    return Draft(
        idem=settle_idem(settlement.hold_id),
        kind=TxnKind.LATE_SETTLEMENT if is_late else TxnKind.SETTLEMENT,
        subject=settlement.hold_id,
        legs=_legs(
            (wallet, -captured),
            (revenue, charge.gross),
            (adjustments, -charge.adjustment),
            (variance, captured - charge.net),
            (cogs, -settlement.cost),
            (counter, settlement.cost),
        ),
        booked_at_us=settlement.booked_at_us,
        effective_at_us=settlement.booked_at_us,
        price_book_id=settlement.price_book_id,
    )


def check_settlement(settlement: Settlement) -> None:
    """Refuses amounts that contradict each other, before anything is booked.

    Raises:
        JournalError: as :func:`draft_settlement`.
    """
    charge = settlement.charge
    if charge.net != charge.gross - charge.adjustment:
        raise JournalError(
            f"{settlement.hold_id}: net {charge.net} is not gross {charge.gross} − adjustment {charge.adjustment}"
        )
    if min(charge.net, charge.gross, settlement.cost) < 0:
        raise JournalError(
            f"{settlement.hold_id}: negative amounts: gross {charge.gross}, net {charge.net}, cost {settlement.cost}"
        )


def draft_grant(customer_id: str, amount: int, reason: str, idem: str, at_us: int) -> Draft:
    """Gives a customer credit: the wallet rises, the discount account bears it.

    Args:
        customer_id: whose wallet.
        amount: nano-USD, above zero.
        reason: why, in the operator's words.
        idem: the operator's idempotency key.
        at_us: µs since the epoch.
    """
    return Draft(
        idem=grant_idem(idem),
        kind=TxnKind.GRANT,
        subject=customer_id,
        legs=_legs((chart.wallet(customer_id), amount), (chart.PROMO_DISCOUNT, -amount)),
        booked_at_us=at_us,
        effective_at_us=at_us,
        memo=reason,
    )


def _legs(*amounts: tuple[str, int]) -> tuple[Leg, ...]:
    return tuple([Leg(account_id, amount) for account_id, amount in amounts if amount])
