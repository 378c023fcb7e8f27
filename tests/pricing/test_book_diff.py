"""What differs between two books, by hand and by law."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.book_diff import BookDiff, ChangeKind, book_diff, diff_document, share_text
from pricing.money import Rate
from pricing.pricebook import RateCard
from pricing.slo import Rung, Slo, Tier
from pricing.usage import Rates, TokenClass

Key = tuple[str, Tier]


def card(model: str = "m", tier: Tier = Tier.STANDARD, output: int = 800_000, **changes: object) -> RateCard:
    rates = Rates(Rate(200_000), Rate(20_000), Rate(200_000), Rate(output))
    cost = Rates(Rate(10_000), Rate(1_000), Rate(10_000), Rate(50_000))
    made = RateCard(model, Rung(tier, Slo(500_000, 20_000), rates), "dep-1", 60.0, cost, 32)
    return replace(made, **changes)


def keyed(*cards: RateCard) -> dict[Key, RateCard]:
    return {(each.model, each.rung.tier): each for each in cards}


def test_a_raised_rate_is_told_with_its_exact_share_and_the_rates_that_stay() -> None:
    diff = book_diff(keyed(card(output=300_000)), keyed(card(output=400_000)))
    (changed,) = diff.cards
    output = next(each for each in changed.rates if each.token_class is TokenClass.OUTPUT)
    assert changed.kind is ChangeKind.CHANGED
    assert (output.old, output.new, output.delta, output.share) == (300_000, 400_000, 100_000, Fraction(1, 3))
    assert [each.delta for each in changed.rates] == [0, 0, 0, 100_000]
    assert not changed.promise.is_changed
    assert diff.largest == (changed, Fraction(1, 3))


def test_the_largest_change_is_by_size_and_may_be_a_fall() -> None:
    old = keyed(card("a", output=100_000), card("b", output=100_000))
    new = keyed(card("a", output=140_000), card("b", output=40_000))
    largest = book_diff(old, new).largest
    assert largest is not None
    assert (largest[0].model, largest[1]) == ("b", Fraction(-3, 5))


def test_a_changed_promise_is_told_in_both_halves_and_in_speed() -> None:
    faster = card(deployment_id="dep-2")
    faster = replace(faster, rung=replace(faster.rung, slo=Slo(500_000, 10_000)))
    diff = book_diff(keyed(card()), keyed(faster))
    (changed,) = diff.promises
    assert changed.promise.tok_s_user == (50.0, 100.0)
    assert (changed.deployment_old, changed.deployment_new) == ("dep-1", "dep-2")
    document = diff_document(diff)["cards"][0]["promise"]
    assert document == {
        "is_changed": True,
        "old": {"ttft_us": 500_000, "tpot_us": 20_000},
        "new": {"ttft_us": 500_000, "tpot_us": 10_000},
    }


def test_added_and_removed_cards_have_one_side_only_and_no_share() -> None:
    diff = book_diff(keyed(card("gone")), keyed(card("fresh")))
    fresh, gone = diff.cards
    assert (fresh.kind, gone.kind) == (ChangeKind.ADDED, ChangeKind.REMOVED)
    assert (fresh.rates[3].old, fresh.rates[3].new, fresh.rates[3].share) == (None, 800_000, None)
    assert (gone.rates[3].old, gone.rates[3].new, gone.largest) == (800_000, None, None)
    assert diff.largest is None


def test_a_rate_that_was_nothing_has_no_share_of_change_but_a_delta() -> None:
    (changed,) = book_diff(keyed(card(output=0)), keyed(card(output=5))).cards
    assert (changed.rates[3].delta, changed.rates[3].share) == (5, None)


def test_a_rate_under_our_cost_is_marked_and_one_at_cost_is_not() -> None:
    (under,) = book_diff(keyed(card()), keyed(card(output=49_999))).cards
    (level,) = book_diff(keyed(card()), keyed(card(output=50_000))).cards
    assert (under.rates[3].is_below_cost, level.rates[3].is_below_cost) == (True, False)


def test_a_card_whose_cost_alone_changed_differs_but_changes_no_rate() -> None:
    dearer = card(cost=Rates(Rate(1), Rate(1), Rate(1), Rate(1)))
    diff = book_diff(keyed(card()), keyed(dearer))
    assert len(diff.cards) == 1
    assert diff.largest is None


def test_the_document_writes_money_as_text_and_counts_every_kind() -> None:
    old = keyed(card("a"), card("b"), card("c"))
    new = keyed(card("a"), card("b", output=800_001), card("d"))
    document = diff_document(book_diff(old, new))
    counts = {name: document[f"cards_{name}"] for name in ("added", "removed", "changed", "unchanged")}
    assert counts == {"added": 1, "removed": 1, "changed": 1, "unchanged": 1}
    assert document["cards"][0]["rates"]["output"] == {
        "old_usd_per_mtok": "0.80",
        "new_usd_per_mtok": "0.800001",
        "cost_old_usd_per_mtok": "0.05",
        "cost_new_usd_per_mtok": "0.05",
        "share": "0.000001",
        "is_below_cost": False,
    }
    assert document["largest_change"] == {"model": "b", "tier": "standard", "share": "0.000001"}


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (Fraction(1, 2), "0.5"),
        (Fraction(0), "0"),
        (Fraction(-1, 3), "-0.333333"),
        (Fraction(25, 10**7), "0.000002"),  # half to even
        (Fraction(10**12), "1000000000000"),
        (None, None),
    ],
)
def test_shares_are_written_as_plain_decimals(share: Fraction | None, text: str | None) -> None:
    assert share_text(share) == text


TIERS = st.sampled_from(list(Tier))
CARDS = st.dictionaries(st.tuples(st.sampled_from("abc"), TIERS), st.integers(0, 10**6), max_size=6).map(
    lambda found: {key: card(*key, output=output) for key, output in found.items()}
)


@settings(deadline=None)
@given(cards=CARDS)
def test_a_book_does_not_differ_from_itself(cards: dict[Key, RateCard]) -> None:
    assert book_diff(cards, cards) == BookDiff((), len(cards))


@settings(deadline=None)
@given(old=CARDS, new=CARDS)
def test_comparing_the_other_way_round_turns_every_change_round(
    old: dict[Key, RateCard], new: dict[Key, RateCard]
) -> None:
    there, back = book_diff(old, new), book_diff(new, old)
    turned = {ChangeKind.ADDED: ChangeKind.REMOVED, ChangeKind.REMOVED: ChangeKind.ADDED}
    assert [turned.get(each.kind, each.kind) for each in there.cards] == [each.kind for each in back.cards]
    for one, other in zip(there.cards, back.cards, strict=True):
        assert [each.delta for each in one.rates] == [
            None if each.delta is None else -each.delta for each in other.rates
        ]
    assert there.unchanged == back.unchanged
