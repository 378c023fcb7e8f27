"""One run of the repricer: derive, compare with the live book, and move within the limits.

Everything slow happens before the writing transaction, which then checks that nothing changed meanwhile: of two workers
at once one writes, and a process that dies half-way has written nothing.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.service import Actor
from app.catalog import repository
from app.catalog.book_store import release, turn_at
from app.catalog.draft import Origin
from app.catalog.models import PriceBookRow
from app.catalog.service import PriceBookSuperseded, Provenance
from app.clock import from_us
from app.db import Database
from app.planning.derivation import Derived, derived, review_cards, seen, stepped_cards
from app.planning.draft_keeper_store import Proposal, declined, drop_draft, keep_draft, own_draft
from app.planning.in_force import InForce
from app.planning.input_store import inputs_at
from app.planning.priced import PricedModelSpec
from app.planning.priced_store import priced_models_at
from app.planning.resolve import Shipped
from app.planning.state_store import remember, remembered
from pricing.pricebook import PriceBook, PriceBookId
from pricing.repricing import (
    DEFAULT_LIMITS,
    Limits,
    Move,
    RepricingError,
    Watch,
    run,
    watch_document,
    watch_from_document,
)

STATE: Final = "repricer"
ACTOR: Final = Actor("system", "repricer", "repricer")
MODELS_MAX: Final = 1_000


class Reprice(StrEnum):
    """What the repricer may do."""

    OFF = "off"
    PROPOSE = "propose"
    PUBLISH = "publish"


class Outcome(StrEnum):
    """What came of a run."""

    OFF = "off"
    NO_BOOK = "no_book"
    QUIET = "quiet"
    WAITING = "waiting"
    PROPOSED = "proposed"
    PUBLISHED = "published"
    OVERTAKEN = "overtaken"


@dataclass(frozen=True, slots=True)
class Repriced:
    """What one run did.

    Attributes:
        book_id: of the book that it published.
        draft_id: of the draft that it opened or kept.
        reason: in words, with the numbers.
        troubles: models that could not be derived, and why.
    """

    outcome: Outcome
    reason: str
    book_id: str | None = None
    draft_id: str | None = None
    troubles: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Scene:
    """What a run began with; it writes only while this still holds."""

    version: int
    watch: Watch
    latest_id: str
    live: PriceBook
    published_at_us: int
    given: InForce
    specs: tuple[PricedModelSpec, ...]


async def reprice(
    database: Database, shipped: Shipped, mode: Reprice, now_us: int, limits: Limits = DEFAULT_LIMITS
) -> Repriced:
    """One run.

    Args:
        database: of the market.
        shipped: what comes with the product.
        mode: what it may do.
        now_us: µs since the epoch.
        limits: how easily and how far prices move.
    """
    if mode is Reprice.OFF:
        return Repriced(Outcome.OFF, "GOODPUT_REPRICE is off")
    async with database.snapshot() as session:
        scene = await _scene(session, now_us)
    if scene is None:
        return Repriced(Outcome.NO_BOOK, "no price book is in force")
    found = derived(scene.specs, scene.given, shipped)
    watch, move = run(scene.watch, seen(scene.live, found, scene.published_at_us, now_us), limits)
    try:
        async with database.writing() as session:
            done = await _write(session, scene, found, _Decided(watch, move, limits, mode), now_us)
    except PriceBookSuperseded:
        done = None
    if done is None:
        return Repriced(Outcome.OVERTAKEN, "a book, or another run, came between; the next run looks again")
    return replace(done, troubles=tuple(sorted(found.troubles.items())))


@dataclass(frozen=True, slots=True)
class _Decided:
    """What a run is about to write."""

    watch: Watch
    move: Move
    limits: Limits
    mode: Reprice


async def specs_on_sale(session: AsyncSession, at_us: int) -> tuple[PricedModelSpec, ...]:
    """Every priced model that is on sale."""
    on_sale = {model.name for model in await repository.models_on_sale(session, MODELS_MAX)}
    return tuple(spec for spec in await priced_models_at(session, at_us) if spec.public_name in on_sale)


async def last_change_us(session: AsyncSession, live: PriceBookRow) -> int:
    """When a book was last published or came, or will come, into force, by whomever; withdrawn ones do not count."""
    waiting = [
        row
        for row in await repository.rows_effective_since(session, live.effective_at_us, MODELS_MAX)
        if await repository.standing_row(session, row.id) is not None
    ]
    return max(max(row.effective_at_us, row.created_at_us) for row in (live, *waiting))


async def _scene(session: AsyncSession, now_us: int) -> _Scene | None:
    row, latest = await repository.live_row(session, now_us), await repository.latest_row(session)
    if row is None or latest is None:
        return None
    version, document = await remembered(session, STATE)
    return _Scene(
        version=version,
        watch=_watch(document),
        latest_id=latest.id,
        live=repository.book_of(row),
        published_at_us=await last_change_us(session, row),
        given=await inputs_at(session, now_us),
        specs=await specs_on_sale(session, now_us),
    )


def _watch(document: object) -> Watch:
    """What was remembered; a memory that cannot be read starts again, which publishes nothing sooner."""
    if not isinstance(document, dict):
        return Watch()
    try:
        return watch_from_document(document)
    except RepricingError:
        return Watch()


async def _write(
    session: AsyncSession, scene: _Scene, found: Derived, decided: _Decided, now_us: int
) -> Repriced | None:
    """Remembers the run and does what it decided; None, and nothing is written, where somebody else wrote meanwhile."""
    move = decided.move
    await repository.take_turn(session)
    row, latest = await repository.live_row(session, now_us), await repository.latest_row(session)
    if row is None or latest is None or (row.id, latest.id) != (scene.live.id, scene.latest_id):
        return None
    if not await remember(session, STATE, scene.version, watch_document(decided.watch), now_us):
        return None
    if not (move.rates or move.reviews):
        if not decided.watch.streaks:
            await drop_draft(session, Origin.REPRICER, ACTOR, "what is derived is what is in force again", now_us)
        return Repriced(Outcome.QUIET, move.reason)
    if move.dwells_until_us is not None:
        return Repriced(Outcome.WAITING, f"{move.reason}; waits until {from_us(move.dwells_until_us).isoformat()}")
    if decided.mode is Reprice.PUBLISH and move.rates:
        return await _published(session, scene, found, decided, now_us)
    return await _proposed(session, _proposal(scene.live, found, decided), move.reason, now_us)


async def _published(session: AsyncSession, scene: _Scene, found: Derived, decided: _Decided, now_us: int) -> Repriced:
    """Publishes the rates that move; what else would change becomes a draft over the new book."""
    move = decided.move
    by = Provenance(ACTOR, move.reason, Origin.REPRICER, PriceBookId(scene.latest_id))
    turn = await turn_at(session, now_us)
    book = (await release(session, stepped_cards(scene.live, found, move.rates), turn, by, now_us)).book
    if not move.reviews:
        await drop_draft(session, Origin.REPRICER, ACTOR, f"{book.id} was published instead", now_us)
        return Repriced(Outcome.PUBLISHED, move.reason, book.id)
    wanted = _proposal(book, found, replace(decided, move=replace(move, rates={})))
    draft = await keep_draft(session, wanted, ACTOR, now_us)
    return Repriced(Outcome.PUBLISHED, move.reason, book.id, draft.id)


async def _proposed(session: AsyncSession, wanted: Proposal, reason: str, now_us: int) -> Repriced:
    """Opens, or leaves open, the repricer's one draft, but for what a person discarded: that is not asked again."""
    is_open = await own_draft(session, Origin.REPRICER) is not None
    gone = None if is_open else await declined(session, wanted, ACTOR)
    if gone is not None:
        return Repriced(Outcome.QUIET, f"{reason}; a person discarded this very proposal, {gone}")
    draft = await keep_draft(session, wanted, ACTOR, now_us)
    return Repriced(Outcome.PROPOSED, reason, draft_id=draft.id)


def _proposal(live: PriceBook, found: Derived, decided: _Decided) -> Proposal:
    """What the repricer's one draft is to say."""
    move = decided.move
    models = len({model for model, _ in move.rates} | move.reviews)
    what = "rates and promises" if move.reviews and move.rates else "promises" if move.reviews else "rates"
    cards = review_cards(live, found, move.rates, move.reviews, decided.limits)
    title = f"Repricer: {what} of {models} model{'s' if models > 1 else ''}"
    return Proposal(Origin.REPRICER, title, live, cards)
