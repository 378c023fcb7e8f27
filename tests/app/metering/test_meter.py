"""From what was delivered and reported to a graded, priced answer: bounds, causes, who pays for the excess."""

from hypothesis import given
from hypothesis import strategies as st

from app.ledger.holds import LateCause
from app.metering.delivery import Delivery
from app.metering.meter import Bounds, Finish, Metered, Reported, Supply, late_cause, meter, token_cost, within
from pricing.goodput import Timeline, grade
from pricing.money import Rate
from pricing.rating import Ending, ceiling
from pricing.slo import Ladder, Rung, Slo, Tier
from pricing.usage import Rates, Usage

DEAR = Rates(input=Rate(3_000), cached=Rate(1_000), cache_write=Rate(4_000), output=Rate(9_000))
CHEAP = Rates(*(Rate(500),) * 4)
LADDER = Ladder((Rung(Tier.PREMIUM, Slo(100, 10), DEAR), Rung(Tier.STANDARD, Slo(1_000, 100), CHEAP)))
COST = Rates(*(Rate(2_000),) * 4)
WIDE = Bounds(1_000, 1_000)


def delivered(*chunks: tuple[int, int], is_streamed: bool = True) -> Delivery:
    """A delivery of chunks (at µs, content bytes)."""
    delivery = Delivery(is_streamed=is_streamed)
    for at_us, size in chunks:
        delivery.record(at_us * 1_000, size)
    return delivery


def metered(
    delivery: Delivery,
    usage: Usage,
    bounds: Bounds = WIDE,
    ending: Ending = Ending.STOP,
    *,
    hidden: int = 0,
    platform_us: int = 0,
) -> Metered:
    reported = Reported(usage, hidden, "provider")
    return meter(delivery, reported, bounds, LADDER, Supply(COST, platform_us), Finish(ending, 5_000))


def test_an_answer_in_time_is_billed_whole_at_the_tier_served() -> None:
    answer = metered(delivered((90, 4), (100, 4)), Usage(input=10, cached=20, output=2))
    # 10 × 3 + 20 × 1 + 2 × 9 nano-USD; it costs us 32 × 2.
    assert (answer.charge.net, answer.charge.gross, answer.cost) == (68, 68, 64)
    assert (answer.late_cause, answer.grade.attained, answer.ended_us) == (LateCause.NONE, True, 5_000)


def test_tokens_beyond_the_hold_are_delivered_at_our_expense() -> None:
    answer = metered(delivered((90, 10), (100, 10)), Usage(input=10, output=10), Bounds(1_000, 6))
    assert (answer.usage.output, answer.timeline.tokens_through) == (6, (5, 6))
    assert answer.charge.net == 30 + 6 * 9
    assert answer.cost == 20 * 2  # what we pay the provider for all of them


def test_a_prompt_beyond_the_quote_is_cut_at_its_dearest_tokens_first() -> None:
    answer = metered(delivered((90, 4)), Usage(input=50, cached=40, cache_write=30, output=1), Bounds(60, 10))
    assert answer.usage == Usage(input=0, cached=40, cache_write=20, output=1)
    assert answer.cost == 121 * 2


def test_reported_tokens_of_which_nothing_was_delivered_are_free() -> None:
    answer = metered(delivered(), Usage(input=10, output=7), hidden=7)
    assert (answer.usage.output, answer.charge.net, answer.charge.gross) == (0, 0, 30)
    assert answer.cost == 17 * 2


def test_hidden_reasoning_takes_the_time_of_the_first_visible_chunk() -> None:
    answer = metered(delivered((120, 4), (125, 4)), Usage(output=10), hidden=8)
    assert answer.timeline.tokens_through == (9, 10)
    # The first chunk's nine tokens are due from 100 to 180: those before 120 are late.
    assert answer.grade.tokens_met == ((Tier.PREMIUM, 8), (Tier.STANDARD, 2))


def test_an_answer_as_one_body_is_due_when_its_last_token_is() -> None:
    # Ten tokens: the last is due at 190.
    in_time, late = (
        metered(delivered((at_us, 40), is_streamed=False), Usage(input=1, output=10)) for at_us in (190, 191)
    )
    assert (in_time.grade.tokens_good, late.grade.tokens_good) == (10, 0)
    assert (in_time.charge.net, late.charge.net) == (93, 5)


def test_a_providers_failure_is_free_and_still_costs_us() -> None:
    answer = metered(delivered((90, 4)), Usage(input=10, output=1), ending=Ending.PROVIDER_ERROR)
    assert (answer.charge.net, answer.charge.gross, answer.cost) == (0, 39, 22)


def test_lateness_is_ours_only_if_without_our_time_all_had_been_kept() -> None:
    timeline = Timeline((130, 140), (1, 2), (0, 0))
    graded = grade(timeline, LADDER)
    assert late_cause(timeline, graded, LADDER, 30) is LateCause.PLATFORM
    assert late_cause(timeline, graded, LADDER, 29) is LateCause.PROVIDER
    assert late_cause(timeline, graded, LADDER, 500) is LateCause.PLATFORM


def test_nothing_delivered_is_nobodys_lateness() -> None:
    empty = Timeline((), (), ())
    assert late_cause(empty, grade(empty, LADDER), LADDER, 500) is LateCause.NONE


def test_cost_is_rounded_half_to_even() -> None:
    half = Rates(*(Rate(500),) * 4)
    assert [token_cost(half, Usage(output=tokens)) for tokens in (1, 3, 5)] == [0, 2, 2]


counts = st.integers(0, 500)


@given(usage=st.builds(Usage, counts, counts, counts, counts), bound=st.integers(0, 1_500), output=counts)
def test_what_is_billed_never_exceeds_the_bound_nor_any_count(usage: Usage, bound: int, output: int) -> None:
    cut = within(usage, bound, output)
    assert cut.input_total == min(usage.input_total, bound)
    assert (cut.input, cut.cached, cut.cache_write) <= (usage.input, usage.cached, usage.cache_write)
    assert cut.cached == min(usage.cached, bound)
    assert cut.output == output


chunks = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 9)), max_size=8)


@given(chunks, st.builds(Usage, counts, counts, counts, counts), counts, counts, st.sampled_from(Ending), counts)
def test_no_answer_costs_more_than_was_held_for_it(
    when: list[tuple[int, int]], usage: Usage, input_bound: int, output_bound: int, ending: Ending, hidden: int
) -> None:
    answer = metered(delivered(*sorted(when)), usage, Bounds(input_bound, output_bound), ending, hidden=hidden)
    assert 0 <= answer.charge.net <= ceiling(LADDER.served, input_bound, output_bound)
    assert answer.charge.net == 0 or ending.is_billable
    assert sum(line.amount for line in answer.charge.lines) == answer.charge.net
