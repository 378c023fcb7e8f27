from dataclasses import replace

import pytest

from app.fleet.health import Health, failure_kind
from app.fleet.roster import Deployed, State
from pricing.slo import US_PER_S, Tier
from providers.errors import (
    ProviderClosedEarly,
    ProviderCredentialRejected,
    ProviderError,
    ProviderOverloaded,
    ProviderProtocolError,
    ProviderRejectedRequest,
    ProviderServerError,
    ProviderStreamError,
    ProviderTimeout,
    ProviderUnreachable,
)
from scheduler.breaker import BreakerState, FailureKind
from scheduler.fleet import Load, SpeedCurve
from tests.app.fleet.rosters import B200, H100, T0_US, deployed, spec

S = US_PER_S
DEAD = ProviderUnreachable("cluster-b200", "connection refused")


def health(*fleet: Deployed) -> Health:
    made = Health()
    made.update(fleet or (deployed(B200), deployed(H100)), T0_US)
    return made


def fail(made: Health, times: int, error: ProviderError = DEAD, now_us: int = T0_US) -> None:
    for _ in range(times):
        made.failed(B200.id, error, now_us)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ProviderUnreachable("p", ""), FailureKind.UNHEALTHY),
        (ProviderTimeout("p", ""), FailureKind.UNHEALTHY),
        (ProviderServerError("p", "", 500), FailureKind.UNHEALTHY),
        (ProviderProtocolError("p", ""), FailureKind.UNHEALTHY),
        (ProviderClosedEarly("p", ""), FailureKind.UNHEALTHY),
        (ProviderStreamError("p", ""), FailureKind.UNHEALTHY),
        (ProviderOverloaded("p", "", 429), FailureKind.OVERLOADED),
        (ProviderCredentialRejected("p", "", 401), FailureKind.CREDENTIAL),
        (ProviderRejectedRequest("p", "", 400), FailureKind.REQUEST),
    ],
)
def test_each_failure_says_what_may_be_concluded_about_the_backend(error: ProviderError, kind: FailureKind) -> None:
    assert failure_kind(error) is kind


def test_five_failures_in_a_row_close_an_offer_and_only_that_one() -> None:
    made = health()
    fail(made, 4)
    assert made.closed(T0_US) == frozenset()
    fail(made, 1)
    assert made.closed(T0_US) == {B200.id}
    assert made.breaker_state(B200.id, T0_US) is BreakerState.OPEN
    assert made.breaker_state(H100.id, T0_US) is BreakerState.CLOSED


def test_a_request_that_is_itself_wrong_closes_nothing_however_often() -> None:
    made = health()
    fail(made, 100, ProviderRejectedRequest("cluster-b200", "bad", 400))
    assert made.closed(T0_US) == frozenset()


def test_an_overloaded_offer_is_left_alone_for_as_long_as_it_asked() -> None:
    made = health()
    fail(made, 1, ProviderOverloaded("cluster-b200", "busy", 429, retry_after_s=2.5))
    assert made.closed(T0_US + round(2.4 * S)) == {B200.id}
    assert made.closed(T0_US + round(2.5 * S)) == frozenset()


def test_a_half_open_offer_gets_one_probe_beside_what_still_runs_and_its_success_opens_it_by_and_by() -> None:
    made = health()
    fail(made, 5)
    later_us = T0_US + 10 * S
    assert made.breaker_state(B200.id, later_us) is BreakerState.HALF_OPEN
    assert made.closed(later_us) == frozenset()
    assert made.limits({B200.id: Load(3)}, later_us) == {B200.id: 4}
    made.enter(B200.id, later_us)
    assert made.closed(later_us) == {B200.id}
    made.succeeded(B200.id, later_us)
    assert made.closed(later_us) == frozenset()
    shares = [made.limits({}, later_us + n * S).get(B200.id) for n in (0, 5, 10)]
    assert shares == [6, 35, None]  # 10 %, 55 % and all of 64


def test_a_rejected_credential_keeps_an_offer_closed_until_an_operator_touches_it() -> None:
    made = health()
    fail(made, 1, ProviderCredentialRejected("cluster-b200", "who are you", 401))
    assert made.closed(T0_US + 86_400 * S) == {B200.id}
    made.update([deployed(B200), deployed(H100)], T0_US)
    assert made.closed(T0_US) == {B200.id}
    made.update([deployed(B200, version=(1, 2)), deployed(H100)], T0_US)
    assert made.closed(T0_US) == frozenset()


@pytest.mark.parametrize("state", [State.DRAINING, State.DISABLED])
def test_what_an_operator_took_off_gets_no_new_work(state: State) -> None:
    assert health(deployed(B200, state), deployed(H100)).closed(T0_US) == {B200.id}
    assert health(deployed(B200, provider_state=state), deployed(H100)).closed(T0_US) == {B200.id}


def test_when_most_working_offers_of_a_model_fail_they_are_tried_all_the_same_but_not_those_taken_off() -> None:
    working = [deployed(spec(f"p{n}")) for n in range(3)]
    off = [deployed(spec(f"off{n}"), State.DISABLED) for n in range(3)]
    made = health(*working, *off)
    for each in working[:2]:
        for _ in range(5):
            made.failed(each.id, DEAD, T0_US)
    assert made.closed(T0_US) == {each.id for each in off}


def test_corrections_are_learned_per_offer_and_stay_the_same_object_while_nothing_is_learned() -> None:
    made = health()
    assert made.calibrations(T0_US) == {}
    for _ in range(3):
        made.paced(B200.id, Tier.PREMIUM, 5_000.0, 15_000.0)
        made.first_token(B200.id, Tier.PREMIUM, 100_000.0, 200_000.0)
    learned = made.calibrations()[B200.id]
    assert learned.tpot == pytest.approx(3.0)
    assert learned.ttft == pytest.approx(2.0)
    assert made.calibrations(T0_US + S)[B200.id] is learned
    assert H100.id not in made.calibrations()


def test_a_remeasured_offer_starts_afresh_and_a_vanished_one_is_forgotten() -> None:
    made = health()
    for _ in range(3):
        made.paced(B200.id, Tier.STANDARD, 5_000.0, 15_000.0)
    faster = replace(B200, speed=SpeedCurve((1,), (2_000.0,), 0.0, 1_000.0))
    made.update([deployed(faster, version=(2, 1)), deployed(H100)], T0_US)
    assert made.calibrations() == {}
    made.paced(B200.id, Tier.STANDARD, 5_000.0, 15_000.0)
    fail(made, 5)
    made.update([deployed(H100)], T0_US)
    assert made.calibrations() == {}
    assert made.closed(T0_US) == frozenset()
    made.paced(B200.id, Tier.STANDARD, 5_000.0, 15_000.0)
    made.failed(B200.id, DEAD, T0_US)
    assert made.calibrations() == {}
    assert made.tpot_us_since(B200.id, T0_US, T0_US + S) is None


def test_the_load_met_explains_a_slow_answer() -> None:
    made = health()
    made.note_loads({B200.id: Load(1)}, T0_US)
    made.note_loads({B200.id: Load(64)}, T0_US + S)
    assert made.tpot_us_since(B200.id, T0_US + S, T0_US + 3 * S) == pytest.approx(20_000.0)
