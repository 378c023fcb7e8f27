"""The planner: demand by hour as it was, pools that the programme finds, and nothing done about it."""

from dataclasses import replace

import pytest

from app.db import Database
from app.planning.in_force import InForce, in_force
from app.planning.plan import Asked, Site, demand_of, mix_of, proposal_document
from app.planning.plan_shelf_store import NoPlan, latest_plan, plans_page
from app.planning.plan_store import propose_plan
from app.planning.repository import hourly_tokens
from app.planning.resolve import Shipped
from app.planning.supplied import HourlyTokens, Running
from pricing.profiles import Configuration, LengthClass, Mode, Profile
from pricing.slo import Tier
from tests.app.planning.planning_market import (
    CHAT,
    DAY_US,
    DEPLOYMENT,
    HOUR_US,
    MODEL,
    PROFILE,
    PROFILED,
    SHIPPED,
    SPEC,
    T0_US,
    answer_row,
    deliver,
    deploy,
    point,
    revision,
    set_market,
    set_up,
)

NOON_US = T0_US + 12 * HOUR_US
RUNNING = Running("o", DEPLOYMENT, MODEL, None, is_owned=True, is_emulated=False, is_paid=True, since_us=0)


def asked(tier: Tier, hour: int, millions: float) -> HourlyTokens:
    tokens = int(millions * 500_000)
    return HourlyTokens(MODEL, tier, hour, tokens, tokens, max(tokens // 1_024, 1), is_emulated=False)


def planned(tokens: list[HourlyTokens], given: InForce | None = None, shipped: Shipped = SHIPPED) -> dict[str, object]:
    site = Site(given or in_force([], 0), (SPEC,), (RUNNING,), shipped)
    (model,) = proposal_document(site, Asked(T0_US, T0_US + DAY_US, tokens))["models"]
    return model


def test_demand_keeps_its_hours_and_bulk_its_mean() -> None:
    tokens = [asked(Tier.STANDARD, 9, 3.6), asked(Tier.STANDARD, 9, 3.6), asked(Tier.BULK, 3, 8.64)]
    found = demand_of(tokens, days=2.0)
    assert found.tok_s[Tier.STANDARD][9] == pytest.approx(1_000)  # 7.2 million in two hours
    assert sum(found.tok_s[Tier.STANDARD]) == pytest.approx(1_000)
    assert found.deferrable_tok_s == {Tier.BULK: pytest.approx(50)}  # 8.64 million in two days
    assert demand_of([], 1.0).deferrable_tok_s is None


def test_each_hours_requests_count_as_the_class_nearest_to_their_mean() -> None:
    long = HourlyTokens("m", Tier.STANDARD, 1, 70_000, 9_000, 10, is_emulated=False)
    short = HourlyTokens("m", Tier.STANDARD, 2, 30_000, 27_000, 30, is_emulated=False)
    silent = HourlyTokens("m", Tier.STANDARD, 3, 30_000, 0, 30, is_emulated=False)
    classes = [LengthClass(8192, 1024), CHAT]
    assert mix_of([long, short, silent], classes) == {CHAT: 0.75, LengthClass(8192, 1024): 0.25}
    assert mix_of([long], []) == {}
    assert mix_of([silent], classes) == {}


def test_the_peak_hour_sizes_the_pool() -> None:
    """Standard runs 64 at once on two accelerators: 2 · 64 · 1,024 / 14.622 s = 8,964 tok/s, filled to 0.8."""
    peak = 40_000 * 3_600 / 1e6
    model = planned([asked(Tier.STANDARD, 9, peak), asked(Tier.STANDARD, 21, peak / 10)])
    replica_tok_s = 2 * 64 * 1_024 / (0.3 + 1_023 * 0.014) * 0.8
    wanted = -(-40_000 // replica_tok_s)
    assert model["changes"] == [{"deployment": DEPLOYMENT, "runs": 1, "proposed": wanted}]
    assert wanted == 6


def test_what_nobody_asks_for_stays_as_it_is() -> None:
    model = planned([])
    assert (model["plan"], model["running"]) == (None, {DEPLOYMENT: 1})


def test_a_cap_that_does_not_suffice_is_told_with_what_is_short() -> None:
    given = in_force([revision("hardware:b200", "count_max", 2)], 0)
    model = planned([asked(Tier.STANDARD, 9, 40_000 * 3_600 / 1e6)], given)
    plan = model["plan"]
    assert isinstance(plan, dict)
    assert plan["status"] == "infeasible"
    assert "2 b200" in str(model["notes"])
    assert plan["unserved_tok_s"]["standard"] > 0


def test_hardware_of_unknown_power_is_left_out_under_a_power_cap() -> None:
    given = in_force([revision("market", "mw_max", 1.0), revision("hardware:dark", "usd_per_hour", 1.0)], 0)
    model = planned([asked(Tier.STANDARD, 9, 36)], given)
    assert "power unknown: dark" in str(model["notes"])


def test_a_model_that_nobody_measured_is_told_and_stops_no_other() -> None:
    site = Site(
        in_force([], 0), (replace(SPEC, profiled_as="nobody/measured"), replace(SPEC, public_name="b")), (), SHIPPED
    )
    tokens = [asked(Tier.STANDARD, 9, 36), replace(asked(Tier.STANDARD, 9, 36), model="b")]
    models = {
        model["model"]: model for model in proposal_document(site, Asked(T0_US, T0_US + DAY_US, tokens))["models"]
    }
    assert "nobody/measured" in str(models[MODEL]["notes"])
    assert models["b"]["plan"]["status"] == "optimal"


def test_disaggregated_pools_get_a_ratio_for_the_metered_mix() -> None:
    pools = Configuration("b200", 12, "trtllm", "fp4", "p4d8", Mode.DISAGGREGATED, prefill_gpus=4, decode_gpus=8)
    disagg = Profile(
        PROFILED, pools, tuple(point(load, tpot, ttft) for load, tpot, ttft in ((64, 6, 0.3), (512, 12, 0.8)))
    )
    model = planned([asked(Tier.STANDARD, 9, 36)], shipped=Shipped((PROFILE, disagg), {}, {disagg.id: "a test"}))
    ratios = model["ratios"]
    assert isinstance(ratios, list)
    assert ratios[0]["tier"] == "standard"
    assert ratios[0]["prefill_per_decode"] == pytest.approx(0.5)  # the one pair that was measured


async def test_a_plan_is_stored_with_its_demand_and_changes_nothing(database: Database) -> None:
    await set_up(database)
    await deploy(database, T0_US)
    await deliver(database, [answer_row(n, NOON_US + n * 1_000_000) for n in range(50)])
    await set_market(database, "count_max", 4, T0_US, subject="hardware:b200")
    stored = await propose_plan(database, SHIPPED, 7, T0_US + 2 * DAY_US)
    async with database.reading() as session:
        latest = await latest_plan(session)
        hours = await hourly_tokens(session, T0_US, T0_US + DAY_US)
        assert len(await plans_page(session, 10)) == 1
    assert latest == stored
    assert (hours[0].hour, hours[0].requests, hours[0].tokens_output) == (12, 50, 50 * 1_001)
    assert latest.document["demand"]["days"] == 2.0
    assert latest.document["demand"]["requests"] == 50
    assert latest.document["models"][0]["plan"]["status"] == "optimal"


async def test_a_market_of_less_than_a_day_is_planned_for_what_there_is(database: Database) -> None:
    await set_up(database)
    await deliver(database, [answer_row(n, T0_US + n * 1_000_000) for n in range(10)])
    stored = await propose_plan(database, SHIPPED, 7, T0_US + HOUR_US)
    assert stored.document["demand"]["requests"] == 10


async def test_before_the_first_plan_there_is_none(database: Database) -> None:
    async with database.reading() as session:
        with pytest.raises(NoPlan, match="goodput plan make"):
            await latest_plan(session)
