"""Drafts of price books in the database: open, edit, rebase, discard, and publish now or at a moment to come.

Every call joins the caller's transaction and records who did what in it. A draft that somebody else changed meanwhile
is never overwritten: each change names the version that it was made from.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import defer
from sqlmodel import col, func, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.service import Actor, Change, record
from app.catalog import repository
from app.catalog.book_store import Released, UnknownBook, release, turn_at
from app.catalog.draft import (
    CardEdit,
    CardKey,
    Cards,
    Draft,
    DraftHead,
    DraftState,
    Origin,
    Rebased,
    by_key,
    cards_of_record,
    draft_record,
    edited,
    rebased,
)
from app.catalog.draft_refusals import (
    REMARKS_SHOWN_MAX,
    DraftRefused,
    UnknownDraft,
    check_remarks,
    checked_title,
    closed,
    outdated,
    stale,
)
from app.catalog.draft_remarks import problems, warnings
from app.catalog.models import DraftRow
from app.catalog.service import Provenance, actor_name, checked_reason
from app.identity.ids import ENTROPY_BYTES, time_ordered_id
from pricing.money import format_usd_per_mtok
from pricing.pricebook import PriceBook, RateCard

DRAFTS_OPEN_MAX = 200
EDITS_MAX = 3_000
_WITHOUT_CARDS = defer(col(DraftRow.record))  # pyright: ignore[reportArgumentType] (a mapped column, as SQLAlchemy wants it)


@dataclass(frozen=True, slots=True)
class Heading:
    """How a draft begins: what it is called and what made it."""

    title: str
    origin: Origin = Origin.OPERATOR


@dataclass(frozen=True, slots=True)
class Release:
    """How a draft is to be published.

    Attributes:
        version: of the draft that was looked at.
        effective_at: when it comes into force, aware and to come; None at once.
        accepts_warnings: True when the draft's warnings, such as rates below cost, were read and are meant.
    """

    version: int
    reason: str
    effective_at: datetime | None = None
    accepts_warnings: bool = False


async def open_draft(
    session: AsyncSession,
    cards: PriceBook | Iterable[RateCard],
    base: PriceBook | None,
    heading: Heading,
    actor: Actor,
    now_us: int,
) -> Draft:
    """Opens a draft of a whole book.

    Args:
        session: a writing one.
        cards: what it begins with.
        base: the book that it is compared with and is to replace; None where nothing is in force.
        heading: its title and origin.
        actor: who opens it.
        now_us: µs since the epoch.

    Raises:
        DraftRefused: no or too long a title, or too many drafts are open already.
    """
    await _check_room(session)
    kept = by_key(cards.cards.values() if isinstance(cards, PriceBook) else cards)
    row = DraftRow(
        id=time_ordered_id("draft", now_us, secrets.token_bytes(ENTROPY_BYTES)).replace("_", "-", 1),
        base_book_id=None if base is None else base.id,
        title=checked_title(heading.title),
        origin=heading.origin.value,
        record=draft_record(kept, {}),
        created_by=actor_name(actor),
        created_at_us=now_us,
        updated_at_us=now_us,
    )
    session.add(row)
    await session.flush()
    after = {"title": row.title, "base_book_id": row.base_book_id, "origin": row.origin, "cards": len(kept)}
    await record(session, actor, Change("price_draft.opened", f"price_draft:{row.id}", after=after), now_us)
    return _draft(row, {} if base is None else base.cards)


async def open_draft_from_cards(
    session: AsyncSession, cards: Iterable[RateCard], heading: Heading, actor: Actor, now_us: int
) -> Draft:
    """Opens a draft of the book in force in which some models' cards are replaced, all tiers of each at once.

    Raises:
        DraftRefused: as :func:`open_draft`.
    """
    row = await repository.live_row(session, now_us)
    base = None if row is None else repository.book_of(row)
    fresh = by_key(cards)
    models = {model for model, _ in fresh}
    others = [] if base is None else [card for card in base.cards.values() if card.model not in models]
    return await open_draft(session, [*others, *fresh.values()], base, heading, actor, now_us)


async def draft_by_id(session: AsyncSession, draft_id: str) -> Draft:
    """One draft with everything about it.

    Raises:
        UnknownDraft: there is none of that id.
    """
    statement = select(DraftRow).where(col(DraftRow.id) == draft_id).execution_options(populate_existing=True)
    row = (await session.exec(statement)).first()
    if row is None:
        raise UnknownDraft(draft_id)
    return _draft(row, await _base_cards(session, row.base_book_id))


async def drafts_page(
    session: AsyncSession, rows_max: int, *, after_id: str = "", state: DraftState | None = None
) -> Sequence[DraftHead]:
    """Drafts without their cards, the last opened first.

    Args:
        session: a reading one.
        rows_max: how many at most.
        after_id: only those opened before this one.
        state: only those that are so.
    """
    statement = select(DraftRow).options(_WITHOUT_CARDS).order_by(col(DraftRow.id).desc()).limit(rows_max)
    if after_id:
        statement = statement.where(col(DraftRow.id) < after_id)
    if state is not None:
        statement = statement.where(col(DraftRow.state) == state.value)
    return [_head(row) for row in (await session.exec(statement)).all()]


async def edit_card(
    session: AsyncSession, draft_id: str, version: int, edit: CardEdit, actor: Actor, now_us: int
) -> Draft:
    """Changes one tier of a draft; see :func:`edit_cards`."""
    return await edit_cards(session, draft_id, version, [edit], actor, now_us)


async def edit_cards(
    session: AsyncSession, draft_id: str, version: int, edits: Sequence[CardEdit], actor: Actor, now_us: int
) -> Draft:
    """Changes some tiers of a draft at once; what changes nothing leaves the version as it is.

    Raises:
        UnknownDraft: there is none of that id.
        DraftClosed: it was published or discarded.
        DraftChanged: its version is another one.
        EditRefused: an edit that no card can take; then none of them is made.
    """
    if len(edits) > EDITS_MAX:
        raise DraftRefused(400, "too_many_edits", f"{len(edits)} edits at once; at most {EDITS_MAX} are taken.")
    draft = await _to_change(session, draft_id, version)
    base = await _base_cards(session, draft.base_book_id)
    cards, withheld = edited(draft, edits, base)
    keys = list(dict.fromkeys((edit.model, edit.tier) for edit in edits))
    before, after = _terms(draft.cards, draft.withheld, keys), _terms(cards, withheld, keys)
    if (cards, withheld) == (draft.cards, draft.withheld):
        return draft
    change = Change("price_draft.edited", f"price_draft:{draft_id}", before, after)
    values = {"record": draft_record(cards, withheld)}
    return await _changed(session, draft, values, change, _By(actor, now_us))


async def rebase(
    session: AsyncSession, draft_id: str, version: int, actor: Actor, now_us: int, *, onto: str | None = None
) -> Draft:
    """Compares a draft with another book from now on, and keeps its edits on top of it.

    Args:
        session: a writing one.
        draft_id: which.
        version: of the draft that was looked at.
        actor: who does it.
        now_us: µs since the epoch.
        onto: a published book; None takes the one in force.

    Raises:
        UnknownBook: there is no such book, or it was withdrawn.
        UnknownDraft, DraftClosed, DraftChanged: as :func:`edit_cards`.
    """
    draft = await _to_change(session, draft_id, version)
    row = await (repository.live_row(session, now_us) if onto is None else repository.standing_row(session, onto))
    if row is None:
        raise UnknownBook(onto or "in force")
    if row.id == draft.base_book_id:
        return draft
    moved: Rebased = rebased(draft, await _base_cards(session, draft.base_book_id), repository.book_of(row).cards)
    change = Change(
        "price_draft.rebased",
        f"price_draft:{draft_id}",
        before={"base_book_id": draft.base_book_id},
        after={"base_book_id": row.id, "changed_by_both": [f"{model} {tier}" for model, tier in moved.clashes]},
    )
    values = {"base_book_id": row.id, "record": draft_record(moved.cards, moved.withheld)}
    return await _changed(session, draft, values, change, _By(actor, now_us))


async def discard(session: AsyncSession, draft_id: str, version: int, actor: Actor, reason: str, now_us: int) -> Draft:
    """Drops a draft; it stays readable.

    Raises:
        UnknownDraft, DraftClosed, DraftChanged: as :func:`edit_cards`.
    """
    draft = await _to_change(session, draft_id, version)
    change = Change(
        "price_draft.discarded",
        f"price_draft:{draft_id}",
        before={"state": draft.state.value},
        after={"state": DraftState.DISCARDED.value},
        reason=checked_reason(reason),
    )
    return await _changed(session, draft, {"state": DraftState.DISCARDED.value}, change, _By(actor, now_us))


async def publish_draft(session: AsyncSession, draft_id: str, wanted: Release, actor: Actor, now_us: int) -> Released:
    """Makes a draft a price book, in force at once or at a moment to come.

    Raises:
        UnknownDraft, DraftClosed, DraftChanged: as :func:`edit_cards`.
        DraftNotPublishable: it has problems, or warnings that were not accepted.
        DraftOutdated: at that moment another book would be in force than the one that the draft was compared with;
            :func:`rebase` it on that one.
        MomentRefused: the moment has passed, has no time zone, or is too far away.
        PriceBookSuperseded: another book was published at the same time.
    """
    await repository.take_turn(session)
    draft = await _to_change(session, draft_id, wanted.version)
    check_remarks(draft, accepts_warnings=wanted.accepts_warnings)
    turn = await turn_at(session, now_us, wanted.effective_at)
    if turn.replaces != draft.base_book_id:
        raise outdated(draft, turn.at_us, turn.replaces)
    provenance = Provenance(actor, checked_reason(wanted.reason), draft.origin)
    released = await release(session, draft.cards.values(), turn, provenance, now_us)
    change = Change(
        "price_draft.published",
        f"price_draft:{draft_id}",
        before={"state": draft.state.value, "price_book_id": released.replaces},
        after={
            "state": DraftState.PUBLISHED.value,
            "price_book_id": released.book.id,
            "effective_at": released.book.effective_at.isoformat(),
            "warnings_accepted": [str(remark) for remark in draft.warnings[:REMARKS_SHOWN_MAX]],
        },
        reason=provenance.reason,
    )
    values = {"state": DraftState.PUBLISHED.value, "published_book_id": released.book.id}
    await _changed(session, draft, values, change, _By(actor, now_us))
    return released


@dataclass(frozen=True, slots=True)
class _By:
    actor: Actor
    now_us: int


async def _check_room(session: AsyncSession) -> None:
    statement = select(func.count()).select_from(DraftRow).where(col(DraftRow.state) == DraftState.OPEN.value)
    count = (await session.exec(statement)).one()
    if count >= DRAFTS_OPEN_MAX:
        raise DraftRefused(
            409, "too_many_drafts", f"{count} drafts are open, at most {DRAFTS_OPEN_MAX} may be; discard some first."
        )


async def _to_change(session: AsyncSession, draft_id: str, version: int) -> Draft:
    """A draft that may be changed by somebody who read ``version`` of it."""
    draft = await draft_by_id(session, draft_id)
    if not draft.is_open:
        raise closed(draft)
    if draft.version != version:
        raise stale(draft_id, version, draft.version)
    return draft


async def _changed(session: AsyncSession, draft: Draft, values: dict[str, Any], change: Change, by: _By) -> Draft:
    """Writes a change unless somebody else's came first, and records it."""
    statement = (
        update(DraftRow)
        .where(
            col(DraftRow.id) == draft.id,
            col(DraftRow.version) == draft.version,
            col(DraftRow.state) == DraftState.OPEN.value,
        )
        .values({**values, "version": draft.version + 1, "updated_at_us": by.now_us})
        .execution_options(synchronize_session=False)
    )
    if (await session.exec(statement)).rowcount != 1:
        raise stale(draft.id, draft.version, (await draft_by_id(session, draft.id)).version)
    await record(session, by.actor, change, by.now_us)
    return await draft_by_id(session, draft.id)


def _terms(cards: Cards, withheld: Cards, keys: Sequence[CardKey]) -> dict[str, Any]:
    """Rates and promise of some cards, sold or withheld, for the audit log; None where there is no such card."""
    return {
        f"{key[0]} {key[1]}": _card_terms(cards[key], is_sold=True)
        if key in cards
        else _card_terms(withheld[key], is_sold=False)
        if key in withheld
        else None
        for key in keys
    }


def _card_terms(card: RateCard, *, is_sold: bool) -> dict[str, Any]:
    rates = {name.value: format_usd_per_mtok(rate) for name, rate in card.rung.rates.by_class().items()}
    slo = card.rung.slo
    return {"is_sold": is_sold, "usd_per_mtok": rates, "ttft_us": slo.ttft_us, "tpot_us": slo.tpot_us}


async def _base_cards(session: AsyncSession, book_id: str | None) -> Cards:
    if book_id is None:
        return {}
    row = await repository.row_by_id(session, book_id)
    if row is None:
        raise UnknownBook(book_id)
    return repository.book_of(row).cards


def _draft(row: DraftRow, base: Cards) -> Draft:
    cards, withheld = cards_of_record(row.record)
    return Draft(
        id=row.id,
        base_book_id=row.base_book_id,
        title=row.title,
        origin=Origin(row.origin),
        state=DraftState(row.state),
        version=row.version,
        created_by=row.created_by,
        created_at_us=row.created_at_us,
        updated_at_us=row.updated_at_us,
        published_book_id=row.published_book_id,
        cards=cards,
        withheld=withheld,
        problems=problems(cards),
        warnings=warnings(cards, base),
    )


def _head(row: DraftRow) -> DraftHead:
    return DraftHead(
        id=row.id,
        base_book_id=row.base_book_id,
        title=row.title,
        origin=Origin(row.origin),
        state=DraftState(row.state),
        version=row.version,
        created_by=row.created_by,
        created_at_us=row.created_at_us,
        updated_at_us=row.updated_at_us,
        published_book_id=row.published_book_id,
    )
