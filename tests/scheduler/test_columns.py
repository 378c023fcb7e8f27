from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pricing.slo import Rung, Slo, Tier
from scheduler.columns import Rows, row
from scheduler.fleet import NEUTRAL, Calibration, Fleet
from scheduler.jobs import Capability
from scheduler.policy import DEFAULT_POLICY, Policy
from tests.scheduler.round_numbers import MODEL, PREMIUM_TOLERATES, RUNGS, fleet, offer, rates, slower

PREMIUM, BULK = RUNGS[Tier.PREMIUM], RUNGS[Tier.BULK]
NONE: frozenset[Capability] = frozenset()


def test_a_promise_tolerates_the_load_at_which_it_still_holds_with_its_margin() -> None:
    assert row(offer(), PREMIUM, NEUTRAL, DEFAULT_POLICY).in_flight_max == PREMIUM_TOLERATES


def test_a_slow_day_lowers_the_load_that_a_promise_tolerates() -> None:
    # at 1.5 times the measured times 18.6 ms is 12.4 ms of the curve: 12 + 0.5 · (n − 8) ≤ 12.4
    slow = row(offer(), PREMIUM, Calibration(ttft=3.0, tpot=1.5), DEFAULT_POLICY)
    assert slow.in_flight_max == 8
    assert slow.ttft_base_us == 150_000
    assert slow.tpot_at(8) == 18_000
    assert row(offer(), PREMIUM, Calibration(tpot=5.0), DEFAULT_POLICY).in_flight_max == 0


def test_an_offer_is_never_loaded_beyond_its_cap_or_beyond_what_was_measured() -> None:
    assert row(offer(concurrency_max=5), PREMIUM, NEUTRAL, DEFAULT_POLICY).in_flight_max == 5
    standard = RUNGS[Tier.STANDARD]
    assert row(offer(concurrency_max=1_000), standard, NEUTRAL, DEFAULT_POLICY).room == 32


def test_bulk_leaves_room_where_better_tiers_are_served_but_may_fill_what_is_its_own() -> None:
    policy = Policy(bulk_share_max=0.75)
    assert row(offer(), BULK, NEUTRAL, policy).room == 24
    assert row(offer(tiers=frozenset({Tier.BULK})), BULK, NEUTRAL, policy).room == 32
    assert row(offer(concurrency_max=1), BULK, NEUTRAL, policy).room == 1


@given(
    k=st.floats(1.0, 3.0),
    margin=st.floats(0.05, 0.10),
    load=st.integers(1, 32),
)
def test_alone_an_offer_always_keeps_the_promise_that_was_derived_from_it(k: float, margin: float, load: int) -> None:
    at_point = 10_000.0 + 14_000.0 * (load - 1) / 31
    rung = Rung(Tier.PREMIUM, Slo(500_000, int(k * at_point) + 1), rates(1, 1))
    assert row(offer(), rung, NEUTRAL, Policy(margin=margin)).in_flight_max >= 1


@given(margin=st.floats(0.05, 0.10), load=st.integers(1, 32))
def test_with_room_for_the_margin_the_operating_point_itself_is_reached(margin: float, load: int) -> None:
    at_point = row(offer(), PREMIUM, NEUTRAL, DEFAULT_POLICY).tpot_at(load)
    rung = Rung(Tier.PREMIUM, Slo(500_000, int(1.12 * at_point) + 1), rates(1, 1))  # 1.12 · 0.9 > 1
    assert row(offer(), rung, NEUTRAL, Policy(margin=margin)).in_flight_max >= load


def test_rows_are_kept_while_offers_stay_and_made_anew_when_they_change() -> None:
    rows = Rows(DEFAULT_POLICY)
    before = fleet(offer("a"), offer("b"))
    assert rows.of(before, MODEL, PREMIUM, NONE) is rows.of(before, MODEL, PREMIUM, NONE)
    after = fleet(offer("a", concurrency_max=3))
    assert [each.in_flight_max for each in rows.of(after, MODEL, PREMIUM, NONE).rows] == [3]


def test_a_new_calibration_is_seen_and_so_is_its_end() -> None:
    rows = Rows(DEFAULT_POLICY)
    snapshot = fleet(offer("a"), offer("b"))
    assert _tolerated(rows, snapshot) == [21, 21]
    assert _tolerated(rows, replace(snapshot, calibrations=slower(b=1.5))) == [21, 8]
    assert _tolerated(rows, snapshot) == [21, 21]


def test_only_what_was_calibrated_anew_is_made_anew() -> None:
    rows = Rows(DEFAULT_POLICY)
    snapshot = fleet(offer("a"), offer("b"), calibrations=slower(a=1.5, b=1.0))
    before = rows.of(snapshot, MODEL, PREMIUM, NONE).rows
    after = rows.of(replace(snapshot, calibrations=slower(a=1.5, b=1.2)), MODEL, PREMIUM, NONE).rows
    assert after[0] is before[0]
    assert after[1].calibration == Calibration(1.2, 1.2)


def test_only_offers_that_may_serve_the_tier_and_the_needs_have_rows() -> None:
    rows = Rows(DEFAULT_POLICY)
    tools = frozenset({Capability.TOOLS})
    snapshot = fleet(offer("a"), offer("b", capabilities=tools), offer("c", tiers=frozenset({Tier.BULK})))
    assert [each.offer.provider_id for each in rows.of(snapshot, MODEL, PREMIUM, tools).rows] == ["b"]
    assert [each.offer.provider_id for each in rows.of(snapshot, MODEL, PREMIUM, NONE).rows] == ["a", "b"]
    assert rows.of(snapshot, "unknown", PREMIUM, NONE).rows == ()


def test_the_memory_of_rows_is_bounded_and_forgetting_changes_nothing() -> None:
    rows = Rows(DEFAULT_POLICY)
    snapshot = fleet(offer("a"))
    for ttft_us in range(1, 1_500):
        rows.of(snapshot, MODEL, Rung(Tier.PREMIUM, Slo(ttft_us, 20_000), rates(1, 1)), NONE)
    assert len(rows._kept) <= 512
    assert _tolerated(rows, snapshot) == [21]


def _tolerated(rows: Rows, snapshot: Fleet) -> list[int]:
    return [each.in_flight_max for each in rows.of(snapshot, MODEL, PREMIUM, NONE).rows]
