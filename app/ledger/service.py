"""What the market asks of its ledger: hold, extend, settle, void; every call is durable when it returns."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from app.clock import now_us
from app.errors import NO_RETRY, MarketError
from app.ledger import repository
from app.ledger.holds import Balance, Hold, HoldRequest, PreparedRow, Settlement
from app.ledger.operations import (
    BeatHolds,
    Conflict,
    ExtendHold,
    GrantCredit,
    KeyReused,
    NoCredit,
    Operation,
    PlaceHold,
    Refusal,
    SettleHold,
    SweepHolds,
    Transfer,
    UnknownHold,
    VoidHold,
)
from app.ledger.sql_store import check_row
from app.ledger.writer import LedgerWriter
from pricing.money import NanoUsd, format_usd

AMOUNT_MAX = NanoUsd(1_000_000_000 * 1_000_000_000)
"""A billion dollars: nothing that one operation moves is larger."""
SWEEP_HOLDS_MAX = 256
SWEEP_ROUNDS_MAX = 4096
REASON_CHARS_MAX = 200
MEMO_CHARS_MAX = 1000
IDEM_CHARS_MAX = 150

T = TypeVar("T")


class InsufficientCredit(MarketError):
    """The wallet has less available than the request may cost."""


class LedgerConflict(MarketError):
    """What was asked contradicts what the ledger holds; a mistake in the caller's code, or a reused key."""


class IdempotencyKeyReused(MarketError):
    """The key already stands for another grant."""


class HoldUnknown(MarketError):
    """Nothing was ever reserved under this id."""


class Ledger:
    """The market's books, as its rooms see them."""

    def __init__(self, writer: LedgerWriter, *, clock_us: Callable[[], int] = now_us) -> None:
        """Wraps a writer.

        Args:
            writer: started by whoever owns the process.
            clock_us: µs since the epoch; stamps voids and grants.
        """
        self._writer = writer
        self._clock_us = clock_us

    async def hold(self, request: HoldRequest) -> Hold:
        """Reserves the cost of a request before it runs; asking again for the same id answers the same hold.

        Raises:
            InsufficientCredit: 402, nothing was reserved.
            LedgerBusy: 429, nothing was reserved.
        """
        _check_hold(request)
        return await self._ask(PlaceHold(request), Hold)

    async def extend(self, hold_id: str, amount: int) -> bool:
        """Reserves ``amount`` nano-USD more, cut at the hold's ceiling: no charge can exceed its quote.

        Returns:
            False when the wallet covers no more or the hold is not live: end the stream with what was held.
        """
        if not 0 <= amount <= AMOUNT_MAX:
            raise ValueError(f"an extension must be within 0 and {AMOUNT_MAX} nano-USD, got {amount}")
        return await self._ask(ExtendHold(hold_id, amount), bool)

    async def settle(self, settlement: Settlement) -> Transfer:
        """Captures what is owed, releases the rest, and books it with the settlement's rows in one transaction.

        A duplicate answers the first transfer. A settlement whose hold has been voided or has expired is booked
        against the overdraft, and an operator is told.

        Raises:
            HoldUnknown: nothing was ever held under this id.
            LedgerConflict: the amounts, customer or price book contradict each other or the hold.
        """
        for row in settlement.rows:
            check_row(row)
        return await self._ask(SettleHold(settlement), Transfer)

    async def void(self, hold_id: str, reason: str) -> bool:
        """Releases a hold of which nothing is owed.

        Returns:
            True when this call released it; False when it was resolved before, or never was.
        """
        return await self._ask(VoidHold(hold_id, reason[:REASON_CHARS_MAX], self._clock_us()), bool)

    async def beat(self, hold_ids: Iterable[str], expires_at_us: int) -> int:
        """Keeps live holds from expiring before ``expires_at_us``; a resolved one stays resolved.

        Returns:
            How many of them were live.
        """
        distinct = tuple(dict.fromkeys(hold_ids))
        return await self._ask(BeatHolds(distinct, expires_at_us), int) if distinct else 0

    async def sweep(self, at_us: int) -> int:
        """Voids every pending hold that expired by ``at_us``: their streams died, and the customers owe nothing.

        Returns:
            How many were voided.
        """
        swept = 0
        for _ in range(SWEEP_ROUNDS_MAX):
            found = await self._ask(SweepHolds(at_us, SWEEP_HOLDS_MAX), int)
            swept += found
            if found < SWEEP_HOLDS_MAX:
                break
        return swept

    async def balance(self, customer_id: str) -> Balance:
        """A customer's wallet as committed; an unknown customer's is empty."""
        async with self._writer.database.reading() as session:
            return await repository.balance(session, customer_id)

    async def grant(
        self, customer_id: str, amount: int, reason: str, idem: str, *, rows: tuple[PreparedRow, ...] = ()
    ) -> Transfer:
        """Gives a customer credit, once per ``idem``; a duplicate answers the first transfer.

        Args:
            customer_id: whose wallet; opened when it is the first credit.
            amount: nano-USD, above zero.
            reason: why, for the journal.
            idem: the caller's idempotency key.
            rows: written in the grant's own transaction, and not again for a duplicate; the audit record, for example.

        Raises:
            IdempotencyKeyReused: the key was used for another customer or amount.
        """
        _check_grant(amount, reason, idem)
        for row in rows:
            check_row(row)
        return await self._ask(GrantCredit(customer_id, amount, reason, idem, self._clock_us(), rows), Transfer)

    async def _ask(self, operation: Operation, kind: type[T]) -> T:
        outcome = await self._writer.submit(operation)
        if isinstance(outcome, NoCredit | UnknownHold | Conflict | KeyReused):
            raise _refusal(outcome)
        if not isinstance(outcome, kind):
            raise TypeError(f"{type(operation).__name__} was answered with {outcome!r}")
        return outcome


def _check_hold(request: HoldRequest) -> None:
    if not 0 <= request.amount <= request.ceiling:
        raise ValueError(f"hold {request.id}: {request.amount} is not within 0 and its ceiling {request.ceiling}")


def _check_grant(amount: int, reason: str, idem: str) -> None:
    if not 0 < amount <= AMOUNT_MAX:
        raise _bad_grant(f"A grant must be above 0 and at most {format_usd(AMOUNT_MAX)} USD, got {format_usd(amount)}.")
    if not idem or len(idem) > IDEM_CHARS_MAX:
        raise _bad_grant(f"An idempotency key has 1 to {IDEM_CHARS_MAX} characters, got {len(idem)}.")
    if len(reason) > MEMO_CHARS_MAX:
        raise _bad_grant(f"A reason has at most {MEMO_CHARS_MAX} characters, got {len(reason)}.")


def _bad_grant(message: str) -> MarketError:
    return MarketError(400, "invalid_grant", message, retry=NO_RETRY)


def _refusal(refusal: Refusal) -> MarketError:
    match refusal:
        case NoCredit():
            return _insufficient(refusal)
        case UnknownHold(hold_id):
            message = f"Nothing was held under {hold_id}, so nothing can be settled."
            return HoldUnknown(500, "hold_unknown", message, type="server_error", retry=NO_RETRY)
        case KeyReused(message):
            return IdempotencyKeyReused(400, "idempotency_key_reused", f"{message}.", retry=NO_RETRY)
        case Conflict(message):
            return LedgerConflict(500, "ledger_conflict", f"{message}.", type="server_error", retry=NO_RETRY)


def _insufficient(refusal: NoCredit) -> InsufficientCredit:
    available = refusal.posted - refusal.held + refusal.overdraft
    request = refusal.request
    return InsufficientCredit(
        402,
        "insufficient_credits",
        f"This request needs {format_usd(request.amount)} USD reserved to start (at most {format_usd(request.ceiling)} "
        f"USD in all), but {format_usd(available)} USD are available: a balance of {format_usd(refusal.posted)} less "
        f"{format_usd(refusal.held)} held by requests in progress. Add credit, or lower max_tokens.",
        type="insufficient_quota",
        retry=NO_RETRY,
    )
