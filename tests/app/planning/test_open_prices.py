"""What a start does about prices, and what the console's button proposes."""

from dataclasses import replace

import pytest
from sqlmodel import select

from app.catalog.book_store import release, roll_back, turn_at, withdraw_book
from app.catalog.draft_store import (
    CardEdit,
    DraftState,
    Origin,
    Release,
    draft_by_id,
    drafts_page,
    edit_card,
    publish_draft,
)
from app.catalog.models import PriceBookRow
from app.catalog.service import Provenance, live_book
from app.db import Database
from app.planning.input_store import set_input
from app.planning.inputs import Revision, Source
from app.planning.priced_store import priced_models_at
from app.planning.service import NothingDerived, Opened, derive_now, propose
from pricing.pricebook import PriceBook
from pricing.slo import Slo, Tier
from tests.app.planning.planning_market import (
    ADA,
    DAY_US,
    HOUR_US,
    MODEL,
    SHIPPED,
    SPEC,
    START,
    T0_US,
    at,
    set_market,
    set_up,
    start,
)

LATER_US = T0_US + DAY_US


async def live(database: Database, at_us: int = LATER_US) -> PriceBook:
    async with database.reading() as session:
        return await live_book(session, at(at_us))


async def origins(database: Database) -> list[str]:
    async with database.reading() as session:
        return list((await session.exec(select(PriceBookRow.origin).order_by(PriceBookRow.sequence))).all())  # pyright: ignore[reportArgumentType]


async def drafts(database: Database) -> list[tuple[str, Origin]]:
    async with database.reading() as session:
        return [(head.id, head.origin) for head in await drafts_page(session, 100, state=DraftState.OPEN)]


async def operator_publishes(database: Database, at_us: int, ahead_us: int = 0) -> str:
    book = await live(database, at_us)
    cards = [card for card in book.cards.values() if card.rung.tier is not Tier.PREMIUM]
    async with database.writing() as session:
        turn = await turn_at(session, at_us, at(at_us + ahead_us) if ahead_us else None)
        return (await release(session, cards, turn, Provenance(ADA, "no premium", Origin.OPERATOR), at_us)).book.id


async def test_the_first_start_publishes_and_another_one_changes_nothing(database: Database) -> None:
    first = await set_up(database)
    again = await start(database, LATER_US)
    assert (first.is_new, again) == (True, Opened(first.book_id, is_new=False))
    assert await origins(database) == ["derived"]


async def test_a_changed_setting_changes_the_live_quote(database: Database) -> None:
    await set_up(database)
    before = await live(database)
    opened = await start(database, LATER_US, utilisation=0.3)
    after = await live(database)
    assert opened.is_new
    for key, card in after.cards.items():
        assert card.rung.rates.output == pytest.approx(2 * before.cards[key].rung.rates.output, rel=0.001)


async def test_an_operators_book_is_never_replaced_and_the_difference_waits_as_one_draft(database: Database) -> None:
    await set_up(database)
    mine = await operator_publishes(database, LATER_US)
    first = await start(database, LATER_US + 1)
    again = await start(database, LATER_US + 2)
    other = await start(database, LATER_US + 3, utilisation=0.3)
    assert (first.book_id, first.is_new, again.draft_id) == (mine, False, first.draft_id)
    assert mine in first.why_draft
    assert "operator" in first.why_draft
    assert (await live(database, LATER_US + 4)).id == mine
    assert await drafts(database) == [(other.draft_id, Origin.DERIVED)]


@pytest.mark.parametrize("how", ["rollback", "repricer", "scheduled", "operators derived draft"])
async def test_whatever_else_was_decided_is_not_replaced_either(database: Database, how: str) -> None:
    first = await set_up(database)
    if how == "rollback":
        await start(database, LATER_US - 2, utilisation=0.3)
        async with database.writing() as session:
            await roll_back(session, first.book_id, ADA, "too dear", LATER_US)
    elif how == "repricer":
        book = await live(database)
        async with database.writing() as session:
            turn = await turn_at(session, LATER_US)
            await release(session, book.cards.values(), turn, Provenance(START, "", Origin.REPRICER), LATER_US)
    elif how == "scheduled":
        await operator_publishes(database, LATER_US, ahead_us=DAY_US)
    else:
        await set_market(database, "overhead_usd_per_mtok", 0.01, LATER_US)
        async with database.writing() as session:
            draft = await propose(session, at(LATER_US), await derive_now(database, LATER_US, SHIPPED))
            assert draft is not None
            edited = await edit_card(
                session, draft.id, 1, CardEdit(MODEL, Tier.BULK, slo=Slo(700_000_000, 0)), ADA, LATER_US
            )
            await publish_draft(session, draft.id, Release(edited.version, "mine"), ADA, LATER_US)
    standing = (await live(database, LATER_US + 1)).id
    opened = await start(database, LATER_US + 1, utilisation=0.2)
    assert (opened.is_new, opened.book_id) == (False, standing)
    assert opened.draft_id is not None


async def test_a_schedule_that_was_withdrawn_stands_in_nobodys_way(database: Database) -> None:
    await set_up(database)
    scheduled = await operator_publishes(database, LATER_US, ahead_us=DAY_US)
    async with database.writing() as session:
        await withdraw_book(session, scheduled, ADA, "a mistake", LATER_US + 1)
    assert (await start(database, LATER_US + 2, utilisation=0.3)).is_new


async def test_a_start_never_publishes_what_was_metered(database: Database) -> None:
    first = await set_up(database)
    metered = Revision(f"model:{MODEL}", "utilisation", 0.3, Source.METERED, LATER_US, LATER_US, "", "", {}, once="m")
    async with database.writing() as session:
        await set_input(session, metered, START)
    opened = await start(database, LATER_US + 1)
    assert (opened.book_id, opened.is_new) == (first.book_id, False)
    assert f"model:{MODEL} utilisation" in opened.why_draft
    assert await origins(database) == ["derived"]


async def test_a_market_in_which_nothing_can_be_priced_does_not_open(database: Database) -> None:
    with pytest.raises(NothingDerived, match="nobody/measured"):
        await set_up(database, spec=replace(SPEC, profiled_as="nobody/measured"))


async def test_a_model_in_trouble_keeps_its_prices_and_is_told(database: Database) -> None:
    first = await set_up(database)
    opened = await start(database, LATER_US, spec=replace(SPEC, profiled_as="nobody/measured"))
    assert (opened.book_id, opened.is_new) == (first.book_id, False)
    assert "nobody/measured" in opened.troubles[MODEL]


async def test_the_button_opens_one_draft_with_full_rates_and_promises(database: Database) -> None:
    await set_up(database)
    assert await propose_now(database, LATER_US) is None
    await set_market(database, "utilisation", 0.2, LATER_US)
    first = await propose_now(database, LATER_US)
    assert first == await propose_now(database, LATER_US + HOUR_US)
    book = await live(database)
    async with database.reading() as session:
        draft = await draft_by_id(session, first or "")
    assert (draft.origin, draft.base_book_id, draft.created_by) == (Origin.DERIVED, book.id, "derivation")
    for key, card in draft.cards.items():
        assert card.rung.rates.output == pytest.approx(3 * book.cards[key].rung.rates.output, rel=0.001)


async def test_the_button_leaves_cards_of_models_that_are_not_derived(database: Database) -> None:
    await set_up(database)
    book = await live(database)
    others = [replace(card, model="by/hand") for card in book.cards.values()]
    async with database.writing() as session:
        turn = await turn_at(session, LATER_US)
        by = Provenance(ADA, "by hand", Origin.OPERATOR)
        await release(session, [*book.cards.values(), *others], turn, by, LATER_US)
    await set_market(database, "utilisation", 0.2, LATER_US + 1)
    draft_id = await propose_now(database, LATER_US + 1)
    async with database.reading() as session:
        draft = await draft_by_id(session, draft_id or "")
        specs = await priced_models_at(session, LATER_US)
    assert {model for model, _ in draft.cards} == {MODEL, "by/hand"}
    assert [card for card in draft.cards.values() if card.model == "by/hand"] == others
    assert [spec.public_name for spec in specs] == [MODEL]


async def propose_now(database: Database, at_us: int) -> str | None:
    found = await derive_now(database, at_us, SHIPPED)
    async with database.writing() as session:
        draft = await propose(session, at(at_us), found)
    return None if draft is None else draft.id


async def test_the_button_says_why_when_nothing_can_be_derived(database: Database) -> None:
    async with database.writing() as session:
        with pytest.raises(NothingDerived, match="no priced model is on sale"):
            await propose(session, at(T0_US))
