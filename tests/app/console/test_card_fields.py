from collections.abc import Mapping
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.catalog.draft import Draft, DraftState, Origin
from app.catalog.draft_remarks import problems, warnings
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
from app.console.draft_grid import Typed, grid, listed_models, read_typed
from pricing.money import Rate, format_usd_per_mtok
from pricing.pricebook import RateCard
from pricing.slo import Rung, Slo, Tier
from pricing.usage import Rates

MODEL = "acme/model"
Cards = Mapping[tuple[str, Tier], RateCard]
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


def draft_of(new: Cards, old: Cards, withheld: Cards | None = None) -> Draft:
    return Draft(
        id="draft-1",
        base_book_id="pb-1",
        title="a draft",
        origin=Origin.OPERATOR,
        state=DraftState.OPEN,
        version=1,
        created_by="ops@example.com",
        created_at_us=0,
        updated_at_us=0,
        published_book_id=None,
        cards=new,
        withheld=withheld or {},
        problems=problems(new),
        warnings=warnings(new, old),
    )


def test_a_mark_stands_beside_the_lesser_tiers_field_and_names_the_better_ones_rate() -> None:
    old = cards_of(card(Tier.PREMIUM, (200, 20, 200, 800)), card(Tier.BULK, (100, 10, 100, 400)))
    new = cards_of(card(Tier.PREMIUM, (200, 20, 200, 800)), card(Tier.BULK, (100, 20, 100, 400), cost=30))
    premium, _, bulk = grid(MODEL, old, draft_of(new, old))
    assert [cell.problem for cell in premium.cells] == [""] * 6
    assert [cell.name for cell in bulk.cells if cell.problem] == ["bulk.cached"]
    assert bulk.cells[1].problem == "the cached rate of 0.00002 must be below premium's 0.00002"
    assert bulk.cells[1].warning == "the cached rate of 0.00002 is below our cost of 0.00003"
    [listed] = listed_models(old, draft_of(new, old))
    assert (listed.is_changed, listed.is_blocked) == (True, True)


def test_a_tier_taken_off_sale_keeps_its_fields_so_that_it_can_be_put_back() -> None:
    old = cards_of(card(Tier.STANDARD, (9, 9, 9, 9)), card(Tier.BULK, (1, 1, 1, 1)))
    kept = {(MODEL, Tier.BULK): card(Tier.BULK, (2, 2, 2, 2))}
    _, standard, bulk = grid(MODEL, old, draft_of(cards_of(card(Tier.STANDARD, (9, 9, 9, 9))), old, kept))
    assert (standard.is_sold, bulk.is_sold, bulk.was_sold) == (True, False, True)
    assert (bulk.cells[0].value, bulk.cells[0].was) == ("0.000002", "0.000001")


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
    cards, refused = read_typed(TYPED, list(Tier))
    assert refused == {}
    premium, standard, bulk = cards
    assert (premium.is_sold, bulk.is_sold) == (False, False)
    assert standard.rates == Rates(Rate(500_000), Rate(50_000), Rate(500_000), Rate(2_000_000))
    assert standard.slo == Slo(1_500_000, 25_000)


def test_each_field_that_cannot_be_read_has_its_own_message_and_its_tier_is_not_taken() -> None:
    cards, refused = read_typed({**TYPED, "standard.output": "2,0", "standard.tpot": ""}, [Tier.STANDARD])
    assert cards == ()
    assert sorted(refused) == ["standard.output", "standard.tpot"]
    assert "'2,0' is no rate" in refused["standard.output"]


def test_the_grid_shows_what_was_and_how_far_it_moves() -> None:
    old = cards_of(card(Tier.STANDARD, (500_000, 50_000, 500_000, 2_000_000), Slo(2_000_000, 40_000)))
    new = cards_of(card(Tier.STANDARD, (525_000, 50_000, 500_000, 1_000_000), Slo(1_500_000, 25_000)))
    premium, standard, _ = grid(MODEL, old, draft_of(new, old))
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
    _, refused = read_typed(typed, [Tier.STANDARD])
    _, standard, _ = grid(MODEL, old, draft_of(old, old), Typed(typed, refused))
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
    cards, refused = read_typed({**typed, "bulk.sold": "yes"}, [Tier.BULK])
    assert refused == {}
    assert (cards[0].rates, cards[0].slo) == (rates, slo)


def test_all_tiers_have_a_column_each() -> None:
    for tiers in product([True, False], repeat=3):
        sold = [tier for tier, is_sold in zip(Tier, tiers, strict=True) if is_sold]
        cards = cards_of(*(card(tier, (3 - tier.rank,) * 4) for tier in sold))
        columns = grid(MODEL, cards, draft_of(cards, cards))
        assert [column.tier for column in columns] == list(Tier)
        assert [column.tier for column in columns if column.is_sold] == sold
