from dataclasses import replace

import pytest

from app.fleet.models import DeploymentRow
from app.fleet.offers import offer_of, precisions
from app.fleet.repository import columns_of, spec_of
from app.fleet.roster import RosterError
from pricing.slo import Tier
from scheduler.fleet import Fleet
from tests.app.fleet.rosters import B200, H100

FP4, FP8 = replace(B200, precision="fp4"), replace(H100, precision="fp8", tiers=frozenset({Tier.STANDARD}))
UNSTATED = replace(B200, provider_id="acme", precision="")


def test_an_offer_states_the_precision_that_its_deployment_was_registered_with() -> None:
    assert offer_of(FP8).precision == "fp8"
    row = DeploymentRow(**columns_of(FP8), created_at_us=0, updated_at_us=0)
    assert spec_of(row) == FP8


def test_a_model_is_served_at_the_precisions_of_the_offers_that_take_a_tier_now() -> None:
    offers = tuple(map(offer_of, (FP4, FP8, UNSTATED)))
    fleet = Fleet({B200.model: offers})
    assert precisions(fleet, B200.model, Tier.PREMIUM) == ("fp4", "unknown")
    assert precisions(fleet, B200.model, Tier.STANDARD) == ("fp4", "fp8", "unknown")
    closed = replace(fleet, closed=frozenset({offers[2].id}))
    assert precisions(closed, B200.model, Tier.PREMIUM) == ("fp4",)
    assert precisions(fleet, "other", Tier.PREMIUM) == ()


@pytest.mark.parametrize("precision", ["FP8", "fp8 or so", "x" * 33, "fp8\n"])
def test_what_is_no_name_of_a_precision_is_refused(precision: str) -> None:
    with pytest.raises(RosterError, match="precision: at most 32 lower-case letters"):
        replace(B200, precision=precision)
