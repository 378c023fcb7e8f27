import pytest

from app.fleet.roster import State
from app.fleet.standing import Signals, Standing, overall, provider_standings
from scheduler.breaker import BreakerState
from scheduler.fleet import Load
from tests.app.fleet.rosters import B200, H100, deployed, spec

QUIET = Signals({}, {}, {})
H, G, R, D, X = Standing.HEALTHY, Standing.DEGRADED, Standing.DRAINING, Standing.DOWN, Standing.DISABLED


@pytest.mark.parametrize(
    ("standings", "expected"),
    [
        ([H], H), ([G], G), ([R], R), ([D], D), ([X], X),
        ([H, H], H), ([H, D], G), ([H, G], G), ([D, D], D), ([D, G], G),
        ([H, X], H), ([D, X], D), ([R, X], R), ([H, R], H), ([D, R], D),
        ([], X),
    ],
)  # fmt: skip
def test_one_word_for_several_deployments(standings: list[Standing], expected: Standing) -> None:
    assert overall(standings) is expected


@pytest.mark.parametrize(
    ("breaker", "expected"),
    [
        (BreakerState.CLOSED, H),
        (BreakerState.HALF_OPEN, G),
        (BreakerState.OPEN, D),
        (BreakerState.DISABLED, D),
    ],
)
def test_a_breaker_tells_how_an_enabled_deployment_stands(breaker: BreakerState, expected: Standing) -> None:
    (standing,) = provider_standings([deployed()], Signals({}, {B200.id: breaker}, {}))
    assert standing.standing is expected
    assert standing.deployments[0].breaker is breaker


def test_an_operators_decision_is_shown_before_any_breaker() -> None:
    signals = Signals({}, {B200.id: BreakerState.OPEN}, {})
    for state, expected in ((State.DRAINING, R), (State.DISABLED, X)):
        assert provider_standings([deployed(state=state)], signals)[0].standing is expected


def test_a_provider_sums_what_runs_and_fits_on_its_deployments() -> None:
    other = spec("cluster-b200", deployment_id="second", concurrency_max=8)
    signals = Signals({B200.id: Load(5), other.id: Load(2)}, {}, {other.id: "its credential is missing"})
    first, second = provider_standings([deployed(other), deployed(H100), deployed(B200)], signals)
    assert (first.provider_id, first.standing, first.in_flight, first.capacity) == ("cluster-b200", G, 7, 72)
    assert [each.trouble for each in first.deployments] == ["", "its credential is missing"]
    assert (second.provider_id, second.standing, second.in_flight, second.capacity) == ("cluster-h100", H, 0, 64)


def test_an_empty_fleet_has_no_standings() -> None:
    assert provider_standings([], QUIET) == ()
