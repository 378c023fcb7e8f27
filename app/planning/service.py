"""Use cases of planning: open a market's prices, and propose a draft from what was measured.

Deriving takes a second or more of computing. :func:`derive_now` does it in a thread and outside of any writing
transaction; what writes comes after it and looks whether it still holds.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.service import Actor
from app.catalog import repository
from app.catalog.draft import Origin
from app.catalog.draft_store import Draft
from app.catalog.models import PriceBookRow
from app.catalog.service import PriceBookSuperseded, Provenance, actor_name, moment_us, publish
from app.clock import from_us
from app.db import Database
from app.errors import MarketError
from app.planning.derivation import Derived, derived, with_all_kept, with_kept
from app.planning.draft_keeper_store import Proposal, keep_draft
from app.planning.in_force import InForce
from app.planning.input_store import inputs_at, write_defaults
from app.planning.inputs import Source
from app.planning.priced import PricedModelSpec
from app.planning.priced_store import seed_priced_model
from app.planning.repricer_store import specs_on_sale
from app.planning.resolve import Shipped
from pricing.anchors import list_prices
from pricing.demand_document import shipped_demand
from pricing.hardware_catalog import worker_counts
from pricing.pricebook import PriceBook, PriceBookId, price_book
from pricing.shipped import parameters_billion, shipped_profiles

SYSTEM: Final = Actor("system", "derivation", "derivation")
DRAFT_TITLE: Final = "Derived from measurements"
OPENED: Final = "derived at the start"


class NothingDerived(MarketError):
    """No model on sale can be priced from what was measured."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was derived at a moment, and from what."""

    derived: Derived
    given: InForce


@dataclass(frozen=True, slots=True)
class Seeding:
    """What a start brings along.

    Attributes:
        specs: models to be priced.
        defaults: inputs by subject and name.
        known: what comes with the product, where it was read already.
    """

    specs: Sequence[PricedModelSpec]
    defaults: Mapping[tuple[str, str], Any]
    known: Shipped | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """What came of opening a market's prices.

    Attributes:
        book_id: in force afterwards.
        is_new: it was published now.
        draft_id: the open draft of what is derived, where it was not published.
        why_draft: why it was not.
        troubles: models that cannot be priced, and why.
    """

    book_id: str
    is_new: bool
    draft_id: str | None = None
    why_draft: str = ""
    troubles: Mapping[str, str] = field(default_factory=dict[str, str])


def shipped() -> Shipped:
    """The profiles that come with the product; reads their tables, a third of a second."""
    counted = {each.configuration.deployment_id: f"{each.counted} ({each.source})" for each in worker_counts()}
    return Shipped(shipped_profiles(), parameters_billion(), counted, list_prices(), shipped_demand())


async def open_prices(database: Database, seeding: Seeding, actor: Actor, now_us: int) -> Opened:
    """Writes what is to be priced and from what, and sees to the prices.

    The first book is published, and so is another where the one in force was published by an earlier start and what
    follows from data and settings differs. A book that an operator, a rollback or the repricer put in force is never
    replaced, nor does a start publish what was metered: the difference waits as a draft.

    Raises:
        NothingDerived: there is no book, and no model can be priced.
    """
    async with database.writing() as session:
        for spec in seeding.specs:
            await seed_priced_model(session, spec, actor, OPENED, now_us)
        await write_defaults(session, seeding.defaults, actor, now_us)
    found = await derive_now(database, now_us, seeding.known)
    async with database.writing() as session:
        return await _opened(session, found, actor, now_us)


async def derive_now(database: Database, now_us: int, known: Shipped | None = None) -> Found:
    """Derives everything on sale from the inputs in force."""
    async with database.snapshot() as session:
        specs, given = await specs_on_sale(session, now_us), await inputs_at(session, now_us)
    return await _found(specs, given, known)


async def propose(
    session: AsyncSession, now: datetime, found: Found | None = None, *, actor: Actor = SYSTEM
) -> Draft | None:
    """The open draft of what is derived now: full rates and promises, for a person to review.

    Models that cannot be derived stay as they are in the live book, unless they were taken off sale.

    Args:
        session: a writing one.
        now: aware.
        found: of :func:`derive_now`, where it was called before; else it is derived here, which keeps a transaction
            open for as long.
        actor: who asks for it: the audit names them, and the draft as its author.

    Returns:
        None where the live book has the very cards that are derived.

    Raises:
        NothingDerived: no model can be priced.
        DraftRefused: too many drafts are open already.
    """
    now_us = moment_us(now)
    if found is None:
        specs, given = await specs_on_sale(session, now_us), await inputs_at(session, now_us)
        found = await _found(specs, given, None)
    row = await repository.live_row(session, now_us)
    live = None if row is None else repository.book_of(row)
    if not found.derived.cards:
        raise nothing_derived(found.derived.troubles)
    cards = with_all_kept(live, found.derived, await repository.models_withdrawn(session))
    if live is not None and set(live.cards.values()) == set(cards):
        return None
    return await keep_draft(session, Proposal(Origin.DERIVED, DRAFT_TITLE, live, cards), actor, now_us)


def nothing_derived(troubles: Mapping[str, str]) -> NothingDerived:
    """The refusal where nothing can be priced."""
    why = "; ".join(f"{model}: {reason}" for model, reason in sorted(troubles.items())) or "no priced model is on sale"
    return NothingDerived(
        409, "nothing_derived", f"No prices follow from what was measured: {why}. Price a model that has a profile."
    )


async def _found(specs: Sequence[PricedModelSpec], given: InForce, known: Shipped | None) -> Found:
    made = await asyncio.to_thread(lambda: derived(specs, given, known or shipped()))
    return Found(made, given)


async def _opened(session: AsyncSession, found: Found, actor: Actor, now_us: int) -> Opened:
    await repository.take_turn(session)
    latest, row = await repository.latest_row(session), await repository.live_row(session, now_us)
    last = None if latest is None else await repository.standing_row(session, latest.id)
    live = None if row is None else repository.book_of(row)
    cards = with_kept(live, found.derived)
    if not cards:
        raise nothing_derived(found.derived.troubles)
    book = price_book(from_us(now_us), cards)
    if row is not None and live is not None:
        if live.cards == book.cards:
            return Opened(live.id, is_new=False, troubles=found.derived.troubles)
        why = _why_not(row, last or row, found.given, actor)
        if why:
            return await _drafted(session, found, (live, why), now_us)
    after = None if latest is None else PriceBookId(latest.id)
    try:
        await publish(session, book, Provenance(actor, OPENED, Origin.DERIVED, after), now_us)
    except PriceBookSuperseded:
        if live is None:
            raise
        return await _drafted(session, found, (live, "another book was published meanwhile"), now_us)
    return Opened(book.id, is_new=True, troubles=found.derived.troubles)


async def _drafted(session: AsyncSession, found: Found, instead: tuple[PriceBook, str], now_us: int) -> Opened:
    """Opens the derived draft beside the book that stays in force."""
    live, why = instead
    draft = await propose(session, from_us(now_us), found)
    return Opened(live.id, False, None if draft is None else draft.id, why if draft else "", found.derived.troubles)


def _why_not(row: PriceBookRow, last: PriceBookRow, given: InForce, actor: Actor) -> str:
    """Why what is derived is not published over the book in force; empty where it may be."""
    for each in (row, last):
        if each.origin != Origin.DERIVED.value or each.published_by != actor_name(actor):
            state = "in force" if each is row else "published last"
            return f"{each.id}, {state}, was published by {each.published_by} ({each.origin})"
    metered = [
        f"{subject} {name}"
        for (subject, name), revision in sorted(given.revisions.items())
        if revision.source is Source.METERED and revision.created_at_us > row.created_at_us
    ]
    return f"it rests on what was metered since {row.id}: {', '.join(metered)}" if metered else ""
