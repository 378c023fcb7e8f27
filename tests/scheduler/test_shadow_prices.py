import pytest

from scheduler.fleet import Fleet, Load
from scheduler.shadow import ShadowPolicy, ShadowPrices
from tests.scheduler.round_numbers import S, fleet, offer, oid

POLICY = ShadowPolicy(utilisation_target=0.75, step_pico=1_000.0, price_max_pico=1_500.0)


def loaded(in_flight: int) -> Fleet:
    return fleet(offer(), loads={"a": Load(in_flight)})


def test_above_the_target_the_price_of_a_slot_rises_by_the_excess_each_second() -> None:
    prices = ShadowPrices(POLICY)
    assert prices.observe(loaded(32), 0) == {}
    assert prices.observe(loaded(32), 2 * S) == {oid("a"): pytest.approx(0.25 * 1_000 * 2)}


def test_below_it_falls_and_never_under_zero() -> None:
    prices = ShadowPrices(POLICY)
    prices.observe(loaded(32), 0)
    prices.observe(loaded(32), 4 * S)
    assert prices.observe(loaded(16), 6 * S) == {oid("a"): pytest.approx(1_000 - 500)}
    assert prices.observe(loaded(0), 60 * S) == {}


def test_it_is_bounded_and_a_clock_that_steps_back_moves_nothing() -> None:
    prices = ShadowPrices(POLICY)
    prices.observe(loaded(32), 0)
    assert prices.observe(loaded(32), 1_000 * S) == {oid("a"): 1_500.0}
    assert prices.observe(loaded(0), 0) == {oid("a"): 1_500.0}


def test_an_offer_that_left_the_fleet_is_forgotten() -> None:
    prices = ShadowPrices(POLICY)
    prices.observe(loaded(32), 0)
    prices.observe(loaded(32), S)
    assert prices.observe(fleet(), 2 * S) == {}


def test_an_offer_without_room_has_no_division_by_it() -> None:
    prices = ShadowPrices(POLICY)
    empty = fleet(offer(concurrency_max=0))
    prices.observe(empty, 0)
    assert prices.observe(empty, S) == {}
