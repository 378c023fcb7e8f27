from pricing.slo import Tier
from scheduler.dispatcher import Dispatcher
from scheduler.fleet import Fleet, Load
from scheduler.jobs import Capability, Job
from scheduler.placement import RefusalReason, Refuse
from scheduler.policy import Policy
from tests.scheduler.round_numbers import MS, S, faster, fleet, job, offer, oid, slower

FULL = Load(21, in_flight_tolerated=21)


def refusal(arriving: Job, snapshot: Fleet, now_us: int = 0, seed: int = 0) -> Refuse:
    command = Dispatcher(seed=seed).on_arrival(arriving, snapshot, now_us)
    assert isinstance(command, Refuse), command
    return command


def test_a_model_that_nobody_offers() -> None:
    refused = refusal(job(), fleet())
    assert (refused.reason, refused.retry_after_us) == (RefusalReason.NO_OFFER, None)
    assert refused.explanation == "No provider offers model."


def test_a_tier_that_nobody_serves() -> None:
    refused = refusal(job(), fleet(offer(tiers=frozenset({Tier.BULK}))))
    assert (refused.reason, refused.retry_after_us) == (RefusalReason.NO_OFFER, None)
    assert refused.explanation == "None of the 1 offers of model serves the premium tier."


def test_a_capability_that_nobody_has_is_named() -> None:
    needs = frozenset({Capability.TOOLS, Capability.STREAMING})
    refused = refusal(job(needs=needs), fleet(offer("a"), offer("b")))
    assert (refused.reason, refused.retry_after_us) == (RefusalReason.NO_OFFER, None)
    assert refused.explanation == "None of the 2 offers of model at the premium tier can do: tools."


def test_capabilities_that_nobody_has_together_are_all_named() -> None:
    tools, schema = frozenset({Capability.TOOLS}), frozenset({Capability.JSON_SCHEMA})
    refused = refusal(job(needs=tools | schema), fleet(offer("a", capabilities=tools), offer("b", capabilities=schema)))
    assert refused.explanation.endswith("can do: json_schema, tools.")


def test_a_prompt_and_answer_beyond_every_context() -> None:
    refused = refusal(job(input_tokens=7_500), fleet(offer("a"), offer("b", context_max=4_096)))
    assert (refused.reason, refused.retry_after_us) == (RefusalReason.CONTEXT_TOO_LONG, None)
    assert "7500 tokens and an answer of up to 1000 need a context of 8500 tokens" in refused.explanation
    assert "largest on offer for model is 8192" in refused.explanation


def test_a_promise_that_no_measured_speed_keeps_is_not_worth_asking_for_again() -> None:
    refused = refusal(job(), fleet(offer("a", speed=faster(0.25)), offer("b", speed=faster(0.2))))
    assert (refused.reason, refused.retry_after_us) == (RefusalReason.PROMISE_OUT_OF_REACH, None)
    assert "promises a first token within 500 ms and 20 ms per token" in refused.explanation
    assert "the fastest of 2 offers would need 400 ms and 40 ms per token" in refused.explanation
    assert "lower tier or send a shorter prompt" in refused.explanation


def test_a_provider_that_is_slow_today_may_recover() -> None:
    refused = refusal(job(), fleet(offer(), calibrations=slower(a=5.0)))
    assert refused.reason is RefusalReason.PROMISE_OUT_OF_REACH
    assert refused.retry_after_us is not None
    assert 5 * S <= refused.retry_after_us <= 7.5 * S
    assert "50 ms per token even with nothing else to do" in refused.explanation


def test_a_request_that_has_lost_its_time_may_be_made_again() -> None:
    refused = refusal(job(), fleet(offer()), now_us=490 * MS)
    assert refused.reason is RefusalReason.PROMISE_OUT_OF_REACH
    assert refused.retry_after_us is not None
    assert "490 ms have passed" in refused.explanation


def test_a_full_fleet_says_how_full_and_when_to_come_back() -> None:
    refused = refusal(job(), fleet(offer(), loads={"a": Load(30, 21, 4_000)}))
    assert refused.reason is RefusalReason.NO_CAPACITY
    assert refused.retry_after_us is not None
    assert "The 1 offers that can do so are busy with 30 requests, 4000 prompt tokens" in refused.explanation
    assert "500 ms of that are left" in refused.explanation


def test_prompts_still_to_be_taken_in_name_the_time_they_need() -> None:
    # 40,000 tokens need 2 s; a fresh request has 465 ms and needs 100 ms itself: 1.635 s from now
    refused = refusal(job(), fleet(offer(), loads={"a": Load(5, prefill_tokens=40_000)}))
    assert refused.reason is RefusalReason.NO_CAPACITY
    assert refused.retry_after_us is not None
    assert 1_634 * MS < refused.retry_after_us < 1.5 * 1_636 * MS
    assert "about 1.64 s" in refused.explanation


def test_room_that_never_comes_is_said_to_be_out_of_sight() -> None:
    refused = refusal(job(), fleet(offer(), loads={"a": Load(3, in_flight_tolerated=0)}))
    assert refused.reason is RefusalReason.NO_CAPACITY
    assert "no room is in sight" in refused.explanation
    assert refused.retry_after_us == 120 * S  # the longest that clients honour


def test_offers_that_are_all_shut_may_come_back() -> None:
    snapshot = fleet(offer("a"), offer("b"), closed=frozenset({oid("a")}))
    refused = refusal(job(excluded=frozenset({"b/d"})), snapshot)
    assert refused.reason is RefusalReason.NO_CAPACITY
    assert refused.retry_after_us is not None
    assert "All 2 offers of model that could serve this are shut for now (1 failed this request, 1 take" in (
        refused.explanation
    )


def test_bulk_is_told_its_window() -> None:
    refused = refusal(job(tier=Tier.BULK), fleet(offer(speed=faster(1 / 1_000))))
    assert refused.reason is RefusalReason.PROMISE_OUT_OF_REACH
    assert "promises the whole answer within 900 s" in refused.explanation


def test_retry_after_is_jittered_so_that_not_all_come_back_at_once() -> None:
    snapshot = fleet(offer(), calibrations=slower(a=5.0))
    retries = {refusal(job(), snapshot, seed=seed).retry_after_us for seed in range(20)}
    assert len(retries) == 20


def test_who_allows_a_lower_tier_is_told_of_a_refusal_that_can_still_change() -> None:
    # premium is out of reach for good, standard and bulk are shut out by what runs
    snapshot = fleet(offer(speed=faster(0.25)), loads={"a": Load(3, in_flight_tolerated=0)})
    refused = refusal(job(downgrade_allowed=True), snapshot)
    assert refused.reason is RefusalReason.NO_CAPACITY
    assert refused.retry_after_us is not None


def test_too_many_admissions_at_once_are_refused() -> None:
    dispatcher = Dispatcher(Policy(admitted_max=2))
    snapshot = fleet(offer())
    for number in range(2):
        dispatcher.on_arrival(job(f"j{number}"), snapshot, 0)
    refused = dispatcher.on_arrival(job("one too many"), snapshot, 0)
    assert isinstance(refused, Refuse)
    assert refused.reason is RefusalReason.QUEUE_FULL
    assert "2 requests are being admitted" in refused.explanation
