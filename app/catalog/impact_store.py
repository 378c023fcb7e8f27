"""What last period's traffic would have earned under other prices, from the usage events that were settled.

Totals are added up in the database. Single answers are read only where a book charges otherwise than they were billed,
and their timelines only where it promises otherwise; beyond a number of them a sample is drawn, the same for the same
seed, and scaled up.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, select, tuple_
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from app.catalog import repository
from app.catalog.draft import Cards
from app.catalog.replayed import Row, delivered
from app.clock import US_PER_S
from app.db import Database
from app.errors import MarketError
from app.metering.models import UsageEvent
from pricing.book_impact import Impact, Ladders, Slice, all_ladders, margin_impact, needs_rows, needs_timelines
from pricing.slo import Ladder, Tier

DAY_US = 86_400 * US_PER_S
DAYS_DEFAULT = 7
DAYS_MAX = 92
SEED = 20_261_124
STRATA_MAX = 10_000
BOOKS_MAX = 500
ROWS_AT_ONCE_MAX = 250
"""Rows of one query: few, for while they are unpacked the answers of this process wait."""
_PRIME = 1_000_003
"""Answers are drawn by a line through the residues of their last µs, which is as good as drawing them blindly."""
_COLUMNS = (
    *("price_book_id", "model", "tier_served", "finished_at_us", "request_id", "tokens_input", "tokens_cached"),
    *("tokens_cache_write", "tokens_output", "ending", "net", "held", "cost", "lines"),
)

Statement = Select[*tuple[Any, ...]]
StratumKey = tuple[str, str, str]
"""Price book, model and tier served, as the table has them."""


class PeriodTooWide(MarketError):
    """Too much was sold in the period to add up at once."""


class PeriodRefused(MarketError):
    """A period that is none."""


@dataclass(frozen=True, slots=True)
class Period:
    """From a moment to before another, µs since the epoch."""

    since_us: int
    until_us: int

    @property
    def days(self) -> float:
        """How long it is."""
        return (self.until_us - self.since_us) / DAY_US


def last_days(days: int, now_us: int) -> Period:
    """The last so many times 24 hours.

    Raises:
        PeriodRefused: fewer than one day, or too many.
    """
    if not 1 <= days <= DAYS_MAX:
        raise PeriodRefused(400, "invalid_period", f"A period has 1 to {DAYS_MAX} days, got {days}.", param="days")
    return Period(now_us - days * DAY_US, now_us)


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is read at most.

    Attributes:
        rows_max: answers rated one by one; beyond it a sample of about this size is drawn.
        timelines_max: of those that are graded again, which takes longer.
        seed: of the sample.
    """

    rows_max: int = 20_000
    timelines_max: int = 2_000
    seed: int = SEED


@dataclass(frozen=True, slots=True)
class Assessment:
    """An impact and what it rests on."""

    impact: Impact
    period: Period
    effort: Effort


@dataclass(frozen=True, slots=True)
class _Stratum:
    ladder: Ladder | None
    requests: int
    paid: int
    cost: int


async def assess(database: Database, old: Cards, new: Cards, period: Period, effort: Effort = Effort()) -> Assessment:
    """Rates a period's traffic under two sets of cards.

    Args:
        database: with the usage events.
        old: of the book compared with.
        new: of the book or draft proposed.
        period: answers that finished in it.
        effort: how much is read at most.
    """
    before, after = all_ladders(old), all_ladders(new)
    async with database.snapshot() as session:
        strata = await _strata(session, period)
        by_totals, by_lines, by_timelines = _sorted_by_need(strata, before, after)
        rows = await _rows(session, by_lines, period, _Reading(effort.rows_max, effort.seed, timelines=False))
        rows |= await _rows(session, by_timelines, period, _Reading(effort.timelines_max, effort.seed, timelines=True))
    every = {**by_totals, **by_lines, **by_timelines}
    impact = await asyncio.to_thread(_impact, before, after, every, rows)  # arithmetic that would keep answers waiting
    return Assessment(impact, period, effort)


def _impact(
    old: Ladders, new: Ladders, strata: Mapping[StratumKey, _Stratum], rows: Mapping[StratumKey, Sequence[Row]]
) -> Impact:
    return margin_impact(old, new, (_slice(key, stratum, rows.get(key, ())) for key, stratum in strata.items()))


def _slice(key: StratumKey, stratum: _Stratum, rows: Iterable[Row]) -> Slice:
    _, model, tier = key
    sample = [delivered(row) for row in rows]
    return Slice(model, Tier(tier), stratum.ladder, stratum.requests, stratum.paid, stratum.cost, sample)


async def _strata(session: AsyncSession, period: Period) -> dict[StratumKey, _Stratum]:
    """The period's totals by price book, model and tier, each with the ladder that it was billed by."""
    paid = case((col(UsageEvent.net) < col(UsageEvent.held), col(UsageEvent.net)), else_=col(UsageEvent.held))
    key = (col(UsageEvent.price_book_id), col(UsageEvent.model), col(UsageEvent.tier_served))
    statement = (
        select(*key, func.count(), func.sum(paid), func.sum(col(UsageEvent.cost)))
        .where(*_within(period))
        .group_by(*key)
        .order_by(*key)
        .limit(STRATA_MAX + 1)
    )
    found = (await (await session.connection()).execute(statement)).all()
    if len(found) > STRATA_MAX:
        raise PeriodTooWide(
            409,
            "period_too_wide",
            f"More than {STRATA_MAX} combinations of price book, model and tier were sold in {period.days:g} days; "
            "choose a shorter period.",
        )
    ladders = await _ladders(session, dict.fromkeys(row[0] for row in found))
    return {
        (book_id, model, tier): _Stratum(
            ladders.get(book_id, {}).get((model, Tier(tier))), int(requests), int(paid), int(cost)
        )
        for book_id, model, tier, requests, paid, cost in found
    }


def _within(period: Period) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    finished = col(UsageEvent.finished_at_us)
    return finished >= period.since_us, finished < period.until_us


async def _ladders(session: AsyncSession, book_ids: Iterable[str]) -> dict[str, Ladders]:
    """What each of some books charges and promises; those beyond the most are left out, and their answers regraded."""
    found: dict[str, Ladders] = {}
    for book_id in list(book_ids)[:BOOKS_MAX]:
        row = await repository.row_by_id(session, book_id)
        if row is not None:
            found[book_id] = all_ladders(repository.book_of(row).cards)
    return found


def _sorted_by_need(
    strata: Mapping[StratumKey, _Stratum], old: Ladders, new: Ladders
) -> tuple[dict[StratumKey, _Stratum], dict[StratumKey, _Stratum], dict[StratumKey, _Stratum]]:
    """Those that totals suffice for, those whose lines are needed, and those whose timelines are."""
    totals: dict[StratumKey, _Stratum] = {}
    lines: dict[StratumKey, _Stratum] = {}
    timelines: dict[StratumKey, _Stratum] = {}
    for key, stratum in strata.items():
        sold = (key[1], Tier(key[2]))
        pair = (old.get(sold), new.get(sold))
        if not needs_rows(stratum.ladder, *pair):
            totals[key] = stratum
        else:
            (timelines if needs_timelines(stratum.ladder, *pair) else lines)[key] = stratum
    return totals, lines, timelines


@dataclass(frozen=True, slots=True)
class _Reading:
    rows_max: int
    seed: int
    timelines: bool


async def _rows(
    session: AsyncSession, strata: Mapping[StratumKey, _Stratum], period: Period, reading: _Reading
) -> dict[StratumKey, list[Row]]:
    """The answers of some strata: all, or where they are too many about ``rows_max`` of them."""
    found: dict[StratumKey, list[Row]] = {key: [] for key in strata}
    if not strata:
        return found
    among = sum(stratum.requests for stratum in strata.values())
    statement = _select(strata, period, reading, among)
    connection = await session.connection()
    after: tuple[int, str] | None = None
    for _ in range(2 * reading.rows_max // ROWS_AT_ONCE_MAX + 2):
        page = (await connection.execute(_after(statement, after))).mappings().all()
        for row in page:
            found[row["price_book_id"], row["model"], row["tier_served"]].append(
                {str(name): value for name, value in row.items()}
            )
        if len(page) < ROWS_AT_ONCE_MAX:
            break
        after = (page[-1]["finished_at_us"], page[-1]["request_id"])
    return found


def _select(strata: Iterable[StratumKey], period: Period, reading: _Reading, among: int) -> Statement:
    names = (*_COLUMNS, "timeline") if reading.timelines else _COLUMNS
    columns = [col(getattr(UsageEvent, name)) for name in names]
    named = tuple_(col(UsageEvent.price_book_id), col(UsageEvent.model), col(UsageEvent.tier_served))
    statement = select(*columns).where(*_within(period), named.in_(sorted(strata)))
    if among > reading.rows_max:
        statement = statement.where(_drawn(reading, among))
    return statement.order_by(col(UsageEvent.finished_at_us), col(UsageEvent.request_id)).limit(ROWS_AT_ONCE_MAX)


def _drawn(reading: _Reading, among: int) -> ColumnElement[bool]:
    """True of about ``rows_max`` in ``among`` answers."""
    chosen = Random(reading.seed)  # noqa: S311 (a sample, no secret)
    slope, start = chosen.randrange(1, _PRIME), chosen.randrange(_PRIME)
    drawn = max(1, _PRIME * reading.rows_max // among)
    return (col(UsageEvent.finished_at_us) % _PRIME * slope + start) % _PRIME < drawn


def _after(statement: Statement, last: tuple[int, str] | None) -> Statement:
    if last is None:
        return statement
    return statement.where(tuple_(col(UsageEvent.finished_at_us), col(UsageEvent.request_id)) > tuple_(*last))
