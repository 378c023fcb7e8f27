import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlmodel import col, select, update

from app.db import Database
from app.outbox import tasks
from app.outbox.messages import ATTEMPTS_MAX, BACKOFF_US_MAX, Message, backoff_us, message_values
from app.outbox.models import InboxEvent, OutboxMessage
from app.outbox.service import DELIVERY_US_MAX, deliver_due, receive, requeue
from tests.ledger_world import T0, create_tables

pytest_plugins = ("tests.postgres",)

TOPIC = "thing.happened"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=[pytest.mark.slow, pytest.mark.postgres])])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path / 'outbox.sqlite3'}"


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    opened = Database(url)
    await create_tables(opened)
    yield opened
    await opened.close()


class Post:
    """Takes messages; fails those named."""

    def __init__(self, *failing: str) -> None:
        self.failing = set(failing)
        self.got: list[Message] = []
        self.clock_us = T0

    async def take(self, message: Message) -> None:
        self.got.append(message)
        if message.id in self.failing:
            raise ConnectionError("nobody answers")

    async def run(self, database: Database, **limits: int) -> int:
        return await deliver_due(database, {TOPIC: self.take}, lambda: self.clock_us, **limits)


async def queue(database: Database, *ids: str, topic: str = TOPIC) -> None:
    async with database.writing() as session:
        for number, message_id in enumerate(ids):
            session.add(OutboxMessage(**message_values(message_id, topic, "subject", {"n": number}, T0 - 10 + number)))


async def row(database: Database, message_id: str) -> OutboxMessage:
    async with database.reading() as session:
        return (await session.exec(select(OutboxMessage).where(col(OutboxMessage.id) == message_id))).one()


async def test_what_is_due_is_delivered_once_oldest_first(database: Database) -> None:
    await queue(database, "m-b", "m-a")
    post = Post()
    assert await post.run(database) == 2
    assert [(message.id, message.payload, message.attempts) for message in post.got] == [
        ("m-b", {"n": 0}, 1),
        ("m-a", {"n": 1}, 1),
    ]
    assert await post.run(database) == 0
    done = await row(database, "m-a")
    assert (done.state, done.done_at_us) == ("done", T0)


async def test_what_is_not_due_yet_waits(database: Database) -> None:
    await queue(database, "m")
    post = Post()
    post.clock_us = T0 - 11
    assert await post.run(database) == 0
    assert post.got == []


async def test_a_failed_delivery_is_tried_again_later_and_does_not_hold_up_the_others(database: Database) -> None:
    await queue(database, "m-bad", "m-good")
    post = Post("m-bad")
    assert await post.run(database) == 1
    failed = await row(database, "m-bad")
    assert (failed.state, failed.available_at_us) == ("pending", T0 + 5_000_000)
    assert failed.error == "ConnectionError: nobody answers"
    assert await post.run(database) == 0
    post.clock_us += 5_000_000
    post.failing.clear()
    assert await post.run(database) == 1
    delivered = await row(database, "m-bad")
    assert (delivered.state, delivered.attempts, delivered.error) == ("done", 2, "")


async def test_a_message_that_never_gets_through_dies_and_an_operator_can_revive_it(database: Database) -> None:
    await queue(database, "m")
    post = Post("m")
    for _ in range(ATTEMPTS_MAX + 3):
        await post.run(database)
        post.clock_us += BACKOFF_US_MAX
    assert len(post.got) == ATTEMPTS_MAX
    assert (await row(database, "m")).state == "dead"
    async with database.writing() as session:
        assert await requeue(session, "m", post.clock_us)
        assert not await requeue(session, "m", post.clock_us)
    post.failing.clear()
    assert await post.run(database) == 1


async def test_a_topic_that_nothing_delivers_waits_for_a_release_that_knows_it(database: Database) -> None:
    await queue(database, "m", topic="other.happened")
    assert await Post().run(database) == 0
    waiting = await row(database, "m")
    assert (waiting.state, waiting.error) == ("pending", "nothing here delivers other.happened")


async def test_a_delivery_whose_process_died_is_made_again(database: Database) -> None:
    await queue(database, "m")
    async with database.writing() as session:
        await session.exec(
            update(OutboxMessage).values({"state": "sent", "attempts": 1, "available_at_us": T0 + DELIVERY_US_MAX})
        )
    post = Post()
    assert await post.run(database) == 0
    post.clock_us += DELIVERY_US_MAX
    assert await post.run(database) == 1
    assert post.got[0].attempts == 2


async def test_a_slow_twin_does_not_undo_what_the_next_attempt_achieved(database: Database) -> None:
    await queue(database, "m")
    post = Post()

    async def slow(_: Message) -> None:
        post.clock_us += DELIVERY_US_MAX
        assert await post.run(database) == 1
        raise TimeoutError("too slow to matter")

    await deliver_due(database, {TOPIC: slow}, lambda: post.clock_us)
    assert (await row(database, "m")).state == "done"


async def test_workers_that_deliver_together_share_the_messages(database: Database) -> None:
    await queue(database, *(f"m-{number:02d}" for number in range(30)))
    post = Post()
    post.clock_us += 100
    delivered = await asyncio.gather(*(post.run(database, messages_max=10) for _ in range(3)))
    assert sum(delivered) == len(post.got) == len({message.id for message in post.got})
    assert sum(delivered) + await post.run(database) == 30


async def test_the_same_effect_is_queued_once(database: Database) -> None:
    await queue(database, "m")
    with pytest.raises(Exception, match=r"(?i)unique"):
        await queue(database, "m")


async def test_an_event_that_arrives_again_is_kept_once(database: Database) -> None:
    def event() -> InboxEvent:
        return InboxEvent(id="evt_1", source="stripe", kind="paid", payload={"a": 1}, received_at_us=T0)

    async with database.writing() as session:
        assert await receive(session, event())
        assert not await receive(session, event())
    async with database.writing() as session:
        assert not await receive(session, event())
        assert await receive(session, InboxEvent.model_validate({**event().model_dump(), "source": "other"}))
    async with database.reading() as session:
        assert len((await session.exec(select(InboxEvent))).all()) == 2


async def test_a_late_settlement_is_told_to_the_operators_as_an_error(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, dict[str, object]]] = []

    class Log:
        def error(self, event: str, **values: object) -> None:
            told.append((event, values))

    monkeypatch.setattr(tasks, "log", Log())
    await queue(database, "settlement.arrived_late:gen-1", topic="settlement.arrived_late")
    assert await tasks._deliver(database) == 1
    assert told == [("settlement.arrived_late", {"subject": "subject", "n": 0})]


def test_waiting_doubles_up_to_an_hour() -> None:
    waits_s = [backoff_us(attempt) // 1_000_000 for attempt in (1, 2, 3, 4, 10, 11, 10_000)]
    assert waits_s == [5, 10, 20, 40, 2560, 3600, 3600]
