"""Edits, remarks and rebases of drafts, without a database."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.catalog.draft import (
    RATE_MAX,
    SPAN_US_MAX,
    CardEdit,
    CardKey,
    Cards,
    Draft,
    DraftState,
    EditRefused,
    Origin,
    cards_of_record,
    draft_record,
    edited,
    rebased,
)
from app.catalog.draft_fields import FieldRefused, read_fields
from app.catalog.draft_remarks import problems, warnings
from pricing.money import Rate
from pricing.pricebook import PriceBookError, RateCard, price_book
from pricing.slo import Rung, Slo, Tier
from pricing.usage import Rates
from tests.app.catalog.books import PRICES, book, card, rates

BASE = book().cards
STANDARD: CardKey = ("open/one", Tier.STANDARD)
BULK: CardKey = ("open/one", Tier.BULK)
PREMIUM: CardKey = ("open/one", Tier.PREMIUM)


def draft(cards: Cards = BASE, withheld: Cards | None = None) -> Draft:
    return Draft(
        id="draft-1",
        base_book_id="pb-1",
        title="a test",
        origin=Origin.OPERATOR,
        state=DraftState.OPEN,
        version=1,
        created_by="ada",
        created_at_us=0,
        updated_at_us=0,
        published_book_id=None,
        cards=cards,
        withheld=withheld or {},
    )


def edit(tier: Tier = Tier.STANDARD, **fields: int) -> CardEdit:
    return CardEdit("open/one", tier, fields=fields)


def test_an_edit_changes_the_fields_it_names_and_no_other() -> None:
    cards, withheld = edited(draft(), [edit(output=700_000, ttft_us=1_000_000)], BASE)
    before, after = BASE[STANDARD], cards[STANDARD]
    assert after.rung.rates == replace(before.rung.rates, output=Rate(700_000))
    assert after.rung.slo == Slo(1_000_000, before.rung.slo.tpot_us)
    assert (after.cost, after.deployment_id) == (before.cost, before.deployment_id)
    assert {key: cards[key] for key in (PREMIUM, BULK)} == {key: BASE[key] for key in (PREMIUM, BULK)}
    assert withheld == {}


def test_a_tier_taken_off_sale_keeps_its_last_rates_and_is_put_back_with_them() -> None:
    priced = CardEdit("open/one", Tier.BULK, fields={"output": 300_000}, is_sold=False)
    cards, withheld = edited(draft(), [priced], BASE)
    assert BULK not in cards
    assert withheld[BULK].rung.rates.output == 300_000
    back, none = edited(draft(cards, withheld), [CardEdit("open/one", Tier.BULK)], BASE)
    assert back[BULK].rung.rates.output == 300_000
    assert none == {}


def test_a_tier_that_the_draft_never_had_is_put_back_from_the_book_it_is_compared_with() -> None:
    alone = {STANDARD: BASE[STANDARD]}
    cards, _ = edited(draft(alone), [CardEdit("open/one", Tier.PREMIUM)], BASE)
    assert cards[PREMIUM] == BASE[PREMIUM]


def test_a_tier_that_was_never_measured_cannot_be_sold() -> None:
    alone = {STANDARD: BASE[STANDARD]}
    with pytest.raises(EditRefused, match=r"open/one has no premium tier.*it has standard"):
        edited(draft(alone), [edit(Tier.PREMIUM, output=1)], alone)
    with pytest.raises(EditRefused, match="neither the draft nor the book"):
        edited(draft(alone), [CardEdit("nobody", Tier.PREMIUM)], alone)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"output": -1}, r"the output rate of -0\.000001 is out of range"),
        ({"input": RATE_MAX + 1}, "at most 1000000.00 USD"),
        ({"ttft_us": 0}, "the first is above 0"),
        ({"tpot_us": -1}, "both are at most a week"),
        ({"ttft_us": SPAN_US_MAX + 1}, "both are at most a week"),
    ],
)
def test_rates_and_promises_that_cannot_be_are_refused_with_their_numbers(fields: dict[str, int], said: str) -> None:
    with pytest.raises(EditRefused, match=said):
        edited(draft(), [CardEdit("open/one", Tier.STANDARD, fields=fields)], BASE)


def test_of_edits_that_are_made_together_a_bad_one_refuses_all() -> None:
    before = draft()
    with pytest.raises(EditRefused):
        edited(before, [edit(output=1), edit(output=-1)], BASE)
    assert before.cards == BASE


def test_cards_are_stored_and_read_back_in_any_state() -> None:
    upside_down = {STANDARD: replace(BASE[STANDARD], rung=Rung(Tier.STANDARD, Slo(1, 0), rates("0", "0")))}
    withheld = {BULK: BASE[BULK]}
    assert cards_of_record(draft_record(upside_down, withheld)) == (upside_down, withheld)
    assert cards_of_record(draft_record({}, {})) == ({}, {})


def with_output(tier: Tier, usd: str) -> dict[CardKey, RateCard]:
    return {**BASE, ("open/one", tier): card(tier, price=replace(PRICES[tier], output=rates("0", usd).output))}


def test_a_tier_that_is_as_dear_as_the_better_one_is_a_problem_that_names_both_rates() -> None:
    (found,) = problems(with_output(Tier.BULK, "0.80"))
    assert (found.tier, found.field) == (Tier.BULK, "output")
    assert "0.80 USD per million tokens must be below standard's 0.80" in found.message


def test_a_lesser_tier_that_promises_more_is_a_problem() -> None:
    hasty = card(Tier.BULK)
    hasty = replace(hasty, rung=replace(hasty.rung, slo=Slo(1_000_000, 10_000)))
    found = problems({**BASE, BULK: hasty})
    assert [remark.field for remark in found] == ["ttft", "tpot"]
    assert "a ttft of 1.0 s promises more than standard's 1.5 s" in found[0].message


def test_nothing_for_sale_is_a_problem() -> None:
    assert "at least one tier of one model" in problems({})[0].message


def test_every_problem_is_told_not_only_the_first() -> None:
    broken = {**with_output(Tier.BULK, "0.90"), PREMIUM: card(Tier.PREMIUM, price=rates("0.1", "0.1"))}
    assert {(remark.tier, remark.field) for remark in problems(broken)} == {
        *((Tier.STANDARD, name) for name in ("input", "cached", "cache_write", "output")),
        (Tier.BULK, "output"),
    }


CARDS = st.lists(
    st.tuples(
        st.sampled_from("ab"), st.sampled_from(list(Tier)), st.integers(0, 3), st.integers(1, 3), st.integers(0, 2)
    ),
    max_size=6,
).map(
    lambda rows: {
        (model, tier): RateCard(
            model, Rung(tier, Slo(ttft, tpot), Rates(*([Rate(rate)] * 4))), "d", 60.0, Rates(*([Rate(0)] * 4)), 1
        )
        for model, tier, rate, ttft, tpot in rows
    }
)


@settings(deadline=None)
@given(cards=CARDS)
def test_what_has_no_problem_makes_a_book_and_what_has_one_does_not(cards: dict[CardKey, RateCard]) -> None:
    try:
        price_book(datetime(2026, 1, 1, tzinfo=UTC), cards.values())
        is_book = True
    except PriceBookError:
        is_book = False
    assert (problems(cards) == ()) is is_book


def test_a_rate_below_cost_warns_with_both_numbers_and_one_at_cost_does_not() -> None:
    near = {**BASE, BULK: card(Tier.BULK, price=rates("0.10", "0.06"))}
    (found,) = warnings(with_output(Tier.BULK, "0.049999"), near)
    assert "0.049999 USD per million tokens is below our cost of 0.05" in found.message
    assert warnings(with_output(Tier.BULK, "0.05"), near) == ()


def test_what_the_book_had_already_is_not_warned_about_again() -> None:
    cheap = with_output(Tier.BULK, "0.041")
    assert [remark.field for remark in warnings(cheap, BASE)] == ["output"]
    assert len(warnings(with_output(Tier.BULK, "0.04"), BASE)) == 2  # below cost, and a tenth of 0.40
    assert warnings(cheap, cheap) == ()


def test_a_promise_faster_than_what_was_measured_warns() -> None:
    fast = replace(BASE[STANDARD], rung=replace(BASE[STANDARD].rung, slo=Slo(1_500_000, 5_000)))
    (found,) = warnings({**BASE, STANDARD: fast}, BASE)
    assert "promises 200.0 tok/s/user, but b200-trtllm-fp4-agg-tp2ep1 was measured at 152.4" in found.message


@pytest.mark.parametrize(("ttft_us", "warned"), [(14_999_999, False), (15_000_000, True), (150_000, True)])
def test_a_jump_of_ten_times_either_way_asks_whether_the_unit_is_meant(ttft_us: int, *, warned: bool) -> None:
    slower = replace(BASE[STANDARD], rung=replace(BASE[STANDARD].rung, slo=Slo(ttft_us, 20_000)))
    assert bool(warnings({**BASE, STANDARD: slower}, BASE)) is warned


def changed(tier: Tier, **fields: int) -> Cards:
    return edited(draft(), [edit(tier, **fields)], BASE)[0]


def test_a_rebase_keeps_the_drafts_fields_and_takes_the_rest_from_the_newer_book() -> None:
    mine = changed(Tier.STANDARD, output=700_000)
    theirs = changed(Tier.STANDARD, input=190_000)
    moved = rebased(draft(mine), BASE, theirs)
    both = moved.cards[STANDARD].rung.rates
    assert (both.input, both.output) == (190_000, 700_000)
    assert moved.clashes == (STANDARD,)


def test_a_rebase_takes_cards_that_the_draft_left_alone_and_new_models() -> None:
    theirs = {**changed(Tier.BULK, output=350_000), ("two", Tier.STANDARD): card(Tier.STANDARD, "two")}
    moved = rebased(draft(changed(Tier.STANDARD, output=700_000)), BASE, theirs)
    assert moved.cards[BULK].rung.rates.output == 350_000
    assert moved.cards[STANDARD].rung.rates.output == 700_000
    assert ("two", Tier.STANDARD) in moved.cards
    assert moved.clashes == ()


def test_a_rebase_keeps_off_sale_what_the_draft_took_off_sale() -> None:
    cards, withheld = edited(draft(), [CardEdit("open/one", Tier.BULK, is_sold=False)], BASE)
    moved = rebased(draft(cards, withheld), BASE, changed(Tier.BULK, output=350_000))
    assert BULK not in moved.cards
    assert BULK in moved.withheld
    assert moved.clashes == (BULK,)


def test_a_rebase_drops_what_the_newer_book_dropped_unless_the_draft_edited_it() -> None:
    without = {key: each for key, each in BASE.items() if key != BULK}
    assert BULK not in rebased(draft(), BASE, without).cards
    edited_bulk = rebased(draft(changed(Tier.BULK, output=350_000)), BASE, without)
    assert edited_bulk.cards[BULK].rung.rates.output == 350_000
    assert edited_bulk.clashes == (BULK,)


def test_a_rebase_takes_newer_costs_under_the_drafts_rates() -> None:
    cheaper = {**BASE, STANDARD: replace(BASE[STANDARD], cost=rates("0.001", "0.002"))}
    moved = rebased(draft(changed(Tier.STANDARD, output=700_000)), BASE, cheaper)
    assert moved.cards[STANDARD].cost == rates("0.001", "0.002")
    assert moved.cards[STANDARD].rung.rates.output == 700_000


def test_a_rebase_onto_the_same_book_changes_nothing() -> None:
    mine = changed(Tier.STANDARD, output=700_000)
    assert rebased(draft(mine), BASE, BASE).cards == mine


def test_fields_are_read_exactly_in_dollars_and_seconds() -> None:
    assert read_fields(["output=0.30", "input=$2", "cached=0.000001", "ttft=0.5", "tpot=20ms"]) == {
        "output": 300_000,
        "input": 2_000_000,
        "cached": 1,
        "ttft_us": 500_000,
        "tpot_us": 20_000,
    }
    assert read_fields(["ttft=15min", "tpot=0"]) == {"ttft_us": 900_000_000, "tpot_us": 0}


@pytest.mark.parametrize(
    "text",
    [
        *(
            "output",
            "output=",
            "output=abc",
            "output=-0.3",
            "output=NaN",
            "output=Infinity",
            "output=1e3",
            "output=0,3",
        ),
        *("output=0.0000001", "output=1_0", "output=٣", "price=1", "=1", "output=0x10", "output=12345678"),
        *("ttft=0", "ttft=-1", "ttft=1e-3", "ttft=0.5ns", "tpot=0.0000001", "ttft=10081min", "ttft=nan"),
    ],
)
def test_what_cannot_be_read_exactly_is_refused(text: str) -> None:
    with pytest.raises(FieldRefused) as refused:
        read_fields([text])
    assert refused.value.status == 400


def test_a_field_given_twice_is_refused() -> None:
    with pytest.raises(FieldRefused, match="ttft is given twice"):
        read_fields(["ttft=1", "ttft=2"])


def test_a_first_book_is_warned_about_and_itself_is_not() -> None:
    assert problems(BASE) == ()
    (found,) = warnings(BASE, {})  # compared with no book; with itself there is none
    assert found.tier is Tier.PREMIUM
    assert warnings(BASE, BASE) == ()
