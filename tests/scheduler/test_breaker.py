from itertools import pairwise

import pytest

from scheduler.breaker import (
    DEFAULT_BREAKER_POLICY,
    Breaker,
    BreakerPolicy,
    BreakerState,
    FailureKind,
    is_panicking,
    shut,
)
from tests.scheduler.round_numbers import S, oid

UNHEALTHY = FailureKind.UNHEALTHY


def opened(at_us: int = 0) -> Breaker:
    breaker = Breaker()
    for _ in range(5):
        breaker.on_failure(UNHEALTHY, at_us)
    assert breaker.state(at_us) is BreakerState.OPEN
    return breaker


def test_five_failures_in_a_row_open_it_and_four_do_not() -> None:
    breaker = Breaker()
    for _ in range(4):
        breaker.on_failure(UNHEALTHY, 0)
    assert breaker.allows(0)
    breaker.on_failure(UNHEALTHY, 0)
    assert breaker.state(0) is BreakerState.OPEN
    assert not breaker.allows(0)


def test_a_success_between_breaks_the_row() -> None:
    breaker = Breaker()
    for _ in range(4):
        for _ in range(4):
            breaker.on_failure(UNHEALTHY, 0)
        breaker.on_success(0)
        if breaker.state(0) is BreakerState.OPEN:
            break
    # 16 failures of 20 samples: the row never reached five, the share opened it
    assert breaker.state(0) is BreakerState.CLOSED
    breaker.on_failure(UNHEALTHY, 0)
    assert breaker.state(0) is BreakerState.OPEN


@pytest.mark.parametrize(("failures", "state"), [(10, BreakerState.CLOSED), (11, BreakerState.OPEN)])
def test_more_than_half_of_twenty_samples_open_it(failures: int, state: BreakerState) -> None:
    breaker = Breaker()
    successes = 20 - failures
    for number in range(failures):
        if number < successes:
            breaker.on_success(0)
        breaker.on_failure(UNHEALTHY, 0)
    assert breaker.state(0) is state


def test_nineteen_samples_say_nothing() -> None:
    breaker = Breaker()
    for _ in range(3):
        for _ in range(4):
            breaker.on_failure(UNHEALTHY, 0)
        breaker.on_success(0)
    for _ in range(4):
        breaker.on_failure(UNHEALTHY, 0)  # 16 failures, 3 successes
    assert breaker.state(0) is BreakerState.CLOSED


def test_old_samples_do_not_count() -> None:
    assert _two_of_three_fail(every_us=S).state(30 * S) is BreakerState.OPEN
    # the same share, but only three samples in any half minute
    assert _two_of_three_fail(every_us=10 * S).state(300 * S) is BreakerState.CLOSED


@pytest.mark.parametrize("kind", [FailureKind.REQUEST, FailureKind.OVERLOADED])
def test_what_says_nothing_about_health_never_trips_it(kind: FailureKind) -> None:
    breaker = Breaker()
    for _ in range(1_000):
        breaker.on_failure(kind, 0, retry_after_us=0)
    assert breaker.state(0) is BreakerState.CLOSED
    assert breaker.allows(0)


def test_it_stays_open_five_seconds_and_a_jitter() -> None:
    lengths = {_open_us(Breaker(seed=seed)) for seed in range(50)}
    assert all(5 * S <= length <= 6.25 * S for length in lengths)
    assert len(lengths) == 50


def test_each_failed_probe_doubles_the_time_up_to_two_minutes() -> None:
    breaker = opened()
    now_us, lengths = 0, list[int]()
    for _ in range(10):
        until_us = breaker.opens_at_us(now_us)
        assert until_us is not None
        lengths.append(until_us - now_us)
        now_us = until_us
        assert breaker.enter(now_us)
        breaker.on_failure(UNHEALTHY, now_us)
    assert all(5 * S <= length <= 120 * S for length in lengths)
    assert all(1.6 <= later / earlier <= 2.5 for earlier, later in pairwise(lengths[:5]))
    assert lengths[-1] >= 96 * S


def test_after_that_exactly_one_request_may_probe_it() -> None:
    breaker = opened()
    now_us = 10 * S
    assert breaker.state(now_us) is BreakerState.HALF_OPEN
    assert breaker.allows(now_us)
    assert [breaker.enter(now_us) for _ in range(5)] == [True, False, False, False, False]
    assert not breaker.allows(now_us)


def test_a_probe_that_nobody_answers_for_is_given_up() -> None:
    breaker = opened()
    assert breaker.enter(10 * S)
    assert not breaker.enter(70 * S - 1)
    assert breaker.enter(70 * S)


@pytest.mark.parametrize("kind", [FailureKind.REQUEST, FailureKind.OVERLOADED])
def test_a_probe_without_a_verdict_makes_place_for_the_next(kind: FailureKind) -> None:
    breaker = opened()
    breaker.enter(10 * S)
    breaker.on_failure(kind, 11 * S, retry_after_us=0)
    assert breaker.state(11 * S) is BreakerState.HALF_OPEN
    assert [breaker.enter(11 * S), breaker.enter(11 * S)] == [True, False]


def test_a_good_probe_closes_it_and_load_returns_gradually() -> None:
    breaker = opened()
    breaker.enter(10 * S)
    assert breaker.share(10 * S) == 0.1
    breaker.on_success(10 * S)
    assert breaker.state(10 * S) is BreakerState.CLOSED
    assert breaker.share(10 * S) == pytest.approx(0.1)
    assert breaker.share(15 * S) == pytest.approx(0.55)
    assert breaker.share(20 * S) == 1.0
    assert breaker.share(9 * S) == pytest.approx(0.1)  # a clock that steps back


def test_only_a_slow_start_that_went_well_makes_the_next_opening_short_again() -> None:
    relapsed = opened()
    relapsed.enter(10 * S)
    relapsed.on_success(10 * S)
    relapsed.on_success(15 * S)
    assert _open_us(relapsed, 16 * S) >= 10 * S
    well = opened()
    well.enter(10 * S)
    well.on_success(10 * S)
    well.on_success(21 * S)
    assert _open_us(well, 22 * S) <= 6.25 * S


def test_what_left_before_it_opened_says_nothing_about_now() -> None:
    breaker = opened()
    breaker.on_success(S)
    assert breaker.state(S) is BreakerState.OPEN
    until_us = breaker.opens_at_us(S)
    breaker.on_failure(UNHEALTHY, S)
    assert breaker.opens_at_us(S) == until_us


def test_a_rejected_credential_disables_it_until_an_operator_mends_it() -> None:
    breaker = Breaker()
    breaker.on_failure(FailureKind.CREDENTIAL, 0)
    breaker.on_success(S)
    assert breaker.state(10_000 * S) is BreakerState.DISABLED
    assert not breaker.allows(10_000 * S, is_panic=True)
    assert breaker.opens_at_us(S) is None
    breaker.on_failure(UNHEALTHY, S)
    breaker.mend(20 * S)
    assert breaker.allows(20 * S)
    assert breaker.share(20 * S) == pytest.approx(0.1)


def test_mending_what_is_not_disabled_changes_nothing() -> None:
    breaker = opened()
    breaker.mend(S)
    assert breaker.state(S) is BreakerState.OPEN


def test_an_overloaded_offer_is_left_alone_for_as_long_as_it_asked() -> None:
    breaker = Breaker()
    breaker.on_failure(FailureKind.OVERLOADED, 0, retry_after_us=30 * S)
    breaker.on_failure(FailureKind.OVERLOADED, S, retry_after_us=2 * S)  # max(old, now + retry after)
    assert not breaker.allows(30 * S - 1)
    assert breaker.opens_at_us(2 * S) == 30 * S
    assert breaker.allows(30 * S)


def test_one_that_names_no_time_is_left_alone_a_second_and_none_for_ever() -> None:
    breaker = Breaker()
    breaker.on_failure(FailureKind.OVERLOADED, 0)
    assert not breaker.allows(S - 1)
    assert breaker.allows(S)
    breaker.on_failure(FailureKind.OVERLOADED, S, retry_after_us=10**15)
    assert breaker.allows(S + DEFAULT_BREAKER_POLICY.backoff_us_max)
    breaker.on_failure(FailureKind.OVERLOADED, 10**10, retry_after_us=-5)
    assert breaker.allows(10**10)


def test_when_more_than_half_are_open_an_open_one_is_better_than_none() -> None:
    breakers = {oid("a"): opened(), oid("b"): opened(), oid("c"): Breaker()}
    assert is_panicking(breakers, 0)
    assert shut(breakers, 0) == frozenset()
    assert breakers[oid("a")].enter(0, is_panic=True)
    breakers[oid("b")].on_failure(FailureKind.CREDENTIAL, 0)
    assert shut(breakers, 0) == {oid("b")}


def test_half_of_them_or_a_single_one_is_no_panic() -> None:
    breakers = {oid("a"): opened(), oid("b"): opened(), oid("c"): Breaker(), oid("d"): Breaker()}
    assert shut(breakers, 0) == {oid("a"), oid("b")}
    assert shut({oid("a"): opened()}, 0) == {oid("a")}


def test_in_panic_a_half_open_one_takes_more_than_a_probe() -> None:
    breaker = opened()
    assert [breaker.enter(10 * S, is_panic=True) for _ in range(3)] == [True] * 3


def test_memory_of_outcomes_is_bounded() -> None:
    breaker = Breaker(BreakerPolicy(samples_max=50))
    for _ in range(1_000):
        breaker.on_success(0)
    assert len(breaker._outcomes) == 50


def test_the_same_seed_gives_the_same_times() -> None:
    assert _open_us(Breaker(seed=3)) == _open_us(Breaker(seed=3))


def _two_of_three_fail(every_us: int) -> Breaker:
    breaker = Breaker()
    for number in range(30):
        if number % 3:
            breaker.on_failure(UNHEALTHY, number * every_us)
        else:
            breaker.on_success(number * every_us)
    return breaker


def _open_us(breaker: Breaker, at_us: int = 0) -> int:
    for _ in range(5):
        breaker.on_failure(UNHEALTHY, at_us)
    until_us = breaker.opens_at_us(at_us)
    assert until_us is not None
    return until_us - at_us
