"""Promises missed lead to more margin and dearer slots for lesser work; promises kept lead back."""

import pytest

from pricing.slo import Tier
from scheduler.attainment import Attainment
from scheduler.dispatcher import Dispatcher
from scheduler.fleet import Load
from scheduler.placement import Admit
from scheduler.policy import Policy
from tests.scheduler.round_numbers import fleet, job, names, offer, oid, rates

ATTENTIVE = Policy(margin_step=0.01, bank_share=0.0)
PREMIUM, STANDARD, BULK = Tier.PREMIUM, Tier.STANDARD, Tier.BULK


def seen(*outcomes: tuple[int, int]) -> Attainment:
    """Premium answers: (missed, kept) over and over."""
    attainment = Attainment(ATTENTIVE)
    for missed, kept in outcomes:
        for is_attained in (*(False,) * missed, *(True,) * kept):
            attainment.observe(PREMIUM, is_attained=is_attained)
    return attainment


def test_below_the_floor_the_margin_rises_by_its_step() -> None:
    # Each miss adds 0.01 · 0.95: ten of them add 0.095 to 0.07, shown in whole hundredths.
    assert seen((10, 0)).margin(PREMIUM) == pytest.approx(0.16)
    assert seen((1_000, 0)).margin(PREMIUM) == Policy().margin_max


def test_at_the_floor_it_stands_still_and_above_it_falls_back_to_the_policys_own() -> None:
    at_floor = seen((10, 0), *[(1, 19)] * 50)
    assert at_floor.margin(PREMIUM) == pytest.approx(0.16, abs=0.011)
    assert seen((10, 0), (0, 400)).margin(PREMIUM) == Policy().margin
    assert seen((0, 1_000)).margin(PREMIUM) == Policy().margin


def test_each_tier_has_its_own_margin_and_bulk_none_to_feed_back() -> None:
    attainment = seen((10, 0))
    for _ in range(100):
        attainment.observe(BULK, is_attained=False)
    assert [attainment.margin(tier) for tier in (STANDARD, BULK)] == [0.07, 0.07]


def test_while_premium_misses_its_floor_a_slot_is_dearer_to_lesser_tiers_only() -> None:
    attainment = seen((1_000, 0))
    assert attainment.scarcity(PREMIUM) == 1.0
    assert attainment.scarcity(STANDARD) == attainment.scarcity(BULK) == 1.0 + Policy().scarcity_gain
    assert seen((0, 10)).scarcity(BULK) == 1.0


def test_the_policy_in_force_is_the_same_object_while_the_margin_stays() -> None:
    attainment = Attainment(ATTENTIVE)
    assert attainment.policy(PREMIUM) is attainment.policy(STANDARD)
    for _ in range(10):
        attainment.observe(PREMIUM, is_attained=False)
    one = attainment.policy(PREMIUM)
    attainment.observe(PREMIUM, is_attained=True)  # a twentieth of a hundredth
    assert attainment.policy(PREMIUM) is one
    assert one.margin == attainment.margin(PREMIUM)


def test_a_larger_margin_lowers_the_load_that_premium_is_brought_to_and_no_other() -> None:
    snapshot = fleet(offer("a"), loads={"a": Load(1)})
    dispatcher = Dispatcher(ATTENTIVE)

    def tolerated(name: str, tier: Tier) -> int:
        admit = dispatcher.on_arrival(job(name, tier=tier), snapshot, 0)
        assert isinstance(admit, Admit)
        dispatcher.on_withdrawn(admit.job.id)
        return admit.candidates[0].in_flight_max

    before = [tolerated("before", tier) for tier in (PREMIUM, STANDARD)]
    for _ in range(100):
        dispatcher.on_settled(PREMIUM, is_attained=False)
    assert dispatcher.margin(PREMIUM) == 0.25
    after = [tolerated("after", tier) for tier in (PREMIUM, STANDARD)]
    assert after[0] < before[0]
    assert after[1] == before[1]


def test_a_shadow_price_counts_for_more_against_lesser_work_while_premium_suffers() -> None:
    # λ makes a dear by less than b's tokens cost more, until it is multiplied.
    dispatcher = Dispatcher(ATTENTIVE)

    snapshot = fleet(offer("a"), offer("b", cost=rates(40_000, 40_000)), shadow_prices={oid("a"): 15_000_000.0})
    arriving = job("first", tier=STANDARD)
    assert names(dispatcher.on_arrival(arriving, snapshot, 0))[0] == "a"
    dispatcher.on_withdrawn(arriving.id)
    for _ in range(100):
        dispatcher.on_settled(PREMIUM, is_attained=False)
    assert names(dispatcher.on_arrival(job("second", tier=STANDARD), snapshot, 0))[0] == "b"
