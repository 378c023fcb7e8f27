"""A ledger on a SQLite file of its own, driven batch by batch without an event loop; what the laws are tried on."""

import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.db import SQLITE_PRAGMAS
from app.ledger.chain import ChainedTxn, journal_sha256
from app.ledger.journal import Leg
from app.ledger.operations import GrantCredit, Operation, Outcome
from app.ledger.sqlite_store import SqliteStore
from tests.ledger_world import T0, empty_file

CUSTOMERS = ("cus_ada", "cus_bob")
SEED = tuple(GrantCredit(customer, 10**6, "law", customer, T0) for customer in CUSTOMERS)


class Books:
    """A ledger on a SQLite file of its own, driven batch by batch in this thread."""

    def __init__(self, without: str = "") -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="goodput-law-")
        self.path = Path(self._folder.name) / "ledger.sqlite3"
        self.path.write_bytes(empty_file(without))
        self.reader = sqlite3.connect(self.path, isolation_level=None)
        self.reader.execute("PRAGMA journal_mode = WAL")
        self.store = SqliteStore(self.path)
        connection = self.store._open()
        for pragma in (*SQLITE_PRAGMAS, "PRAGMA synchronous = OFF"):  # laws are about order, not about disks
            connection.execute(pragma)

    def apply(self, *operations: Operation) -> list[Outcome]:
        return self.store.apply_here(operations)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self.reader.execute(query, values).fetchall()

    def named(self, query: str) -> list[dict[str, Any]]:
        found = self.reader.execute(query)
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Everything in every table."""
        tables = self.rows("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {name: self.rows(f"SELECT * FROM {name} ORDER BY 1, 2") for (name,) in tables}  # noqa: S608

    def journal(self) -> list[ChainedTxn]:
        legs: dict[int, list[Leg]] = {}
        for txn_id, account_id, amount in self.rows(
            "SELECT txn_id, account_id, amount FROM entry ORDER BY txn_id, leg"
        ):
            legs.setdefault(txn_id, []).append(Leg(account_id, amount))
        query = (
            "SELECT id AS txn_id, idem, kind, subject, booked_at_us, effective_at_us, price_book_id, memo "
            "FROM journal_txn ORDER BY id"
        )
        return [ChainedTxn(**row, legs=legs.get(row["txn_id"], [])) for row in self.named(query)]

    def digest(self) -> str:
        return journal_sha256(self.journal())

    def close(self) -> None:
        self.store._close_here()
        self.store._thread.shutdown()
        self.reader.close()
        self._folder.cleanup()


def funded(*batches: Sequence[Operation], without: str = "") -> Books:
    """Books in which both customers can pay for anything, after some batches."""
    books = Books(without)
    books.apply(*SEED)
    for batch in batches:
        books.apply(*batch)
    return books
