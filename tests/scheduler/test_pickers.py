from collections import Counter
from random import Random

from pricing.slo import Tier
from scheduler.columns import row
from scheduler.fleet import NEUTRAL
from scheduler.pickers import Pick, Scored, ranked
from scheduler.policy import DEFAULT_POLICY, Policy
from tests.scheduler.round_numbers import RUNGS, offer

PREMIUM = Pick(Tier.PREMIUM, 1_000)
STANDARD = Pick(Tier.STANDARD, 1_000)


def rng() -> Random:
    return Random(7)  # noqa: S311 (a test's seeded generator)


def scored(name: str, value: float, in_flight: int = 0, *, is_owned: bool = True) -> Scored:
    of_offer = row(offer(name, is_owned=is_owned), RUNGS[Tier.STANDARD], NEUTRAL, DEFAULT_POLICY)
    return Scored(value, of_offer, in_flight, 32, 1.0, 1.0)


def order(found: list[Scored], pick: Pick = PREMIUM, policy: Policy = DEFAULT_POLICY) -> list[str]:
    return [each.row.offer.provider_id for each in ranked(list(found), pick, rng(), policy)]


def test_the_most_valuable_comes_first_and_no_more_than_three_are_named() -> None:
    found = [scored("a", 100), scored("b", 900), scored("c", 500), scored("d", 700)]
    assert order(found) == ["b", "d", "c"]


def test_one_offer_or_none_needs_no_choice() -> None:
    assert order([]) == []
    assert order([scored("a", 1)]) == ["a"]


def test_of_two_equally_good_owned_offers_the_less_loaded_is_tried_first() -> None:
    assert order([scored("a", 100, in_flight=5), scored("b", 100, in_flight=2)]) == ["b", "a"]


def test_a_difference_within_a_hundredth_of_the_price_is_a_tie() -> None:
    assert order([scored("a", 100, 5), scored("b", 91, 0)])[0] == "b"
    assert order([scored("a", 100, 5), scored("b", 89, 0)])[0] == "a"


def test_ties_spread_over_all_owned_offers_and_favour_the_idle() -> None:
    generator = rng()
    found = [scored(name, 100, in_flight) for name, in_flight in (("a", 9), ("b", 4), ("c", 1), ("d", 0))]
    first = Counter(
        ranked(list(found), PREMIUM, generator, DEFAULT_POLICY)[0].row.offer.provider_id for _ in range(3_000)
    )
    # the best of two drawn out of four: d wins 3 of 6 pairs, c 2, b 1, a never
    assert "a" not in first
    assert abs(first["d"] / 3_000 - 3 / 6) < 0.03
    assert abs(first["c"] / 3_000 - 2 / 6) < 0.03


def test_bought_capacity_is_packed_on_the_fullest() -> None:
    found = [
        scored("a", 100, 1, is_owned=False),
        scored("b", 100, 8, is_owned=False),
        scored("c", 100, 3, is_owned=False),
    ]
    assert order(found)[0] == "b"


def test_at_equal_value_capacity_that_is_paid_for_anyway_goes_before_bought() -> None:
    assert order([scored("a", 100, 0, is_owned=False), scored("b", 100, 9)])[0] == "b"


def test_exploration_tries_others_now_and_then_but_never_for_premium() -> None:
    policy = Policy(explore_share=0.25)
    generator = rng()
    found = [scored("best", 900), scored("other", 100)]

    def share_of_other(pick: Pick) -> float:
        picks = [ranked(list(found), pick, generator, policy)[0].row.offer.provider_id for _ in range(4_000)]
        return picks.count("other") / len(picks)

    assert abs(share_of_other(STANDARD) - 0.25 / 2) < 0.02
    assert share_of_other(PREMIUM) == 0


def test_no_candidate_is_lost_or_doubled_by_the_choice() -> None:
    found = [scored(name, 100, in_flight) for in_flight, name in enumerate("abc")]
    assert sorted(order(found)) == ["a", "b", "c"]
