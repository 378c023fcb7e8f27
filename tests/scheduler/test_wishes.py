"""A customer's wishes: hard ones leave offers out, soft ones order those that keep the promise."""

from dataclasses import replace
from typing import Any

import pytest

from pricing.slo import Tier
from scheduler.dispatcher import Dispatcher
from scheduler.fleet import Load
from scheduler.jobs import Job
from scheduler.placement import Admit, RefusalReason, Refuse, Wait
from scheduler.policy import Policy
from scheduler.preferences import NO_PREFERENCES, Preferences, Sort, is_within, tpot_us_of
from tests.scheduler.round_numbers import MS, faster, fleet, job, names, offer, oid, rates, slower

FLEET = fleet(
    offer("a", region="eu-west-1", precision="fp8"),
    offer("b", region="us-east", precision="bf16", cost=rates(5_000, 20_000)),
    offer("c", speed=faster(2.0), cost=rates(50_000, 200_000)),
)


def asking(**wishes: Any) -> Job:
    return replace(job(), wishes=Preferences(**wishes))


def order(**wishes: Any) -> list[str]:
    return names(Dispatcher().on_arrival(asking(**wishes), FLEET, 0))


@pytest.mark.parametrize(
    ("wishes", "left"),
    [
        ({"only": frozenset({"b"})}, {"b"}),
        ({"ignore": frozenset({"b"})}, {"a", "c"}),
        ({"only": frozenset({"a", "b"}), "ignore": frozenset({"a"})}, {"b"}),
        ({"order": ("c", "a"), "allow_fallbacks": False}, {"a", "c"}),
        ({"regions": frozenset({"eu"})}, {"a"}),
        ({"regions": frozenset({"eu-west-1", "us-east"})}, {"a", "b"}),
        ({"precisions": frozenset({"bf16", "fp16"})}, {"b"}),
        ({}, {"a", "b", "c"}),
    ],
)
def test_hard_wishes_leave_offers_out(wishes: dict[str, Any], left: set[str]) -> None:
    assert set(order(**wishes)) == left


def test_soft_wishes_order_what_can_keep_the_promise() -> None:
    assert order(order=("b", "c")) == ["b", "c", "a"]
    assert order(sort=Sort.PRICE) == ["b", "a", "c"]
    assert order(sort=Sort.LATENCY)[0] == "c"
    assert order(sort=Sort.THROUGHPUT)[0] == "c"
    assert order(order=("a",), sort=Sort.PRICE) == ["a", "b", "c"]


def test_an_offer_below_a_threshold_is_tried_last_and_not_never() -> None:
    # a and b need 100 ms to a first token and 10 ms for each further one, c half of both.
    assert order(ttft_us_wished=60.0 * MS) == ["c", "b", "a"]  # equals by what they are worth: b costs less
    assert order(tpot_us_wished=tpot_us_of(150.0))[0] == "c"
    assert len(order(tpot_us_wished=tpot_us_of(10_000.0))) == 3
    assert order(ttft_us_wished=60.0 * MS, order=("a",))[0] == "a"  # who is named goes first all the same


def test_a_wish_does_not_outrank_the_promise() -> None:
    slow = replace(FLEET, calibrations=slower(a=6.0))  # 600 ms to a first token where 500 are promised
    assert names(Dispatcher().on_arrival(asking(order=("a",)), slow, 0))[0] != "a"


def test_wishes_that_nobody_meets_are_refused_for_good_and_named() -> None:
    refused = Dispatcher().on_arrival(asking(only=frozenset({"b"}), regions=frozenset({"eu"})), FLEET, 0)
    assert isinstance(refused, Refuse)
    assert (refused.reason, refused.retry_after_us) == (RefusalReason.NO_OFFER, None)
    assert "only [b], region [eu]" in refused.explanation
    assert "b (in region us-east)" in refused.explanation
    assert "a (not among 'only')" in refused.explanation


def test_an_offer_of_unknown_region_or_precision_serves_nobody_who_names_one() -> None:
    assert "in a region that is not known" in Preferences(regions=frozenset({"eu"})).why_not("c", "", "")
    assert "at a precision that is not known" in Preferences(precisions=frozenset({"fp8"})).why_not("c", "", "")
    assert is_within("EU-west-1", frozenset({"eu"}))
    assert not is_within("eu", frozenset({"eu-west-1"}))


def test_who_waits_for_one_provider_does_not_keep_others_from_a_place_elsewhere() -> None:
    busy = fleet(offer("a", concurrency_max=4), offer("b", concurrency_max=4), loads={"a": Load(4), "b": Load(4)})
    dispatcher = Dispatcher(Policy(bank_share=0.0))
    picky = replace(job("picky"), wishes=Preferences(only=frozenset({"a"})))
    assert isinstance(dispatcher.on_arrival(picky, busy, 0), Wait)
    assert isinstance(dispatcher.on_arrival(job("easy"), busy, 0), Wait)
    freed = replace(busy, loads={oid("a"): Load(4), oid("b"): Load(3)})
    [admit] = dispatcher.on_released(freed, 10 * MS)
    assert (admit.job.id, names(admit)) == ("easy", ["b"])


def test_no_wishes_are_no_wishes() -> None:
    assert not NO_PREFERENCES.is_restrictive
    assert not NO_PREFERENCES.reorders
    assert NO_PREFERENCES.words() == ""
    command = Dispatcher(seed=3).on_arrival(job(tier=Tier.STANDARD), FLEET, 0)
    assert isinstance(command, Admit)
    assert names(Dispatcher(seed=3).on_arrival(replace(job(tier=Tier.STANDARD), wishes=Preferences()), FLEET, 0)) == (
        names(command)
    )
