import math
from dataclasses import replace
from typing import Any

import pytest

from app.fleet.models import DeploymentRow
from app.fleet.offers import offer_of, offers_by_model
from app.fleet.repository import columns_of, spec_of
from app.fleet.roster import RosterError, State
from app.fleet.speeds import curve_from_document, speed_curve, speed_document
from pricing.deployments import deployments
from pricing.money import Rate
from pricing.shipped import shipped_profiles
from pricing.slo import Tier
from pricing.usage import Rates
from providers.spec import ProviderSpecError
from scheduler.fleet import SpeedCurve, SpeedCurveError
from scheduler.jobs import Capability
from tests.app.fleet.rosters import B200, CURVE, H100, T0_US, deployed, spec


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"provider_id": "Cluster B200"}, "provider_id: 1 to 64 lower-case letters"),
        ({"provider_id": "a/b"}, "provider_id"),
        ({"deployment_id": "has space"}, "deployment_id: 1 to 120"),
        ({"deployment_id": "x" * 121}, "deployment_id: 1 to 120"),
        ({"model": ""}, "model: 1 to 180"),
        ({"concurrency_max": 0}, "concurrency_max from 1 to 1000000"),
        ({"concurrency_max": 2**31}, "concurrency_max from 1 to 1000000"),
        ({"context_max": 0}, "context_max from 1"),
        ({"cost": Rates(Rate(0), Rate(0), Rate(0), Rate(-1))}, "cannot cost less than nothing"),
        ({"tiers": frozenset[Tier]()}, "at least one tier"),
        ({"is_emulated": True, "label": ""}, "an emulated deployment needs a label"),
        ({"region": "EU West"}, "region: at most 64 lower-case letters"),
        ({"region": "e" * 65}, "region: at most 64"),
        ({"api_key_env": "sk-secret-itself"}, "api_key_env names a variable such as ACME_API_KEY"),
    ],
)
def test_a_deployment_that_cannot_be_registered_is_refused_with_the_reason(
    changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RosterError, match=reason):
        replace(B200, **changes)


@pytest.mark.parametrize(
    "changes", [{"base_url": "localhost:1"}, {"base_url": "http://u:p@h/v1"}, {"backend_model": ""}]
)
def test_a_deployment_that_nobody_could_talk_to_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(ProviderSpecError):
        replace(B200, **changes)  # pyright: ignore[reportArgumentType] (text fields only)


@pytest.mark.parametrize(
    ("own", "providers", "decided"),
    [
        (State.ENABLED, State.ENABLED, State.ENABLED),
        (State.ENABLED, State.DRAINING, State.DRAINING),
        (State.DISABLED, State.DRAINING, State.DISABLED),
        (State.DRAINING, State.DISABLED, State.DISABLED),
        (State.DISABLED, State.ENABLED, State.DISABLED),
    ],
)
def test_the_stricter_of_two_decisions_holds(own: State, providers: State, decided: State) -> None:
    assert deployed(state=own, provider_state=providers).decided is decided


def test_a_deployment_survives_being_stored() -> None:
    rich = replace(
        B200,
        tiers=frozenset({Tier.BULK, Tier.PREMIUM}),
        capabilities=frozenset({Capability.STREAMING, Capability.TOOLS}),
        is_owned=False,
        base_model="base",
        is_emulated=True,
        label="emulated at measured speeds",
        api_key_env="ACME_API_KEY",
    )
    for each in (B200, rich):
        row = DeploymentRow(**columns_of(each), created_at_us=T0_US, updated_at_us=T0_US)
        assert spec_of(row) == each


def test_a_curve_survives_being_stored_and_anything_else_is_refused() -> None:
    assert curve_from_document(speed_document(CURVE)) == CURVE
    for wrong in (
        {},
        {"concurrency": [1]},
        {**speed_document(CURVE), "tpot_us": ["fast"]},
        {**speed_document(CURVE), "concurrency": [2, 1, 3]},
    ):
        with pytest.raises(SpeedCurveError):
            curve_from_document(wrong)
    with pytest.raises(SpeedCurveError, match="must be finite to be stored"):
        speed_document(SpeedCurve((1,), (1.0,), 0.0, math.inf))


def test_the_scheduler_predicts_from_the_measured_curve_of_a_shipped_deployment() -> None:
    measured = deployments(shipped_profiles(), "gpt-oss-120b", 8192, 1024)
    assert measured
    for each in measured:
        curve = speed_curve(each)
        assert curve.concurrency_measured == each.points[-1].concurrency
        assert curve.tpot_us[0] <= curve.tpot_us[-1]
        assert curve_from_document(speed_document(curve)) == curve


def test_an_offer_says_what_its_deployment_is() -> None:
    offer = offer_of(B200)
    assert offer.id == "cluster-b200/b200-trtllm-fp4-agg-tp2ep1"
    assert (offer.model, offer.speed, offer.concurrency_max, offer.context_max) == ("open/one", CURVE, 64, 131_072)
    assert (offer.cost, offer.is_owned, offer.tiers) == (B200.cost, True, frozenset(Tier))


def test_offers_stand_under_their_model_and_stay_the_same_objects_while_nothing_changes() -> None:
    fleet = [deployed(B200), deployed(H100), deployed(spec("cluster-x", model="open/two"))]
    first = offers_by_model(fleet, {}, {})
    assert {model: len(offers) for model, offers in first.items()} == {"open/one": 2, "open/two": 1}
    assert offers_by_model(fleet, {}, first)["open/one"] is first["open/one"]
    limited = offers_by_model(fleet, {B200.id: 7}, first)
    assert [offer.concurrency_max for offer in limited["open/one"]] == [7, 64]
    assert limited["open/one"][1] is first["open/one"][1]
    assert limited["open/two"] is first["open/two"]


def test_a_recovering_offer_may_always_run_one_request_and_never_more_than_its_maximum() -> None:
    for limit, usable in ((0, 1), (1, 1), (64, 64), (65, 64)):
        (offer,) = offers_by_model([deployed()], {B200.id: limit}, {})["open/one"]
        assert offer.concurrency_max == usable


def test_a_region_is_stored_and_reaches_the_offer() -> None:
    placed = replace(B200, region="eu-west-1")
    row = DeploymentRow(**columns_of(placed), state="enabled", version=1, created_at_us=0, updated_at_us=0)
    assert spec_of(row) == placed
    assert offer_of(placed).region == "eu-west-1"
