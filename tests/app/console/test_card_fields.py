from datetime import UTC, datetime
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.console.card_changes import card_changes
from app.console.card_fields import (
    SPAN_US_MAX,
    FieldRefused,
    gap_text,
    read_gap,
    read_rate,
    read_span,
    span_text,
    texts_of,
)
from app.console.draft_grid import below_cost, grid, misfits, read_typed
from pricing.money import Rate, format_usd_per_mtok
from pricing.pricebook import PriceBookError, RateCard, price_book
from pricing.slo import Rung, Slo, Tier
from pricing.usage import Rates

MODEL = "acme/model"
RATES = st.integers(0, 999_999_999_999)
SPANS = st.integers(1, SPAN_US_MAX)
SLOS = {Tier.PREMIUM: Slo(500_000, 10_000), Tier.STANDARD: Slo(2_000_000, 40_000), Tier.BULK: Slo(900_000_000, 0)}


def card(tier: Tier, rates: tuple[int, ...], slo: Slo | None = None, cost: int = 0) -> RateCard:
    return RateCard(
        model=MODEL,
        rung=Rung(tier, slo or SLOS[tier], Rates(*map(Rate, rates))),
        deployment_id=f"d-{tier}",
        interactivity_tok_s_user=50.0,
        cost=Rates(*(Rate(cost),) * 4),
        concurrency_max=8,
    )


def cards_of(*cards: RateCard) -> dict[tuple[str, Tier], RateCard]:
    return {(each.model, each.rung.tier): each for each in cards}


@given(RATES)
def test_a_rate_reads_back_as_it_was_written(rate: int) -> None:
    assert read_rate(format_usd_per_mtok(rate)) == rate


@given(SPANS)
def test_a_span_reads_back_to_the_microsecond(us: int) -> None:
    assert read_span(span_text(us)) == us
    assert read_gap(gap_text(us)) == us


def test_a_window_has_a_word_of_its_own_so_that_an_empty_field_is_none() -> None:
    assert gap_text(0) == "window"
    assert read_gap(" Window ") == 0
    with pytest.raises(FieldRefused, match="an empty field"):
        read_gap(" ")


@pytest.mark.parametrize("text", ["", "x", "-1", "1e3", "1,5", "0.0000001", "1_000", "٣", "1000000", "NaN", "$", "1 2"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(FieldRefused, match="is no rate: write dollars per million tokens"):
        read_rate(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("500", "write a number and its unit"),
        ("0.5", "write a number and its unit"),
        ("-5 ms", "write a number and its unit"),
        ("5 years", "write a number and its unit"),
        ("0 ms", "out of range"),
        ("0.0001 ms", "finer than a microsecond"),
        ("169 h", "at most a week"),
        ("99999999999 s", "write a number"),
    ],
)
def test_a_span_without_its_unit_or_out_of_range_is_refused(text: str, said: str) -> None:
    with pytest.raises(FieldRefused, match=said):
        read_span(text)


@pytest.mark.parametrize(
    ("text", "us"), [("500ms", 500_000), ("500 µs", 500), ("1.5 s", 1_500_000), ("2 h", 7_200_000_000)]
)
def test_a_span_is_read_in_its_own_unit(text: str, us: int) -> None:
    assert read_span(text) == us


LEVELS = st.integers(0, 3)
CARD_RATES = st.tuples(LEVELS, LEVELS, LEVELS, LEVELS)
SLO = st.builds(Slo, st.integers(1, 3), st.integers(0, 3))


@given(st.dictionaries(st.sampled_from(list(Tier)), st.tuples(CARD_RATES, SLO), min_size=1))
def test_a_field_is_marked_exactly_when_the_book_would_be_refused(
    wanted: dict[Tier, tuple[tuple[int, int, int, int], Slo]],
) -> None:
    cards = cards_of(*(card(tier, *parts) for tier, parts in wanted.items()))
    try:
        price_book(datetime(2026, 1, 1, tzinfo=UTC), cards.values())
        is_refused = False
    except PriceBookError:
        is_refused = True
    assert bool(misfits(MODEL, cards)) == is_refused


def test_a_mark_stands_at_the_lesser_tier_and_names_the_better_ones_rate() -> None:
    cards = cards_of(card(Tier.PREMIUM, (200, 20, 200, 800)), card(Tier.BULK, (100, 20, 100, 400)))
    assert misfits(MODEL, cards) == {"bulk.cached": "must be below premium's $0.00002"}
    slow = cards_of(card(Tier.PREMIUM, (4, 4, 4, 4)), card(Tier.STANDARD, (3, 3, 3, 3), Slo(400_000, 9_000)))
    assert misfits(MODEL, slow) == {
        "standard.ttft": "promises more than premium does",
        "standard.tpot": "promises more than premium does",
    }


def test_a_rate_at_cost_is_no_loss_and_one_below_it_is() -> None:
    at_cost = cards_of(card(Tier.STANDARD, (100, 100, 100, 100), cost=100))
    assert below_cost(MODEL, at_cost) == {}
    below = cards_of(card(Tier.STANDARD, (100, 99, 100, 100), cost=100))
    assert below_cost(MODEL, below) == {"standard.cached": "below our cost of $0.0001"}


TYPED = {
    "standard.sold": "yes",
    "standard.input": "0.5",
    "standard.cached": "$0.05",
    "standard.cache_write": "0.5",
    "standard.output": "2",
    "standard.ttft": "1.5 s",
    "standard.tpot": "25 ms",
    "bulk.input": "rubbish of a tier that is not sold",
}


def test_a_form_becomes_cards_and_a_tier_that_is_not_sold_is_not_read() -> None:
    cards, problems = read_typed(TYPED, list(Tier))
    assert problems == {}
    premium, standard, bulk = cards
    assert (premium.is_sold, bulk.is_sold) == (False, False)
    assert standard.rates == Rates(Rate(500_000), Rate(50_000), Rate(500_000), Rate(2_000_000))
    assert standard.slo == Slo(1_500_000, 25_000)


def test_each_field_that_cannot_be_read_has_its_own_message_and_its_tier_is_not_taken() -> None:
    cards, problems = read_typed({**TYPED, "standard.output": "2,0", "standard.tpot": ""}, [Tier.STANDARD])
    assert cards == ()
    assert sorted(problems) == ["standard.output", "standard.tpot"]
    assert "'2,0' is no rate" in problems["standard.output"]


def test_the_grid_shows_what_was_and_how_far_it_moves() -> None:
    old = cards_of(card(Tier.STANDARD, (500_000, 50_000, 500_000, 2_000_000), Slo(2_000_000, 40_000)))
    new = cards_of(card(Tier.STANDARD, (525_000, 50_000, 500_000, 1_000_000), Slo(1_500_000, 25_000)))
    premium, standard, _ = grid(MODEL, old, new)
    assert not premium.is_known
    shown = {cell.name: (cell.was, cell.value, cell.change) for cell in standard.cells}
    assert shown["standard.input"] == ("0.50", "0.525", "+5.0 %")
    assert shown["standard.cached"] == ("0.05", "0.05", "")
    assert shown["standard.output"] == ("2.00", "1.00", "−50.0 %")
    assert shown["standard.ttft"] == ("2 s", "1.5 s", "−25.0 %")
    assert shown["standard.tpot"] == ("40 ms", "25 ms", "−37.5 %")
    assert standard.cells[-1].note == "40 tok/s/user"


def test_a_form_that_was_refused_keeps_what_was_typed() -> None:
    old = cards_of(card(Tier.STANDARD, (1, 1, 1, 1)))
    typed = {**TYPED, "standard.output": "2,0"}
    _, problems = read_typed(typed, [Tier.STANDARD])
    _, standard, _ = grid(MODEL, old, old, typed, problems)
    output = standard.cells[3]
    assert (output.value, output.change) == ("2,0", "")
    assert output.problem.startswith("'2,0' is no rate")


def test_a_change_lists_what_was_and_is_to_the_last_digit() -> None:
    old = cards_of(card(Tier.STANDARD, (12_345_678, 1, 1, 1)), card(Tier.BULK, (1, 0, 0, 0)))
    new = cards_of(card(Tier.STANDARD, (12_345_679, 1, 1, 1)), card(Tier.PREMIUM, (90_000_000, 2, 2, 2)))
    premium, standard, bulk = card_changes(old, new)
    assert (premium.word, standard.word, bulk.word) == ("new", "", "withdrawn")
    [row] = [row for row in standard.rows if row.is_changed]
    assert (row.label, row.was, row.now, row.change) == ("Input", "$12.345678", "$12.345679", "+<0.1 %")


def test_equal_books_differ_in_nothing_and_a_promise_alone_is_a_change() -> None:
    old = cards_of(card(Tier.STANDARD, (5, 5, 5, 5)))
    assert card_changes(old, dict(old)) == ()
    [change] = card_changes(old, cards_of(card(Tier.STANDARD, (5, 5, 5, 5), Slo(2_000_000, 20_000))))
    assert [(row.label, row.was, row.now, row.change) for row in change.rows if row.is_changed] == [
        ("Then a token every", "40 ms", "20 ms", "−50.0 %")
    ]
    assert change.promise_was.startswith("25 tok/s/user")
    assert change.promise.startswith("50 tok/s/user")


@given(SPANS, RATES)
def test_every_card_reads_back_through_the_editors_fields(us: int, rate: int) -> None:
    slo, rates = Slo(us, us), Rates(*(Rate(rate),) * 4)
    typed = {f"bulk.{name}": text for name, text in texts_of(rates, slo).items()}
    cards, problems = read_typed({**typed, "bulk.sold": "yes"}, [Tier.BULK])
    assert problems == {}
    assert (cards[0].rates, cards[0].slo) == (rates, slo)


def test_all_tiers_have_a_column_each() -> None:
    for tiers in product([True, False], repeat=3):
        sold = [tier for tier, is_sold in zip(Tier, tiers, strict=True) if is_sold]
        cards = cards_of(*(card(tier, (3 - tier.rank,) * 4) for tier in sold))
        columns = grid(MODEL, cards, cards)
        assert [column.tier for column in columns] == list(Tier)
        assert [column.tier for column in columns if column.is_sold] == sold
