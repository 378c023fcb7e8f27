import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.candidates import candidates
from pricing.capacity import CapacityError, Demand, Hardware, Option, Plan, Problem, Status, plan
from pricing.capacity_options import tier_options
from pricing.slo import Tier
from pricing.tiers import TierRules, tiers
from tests.pricing.points import BOX, CHAT, point, profile

P, S, B = Tier.PREMIUM, Tier.STANDARD, Tier.BULK
OLD, NEW = Hardware("old", 1.0, kw=1.0), Hardware("new", 3.0, kw=2.0)
ON_OLD, ON_NEW = Option(S, "old", 100.0, "o", 2), Option(S, "new", 400.0, "n", 8)


def solved(
    hardware: tuple[Hardware, ...],
    options: tuple[Option, ...],
    tok_s: dict[Tier, tuple[float, ...]],
    mw_max: float | None = None,
    **demand: Any,
) -> Plan:
    return plan(Problem(hardware, options, Demand(tok_s, **demand), mw_max))


def test_the_cheapest_hardware_per_token_serves_alone_when_nothing_is_scarce() -> None:
    """1/100 against 3/400 USD per (tok/s): new. 4,000 tok/s need 10, that is 30 USD/h and two replicas of eight.

    One more million tokens costs 3 USD/h ÷ (400 tok/s · 0.0036) = 2.0833.
    """
    found = solved((OLD, NEW), (ON_OLD, ON_NEW), {S: (4_000.0,)})
    assert found.gpus == pytest.approx({"old": 0, "new": 10})
    assert (found.usd_per_hour, found.mw) == pytest.approx((30, 0.02))
    assert [use.replicas for use in found.uses] == [0, 2]
    assert found.shadows is not None
    assert found.shadows.usd_per_mtok[S] == pytest.approx((3 / (400 * 0.0036),))
    assert found.shadows.usd_per_gpu_hour == pytest.approx({"old": 0, "new": 0})


def test_scarce_hardware_has_a_price_and_the_dearer_kind_serves_the_rest() -> None:
    """Of new only 5: 2,000 tok/s; the rest on 20 old. One more new saves 4 old at 1 USD less its own 3: 1 USD/h."""
    found = solved((OLD, Hardware("new", 3.0, 2.0, count_max=5)), (ON_OLD, ON_NEW), {S: (4_000.0,)})
    assert found.gpus == pytest.approx({"old": 20, "new": 5})
    assert found.usd_per_hour == pytest.approx(35)
    assert found.shadows is not None
    assert found.shadows.usd_per_gpu_hour == pytest.approx({"old": 0, "new": 1})
    assert found.shadows.usd_per_mtok[S] == pytest.approx((1 / (100 * 0.0036),))


def test_a_power_cap_moves_the_work_to_what_makes_more_of_a_megawatt() -> None:
    """Old is cheaper per token (1/100 against 6/400), new makes more per kW (200 against 100 tok/s).

    4,000 tok/s within 30 kW: old + 2 new = 30 and 100 old + 400 new = 4,000, so old 20 and new 5: 50 USD/h. A kW more
    takes out half a new for two old... by the two equations Δnew = −½, Δold = +2: 2 − 3 = −1 USD/h per kW.
    """
    dear = Hardware("new", 6.0, 2.0)
    found = solved((OLD, dear), (ON_OLD, ON_NEW), {S: (4_000.0,)}, mw_max=0.03)
    assert found.gpus == pytest.approx({"old": 20, "new": 5})
    assert (found.usd_per_hour, found.mw) == pytest.approx((50, 0.03))
    assert found.shadows is not None
    assert found.shadows.usd_per_mw_hour == pytest.approx(1_000)


def test_tiers_share_hardware_and_each_pays_for_its_own_speed() -> None:
    """Premium makes 50 tok/s, standard 400 on new: 500/50 + 4,000/400 = 20 accelerators."""
    found = solved((NEW,), (ON_NEW, Option(P, "new", 50.0)), {S: (4_000.0,), P: (500.0,)})
    assert found.gpus == pytest.approx({"new": 20})
    assert found.shadows is not None
    ratio = found.shadows.usd_per_mtok[P][0] / found.shadows.usd_per_mtok[S][0]
    assert ratio == pytest.approx(8)


BULK_ON_NEW = Option(B, "new", 500.0)


def test_bulk_fills_the_troughs_for_nothing_while_they_last() -> None:
    """Half the day 4,000 tok/s (10), half 800 (2): 8 idle half the time make 2,000 bulk tok/s on average.

    1,000 of them cost nothing, and standard pays at the peak alone: 3 USD/h over half the day's tokens.
    """
    found = solved(
        (NEW,), (ON_NEW, BULK_ON_NEW), {S: (4_000.0, 800.0)}, weights=(0.5, 0.5), deferrable_tok_s={B: 1_000.0}
    )
    assert found.gpus == pytest.approx({"new": 10})
    assert found.uses[1].gpus == pytest.approx((0, 4))
    assert found.shadows is not None
    assert found.shadows.usd_per_mtok[B] == pytest.approx((0, 0))
    assert found.shadows.usd_per_mtok[S] == pytest.approx((2 * 3 / (400 * 0.0036), 0))


def test_bulk_beyond_the_troughs_pays_for_hardware_around_the_clock() -> None:
    """3,000 on average: 2,000 in the trough, 1,000 more on 2 accelerators that run bulk all day: 12, 36 USD/h."""
    found = solved(
        (NEW,), (ON_NEW, BULK_ON_NEW), {S: (4_000.0, 800.0)}, weights=(0.5, 0.5), deferrable_tok_s={B: 3_000.0}
    )
    assert found.gpus == pytest.approx({"new": 12})
    assert found.shadows is not None
    assert found.shadows.usd_per_mtok[B] == pytest.approx((3 / (500 * 0.0036),) * 2)


def test_what_cannot_be_served_is_told_by_how_much() -> None:
    """Two new make 800 of 1,000 tok/s."""
    found = solved((Hardware("new", 3.0, 2.0, count_max=2),), (ON_NEW,), {S: (1_000.0,)})
    assert found.status is Status.INFEASIBLE
    assert found.unserved_tok_s == pytest.approx({S: 200})
    assert found.reason == "the demand exceeds what 2 new can serve; unserved: standard 200 tok/s"
    assert math.isnan(found.usd_per_hour)
    assert (found.shadows, found.uses, found.gpus) == (None, (), {})


def test_a_tier_that_nothing_serves_and_a_site_without_power_are_told_apart() -> None:
    nothing = solved((NEW,), (ON_NEW,), {P: (1.0,)}, deferrable_tok_s={B: 2.0})
    assert nothing.reason == "nothing can serve bulk, premium; unserved: premium 1 tok/s, bulk 2 tok/s"
    dark = solved((Hardware("new", 3.0, 2.0, 9),), (ON_NEW,), {S: (400.0,)}, mw_max=0.0)
    assert dark.reason == "the demand exceeds what 9 new and 0 MW can serve; unserved: standard 400 tok/s"
    assert solved((NEW,), (ON_NEW,), {S: (400.0,)}, mw_max=0.0).reason.startswith("the demand exceeds what 0 MW can")


def test_hardware_as_fast_whose_first_tokens_are_later_than_promised_serves_no_such_tier() -> None:
    """Both do 100 tok/s/user, box at a first token of 0.1 s (promised 0.42 at p99), slow makes twice as much at 2 s."""
    box = profile(point(1, 100, 100, ttft_s_p50=0.1))
    slow = profile(point(1, 100, 200, ttft_s_p50=2.0), hardware="slow")
    costs = {"box": BOX, "slow": replace(BOX, hardware="slow")}
    sold = tiers(candidates([box], "m", CHAT, costs)).sold
    options = tier_options(candidates([box, slow], "m", CHAT, costs), sold, TierRules())
    assert {(option.tier, option.hardware) for option in options} == {(S, "box"), (B, "box"), (B, "slow")}


def test_no_demand_needs_no_hardware() -> None:
    found = solved((NEW,), (), {S: (0.0,)})
    assert (found.status, found.usd_per_hour, found.gpus) == (Status.OPTIMAL, 0, {"new": 0})


@settings(max_examples=40, deadline=None)
@given(
    st.floats(1, 1e6), st.floats(0.1, 10), st.floats(0.1, 10), st.floats(1, 1e3), st.floats(1, 1e3), st.floats(1, 1e3)
)
def test_a_plan_serves_its_demand_at_the_cost_that_its_shadows_add_up_to(
    need: float, usd_old: float, usd_new: float, old: float, new: float, scarce: float
) -> None:
    """Strong duality: Σ demand · price − Σ scarce · value = cost, in USD per hour."""
    hardware = (Hardware("old", usd_old), Hardware("new", usd_new, count_max=scarce))
    found = solved(hardware, (Option(S, "old", old), Option(S, "new", new)), {S: (need,)})
    made = sum(use.gpus[0] * use.option.tok_s_per_gpu for use in found.uses)
    assert made >= need * (1 - 1e-6)
    assert found.shadows is not None
    earned = found.shadows.usd_per_mtok[S][0] * need * 0.0036
    assert earned - scarce * found.shadows.usd_per_gpu_hour["new"] == pytest.approx(found.usd_per_hour, rel=1e-5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Problem((), (), Demand({})), "needs hardware, each kind once"),
        (lambda: Problem((NEW, NEW), (), Demand({})), "each kind once"),
        (lambda: Problem((Hardware("x", -1.0),), (), Demand({})), "would be unbounded"),
        (lambda: Problem((Hardware("x", 1.0, kw=0.0),), (), Demand({})), "kw must be above 0"),
        (lambda: Problem((Hardware("x", 1.0, count_max=-1),), (), Demand({})), "count_max must be at least 0"),
        (lambda: Problem((Hardware("x", 1.0),), (), Demand({}), mw_max=1.0), "its power is not known"),
        (lambda: Problem((NEW,), (), Demand({}), mw_max=-1.0), "a power cap must be 0 or more MW"),
        (lambda: Problem((NEW,), (ON_OLD,), Demand({})), "runs on unknown hardware old"),
        (lambda: Problem((NEW,), (Option(S, "new", 0.0),), Demand({})), "tok_s_per_gpu > 0"),
        (lambda: Demand({S: (1.0, 2.0)}), "2 demands for 1 periods"),
        (lambda: Demand({S: (-1.0,)}), "must be 0 or more tok/s"),
        (lambda: Demand({S: (float("nan"),)}), "must be 0 or more tok/s"),
        (lambda: Demand({}, weights=(0.5, 0.6)), "sum to 1"),
        (lambda: Demand({B: (1.0,)}, deferrable_tok_s={B: 1.0}), "cannot be both"),
        (lambda: plan(Problem((NEW,), (ON_NEW,), Demand({S: (1.0,) * 2500}, (1 / 2500,) * 2500))), "exceed"),
    ],
)
def test_problems_that_cannot_be_are_refused(build: Any, message: str) -> None:
    with pytest.raises(CapacityError, match=message):
        build()
