import json
import math
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from app.cli.main import app
from app.simulation.contest import (
    Admission,
    Entry,
    Heat,
    Outcome,
    TierOutcome,
    Variant,
    entries,
    mean_and_half,
    run_heat,
    table,
)
from app.simulation.contest_fleet import Contest, NoSuchFleet, capacity, contest, demand_at, misjudged
from app.simulation.routers import PolicyName
from app.simulation.supplies import Evidence
from pricing.hardware import hardware_costs
from pricing.shipped import shipped_profiles
from pricing.slo import Tier
from tests.app.simulation.small_market import market, steps, supply, workload

OURS = Entry(PolicyName.GOODPUT, Admission.OURS)
PLAIN = Entry(PolicyName.LEAST_BUSY, Admission.NONE)


@pytest.fixture(scope="module")
def given() -> Contest:
    return contest(Evidence(shipped_profiles(), hardware_costs("hyperscaler")))


def test_a_fleet_kept_full_finishes_what_its_steps_allow() -> None:
    """16 at once; 50 tokens at 10 ms a step, and each of the 16 prompts that come in meanwhile adds 1 ms to a step.

    A request stays 50 · 10 ms + 16 · 1 ms = 516 ms: 16 / 0.516 = 31 a second.
    """
    found = capacity(market(supply(steps(max_seqs=16))), workload(rps=1.0))
    assert found == pytest.approx(31.0, rel=0.03)


def test_the_contest_is_on_measured_deployments_and_each_tier_has_a_home(given: Contest) -> None:
    assert all("measured" in supply.notes for supply in given.market.supplies)
    homes = [offer for tier in Tier for offer in given.homes[tier]]
    assert sorted(homes) == sorted(supply.offer.id for supply in given.market.supplies)
    assert all(given.homes[tier] for tier in Tier)
    assert demand_at(given, 1.5).rps == pytest.approx(1.5 * given.capacity_rps)


def test_a_fleet_that_nobody_measured_is_told() -> None:
    with pytest.raises(NoSuchFleet, match="lack b200-trtllm"):
        contest(Evidence((), {}))


def test_a_misjudged_market_promises_other_times_but_makes_the_same_tokens(given: Contest) -> None:
    told = misjudged(given.market, 0.5)
    for wrong, right in zip(told.supplies, given.market.supplies, strict=True):
        assert wrong.engine == right.engine
        assert wrong.offer.speed.tpot_us[0] == pytest.approx(right.offer.speed.tpot_us[0] / 2)
        assert wrong.offer.speed.prefill_tok_s == pytest.approx(right.offer.speed.prefill_tok_s * 2)


def test_every_line_meets_the_same_customers_and_loses_none(given: Contest) -> None:
    few = replace(given, capacity_rps=20.0)
    for entry in (OURS, PLAIN, Entry(PolicyName.STATIC_TIERS, Admission.OURS)):
        outcome = run_heat(few, Heat(entry, 1.0, 7, 5.0))
        offered = {tier: each.offered for tier, each in outcome.tiers.items()}
        assert offered == {tier: each.offered for tier, each in run_heat(few, Heat(OURS, 1.0, 7, 5.0)).tiers.items()}
        for each in outcome.tiers.values():
            assert each.attained <= each.accepted <= each.offered


def test_the_fleet_is_paid_for_by_the_hour(given: Contest) -> None:
    """Idle but for a few requests, a fleet costs what its accelerators cost in the time, and a little for the last."""
    outcome = run_heat(replace(given, capacity_rps=2.0), Heat(OURS, 1.0, 1, 20.0))
    hour = sum(supply.per_hour for supply in given.market.supplies)
    assert hour * 20 / 3600 <= outcome.fleet <= 1.5 * hour * 20 / 3600


def test_a_mean_comes_with_students_interval() -> None:
    """Of 1, 2, 3: s = 1, t(2) = 4.303, 4.303 / √3 = 2.484."""
    assert mean_and_half([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2.4843), abs=1e-3)
    assert mean_and_half([2.0, 2.0])[1] == 0
    assert all(map(math.isnan, mean_and_half([])))


def outcome(entry: Entry, seed: int, goodput: int, attained: int) -> Outcome:
    return Outcome(Heat(entry, 1.0, seed, 1.0), goodput, 100, {Tier.PREMIUM: TierOutcome(20, 10, attained)})


def test_the_table_compares_seed_by_seed() -> None:
    rows = table(
        [outcome(PLAIN, 1, 50, 5), outcome(PLAIN, 2, 70, 5), outcome(OURS, 1, 150, 10), outcome(OURS, 2, 170, 9)]
    )
    ours, plain = rows
    assert (ours["policy"], ours["goodput_usd_per_fleet_usd"]) == ("goodput", 1.6)
    assert ours["attainment"] == {"premium": 0.95}
    assert ours["accepted_share"] == {"premium": 0.5}
    assert ours["ours_leads_by"] is None
    assert (plain["ours_leads_by"], plain["ours_leads_by_half_ci95"]) == (1.0, 0.0)


def test_baselines_come_with_and_without_our_admission() -> None:
    plain = entries(with_variants=False)
    assert {(entry.policy, entry.admission) for entry in plain} >= {
        (name, admission) for name in PolicyName if name is not PolicyName.GOODPUT for admission in Admission
    }
    assert {entry.variant for entry in entries(with_variants=True)} == set(Variant)


@pytest.mark.slow
def test_the_command_prints_a_row_for_each_line_and_load() -> None:
    arguments = ["bench", "routing", "--json", "--seeds", "2", "--seconds", "1", "--loads", "0.1", "--no-ablations"]
    found = CliRunner().invoke(app, [*arguments, "--workers", "1"])
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    assert len(document["rows"]) == 11
    assert {row["policy"] for row in document["rows"]} == {name.value for name in PolicyName}
    assert all(set(row["attainment"]) <= {"premium", "standard", "bulk"} for row in document["rows"])


@pytest.mark.parametrize("loads", ["x", "0", "", "1,99"])
def test_loads_that_cannot_be_are_refused(loads: str) -> None:
    found = CliRunner().invoke(app, ["bench", "routing", "--loads", loads])
    assert found.exit_code != 0
