"""Law 13: a crash at any statement, then recovery, keeps the books. The drill: each guard switched off is noticed."""

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from app.db import Database
from app.ledger import batch, journal, rules, sheet
from app.ledger.holds import Hold, Settlement
from app.ledger.operations import (
    BeatHolds,
    ExtendHold,
    GrantCredit,
    NoCredit,
    Operation,
    PlaceHold,
    SettleHold,
    SweepHolds,
    Transfer,
    VoidHold,
)
from app.ledger.sql_store import Contention, Refused
from app.ledger.sqlite_store import SqliteStore
from app.ledger.statements import Answer, Statement, Update
from app.reconcile.service import verify
from pricing.pricebook import book_record
from pricing.usage import Usage
from tests.deliveries import delivery_row
from tests.ledger_books import Books, funded
from tests.ledger_world import CUSTOMER, T0, hold_request, open_world, settlement
from tests.traded_market import BOOK, ON_TIME

pytestmark = pytest.mark.slow


class Crash(BaseException):
    """The process ends here."""


class CrashingStore(SqliteStore):
    """Ends at the ``at``-th statement, before or after carrying it out."""

    def __init__(self, path: Path, at: int, *, after: bool) -> None:
        super().__init__(path)
        self.at, self.after, self.seen = at, after, 0

    def _run(self, connection: sqlite3.Connection, statement: Statement) -> Answer:
        self.seen += 1
        if self.seen == self.at and not self.after:
            raise Crash
        answer = super()._run(connection, statement)
        if self.seen == self.at:
            raise Crash
        return answer


def hold(number: int, amount: int = 100, **changes: Any) -> Operation:
    return PlaceHold(hold_request(f"gen-{number}", amount, ceiling=300, **changes))


BEFORE: list[Operation] = [*(hold(number) for number in range(6)), VoidHold("gen-5", "law", T0)]
BATCH: list[Operation] = [
    hold(7),
    hold(8, expires_at_us=T0 + 1),
    ExtendHold("gen-0", 50),
    SettleHold(settlement("gen-1", gross=80, net=60)),
    SettleHold(settlement("gen-2", gross=80, net=0)),
    SettleHold(settlement("gen-5", gross=40)),
    VoidHold("gen-3", "law", T0),
    BeatHolds(("gen-0",), T0 + 10**9),
    SweepHolds(T0 + 5, 100),
    GrantCredit(CUSTOMER, 77, "law", "in-batch", T0),
    GrantCredit("cus_new", 5, "law", "new-customer", T0),
]
STATEMENTS = 16
"""Statements of that batch; a test holds it to the count."""


@pytest.fixture
def books() -> Iterator[Books]:
    opened = funded(BEFORE)
    yield opened
    opened.close()


@cache
def finished() -> dict[str, list[tuple[Any, ...]]]:
    """Every table after the batch, had nothing happened."""
    undisturbed = funded(BEFORE, BATCH)
    try:
        return undisturbed.dump()
    finally:
        undisturbed.close()


def test_the_batch_has_the_statements_that_the_crashes_go_through(books: Books) -> None:
    store = CrashingStore(books.path, 0, after=False)
    outcomes = store.apply_here(BATCH)
    assert store.seen == STATEMENTS
    assert [type(outcome) for outcome in outcomes].count(Transfer) == 5
    store._close_here()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(1, STATEMENTS + 1))
def test_law_13_a_crash_at_any_statement_leaves_nothing_and_the_batch_can_be_given_again(
    books: Books, at: int, *, after: bool
) -> None:
    before = books.dump()
    store = CrashingStore(books.path, at, after=after)
    with pytest.raises(Crash):
        store.apply_here(BATCH)
    store._close_here()
    assert books.dump() == before
    books.apply(*BATCH)
    assert books.dump() == finished()


def test_law_13_a_crash_between_commit_and_answer_loses_and_doubles_nothing(books: Books) -> None:
    once = [operation for operation in BATCH if not isinstance(operation, ExtendHold)]
    first = books.apply(*once)
    committed = books.dump()
    again = books.apply(*once)  # what a caller would do who never heard the answer
    assert books.dump() == committed
    assert [outcome for outcome in again if isinstance(outcome, Transfer)] == [
        outcome for outcome in first if isinstance(outcome, Transfer)
    ]


def test_an_extension_given_twice_reserves_more_but_never_beyond_the_quote(books: Books) -> None:
    for _ in range(9):
        books.apply(ExtendHold("gen-0", 50))
    assert books.rows("SELECT amount FROM hold WHERE id = 'gen-0'") == [(300,)]


CHILD = """
import asyncio, sys
from tests.ledger_world import CUSTOMER, hold_request, open_world, settlement

async def serve(url):
    async with open_world(url) as world:
        await world.ledger.grant(CUSTOMER, 10**12, "seed", "seed")
        async def customer(lane):
            for number in range(100000):
                request_id = f"gen-{lane}-{number}"
                await world.ledger.hold(hold_request(request_id, 100))
                await world.ledger.settle(settlement(request_id, gross=60))
                sys.stdout.write(request_id + "\\n")
                sys.stdout.flush()
        await asyncio.gather(*(customer(lane) for lane in range(8)))

asyncio.run(serve(sys.argv[1]))
"""


def confirmed_before_kill(url: str) -> set[str]:
    """Runs a ledger in a process of its own, kills it in full swing, and returns the settlements it had confirmed."""
    command = [sys.executable, "-c", CHILD, url]
    child = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    confirmed = {child.stdout.readline().strip() for _ in range(200)}
    time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    rest = child.stdout.read().splitlines(keepends=True)
    child.wait(10)
    return confirmed | {line.strip() for line in rest if line.endswith("\n")}


@pytest.mark.slow
def test_law_13_what_was_confirmed_before_kill_9_is_in_the_ledger(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    confirmed = confirmed_before_kill(url)
    assert len(confirmed) >= 200

    async def recover() -> None:
        async with open_world(url) as world:
            assert await world.ledger.sweep(T0 + 10**9) <= 8  # at most one hold per lane was open
            settled = {txn.subject for txn in await world.journal()} - {CUSTOMER}
            assert confirmed <= settled
            assert len(settled) <= len(confirmed) + 8
            balance = await world.ledger.balance(CUSTOMER)
            assert (balance.held, balance.posted) == (0, 10**12 - 60 * len(settled))
            report = await verify(world.database, T0 + 10**9)
            found = {finding.what for check in report.checks for finding in check.findings}
            assert found == {"its price book pb-test is not stored"}  # this market sold from no book

    asyncio.run(recover())


# The drill: each guard alone holds the line; with both off, the books say so.

AVAILABLE = ",\nCONSTRAINT ck_account_available_within_overdraft CHECK (posted - held >= -overdraft - overdue)"
ONCE = ",\nCONSTRAINT uq_journal_txn_idem UNIQUE (idem)"
TWICE = SettleHold(settlement("gen-1", gross=60, rows=()))
TOO_MUCH = PlaceHold(hold_request("gen-rich", 10**7))


@pytest.fixture(params=[""])
def unguarded(request: pytest.FixtureRequest) -> Iterator[Books]:
    """Books whose schema lacks one guard."""
    opened = funded(BEFORE, without=request.param)
    assert not request.param or not opened.rows("SELECT 1 FROM sqlite_master WHERE instr(sql, ?)", request.param)
    yield opened
    opened.close()


def without(guard: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("unguarded", [guard], indirect=True)


async def drift(books: Books) -> list[str]:
    database = Database(f"sqlite:///{books.path}")
    try:
        report = await verify(database, T0)
    finally:
        await database.close()
    return [finding.what for check in report.checks for finding in check.findings]


def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the rules believe that every wallet has room."""
    monkeypatch.setattr(sheet.AccountLine, "room", property(lambda _: sheet.INT64_MAX))


def forget_settlements(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the rules take every settlement for the first."""
    monkeypatch.setattr(sheet.HoldLine, "is_pending", property(lambda _: True))


def overwrite_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has holds updated whatever state they are in."""
    unguarded_update = lambda *args, **_: Update(*args)  # noqa: E731 (a stand-in for a class)
    monkeypatch.setattr(batch, "Update", unguarded_update)


def test_the_rule_alone_keeps_a_wallet_from_being_overspent(books: Books) -> None:
    assert isinstance(books.apply(TOO_MUCH)[0], NoCredit)


def test_the_check_alone_keeps_a_wallet_from_being_overspent(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    blind(monkeypatch)
    with pytest.raises(Refused, match="available_within_overdraft"):
        books.apply(TOO_MUCH)


@without(AVAILABLE)
async def test_an_overspent_wallet_is_found_when_neither_held(
    unguarded: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind(monkeypatch)
    assert isinstance(unguarded.apply(TOO_MUCH)[0], Hold)
    assert any("below its overdraft" in what for what in await drift(unguarded))


def test_the_rule_alone_keeps_a_settlement_from_being_booked_twice(books: Books) -> None:
    assert books.apply(TWICE) == books.apply(TWICE)


def test_the_unique_name_alone_keeps_a_settlement_from_being_booked_twice(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    books.apply(TWICE)
    forget_settlements(monkeypatch)
    overwrite_holds(monkeypatch)
    books.reader.execute("UPDATE account SET held = 1000 WHERE id = 'wallet:cus_ada'")  # or held would give it away
    with pytest.raises(Refused, match=r"UNIQUE constraint failed: journal_txn\.idem"):
        books.apply(TWICE)


@without(ONCE)
def test_the_state_of_the_hold_alone_keeps_a_settlement_from_being_booked_twice(
    unguarded: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    unguarded.apply(TWICE)
    forget_settlements(monkeypatch)
    with pytest.raises(Contention, match="0 of 1 holds changed"):
        unguarded.apply(TWICE)


@without(ONCE)
async def test_a_settlement_booked_twice_is_found_when_nothing_held(
    unguarded: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    unguarded.apply(TWICE)
    forget_settlements(monkeypatch)
    overwrite_holds(monkeypatch)
    unguarded.apply(TWICE)
    assert any("its pending holds sum to" in what for what in await drift(unguarded))


def test_the_check_alone_keeps_a_capture_within_its_hold(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "min", max, raising=False)
    with pytest.raises(Refused, match="captured_within_amount"):
        books.apply(SettleHold(settlement("gen-1", gross=250, rows=())))


def test_the_rule_alone_keeps_a_price_from_being_read_again_at_settlement(books: Books) -> None:
    (refused,) = books.apply(SettleHold(settlement("gen-1", price_book_id="pb-live-now")))
    assert "cannot be settled under pb-live-now" in str(refused)


async def test_a_price_read_again_at_settlement_is_found_when_the_rule_did_not_hold(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_again(settled: Settlement, line: sheet.HoldLine) -> journal.Draft:
        return journal.draft_settlement(settled, min(settled.charge.net, line.amount), is_late=False)

    monkeypatch.setattr(rules, "_draft", read_again)
    row = delivery_row(ON_TIME, Usage(input=5, output=3), at=BOOK, request_id="gen-1")
    books.apply(SettleHold(settlement("gen-1", price_book_id=BOOK.id, rows=(row,))))
    stored = json.dumps(book_record(BOOK))
    columns = "sequence, id, sha256, effective_at_us, record, published_by, reason, created_at_us"
    books.reader.execute(
        f"INSERT INTO price_book ({columns}) VALUES (1, ?, ?, 0, ?, '', '', 0)",  # noqa: S608 (columns above)
        (BOOK.id, BOOK.sha256, stored),
    )
    assert any("names price book pb-test" in what for what in await drift(books))
