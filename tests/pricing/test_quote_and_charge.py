import pytest

from pricing.goodput import Grade
from pricing.money import Rate
from pricing.rating import Ending, quote, rate
from pricing.slo import Ladder, Rung, Slo, Tier
from pricing.usage import Rates, Usage


def rates(scale: int) -> Rates:
    return Rates(Rate(1_000 * scale), Rate(100 * scale), Rate(1_250 * scale), Rate(4_000 * scale))


LADDER = Ladder(
    (
        Rung(Tier.PREMIUM, Slo(100, 10), rates(3)),
        Rung(Tier.STANDARD, Slo(200, 50), rates(2)),
        Rung(Tier.BULK, Slo(9_999, 0), rates(1)),
    )
)
USAGE = Usage(input=10, cached=20, cache_write=4, output=6)


def met(premium: int, standard: int, bulk: int, missed: int, input_tier: Tier | None) -> Grade:
    return Grade(((Tier.PREMIUM, premium), (Tier.STANDARD, standard), (Tier.BULK, bulk)), missed, input_tier)


def test_a_quote_reserves_every_bound_token_at_the_dearest_rate_of_the_tier_served() -> None:
    found = quote(LADDER, input_bound=100, output_bound=7)
    assert found.input_ceiling == 100 * 3_750 // 1_000
    assert found.ceiling == (100 * 3_750 + 7 * 12_000) // 1_000
    assert (found.tier, found.input_bound, found.output_bound) == (Tier.PREMIUM, 100, 7)


def test_a_quote_rounds_up() -> None:
    thin = Ladder((Rung(Tier.BULK, Slo(1, 0), Rates(Rate(1), Rate(1), Rate(1), Rate(1))),))
    assert quote(thin, 1, 0).ceiling == 1


def test_an_answer_on_time_costs_its_gross() -> None:
    charge = rate(LADDER, USAGE, met(6, 0, 0, 0, Tier.PREMIUM))
    gross = (10 * 3_000 + 20 * 300 + 4 * 3_750 + 6 * 12_000) // 1_000
    assert (charge.gross, charge.net, charge.adjustment) == (gross, gross, 0)


def test_each_token_is_priced_at_the_best_tier_it_met_and_a_missed_one_is_free() -> None:
    """Input at standard's rates; two output tokens at premium, two at standard, one at bulk, one missed."""
    charge = rate(LADDER, USAGE, met(2, 2, 1, 1, Tier.STANDARD))
    premium = 2 * 12_000 // 1_000
    standard = (10 * 2_000 + 20 * 200 + 4 * 2_500 + 2 * 8_000) // 1_000
    assert [line.amount for line in charge.lines] == [premium, standard, 4]
    assert charge.net == premium + standard + 4
    assert charge.adjustment == charge.gross - charge.net
    assert charge.lines[1].input == Usage(10, 20, 4)
    assert charge.lines[0].input == Usage()


def test_input_whose_every_deadline_was_missed_is_free() -> None:
    assert rate(LADDER, USAGE, met(0, 0, 0, 6, None)).net == 0


@pytest.mark.parametrize("ending", [Ending.STOP, Ending.LENGTH, Ending.HOLD_EXHAUSTED, Ending.HANGUP])
def test_whoever_ended_it_on_the_customers_side_the_good_tokens_are_owed(ending: Ending) -> None:
    assert ending.is_billable
    assert rate(LADDER, USAGE, met(6, 0, 0, 0, Tier.PREMIUM), ending).net > 0


@pytest.mark.parametrize("ending", [Ending.PROVIDER_ERROR, Ending.PROVIDER_TIMEOUT, Ending.CRASH])
def test_a_failure_on_our_side_gives_everything_back(ending: Ending) -> None:
    charge = rate(LADDER, USAGE, met(6, 0, 0, 0, Tier.PREMIUM), ending)
    assert charge.net == 0
    assert charge.adjustment == charge.gross > 0
    assert charge.ending is ending


def test_usage_and_grade_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match="6 output tokens, but 5 were graded"):
        rate(LADDER, USAGE, met(5, 0, 0, 0, Tier.PREMIUM))
