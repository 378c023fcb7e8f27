from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.slo import Tier
from scheduler.dispatcher import Dispatcher
from scheduler.fleet import Calibration, Fleet, Load
from scheduler.jobs import Capability, Job
from scheduler.placement import Admit, Candidate, RefusalReason, Refuse, Wait
from scheduler.policy import Policy
from tests.scheduler.round_numbers import (
    MS,
    PREMIUM_TOLERATES,
    S,
    dispatch,
    faster,
    fleet,
    job,
    names,
    offer,
    oid,
    rates,
    slower,
)


def decide(arriving: Job, snapshot: Fleet, now_us: int = 0, **policy: Any) -> Admit | Wait | Refuse:
    return Dispatcher(Policy(**policy)).on_arrival(arriving, snapshot, now_us)


def best(arriving: Job, snapshot: Fleet, now_us: int = 0, **policy: Any) -> Candidate:
    admit = decide(arriving, snapshot, now_us, **policy)
    assert isinstance(admit, Admit), admit
    return admit.candidates[0]


def test_a_candidate_carries_what_the_measured_curve_predicts() -> None:
    candidate = best(job(), fleet(offer(), loads={"a": Load(in_flight=7, prefill_tokens=3_000)}), bank_share=0.0)
    assert candidate.ttft_us == 50_000 + 4_000 / 20_000 * S
    assert candidate.tpot_us == 12_000  # this job is the eighth
    assert candidate.in_flight_max == PREMIUM_TOLERATES


def test_predictions_are_those_of_the_curve_and_the_calibration_stands_beside_them() -> None:
    candidate = best(job(tier=Tier.STANDARD), fleet(offer(), calibrations=slower(a=2.0)))
    assert candidate.ttft_us == pytest.approx(100 * MS)
    assert candidate.tpot_us == pytest.approx(10 * MS)
    assert candidate.calibration == Calibration(2.0, 2.0)


def test_the_value_of_a_safe_placement_is_price_less_cost() -> None:
    candidate = best(job(tier=Tier.STANDARD), fleet(offer(speed=faster(10))))
    price = 1_000 * 200_000 + 101 * 800_000
    cost = 1_000 * 10_000 + 101 * 40_000
    assert candidate.value_pico == pytest.approx(price - cost, rel=1e-4)


def test_the_cheaper_of_two_equally_fast_offers_is_tried_first() -> None:
    cheap, dear = offer("cheap", cost=rates(1_000, 4_000)), offer("dear", cost=rates(400_000, 900_000))
    assert names(decide(job(), fleet(dear, cheap))) == ["cheap", "dear"]


def test_headroom_is_worth_money_a_dearer_offer_that_is_surer_wins() -> None:
    near_its_limit = offer("near", cost=rates(1_000, 4_000))
    sure = offer("sure", speed=faster(4), cost=rates(20_000, 60_000))
    snapshot = fleet(near_its_limit, sure, loads={"near": Load(20, prefill_tokens=5_000)})
    assert names(decide(job(), snapshot)) == ["sure", "near"]


def test_an_offer_takes_a_request_up_to_the_load_its_promise_tolerates_and_no_more() -> None:
    def runs(in_flight: int) -> Admit | Wait | Refuse:
        return decide(job(), fleet(offer(), loads={"a": Load(in_flight)}), bank_share=0.0)

    assert isinstance(runs(PREMIUM_TOLERATES - 1), Admit)
    assert not isinstance(runs(PREMIUM_TOLERATES), Admit)


def test_time_that_an_early_first_token_saves_lets_an_offer_run_deeper() -> None:
    """500 · 0.93 less the 100 ms of its own prompt are 365 ms; half of that over 100 later tokens 1.825 ms each.

    20 · 0.93 + 1.825 = 20.425 ms, in grains of 20 / 64 ms 20.3125; 12 + 0.5 · (n − 8) stays within up to n = 24.
    """
    assert best(job(), fleet(offer()), bank_share=0.5).in_flight_max == 24
    assert isinstance(decide(job(), fleet(offer(), loads={"a": Load(23)}), bank_share=0.5), Admit)
    assert not isinstance(decide(job(), fleet(offer(), loads={"a": Load(24)}), bank_share=0.5), Admit)


def test_a_longer_answer_has_less_saved_per_token_and_a_late_one_nothing() -> None:
    short, long = (best(job(output_tokens=n, output_tokens_max=5_000), fleet(offer())) for n in (101, 4_001))
    assert short.in_flight_max > long.in_flight_max >= PREMIUM_TOLERATES
    late = best(job(), fleet(offer(), loads={"a": Load(1, prefill_tokens=7_290)}))
    assert late.in_flight_max == PREMIUM_TOLERATES


def test_a_new_request_does_no_harm_to_a_tighter_promise_that_runs_there() -> None:
    standard = job(tier=Tier.STANDARD)
    assert isinstance(decide(standard, fleet(offer(), loads={"a": Load(20, in_flight_tolerated=21)})), Admit)
    assert not isinstance(decide(standard, fleet(offer(), loads={"a": Load(21, in_flight_tolerated=21)})), Admit)


def test_bulk_does_no_harm_to_premium_that_runs() -> None:
    bulk = job(tier=Tier.BULK)
    assert isinstance(decide(bulk, fleet(offer(), loads={"a": Load(3, in_flight_tolerated=4)})), Admit)
    assert not isinstance(decide(bulk, fleet(offer(), loads={"a": Load(4, in_flight_tolerated=4)})), Admit)


def test_the_first_token_must_come_in_what_is_left_of_its_promise_less_the_margin() -> None:
    # 500 ms · 0.93 = 465 ms; 100 ms are the job's own, so 365 ms of prompts may be before it: 7,300 tokens
    assert isinstance(decide(job(), fleet(offer(), loads={"a": Load(1, prefill_tokens=7_299)})), Admit)
    assert not isinstance(decide(job(), fleet(offer(), loads={"a": Load(1, prefill_tokens=7_301)})), Admit)
    # 200 ms later 300 · 0.93 = 279 ms are left: 3,580 tokens
    assert isinstance(decide(job(), fleet(offer(), loads={"a": Load(1, prefill_tokens=3_579)}), 200 * MS), Admit)
    assert not isinstance(decide(job(), fleet(offer(), loads={"a": Load(1, prefill_tokens=3_581)}), 200 * MS), Admit)


def test_the_margin_is_the_operators_to_choose() -> None:
    loaded = fleet(offer(), loads={"a": Load(1, prefill_tokens=7_000)})
    assert isinstance(decide(job(), loaded, margin=0.10), Admit)  # 450 ms
    assert not isinstance(decide(job(), loaded, margin=0.12), Admit)  # 440 ms


@given(margin=st.floats(0.05, 0.10), input_tokens=st.integers(0, 9_000))
def test_an_idle_offer_always_takes_what_it_can_keep_alone(margin: float, input_tokens: int) -> None:
    arriving = job(input_tokens=input_tokens)
    command = decide(arriving, fleet(offer(context_max=100_000)), margin=margin)
    assert isinstance(command, Admit)  # 50 ms + 9,000 / 20,000 s = 500 ms: to the last microsecond


def test_alone_the_margin_is_waived_in_company_it_is_not() -> None:
    exact = offer(speed=faster(0.5))  # 20 ms a token alone: exactly the promise
    assert best(job(), fleet(exact), bank_share=0.0).in_flight_max == 1
    assert not isinstance(decide(job(), fleet(exact, loads={"a": Load(1)}), bank_share=0.0), Admit)


def test_a_clock_that_runs_behind_the_request_takes_nothing_from_its_promise() -> None:
    assert isinstance(decide(job(requested_at_us=10 * S), fleet(offer()), now_us=0), Admit)


def test_a_window_promises_only_when_the_last_token_comes() -> None:
    slow = offer(speed=faster(1 / 100))  # 1 s a token, 10 s to the first
    bulk = job(tier=Tier.BULK, output_tokens=801, output_tokens_max=801)
    candidate = best(bulk, fleet(slow))  # 10 + 800 · 1 = 810 s of 837
    # what is left for 800 tokens is 827 s: 1.03375 s a token; 1 + (n − 1) · 0.2 / 7 gives n = 2
    assert candidate.in_flight_max == 2
    assert not isinstance(decide(bulk, fleet(slow, loads={"a": Load(2)})), Admit)


def test_alone_a_window_is_kept_to_its_last_microsecond() -> None:
    slow = offer(speed=faster(1 / 100))
    bulk = job(tier=Tier.BULK, output_tokens=891, output_tokens_max=900)  # 10 + 890 · 1 = 900 s, beyond the margin
    assert best(bulk, fleet(slow)).in_flight_max == 1
    assert isinstance(decide(bulk, fleet(slow), now_us=1), Refuse)


def test_a_window_answer_of_one_token_needs_only_its_first() -> None:
    bulk = job(tier=Tier.BULK, output_tokens=1)
    assert best(bulk, fleet(offer())).in_flight_max == 32


def test_bulk_leaves_room_for_better_tiers() -> None:
    bulk = job(tier=Tier.BULK)
    assert isinstance(decide(bulk, fleet(offer(), loads={"a": Load(23)})), Admit)
    assert not isinstance(decide(bulk, fleet(offer(), loads={"a": Load(24)})), Admit)
    own = offer(tiers=frozenset({Tier.BULK}))
    assert isinstance(decide(bulk, fleet(own, loads={"a": Load(31)})), Admit)


def test_slow_start_lets_a_returning_offer_have_a_part_of_its_load_but_at_least_one() -> None:
    shares = {oid("a"): 0.1}  # 3 of 32
    assert isinstance(decide(job(), fleet(offer(), loads={"a": Load(2)}, shares=shares)), Admit)
    assert not isinstance(decide(job(), fleet(offer(), loads={"a": Load(3)}, shares=shares)), Admit)
    assert isinstance(decide(job(), fleet(offer(concurrency_max=2), shares=shares)), Admit)
    assert isinstance(decide(job(), fleet(offer("b"), loads={"b": Load(20)}, shares=shares)), Admit)


def test_a_scarce_slot_is_left_to_those_who_earn_more_with_it() -> None:
    snapshot = fleet(offer("scarce", cost=rates(1_000, 4_000)), offer("plenty", cost=rates(2_000, 8_000)))
    assert names(decide(job(), snapshot))[0] == "scarce"
    # 101 tokens hold a slot for about 1.1 s
    priced = fleet(*snapshot.offers["model"], shadow_prices={oid("scarce"): 100_000_000.0})
    assert names(decide(job(), priced)) == ["plenty", "scarce"]


@pytest.mark.parametrize(
    "snapshot",
    [
        fleet(offer("b"), closed=frozenset({oid("b")})),
        fleet(offer("b", capabilities=frozenset())),
        fleet(offer("b", context_max=1_999)),
        fleet(offer("b", tiers=frozenset({Tier.STANDARD}))),
        fleet(offer("b", speed=faster(0.1))),
        fleet(offer("b", concurrency_max=0)),
        fleet(offer("b", model="other")),
    ],
)
def test_what_cannot_serve_is_not_tried(snapshot: Fleet) -> None:
    streaming = job(needs=frozenset({Capability.STREAMING}))
    assert isinstance(decide(streaming, snapshot), Refuse)
    both = Fleet({"model": (offer("a"), *snapshot.offers.get("model", ()))}, closed=snapshot.closed)
    assert names(decide(streaming, both)) == ["a"]


def test_an_offer_that_failed_this_job_is_not_tried_again() -> None:
    snapshot = fleet(offer("a"), offer("b", cost=rates(20_000, 80_000)))
    assert names(decide(job(excluded=frozenset({"a/d"})), snapshot)) == ["b"]


def test_a_burst_is_not_sent_to_one_idle_offer() -> None:
    dispatcher = Dispatcher()
    snapshot = fleet(*(offer(name) for name in "abcd"))
    firsts = [names(dispatcher.on_arrival(job(f"j{n}"), snapshot, 0))[0] for n in range(24)]
    assert all(4 <= firsts.count(name) <= 8 for name in "abcd")


def test_a_burst_beyond_what_the_promise_tolerates_is_not_admitted_although_the_snapshot_is_stale() -> None:
    dispatcher = Dispatcher(Policy(bank_share=0.0))
    stale = fleet(offer(speed=faster(1)), loads={"a": Load(0)})
    commands = [dispatcher.on_arrival(job(f"j{n}", input_tokens=10), stale, 0) for n in range(30)]
    assert sum(isinstance(command, Admit) for command in commands) == PREMIUM_TOLERATES


def test_the_tier_served_is_the_tier_asked_for() -> None:
    for tier in Tier:
        command = decide(job(tier=tier), fleet(offer()))
        assert isinstance(command, Admit)
        assert command.tier is tier


def test_a_promise_that_can_only_be_kept_late_is_refused_not_missed() -> None:
    too_slow_for_premium = fleet(offer(speed=faster(0.4)))
    refusal = decide(job(), too_slow_for_premium)
    assert isinstance(refusal, Refuse)
    assert refusal.reason is RefusalReason.PROMISE_OUT_OF_REACH
    assert isinstance(decide(job(tier=Tier.STANDARD), too_slow_for_premium), Admit)


def test_a_lower_tier_is_served_only_to_those_who_allow_it() -> None:
    too_slow_for_premium = fleet(offer(speed=faster(0.4)))
    command = decide(job(downgrade_allowed=True), too_slow_for_premium)
    assert isinstance(command, Admit)
    assert command.tier is Tier.STANDARD
    # priced at the rates of the tier served
    assert command.candidates[0].value_pico < 1_000 * 200_000 + 101 * 800_000


def test_who_allows_a_lower_tier_still_gets_the_one_asked_for_when_it_can_be_kept() -> None:
    command = decide(job(downgrade_allowed=True), fleet(offer()))
    assert isinstance(command, Admit)
    assert command.tier is Tier.PREMIUM


def test_a_retry_is_judged_by_what_is_left_of_the_promise() -> None:
    snapshot = fleet(offer("a"), offer("b"))
    again = job(excluded=frozenset({"a/d"}))
    assert names(decide(again, snapshot, now_us=390 * MS)) == ["b"]
    assert isinstance(decide(again, snapshot, now_us=410 * MS), Refuse)


def test_dispatching_tells_what_is_predicted_at_the_load_that_the_lease_found() -> None:
    dispatcher = Dispatcher()
    dispatcher.on_arrival(job(), fleet(offer()), 0)
    found = dispatcher.on_leased(job().id, oid("a"), {oid("a"): Load(8, 21, 3_000)}, 0).candidate
    assert found.tpot_us == 12_000
    assert found.ttft_us == 200_000
    assert dispatch(Dispatcher(), job(), fleet(offer())).candidate.ttft_us == 100_000
