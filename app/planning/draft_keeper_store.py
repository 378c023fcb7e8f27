"""Keeps the one open draft that a machine proposes: opened, made anew, or dropped; never one that a person edited.

A person's edit raises a draft's version. This room never edits: it discards and opens, so a version above one means
hands off. Every call takes the catalog's turn, so that two workers never open two.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.service import Actor, AuditFilter, audit_page
from app.catalog import repository
from app.catalog.draft import by_key
from app.catalog.draft_store import Draft, DraftState, Heading, Origin, discard, draft_by_id, drafts_page, open_draft
from pricing.pricebook import PriceBook, RateCard

DRAFTS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a machine proposes.

    Attributes:
        base: the book in force; None before the first.
        cards: all cards of the book that it would be.
    """

    origin: Origin
    title: str
    base: PriceBook | None
    cards: tuple[RateCard, ...]


async def own_draft(session: AsyncSession, origin: Origin, state: DraftState = DraftState.OPEN) -> Draft | None:
    """The newest draft of an origin in a state, among the last so many of that state; None when there is none."""
    for head in await drafts_page(session, DRAFTS_MAX, state=state):
        if head.origin is origin:
            return await draft_by_id(session, head.id)
    return None


async def declined(session: AsyncSession, wanted: Proposal, actor: Actor) -> str | None:
    """The draft in which somebody else than ``actor`` discarded this very proposal, the last of its kind; else None.

    Another figure, or another book in force, makes it another proposal.
    """
    draft = await own_draft(session, wanted.origin, DraftState.DISCARDED)
    if draft is None or not _says_the_same(draft, wanted.base, wanted.cards):
        return None
    about = AuditFilter(subject=f"price_draft:{draft.id}", action="price_draft.discarded")
    told = await audit_page(session, about, 1)
    return draft.id if told and told[0].actor_id != actor.id else None


def is_edited(draft: Draft) -> bool:
    """True when a person changed it since it was opened."""
    return draft.version > 1


async def keep_draft(session: AsyncSession, wanted: Proposal, actor: Actor, now_us: int) -> Draft:
    """The open draft of ``wanted``: the one that is there where it says the same or a person edited it, else a new one.

    Raises:
        DraftRefused: too many drafts are open already.
    """
    await repository.take_turn(session)
    draft = await own_draft(session, wanted.origin)
    if draft is not None:
        if is_edited(draft) or _says_the_same(draft, wanted.base, wanted.cards):
            return draft
        await discard(session, draft.id, draft.version, actor, "measured anew: another draft replaces it", now_us)
    return await open_draft(session, wanted.cards, wanted.base, Heading(wanted.title, wanted.origin), actor, now_us)


async def drop_draft(session: AsyncSession, origin: Origin, actor: Actor, reason: str, now_us: int) -> bool:
    """Discards the open draft of an origin unless a person edited it; False when there was nothing to discard."""
    await repository.take_turn(session)
    draft = await own_draft(session, origin)
    if draft is None or is_edited(draft):
        return False
    await discard(session, draft.id, draft.version, actor, reason, now_us)
    return True


def _says_the_same(draft: Draft, base: PriceBook | None, cards: Iterable[RateCard]) -> bool:
    return draft.base_book_id == (None if base is None else base.id) and dict(draft.cards) == by_key(cards)
