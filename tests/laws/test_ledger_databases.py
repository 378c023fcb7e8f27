"""Law 14: both databases give identical journals. Law 2 under real concurrency. Law 6: replay gives the same ledger."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlmodel import col, select

from app.db import Database
from app.ledger.holds import LateCause, Settlement
from app.ledger.models import HoldRow, JournalTxnRow
from app.ledger.service import InsufficientCredit, Ledger
from app.ledger.writer import LedgerWriter, open_store
from app.metering import timeline_codec
from app.metering.models import UsageEvent
from app.metering.receipt import receipt
from app.reconcile.service import verify
from pricing.goodput import Timeline, grade
from pricing.money import NanoUsd, usd
from pricing.rating import Ending, rate
from pricing.slo import Tier
from pricing.usage import Usage
from tests.laws.test_ledger import operations, said
from tests.ledger_books import SEED, funded
from tests.ledger_world import CUSTOMER, T0, World, hold_request, open_world, settlement
from tests.traded_market import BOOK, deliver, store_book, trade

pytest_plugins = ("tests.postgres",)

ROOT = Path(__file__).parents[2]
BUDGET_HOLDS = 10


async def place_all(ledgers: list[Ledger], holds: int) -> int:
    """Tries ``holds`` reservations of 100 at once, spread over writers; returns how many were admitted."""
    tries = (ledgers[n % len(ledgers)].hold(hold_request(f"gen-{n}", 100)) for n in range(holds))
    answers = await asyncio.gather(*tries, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, InsufficientCredit)]
    admitted = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(refused) + len(admitted) == holds
    return len(admitted)


@asynccontextmanager
async def ledgers_over(url: str, writers: int) -> AsyncGenerator[tuple[World, list[Ledger]]]:
    """Several writers on one database, each with connections of its own."""
    async with AsyncExitStack() as stack:
        worlds = [await stack.enter_async_context(open_world(url)) for _ in range(writers)]
        yield worlds[0], [world.ledger for world in worlds]


async def test_law_2_five_hundred_holds_at_once_never_overspend_a_budget_for_ten(tmp_path: Path) -> None:
    async with ledgers_over(f"sqlite:///{tmp_path / 'ledger.sqlite3'}", 2) as (world, ledgers):
        await world.ledger.grant(CUSTOMER, BUDGET_HOLDS * 100 + 99, "budget", "budget")
        assert await place_all(ledgers, 500) == BUDGET_HOLDS
        assert (await world.ledger.balance(CUSTOMER)).available == 99


@pytest.mark.slow
@pytest.mark.postgres
class TestPostgres:
    async def test_law_2_five_hundred_holds_from_four_writers_never_overspend(self, postgres_url: str) -> None:
        async with ledgers_over(postgres_url, 4) as (world, ledgers):
            await world.ledger.grant(CUSTOMER, BUDGET_HOLDS * 100 + 99, "budget", "budget")
            assert await place_all(ledgers, 500) == BUDGET_HOLDS
            assert (await world.ledger.balance(CUSTOMER)).available == 99

    async def test_four_writers_settle_the_same_requests_once_and_chain_all_batches(self, postgres_url: str) -> None:
        async with ledgers_over(postgres_url, 4) as (world, ledgers):
            await store_book(world)
            await world.ledger.grant(CUSTOMER, 10**9, "budget", "budget")
            await asyncio.gather(*(world.ledger.hold(hold_request(f"gen-{n}", 100)) for n in range(60)))
            answers = await asyncio.gather(
                *(ledger.settle(settlement(f"gen-{n}", rows=())) for n in range(60) for ledger in ledgers)
            )
            assert len(set(answers)) == 60
            assert (await world.ledger.balance(CUSTOMER)).posted == 10**9 - 60 * 60
            report = await verify(world.database, T0)
            drifted = {check.title for check in report.checks if check.drifted}
            assert drifted == {"Deliveries, settlements and captured holds are one to one"}  # no usage events here

    async def test_four_writers_grant_one_key_once(self, postgres_url: str) -> None:
        async with ledgers_over(postgres_url, 4) as (world, ledgers):
            answers = await asyncio.gather(*(each.grant(CUSTOMER, 50, "same", "key") for each in ledgers * 5))
            assert len(set(answers)) == 1
            assert (await world.ledger.balance(CUSTOMER)).posted == 50

    def test_law_14_both_databases_answer_and_book_alike(self, postgres_url: str) -> None:
        tried: list[int] = []

        @settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.lists(st.lists(operations, min_size=1, max_size=12), min_size=1, max_size=8))
        def alike(batches: list[list[Any]]) -> None:
            tried.append(len(batches))
            books = funded()
            try:
                expected = [[said(outcome) for outcome in books.apply(*batch)] for batch in batches]
                answers, digest, tables = asyncio.run(on_postgres(postgres_url, batches))
                assert answers == expected
                assert digest == books.digest()
                assert tables == {name: in_order(books.rows(f"SELECT * FROM {name}")) for name in TABLES}  # noqa: S608
            finally:
                books.close()

        alike()
        assert sum(tried) > 12

    async def test_a_market_that_traded_balances_on_postgres_too(self, postgres_url: str) -> None:
        async with open_world(postgres_url) as world:
            await trade(world)
            report = await verify(world.database, T0 + 1_000)
            assert (report.is_balanced, report.found) == (True, 0)


TABLES = ("account", "hold", "journal_txn", "entry", "ledger_batch")


def in_order(rows: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Rows by their first two columns, whatever a database takes for alphabetical."""
    return sorted((tuple(row) for row in rows), key=itemgetter(0, 1))


async def on_postgres(url: str, batches: list[list[Any]]) -> tuple[list[list[object]], str, dict[str, Any]]:
    """The same batches on an emptied PostgreSQL: answers, journal digest and tables."""
    database = Database(url)
    async with database.engine.begin() as connection:
        for statement in ("DROP SCHEMA public CASCADE", "CREATE SCHEMA public"):
            await connection.execute(text(statement))
    async with open_world(url) as world:
        store = open_store(database)
        await store.apply(SEED)
        answers = [[said(outcome) for outcome in await store.apply(batch)] for batch in batches]
        await store.close()
        async with database.engine.connect() as connection:
            queries = {name: text(f"SELECT * FROM {name}") for name in TABLES}  # noqa: S608
            tables = {name: in_order(await connection.execute(query)) for name, query in queries.items()}
        digest = await world.digest()
    await database.close()
    return answers, digest, tables


CHILD = """
import asyncio, json, sys
from tests.laws.test_ledger_databases import ledgers_over, place_all
from tests.ledger_world import hold_request
from app.ledger.service import InsufficientCredit

async def main(url, name):
    async with ledgers_over(url, 1) as (world, ledgers):
        admitted = 0
        for start in range(0, 250, 25):
            tries = (world.ledger.hold(hold_request(f"gen-{name}-{n}", 100)) for n in range(start, start + 25))
            answers = await asyncio.gather(*tries, return_exceptions=True)
            assert all(isinstance(a, InsufficientCredit) for a in answers if isinstance(a, BaseException)), answers
            admitted += sum(not isinstance(a, BaseException) for a in answers)
        print(json.dumps(admitted))

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


@pytest.mark.slow
def test_law_2_two_processes_on_one_sqlite_file_never_overspend(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"

    async def balance(amount: int) -> int:
        async with open_world(url) as world:
            if amount:
                await world.ledger.grant(CUSTOMER, amount, "budget", "budget")
            return (await world.ledger.balance(CUSTOMER)).available

    asyncio.run(balance(BUDGET_HOLDS * 100 + 99))
    children = [
        subprocess.Popen([sys.executable, "-c", CHILD, url, name], cwd=ROOT, stdout=subprocess.PIPE) for name in "ab"
    ]
    admitted = [json.loads(child.communicate(timeout=60)[0]) for child in children]
    assert sum(admitted) == BUDGET_HOLDS
    assert asyncio.run(balance(0)) == 99


async def replay(world: World, events: list[UsageEvent], holds: dict[str, HoldRow]) -> None:
    """Books every delivery anew from its usage event and price book alone."""
    for event in events:
        hold = holds[event.request_id]
        assert event.timeline is not None
        ladder = BOOK.ladder(event.model, Tier(event.tier_served))
        assert ladder is not None
        usage = Usage(event.tokens_input, event.tokens_cached, event.tokens_cache_write, event.tokens_output)
        graded = grade(timeline_codec.decode(event.timeline), ladder)
        await world.ledger.hold(
            hold_request(event.request_id, hold.amount, ceiling=hold.ceiling, price_book_id=event.price_book_id)
        )
        await world.ledger.settle(
            Settlement(
                hold_id=event.request_id,
                customer_id=event.customer_id,
                price_book_id=event.price_book_id,
                model=event.model,
                charge=rate(ladder, usage, graded, Ending(event.ending)),
                cost=NanoUsd(event.cost),
                provider_id=event.provider_id,
                is_owned=True,
                late_cause=LateCause(event.late_cause),
                booked_at_us=event.finished_at_us,
            )
        )


deliveries = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 300_000), st.integers(1, 5)), min_size=1, max_size=6),
        st.integers(0, 500),
        st.sampled_from(Ending),
    ),
    min_size=1,
    max_size=5,
)


def timeline(steps: list[tuple[int, int]]) -> Timeline:
    at_us = tuple(sum(gap for gap, _ in steps[: n + 1]) for n in range(len(steps)))
    through = tuple(sum(tokens for _, tokens in steps[: n + 1]) for n in range(len(steps)))
    return Timeline(at_us, through, (0,) * len(steps))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deliveries)
def test_laws_6_and_10_replay_from_usage_events_gives_the_same_ledger_and_lines_sum(
    tmp_path_factory: pytest.TempPathFactory, made: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("replay")

    async def run() -> None:
        async with open_world(f"sqlite:///{folder / 'first.sqlite3'}") as first:
            await first.ledger.grant(CUSTOMER, 10**9, "seed", "seed")
            for number, (steps, tokens_input, ending) in enumerate(made):
                delivered = timeline(steps)
                await deliver(first, f"gen-{number}", delivered, Usage(tokens_input, output=delivered.tokens), ending)
            events = await first.rows(UsageEvent)
            holds = {hold.id: hold for hold in await first.rows(HoldRow)}
            for event in events:
                assert sum(line["amount"] for line in event.lines) == event.net
                bill = receipt(event, BOOK)["bill"]
                assert usd(bill["gross"]) - usd(bill["slo_adjustment"]) == usd(bill["net"])
            async with open_world(f"sqlite:///{folder / 'second.sqlite3'}") as second:
                await second.ledger.grant(CUSTOMER, 10**9, "seed", "seed")
                await replay(second, events, holds)
                assert await second.digest() == await first.digest()

    asyncio.run(run())


async def test_a_customer_who_leaves_while_waiting_neither_loses_nor_doubles_a_hold(tmp_path: Path) -> None:
    async with open_world(f"sqlite:///{tmp_path / 'ledger.sqlite3'}") as world:
        await world.ledger.grant(CUSTOMER, 10**6, "budget", "budget")
        tasks = [asyncio.create_task(world.ledger.hold(hold_request(f"gen-{n}", 100))) for n in range(40)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        voided = await asyncio.gather(*(world.ledger.void(f"gen-{n}", "left") for n in range(0, 40, 2)))
        assert all(voided)
        assert (await world.ledger.balance(CUSTOMER)).held == 20 * 100


async def test_a_settlement_whose_caller_is_cancelled_is_booked(tmp_path: Path) -> None:
    async with open_world(f"sqlite:///{tmp_path / 'ledger.sqlite3'}") as world:
        await world.ledger.grant(CUSTOMER, 10**6, "budget", "budget")
        await world.ledger.hold(hold_request("gen-1", 100))
        task = asyncio.create_task(world.ledger.settle(settlement("gen-1")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await world.writer.close()
        async with world.database.reading() as session:
            booked = await session.exec(select(JournalTxnRow.idem).where(col(JournalTxnRow.kind) == "settlement"))
            assert booked.all() == ["settle:gen-1"]


async def test_a_writer_closed_with_work_waiting_finishes_it_first(tmp_path: Path) -> None:
    async with open_world(f"sqlite:///{tmp_path / 'ledger.sqlite3'}") as world:
        await world.ledger.grant(CUSTOMER, 10**6, "budget", "budget")
        writer = await LedgerWriter(world.database, batch_max=8).start()
        ledger = Ledger(writer)
        tasks = [asyncio.create_task(ledger.hold(hold_request(f"gen-{n}", 100))) for n in range(50)]
        await asyncio.sleep(0)
        await writer.close()
        assert len(await asyncio.gather(*tasks)) == 50
        assert (await world.ledger.balance(CUSTOMER)).held == 5_000
