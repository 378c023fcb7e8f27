import pytest

from pricing.goodput import Grade, Timeline, TimelineError, grade
from pricing.money import Rate
from pricing.slo import Ladder, Rung, Slo, Tier
from pricing.usage import Rates

FREE = Rates(Rate(0), Rate(0), Rate(0), Rate(0))
PREMIUM = Rung(Tier.PREMIUM, Slo(ttft_us=100, tpot_us=10), FREE)
STANDARD = Rung(Tier.STANDARD, Slo(ttft_us=200, tpot_us=50), FREE)
BULK = Rung(Tier.BULK, Slo(ttft_us=1_000, tpot_us=0), FREE)
LADDER = Ladder((PREMIUM, STANDARD, BULK))


def graded(at_us: tuple[int, ...], *, streamed: bool = True, excused_us: tuple[int, ...] | None = None) -> Grade:
    """Grades one token per chunk."""
    through = tuple(range(1, len(at_us) + 1))
    return grade(Timeline(at_us, through, excused_us or (0,) * len(at_us), streamed), LADDER)


def counts(found: Grade) -> list[int]:
    return [count for _, count in found.tokens_met]


def test_a_token_on_its_deadline_is_good_and_one_microsecond_later_it_is_not() -> None:
    assert counts(graded((100, 110))) == [2, 0, 0]
    assert counts(graded((100, 111))) == [1, 1, 0]
    assert counts(graded((101, 110))) == [1, 1, 0]


def test_early_tokens_bank_slack_for_later_ones() -> None:
    """Token 2 comes 100 µs after token 1, ten times the pace, yet before 100 + 2·10."""
    assert counts(graded((10, 20, 120))) == [3, 0, 0]


def test_a_token_counts_once_at_the_best_tier_it_met() -> None:
    found = graded((100, 250, 1_000, 1_001))
    assert counts(found) == [1, 1, 1]
    assert found.tokens_missed == 1
    assert found.tokens == 4
    assert found.tokens_good == 1


def test_a_reader_who_refuses_writes_moves_every_later_deadline_by_as_much() -> None:
    assert counts(graded((100, 1_110), excused_us=(0, 1_000))) == [2, 0, 0]
    assert counts(graded((100, 1_111), excused_us=(0, 1_000))) == [1, 1, 0]


def test_input_is_good_at_the_tier_whose_first_token_deadline_was_met() -> None:
    assert graded((100, 5_000)).input_tier is Tier.PREMIUM
    assert graded((101,)).input_tier is Tier.STANDARD
    assert graded((201,)).input_tier is Tier.BULK
    assert graded((1_001,)).input_tier is None


def test_an_answer_not_streamed_is_due_with_its_last_token() -> None:
    """Three tokens: premium is due at 100 + 2·10 for all of them and for the input."""
    assert graded((120,) * 3, streamed=False) == Grade(
        ((Tier.PREMIUM, 3), (Tier.STANDARD, 0), (Tier.BULK, 0)), 0, Tier.PREMIUM
    )
    late = graded((121,) * 3, streamed=False)
    assert (counts(late), late.input_tier) == ([0, 3, 0], Tier.STANDARD)


def test_all_tokens_of_a_chunk_share_its_time_but_not_their_deadlines() -> None:
    """Four tokens at 115 µs: due at 100, 110, 120, 130."""
    assert counts(grade(Timeline((115,), (4,), (0,)), LADDER)) == [2, 2, 0]


def test_a_chunk_that_completes_no_token_changes_nothing() -> None:
    assert grade(Timeline((50, 100), (0, 1), (0, 0)), LADDER) == graded((100,))


def test_an_answer_without_tokens_meets_nothing_and_owes_nothing() -> None:
    for timeline in (Timeline((), (), ()), Timeline((5,), (0,), (0,))):
        found = grade(timeline, LADDER)
        assert (counts(found), found.tokens, found.input_tier, found.attained) == ([0, 0, 0], 0, None, False)


def test_attainment_asks_for_every_token_and_the_input() -> None:
    assert graded((100, 110)).attained
    assert not graded((100, 111)).attained
    assert not graded((101, 110)).attained


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (((1, 2), (1,), (0, 0)), "unequal lengths"),
        (((2, 1), (1, 2), (0, 0)), "at_us must start"),
        (((1, 2), (2, 1), (0, 0)), "tokens_through must start"),
        (((1, 2), (1, 2), (1, 0)), "excused_us must start"),
        (((-1, 2), (1, 2), (0, 0)), "at_us must start"),
    ],
)
def test_a_timeline_that_no_delivery_could_have_is_refused(
    columns: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]], message: str
) -> None:
    with pytest.raises(TimelineError, match=message):
        Timeline(*columns)


def test_very_long_answers_do_not_overflow() -> None:
    ladder = Ladder((Rung(Tier.STANDARD, Slo(10**12, 10**9), FREE),))
    found = grade(Timeline((10**15,), (1_000_000,), (0,)), ladder)
    assert found.tokens == 1_000_000
    assert found.tokens_good == 1_000_000 - 999_000
