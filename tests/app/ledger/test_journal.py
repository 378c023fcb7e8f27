import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ledger import chart
from app.ledger.holds import LateCause
from app.ledger.journal import Draft, JournalError, Leg, TxnKind, draft_grant, draft_settlement, settlement_accounts
from tests.ledger_world import T0, charge, settlement


def legs(draft: Draft) -> dict[str, int]:
    return {leg.account_id: leg.amount for leg in draft.legs}


def test_a_settlement_books_gross_adjustment_payment_and_cost() -> None:
    # Gross 100, of which lateness gave back 30; the customer pays 70; our fleet's tokens cost 20.
    late = settlement("gen-1", gross=100, net=70, late_cause=LateCause.PROVIDER)
    assert legs(draft_settlement(late, 70, is_late=False)) == {
        "wallet:cus_ada": -70,
        "revenue:gpt-oss-120b:premium": 100,
        "slo_adjustments:premium:provider": -30,
        "cogs:cluster-b200": -20,
        "fleet_cost_accrued:cluster-b200": 20,
    }


def test_bought_tokens_are_payable_to_who_sold_them() -> None:
    bought = settlement("gen-1", gross=100, provider_id="wafer-1", is_owned=False)
    booked = legs(draft_settlement(bought, 100, is_late=False))
    assert (booked["cogs:wafer-1"], booked["provider_payable:wafer-1"]) == (-20, 20)


def test_what_was_delivered_beyond_the_hold_is_ours_to_bear() -> None:
    booked = legs(draft_settlement(settlement("gen-1", gross=100), 64, is_late=False))
    assert (booked["wallet:cus_ada"], booked["provider_variance"]) == (-64, -36)


def test_nothing_moved_is_no_leg() -> None:
    free = settlement("gen-1", gross=0, cost=0)
    assert draft_settlement(free, 0, is_late=False).legs == ()


def test_a_settlement_is_named_after_its_request_and_marked_when_late() -> None:
    on_time = draft_settlement(settlement("gen-7"), 60, is_late=False)
    late = draft_settlement(settlement("gen-7"), 60, is_late=True)
    assert (on_time.idem, on_time.kind, on_time.subject) == ("settle:gen-7", TxnKind.SETTLEMENT, "gen-7")
    assert (late.idem, late.kind) == ("settle:gen-7", TxnKind.LATE_SETTLEMENT)
    assert late.legs == on_time.legs


def test_a_grant_is_borne_by_the_discount_account() -> None:
    draft = draft_grant("cus_ada", 500, "welcome", "k1", T0)
    assert legs(draft) == {"wallet:cus_ada": 500, "promo_discount": -500}
    assert (draft.idem, draft.memo, draft.price_book_id) == ("grant:k1", "welcome", None)


@given(st.integers(0, 10**17), st.integers(0, 10**17), st.integers(0, 10**17), st.sampled_from(LateCause))
def test_every_settlement_sums_to_zero_and_touches_no_account_it_did_not_announce(
    gross: int, net: int, captured: int, late_cause: LateCause
) -> None:
    net = min(net, gross)
    captured = min(captured, net)
    for is_owned in (True, False):
        settled = settlement("gen-1", gross=gross, net=net, is_owned=is_owned, late_cause=late_cause)
        draft = draft_settlement(settled, captured, is_late=False)
        assert sum(leg.amount for leg in draft.legs) == 0
        assert legs(draft).keys() <= set(settlement_accounts(settled))
        assert all(leg.amount for leg in draft.legs)


def test_legs_that_do_not_sum_to_zero_are_refused() -> None:
    with pytest.raises(JournalError, match="legs sum to 1 nano-USD instead of 0"):
        Draft("x", TxnKind.GRANT, "x", (Leg("bank", 3), Leg("wallet:a", -2)), T0, T0)


def test_more_than_is_owed_cannot_be_captured() -> None:
    with pytest.raises(JournalError, match="captured 61 is not within 0 and net 60"):
        draft_settlement(settlement("gen-1", gross=60), 61, is_late=False)


def test_amounts_that_contradict_each_other_are_refused() -> None:
    crooked = charge(100, 70)
    object.__setattr__(crooked, "adjustment", 29)
    with pytest.raises(JournalError, match="net 70 is not gross 100 − adjustment 29"):
        draft_settlement(settlement("gen-1", charge=crooked), 70, is_late=False)


def test_a_negative_cost_is_refused() -> None:
    with pytest.raises(JournalError, match="negative amounts"):
        draft_settlement(settlement("gen-1", cost=-1), 60, is_late=False)


@pytest.mark.parametrize(
    ("account_id", "kind"),
    [
        (chart.wallet("cus_a"), "wallet"),
        (chart.revenue("a:b", "bulk"), "income"),
        (chart.slo_adjustments("premium", "platform"), "contra"),
        (chart.cogs("p"), "expense"),
        (chart.provider_counter("p", is_owned=True), "liability"),
        (chart.provider_counter("p", is_owned=False), "liability"),
        ("stripe_clearing", "asset"),
        ("equity_opening", "equity"),
    ],
)
def test_an_accounts_kind_follows_from_its_family(account_id: str, kind: str) -> None:
    assert chart.kind_of(account_id).value == kind


def test_an_account_outside_the_chart_is_refused() -> None:
    with pytest.raises(chart.UnknownAccount, match="no account family 'slush'"):
        chart.kind_of("slush:fund")
