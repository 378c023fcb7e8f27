from pricing.slo import Tier
from scheduler.fairness import Deficits, VirtualCounters

FLOORS = {Tier.STANDARD: 0.10, Tier.BULK: 0.05}


def test_what_was_served_is_counted_and_can_be_taken_back() -> None:
    counters = VirtualCounters(100)
    counters.charge("ada", 70)
    counters.charge("ada", -20)
    assert counters.served("ada") == 50
    assert counters.served("bob") == 0


def test_who_comes_back_from_idleness_is_lifted_to_the_least_served_who_waits() -> None:
    counters = VirtualCounters(100)
    for customer, served in (("bob", 400), ("ada", 900)):
        counters.charge(customer, served)
        counters.joins(customer)
    counters.joins("new")
    assert counters.served("new") == 400


def test_a_lift_never_lowers() -> None:
    counters = VirtualCounters(100)
    counters.charge("ada", 900)
    counters.joins("bob")
    counters.joins("ada")
    assert counters.served("ada") == 900


def test_into_an_empty_queue_one_is_lifted_to_who_left_it_last() -> None:
    counters = VirtualCounters(100)
    counters.joins("ada")
    counters.charge("ada", 300)
    counters.leaves("ada")
    counters.joins("bob")
    assert counters.served("bob") == 300


def test_only_the_first_job_that_waits_lifts() -> None:
    counters = VirtualCounters(100)
    counters.joins("ada")
    counters.joins("bob")
    counters.charge("bob", 500)
    counters.joins("ada")
    assert counters.served("ada") == 0
    counters.leaves("ada")
    counters.leaves("ada")
    counters.joins("ada")
    assert counters.served("ada") == 500


def test_memory_is_bounded_and_keeps_the_most_served_and_those_who_wait() -> None:
    counters = VirtualCounters(customers_max=10)
    counters.joins("waiting")
    for number in range(1, 12):
        counters.charge(f"c{number}", number)
    assert len(counters._served) <= 10
    assert counters.served("c11") == 11
    assert counters.served("c1") == 0
    assert "waiting" in counters._served


def test_a_waiting_tier_is_owed_its_floor_of_the_work_given_to_others() -> None:
    deficits = Deficits(FLOORS)
    for _ in range(9):
        deficits.worked(Tier.PREMIUM, 1_000, {Tier.PREMIUM: 1, Tier.BULK: 500})
    assert not deficits.is_due(Tier.BULK, 500)
    deficits.worked(Tier.PREMIUM, 1_000, {Tier.PREMIUM: 1, Tier.BULK: 500})
    assert deficits.is_due(Tier.BULK, 500)


def test_being_served_pays_the_debt_and_a_debt_grows_no_larger_than_one_job() -> None:
    deficits = Deficits(FLOORS)
    deficits.worked(Tier.PREMIUM, 1_000_000, {Tier.BULK: 500})
    assert deficits.is_due(Tier.BULK, 500)
    deficits.worked(Tier.BULK, 500, {Tier.BULK: 500})
    assert not deficits.is_due(Tier.BULK, 1)


def test_a_tier_without_a_floor_is_never_due_and_a_debt_lapses_when_nobody_waits() -> None:
    deficits = Deficits(FLOORS)
    deficits.worked(Tier.BULK, 1_000_000, {Tier.PREMIUM: 1, Tier.STANDARD: 1})
    assert not deficits.is_due(Tier.PREMIUM, 0)
    assert deficits.is_due(Tier.STANDARD, 1)
    deficits.settle(Tier.STANDARD)
    assert not deficits.is_due(Tier.STANDARD, 1)
