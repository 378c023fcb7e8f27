from typing import Any

from pricing.slo import Tier
from scheduler.jobs import Capability
from scheduler.lines import Waiting
from scheduler.policy import Policy
from scheduler.queues import JobQueue
from tests.scheduler.round_numbers import MODEL, job, oid

A, B = oid("a"), oid("b")


def waiting(
    name: str, tier: Tier = Tier.STANDARD, customer: str = "ada", until_us: int = 100, **changes: Any
) -> Waiting:
    index = changes.pop("index", 0)
    claim = changes.pop("claim", A)
    return Waiting(job(name, tier, customer_id=customer, **changes), index, until_us, claim, price_pico=100)


def queue_of(*items: Waiting, **policy: Any) -> JobQueue:
    queue = JobQueue(Policy(**policy))
    for item in items:
        queue.push(item)
    return queue


def walk(queue: JobQueue, model: str = MODEL) -> list[str]:
    turns = queue.turns(model)
    order: list[str] = []
    while (item := turns.next()) is not None:
        order.append(item.job.id)
        turns.tried(item)
    return order


def test_better_tiers_go_first_and_within_a_customer_the_earliest_deadline() -> None:
    queue = queue_of(
        waiting("bulk", Tier.BULK),
        waiting("late", until_us=300),
        waiting("soon", until_us=200),
        waiting("premium", Tier.PREMIUM, until_us=900),
    )
    assert walk(queue) == ["premium", "soon", "late", "bulk"]


def test_equal_deadlines_go_in_the_order_of_their_coming() -> None:
    assert walk(queue_of(waiting("first"), waiting("second"), waiting("third"))) == ["first", "second", "third"]


def test_the_customer_served_least_goes_first_whatever_the_deadlines() -> None:
    queue = queue_of(waiting("a1", customer="ada", until_us=1), waiting("b1", customer="bob", until_us=9))
    queue.charge("ada", 500)
    assert walk(queue) == ["b1", "a1"]


def test_customers_take_turns_as_they_are_charged() -> None:
    items = [waiting(f"{customer}{n}", customer=customer) for customer in ("ada", "bob") for n in range(3)]
    queue = queue_of(*items)
    turns = queue.turns(MODEL)
    order: list[str] = []
    while (item := turns.next()) is not None:
        order.append(item.job.customer_id)
        queue.charge(item.job.customer_id, 100)
        turns.tried(item)
    assert order == ["ada", "bob"] * 3


def test_a_tier_that_is_owed_its_floor_goes_first_once() -> None:
    queue = queue_of(
        waiting("premium", Tier.PREMIUM),
        waiting("bulk 1", Tier.BULK),
        waiting("bulk 2", Tier.BULK),
        floors={Tier.BULK: 0.5},
    )
    queue.worked(MODEL, Tier.PREMIUM, 10_000)
    assert walk(queue) == ["bulk 1", "premium", "bulk 2"]


def test_work_of_a_model_for_which_nothing_waits_is_owed_to_nobody() -> None:
    queue = queue_of(waiting("bulk", Tier.BULK))
    queue.worked("other", Tier.PREMIUM, 10_000_000)
    queue.push(waiting("premium", Tier.PREMIUM))
    assert walk(queue) == ["premium", "bulk"]


def test_models_wait_in_lines_of_their_own() -> None:
    queue = queue_of(waiting("one"), waiting("other", model="other"))
    assert queue.models() == (MODEL, "other")
    assert walk(queue) == ["one"]
    assert walk(queue, "other") == ["other"]


def test_who_is_popped_waits_no_more_and_popping_again_is_harmless() -> None:
    queue = queue_of(waiting("a"), waiting("b"))
    item = queue.pop(job("a").id)
    assert item is not None
    assert item.job.id == "a"
    assert queue.pop(job("a").id) is None
    assert walk(queue) == ["b"]
    queue.pop(job("b").id)
    assert len(queue) == 0
    assert queue.models() == ()


def test_claims_end_with_the_waiting() -> None:
    queue = queue_of(waiting("s"), waiting("p", Tier.PREMIUM, claim=B))
    assert queue.claimed_above(MODEL, Tier.STANDARD) == {B}
    assert queue.claimed_above(MODEL, Tier.BULK) == {A, B}
    assert queue.claimed_above(MODEL, Tier.PREMIUM) == frozenset()
    queue.pop(job("p").id)
    assert queue.claimed_above(MODEL, Tier.STANDARD) == frozenset()
    assert queue.claimed_above("other", Tier.BULK) == frozenset()


def test_a_claim_moves_with_its_job() -> None:
    item = waiting("s")
    queue = queue_of(item)
    queue.move_claim(item, B)
    assert queue.claimed_above(MODEL, Tier.BULK) == {B}
    queue.pop(item.job.id)
    assert queue.models() == ()


def test_an_arrival_keeps_off_what_its_own_or_a_better_tier_claims() -> None:
    queue = queue_of(waiting("s"), waiting("b", Tier.BULK, claim=B))
    assert queue.claimed_against(MODEL, Tier.PREMIUM) == frozenset()
    assert queue.claimed_against(MODEL, Tier.STANDARD) == {A}
    assert queue.claimed_against(MODEL, Tier.BULK) == {A, B}
    assert queue.claimed_against("other", Tier.BULK) == frozenset()


def test_an_arrival_keeps_off_what_a_lower_tier_claims_that_is_owed_its_floor() -> None:
    queue = queue_of(waiting("b", Tier.BULK), floors={Tier.BULK: 1.0})
    queue.worked(MODEL, Tier.PREMIUM, 10_000)
    assert queue.claimed_against(MODEL, Tier.PREMIUM) == {A}


def test_everyone_of_a_better_tier_goes_ahead_and_nobody_of_a_lower_one() -> None:
    queue = queue_of(waiting("p", Tier.PREMIUM), waiting("p2", Tier.PREMIUM, claim=B), waiting("b", Tier.BULK, claim=B))
    assert queue.ahead(MODEL, Tier.STANDARD, "new") == {A: 1, B: 1}
    assert queue.ahead("other", Tier.STANDARD, "new") == {}


def test_of_ones_own_tier_those_go_ahead_whose_turn_comes_first() -> None:
    # ada: 0, 100, 200, 300; bob is lifted to 0, so that his first job ties with ada's first and precedes the rest
    queue = queue_of(*(waiting(f"a{n}") for n in range(4)))
    assert queue.ahead(MODEL, Tier.STANDARD, "bob") == {A: 1}
    assert queue.ahead(MODEL, Tier.STANDARD, "ada") == {A: 4}
    queue.charge("bob", 250)
    assert queue.ahead(MODEL, Tier.STANDARD, "bob") == {A: 3}


def test_for_a_better_tier_the_newest_of_the_lowest_is_shed() -> None:
    queue = queue_of(
        waiting("s"), waiting("b1", Tier.BULK), waiting("b2", Tier.BULK), waiting("p", Tier.PREMIUM), queue_max=4
    )
    assert queue.is_full
    shed = queue.place_for(MODEL, Tier.PREMIUM, "bob")
    assert shed is not None
    assert shed.job.id == "b2"


def test_of_other_models_only_a_lower_tier_is_shed() -> None:
    queue = queue_of(waiting("s", model="other"), waiting("s2", model="other"))
    assert queue.place_for(MODEL, Tier.STANDARD, "bob") is None
    shed = queue.place_for(MODEL, Tier.PREMIUM, "bob")
    assert shed is not None
    assert shed.job.id == "s2"


def test_in_ones_own_tier_the_customer_who_fills_the_queue_makes_place() -> None:
    queue = queue_of(*(waiting(f"a{n}") for n in range(4)), queue_max=4)
    shed = queue.place_for(MODEL, Tier.STANDARD, "bob")
    assert shed is not None
    assert shed.job.id == "a3"
    assert queue.place_for(MODEL, Tier.STANDARD, "ada") is None
    assert queue.place_for(MODEL, Tier.BULK, "bob") is None


def test_a_job_that_waits_for_a_lower_tier_stands_in_that_line() -> None:
    queue = queue_of(waiting("downgraded", Tier.PREMIUM, index=1), waiting("premium", Tier.PREMIUM))
    assert walk(queue) == ["premium", "downgraded"]


def test_jobs_of_one_tier_with_different_needs_still_go_by_customer_and_deadline() -> None:
    tools = frozenset({Capability.TOOLS})
    queue = queue_of(
        waiting("late", until_us=9), waiting("tools", until_us=5, needs=tools), waiting("soon", until_us=1)
    )
    assert walk(queue) == ["soon", "tools", "late"]


def test_a_kind_that_finds_no_room_is_left_out_of_the_rest_of_the_walk() -> None:
    tools = frozenset({Capability.TOOLS})
    queue = queue_of(waiting("one"), waiting("two"), waiting("tools", needs=tools), waiting("bulk", Tier.BULK))
    turns = queue.turns(MODEL)
    first = turns.next()
    assert first is not None
    turns.skip(first.kind)
    rest = [item.job.id for item in iter(turns.next, None)]
    assert rest == ["tools", "bulk"]


def test_who_is_served_during_a_walk_leaves_and_the_walk_goes_on_with_the_next() -> None:
    queue = queue_of(waiting("one"), waiting("two"), waiting("three"))
    turns = queue.turns(MODEL)
    order: list[str] = []
    while (item := turns.next()) is not None:
        order.append(item.job.id)
        if item.job.id != "two":
            queue.pop(item.job.id)
    assert order == ["one", "two", "three"]
    assert walk(queue) == ["two"]


def test_who_missed_its_last_moment_is_late() -> None:
    queue = queue_of(waiting("late", until_us=50), waiting("fine"))
    assert queue.late(50) == []
    assert [item.job.id for item in queue.late(51)] == ["late"]


def test_work_is_never_nothing() -> None:
    assert waiting("empty", input_tokens=0, output_tokens=0).work_tokens == 1
