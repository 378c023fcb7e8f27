from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel, col, delete, update

from app.audit.models import AuditEvent
from app.audit.service import Actor, AuditFilter, Change, audit_page, record
from app.db import Database

AT_US = 1_700_000_000_000_000
OPS = Actor("operator", "op_1", "ops@example.com", ip="192.0.2.1", request_id="req_1")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'audit.sqlite3'}")
    tables = [SQLModel.metadata.tables["audit_event"]]
    async with database.engine.begin() as connection:
        await connection.run_sync(lambda sync: SQLModel.metadata.create_all(sync, tables=tables))
    yield database
    await database.close()


async def _record(database: Database, action: str, subject: str, at_us: int) -> None:
    async with database.writing() as session:
        await record(session, OPS, Change(action, subject, {"state": "enabled"}, {"state": "draining"}, "why"), at_us)


async def test_a_record_keeps_who_what_before_after_and_where_from(database: Database) -> None:
    await _record(database, "provider.drained", "provider:b200", AT_US)
    async with database.reading() as session:
        [row] = await audit_page(session, AuditFilter(), 10)
    assert (row.actor_kind, row.actor_id, row.actor_name) == ("operator", "op_1", "ops@example.com")
    assert (row.action, row.subject, row.reason) == ("provider.drained", "provider:b200", "why")
    assert (row.before, row.after) == ({"state": "enabled"}, {"state": "draining"})
    assert (row.ip, row.request_id, row.at_us) == ("192.0.2.1", "req_1", AT_US)


async def test_a_record_goes_when_its_change_is_rolled_back(database: Database) -> None:
    async def change_and_fail() -> None:
        async with database.writing() as session:
            await record(session, OPS, Change("key.revoked", "key:1"), AT_US)
            raise RuntimeError("the change failed")

    with pytest.raises(RuntimeError, match="the change failed"):
        await change_and_fail()
    async with database.reading() as session:
        assert await audit_page(session, AuditFilter(), 10) == []


@pytest.mark.parametrize("statement", [delete(AuditEvent), update(AuditEvent).values(reason="nothing happened")])
async def test_records_can_be_neither_changed_nor_deleted(database: Database, statement: object) -> None:
    await _record(database, "provider.drained", "provider:b200", AT_US)
    with pytest.raises(IntegrityError, match="audit_event is append-only"):
        async with database.writing() as session:
            await session.exec(statement)  # pyright: ignore[reportCallIssue, reportArgumentType] (either statement)


async def test_pages_run_from_the_newest_to_the_oldest_without_gap_or_repeat(database: Database) -> None:
    for number in range(7):
        await _record(database, "key.created", f"key:{number}", AT_US + number * 1000)
    seen: list[str] = []
    after_id = ""
    async with database.reading() as session:
        while rows := await audit_page(session, AuditFilter(after_id=after_id), 3):
            seen += [row.subject for row in rows]
            after_id = rows[-1].id
    assert seen == [f"key:{number}" for number in reversed(range(7))]


async def test_a_filter_leaves_what_matches_all_of_it(database: Database) -> None:
    await _record(database, "key.created", "key:1", AT_US)
    await _record(database, "key.revoked", "key:1", AT_US + 1000)
    await _record(database, "key.revoked", "key:2", AT_US + 2000)
    async with database.reading() as session:
        rows = await audit_page(session, AuditFilter(subject="key:1", action="key.revoked"), 10)
        assert [(row.subject, row.action) for row in rows] == [("key:1", "key.revoked")]
        assert await audit_page(session, AuditFilter(actor_id="op_2"), 10) == []


async def test_an_unknown_kind_of_actor_is_refused_by_the_database(database: Database) -> None:
    with pytest.raises(IntegrityError, match="actor_kind"):
        async with database.writing() as session:
            session.add(AuditEvent(id="aud_x", at_us=0, actor_kind="ghost", actor_id="x", action="a", subject="b"))
    assert col(AuditEvent.id) is not None
