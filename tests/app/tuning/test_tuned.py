from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tuning.tuned import (
    PPM,
    Approval,
    TunedError,
    Wish,
    cards_for,
    dearer,
    is_namespaced,
    namespace_of,
    offer_for,
    public_name,
    slower,
)
from pricing.money import Rate
from pricing.pricebook import RateCard
from pricing.slo import Rung, Slo, Tier
from pricing.usage import Rates
from tests.app.fleet.rosters import B200

WISH = Wish("bot", "open/one", "adapter")
RATES = Rates(Rate(1_000_001), Rate(100_000), Rate(1_000_001), Rate(4_000_000))


def test_a_name_lives_in_its_customers_own_namespace() -> None:
    mine, theirs = public_name("cus_1", "bot"), public_name("cus_2", "bot")
    assert mine != theirs
    assert mine == f"{namespace_of('cus_1')}/bot"
    assert is_namespaced(mine)
    assert not is_namespaced("acme/support-gpt-oss-120b")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "Support Bot"}, "name"),
        ({"name": ""}, "name"),
        ({"adapter": ""}, "adapter"),
        ({"adapter": "a\nb"}, "adapter"),
        ({"source": "x" * 1001}, "source"),
        ({"rpm": 0}, "rpm"),
        ({"concurrency": 10**7}, "concurrency"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_by_field(change: dict[str, Any], words: str) -> None:
    with pytest.raises(TunedError, match=f"^{words}:"):
        replace(WISH, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"offers": ()},
        {"slowdown_ppm": PPM - 1},
        {"slowdown_ppm": 101 * PPM},
        {"cost_ppm": -1},
        {"price_ppm": 101 * PPM},
        {"rpm": 0},
        {"concurrency": 0},
    ],
)
def test_an_approval_out_of_range_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(TunedError):
        replace(Approval(("cluster-b200/d",)), **change)


def test_an_adapter_runs_where_its_base_does_slower_dearer_and_never_as_the_base() -> None:
    approval = Approval(("x",), slowdown_ppm=1_150_000, cost_ppm=1_200_000)
    spec = offer_for(B200, "tuned-1/bot", "acme-bot", approval, concurrency=8)
    assert (spec.kind, spec.base_url, spec.model) == ("tuned", B200.base_url, "tuned-1/bot")
    assert (spec.backend_model, spec.base_model) == ("acme-bot", B200.backend_model)
    assert spec.concurrency_max == 8
    assert spec.id != B200.id
    assert spec.cost.output == 60_000  # 50 000 × 1.2
    assert spec.speed.tpot_us == pytest.approx([5_750.0, 9_200.0, 23_000.0])
    assert spec.speed.prefill_tok_s == pytest.approx(20_000 / 1.15)


def test_two_adapters_on_one_deployment_are_two_offers() -> None:
    approval = Approval(("x",))
    ids = {offer_for(B200, f"tuned-1/{name}", name, approval, 8).id for name in ("a", "b")}
    assert len(ids) == 2


def test_an_engine_of_its_own_has_its_own_address() -> None:
    approval = Approval(("x",), base_url="http://10.0.0.9:8000/v1")
    assert offer_for(B200, "tuned-1/bot", "bot", approval, 8).base_url == "http://10.0.0.9:8000/v1"
    hosted = replace(B200, kind="openai_compatible")
    assert offer_for(hosted, "tuned-1/bot", "bot", Approval(("x",)), 8).kind == "openai_compatible"


def test_prices_and_costs_follow_the_base_at_the_agreed_factors_rounded_up() -> None:
    base = RateCard("open/one", Rung(Tier.STANDARD, Slo(500_000, 20_000), RATES), "d", 50.0, RATES, 8)
    (card,) = cards_for([base], "tuned-1/bot", Approval(("x",), cost_ppm=1_100_000, price_ppm=1_500_000))
    assert card.model == "tuned-1/bot"
    assert card.rung.rates.input == 1_500_002  # 1 500 001.5 up
    assert card.cost.output == 4_400_000
    assert card.rung.slo == base.rung.slo


@given(st.integers(0, 10**9), st.integers(0, 100 * PPM))
def test_a_factor_never_loses_a_fraction_of_a_pico_and_never_gains_a_whole_one(rate: int, ppm: int) -> None:
    scaled = dearer(Rates(*(Rate(rate),) * 4), ppm).output
    assert 0 <= scaled * PPM - rate * ppm < PPM


def test_a_curve_that_is_not_slowed_is_the_same() -> None:
    assert slower(B200.speed, PPM) == B200.speed
