"""The return loop on a real database: a day of answers becomes dated revisions with their evidence, once."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.db import Database
from app.metering.models import UsageEvent
from app.planning.input_store import history, inputs_at, set_input
from app.planning.inputs import Revision, Source
from app.planning.loop_store import LoopRules, Metered, meter_days, next_day
from app.planning.tally import Earned, attained
from pricing.feedback import Caution
from pricing.slo import Tier
from tests.app.planning.planning_market import (
    ADA,
    DAY_US,
    HOUR_US,
    MODEL,
    OFFER,
    PROFILE,
    SHIPPED,
    T0_US,
    answer_row,
    deliver,
    deploy,
    set_up,
)

NEXT_US = T0_US + DAY_US + HOUR_US
EASY = LoopRules(caution=Caution(requests_min=20, tokens_min=10_000))


async def meter(database: Database, at_us: int = NEXT_US, rules: LoopRules = EASY) -> list[Metered]:
    return await meter_days(database, lambda: SHIPPED, rules, at_us)


async def metered(database: Database) -> dict[tuple[str, str], Revision]:
    """The newest metered revision of each input."""
    async with database.reading() as session:
        found = [each for each in await history(session) if each.source is Source.METERED]
    return {(each.subject, each.name): each for each in reversed(found)}


async def market(database: Database, rows: Sequence[UsageEvent], **deployed: Any) -> None:
    await set_up(database, T0_US - DAY_US)
    await deploy(database, T0_US - DAY_US, **deployed)
    await deliver(database, rows)


def answers(count: int, **changes: Any) -> list[UsageEvent]:
    """One every twenty seconds, by four customers, each alone on the offer: 1,000 tokens in 5 s after the first."""
    return [answer_row(n, T0_US + n * 20_000_000, **{"customer_id": f"cus_{n % 4}", **changes}) for n in range(count)]


async def test_a_day_becomes_revisions_with_their_evidence(database: Database) -> None:
    await market(database, answers(100, met="bulk"))
    (day,) = await meter(database)
    found = await metered(database)
    assert (day.answers, day.revisions) == (100, len(found))
    utilisation = found[f"model:{MODEL}", "utilisation"]
    assert utilisation.evidence["requests"] == 100
    assert utilisation.evidence["tokens"] == 100 * 2_001
    assert utilisation.evidence["gpu_s_paid"] == 2 * 86_400  # two accelerators, all day
    assert utilisation.evidence["period"] == {
        "since": "2026-11-24T00:00:00+00:00",
        "until": "2026-11-25T00:00:00+00:00",
        "is_whole": True,
    }
    assert utilisation.value == pytest.approx(0.54)  # from 0.6 by a tenth at most, hardly used as it was
    attainment = found["tier:standard", "attainment"]
    assert attainment.evidence["observed"] == {"bulk": 1.0}
    # bulk's share is the furthest off, by one: it moves by a tenth, and standard's by a tenth of its way, 0.97
    assert attainment.value == {"standard": pytest.approx(0.873), "bulk": pytest.approx(0.1)}
    assert utilisation.effective_at_us == NEXT_US


async def test_utilisation_is_busy_accelerator_time_over_paid_time(database: Database) -> None:
    """64 at once is standard's operating point, 0.3 s + 1,023 · 14 ms an answer; ten minutes of it."""
    took_s = 0.3 + 1023 * 0.014
    rows = [
        answer_row(
            n, T0_US + n * round(took_s * 1e6 / 64), streamed_us=1_000_000, tokens_input=1_024, tokens_output=1_024
        )
        for n in range(int(600 * 64 / took_s))
    ]
    await market(database, rows)
    async with database.reading() as session:
        given = await inputs_at(session, NEXT_US)
    assert given.value("utilisation", ["market"], 0.0) == 0.6
    await meter(database)
    evidence = (await metered(database))[f"model:{MODEL}", "utilisation"].evidence
    assert evidence["gpu_s_used"] == pytest.approx(2 * 600, rel=0.02)  # ten minutes of two accelerators
    assert evidence["observed"] == pytest.approx(600 / 86_400, rel=0.02)


async def test_hardware_that_came_during_the_day_is_paid_for_since_then(database: Database) -> None:
    await set_up(database, T0_US - DAY_US)
    await deploy(database, T0_US + 18 * HOUR_US)
    await deliver(database, answers(100))
    await meter(database)
    evidence = (await metered(database))[f"model:{MODEL}", "utilisation"].evidence
    assert evidence["gpu_s_paid"] == 2 * 6 * 3_600


async def test_slow_answers_correct_the_profile_and_the_curve_knows_their_load(database: Database) -> None:
    await market(database, answers(60, streamed_us=8_000_000))  # 8 ms a token where the curve says 5
    await meter(database)
    correction = (await metered(database))[f"deployment:{PROFILE.id}", "tpot_scale"]
    assert correction.evidence["observed"] == pytest.approx(1.6, rel=0.01)
    assert correction.value == pytest.approx(1.1)
    assert "median of observed over predicted" in correction.evidence["method"]


async def test_a_day_is_metered_once_however_often_it_is_run(database: Database) -> None:
    await market(database, answers(100))
    await meter(database)
    first = await metered(database)
    assert await meter(database) == []
    assert await meter(database, NEXT_US + HOUR_US) == []
    assert await metered(database) == first


async def test_of_workers_at_once_one_meters(database: Database) -> None:
    await market(database, answers(100))
    runs = await asyncio.gather(*(meter(database) for _ in range(3)))
    done = [day for days in runs for day in days]
    assert sum(day.is_done for day in done) == 1
    async with database.reading() as session:
        count = len([each for each in await history(session) if each.source is Source.METERED])
    assert count == len(await metered(database)) > 0


async def test_a_run_that_dies_is_made_up_for(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await market(database, answers(100))

    async def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("app.planning.loop_store.set_input", dies)
        with pytest.raises(KeyboardInterrupt):
            await meter(database)
    assert await metered(database) == {}
    (day,) = await meter(database)
    assert day.revisions > 0


async def test_days_that_the_task_missed_are_metered_one_by_one(database: Database) -> None:
    await market(database, [*answers(50), *(answer_row(1_000 + n, T0_US + DAY_US + n * 20_000_000) for n in range(50))])
    days = await meter(database, T0_US + 3 * DAY_US + HOUR_US)
    assert [day.answers for day in days] == [50, 50, 0]
    utilisation = (await metered(database))[f"model:{MODEL}", "utilisation"]
    assert utilisation.value == pytest.approx(0.6 * 0.9 * 0.9, abs=0.001)  # two days moved it, the empty one did not


async def test_a_day_without_answers_or_with_few_moves_nothing(database: Database) -> None:
    await market(database, answers(19))
    (day,) = await meter(database)
    assert (await metered(database), day.revisions) == ({}, 0)
    assert any("19 answers" in note for note in day.notes)
    assert any("tier:premium attainment: nothing was served" in note for note in day.notes)


async def test_before_anybody_was_served_there_is_no_day(database: Database) -> None:
    await set_up(database)
    assert await meter(database) == []


async def test_without_hardware_of_ones_own_there_is_no_utilisation(database: Database) -> None:
    await market(database, answers(100), is_owned=False)
    (day,) = await meter(database)
    assert (f"model:{MODEL}", "utilisation") not in await metered(database)
    assert any("no hardware of its own" in note for note in day.notes)


async def test_a_pinned_figure_is_left_alone(database: Database) -> None:
    await market(database, answers(100))
    pinned = Revision("market", "utilisation", 0.7, Source.OPERATOR, T0_US, T0_US, "", "a test", {}, is_pinned=True)
    async with database.writing() as session:
        await set_input(session, pinned, ADA)
    (day,) = await meter(database)
    assert (f"model:{MODEL}", "utilisation") not in await metered(database)
    assert any(f"pinned by {ADA.name}" in note for note in day.notes)


async def test_a_figure_that_is_not_pinned_is_where_the_loop_goes_on_from(database: Database) -> None:
    await market(database, answers(100))
    estimate = Revision("market", "utilisation", 0.5, Source.OPERATOR, T0_US, T0_US, "", "a test", {})
    async with database.writing() as session:
        await set_input(session, estimate, ADA)
    await meter(database)
    assert (await metered(database))[f"model:{MODEL}", "utilisation"].value == pytest.approx(0.45)


async def test_idle_hardware_does_not_price_the_last_buyer_away(database: Database) -> None:
    await market(database, answers(100))
    for day in range(1, 8):
        await deliver(
            database, [answer_row(day * 10_000 + n, T0_US + day * DAY_US + n * 20_000_000) for n in range(60)]
        )
    for day in range(1, 9):
        await meter(database, NEXT_US + day * DAY_US)
    low = Revision("market", "utilisation_min", 0.5, Source.OPERATOR, NEXT_US, NEXT_US, "", "a test", {})
    value = (await metered(database))[f"model:{MODEL}", "utilisation"].value
    assert 0.2 <= value < 0.4
    async with database.writing() as session:
        await set_input(session, low, ADA)
    await deliver(database, [answer_row(90_000 + n, T0_US + 9 * DAY_US + n * 20_000_000) for n in range(60)])
    await meter(database, NEXT_US + 10 * DAY_US)
    assert (await metered(database))[f"model:{MODEL}", "utilisation"].value == value  # never lifted by the floor


async def test_emulated_answers_are_marked_and_may_be_left_out(database: Database) -> None:
    rows = [*answers(60), *(answer_row(1_000 + n, T0_US + n * 20_000_000, is_emulated=True) for n in range(40))]
    await market(database, rows)
    without = replace(EASY, counts_emulated=False)
    (day,) = await meter(database, rules=without)
    assert day.answers == 60
    assert (await metered(database))[f"model:{MODEL}", "utilisation"].evidence["requests_emulated"] == 0


async def test_where_emulated_answers_are_left_out_so_is_what_their_hardware_would_cost(database: Database) -> None:
    await market(database, answers(60))
    await deploy(database, T0_US - DAY_US, provider_id="twin", is_emulated=True, label="a twin")
    await meter(database, rules=replace(EASY, counts_emulated=False))
    evidence = (await metered(database))[f"model:{MODEL}", "utilisation"].evidence
    assert evidence["gpu_s_paid"] == 2 * 86_400  # the measured deployment's two accelerators, not the twin's
    assert list(evidence["deployments"]) == [OFFER]


async def test_emulated_answers_that_count_are_counted_as_such(database: Database) -> None:
    rows = [*answers(60), *(answer_row(1_000 + n, T0_US + n * 20_000_000, is_emulated=True) for n in range(40))]
    await market(database, rows)
    await meter(database)
    evidence = (await metered(database))[f"model:{MODEL}", "utilisation"].evidence
    assert (evidence["requests"], evidence["requests_emulated"]) == (100, 40)


async def test_what_failed_earned_nothing(database: Database) -> None:
    rows = [*answers(75), *(answer_row(1_000 + n, T0_US + n * 20_000_000, ending="provider_error") for n in range(25))]
    await market(database, rows)
    await meter(database)
    observed = (await metered(database))["tier:standard", "attainment"].evidence["observed"]
    assert observed == {"standard": pytest.approx(0.75)}


async def test_more_answers_than_are_read_are_told_and_their_time_is_what_counts(database: Database) -> None:
    await market(database, answers(100))
    (day,) = await meter(database, rules=replace(EASY, answers_max=50))
    evidence = (await metered(database))[f"model:{MODEL}", "utilisation"].evidence
    assert (day.answers, evidence["period"]["is_whole"]) == (50, False)
    assert evidence["gpu_s_paid"] == pytest.approx(2 * (49 * 20 + 5.1))


def test_one_giant_customer_does_not_decide_what_a_tier_attains() -> None:
    customers = {
        "giant": Earned(1_000_000, {Tier.PREMIUM: 1_000_000}),
        "small": Earned(60_000, {Tier.PREMIUM: 30_000, Tier.STANDARD: 30_000}),
    }
    held_back = attained(customers, tokens_min=50_000)
    assert held_back is not None
    assert held_back.shares == {Tier.PREMIUM: pytest.approx(0.75), Tier.STANDARD: pytest.approx(0.25)}
    assert (held_back.customers, held_back.is_held_back) == (2, True)
    assert held_back.largest_share == pytest.approx(1_000 / 1_060)
    alone = attained({"giant": customers["giant"]}, tokens_min=50_000)
    assert alone is not None
    assert (alone.shares, alone.is_held_back) == ({Tier.PREMIUM: 1.0}, False)
    assert attained({}, 1) is None
    assert attained({"idle": Earned()}, 1) is None


def test_the_next_day_is_the_oldest_whole_one_within_a_week() -> None:
    def found(until_us: int | None, first_us: int | None, now_us: int) -> tuple[int, int] | None:
        day = next_day(None if until_us is None else {"until_us": until_us}, first_us, now_us)
        return None if day is None else (day.since_us, day.until_us)

    assert found(None, None, NEXT_US) is None
    assert found(None, T0_US + 5, T0_US + HOUR_US) is None
    assert found(None, T0_US + 5, NEXT_US) == (T0_US, T0_US + DAY_US)
    assert found(T0_US, T0_US, T0_US + 2 * DAY_US) == (T0_US, T0_US + DAY_US)
    assert found(T0_US, T0_US, T0_US + 30 * DAY_US) == (T0_US + 23 * DAY_US, T0_US + 24 * DAY_US)
    assert found(T0_US + 90 * DAY_US, T0_US, T0_US + 2 * DAY_US) == (T0_US + DAY_US, T0_US + 2 * DAY_US)
