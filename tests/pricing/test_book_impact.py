"""What traffic would have earned under another book, each case worked out by hand."""

import pytest

from pricing.book_impact import Delivered, Line, Slice, all_ladders, impact_document, margin_impact
from pricing.goodput import Timeline, grade
from pricing.money import Rate
from pricing.pricebook import RateCard
from pricing.rating import Ending, rate
from pricing.slo import Ladder, Rung, Slo, Tier
from pricing.usage import Rates, Usage

Key = tuple[str, Tier]
FAST, SLOW = Slo(100, 10), Slo(1_000, 100)
STANDARD, BULK = ("m", Tier.STANDARD), ("m", Tier.BULK)


def card(tier: Tier, slo: Slo, output: int, fresh: int = 1_000) -> RateCard:
    rates = Rates(Rate(fresh), Rate(fresh), Rate(fresh), Rate(output))
    return RateCard("m", Rung(tier, slo, rates), "dep-1", 60.0, rates, 1)


def ladders(standard: int = 10_000, bulk: int = 4_000, fast: Slo = FAST) -> dict[Key, Ladder]:
    """Standard and bulk; rates in pico-USD per output token, input at a tenth of standard's default."""
    cards = [card(Tier.STANDARD, fast, standard), card(Tier.BULK, SLOW, bulk, fresh=500)]
    return all_ladders({("m", each.rung.tier): each for each in cards})


def answer(
    timeline: Timeline, at: Ladder, fresh: int = 10, *, ending: Ending = Ending.STOP, **changes: int
) -> Delivered:
    usage = Usage(input=fresh, output=timeline.tokens)
    graded = grade(timeline, at)
    net = rate(at, usage, graded, ending).net
    return Delivered(usage, graded, ending, net, changes.get("held", net + 5), 7, timeline)


def sliced(at: Ladder, *answers: Delivered, requests: int | None = None, tier: Tier = Tier.STANDARD) -> Slice:
    number = len(answers) if requests is None else requests
    paid = sum(each.paid for each in answers) * number // max(1, len(answers))
    return Slice("m", tier, at, number, paid, 7 * number, answers)


GOOD = Timeline((90, 95, 100), (1, 2, 3), (0, 0, 0))
LATE = Timeline((90, 400), (1, 5), (0, 0))  # one token in time, four at bulk's promise


def test_raising_a_rate_earns_it_on_every_token_that_met_the_promise() -> None:
    old = ladders()
    found = margin_impact(old, ladders(standard=12_000), [sliced(old[STANDARD], answer(GOOD, old[STANDARD]))])
    line = found.lines[STANDARD]
    assert (line.revenue_old, line.revenue_new) == (40, 46)  # 10 × 1 + 3 × 10 nano, then 10 + 3 × 12
    assert (line.cost_old, line.cost_new, line.margin_old, line.margin_new) == (7, 7, 33, 39)
    assert (line.booked, line.requests, line.sampled, line.is_estimate) == (40, 1, 1, False)


def test_late_tokens_earn_the_rate_of_the_promise_that_they_met_in_either_book() -> None:
    old = ladders()
    found = margin_impact(
        old, ladders(standard=12_000, bulk=5_000), [sliced(old[STANDARD], answer(LATE, old[STANDARD]))]
    )
    line = found.lines[STANDARD]
    assert (line.revenue_old, line.revenue_new) == (36, 42)  # 10 + 1 × 10 + 4 × 4, then 10 + 1 × 12 + 4 × 5


def test_an_easier_promise_earns_its_rate_on_tokens_that_were_late_under_the_old_one() -> None:
    old, easier = ladders(), ladders(fast=Slo(100, 80))  # token 4 is due at 100 + 4 × 80 = 420, it came at 400
    line = margin_impact(old, easier, [sliced(old[STANDARD], answer(LATE, old[STANDARD]))]).lines[STANDARD]
    # due at 100, 180, 260, 340, 420: tokens 1 to 3 came at 400 and are late still
    assert (line.revenue_old, line.revenue_new) == (36, 42)  # 10 + 2 × 10 + 3 × 4


def test_a_harder_promise_moves_tokens_down_and_never_raises_the_bill() -> None:
    old, harder = ladders(), ladders(fast=Slo(92, 1))
    line = margin_impact(old, harder, [sliced(old[STANDARD], answer(GOOD, old[STANDARD]))]).lines[STANDARD]
    assert line.revenue_new == 10 + 10 + 4 + 4  # due at 92, 93, 94; the second and third came at 95 and 100


def test_without_its_timeline_an_answer_counts_as_it_was_graded_and_is_told() -> None:
    old, easier = ladders(), ladders(standard=12_000, fast=Slo(100, 80))
    whole = answer(LATE, old[STANDARD])
    erased = Delivered(whole.usage, whole.graded, whole.ending, whole.net, whole.held, whole.cost)
    line = margin_impact(old, easier, [sliced(old[STANDARD], erased)]).lines[STANDARD]
    assert (line.revenue_new, line.ungraded) == (10 + 12 + 4 * 4, 1)


def test_a_tier_that_is_sold_no_more_earns_nothing_costs_nothing_and_is_told() -> None:
    old = ladders()
    new = {BULK: old[BULK]}
    line = margin_impact(old, new, [sliced(old[STANDARD], answer(GOOD, old[STANDARD]))]).lines[STANDARD]
    assert (line.is_sold_new, line.revenue_new, line.cost_new, line.margin_new) == (False, 0, 0, 0)
    assert line.revenue_old == 40


def test_when_the_tier_below_is_dropped_its_late_tokens_earn_nothing() -> None:
    old = ladders()
    alone = {STANDARD: Ladder(old[STANDARD].rungs[:1])}
    late = answer(LATE, old[STANDARD])
    erased = Delivered(late.usage, late.graded, late.ending, late.net, late.held, late.cost)
    for each in (late, erased):
        line = margin_impact(old, alone, [sliced(old[STANDARD], each)]).lines[STANDARD]
        assert line.revenue_new == 10 + 10


def test_traffic_of_a_model_that_neither_book_has_is_a_line_without_revenue() -> None:
    other = ladders()[STANDARD]
    line = margin_impact({}, {}, [sliced(other, answer(GOOD, other))]).lines[STANDARD]
    assert (line.is_sold_old, line.is_sold_new, line.revenue_old, line.revenue_new, line.booked) == (
        False,
        False,
        0,
        0,
        40,
    )


def test_who_could_not_pay_the_net_pays_no_more_than_was_held_under_any_book() -> None:
    old = ladders()
    short = answer(GOOD, old[STANDARD], held=25)
    line = margin_impact(old, ladders(standard=20_000), [sliced(old[STANDARD], short)]).lines[STANDARD]
    assert (line.booked, line.revenue_old, line.revenue_new) == (25, 25, 25)


def test_who_could_pay_the_net_is_taken_to_have_paid_a_higher_one_too() -> None:
    old = ladders()
    line = margin_impact(
        old, ladders(standard=20_000), [sliced(old[STANDARD], answer(GOOD, old[STANDARD], held=41))]
    ).lines[STANDARD]
    assert line.revenue_new == 70  # a dearer book would have held more


def test_what_a_provider_broke_is_free_under_every_book() -> None:
    old = ladders()
    broken = answer(GOOD, old[STANDARD], ending=Ending.PROVIDER_ERROR)
    line = margin_impact(old, ladders(standard=99_000), [sliced(old[STANDARD], broken)]).lines[STANDARD]
    assert (line.revenue_old, line.revenue_new, line.cost_new) == (0, 0, 7)


def test_a_sample_is_scaled_up_by_what_it_paid_and_marked() -> None:
    old = ladders()
    each = answer(GOOD, old[STANDARD])
    whole = Slice("m", Tier.STANDARD, old[STANDARD], 100, 4_400, 700, [each, each])
    line = margin_impact(old, ladders(standard=12_000), [whole]).lines[STANDARD]
    assert (line.revenue_old, line.revenue_new) == (4_400, 92 * 4_400 // 80)
    assert (line.is_estimate, line.sampled, line.requests) == (True, 2, 100)


def test_a_sample_that_paid_nothing_is_scaled_up_by_its_number() -> None:
    free = ladders(standard=0, bulk=0)
    zero = {
        key: Ladder(tuple(Rung(r.tier, r.slo, Rates(*([Rate(0)] * 4))) for r in ladder)) for key, ladder in free.items()
    }
    each = answer(GOOD, zero[STANDARD])
    whole = Slice("m", Tier.STANDARD, zero[STANDARD], 10, 0, 70, [each, each])
    assert margin_impact(zero, ladders(), [whole]).lines[STANDARD].revenue_new == 40 * 10


def test_where_no_answer_was_drawn_what_was_booked_stands_as_an_estimate() -> None:
    old = ladders()
    line = margin_impact(old, ladders(standard=12_000), [Slice("m", Tier.STANDARD, old[STANDARD], 9, 360, 63)]).lines[
        STANDARD
    ]
    assert (line.revenue_old, line.revenue_new, line.is_estimate) == (360, 360, True)


def test_answers_priced_under_an_earlier_book_are_rated_under_both() -> None:
    earlier, old, new = ladders(standard=8_000), ladders(standard=10_000), ladders(standard=12_000)
    line = margin_impact(old, new, [sliced(earlier[STANDARD], answer(GOOD, earlier[STANDARD]))]).lines[STANDARD]
    assert (line.booked, line.revenue_old, line.revenue_new) == (34, 40, 46)


def test_no_traffic_is_no_line_and_a_total_of_nothing() -> None:
    found = margin_impact(ladders(), ladders(), [])
    assert found.total == Line()
    assert impact_document(found)["total"]["margin_change_usd"] == "0.00"


def test_totals_by_model_and_tier_add_up() -> None:
    old, new = ladders(), ladders(standard=12_000, bulk=5_000)
    found = margin_impact(
        old,
        new,
        [
            sliced(old[STANDARD], answer(GOOD, old[STANDARD])),
            sliced(old[BULK], answer(GOOD, old[BULK]), tier=Tier.BULK),
        ],
    )
    assert found.by_tier()[Tier.BULK].revenue_new == 10 * 500 // 1_000 + 3 * 5
    assert found.by_model()["m"] == found.total
    assert found.total.revenue_new == 46 + 20
    assert [row["tier"] for row in impact_document(found)["lines"]] == ["standard", "bulk"]


def test_a_document_has_every_amount_as_dollars_and_as_whole_nano() -> None:
    old = ladders()
    document = impact_document(
        margin_impact(old, ladders(standard=12_000), [sliced(old[STANDARD], answer(GOOD, old[STANDARD]))])
    )
    assert document["total"]["revenue_change_nano"] == "6"
    assert document["total"]["revenue_change_usd"] == "0.000000006"


@pytest.mark.parametrize("tokens", [0, 1])
def test_an_answer_without_tokens_is_rated_like_any_other(tokens: int) -> None:
    old, new = ladders(), ladders(standard=12_000, fast=Slo(50, 5))
    timeline = Timeline((90,) * tokens, (1,) * tokens, (0,) * tokens)
    line = margin_impact(old, new, [sliced(old[STANDARD], answer(timeline, old[STANDARD]))]).lines[STANDARD]
    assert line.revenue_old == (20 if tokens else 0)
    assert line.revenue_new == (5 + 4 if tokens else 0)  # 90 is late for 50: bulk's input rate and output rate
