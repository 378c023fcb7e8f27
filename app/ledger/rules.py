"""What each operation does to accounts and holds: the law of the ledger, as functions over a :class:`Sheet`; pure.

A rule checks everything before it changes anything, so that a refusal leaves the sheet as it was.
"""

from typing import assert_never

from app.ledger import chart, journal
from app.ledger.holds import Hold, HoldRequest, HoldState, PreparedRow, Settlement
from app.ledger.operations import (
    BeatHolds,
    Conflict,
    ExtendHold,
    GrantCredit,
    KeyReused,
    NoCredit,
    Operation,
    Outcome,
    PlaceHold,
    Refusal,
    SettleHold,
    SweepHolds,
    Transfer,
    UnknownHold,
    VoidHold,
)
from app.ledger.sheet import INT64_MAX, HoldLine, Sheet
from app.outbox.messages import message_values
from pricing.money import ZERO, NanoUsd, format_usd

REASON_EXPIRED = "expired: no heartbeat"
ALERT_LATE_SETTLEMENT = "settlement.arrived_late"


def apply(operation: Operation, sheet: Sheet) -> Outcome:
    """Carries out one operation on the sheet and answers its caller."""
    outcome: Outcome
    match operation:
        case PlaceHold(request):
            outcome = _place(request, sheet)
        case ExtendHold(hold_id, amount):
            outcome = _extend(hold_id, amount, sheet)
        case SettleHold(settlement):
            outcome = _settle(settlement, sheet)
        case VoidHold(hold_id, reason, at_us):
            outcome = _void(hold_id, reason, at_us, sheet)
        case BeatHolds(hold_ids, expires_at_us):
            outcome = sum(_beat(hold_id, expires_at_us, sheet) for hold_id in hold_ids)
        case SweepHolds(now_us):
            outcome = sum(_expire(hold_id, now_us, sheet) for hold_id in (*sheet.due, *sheet.holds_placed))
        case GrantCredit():
            outcome = _grant(operation, sheet)
        case _:
            assert_never(operation)
    return outcome


def _place(request: HoldRequest, sheet: Sheet) -> Hold | Refusal:
    """Admits in arrival order: what earlier holds of the batch reserved is already off the account."""
    if placed := sheet.holds.get(request.id):
        if placed.customer_id != request.customer_id:
            return Conflict(f"hold {request.id} belongs to another customer")
        return _hold(placed)
    account = sheet.accounts.get(chart.wallet(request.customer_id))
    if account is None:
        return NoCredit(request, 0, 0, 0)
    if request.amount > account.room:
        return NoCredit(request, account.posted, account.held, account.overdraft or 0)
    line = HoldLine(
        id=request.id,
        account_id=account.id,
        customer_id=request.customer_id,
        state=HoldState.PENDING.value,
        amount=request.amount,
        ceiling=min(request.ceiling, INT64_MAX),
        captured=0,
        price_book_id=request.price_book_id,
        model=request.model,
        tier=request.tier,
        created_at_us=request.created_at_us,
        expires_at_us=request.expires_at_us,
    )
    sheet.place(line)
    return _hold(line)


def _extend(hold_id: str, amount: int, sheet: Sheet) -> bool:
    hold = sheet.holds.get(hold_id)
    if hold is None or not hold.is_pending:
        return False
    account = sheet.accounts[hold.account_id]
    more = min(amount, hold.ceiling - hold.amount)  # no charge can exceed the quote, so no hold needs to
    if more > account.room:
        return False
    hold.amount += more
    account.held += more
    if more:
        sheet.touch(hold)
    return True


def _void(hold_id: str, reason: str, at_us: int, sheet: Sheet) -> bool:
    hold = sheet.holds.get(hold_id)
    if hold is None or not hold.is_pending:
        return False
    sheet.release(hold, HoldState.VOID, at_us, reason)
    sheet.accounts[hold.account_id].settle_overdue(may_rise=False)
    return True


def _beat(hold_id: str, expires_at_us: int, sheet: Sheet) -> bool:
    hold = sheet.holds.get(hold_id)
    if hold is None or not hold.is_pending:
        return False
    if expires_at_us > hold.expires_at_us:
        hold.expires_at_us = expires_at_us
        sheet.touch(hold)
    return True


def _expire(hold_id: str, now_us: int, sheet: Sheet) -> bool:
    hold = sheet.holds.get(hold_id)
    if hold is None or not hold.is_pending or hold.expires_at_us > now_us:
        return False
    sheet.release(hold, HoldState.EXPIRED, now_us, REASON_EXPIRED)
    sheet.accounts[hold.account_id].settle_overdue(may_rise=False)
    return True


def _settle(settlement: Settlement, sheet: Sheet) -> Transfer | Refusal:
    if first := sheet.transfers.get(journal.settle_idem(settlement.hold_id)):
        return first
    hold = sheet.holds.get(settlement.hold_id)
    if hold is None:
        return UnknownHold(settlement.hold_id)
    draft = _draft(settlement, hold)
    if isinstance(draft, Conflict):
        return draft
    if sheet.overflows(draft.legs):
        return _overflow(draft)
    return _book_settlement(settlement, hold, draft, sheet)


def _draft(settlement: Settlement, hold: HoldLine) -> journal.Draft | Conflict:
    if hold.customer_id != settlement.customer_id:
        return Conflict(f"hold {hold.id} belongs to another customer than the settlement names")
    if hold.price_book_id != settlement.price_book_id:
        return Conflict(
            f"hold {hold.id} was admitted under price book {hold.price_book_id}; "
            f"it cannot be settled under {settlement.price_book_id}"
        )
    try:
        captured = min(settlement.charge.net, hold.amount)
        return journal.draft_settlement(settlement, captured, is_late=not hold.is_pending)
    except journal.JournalError as error:
        return Conflict(str(error))


def _overflow(draft: journal.Draft) -> Conflict:
    return Conflict(f"{draft.idem}: an account would pass {format_usd(INT64_MAX)} USD, the most it can hold")


def _book_settlement(settlement: Settlement, hold: HoldLine, draft: journal.Draft, sheet: Sheet) -> Transfer:
    captured = min(settlement.charge.net, hold.amount)
    is_late = not hold.is_pending
    txn_id = sheet.book(draft)
    if is_late:
        sheet.rows.append(_late_alert(settlement, hold, captured))
    elif captured:
        hold.captured = captured
        sheet.release(hold, HoldState.CAPTURED, settlement.booked_at_us)
    else:
        sheet.release(hold, HoldState.VOID, settlement.booked_at_us, f"nothing owed: {settlement.charge.ending.value}")
    sheet.accounts[hold.account_id].settle_overdue(may_rise=is_late)
    sheet.rows.extend(settlement.rows)
    transfer = Transfer(
        txn_id=txn_id,
        idem=draft.idem,
        kind=draft.kind.value,
        customer_id=hold.customer_id,
        amount=NanoUsd(captured),
        released=ZERO if is_late else NanoUsd(hold.amount - captured),
        booked_at_us=draft.booked_at_us,
    )
    sheet.transfers[draft.idem] = transfer
    return transfer


def _grant(grant: GrantCredit, sheet: Sheet) -> Transfer | Refusal:
    if first := sheet.transfers.get(journal.grant_idem(grant.idem)):
        if (first.customer_id, first.amount) != (grant.customer_id, grant.amount):
            return KeyReused(
                f"grant {grant.idem!r} was already made: {format_usd(first.amount)} USD to {first.customer_id}; "
                "use another idempotency key for another grant"
            )
        return first
    draft = journal.draft_grant(grant.customer_id, grant.amount, grant.reason, grant.idem, grant.at_us)
    if sheet.overflows(draft.legs):
        return _overflow(draft)
    txn_id = sheet.book(draft)
    sheet.accounts[chart.wallet(grant.customer_id)].settle_overdue(may_rise=False)
    sheet.rows.extend(grant.rows)
    transfer = Transfer(
        txn_id, draft.idem, draft.kind.value, grant.customer_id, NanoUsd(grant.amount), ZERO, draft.booked_at_us
    )
    sheet.transfers[draft.idem] = transfer
    return transfer


def _hold(line: HoldLine) -> Hold:
    return Hold(line.id, line.customer_id, NanoUsd(line.amount), HoldState(line.state))


def _late_alert(settlement: Settlement, hold: HoldLine, captured: int) -> PreparedRow:
    """Tells an operator, after the commit, that a customer was charged without a live hold."""
    payload = {
        "hold_id": hold.id,
        "customer_id": hold.customer_id,
        "hold_state": hold.state,
        "hold_reason": hold.reason,
        "amount_nano_usd": str(captured),
    }
    message_id = f"{ALERT_LATE_SETTLEMENT}:{hold.id}"
    values = message_values(message_id, ALERT_LATE_SETTLEMENT, hold.id, payload, settlement.booked_at_us)
    return PreparedRow("outbox", values)
