"""Laws of the bill: it never rises when a delivery gets worse, never exceeds its quote, and adds up to the nano."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.goodput import Grade, Timeline, grade
from pricing.money import Rate
from pricing.rating import Charge, Ending, quote, rate
from pricing.slo import Ladder, Rung, Slo, Tier
from pricing.usage import Rates, Usage

LATE_US = 60_000

few = settings(max_examples=30)


@st.composite
def ladders(draw: st.DrawFn) -> Ladder:
    tiers = draw(st.lists(st.sampled_from(list(Tier)), min_size=1, max_size=3, unique=True))
    tiers.sort(key=lambda tier: tier.rank, reverse=True)
    rungs: list[Rung] = []
    rates, slo = Rates(Rate(0), Rate(0), Rate(0), Rate(0)), (0, 0)
    for tier in tiers:
        steps = draw(st.tuples(*[st.integers(1, 3_000)] * 4))
        rates = Rates(*(Rate(below + step) for below, step in zip(rates.by_class().values(), steps, strict=True)))
        slo = (draw(st.integers(1, LATE_US)), draw(st.integers(0, 2_000)))
        rungs.append(Rung(tier, Slo(*slo), rates))
    return Ladder(tuple(reversed(rungs)))


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    """Deliveries that can be: the reader is excused for at most the time that passed."""
    steps = draw(st.lists(st.tuples(st.integers(0, 8_000), st.integers(0, 4), st.integers(0, 8_000)), max_size=20))
    at_us = tokens = excused_us = 0
    columns: tuple[list[int], list[int], list[int]] = ([], [], [])
    for gap_us, count, refused_us in steps:
        at_us, tokens, excused_us = at_us + gap_us, tokens + count, excused_us + min(refused_us, gap_us)
        for column, value in zip(columns, (at_us, tokens, excused_us), strict=True):
            column.append(value)
    return Timeline(*(tuple(column) for column in columns), streamed=draw(st.booleans()))


inputs = st.builds(Usage, input=st.integers(0, 5_000), cached=st.integers(0, 5_000), cache_write=st.integers(0, 5_000))


def bill(timeline: Timeline, ladder: Ladder, prompt: Usage, ending: Ending = Ending.STOP) -> Charge:
    usage = replace(prompt, output=timeline.tokens)
    return rate(ladder, usage, grade(timeline, ladder), ending)


def by_token(timeline: Timeline, change: Callable[[list[tuple[int, int]]], list[tuple[int, int]]]) -> Timeline:
    """Rewrites a delivery token by token, as (arrival, excuse) pairs, one chunk per token."""
    pairs: list[tuple[int, int]] = []
    for at_us, through, excused_us in zip(timeline.at_us, timeline.tokens_through, timeline.excused_us, strict=True):
        pairs += [(at_us, excused_us)] * (through - len(pairs))
    pairs = change(pairs)
    return Timeline(
        tuple(at_us for at_us, _ in pairs),
        tuple(range(1, len(pairs) + 1)),
        tuple(excused_us for _, excused_us in pairs),
        streamed=timeline.streamed,
    )


@few
@given(timelines(), ladders(), inputs)
def test_one_chunk_per_token_at_the_same_times_is_the_same_bill(
    timeline: Timeline, ladder: Ladder, prompt: Usage
) -> None:
    assert bill(by_token(timeline, lambda pairs: pairs), ladder, prompt) == bill(timeline, ladder, prompt)


@given(timelines(), ladders(), inputs, st.lists(st.integers(0, LATE_US), min_size=80, max_size=80))
def test_delaying_tokens_never_raises_a_bill(
    timeline: Timeline, ladder: Ladder, prompt: Usage, delays_us: list[int]
) -> None:
    def delayed(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
        late: list[tuple[int, int]] = []
        latest_us = 0
        for (at_us, excused_us), delay_us in zip(pairs, delays_us, strict=False):
            latest_us = max(latest_us, at_us + delay_us)
            late.append((latest_us, excused_us))
        return late

    assert bill(by_token(timeline, delayed), ladder, prompt).net <= bill(timeline, ladder, prompt).net


@given(timelines(), ladders(), inputs, st.sets(st.integers(0, 79)))
def test_dropping_tokens_so_that_later_ones_move_up_never_raises_a_bill(
    timeline: Timeline, ladder: Ladder, prompt: Usage, dropped: set[int]
) -> None:
    shorter = by_token(timeline, lambda pairs: [pair for index, pair in enumerate(pairs) if index not in dropped])
    assert bill(shorter, ladder, prompt).net <= bill(timeline, ladder, prompt).net


@given(timelines(), ladders(), inputs, st.sets(st.integers(0, 18)))
def test_joining_chunks_into_later_ones_never_raises_a_bill(
    timeline: Timeline, ladder: Ladder, prompt: Usage, joined: set[int]
) -> None:
    last = len(timeline.at_us) - 1
    kept = [index for index in range(last + 1) if index == last or index not in joined]
    fewer = Timeline(
        tuple(timeline.at_us[index] for index in kept),
        tuple(timeline.tokens_through[index] for index in kept),
        tuple(timeline.excused_us[index] for index in kept),
        streamed=timeline.streamed,
    )
    assert bill(fewer, ladder, prompt).net <= bill(timeline, ladder, prompt).net


def test_the_case_that_rounding_each_line_by_itself_would_get_wrong() -> None:
    """9 tokens at 1.110 and 9 at 1.100 nano: 9.99 + 9.90 = 19.89; one token later: 8.88 + 11.00 = 19.88."""
    rungs = [(Tier.PREMIUM, Slo(100, 0), 1_110), (Tier.STANDARD, Slo(1_000, 0), 1_100)]
    ladder = Ladder(tuple(Rung(tier, slo, Rates(*[Rate(pico)] * 4)) for tier, slo, pico in rungs))
    on_time = bill(Timeline((10, 500), (9, 18), (0, 0)), ladder, Usage())
    one_late = bill(Timeline((10, 500), (8, 18), (0, 0)), ladder, Usage())
    assert (on_time.net, one_late.net) == (19, 19)
    assert [line.amount for line in on_time.lines] == [9, 10]


@few
@given(timelines(), ladders(), inputs, st.sampled_from(Ending))
def test_a_bill_never_exceeds_its_quote_nor_its_gross(
    timeline: Timeline, ladder: Ladder, prompt: Usage, ending: Ending
) -> None:
    charge = bill(timeline, ladder, prompt, ending)
    ceiling = quote(ladder, prompt.input_total, timeline.tokens)
    assert 0 <= charge.net <= charge.gross <= ceiling.ceiling
    assert charge.adjustment == charge.gross - charge.net
    assert ceiling.input_ceiling <= ceiling.ceiling


@few
@given(timelines(), ladders(), inputs)
def test_lines_sum_to_the_net_which_is_less_than_a_nano_below_the_exact_price(
    timeline: Timeline, ladder: Ladder, prompt: Usage
) -> None:
    charge = bill(timeline, ladder, prompt)
    exact = [
        Fraction(rung.rates.input_pico(line.input) + rung.rates.output_pico(line.tokens_output), 1_000)
        for rung, line in zip(ladder, charge.lines, strict=True)
    ]
    assert sum(line.amount for line in charge.lines) == charge.net
    assert 0 <= sum(exact) - charge.net < 1
    assert all(abs(line.amount - value) < 1 for line, value in zip(charge.lines, exact, strict=True))
    assert all(line.amount >= 0 for line in charge.lines)


@few
@given(timelines(), ladders(), inputs)
def test_a_failure_of_the_provider_or_ours_is_free(timeline: Timeline, ladder: Ladder, prompt: Usage) -> None:
    for ending in (Ending.PROVIDER_ERROR, Ending.PROVIDER_TIMEOUT, Ending.CRASH):
        charge = bill(timeline, ladder, prompt, ending)
        assert charge.net == 0
        assert all(line.amount == 0 for line in charge.lines)


def slowly(timeline: Timeline, ladder: Ladder) -> Grade:
    """The definition of a grade, one token and one rung at a time."""
    times: list[tuple[int, int]] = []
    for at_us, through, excused_us in zip(timeline.at_us, timeline.tokens_through, timeline.excused_us, strict=True):
        while len(times) < through:
            times.append((at_us, excused_us))
    met = {rung.tier: 0 for rung in ladder}
    missed = 0
    input_tier: Tier | None = None
    for index, (at_us, excused_us) in enumerate(times):
        due_as = index if timeline.streamed else len(times) - 1
        best = next((rung.tier for rung in ladder if at_us <= rung.slo.deadline_us(due_as, excused_us)), None)
        if best is None:
            missed += 1
        else:
            met[best] += 1
        if index == 0:
            input_tier = best
    return Grade(tuple(met.items()), missed, input_tier)


@given(timelines(), ladders())
def test_grading_equals_the_definition_token_by_token(timeline: Timeline, ladder: Ladder) -> None:
    graded = grade(timeline, ladder)
    assert graded == slowly(timeline, ladder)
    assert graded.tokens == timeline.tokens


@few
@given(timelines(), ladders())
def test_an_answer_not_streamed_is_graded_as_if_all_of_it_were_the_last_token(
    timeline: Timeline, ladder: Ladder
) -> None:
    at_once = replace(timeline, at_us=(timeline.at_us[-1],) * len(timeline.at_us)) if timeline.at_us else timeline
    whole = replace(at_once, streamed=False, excused_us=tuple(timeline.excused_us[-1] for _ in timeline.excused_us))
    graded = grade(whole, ladder)
    if whole.tokens:
        late_us = whole.at_us[-1] - whole.excused_us[-1]
        best = next((r.tier for r in ladder if late_us <= r.slo.deadline_us(whole.tokens - 1)), None)
        assert graded.input_tier is best
        assert dict(graded.tokens_met).get(best or Tier.PREMIUM, 0) == (whole.tokens if best else 0)
