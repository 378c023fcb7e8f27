"""Drafts in the database: versions, refusals, rebases, what is recorded."""

import pytest

from app.audit.service import Actor
from app.catalog import draft_store
from app.catalog.draft import CardEdit, DraftState, Origin
from app.catalog.draft_refusals import (
    DraftChanged,
    DraftClosed,
    DraftNotPublishable,
    DraftOutdated,
    DraftRefused,
    UnknownDraft,
)
from app.catalog.draft_store import Heading, Release
from app.catalog.service import ReasonMissing
from app.db import Database
from pricing.pricebook import price_book
from pricing.slo import Tier
from tests.app.catalog.books import ACTOR, T0, T0_US, book, card
from tests.app.catalog.shop import HOUR_US, S_US, Shop, at, output_of

NOW = T0_US + S_US


@pytest.fixture
def shop(database: Database) -> Shop:
    return Shop(database)


async def test_a_draft_begins_as_a_copy_and_edits_leave_the_book_alone(shop: Shop) -> None:
    live = await shop.opened_with()
    draft = await shop.draft(live, NOW)
    assert (draft.version, draft.state, draft.origin, draft.base_book_id) == (1, "open", Origin.OPERATOR, live.id)
    assert draft.cards == live.cards
    edited = await shop.edit(draft, NOW + 1, output=700_000)
    assert (edited.version, output_of(edited)) == (2, 700_000)
    assert output_of(await shop.live(NOW + HOUR_US)) == 800_000
    assert await shop.found(draft.id) == edited


async def test_an_edit_is_recorded_with_what_was_and_what_is(shop: Shop) -> None:
    draft = await shop.changed(await shop.opened_with(), NOW, 700_000)
    before, after, _ = await shop.last_audit("price_draft.edited")
    was, now = before["open/one standard"], after["open/one standard"]
    assert isinstance(was, dict)
    assert isinstance(now, dict)
    assert (was["usd_per_mtok"]["output"], now["usd_per_mtok"]["output"]) == ("0.80", "0.70")
    assert draft.version == 2


async def test_an_edit_of_an_older_version_is_refused_with_both_versions_and_changes_nothing(shop: Shop) -> None:
    draft = await shop.draft(await shop.opened_with(), NOW)
    await shop.edit(draft, NOW + 1, output=700_000)
    with pytest.raises(DraftChanged, match="is at version 2, but the change was made from version 1") as refused:
        await shop.edit(draft, NOW + 2, output=600_000)
    assert refused.value.status == 409
    assert output_of(await shop.found(draft.id)) == 700_000


async def test_an_edit_that_changes_nothing_leaves_version_and_log_alone(shop: Shop) -> None:
    draft = await shop.draft(await shop.opened_with(), NOW)
    assert (await shop.edit(draft, NOW + 1, output=800_000)).version == 1
    assert await shop.audited() == ["price_book.published", "price_draft.opened"]


async def test_edits_together_are_one_version_and_all_or_none(shop: Shop) -> None:
    draft = await shop.draft(await shop.opened_with(), NOW)
    edits = [CardEdit("open/one", Tier.STANDARD, fields={"output": 1}), CardEdit("nobody", Tier.BULK)]
    async with shop.database.writing() as session:
        with pytest.raises(Exception, match="nobody has no bulk tier"):
            await draft_store.edit_cards(session, draft.id, 1, edits, ACTOR, NOW)
    assert await shop.found(draft.id) == draft


async def test_a_tier_may_be_taken_off_sale_and_the_book_no_longer_has_it(shop: Shop) -> None:
    draft = await shop.draft(await shop.opened_with(), NOW)
    async with shop.database.writing() as session:
        edit = CardEdit("open/one", Tier.PREMIUM, is_sold=False)
        draft = await draft_store.edit_card(session, draft.id, 1, edit, ACTOR, NOW)
    released = await shop.publish(draft, NOW + S_US)
    assert released.book.tiers("open/one") == (Tier.STANDARD, Tier.BULK)


async def test_a_discarded_draft_can_be_read_but_neither_edited_published_rebased_nor_discarded_again(
    shop: Shop,
) -> None:
    draft = await shop.discard(await shop.draft(await shop.opened_with(), NOW), NOW + 1)
    assert (draft.state, draft.version) == (DraftState.DISCARDED, 2)
    for again in (shop.edit(draft, NOW, output=1), shop.publish(draft, NOW), shop.rebase(draft, NOW)):
        with pytest.raises(DraftClosed, match="was discarded and stays as it is"):
            await again
    with pytest.raises(DraftClosed):
        await shop.discard(draft, NOW)
    assert (await shop.last_audit("price_draft.discarded"))[2] == "not needed"


async def test_a_published_draft_names_its_book_and_stays_as_it_is(shop: Shop) -> None:
    draft = await shop.changed(await shop.opened_with(), NOW, 700_000)
    released = await shop.publish(draft, NOW + S_US)
    done = await shop.found(draft.id)
    assert (done.state, done.published_book_id) == (DraftState.PUBLISHED, released.book.id)
    assert output_of(await shop.live(NOW + S_US)) == 700_000
    with pytest.raises(DraftClosed, match=rf"was published as {released.book.id}"):
        await shop.edit(done, NOW + 2 * S_US, output=1)


async def test_publishing_is_recorded_for_book_and_draft_with_the_reason(shop: Shop) -> None:
    live = await shop.opened_with()
    released = await shop.publish(await shop.changed(live, NOW, 700_000), NOW + S_US)
    before, after, reason = await shop.last_audit("price_draft.published")
    assert (before["price_book_id"], after["price_book_id"], reason) == (live.id, released.book.id, "a reason")
    assert sorted((await shop.audited())[-2:]) == ["price_book.published", "price_draft.published"]
    (head, _) = await shop.books()
    assert (head.origin, head.published_by, head.reason) == (Origin.OPERATOR, "ada@example.com", "a reason")


async def test_a_draft_with_problems_is_not_published_and_says_which(shop: Shop) -> None:
    draft = await shop.changed(await shop.opened_with(), NOW, 300_000)  # below bulk's 400,000
    assert [remark.field for remark in draft.problems] == ["output"]
    with pytest.raises(DraftNotPublishable, match=r"0\.40 USD per million tokens must be below standard's 0\.30"):
        await shop.publish(draft, NOW + S_US)
    assert len(await shop.books()) == 1


async def test_a_rate_below_cost_is_published_only_when_it_is_accepted(shop: Shop) -> None:
    live = await shop.opened_with()
    draft = await shop.edit(await shop.draft(live, NOW), NOW, Tier.BULK, output=49_999)
    async with shop.database.writing() as session:
        with pytest.raises(DraftNotPublishable, match=r"below our cost of 0\.05"):
            await draft_store.publish_draft(session, draft.id, Release(2, "a dumping price"), ACTOR, NOW + S_US)
    await shop.publish(draft, NOW + S_US)
    _, after, _ = await shop.last_audit("price_draft.published")
    assert "below our cost" in str(after["warnings_accepted"])


async def test_a_draft_whose_base_was_superseded_is_refused_and_names_the_newer_book(shop: Shop) -> None:
    live = await shop.opened_with()
    mine, theirs = await shop.changed(live, NOW, 700_000), await shop.changed(live, NOW, 750_000)
    newer = (await shop.publish(theirs, NOW + S_US)).book
    with pytest.raises(DraftOutdated, match=rf"compared with {live.id}.*book to be replaced is {newer.id}") as refused:
        await shop.publish(mine, NOW + 2 * S_US)
    assert refused.value.status == 409
    assert (await shop.found(mine.id)).is_open
    assert len(await shop.books()) == 2


async def test_rebased_it_keeps_its_edits_and_is_published(shop: Shop) -> None:
    live = await shop.opened_with()
    mine = await shop.changed(live, NOW, 700_000)
    theirs = await shop.edit(await shop.draft(live, NOW), NOW, Tier.PREMIUM, output=1_900_000)
    newer = (await shop.publish(theirs, NOW + S_US)).book
    moved = await shop.rebase(mine, NOW + 2 * S_US)
    assert (moved.base_book_id, moved.version) == (newer.id, 3)
    released = await shop.publish(moved, NOW + 3 * S_US)
    assert (output_of(released.book), output_of(released.book, Tier.PREMIUM)) == (700_000, 1_900_000)
    assert (await shop.last_audit("price_draft.rebased"))[0] == {"base_book_id": live.id}


async def test_a_rebase_onto_its_own_base_changes_nothing_and_one_onto_nothing_is_refused(shop: Shop) -> None:
    draft = await shop.changed(await shop.opened_with(), NOW, 700_000)
    assert await shop.rebase(draft, NOW + 1) == draft
    with pytest.raises(Exception, match="no price book 'pb-none'"):
        await shop.rebase(draft, NOW + 1, onto="pb-none")


async def test_some_models_cards_replace_the_live_ones_of_those_models_only(shop: Shop) -> None:
    cards = [*(card(tier) for tier in Tier), *(card(tier, "two") for tier in Tier)]
    live = await shop.opened_with(price_book(T0, cards))
    fresh = [card(Tier.STANDARD, "two")]
    async with shop.database.writing() as session:
        draft = await draft_store.open_draft_from_cards(session, fresh, Heading("Derived", Origin.DERIVED), ACTOR, NOW)
    assert set(draft.cards) == {*(("open/one", tier) for tier in Tier), ("two", Tier.STANDARD)}
    assert (draft.origin, draft.base_book_id) == (Origin.DERIVED, live.id)


async def test_the_first_book_of_a_market_may_come_from_a_draft(shop: Shop) -> None:
    async with shop.database.writing() as session:
        heading = Heading("The first", Origin.DERIVED)
        draft = await draft_store.open_draft_from_cards(session, book().cards.values(), heading, ACTOR, NOW)
    assert draft.base_book_id is None
    released = await shop.publish(draft, NOW + S_US)
    assert released.replaces is None
    assert (await shop.live(NOW + S_US)).cards == book().cards


async def test_lists_have_the_last_opened_first_and_continue_after_an_id(shop: Shop) -> None:
    live = await shop.opened_with()
    made = [await shop.draft(live, NOW + n, title=f"draft {n}") for n in range(4)]
    await shop.discard(made[3], NOW + 9)
    async with shop.database.reading() as session:
        first = await draft_store.drafts_page(session, 2)
        rest = await draft_store.drafts_page(session, 9, after_id=first[-1].id)
        still_open = await draft_store.drafts_page(session, 9, state=DraftState.OPEN)
    assert [head.title for head in (*first, *rest)] == ["draft 3", "draft 2", "draft 1", "draft 0"]
    assert [head.title for head in still_open] == ["draft 2", "draft 1", "draft 0"]
    assert first[0].state is DraftState.DISCARDED


async def test_drafts_open_at_once_have_a_maximum(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft_store, "DRAFTS_OPEN_MAX", 2)
    live = await shop.opened_with()
    first, _ = await shop.draft(live, NOW), await shop.draft(live, NOW)
    with pytest.raises(DraftRefused, match="2 drafts are open"):
        await shop.draft(live, NOW)
    await shop.discard(first, NOW)
    await shop.draft(live, NOW)


@pytest.mark.parametrize("title", ["", "   ", "x" * 201, "a\x00b"])
async def test_a_title_that_cannot_be_kept_is_refused(shop: Shop, title: str) -> None:
    live = await shop.opened_with()
    with pytest.raises(DraftRefused, match="1 to 200 printable characters"):
        await shop.draft(live, NOW, title=title)


@pytest.mark.parametrize("reason", ["", " ", "x" * 1001, "a\x00b"])
async def test_a_reason_that_cannot_be_kept_is_refused_and_nothing_is_published(shop: Shop, reason: str) -> None:
    draft = await shop.changed(await shop.opened_with(), NOW, 700_000)
    async with shop.database.writing() as session:
        with pytest.raises(ReasonMissing):
            await draft_store.publish_draft(session, draft.id, Release(2, reason), ACTOR, NOW + S_US)
    assert len(await shop.books()) == 1


async def test_an_edit_of_a_withheld_tier_is_recorded_with_what_was_and_what_is(shop: Shop) -> None:
    live = await shop.opened_with()
    opened = await shop.draft(live, NOW)
    async with shop.database.writing() as session:
        withheld = await draft_store.edit_card(
            session, opened.id, 1, CardEdit("open/one", Tier.BULK, is_sold=False), ACTOR, NOW + 1
        )
        cheaper = CardEdit("open/one", Tier.BULK, is_sold=False, fields={"output": 123_456})
        await draft_store.edit_card(session, withheld.id, 2, cheaper, ACTOR, NOW + 2)
    before, after, _ = await shop.last_audit("price_draft.edited")
    was, now = before["open/one bulk"], after["open/one bulk"]
    assert isinstance(was, dict)
    assert isinstance(now, dict)
    assert (was["is_sold"], now["is_sold"]) == (False, False)
    assert was["usd_per_mtok"]["output"] != now["usd_per_mtok"]["output"] == "0.123456"


async def test_a_reason_of_the_greatest_length_may_have_spaces_around_it(shop: Shop) -> None:
    draft = await shop.changed(await shop.opened_with(), NOW, 700_000)
    wanted = Release(draft.version, f"  {'x' * 1_000}\n", accepts_warnings=True)
    async with shop.database.writing() as session:
        await draft_store.publish_draft(session, draft.id, wanted, ACTOR, NOW + S_US)
    for action in ("price_draft.published", "price_book.published"):
        assert (await shop.last_audit(action))[2] == "x" * 1_000


async def test_a_draft_that_is_not_there_is_not_found(shop: Shop) -> None:
    with pytest.raises(UnknownDraft, match="no price draft 'draft-none'"):
        await shop.found("draft-none")


async def test_a_transaction_that_fails_after_publishing_leaves_draft_book_and_log_as_they_were(shop: Shop) -> None:
    """What a process that dies in mid-step leaves behind: the last commit, whole."""
    draft = await shop.changed(await shop.opened_with(), NOW, 700_000)
    before = await shop.audited()

    async def die() -> None:
        async with shop.database.writing() as session:
            await draft_store.publish_draft(session, draft.id, Release(2, "a reason"), ACTOR, NOW + S_US)
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await die()
    assert await shop.found(draft.id) == draft
    assert len(await shop.books()) == 1
    assert await shop.audited() == before
    await shop.publish(draft, NOW + 2 * S_US)


async def test_a_long_actors_name_is_cut_to_what_a_row_keeps(shop: Shop) -> None:
    live = await shop.opened_with()
    author = Actor("operator", "op_2", "a" * 320)
    async with shop.database.writing() as session:
        draft = await draft_store.open_draft(session, live, live, Heading("long"), author, NOW)
    assert draft.created_by == "a" * 200


@pytest.mark.slow
async def test_a_draft_of_a_thousand_models_is_edited_published_and_read_back(shop: Shop) -> None:
    cards = [card(tier, f"model-{n:04}") for n in range(1_000) for tier in Tier]
    live = await shop.opened_with(price_book(T0, cards))
    draft = await shop.draft(live, NOW)
    async with shop.database.writing() as session:
        edit = CardEdit("model-0500", Tier.STANDARD, fields={"output": 700_000})
        draft = await draft_store.edit_card(session, draft.id, 1, edit, ACTOR, NOW)
    released = await shop.publish(draft, NOW + S_US, at(NOW + HOUR_US))
    assert len(released.book.cards) == 3_000
    found = await shop.live(NOW + HOUR_US)
    assert found.cards["model-0500", Tier.STANDARD].rung.rates.output == 700_000
    assert sum(found.cards[key] != live.cards[key] for key in live.cards) == 1
