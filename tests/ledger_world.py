"""A small market's books for tests: databases with every table, and plain holds and settlements."""

import sqlite3
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import create_mock_engine
from sqlalchemy.schema import ExecutableDDLElement
from sqlmodel import SQLModel, col, select

from app.db import Database
from app.ledger.chain import ChainedTxn, journal_sha256
from app.ledger.holds import HoldRequest, LateCause, PreparedRow, Settlement
from app.ledger.journal import Leg
from app.ledger.models import AccountRow, EntryRow, HoldRow, JournalTxnRow
from app.ledger.service import Ledger
from app.ledger.writer import LedgerWriter
from app.metering import models as metering_models
from app.outbox import models as outbox_models
from migrations.tables import all_tables
from pricing.money import NanoUsd
from pricing.rating import Charge, ChargeLine, Ending
from pricing.slo import Tier
from pricing.usage import Usage

T0 = 1_700_000_000_000_000
"""The tests' present: µs since the epoch."""
LEASE_US = 60_000_000
BOOK = "pb-test"
MODEL = "gpt-oss-120b"
CUSTOMER = "cus_ada"
TABLES = (metering_models.UsageEvent, outbox_models.OutboxMessage)


@dataclass(slots=True)
class World:
    """An open database and the ledger over it."""

    database: Database
    writer: LedgerWriter
    ledger: Ledger

    async def rows(self, model: Any) -> list[Any]:
        """All rows of a table, by primary key."""
        async with self.database.reading() as session:
            found = await session.exec(select(model).order_by(*model.__table__.primary_key.columns))
            return list(found.all())

    async def accounts(self) -> dict[str, int]:
        """Posted amount of every account that is not zero."""
        return {row.id: row.posted for row in await self.rows(AccountRow) if row.posted}

    async def wallet(self, customer_id: str = CUSTOMER) -> AccountRow:
        """A customer's wallet."""
        async with self.database.reading() as session:
            return (await session.exec(select(AccountRow).where(col(AccountRow.id) == f"wallet:{customer_id}"))).one()

    async def hold(self, hold_id: str) -> HoldRow:
        """One hold."""
        async with self.database.reading() as session:
            return (await session.exec(select(HoldRow).where(col(HoldRow.id) == hold_id))).one()

    async def journal(self) -> list[ChainedTxn]:
        """The whole journal, in the order of booking."""
        legs: dict[int, list[Leg]] = {}
        for entry in await self.rows(EntryRow):
            legs.setdefault(entry.txn_id, []).append(Leg(entry.account_id, entry.amount))
        return [
            ChainedTxn(
                row.id,
                row.idem,
                row.kind,
                row.subject,
                row.booked_at_us,
                row.effective_at_us,
                row.price_book_id,
                row.memo,
                legs.get(row.id, []),
            )
            for row in await self.rows(JournalTxnRow)
        ]

    async def digest(self) -> str:
        """One number that equal journals share."""
        return journal_sha256(await self.journal())


@cache
def empty_file(without: str = "") -> bytes:
    """A database file with every table and trigger; ``without`` is a piece of the schema to leave out."""
    with tempfile.TemporaryDirectory(prefix="goodput-law-") as folder:
        path = Path(folder) / "empty.sqlite3"
        connection = sqlite3.connect(path)
        for statement in _schema():
            connection.execute(statement.replace(without, "") if without else statement)
        connection.commit()
        connection.close()
        return path.read_bytes()


def _schema() -> list[str]:
    """Every statement that makes an empty SQLite database ours, triggers included."""
    made: list[str] = []

    def note(element: ExecutableDDLElement, *_args: Any, **_options: Any) -> None:
        lines = str(element.compile(dialect=engine.dialect)).splitlines()
        made.append("\n".join(line.strip("\t").rstrip() for line in lines if line.strip()))

    engine = create_mock_engine("sqlite://", note)
    all_tables().create_all(engine, checkfirst=False)
    return list(dict.fromkeys(made))


async def create_tables(database: Database) -> None:
    """Every table with its triggers; a SQLite file that is not there yet is written at once."""
    if database.sqlite_path is not None and not database.sqlite_path.exists():
        database.sqlite_path.write_bytes(empty_file())
        return
    async with database.engine.begin() as connection:
        await connection.run_sync(SQLModel.metadata.create_all)


@asynccontextmanager
async def open_world(url: str, **writer: Any) -> AsyncGenerator[World]:
    """A started ledger over an empty or an existing database."""
    database = Database(url)
    await create_tables(database)
    async with LedgerWriter(database, **writer) as started:
        yield World(database, started, Ledger(started, clock_us=lambda: T0))
    await database.close()


def hold_request(hold_id: str = "gen-1", amount: int = 100, **changes: Any) -> HoldRequest:
    """A hold of ``amount`` nano-USD whose ceiling is the same unless said."""
    fields: dict[str, Any] = {
        "customer_id": CUSTOMER,
        "ceiling": amount,
        "price_book_id": BOOK,
        "model": MODEL,
        "tier": "premium",
        "created_at_us": T0,
        "expires_at_us": T0 + LEASE_US,
        **changes,
    }
    return HoldRequest(id=hold_id, amount=NanoUsd(amount), **fields)


def charge(gross: int, net: int, ending: Ending = Ending.STOP) -> Charge:
    """A premium charge with one line."""
    line = ChargeLine(Tier.PREMIUM, Usage(input=3), 7, NanoUsd(net))
    return Charge(Tier.PREMIUM, ending, NanoUsd(gross), (line,), NanoUsd(gross - net), NanoUsd(net))


def settlement(hold_id: str = "gen-1", gross: int = 60, net: int | None = None, **changes: Any) -> Settlement:
    """A settlement of ``gross``, all of it owed unless ``net`` says less; one usage event in its rows."""
    net = gross if net is None else net
    ending = changes.pop("ending", Ending.STOP)
    fields: dict[str, Any] = {
        "customer_id": CUSTOMER,
        "price_book_id": BOOK,
        "model": MODEL,
        "cost": NanoUsd(20),
        "provider_id": "cluster-b200",
        "is_owned": True,
        "late_cause": LateCause.NONE,
        "booked_at_us": T0 + 1_000_000,
        "rows": (usage_row(hold_id, gross=gross, net=net, adjustment=gross - net),),
        **changes,
    }
    fields.setdefault("charge", charge(gross, net, ending))
    return Settlement(hold_id=hold_id, **fields)


def usage_row(request_id: str, **changes: Any) -> PreparedRow:
    """A usage event as the gateway prepares it."""
    values: dict[str, Any] = {
        "request_id": request_id,
        "customer_id": CUSTOMER,
        "key_id": "key_1",
        "model": MODEL,
        "tier_asked": "premium",
        "tier_served": "premium",
        "service_tier": "priority",
        "provider_id": "cluster-b200",
        "offer_id": "cluster-b200/dep-1",
        "deployment_id": "dep-1",
        "is_emulated": True,
        "price_book_id": BOOK,
        "requested_at_us": T0,
        "admitted_at_us": T0 + 100,
        "placed_at_us": T0 + 200,
        "first_token_at_us": T0 + 300,
        "finished_at_us": T0 + 1_000_000,
        "is_streamed": True,
        "ending": "stop",
        "finish_reason": "stop",
        "late_cause": "none",
        "attempts": 1,
        "tokens_input": 3,
        "tokens_cached": 0,
        "tokens_cache_write": 0,
        "tokens_output": 7,
        "tokens_reasoning": 0,
        "tokens_good": 7,
        "is_attained": True,
        "timeline": b"\x00",
        "lines": [{"tier": "premium", "input": 3, "cached": 0, "cache_write": 0, "output": 7, "amount": 60}],
        "gross": 60,
        "adjustment": 0,
        "net": 60,
        "cost": 20,
        "quote_ceiling": 100,
        "held": 100,
        "usage_source": "provider",
        "explanation": None,
    }
    return PreparedRow("usage_event", {**values, **changes})
