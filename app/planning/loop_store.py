"""The return loop: meters the days that are over, one by one, and stores what they suggest.

A day (UTC) is metered once: its revisions carry the day, and the last day metered is remembered in the same
transaction, with a version, so that of two workers one writes and a process that dies half-way has written nothing.
Days on which nothing ran, or on which the task did not, are made up for, at most :data:`DAYS_MAX` back.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from app.audit.service import Actor
from app.clock import US_PER_S, from_us
from app.db import Database
from app.planning.feedback import Loop, Period, Suggested, suggested
from app.planning.input_store import inputs_at, set_input
from app.planning.priced_store import priced_models_at
from app.planning.repository import answers_between, first_answer_us, running
from app.planning.resolve import Shipped
from app.planning.state_store import remember, remembered
from app.planning.tally import Tally
from pricing.feedback import DEFAULT_CAUTION, Caution

STATE: Final = "return_loop"
ACTOR: Final = Actor("system", "return loop", "return loop")
DAY_US: Final = 86_400 * US_PER_S
DAYS_MAX: Final = 7
LOAD_US: Final = 900 * US_PER_S
"""Answers that end so long after a day still were load in it."""


@dataclass(frozen=True, slots=True)
class LoopRules:
    """How the loop meters.

    Attributes:
        counts_emulated: False leaves answers of emulated deployments out.
        answers_max: read of one day at most.
        caution: how far a day moves a figure.
    """

    counts_emulated: bool = True
    answers_max: int = 500_000
    caution: Caution = DEFAULT_CAUTION


@dataclass(frozen=True, slots=True)
class Metered:
    """What came of one day.

    Attributes:
        revisions: how many inputs moved.
        notes: why others did not.
        is_done: False where another worker was first.
    """

    period: Period
    answers: int
    revisions: int
    notes: tuple[str, ...]
    is_done: bool = True


async def meter_days(
    database: Database, shipped: Callable[[], Shipped], rules: LoopRules, now_us: int
) -> list[Metered]:
    """Meters every day that is over and was not metered, oldest first.

    Args:
        database: of the market.
        shipped: reads what comes with the product; only called where there is a day to meter.
        rules: how.
        now_us: µs since the epoch; a clock that went back meters nothing.
    """
    done: list[Metered] = []
    for _ in range(DAYS_MAX):
        async with database.reading() as session:
            version, document = await remembered(session, STATE)
            first_us = await first_answer_us(session)
        period = next_day(document, first_us, now_us)
        if period is None:
            break
        done.append(await _meter(database, shipped(), rules, (period, version), now_us))
        if not done[-1].is_done:
            break
    return done


def next_day(document: Any, first_answer_us: int | None, now_us: int) -> Period | None:
    """The oldest whole day that is over and was not metered; None when there is none.

    Args:
        document: what was remembered; None before the first run, which begins with the day of the first answer.
        first_answer_us: µs since the epoch; None while nobody was served.
        now_us: µs since the epoch.
    """
    today_us = now_us - now_us % DAY_US
    known = document.get("until_us") if isinstance(document, dict) else None
    if known is None and first_answer_us is None:
        return None
    begin_us = int(known) if known is not None else (first_answer_us or 0) - (first_answer_us or 0) % DAY_US
    if begin_us > today_us:  # the clock went back; a day that was metered already moves nothing again
        begin_us = today_us - DAY_US
    since_us = max(begin_us, today_us - DAYS_MAX * DAY_US)
    until_us = since_us - since_us % DAY_US + DAY_US
    return Period(since_us, until_us) if until_us <= today_us else None


async def _meter(
    database: Database, shipped: Shipped, rules: LoopRules, day: tuple[Period, int], now_us: int
) -> Metered:
    tally, period = await _tally(database, rules, day[0])
    async with database.snapshot() as session:
        loop = Loop(
            given=await inputs_at(session, now_us),
            specs=await priced_models_at(session, now_us),
            running=await running(session),
            shipped=shipped,
            now_us=now_us,
            caution=rules.caution,
            counts_emulated=rules.counts_emulated,
        )
    found = suggested(loop, tally, period)
    stored = await _store(database, found, day, now_us)
    if stored is None:
        return Metered(period, tally.answers, 0, ("another worker was first",), is_done=False)
    return Metered(period, tally.answers, stored, found.notes)


async def _tally(database: Database, rules: LoopRules, period: Period) -> tuple[Tally, Period]:
    """The day's answers, and how far they were read."""
    tally, count, last_us = Tally(), 0, period.since_us
    async for answer in answers_between(database, period.since_us, period.until_us + LOAD_US, rules.answers_max):
        count += 1
        last_us = answer.finished_at_us
        if rules.counts_emulated or not answer.is_emulated:
            tally.add(answer, is_within=answer.finished_at_us < period.until_us)
    if count == rules.answers_max and last_us < period.until_us:
        return tally, replace(period, until_us=max(last_us, period.since_us + 1), is_whole=False)
    return tally, period


async def _store(database: Database, found: Suggested, day: tuple[Period, int], now_us: int) -> int | None:
    """How many revisions were new; None where another worker was first."""
    period, version = day
    async with database.writing() as session:
        memory = {"until_us": period.until_us, "until": from_us(period.until_us).isoformat()}
        if not await remember(session, STATE, version, memory, now_us):
            return None
        stored = [await set_input(session, each, ACTOR) for each in found.revisions]
    return sum(1 for each in stored if each is not None)
