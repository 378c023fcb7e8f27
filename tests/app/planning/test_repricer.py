"""The repricer on a real database: what it proposes and publishes, and what it leaves alone."""

import asyncio
from dataclasses import replace

import pytest
from sqlmodel import select

from app.audit.models import AuditEvent
from app.catalog import repository
from app.catalog.book_store import release, turn_at, withdraw_book
from app.catalog.draft_store import (
    CardEdit,
    DraftState,
    Origin,
    Release,
    discard,
    draft_by_id,
    drafts_page,
    edit_card,
    publish_draft,
)
from app.catalog.models import PriceBookRow
from app.catalog.service import Provenance, live_book
from app.db import Database
from app.planning.repricer_store import Outcome, Reprice, Repriced, reprice
from pricing.pricebook import PriceBook
from pricing.slo import Slo, Tier
from tests.app.planning.planning_market import (
    ADA,
    DAY_US,
    HOUR_US,
    MODEL,
    SHIPPED,
    SPEC,
    T0_US,
    at,
    price,
    set_market,
    set_up,
)

pytest_plugins = ("tests.postgres",)
LATER_US = T0_US + 2 * DAY_US


async def run(database: Database, at_us: int, mode: Reprice = Reprice.PUBLISH) -> Repriced:
    return await reprice(database, SHIPPED, mode, at_us)


async def live(database: Database, at_us: int) -> PriceBook:
    async with database.reading() as session:
        return await live_book(session, at(at_us))


async def books(database: Database) -> int:
    async with database.reading() as session:
        return len((await session.exec(select(PriceBookRow.sequence))).all())


async def open_drafts(database: Database) -> list[str]:
    async with database.reading() as session:
        return [head.id for head in await drafts_page(session, 100, state=DraftState.OPEN)]


async def operator_publishes(database: Database, at_us: int, ahead_us: int = 0) -> str:
    """An operator puts premium's output 1 % up, at once or ahead."""
    book = await live(database, at_us)
    cards = [
        replace(
            card, rung=replace(card.rung, rates=replace(card.rung.rates, output=card.rung.rates.output * 101 // 100))
        )
        if card.rung.tier is Tier.PREMIUM
        else card
        for card in book.cards.values()
    ]
    async with database.writing() as session:
        turn = await turn_at(session, at_us, at(at_us + ahead_us) if ahead_us else None)
        by = Provenance(ADA, "because", Origin.OPERATOR)
        return (await release(session, cards, turn, by, at_us)).book.id


async def test_costs_that_rise_are_followed_in_steps_of_a_day_until_they_are_reached(database: Database) -> None:
    await set_up(database)
    before = await live(database, T0_US)
    await set_market(database, "overhead_usd_per_mtok", 0.0, T0_US)
    await set_market(database, "utilisation", 0.4, LATER_US)  # 1.5 times the cost
    outcomes = [
        (await run(database, LATER_US + hour * HOUR_US)).outcome
        for hour in (0, 1, 2, 25, 26, 27, 50, 51, 52, 75, 76, 77)
    ]
    assert outcomes[:2] == [Outcome.QUIET, Outcome.PUBLISHED]
    assert outcomes.count(Outcome.PUBLISHED) == 3  # 1.15² = 1.32; 1.15³ = 1.52 would be over, so the third is shorter
    after = await live(database, LATER_US + 6 * DAY_US)
    for key, card in after.cards.items():
        assert card.rung.rates.output == pytest.approx(1.5 * before.cards[key].rung.rates.output, rel=0.05)
        assert card.rung.slo == before.cards[key].rung.slo
        assert card.cost.output == pytest.approx(1.5 * before.cards[key].cost.output, rel=0.001)


async def test_each_publication_is_audited_as_the_repricers_and_dated(database: Database) -> None:
    await set_up(database)
    await set_market(database, "utilisation", 0.55, LATER_US)
    await run(database, LATER_US)
    done = await run(database, LATER_US + HOUR_US)
    assert done.outcome is Outcome.PUBLISHED
    async with database.reading() as session:
        row = await repository.live_row(session, LATER_US + HOUR_US)
        audited = (await session.exec(select(AuditEvent).where(AuditEvent.action == "price_book.published"))).all()
    assert row is not None
    assert (row.id, row.origin, row.published_by) == (done.book_id, "repricer", "repricer")
    assert audited[-1].actor_kind == "system"
    assert "in 2 runs in a row" in audited[-1].reason


async def test_by_default_it_opens_one_draft_and_publishes_nothing(database: Database) -> None:
    await set_up(database)
    await set_market(database, "utilisation", 0.4, LATER_US)
    await run(database, LATER_US, Reprice.PROPOSE)
    first = await run(database, LATER_US + HOUR_US, Reprice.PROPOSE)
    again = await run(database, LATER_US + 2 * HOUR_US, Reprice.PROPOSE)
    assert (first.outcome, again.draft_id) == (Outcome.PROPOSED, first.draft_id)
    assert await books(database) == 1
    assert await open_drafts(database) == [first.draft_id]
    async with database.reading() as session:
        draft = await draft_by_id(session, first.draft_id or "")
    book = await live(database, LATER_US)
    assert (draft.origin, draft.base_book_id, draft.problems) == (Origin.REPRICER, book.id, ())
    for key, card in draft.cards.items():
        old = book.cards[key].rung.rates.output
        assert card.rung.rates.output == old + old * 15 // 100


async def test_off_it_does_nothing_at_all(database: Database) -> None:
    await set_up(database)
    await set_market(database, "utilisation", 0.3, LATER_US)
    for hour in range(4):
        assert (await run(database, LATER_US + hour * HOUR_US, Reprice.OFF)).outcome is Outcome.OFF
    assert (await books(database), await open_drafts(database)) == (1, [])


async def test_costs_that_move_again_make_the_draft_anew_and_never_a_second_one(database: Database) -> None:
    await set_up(database)
    await set_market(database, "utilisation", 0.55, LATER_US)
    await run(database, LATER_US, Reprice.PROPOSE)
    first = await run(database, LATER_US + HOUR_US, Reprice.PROPOSE)
    await set_market(database, "utilisation", 0.54, LATER_US + 2 * HOUR_US)
    second = await run(database, LATER_US + 2 * HOUR_US, Reprice.PROPOSE)
    assert second.draft_id != first.draft_id
    assert await open_drafts(database) == [second.draft_id]


async def test_a_draft_that_a_person_edited_is_left_alone(database: Database) -> None:
    await set_up(database)
    await set_market(database, "utilisation", 0.55, LATER_US)
    await run(database, LATER_US, Reprice.PROPOSE)
    first = await run(database, LATER_US + HOUR_US, Reprice.PROPOSE)
    async with database.writing() as session:
        edit = CardEdit(MODEL, Tier.BULK, slo=Slo(800_000_000, 0))
        await edit_card(session, first.draft_id or "", 1, edit, ADA, LATER_US + HOUR_US)
    await set_market(database, "utilisation", 0.5, LATER_US + 2 * HOUR_US)
    again = await run(database, LATER_US + 2 * HOUR_US, Reprice.PROPOSE)
    assert again.draft_id == first.draft_id
    async with database.reading() as session:
        assert (await draft_by_id(session, first.draft_id or "")).version == 2


async def test_what_a_person_discarded_is_not_proposed_again_until_it_is_another_proposal(database: Database) -> None:
    await set_up(database)
    await set_market(database, "utilisation", 0.55, LATER_US)
    await run(database, LATER_US, Reprice.PROPOSE)
    first = await run(database, LATER_US + HOUR_US, Reprice.PROPOSE)
    async with database.writing() as session:
        await discard(session, first.draft_id or "", 1, ADA, "we sell at this price", LATER_US + HOUR_US)
    for hour in (2, 3):
        again = await run(database, LATER_US + hour * HOUR_US, Reprice.PROPOSE)
        assert again.outcome is Outcome.QUIET
        assert first.draft_id in again.reason.split(", ")
    assert await open_drafts(database) == []
    await set_market(database, "utilisation", 0.54, LATER_US + 4 * HOUR_US)
    other = await run(database, LATER_US + 4 * HOUR_US, Reprice.PROPOSE)
    assert await open_drafts(database) == [other.draft_id]


async def test_what_it_dropped_itself_is_proposed_again_when_it_is_needed_again(database: Database) -> None:
    await set_up(database)
    for hour, utilisation in ((0, 0.5), (2, 0.6), (3, 0.5)):
        await set_market(database, "utilisation", utilisation, LATER_US + hour * HOUR_US)
        done = await run(database, LATER_US + hour * HOUR_US, Reprice.PROPOSE)
        if hour == 0:
            await run(database, LATER_US + HOUR_US, Reprice.PROPOSE)
    assert (done.outcome, await open_drafts(database)) == (Outcome.QUIET, [])
    done = await run(database, LATER_US + 4 * HOUR_US, Reprice.PROPOSE)
    assert await open_drafts(database) == [done.draft_id]


async def test_a_draft_that_is_no_longer_needed_is_dropped(database: Database) -> None:
    await set_up(database)
    await set_market(database, "utilisation", 0.5, LATER_US)
    await run(database, LATER_US, Reprice.PROPOSE)
    await run(database, LATER_US + HOUR_US, Reprice.PROPOSE)
    await set_market(database, "utilisation", 0.6, LATER_US + 2 * HOUR_US)
    assert (await run(database, LATER_US + 2 * HOUR_US, Reprice.PROPOSE)).outcome is Outcome.QUIET
    assert await open_drafts(database) == []


async def test_an_operators_publication_makes_it_wait_a_day(database: Database) -> None:
    await set_up(database)
    await set_market(database, "utilisation", 0.5, LATER_US)
    await run(database, LATER_US)
    mine = await operator_publishes(database, LATER_US + HOUR_US // 2)
    outcomes = [(await run(database, LATER_US + hour * HOUR_US)).outcome for hour in (1, 2, 3, 23, 24)]
    assert outcomes[0] is Outcome.QUIET  # another book: the count starts again
    assert set(outcomes[1:]) == {Outcome.WAITING}
    assert (await live(database, LATER_US + 24 * HOUR_US)).id == mine
    assert (await run(database, LATER_US + 25 * HOUR_US)).outcome is Outcome.PUBLISHED


async def test_a_scheduled_book_is_never_got_in_the_way_of(database: Database) -> None:
    await set_up(database)
    await set_market(database, "utilisation", 0.5, LATER_US)
    scheduled = await operator_publishes(database, LATER_US, ahead_us=10 * DAY_US)
    for hour in (0, 1, 30, 200, 239, 241, 250):
        assert (await run(database, LATER_US + hour * HOUR_US)).outcome in {Outcome.QUIET, Outcome.WAITING}
    assert (await live(database, LATER_US + 10 * DAY_US)).id == scheduled


async def test_a_schedule_that_was_withdrawn_is_waited_for_no_longer(database: Database) -> None:
    await set_up(database)
    await set_market(database, "utilisation", 0.5, LATER_US)
    scheduled = await operator_publishes(database, LATER_US, ahead_us=10 * DAY_US)
    await run(database, LATER_US + HOUR_US)
    assert (await run(database, LATER_US + 2 * HOUR_US)).outcome is Outcome.WAITING
    async with database.writing() as session:
        await withdraw_book(session, scheduled, ADA, "a mistake", LATER_US + 3 * HOUR_US)
    assert (await run(database, LATER_US + 3 * HOUR_US)).outcome is Outcome.PUBLISHED


async def test_a_promise_never_changes_by_itself(database: Database) -> None:
    await set_up(database)
    before = await live(database, T0_US)
    slower = {"subject": f"deployment:{SHIPPED.profiles[0].id}"}
    await set_market(database, "tpot_scale", 1.3, LATER_US, **slower)
    await run(database, LATER_US)
    done = await run(database, LATER_US + HOUR_US)
    after = await live(database, LATER_US + HOUR_US)
    assert done.outcome is Outcome.PUBLISHED  # slower tokens cost more: that is a rate
    assert {key: card.rung.slo for key, card in after.cards.items()} == {
        key: card.rung.slo for key, card in before.cards.items()
    }
    async with database.reading() as session:
        draft = await draft_by_id(session, done.draft_id or "")
    assert draft.base_book_id == done.book_id
    standard = draft.cards[MODEL, Tier.STANDARD].rung.slo
    assert standard.tpot_us > before.cards[MODEL, Tier.STANDARD].rung.slo.tpot_us


async def test_another_configuration_or_tier_is_for_a_person(database: Database) -> None:
    await set_up(database)
    adder = replace(SPEC.adder, tiers=frozenset({Tier.STANDARD, Tier.BULK}))
    await price(database, replace(SPEC, adder=adder), LATER_US)
    await run(database, LATER_US)
    done = await run(database, LATER_US + HOUR_US)
    assert (done.outcome, done.book_id) == (Outcome.PROPOSED, None)
    async with database.reading() as session:
        draft = await draft_by_id(session, done.draft_id or "")
    assert {tier for _, tier in draft.cards} == {Tier.STANDARD, Tier.BULK}
    assert await books(database) == 1


async def test_an_operators_publication_of_the_repricers_draft_goes_on_from_there(database: Database) -> None:
    await set_up(database)
    await set_market(database, "utilisation", 0.55, LATER_US)
    await run(database, LATER_US, Reprice.PROPOSE)
    done = await run(database, LATER_US + HOUR_US, Reprice.PROPOSE)
    async with database.writing() as session:
        await publish_draft(session, done.draft_id or "", Release(1, "as proposed"), ADA, LATER_US + 2 * HOUR_US)
    assert (await run(database, LATER_US + 3 * HOUR_US, Reprice.PROPOSE)).outcome is Outcome.QUIET
    assert await open_drafts(database) == []


async def test_a_model_that_cannot_be_derived_stays_as_it_is_and_is_named(database: Database) -> None:
    await set_up(database)
    await price(database, replace(SPEC, profiled_as="nobody/measured"), LATER_US)
    await run(database, LATER_US)
    done = await run(database, LATER_US + HOUR_US)
    assert done.outcome is Outcome.QUIET
    assert [model for model, _ in done.troubles] == [MODEL]


async def test_before_there_is_a_book_it_has_nothing_to_do(database: Database) -> None:
    assert (await run(database, T0_US)).outcome is Outcome.NO_BOOK


async def two_at_once(database: Database) -> None:
    await set_up(database)
    await set_market(database, "utilisation", 0.5, LATER_US)
    await run(database, LATER_US)
    done = await asyncio.gather(*(run(database, LATER_US + HOUR_US) for _ in range(4)))
    outcomes = [each.outcome for each in done]
    assert outcomes.count(Outcome.PUBLISHED) == 1
    assert set(outcomes) <= {Outcome.PUBLISHED, Outcome.OVERTAKEN, Outcome.QUIET}
    assert await books(database) == 2


async def test_of_workers_at_once_one_publishes(database: Database) -> None:
    await two_at_once(database)


async def test_a_process_that_dies_before_it_commits_has_written_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_up(database)
    await set_market(database, "utilisation", 0.5, LATER_US)
    await run(database, LATER_US)

    async def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("app.planning.repricer_store.drop_draft", dies)  # the last step, after the book was written
        with pytest.raises(KeyboardInterrupt):
            await run(database, LATER_US + HOUR_US)
    assert await books(database) == 1
    assert (await run(database, LATER_US + HOUR_US)).outcome is Outcome.PUBLISHED
