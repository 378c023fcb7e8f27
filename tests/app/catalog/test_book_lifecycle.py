"""Which book is in force when: schedules, withdrawals, going back, and rivals at the same moment."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.catalog import repository
from app.catalog.book_cache import BookShelf
from app.catalog.book_store import (
    BookHead,
    BookState,
    MomentRefused,
    NothingToRollBack,
    Released,
    UnknownBook,
    WithdrawalRefused,
)
from app.catalog.draft import Origin
from app.catalog.draft_refusals import DraftOutdated
from app.catalog.sale import ModelOnSale
from app.catalog.service import PriceBookSuperseded, live_origin, put_on_sale, withdraw
from app.clock import from_us
from app.db import Database
from app.errors import MarketError
from pricing.pricebook import price_book
from pricing.slo import Tier
from tests.app.catalog.books import ACTOR, T0, T0_US, card
from tests.app.catalog.conftest import with_tables
from tests.app.catalog.shop import HOUR_US, S_US, Shop, at, output_of

pytestmark = pytest.mark.slow

pytest_plugins = ("tests.postgres",)
NOW = T0_US + S_US
RIVALS = 8


@pytest.fixture
def shop(database: Database) -> Shop:
    return Shop(database)


async def test_a_scheduled_book_comes_into_force_at_its_moment_and_not_a_microsecond_before(shop: Shop) -> None:
    live = await shop.opened_with()
    released = await shop.publish(await shop.changed(live, NOW, 700_000), NOW, at(NOW + HOUR_US))
    assert await shop.live(NOW + HOUR_US - 1) == live
    assert await shop.live(NOW + HOUR_US) == released.book
    assert (released.replaces, released.followed_by) == (live.id, ())


async def test_published_now_before_a_scheduled_one_it_is_in_force_until_then_and_the_operator_is_told(
    shop: Shop,
) -> None:
    live = await shop.opened_with()
    friday = (await shop.publish(await shop.changed(live, NOW, 700_000), NOW, at(NOW + HOUR_US))).book
    fix = await shop.publish(await shop.changed(live, NOW, 750_000), NOW + S_US)
    assert [head.id for head in fix.followed_by] == [friday.id]
    assert await shop.live(NOW + HOUR_US - 1) == fix.book
    assert await shop.live(NOW + HOUR_US) == friday


async def test_a_later_schedule_has_to_be_made_from_the_earlier_one(shop: Shop) -> None:
    live = await shop.opened_with()
    second = await shop.changed(live, NOW, 750_000)
    first = (await shop.publish(await shop.changed(live, NOW, 700_000), NOW, at(NOW + HOUR_US))).book
    with pytest.raises(DraftOutdated, match=first.id):
        await shop.publish(second, NOW + S_US, at(NOW + 2 * HOUR_US))
    moved = await shop.rebase(second, NOW + S_US, onto=first.id)
    await shop.publish(moved, NOW + S_US, at(NOW + 2 * HOUR_US))
    outputs = [output_of(await shop.live(NOW + n * HOUR_US)) for n in range(3)]
    assert outputs == [800_000, 700_000, 750_000]


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        (datetime(2026, 11, 24, 13), "has no time zone"),  # noqa: DTZ001 (naive on purpose)
        (T0, "is not to come"),
        (T0 + timedelta(seconds=1), "is not to come"),
        (T0 + timedelta(days=367), "more than 366 days"),
        (datetime.max.replace(tzinfo=UTC), "more than 366 days"),
        (datetime.min.replace(tzinfo=UTC), "is not to come"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=14))), r"0001-01-01T00:00:00\+14:00 is not to come"),
        (datetime.max.replace(tzinfo=timezone(-timedelta(hours=12))), "more than 366 days"),
    ],
)
async def test_a_moment_at_which_nothing_can_come_into_force_is_refused(
    shop: Shop, moment: datetime, said: str
) -> None:
    draft = await shop.changed(await shop.opened_with(), NOW, 700_000)
    with pytest.raises(MomentRefused, match=said):
        await shop.publish(draft, NOW, moment)
    assert len(await shop.books()) == 1


async def test_a_moment_in_any_zone_is_the_same_instant_and_kept_in_utc(shop: Shop) -> None:
    """Clocks in Berlin go forward on 28 March 2027 at 01:00 UTC: 03:30 there is 01:30 UTC."""
    summer = datetime(2027, 3, 28, 3, 30, tzinfo=timezone(timedelta(hours=2)))
    released = await shop.publish(await shop.changed(await shop.opened_with(), NOW, 700_000), NOW, summer)
    assert released.book.effective_at == datetime(2027, 3, 28, 1, 30, tzinfo=UTC)
    assert released.book.effective_at.utcoffset() == timedelta(0)
    assert await shop.live(int(summer.timestamp()) * S_US) == released.book


async def test_a_withdrawn_book_never_comes_into_force_and_can_still_be_read(shop: Shop) -> None:
    live = await shop.opened_with()
    planned = (await shop.publish(await shop.changed(live, NOW, 700_000), NOW, at(NOW + HOUR_US))).book
    head = await shop.withdraw(planned.id, NOW + S_US)
    assert (head.withdrawn_at_us, head.withdrawn_by, head.withdrawal_reason) == (
        NOW + S_US,
        "ada@example.com",
        "not after all",
    )
    assert await shop.live(NOW + 2 * HOUR_US) == live
    shelf = BookShelf(shop.database)
    assert await shelf.find(planned.id) == planned
    assert (await shop.books())[0].state(live.id, NOW + 2 * HOUR_US) is BookState.WITHDRAWN
    assert (await shop.last_audit("price_book.withdrawn"))[2] == "not after all"


async def test_every_process_hears_of_a_withdrawal_one_that_starts_later_too(shop: Shop) -> None:
    live = await shop.opened_with()
    planned = (await shop.publish(await shop.changed(live, NOW, 700_000), NOW, at(NOW + HOUR_US))).book
    running = BookShelf(shop.database)
    await running.refresh()
    assert running.live(at(NOW + HOUR_US)) == planned
    await shop.withdraw(planned.id, NOW + S_US)
    await running.refresh()
    started = BookShelf(shop.database)
    await started.refresh()
    for shelf in (running, started):
        assert shelf.live(at(NOW + HOUR_US)) == live
        assert await shelf.find(planned.id) == planned


async def test_withdrawing_one_of_two_scheduled_books_leaves_the_other(shop: Shop) -> None:
    live = await shop.opened_with()
    second = (await shop.publish(await shop.changed(live, NOW, 700_000), NOW, at(NOW + 2 * HOUR_US))).book
    first = (await shop.publish(await shop.changed(live, NOW, 750_000), NOW, at(NOW + HOUR_US))).book
    await shop.withdraw(first.id, NOW + S_US)
    assert [await shop.live(NOW + n * HOUR_US) for n in range(3)] == [live, live, second]


async def test_a_book_that_is_in_force_or_was_cannot_be_withdrawn(shop: Shop) -> None:
    live = await shop.opened_with()
    planned = (await shop.publish(await shop.changed(live, NOW, 700_000), NOW, at(NOW + HOUR_US))).book
    for book_id, now_us in ((live.id, NOW), (planned.id, NOW + HOUR_US), (live.id, NOW + HOUR_US)):
        with pytest.raises(WithdrawalRefused, match="came into force at"):
            await shop.withdraw(book_id, now_us)


async def test_a_withdrawal_that_other_processes_could_hear_of_too_late_is_refused(shop: Shop) -> None:
    live = await shop.opened_with()
    planned = (await shop.publish(await shop.changed(live, NOW, 700_000), NOW, at(NOW + HOUR_US))).book
    with pytest.raises(WithdrawalRefused, match=r"comes into force in 15\.0 s"):
        await shop.withdraw(planned.id, NOW + HOUR_US - 15 * S_US + 1)
    await shop.withdraw(planned.id, NOW + HOUR_US - 15 * S_US)
    for now_us in (NOW + S_US, NOW + 2 * HOUR_US):  # after its moment too: it never came into force
        with pytest.raises(WithdrawalRefused, match="was withdrawn before"):
            await shop.withdraw(planned.id, now_us)
    with pytest.raises(UnknownBook):
        await shop.withdraw("pb-none", NOW)


async def test_what_was_withdrawn_may_be_scheduled_again_for_the_same_moment(shop: Shop) -> None:
    live = await shop.opened_with()
    moment = at(NOW + HOUR_US)
    books = []
    for n in range(3):
        released = await shop.publish(await shop.changed(live, NOW + n, 700_000), NOW + n, moment)
        books.append(released.book)
        if n < 2:
            await shop.withdraw(released.book.id, NOW + n)
    assert [each.effective_at - moment for each in books] == [timedelta(microseconds=n) for n in range(3)]
    assert await shop.live(NOW + HOUR_US + 2) == books[2]


async def test_a_withdrawal_is_for_ever(shop: Shop) -> None:
    live = await shop.opened_with()
    planned = (await shop.publish(await shop.changed(live, NOW, 700_000), NOW, at(NOW + HOUR_US))).book
    await shop.withdraw(planned.id, NOW + S_US)
    for statement in ("DELETE FROM price_book_withdrawal", "UPDATE price_book_withdrawal SET reason = 'x'"):
        with pytest.raises(DBAPIError, match="append-only"):
            async with shop.database.writing() as session:
                await (await session.connection()).execute(text(statement))


async def test_a_draft_compared_with_a_withdrawn_book_has_to_be_rebased(shop: Shop) -> None:
    live = await shop.opened_with()
    planned = (await shop.publish(await shop.changed(live, NOW, 700_000), NOW, at(NOW + HOUR_US))).book
    draft = await shop.edit(await shop.draft(planned, NOW), NOW, Tier.PREMIUM, output=1_900_000)
    await shop.withdraw(planned.id, NOW + S_US)
    with pytest.raises(DraftOutdated, match=rf"compared with {planned.id}.*is {live.id}"):
        await shop.publish(draft, NOW + 2 * S_US, at(NOW + 2 * HOUR_US))
    with pytest.raises(UnknownBook):
        await shop.rebase(draft, NOW + 2 * S_US, onto=planned.id)
    moved = await shop.rebase(draft, NOW + 2 * S_US)
    assert (output_of(moved), output_of(moved, Tier.PREMIUM)) == (800_000, 1_900_000)


async def test_going_back_is_a_new_book_with_the_old_cards_in_force_at_once(shop: Shop) -> None:
    first = await shop.opened_with()
    second = (await shop.publish(await shop.changed(first, NOW, 700_000), NOW)).book
    back = await shop.roll_back(first.id, NOW + S_US)
    assert back.book.cards == first.cards
    assert back.book.id not in {first.id, second.id}
    assert back.replaces == second.id
    assert await shop.live(NOW + S_US) == back.book
    assert await shop.live(NOW + S_US - 1) == second
    head = (await shop.books())[0]
    assert (head.origin, head.predecessor_id, head.reason) == (Origin.ROLLBACK, second.id, "a mistake")
    before, after, _ = await shop.last_audit("price_book.rolled_back")
    assert (before["price_book_id"], after["cards_of"]) == (second.id, first.id)
    async with shop.database.reading() as session:
        assert await live_origin(session, NOW) is Origin.OPERATOR
        assert await live_origin(session, NOW + S_US) is Origin.ROLLBACK
        assert await live_origin(session, T0_US - 1) is None


async def test_a_rollback_can_be_rolled_back_and_that_too(shop: Shop) -> None:
    first = await shop.opened_with()
    second = (await shop.publish(await shop.changed(first, NOW, 700_000), NOW)).book
    back = (await shop.roll_back(first.id, NOW + S_US)).book
    forth = (await shop.roll_back(second.id, NOW + 2 * S_US)).book
    again = (await shop.roll_back(back.id, NOW + 3 * S_US)).book
    assert [output_of(each) for each in (back, forth, again)] == [800_000, 700_000, 800_000]
    assert len({each.id for each in (first, second, back, forth, again)}) == 5
    assert await shop.live(NOW + 3 * S_US) == again


async def test_going_back_to_what_is_in_force_already_publishes_nothing(shop: Shop) -> None:
    first = await shop.opened_with()
    with pytest.raises(NothingToRollBack, match=first.id):
        await shop.roll_back(first.id, NOW)
    assert len(await shop.books()) == 1


async def test_going_back_to_a_withdrawn_or_unknown_book_is_refused(shop: Shop) -> None:
    live = await shop.opened_with()
    planned = (await shop.publish(await shop.changed(live, NOW, 700_000), NOW, at(NOW + HOUR_US))).book
    await shop.withdraw(planned.id, NOW + S_US)
    for book_id in (planned.id, "pb-none"):
        with pytest.raises(UnknownBook):
            await shop.roll_back(book_id, NOW + 2 * S_US)


async def test_going_back_says_what_it_prices_that_is_not_on_sale_and_what_on_sale_it_does_not_price(
    shop: Shop,
) -> None:
    first = await shop.opened_with(price_book(T0, [card(tier) for tier in Tier]))
    async with shop.database.writing() as session:
        for name in ("open/one", "two"):
            await put_on_sale(session, ModelOnSale(name, name, 8_192, T0_US), ACTOR, T0_US)
    both = price_book(T0, [card(tier, name) for tier in Tier for name in ("open/one", "two")])
    await shop.publish(await shop.draft(first, NOW, both), NOW)
    async with shop.database.writing() as session:
        assert await withdraw(session, "open/one", ACTOR, "retired", NOW)
    back = await shop.roll_back(first.id, NOW + S_US)
    assert (back.off_sale, back.unpriced) == (("open/one",), ("two",))


async def test_going_back_decided_on_another_book_than_the_one_in_force_is_refused(shop: Shop) -> None:
    first = await shop.opened_with()
    second = (await shop.publish(await shop.changed(first, NOW, 700_000), NOW)).book
    with pytest.raises(PriceBookSuperseded, match=second.id):
        await shop.roll_back(first.id, NOW + S_US, after=first.id)
    await shop.roll_back(first.id, NOW + S_US, after=second.id)


async def test_a_scheduled_book_still_comes_after_a_rollback_and_the_operator_is_told(shop: Shop) -> None:
    first = await shop.opened_with()
    second = (await shop.publish(await shop.changed(first, NOW, 700_000), NOW)).book
    planned = (await shop.publish(await shop.changed(second, NOW, 750_000), NOW, at(NOW + HOUR_US))).book
    back = await shop.roll_back(first.id, NOW + S_US)
    assert [head.id for head in back.followed_by] == [planned.id]
    assert await shop.live(NOW + HOUR_US) == planned


async def test_what_was_asked_before_another_book_was_published_does_not_win_by_an_older_clock(shop: Shop) -> None:
    live = await shop.opened_with()
    mine, theirs = await shop.changed(live, NOW, 700_000), await shop.changed(live, NOW, 750_000)
    winner = (await shop.publish(theirs, NOW + 5)).book
    with pytest.raises(PriceBookSuperseded, match="after this was asked for"):
        await shop.publish(mine, NOW + 4)
    assert await shop.live(NOW + 5) == winner


async def race_of_drafts(shop: Shop) -> None:
    live = await shop.opened_with()
    drafts = [await shop.changed(live, NOW, 700_000 - n) for n in range(RIVALS)]
    answers = await asyncio.gather(
        *(shop.publish(draft, NOW + n) for n, draft in enumerate(drafts)), return_exceptions=True
    )
    winners = [answer for answer in answers if isinstance(answer, Released)]
    losers = [answer for answer in answers if isinstance(answer, MarketError)]
    assert (len(winners), len(losers)) == (1, RIVALS - 1)
    assert {error.status for error in losers} == {409}
    assert await shop.live(NOW + RIVALS) == winners[0].book
    assert len(await shop.books()) == 2
    assert sorted([(await shop.found(draft.id)).state.value for draft in drafts]) == [
        *["open"] * (RIVALS - 1),
        "published",
    ]
    assert (await shop.audited()).count("price_draft.published") == 1


async def race_of_one_draft(shop: Shop) -> None:
    """Published, edited and discarded by many at once: one of them has its way, whole."""
    draft = await shop.changed(await shop.opened_with(), NOW, 700_000)
    answers = await asyncio.gather(
        *(shop.publish(draft, NOW + 1) for _ in range(4)),
        *(shop.edit(draft, NOW + 1, output=600_000 + n) for n in range(4)),
        *(shop.discard(draft, NOW + 1) for _ in range(4)),
        return_exceptions=True,
    )
    assert sum(not isinstance(answer, BaseException) for answer in answers) == 1
    assert all(isinstance(answer, MarketError) for answer in answers if isinstance(answer, BaseException))
    found = await shop.found(draft.id)
    assert found.version == 3
    assert (found.published_book_id is not None) == (len(await shop.books()) == 2)


async def race_of_a_withdrawal(shop: Shop) -> None:
    """Many withdraw one book while others publish drafts made from it: it is withdrawn once, whatever they do."""
    live = await shop.opened_with()
    planned = (await shop.publish(await shop.changed(live, NOW, 700_000), NOW, at(NOW + HOUR_US))).book
    drafts = [
        await shop.edit(await shop.draft(planned, NOW), NOW, Tier.PREMIUM, output=1_900_000 - n) for n in range(4)
    ]
    late = from_us(NOW + 2 * HOUR_US)
    answers = await asyncio.gather(
        *(shop.withdraw(planned.id, NOW + 1) for _ in range(6)),
        *(shop.publish(draft, NOW + 1, late) for draft in drafts),
        return_exceptions=True,
    )
    assert all(isinstance(answer, MarketError) for answer in answers if isinstance(answer, BaseException))
    assert sum(isinstance(answer, BookHead) for answer in answers) == 1
    assert sum(isinstance(answer, Released) for answer in answers) <= 1
    assert await shop.live(NOW + HOUR_US) == live


Race = Callable[[Shop], Awaitable[None]]
RACES = [race_of_drafts, race_of_one_draft, race_of_a_withdrawal]


@pytest.mark.parametrize("race", RACES)
async def test_of_rivals_on_sqlite_one_wins(shop: Shop, race: Race) -> None:
    await race(shop)


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("race", RACES)
async def test_of_rivals_on_postgres_one_wins(postgres_url: str, race: Race) -> None:
    database = await with_tables(Database(postgres_url))
    try:
        await race(Shop(database))
    finally:
        await database.close()


@pytest.mark.slow
@pytest.mark.postgres
async def test_on_postgres_a_change_waits_for_the_one_before_it_but_not_for_ever(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "TURN_WAIT_MS_MAX", 50)
    database = await with_tables(Database(postgres_url))
    shop = Shop(database)
    live = await shop.opened_with()
    draft = await shop.changed(live, NOW, 700_000)
    async with database.writing() as slow:
        await repository.take_turn(slow)
        with pytest.raises(repository.PricesBusy, match="try again"):
            await shop.publish(draft, NOW)
    await shop.publish(draft, NOW)
    await database.close()
