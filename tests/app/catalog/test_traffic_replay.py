"""Recent traffic rated under other prices, from a real database: totals, lines, timelines, samples."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import SQLModel

from app.catalog import impact_store
from app.catalog.draft import CardKey
from app.catalog.impact_store import DAYS_MAX, Assessment, Effort, Period, PeriodRefused, assess, last_days
from app.catalog.models import PriceBookRow
from app.db import Database
from app.metering.models import UsageEvent
from pricing.goodput import Timeline
from pricing.money import Rate
from pricing.pricebook import PriceBook, RateCard, book_record
from pricing.rating import Ending
from pricing.slo import Rung, Slo, Tier
from pricing.usage import Usage
from tests.app.catalog.conftest import with_tables
from tests.deliveries import book, delivery_event
from tests.ledger_world import MODEL, T0

pytest_plugins = ("tests.postgres",)
BOOK = book()
PERIOD = Period(T0, T0 + 1_000_000)
GOOD = Timeline((90_000, 95_000, 99_000), (1, 2, 3), (0, 0, 0))
LATE = Timeline((90_000, 300_000), (1, 5), (0, 0))
PREMIUM: CardKey = (MODEL, Tier.PREMIUM)
Cards = Mapping[CardKey, RateCard]


async def stocked(database: Database, *events: UsageEvent, books: tuple[PriceBook, ...] = ()) -> Database:
    """The catalog's and metering's tables with a book and some answers in them."""
    await with_tables(database)
    async with database.engine.begin() as connection:
        table = SQLModel.metadata.tables[str(UsageEvent.__tablename__)]
        await connection.run_sync(lambda sync: SQLModel.metadata.create_all(sync, tables=[table]))
    async with database.writing() as session:
        before: str | None = None
        for sequence, each in enumerate((BOOK, *books), start=1):
            session.add(row_of(each, sequence, before))
            await session.flush()
            before = each.id
        session.add_all(events)
    return database


def row_of(published: PriceBook, sequence: int, before: str | None) -> PriceBookRow:
    return PriceBookRow(
        sequence=sequence,
        id=published.id,
        predecessor_id=before,
        sha256=published.sha256,
        effective_at_us=T0,
        record=book_record(published),
        published_by="test",
        reason="test",
        created_at_us=T0,
    )


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'traffic.sqlite3'}")
    yield opened
    await opened.close()


def answer(number: int, told: Timeline = GOOD, **changes: Any) -> UsageEvent:
    usage = Usage(input=7, output=told.tokens)
    fields = {"request_id": f"gen-{number:05}", "finished_at_us": T0 + 7 * number + 1, "model": MODEL, "at": BOOK}
    return delivery_event(told, usage, **{**fields, **changes})


def keeping(event: UsageEvent, timeline: bytes | None) -> UsageEvent:
    """The same answer with another stored timeline."""
    event.timeline = timeline
    return event


def dearer(cards: Cards, tier: Tier = Tier.PREMIUM, by: int = 1_000) -> dict[CardKey, RateCard]:
    """Cards in which one tier's output costs ``by`` pico-USD more."""
    return with_rung(
        cards, tier, lambda rung: replace(rung, rates=replace(rung.rates, output=Rate(rung.rates.output + by)))
    )


def with_rung(cards: Cards, tier: Tier, change: Any) -> dict[CardKey, RateCard]:
    card = cards[MODEL, tier]
    return {**cards, (MODEL, tier): replace(card, rung=change(card.rung))}


def total(found: Assessment) -> tuple[int, int, int]:
    line = found.impact.total
    return line.booked, line.revenue_old, line.revenue_new


async def test_a_book_against_itself_changes_nothing_and_its_revenue_is_what_was_booked(database: Database) -> None:
    events = [answer(n, timeline) for n, timeline in enumerate((GOOD, LATE) * 5)]
    await stocked(database, *events)
    cards = BOOK.cards
    found = await assess(database, cards, cards, PERIOD)
    booked = sum(min(event.net, event.held) for event in events)
    assert total(found) == (booked, booked, booked)
    assert found.impact.total.sampled == 0  # the totals suffice: no answer was read


async def test_a_dearer_rate_is_earned_on_exactly_the_tokens_that_met_its_promise(database: Database) -> None:
    await stocked(database, *(answer(n) for n in range(4)), answer(9, LATE))
    cards = BOOK.cards
    found = await assess(database, cards, dearer(cards), PERIOD)
    line = found.impact.total
    assert (
        line.revenue_new - line.revenue_old == 4 * 3 + 1
    )  # a nano more a token: three in time each, of the late one one
    assert (line.sampled, line.ungraded, line.is_estimate) == (5, 0, False)
    assert (line.cost_old, line.cost_new) == (100, 100)


async def test_another_promise_is_graded_on_the_stored_timelines(database: Database) -> None:
    await stocked(database, answer(1, LATE), keeping(answer(2, LATE), None))
    cards = BOOK.cards
    easier = with_rung(cards, Tier.PREMIUM, lambda rung: replace(rung, slo=Slo(300_000, 10_000)))
    found = await assess(database, cards, easier, PERIOD)
    line = found.impact.total
    premium, standard = (cards[MODEL, tier].rung.rates for tier in (Tier.PREMIUM, Tier.STANDARD))
    late = 7 * premium.input + premium.output + 4 * standard.output  # one token in time, four at standard's promise
    good = 7 * premium.input + 5 * premium.output
    assert line.revenue_old == 2 * (late // 1_000)
    assert line.revenue_new == good // 1_000 + late // 1_000  # the erased one counts as it was billed
    assert line.ungraded == 1


async def test_answers_outside_the_period_do_not_count(database: Database) -> None:
    edges = [
        answer(1, finished_at_us=PERIOD.since_us),
        answer(2, finished_at_us=PERIOD.until_us - 1),
        answer(3, finished_at_us=PERIOD.until_us),
        answer(4, finished_at_us=PERIOD.since_us - 1),
    ]
    await stocked(database, *edges)
    assert (await assess(database, BOOK.cards, BOOK.cards, PERIOD)).impact.total.requests == 2


async def test_no_traffic_is_no_line(database: Database) -> None:
    await stocked(database)
    found = await assess(database, BOOK.cards, dearer(BOOK.cards), PERIOD)
    assert found.impact.lines == {}
    assert total(found) == (0, 0, 0)


async def test_a_model_that_the_proposed_book_lacks_is_a_line_that_earns_nothing(database: Database) -> None:
    await stocked(database, answer(1), answer(2))
    cards = BOOK.cards
    without = {key: card for key, card in cards.items() if key[0] != MODEL}
    line = (await assess(database, cards, without, PERIOD)).impact.lines[PREMIUM]
    assert (line.is_sold_new, line.revenue_new, line.cost_new, line.requests) == (False, 0, 0, 2)
    assert line.revenue_old == line.booked > 0


async def test_answers_of_an_earlier_book_are_rated_under_both_books_compared(database: Database) -> None:
    earlier, old = BOOK, book("another", MODEL)
    cards = dearer(old.cards, by=5_000)
    await stocked(database, answer(1, at=earlier), answer(2, at=earlier))
    line = (await assess(database, cards, dearer(cards), PERIOD)).impact.total
    assert (line.revenue_old - line.booked, line.revenue_new - line.booked) == (2 * 3 * 5, 2 * 3 * 6)


async def test_answers_whose_book_is_not_there_are_graded_again(database: Database) -> None:
    await stocked(database, answer(1, price_book_id="pb-lost"))
    line = (await assess(database, BOOK.cards, BOOK.cards, PERIOD)).impact.total
    assert line.revenue_old == line.revenue_new == line.booked
    assert line.sampled == 1


async def test_failed_answers_are_free_and_damaged_timelines_count_as_billed(database: Database) -> None:
    await stocked(
        database,
        answer(1, ending=Ending.PROVIDER_ERROR),
        keeping(answer(2), b"damaged"),
        answer(3, Timeline((), (), ())),
    )
    cards = BOOK.cards
    harder = with_rung(cards, Tier.PREMIUM, lambda rung: Rung(rung.tier, Slo(1, 1), rung.rates))
    line = (await assess(database, cards, harder, PERIOD)).impact.total
    assert line.ungraded == 1
    assert line.revenue_new == line.revenue_old == line.booked  # what was free stays so, what cannot be graded too


async def test_beyond_the_most_a_seeded_sample_is_scaled_up_and_marked(database: Database) -> None:
    await stocked(database, *(answer(n, GOOD if n % 3 else LATE) for n in range(900)))
    cards = BOOK.cards
    exact = (await assess(database, cards, dearer(cards, by=500_000), PERIOD)).impact.total
    effort = Effort(rows_max=150)
    found = await assess(database, cards, dearer(cards, by=500_000), PERIOD, effort)
    again = await assess(database, cards, dearer(cards, by=500_000), PERIOD, effort)
    other = await assess(database, cards, dearer(cards, by=500_000), PERIOD, replace(effort, seed=1))
    line = found.impact.total
    assert (exact.is_estimate, line.is_estimate) == (False, True)
    assert found == again
    assert other.impact.total.sampled != 0
    assert line.requests == 900
    assert 0 < line.sampled < 400
    assert (line.booked, line.revenue_old) == (exact.booked, exact.revenue_old)  # totals are exact
    assert abs(line.revenue_new - exact.revenue_new) < 0.05 * exact.revenue_new


async def test_more_answers_than_a_page_are_all_read(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impact_store, "ROWS_AT_ONCE_MAX", 40)
    await stocked(database, *(answer(n, finished_at_us=T0 + n // 9) for n in range(230)))  # nine of a moment
    cards = BOOK.cards
    line = (await assess(database, cards, dearer(cards), PERIOD)).impact.total
    assert (line.sampled, line.is_estimate) == (230, False)
    assert line.revenue_new - line.revenue_old == 230 * 3


def test_a_period_has_a_day_at_least_and_a_maximum() -> None:
    assert last_days(1, 10**15) == Period(10**15 - 86_400_000_000, 10**15)
    for days in (0, -1, DAYS_MAX + 1):
        with pytest.raises(PeriodRefused, match=f"1 to {DAYS_MAX} days, got {days}"):
            last_days(days, 10**15)


@pytest.mark.slow
@pytest.mark.postgres
async def test_on_postgres_totals_lines_timelines_and_samples_come_out_the_same(postgres_url: str) -> None:
    database = Database(postgres_url)
    try:
        await stocked(database, *(answer(n, GOOD if n % 3 else LATE) for n in range(1_200)))
        cards = BOOK.cards
        line = (await assess(database, cards, dearer(cards), PERIOD)).impact.total
        assert line.revenue_new - line.revenue_old == 800 * 3 + 400
        easier = with_rung(cards, Tier.PREMIUM, lambda rung: replace(rung, slo=Slo(300_000, 10_000)))
        graded = (await assess(database, cards, easier, PERIOD)).impact.total
        assert (graded.sampled, graded.ungraded, graded.is_estimate) == (1_200, 0, False)
        part = (await assess(database, cards, easier, PERIOD, Effort(timelines_max=200))).impact.total
        assert part.is_estimate
        assert abs(part.revenue_new - graded.revenue_new) < 0.05 * graded.revenue_new
    finally:
        await database.close()
