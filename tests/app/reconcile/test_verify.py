import sqlite3
from pathlib import Path

import pytest

from app.metering.models import UsageEvent
from app.reconcile.findings import Check, Finding, Report, Severity
from app.reconcile.service import ORPHAN_US, OUTBOX_US, verify
from pricing.usage import Usage
from tests.deliveries import charged, delivery_row
from tests.ledger_world import CUSTOMER, LEASE_US, T0, World, hold_request, open_world, settlement
from tests.traded_market import BOOK, ON_TIME

pytestmark = pytest.mark.slow

NOW = T0 + 1_000


def tamper(world: World, *statements: str) -> None:
    """Changes the file behind everybody's back, triggers and checks switched off."""
    connection = sqlite3.connect(str(world.database.sqlite_path))
    connection.execute("PRAGMA ignore_check_constraints = ON")
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        assert connection.execute(statement).rowcount > 0, f"touched nothing: {statement}"
    connection.commit()
    connection.close()


async def drift(world: World) -> dict[str, list[tuple[str, int | None]]]:
    """What drifted and by how much, by title of the check."""
    report = await verify(world.database, NOW)
    drifted = {
        check.title: [(f.where, f.amount) for f in check.findings if f.severity is Severity.DRIFT]
        for check in report.checks
    }
    assert report.is_balanced is not any(drifted.values())
    return {title: found for title, found in drifted.items() if found}


ENTRIES = "The entries of every transaction sum to zero"
POSTED = "Every account's balance is the sum of its entries"
HELD = "Every wallet's reservations are the sum of its pending holds"
TRIAL = "The trial balance is zero"
CHAIN = "No committed transaction was changed, added or taken away"
ONE_TO_ONE = "Deliveries, settlements and captured holds are one to one"
RERATED = "Rating every delivery again under its price book gives every nano"
OVERDUE = "No hold is orphaned, no message is stuck, no wallet is below its limit"


async def test_a_market_that_traded_balances_to_the_nano(world: World) -> None:
    report = await verify(world.database, NOW)
    assert report.is_balanced
    assert report.found == 0
    counted = {check.title: check.counted for check in report.checks}
    # Three settlements and a grant; each settlement its own batch here; legs: 2 + (4, 5, 4).
    assert (counted[CHAIN], counted[ONE_TO_ONE], counted[RERATED], counted[ENTRIES]) == (4, 4, 3, 15)


async def test_an_empty_market_balances(tmp_path: Path) -> None:
    async with open_world(f"sqlite:///{tmp_path / 'empty.sqlite3'}") as empty:
        report = await verify(empty.database, NOW)
    assert (report.is_balanced, report.found, {check.counted for check in report.checks}) == (True, 0, {0})


async def test_an_entry_that_was_changed_is_found_everywhere_it_shows(world: World) -> None:
    tamper(world, "UPDATE entry SET amount = amount + 7 WHERE txn_id = 2 AND account_id LIKE 'revenue:%'")
    found = await drift(world)
    assert found[ENTRIES] == [("journal_txn 2", 7)]
    assert found[POSTED] == [("account revenue:gpt-oss-120b:premium", -7)]
    assert found[CHAIN] == [("ledger_batch 2", None)]
    assert found[RERATED] == [("settlement of gen-a, revenue:gpt-oss-120b:premium", 7)]


async def test_a_balance_that_was_changed_is_found(world: World) -> None:
    tamper(world, "UPDATE account SET posted = posted + 1000 WHERE kind = 'wallet'")
    assert await drift(world) == {
        POSTED: [(f"account wallet:{CUSTOMER}", 1000)],
        TRIAL: [("trial balance", 1000)],
    }


async def test_a_reservation_without_a_hold_is_found(world: World) -> None:
    tamper(world, "UPDATE account SET held = held + 3 WHERE kind = 'wallet'")
    assert await drift(world) == {HELD: [(f"account wallet:{CUSTOMER}", 3)]}


async def test_a_deleted_transaction_is_found_although_the_rest_still_sums(world: World) -> None:
    tamper(
        world,
        "UPDATE account SET posted = posted - (SELECT amount FROM entry e WHERE e.txn_id = 4 AND e.account_id = id) "
        "WHERE id IN (SELECT account_id FROM entry WHERE txn_id = 4)",
        "DELETE FROM entry WHERE txn_id = 4",
        "DELETE FROM journal_txn WHERE id = 4",
    )
    found = await drift(world)
    assert set(found) == {CHAIN, RERATED}
    assert ("ledger_batch 4", None) in found[CHAIN]
    assert found[RERATED] == [("usage_event gen-c", 0)]


async def test_a_batch_cut_off_the_end_of_the_chain_is_found(world: World) -> None:
    tamper(world, "DELETE FROM ledger_batch WHERE seq = 4")
    assert (await drift(world))[CHAIN] == [("journal", None)]


async def test_a_batch_taken_out_of_the_middle_is_found(world: World) -> None:
    tamper(world, "DELETE FROM ledger_batch WHERE seq = 2")
    assert (await drift(world))[CHAIN][:3] == [("ledger_batch 3", None)] * 3


async def test_a_booking_moved_to_another_day_is_found(world: World) -> None:
    tamper(world, "UPDATE journal_txn SET booked_at_us = booked_at_us - 86400000000 WHERE id = 3")
    assert await drift(world) == {CHAIN: [("ledger_batch 3", None)]}


async def test_a_delivery_without_a_settlement_is_found(world: World) -> None:
    event = (await world.rows(UsageEvent))[0]
    async with world.database.writing() as session:
        session.add(UsageEvent.model_validate({**event.model_dump(), "request_id": "gen-ghost"}))
    assert await drift(world) == {RERATED: [("usage_event gen-ghost", event.net), ("usage_event gen-ghost", None)]}


async def test_a_settlement_without_a_delivery_is_found(world: World) -> None:
    tamper(world, "DELETE FROM usage_event WHERE request_id = 'gen-b'")
    assert await drift(world) == {ONE_TO_ONE: [("settlement of gen-b", None)]}


async def test_a_captured_hold_that_was_never_booked_is_found(world: World) -> None:
    tamper(world, "UPDATE hold SET state = 'captured', captured = 40 WHERE id = 'gen-void'")
    assert await drift(world) == {ONE_TO_ONE: [("hold gen-void", 40)]}


@pytest.mark.parametrize(
    ("statement", "amounts"),
    [
        ("UPDATE usage_event SET net = net + 5, gross = gross + 5 WHERE request_id = 'gen-b'", [5, 5, 5]),
        ("UPDATE usage_event SET net = net - 1, adjustment = adjustment + 1 WHERE request_id = 'gen-b'", [1, -1, -1]),
        ('UPDATE usage_event SET lines = replace(lines, \'"tier":"bulk"\', \'"tier":"none"\')', [None, None, None]),
    ],
)
async def test_an_amount_that_the_timeline_does_not_bear_out_is_found(
    world: World, statement: str, amounts: list[int | None]
) -> None:
    tamper(world, statement)
    assert [amount for _, amount in (await drift(world))[RERATED]] == amounts


async def test_tokens_counted_good_that_were_late_are_found(world: World) -> None:
    tamper(world, "UPDATE usage_event SET tokens_good = tokens_output WHERE request_id = 'gen-b'")
    assert await drift(world) == {RERATED: [("usage_event gen-b", None)]}


async def test_a_hold_that_paid_another_amount_than_was_owed_is_found(world: World) -> None:
    tamper(world, "UPDATE hold SET captured = captured - 2 WHERE id = 'gen-a'")
    assert await drift(world) == {RERATED: [("hold gen-a", -2)]}


async def test_a_receipt_that_says_another_payment_than_was_taken_is_found(world: World) -> None:
    tamper(world, "UPDATE usage_event SET held = net - 1 WHERE request_id = 'gen-a'")
    assert await drift(world) == {RERATED: [("usage_event gen-a", -1)]}


async def test_a_price_changed_after_the_fact_is_found(world: World) -> None:
    tamper(world, """UPDATE price_book SET record = replace(record, '"output": 2000011', '"output": 2001011')""")
    found = (await drift(world))[RERATED]
    assert found[0][0].startswith("price_book pb-")
    assert {"usage_event gen-a", "usage_event gen-b", "usage_event gen-c"} <= {where for where, _ in found}


async def test_a_lost_price_book_is_found(world: World) -> None:
    tamper(world, "DELETE FROM price_book")
    found = (await drift(world))[RERATED]
    assert [where for where, _ in found] == ["usage_event gen-a", "usage_event gen-b", "usage_event gen-c"]


async def test_a_price_book_that_cannot_be_read_is_found(world: World) -> None:
    tamper(world, """UPDATE price_book SET record = '{"document": {}}'""")
    found = (await drift(world))[RERATED]
    assert found[0][0].startswith("price_book pb-")
    assert [where for where, _ in found[1:]] == ["usage_event gen-a", "usage_event gen-b", "usage_event gen-c"]


async def test_a_delivery_of_what_its_price_book_does_not_sell_is_found(world: World) -> None:
    tamper(world, "UPDATE usage_event SET model = 'no-such-model' WHERE request_id = 'gen-a'")
    assert await drift(world) == {RERATED: [("usage_event gen-a", None)]}


async def test_a_transaction_that_names_another_batch_is_found(world: World) -> None:
    tamper(world, "UPDATE journal_txn SET batch_seq = 1 WHERE id = 3")
    assert await drift(world) == {CHAIN: [("journal_txn 3", None)]}


async def test_a_damaged_timeline_is_found(world: World) -> None:
    tamper(world, "UPDATE usage_event SET timeline = x'00ff' WHERE request_id = 'gen-a'")
    assert await drift(world) == {RERATED: [("usage_event gen-a", None)]}


async def test_an_erased_timeline_is_counted_and_not_called_drift(world: World) -> None:
    tamper(world, "UPDATE usage_event SET timeline = NULL WHERE request_id = 'gen-a'")
    report = await verify(world.database, NOW)
    assert report.is_balanced
    assert {check.title: check.skipped for check in report.checks}[RERATED] == 1


async def test_a_wallet_below_its_overdraft_is_found(world: World) -> None:
    tamper(world, "UPDATE account SET held = posted + 50 WHERE kind = 'wallet'")
    assert (await drift(world))[OVERDUE] == [(f"account wallet:{CUSTOMER}", -50)]


async def attention(world: World, now_us: int) -> list[str]:
    report = await verify(world.database, now_us)
    assert report.is_balanced
    return [finding.where for check in report.checks for finding in check.findings]


async def test_an_orphan_hold_calls_for_attention_once_the_sweeper_had_its_chance(world: World) -> None:
    expiry = T0 + LEASE_US  # of the hold that still runs
    assert await attention(world, expiry + ORPHAN_US) == []
    assert await attention(world, expiry + ORPHAN_US + 1) == ["hold gen-running"]


async def test_a_late_settlement_calls_for_attention_until_credit_covers_it(world: World) -> None:
    wallet = await world.wallet()
    await world.ledger.hold(hold_request("gen-rest", wallet.posted - wallet.held, price_book_id=BOOK.id))
    row = delivery_row(ON_TIME, Usage(input=5, output=3), at=BOOK, request_id="gen-late")
    late = settlement(
        "gen-late",
        price_book_id=BOOK.id,
        charge=charged(ON_TIME, Usage(input=5, output=3), at=BOOK),
        rows=(row,),
    )
    await world.ledger.settle(late)
    await world.ledger.beat(["gen-rest", "gen-running"], T0 + 2 * OUTBOX_US)
    message = "outbox settlement.arrived_late:gen-late"
    at_us = late.booked_at_us
    assert await attention(world, at_us + OUTBOX_US) == [f"account wallet:{CUSTOMER}"]
    assert await attention(world, at_us + OUTBOX_US + 1) == [message, f"account wallet:{CUSTOMER}"]
    await world.ledger.grant(CUSTOMER, 10**9, "top-up", "later")
    assert await attention(world, at_us + OUTBOX_US + 1) == [message]


def test_a_report_keeps_the_first_findings_and_counts_all() -> None:
    check = Check("R1", "a claim")
    check.add(Finding(f"row {number}", "is wrong") for number in range(120))
    assert (check.found, check.drifted, len(check.findings)) == (120, 120, 50)
    assert not Report(T0, (check,)).is_balanced


def test_what_only_calls_for_attention_leaves_the_books_balanced() -> None:
    check = Check("R5", "a claim")
    check.add([Finding("hold gen-1", "is old", severity=Severity.ATTENTION)])
    report = Report(T0, (check,))
    assert (report.is_balanced, report.found) == (True, 1)
