"""Laws of rating a period's traffic under two books."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.book_impact import Delivered, Slice, all_ladders, margin_impact
from pricing.goodput import Timeline, grade
from pricing.money import Rate
from pricing.pricebook import RateCard
from pricing.rating import Ending, rate
from pricing.slo import Ladder, Rung, Slo, Tier
from pricing.usage import Rates, Usage

Key = tuple[str, Tier]
RATE = st.integers(0, 10**7)


@st.composite
def books(draw: st.DrawFn) -> dict[Key, Ladder]:
    """One model at one to three tiers; promises rise from tier to tier, rates are any."""
    tiers = draw(st.lists(st.sampled_from(list(Tier)), min_size=1, unique=True))
    ttft_us, tpot_us = 50, 5
    cards: dict[Key, RateCard] = {}
    for tier in sorted(tiers, key=lambda each: each.rank):
        ttft_us += draw(st.integers(0, 400))
        tpot_us += draw(st.integers(0, 40))
        rates = Rates(*(Rate(draw(RATE)) for _ in range(4)))
        cards["m", tier] = RateCard("m", Rung(tier, Slo(ttft_us, tpot_us), rates), "dep-1", 60.0, rates, 1)
    return all_ladders(cards)


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    chunks = draw(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 4), st.integers(0, 30)), max_size=8))
    at, through, excused = [0], [0], [0]
    for later, more, wait in chunks:
        at.append(at[-1] + later)
        through.append(through[-1] + more)
        excused.append(excused[-1] + wait)
    return Timeline(tuple(at[1:]), tuple(through[1:]), tuple(excused[1:]), streamed=draw(st.booleans()))


@st.composite
def traffic(draw: st.DrawFn, book: dict[Key, Ladder]) -> list[Slice]:
    """Slices of answers as they would have been billed under ``book``."""
    slices: list[Slice] = []
    for (model, tier), ladder in book.items():
        answers: list[Delivered] = []
        for timeline in draw(st.lists(timelines(), max_size=3)):
            usage = Usage(draw(st.integers(0, 50)), draw(st.integers(0, 50)), 0, timeline.tokens)
            ending = draw(st.sampled_from(list(Ending)))
            graded = grade(timeline, ladder)
            net = rate(ladder, usage, graded, ending).net
            held = draw(st.integers(0, 2 * net + 1))
            answers.append(Delivered(usage, graded, ending, net, held, draw(st.integers(0, 99)), timeline))
        paid, cost = sum(each.paid for each in answers), sum(each.cost for each in answers)
        slices.append(Slice(model, tier, ladder, len(answers), paid, cost, answers))
    return slices


@settings(deadline=None, max_examples=60)
@given(data=st.data(), book=books())
def test_a_book_against_itself_changes_nothing_and_earns_what_was_booked(
    data: st.DataObject, book: dict[Key, Ladder]
) -> None:
    total = margin_impact(book, book, data.draw(traffic(book))).total
    assert total.revenue_new == total.revenue_old == total.booked
    assert total.margin_new == total.margin_old


@settings(deadline=None, max_examples=60)
@given(data=st.data(), book=books(), other=books())
def test_rated_one_by_one_the_old_book_earns_what_was_booked(
    data: st.DataObject, book: dict[Key, Ladder], other: dict[Key, Ladder]
) -> None:
    """The booked totals, which stand in for the old book, are not needed to come to the same."""
    slices = data.draw(traffic(book))
    nobody = {key: Ladder((Rung(key[1], Slo(1, 1), Rates(*(Rate(1) for _ in range(4)))),)) for key in book}
    forgotten = [
        Slice(each.model, each.tier, nobody[each.model, each.tier], each.requests, each.paid, each.cost, each.sample)
        for each in slices
    ]
    assert margin_impact(book, other, forgotten).total.revenue_old == sum(each.paid for each in slices)


@settings(deadline=None, max_examples=60)
@given(data=st.data(), old=books(), new=books())
def test_exchanging_the_books_exchanges_their_columns(
    data: st.DataObject, old: dict[Key, Ladder], new: dict[Key, Ladder]
) -> None:
    slices = data.draw(traffic(old))
    there, back = margin_impact(old, new, slices).total, margin_impact(new, old, slices).total
    assert (there.revenue_old, there.revenue_new) == (back.revenue_new, back.revenue_old)
    assert (there.cost_old, there.cost_new, there.booked) == (back.cost_new, back.cost_old, back.booked)


@settings(deadline=None, max_examples=60)
@given(data=st.data(), book=books(), more=st.integers(1, 10**6))
def test_raising_every_rate_never_earns_less(data: st.DataObject, book: dict[Key, Ladder], more: int) -> None:
    dearer = {
        key: Ladder(
            tuple(
                Rung(rung.tier, rung.slo, Rates(*(Rate(each + more) for each in rung.rates.by_class().values())))
                for rung in ladder
            )
        )
        for key, ladder in book.items()
    }
    total = margin_impact(book, dearer, data.draw(traffic(book))).total
    assert total.revenue_new >= total.revenue_old
