"""An explanation says of every offer whether it could be chosen and why not, and agrees with the decision."""

from dataclasses import replace

import pytest

from pricing.slo import Tier
from scheduler.dispatcher import Dispatcher
from scheduler.fleet import Load
from scheduler.jobs import Capability, Job
from scheduler.placement import Admit, Why
from scheduler.policy import Policy
from scheduler.preferences import Preferences
from tests.scheduler.round_numbers import MS, faster, fleet, job, names, offer, oid, slower

ASKED = replace(job(), is_explained=True, needs=frozenset({Capability.STREAMING}))


def why(arriving: Job, snapshot: object, now_us: int = 0) -> Why:
    admit = Dispatcher(Policy(candidates_max=16, bank_share=0.0)).on_arrival(arriving, snapshot, now_us)  # type: ignore[arg-type]
    assert isinstance(admit, Admit)
    assert admit.why is not None
    feasible = {verdict.offer_id for verdict in admit.why.verdicts if not verdict.ruled_out}
    assert feasible == {candidate.offer.id for candidate in admit.candidates}
    return admit.why


def reasons(told: Why) -> dict[str, str]:
    return {verdict.offer_id.removesuffix("/d"): verdict.ruled_out for verdict in told.verdicts}


def test_each_rule_that_can_rule_an_offer_out_is_named() -> None:
    snapshot = fleet(
        offer("good"),
        offer("bulk_only", tiers=frozenset({Tier.BULK})),
        offer("mute", capabilities=frozenset()),
        offer("small", context_max=1_500),
        offer("shut"),
        offer("tried"),
        offer("unwanted"),
        offer("full", concurrency_max=4),
        offer("crowded"),
        offer("tight"),
        offer("queueing"),
        offer("slow", speed=faster(0.2)),
        offer("recovering"),
        loads={
            "full": Load(4),
            "crowded": Load(30),
            "tight": Load(3, 3),
            "queueing": Load(1, 32, 8_000),
            "recovering": Load(5),
        },
        closed=frozenset({oid("shut")}),
        shares={oid("recovering"): 0.1},
    )
    arriving = replace(ASKED, excluded=frozenset({oid("tried")}), wishes=Preferences(ignore=frozenset({"unwanted"})))
    told = reasons(why(arriving, snapshot))
    assert told.pop("good") == ""
    assert told == {
        "bulk_only": "does not serve premium",
        "mute": "cannot do streaming",
        "small": "its context of 1500 tokens is too small for 2000",
        "shut": "takes no new work: drained, disabled, or its breaker is open",
        "tried": "already tried for this request",
        "unwanted": "ignored",
        "full": "full: 4 run, 4 may",
        "crowded": "with 31 running, a token would take longer than promised",
        "tight": "with 4 running, a promise already given there would break",
        "queueing": "the first token would come too late",
        "slow": "with 1 running, a token would take longer than promised",
        "recovering": "starting slowly after a failure: 3 may run for now",
    }


def test_forecasts_and_worth_are_those_that_were_compared() -> None:
    told = why(ASKED, fleet(offer("a"), calibrations=slower(a=1.2)), now_us=30 * MS)
    [verdict] = told.verdicts
    # 1.2 · (50 ms + 1,000 tokens at 20,000 a second) and 1.2 · 10 ms
    assert (verdict.ttft_us, verdict.tpot_us) == (pytest.approx(120_000), pytest.approx(12_000))
    assert (told.tier, told.due_us, told.margin) == (Tier.PREMIUM, 470_000, 0.07)
    assert verdict.value_pico is not None
    assert verdict.value_pico > 0


def test_room_kept_for_a_better_tier_is_named() -> None:
    dispatcher = Dispatcher()
    snapshot = fleet(offer("a", concurrency_max=4), offer("b", speed=faster(0.3)), loads={"a": Load(2)})
    for number in range(40):  # premium is asked for all the time, and only a can serve it
        arriving = job(f"p{number}", requested_at_us=number * 50 * MS)
        dispatcher.on_arrival(arriving, snapshot, number * 50 * MS)
        dispatcher.on_withdrawn(arriving.id)
    lesser = replace(job(tier=Tier.STANDARD), is_explained=True, requested_at_us=2_000 * MS)
    admit = dispatcher.on_arrival(lesser, snapshot, 2_000 * MS)
    assert isinstance(admit, Admit)
    assert admit.why is not None
    assert names(admit) == ["b"]
    assert reasons(admit.why)["a"] == "its room is kept for a better tier"


def test_who_does_not_ask_is_told_nothing_and_costs_nothing() -> None:
    admit = Dispatcher().on_arrival(job(), fleet(offer("a")), 0)
    assert isinstance(admit, Admit)
    assert admit.why is None


def test_an_explanation_changes_no_decision_and_travels_with_the_dispatch() -> None:
    snapshot = fleet(offer("a"), offer("b"), offer("c"))
    told, untold = Dispatcher(seed=7), Dispatcher(seed=7)
    for number in range(20):
        plain = job(f"j{number}")
        asked = replace(plain, is_explained=True)
        one, other = told.on_arrival(asked, snapshot, 0), untold.on_arrival(plain, snapshot, 0)
        assert isinstance(one, Admit)
        assert names(one) == names(other)
        dispatched = told.on_leased(asked.id, one.candidates[0].offer.id, {}, 0)
        untold.on_leased(plain.id, one.candidates[0].offer.id, {}, 0)
        assert dispatched.why is one.why is not None
        assert dispatched.candidates == one.candidates
