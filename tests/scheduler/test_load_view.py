import pytest

from scheduler.fleet import UNBOUNDED, Load
from scheduler.load_view import LoadView
from scheduler.placement import Candidate
from tests.scheduler.round_numbers import S, fleet, job, offer, oid

A = oid("a")
CANDIDATE = Candidate(offer("a"), in_flight_max=21, ttft_us=1.0, tpot_us=1.0, value_pico=0.0)


@pytest.fixture
def view() -> LoadView:
    return LoadView(fresh_us_max=S)


def test_an_offer_nothing_is_known_of_is_idle(view: LoadView) -> None:
    assert view.load(A) == Load(0, UNBOUNDED, 0)


def test_loads_that_came_with_a_lease_outrank_the_snapshot_for_a_while(view: LoadView) -> None:
    snapshot = fleet(offer("a"), loads={"a": Load(3)})
    view.see(snapshot, 0)
    view.freshen({A: Load(9)}, 0)
    view.see(snapshot, S - 1)
    assert view.load(A) == Load(9)
    view.see(snapshot, S)
    assert view.load(A) == Load(3)


def test_a_newer_snapshot_outranks_them_at_once(view: LoadView) -> None:
    view.see(fleet(loads={"a": Load(3)}), 0)
    view.freshen({A: Load(9)}, 0)
    view.see(fleet(loads={"a": Load(4)}), 1)
    assert view.load(A) == Load(4)


def test_so_does_a_live_view_that_changes_in_place(view: LoadView) -> None:
    live = {A: Load(3)}
    snapshot = fleet(offer("a"))
    snapshot = type(snapshot)(snapshot.offers, live)
    view.see(snapshot, 0)
    view.freshen({A: Load(9)}, 0)
    live[A] = Load(4)
    view.see(snapshot, 1)
    assert view.load(A) == Load(4)


def test_an_admission_in_progress_counts_until_it_is_answered(view: LoadView) -> None:
    view.see(fleet(loads={"a": Load(3, 30, 500)}), 0)
    view.reserve(job("one", input_tokens=100), CANDIDATE)
    view.reserve(job("two", input_tokens=70), CANDIDATE)
    assert view.load(A) == Load(5, 21, 670)
    view.unreserve(job("one").id)
    assert view.load(A) == Load(4, 21, 570)
    view.unreserve(job("two").id)
    assert view.load(A) == Load(3, 30, 500)
    view.unreserve(job("two").id)
    assert view.load(A) == Load(3, 30, 500)


def test_a_lease_takes_the_place_of_its_reservation(view: LoadView) -> None:
    view.see(fleet(loads={"a": Load(3, 30, 0)}), 0)
    view.reserve(job(), CANDIDATE)
    assert view.leased(job(), CANDIDATE, {A: Load(7, 15, 900)}, 0) == Load(7, 15, 900)
    assert view.load(A) == Load(7, 15, 900)


def test_where_the_lease_store_says_nothing_the_lease_is_counted(view: LoadView) -> None:
    view.see(fleet(loads={"a": Load(3, 30, 500)}), 0)
    view.reserve(job(), CANDIDATE)
    assert view.leased(job(), CANDIDATE, {}, 0) == Load(4, 21, 1_500)
    assert view.load(A) == Load(4, 21, 1_500)
