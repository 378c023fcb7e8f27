from typing import Any

import pytest

from pricing.slo import Tier
from scheduler.dispatcher import Dispatcher, JobError, UnknownCandidate, UnknownJob
from scheduler.fleet import Fleet, Load
from scheduler.jobs import JobId
from scheduler.placement import Admit, RefusalReason, Refuse, Wait
from scheduler.policy import Policy
from tests.scheduler.round_numbers import MS, S, dispatch, fleet, job, ladder, names, offer, oid, slower

FULL = Load(21, 21)
"""As many as premium tolerates."""


def full(*others: Any) -> Fleet:
    return fleet(offer(), *others, loads={"a": FULL})


def free() -> Fleet:
    return fleet(offer(), loads={"a": Load(20, 21)})


def waits(dispatcher: Dispatcher, name: str, tier: Tier = Tier.STANDARD, now_us: int = 0, **changes: Any) -> Wait:
    changes.setdefault("requested_at_us", now_us)
    command = dispatcher.on_arrival(job(name, tier, **changes), full(), now_us)
    assert isinstance(command, Wait), command
    return command


def admitted(*commands: object) -> list[str]:
    assert all(isinstance(command, Admit) for command in commands), commands
    return [command.job.id for command in commands if isinstance(command, Admit)]


def test_an_arrival_is_admitted_leased_and_forgotten() -> None:
    dispatcher = Dispatcher()
    admit = dispatcher.on_arrival(job(), fleet(offer()), 0)
    assert names(admit) == ["a"]
    assert dispatcher.admitted == 1
    done = dispatcher.on_leased(job().id, oid("a"), {oid("a"): Load(1)}, 0)
    assert (done.job_id, done.tier, done.candidate.offer.id) == (job().id, Tier.PREMIUM, oid("a"))
    assert dispatcher.admitted == 0


def test_a_lease_for_a_job_that_is_not_admitted_is_an_error_that_says_so() -> None:
    dispatcher = Dispatcher()
    with pytest.raises(UnknownJob, match="job j is not being admitted"):
        dispatcher.on_leased(job().id, oid("a"), {}, 0)
    dispatch(dispatcher, job(), fleet(offer()))
    with pytest.raises(UnknownJob):
        dispatcher.on_denied(job().id, {}, 0)


def test_a_lease_on_another_offer_is_an_error_and_the_job_stays_admitted() -> None:
    dispatcher = Dispatcher()
    dispatcher.on_arrival(job(), fleet(offer()), 0)
    with pytest.raises(UnknownCandidate, match="leased on z/d, but it was admitted to: a/d"):
        dispatcher.on_leased(job().id, oid("z"), {}, 0)
    assert dispatcher.admitted == 1


def test_a_job_whose_tier_is_not_its_ladders_is_refused_as_an_error() -> None:
    contradictory = job(tier=Tier.STANDARD)
    contradictory = type(contradictory)(JobId("j"), "ada", "model", Tier.PREMIUM, ladder(Tier.STANDARD), 0, 1, 1, 1)
    with pytest.raises(JobError, match="asks for premium, but its ladder starts at standard"):
        Dispatcher().on_arrival(contradictory, fleet(offer()), 0)


def test_negative_counts_are_an_error() -> None:
    with pytest.raises(JobError, match="-1 input"):
        Dispatcher().on_arrival(job(input_tokens=-1), fleet(offer()), 0)


def test_a_denial_brings_fresh_loads_and_another_decision() -> None:
    dispatcher = Dispatcher()
    snapshot = fleet(offer("a"), offer("b"))
    first = names(dispatcher.on_arrival(job(), snapshot, 0))[0]
    other = {"a": "b", "b": "a"}[first]
    assert names(dispatcher.on_denied(job().id, {oid(first): FULL}, 0)) == [other]


def test_a_denial_where_nothing_else_is_free_leads_to_waiting() -> None:
    dispatcher = Dispatcher()
    dispatcher.on_arrival(job(), free(), 0)
    assert isinstance(dispatcher.on_denied(job().id, {oid("a"): FULL}, 0), Wait)
    assert (dispatcher.waiting, dispatcher.admitted) == (1, 0)


def test_a_job_denied_over_and_over_is_not_offered_for_ever() -> None:
    dispatcher = Dispatcher(Policy(denials_max=3))
    command = dispatcher.on_arrival(job(), free(), 0)
    for _ in range(3):
        assert isinstance(command, Admit)
        command = dispatcher.on_denied(job().id, {}, 0)  # loads that do not explain the denial
    assert isinstance(command, Admit)
    assert isinstance(dispatcher.on_denied(job().id, {}, 0), Wait)


def test_who_can_still_be_in_time_waits_until_its_last_moment() -> None:
    # premium: 500 ms less 100 ms / 0.93 of its own
    wait = waits(Dispatcher(), "p", Tier.PREMIUM, now_us=S)
    assert wait.until_us == S + int(500 * MS - 100 * MS / 0.93)


def test_who_cannot_be_in_time_is_refused_at_once_and_told_when_room_is_expected() -> None:
    # typical answers are as long as this one: 2,001 tokens at 18.5 ms leave 21 running every 1.76 s
    command = Dispatcher().on_arrival(job(output_tokens=2_001, output_tokens_max=2_001), full(), 0)
    assert isinstance(command, Refuse)
    assert command.reason is RefusalReason.NO_CAPACITY
    assert command.retry_after_us is not None
    expected_us = 2_001 * 18_500 * 0.0476  # ln(21.5 / 20.5)
    assert expected_us * 0.99 < command.retry_after_us < 1.5 * expected_us * 1.01


def test_typical_answers_are_learned_from_what_was_dispatched() -> None:
    dispatcher = Dispatcher()
    for number in range(60):
        dispatch(dispatcher, job(f"long{number}", output_tokens=5_001), fleet(offer(context_max=10_000)))
    assert isinstance(dispatcher.on_arrival(job("short", output_tokens=11), full(), 0), Refuse)
    assert isinstance(Dispatcher().on_arrival(job("short", output_tokens=11), full(), 0), Wait)


def test_the_more_wait_ahead_the_sooner_one_is_refused() -> None:
    dispatcher = Dispatcher()
    commands = [dispatcher.on_arrival(job(f"p{n}"), full(), 0) for n in range(20)]
    waiting = [isinstance(command, Wait) for command in commands]
    # a place every 101 · 18.5 / 21 = 89 ms; 365 ms are left for waiting
    assert waiting == [True] * 4 + [False] * 16


def test_a_release_admits_those_who_wait_as_far_as_the_room_goes() -> None:
    dispatcher = Dispatcher()
    for name in ("one", "two", "three"):
        waits(dispatcher, name)
    assert admitted(*dispatcher.on_released(fleet(offer(), loads={"a": Load(19, 21)}), S)) == ["one", "two"]
    assert (dispatcher.waiting, dispatcher.admitted) == (1, 2)
    assert dispatcher.on_released(full(), S) == ()


def test_a_tick_does_the_same() -> None:
    dispatcher = Dispatcher()
    waits(dispatcher, "one")
    assert dispatcher.on_tick(full(), 50 * MS) == ()
    assert admitted(*dispatcher.on_tick(free(), 100 * MS)) == ["one"]


def test_the_lease_of_one_that_waited_may_be_denied_too() -> None:
    dispatcher = Dispatcher()
    waits(dispatcher, "one")
    dispatcher.on_released(free(), MS)
    assert isinstance(dispatcher.on_denied(JobId("one"), {oid("a"): FULL}, MS), Wait)
    assert admitted(*dispatcher.on_released(free(), 2 * MS)) == ["one"]


def test_who_waited_to_its_last_moment_is_refused_with_the_next_tick() -> None:
    dispatcher = Dispatcher()
    wait = waits(dispatcher, "p", Tier.PREMIUM)
    assert dispatcher.on_tick(full(), wait.until_us - 10 * MS) == ()
    (refusal,) = dispatcher.on_tick(full(), wait.until_us + 1)
    assert isinstance(refusal, Refuse)
    assert refusal.job.id == "p"
    assert dispatcher.waiting == 0


def test_who_can_no_longer_hope_is_refused_before_its_last_moment() -> None:
    dispatcher = Dispatcher()
    wait = waits(dispatcher, "p", Tier.PREMIUM)
    # the provider has become slow: it could not keep the promise even alone
    slow = fleet(offer(), loads={"a": FULL}, calibrations=slower(a=5.0))
    (refusal,) = dispatcher.on_tick(slow, 10 * MS)
    assert wait.until_us > 10 * MS
    assert isinstance(refusal, Refuse)
    assert refusal.reason is RefusalReason.PROMISE_OUT_OF_REACH


def test_a_release_leaves_the_hopeless_to_the_next_tick() -> None:
    dispatcher = Dispatcher()
    waits(dispatcher, "p", Tier.PREMIUM)
    slow = fleet(offer(), loads={"a": FULL}, calibrations=slower(a=5.0))
    assert dispatcher.on_released(slow, 10 * MS) == ()
    assert dispatcher.waiting == 1
    assert [type(command) for command in dispatcher.on_tick(slow, 12 * MS)] == [Refuse]
    assert dispatcher.next_tick_us(12 * MS) is None


def test_who_allows_it_is_served_a_lower_tier_once_the_one_asked_for_is_out_of_reach() -> None:
    dispatcher = Dispatcher()
    wait = waits(dispatcher, "p", Tier.PREMIUM, downgrade_allowed=True)
    assert dispatcher.on_tick(full(), wait.until_us + 1) == ()  # it waits on, now for standard
    (admit,) = dispatcher.on_tick(free(), wait.until_us + 60 * MS)
    assert isinstance(admit, Admit)
    assert admit.tier is Tier.STANDARD


def test_who_was_downgraded_and_can_be_served_at_once_is_admitted_by_the_same_tick() -> None:
    dispatcher = Dispatcher()
    wait = waits(dispatcher, "p", Tier.PREMIUM, downgrade_allowed=True)
    slow = fleet(offer(), calibrations=slower(a=2.5))
    (admit,) = dispatcher.on_tick(slow, wait.until_us)
    assert isinstance(admit, Admit)
    assert admit.tier is Tier.STANDARD


def test_withdrawing_ends_a_job_in_every_state() -> None:
    dispatcher = Dispatcher(Policy(queue_max=1))
    dispatcher.on_withdrawn(JobId("never came"))
    dispatcher.on_arrival(job("admitted"), free(), 0)
    dispatcher.on_withdrawn(JobId("admitted"))
    assert dispatcher.admitted == 0
    assert admitted(dispatcher.on_arrival(job("next"), free(), 0)) == ["next"]  # its room is free again
    dispatcher.on_withdrawn(JobId("next"))
    waits(dispatcher, "waiting")
    dispatcher.on_withdrawn(JobId("waiting"))
    assert dispatcher.waiting == 0
    assert dispatcher.on_released(free(), 0) == ()
    waits(dispatcher, "shed", Tier.BULK)
    waits(dispatcher, "premium", Tier.PREMIUM)
    dispatcher.on_withdrawn(JobId("shed"))
    assert dispatcher.on_tick(full(), MS) == ()
    dispatcher.on_withdrawn(JobId("premium"))
    dispatch(dispatcher, job("dispatched"), fleet(offer()))
    dispatcher.on_withdrawn(JobId("dispatched"))


def test_only_what_was_dispatched_is_counted_as_served() -> None:
    dispatcher = Dispatcher()
    counters = dispatcher._queue._counters
    price = 1_000 * 800_000 + 101 * 3_200_000
    dispatcher.on_arrival(job("withdrawn", customer_id="ada"), free(), 0)
    assert counters.served("ada") == price
    dispatcher.on_withdrawn(JobId("withdrawn"))
    dispatcher.on_arrival(job("denied", customer_id="ada"), free(), 0)
    dispatcher.on_denied(JobId("denied"), {oid("a"): FULL}, 0)
    dispatcher.on_arrival(job("unanswered", customer_id="ada"), fleet(offer("b")), 0)
    dispatcher.on_tick(full(), 61 * S)
    assert counters.served("ada") == 0
    dispatch(dispatcher, job("dispatched", customer_id="ada"), fleet(offer()))
    assert counters.served("ada") == price


def test_the_same_job_arriving_again_is_decided_afresh_and_counted_once() -> None:
    dispatcher = Dispatcher()
    waits(dispatcher, "j")
    assert admitted(dispatcher.on_arrival(job("j", Tier.STANDARD), fleet(offer("b")), 0)) == ["j"]
    assert (dispatcher.waiting, dispatcher.admitted) == (0, 1)
    assert admitted(dispatcher.on_arrival(job("j", Tier.STANDARD), fleet(offer("b")), 0)) == ["j"]
    assert dispatcher.admitted == 1


def test_a_failed_attempt_comes_back_with_its_offer_excluded() -> None:
    dispatcher = Dispatcher()
    snapshot = fleet(offer("a"), offer("b"))
    first = dispatch(dispatcher, job(), snapshot).candidate.offer
    again = job(excluded=frozenset({first.id}))
    assert first.id not in [each.offer.id for each in _admit(dispatcher, again, snapshot).candidates]


def test_a_full_queue_sheds_a_lower_tier_for_a_better_one_and_tells_it_with_the_next_tick() -> None:
    dispatcher = Dispatcher(Policy(queue_max=2))
    waits(dispatcher, "b1", Tier.BULK)
    waits(dispatcher, "b2", Tier.BULK)
    waits(dispatcher, "p", Tier.PREMIUM)
    assert dispatcher.waiting == 2
    assert dispatcher.next_tick_us(7) == 7
    (refusal,) = dispatcher.on_tick(full(), 7)
    assert isinstance(refusal, Refuse)
    assert (refusal.job.id, refusal.reason) == ("b2", RefusalReason.QUEUE_FULL)
    assert "2 requests wait, as many as may" in refusal.explanation


def test_a_full_queue_refuses_what_would_be_served_last() -> None:
    dispatcher = Dispatcher(Policy(queue_max=2))
    waits(dispatcher, "s1")
    waits(dispatcher, "s2")
    command = dispatcher.on_arrival(job("b", Tier.BULK), full(), 0)
    assert isinstance(command, Refuse)
    assert command.reason is RefusalReason.QUEUE_FULL
    assert "no more requests may wait" in command.explanation


def test_a_lesser_tier_keeps_off_the_room_that_a_better_one_waits_for() -> None:
    dispatcher = Dispatcher()
    waits(dispatcher, "p", Tier.PREMIUM)
    command = dispatcher.on_arrival(job("s", Tier.STANDARD), free(), 0)
    assert isinstance(command, Wait)
    assert admitted(*dispatcher.on_released(free(), MS)) == ["p"]


def test_but_takes_room_elsewhere() -> None:
    dispatcher = Dispatcher()
    waits(dispatcher, "p", Tier.PREMIUM)
    elsewhere = fleet(offer("a"), offer("b", tiers=frozenset({Tier.STANDARD})), loads={"a": FULL})
    assert names(dispatcher.on_arrival(job("s", Tier.STANDARD), elsewhere, 0)) == ["b"]


def test_a_claim_moves_when_its_offer_is_shut() -> None:
    dispatcher = Dispatcher()
    both = fleet(offer("a"), offer("b"), loads={"a": FULL, "b": Load(30, 21)})
    assert isinstance(dispatcher.on_arrival(job("p"), both, 0), Wait)
    shut = fleet(offer("a"), offer("b"), loads={"a": FULL, "b": FULL}, closed=frozenset({oid("a")}))
    assert dispatcher.on_tick(shut, 10 * MS) == ()
    assert dispatcher._queue.claimed_above("model", Tier.STANDARD) == {oid("b")}


def test_ticks_are_due_while_something_waits_and_not_otherwise() -> None:
    dispatcher = Dispatcher()
    assert dispatcher.next_tick_us(5) is None
    waits(dispatcher, "one", now_us=100 * MS)
    assert dispatcher.next_tick_us(100 * MS) == 150 * MS
    assert dispatcher.next_tick_us(140 * MS) == 150 * MS  # however often it is asked
    assert dispatcher.next_tick_us(170 * MS) == 170 * MS
    dispatcher.on_tick(full(), 170 * MS)
    assert dispatcher.next_tick_us(171 * MS) == 220 * MS
    dispatcher.on_withdrawn(JobId("one"))
    assert dispatcher.next_tick_us(180 * MS) is None


def test_an_admission_that_nobody_answers_is_refused_after_a_minute() -> None:
    dispatcher = Dispatcher()
    dispatcher.on_arrival(job("lost"), fleet(offer()), 0)
    assert dispatcher.next_tick_us(1) == 60 * S
    assert dispatcher.on_tick(fleet(offer()), 60 * S - 1) == ()
    (refusal,) = dispatcher.on_tick(fleet(offer()), 60 * S)
    assert isinstance(refusal, Refuse)
    assert "found no lease within 60 s" in refusal.explanation
    assert dispatcher.admitted == 0


def test_no_more_are_tried_per_event_than_may_be() -> None:
    dispatcher = Dispatcher(Policy(tries_max=2))
    for number in range(5):
        waits(dispatcher, f"j{number}")
    empty = fleet(offer())
    assert len(dispatcher.on_released(empty, MS)) == 2
    assert len(dispatcher.on_released(empty, MS)) == 2
    assert len(dispatcher.on_released(empty, MS)) == 1


def test_admissions_in_progress_are_bounded_for_those_who_wait_too() -> None:
    dispatcher = Dispatcher(Policy(admitted_max=2))
    for number in range(3):
        waits(dispatcher, f"j{number}")
    assert len(dispatcher.on_released(fleet(offer()), MS)) == 2
    assert dispatcher.on_released(fleet(offer()), MS) == ()


def test_jobs_of_a_kind_that_found_no_room_do_not_keep_others_from_being_tried() -> None:
    dispatcher = Dispatcher()
    for number in range(3):
        waits(dispatcher, f"s{number}")
    other = job("other", Tier.STANDARD, model="other")
    busy_other = fleet(offer("o", model="other"), offer("a"), loads={"o": FULL, "a": FULL})
    assert isinstance(dispatcher.on_arrival(other, busy_other, 0), Wait)
    free_other = fleet(offer("o", model="other"), offer("a"), loads={"a": FULL})
    assert admitted(*dispatcher.on_released(free_other, MS)) == ["other"]


def _admit(dispatcher: Dispatcher, arriving: Any, snapshot: Fleet) -> Admit:
    admit = dispatcher.on_arrival(arriving, snapshot, 0)
    assert isinstance(admit, Admit)
    return admit
