"""Keeps the dated inputs of derivation; each call joins the caller's transaction.

Revisions are only ever added. Their sequence is unique, so of two writers at once one tries again.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel, col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.service import Actor, Change, record
from app.clock import from_us
from app.errors import MarketError
from app.planning.in_force import InForce, in_force
from app.planning.inputs import Revision, Source, checked
from app.planning.models import PricingInputRow

WRITES_MAX: Final = 16
"""Attempts at a sequence that others may take meanwhile."""
HISTORY_ROWS_MAX: Final = 1_000
AUDITED_CHARS_MAX: Final = 2_000
SUBJECT_CHARS_MAX: Final = 200
Row = TypeVar("Row", bound=SQLModel)


class PlanningBusy(MarketError):
    """Others wrote so often at once that this could not be written."""


async def set_input(session: AsyncSession, wanted: Revision, actor: Actor) -> Revision | None:
    """Adds a revision of one input, checked and audited.

    Args:
        session: a writing one.
        wanted: with any value; ``actor`` and ``sequence`` of it are filled in here.
        actor: who sets it.

    Returns:
        What was stored; None where a revision of that ``once`` was there already.

    Raises:
        InputError: no such subject or input, or a value outside its range.
        PlanningBusy: others kept taking its place.
    """
    value = checked(wanted.subject, wanted.name, wanted.value)
    before = (await inputs_at(session, wanted.created_at_us)).revisions.get((wanted.subject, wanted.name))

    def row(sequence: int) -> PricingInputRow:
        return PricingInputRow(
            sequence=sequence,
            subject=wanted.subject,
            name=wanted.name,
            value=value,
            source=wanted.source.value,
            is_pinned=wanted.is_pinned,
            evidence=dict(wanted.evidence),
            effective_at_us=max(wanted.effective_at_us, wanted.created_at_us),
            created_at_us=wanted.created_at_us,
            actor=actor.name or actor.id,
            reason=wanted.reason,
            once=wanted.once or f"#{sequence}",
        )

    stored = await _append_once(session, wanted, row)
    if stored is None:
        return None
    change = Change(
        "pricing_input.set",
        f"pricing_input:{wanted.subject}/{wanted.name}"[:SUBJECT_CHARS_MAX],
        {} if before is None else {"value": _audited(before.value), "source": before.source.value},
        {"value": _audited(value), "source": wanted.source.value, "effective_at_us": stored.effective_at_us},
        wanted.reason,
    )
    await record(session, actor, change, wanted.created_at_us)
    return revision_of(stored)


async def write_defaults(
    session: AsyncSession, wanted: Mapping[tuple[str, str], Any], actor: Actor, now_us: int
) -> list[Revision]:
    """Writes the defaults that are new or differ from the last default; an operator's own figure stays in force.

    A metered figure gives way to a default that was changed since: whoever changed the settings meant it.

    Args:
        session: a writing one.
        wanted: values by subject and name.
        actor: who starts the market.
        now_us: µs since the epoch.
    """
    written: list[Revision] = []
    given = await inputs_at(session, now_us)
    for (subject, name), value in wanted.items():
        current = given.revisions.get((subject, name))
        last = await _last_default(session, subject, name)
        is_same = last is not None and last.value == checked(subject, name, value)
        if is_same or (current is not None and current.source is Source.OPERATOR):
            continue
        reason = "as the settings say" if last is None else "the settings changed"
        wanted_revision = Revision(subject, name, value, Source.DEFAULT, now_us, now_us, "", reason, {})
        if (stored := await set_input(session, wanted_revision, actor)) is not None:
            written.append(stored)
    return written


async def inputs_at(session: AsyncSession, at_us: int) -> InForce:
    """Every input in force at a moment, past or present; a future one counts what is already scheduled."""
    place = func.row_number().over(
        partition_by=(col(PricingInputRow.subject), col(PricingInputRow.name)),
        order_by=(col(PricingInputRow.effective_at_us).desc(), col(PricingInputRow.sequence).desc()),
    )
    ranked = (
        select(col(PricingInputRow.sequence).label("sequence"), place.label("place"))
        .where(col(PricingInputRow.effective_at_us) <= at_us)
        .subquery()
    )
    statement = select(PricingInputRow).join(ranked, ranked.c.sequence == col(PricingInputRow.sequence))
    rows = (await session.exec(statement.where(ranked.c.place == 1))).all()
    return in_force(map(revision_of, rows), at_us)


async def history(
    session: AsyncSession,
    subject: str = "",
    name: str = "",
    rows_max: int = HISTORY_ROWS_MAX,
    *,
    before_sequence: int | None = None,
) -> list[Revision]:
    """Revisions, newest first; of one subject or input where given, and stored before another where given."""
    statement = select(PricingInputRow).order_by(col(PricingInputRow.sequence).desc()).limit(rows_max)
    for column, wanted in ((PricingInputRow.subject, subject), (PricingInputRow.name, name)):
        if wanted:
            statement = statement.where(col(column) == wanted)
    if before_sequence is not None:
        statement = statement.where(col(PricingInputRow.sequence) < before_sequence)
    return [revision_of(row) for row in (await session.exec(statement)).all()]


def revision_of(row: PricingInputRow) -> Revision:
    """A row as a value."""
    return Revision(
        subject=row.subject,
        name=row.name,
        value=row.value,
        source=Source(row.source),
        effective_at_us=row.effective_at_us,
        created_at_us=row.created_at_us,
        actor=row.actor,
        reason=row.reason,
        evidence=row.evidence,
        is_pinned=row.is_pinned,
        sequence=row.sequence,
        once=row.once,
    )


def revision_document(revision: Revision) -> dict[str, Any]:
    """A revision for machines."""
    return {
        "sequence": revision.sequence,
        "subject": revision.subject,
        "name": revision.name,
        "value": revision.value,
        "source": revision.source.value,
        "is_pinned": revision.is_pinned,
        "effective_at": from_us(revision.effective_at_us).isoformat(),
        "created_at": from_us(revision.created_at_us).isoformat(),
        "actor": revision.actor,
        "reason": revision.reason,
        "evidence": dict(revision.evidence),
    }


async def append(session: AsyncSession, table: type[Row], row: Callable[[int], Row]) -> Row:
    """Adds a row under the next sequence of its table; tries again where another writer took it.

    Args:
        session: a writing one.
        table: has a column ``sequence``.
        row: the row of a sequence.

    Raises:
        PlanningBusy: others kept taking its place.
    """
    for _ in range(WRITES_MAX):
        made = await _appended(session, table, row)
        if made is not None:
            return made
    raise busy()


def busy() -> PlanningBusy:
    """The refusal where others kept taking one's place."""
    return PlanningBusy(
        409, "planning_busy", f"Others wrote at the same time, {WRITES_MAX} times in a row. Try again in a moment."
    )


async def _appended(session: AsyncSession, table: type[Row], row: Callable[[int], Row]) -> Row | None:
    """The row that was added; None where another writer took its place."""
    sequence: Any = table.__table__.c.sequence  # pyright: ignore[reportAttributeAccessIssue] (SQLModel adds it)
    last = (await session.exec(select(func.max(sequence)))).one()
    made = row((last or 0) + 1)
    try:
        async with session.begin_nested():
            session.add(made)
            await session.flush()
    except IntegrityError:
        return None
    return made


async def _append_once(
    session: AsyncSession, wanted: Revision, row: Callable[[int], PricingInputRow]
) -> PricingInputRow | None:
    """The row that was added; None where a revision of that ``once`` is there."""
    for _ in range(WRITES_MAX):
        if await _was_written(session, wanted):
            return None
        made = await _appended(session, PricingInputRow, row)
        if made is not None:
            return made
    raise busy()


async def _was_written(session: AsyncSession, wanted: Revision) -> bool:
    if not wanted.once:
        return False
    same: Sequence[Any] = (
        col(PricingInputRow.subject) == wanted.subject,
        col(PricingInputRow.name) == wanted.name,
        col(PricingInputRow.once) == wanted.once,
    )
    return (await session.exec(select(PricingInputRow.sequence).where(*same))).first() is not None


async def _last_default(session: AsyncSession, subject: str, name: str) -> PricingInputRow | None:
    statement = (
        select(PricingInputRow)
        .where(col(PricingInputRow.subject) == subject, col(PricingInputRow.name) == name)
        .where(col(PricingInputRow.source) == Source.DEFAULT.value)
        .order_by(col(PricingInputRow.sequence).desc())
        .limit(1)
    )
    return (await session.exec(statement)).first()


def _audited(value: Any) -> Any:
    """A value as the audit log keeps it: whole where short, else its digest."""
    text = json.dumps(value, sort_keys=True)
    return value if len(text) <= AUDITED_CHARS_MAX else {"sha256": hashlib.sha256(text.encode()).hexdigest()}
