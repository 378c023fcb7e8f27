from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pricing.money import Rate
from pricing.pricebook import PriceBookError, RateCard, price_book
from pricing.slo import Rung, Slo, Tier
from pricing.usage import Rates

NOW = datetime(2026, 11, 24, tzinfo=UTC)
SLOS = {Tier.PREMIUM: Slo(100, 10), Tier.STANDARD: Slo(200, 50), Tier.BULK: Slo(900, 0)}


def card(tier: Tier, output: int, *, slo: Slo | None = None, model: str = "m", cached: int | None = None) -> RateCard:
    rates = Rates(Rate(output), Rate(output if cached is None else cached), Rate(output), Rate(output))
    rung = Rung(tier, slo or SLOS[tier], rates)
    return RateCard(model, rung, "b200", 100.0, Rates(Rate(1), Rate(1), Rate(1), Rate(1)), 8, "because")


def test_tiers_and_models_are_listed_best_first_and_by_name() -> None:
    book = price_book(NOW, [card(Tier.BULK, 1, model="z"), card(Tier.BULK, 1), card(Tier.PREMIUM, 9)])
    assert book.models() == ("m", "z")
    assert book.tiers("m") == (Tier.PREMIUM, Tier.BULK)
    assert book.tiers("unknown") == ()


def test_an_id_tells_its_moment_and_the_head_of_its_hash() -> None:
    book = price_book(NOW, [card(Tier.BULK, 1)])
    assert book.id == f"pb-20261124T000000-{book.sha256[:8]}"


def test_a_book_needs_a_card_and_a_time_zone() -> None:
    with pytest.raises(PriceBookError, match="at least one rate card"):
        price_book(NOW, [])
    with pytest.raises(PriceBookError, match="time zone"):
        price_book(NOW.replace(tzinfo=None), [card(Tier.BULK, 1)])


def test_two_cards_of_one_tier_are_refused() -> None:
    with pytest.raises(PriceBookError, match="two rate cards for m bulk"):
        price_book(NOW, [card(Tier.BULK, 1), card(Tier.BULK, 2)])


@pytest.mark.parametrize(("dear", "cheap"), [(5, 5), (5, 6), (0, 1)])
def test_a_rate_that_does_not_fall_is_refused_with_both_figures(dear: int, cheap: int) -> None:
    with pytest.raises(PriceBookError, match="m: premium → standard: the input rate must fall"):
        price_book(NOW, [card(Tier.PREMIUM, dear), card(Tier.STANDARD, cheap)])


def test_one_class_that_does_not_fall_is_enough_to_refuse_a_book() -> None:
    with pytest.raises(PriceBookError, match="the cached rate must fall"):
        price_book(NOW, [card(Tier.PREMIUM, 9), card(Tier.BULK, 5, cached=9)])


def test_a_class_that_is_free_everywhere_may_stay_free() -> None:
    book = price_book(NOW, [card(Tier.PREMIUM, 9, cached=0), card(Tier.BULK, 5, cached=0)])
    assert len(book.cards) == 2


@pytest.mark.parametrize("slo", [Slo(99, 60), Slo(300, 9)])
def test_a_lesser_tier_that_promises_more_is_refused(slo: Slo) -> None:
    with pytest.raises(PriceBookError, match="the lesser tier promises more"):
        price_book(NOW, [card(Tier.PREMIUM, 9), card(Tier.STANDARD, 5, slo=slo)])


def test_a_window_may_stand_below_any_pace() -> None:
    assert len(price_book(NOW, [card(Tier.STANDARD, 5), card(Tier.BULK, 2)]).cards) == 2


def test_tiers_of_different_models_are_not_compared() -> None:
    assert len(price_book(NOW, [card(Tier.PREMIUM, 1), card(Tier.STANDARD, 9, model="n")]).cards) == 2


def test_negative_rates_and_costs_are_refused() -> None:
    with pytest.raises(PriceBookError, match="the input rate is negative: -1"):
        price_book(NOW, [card(Tier.BULK, -1)])
    costly = replace(card(Tier.BULK, 1), cost=Rates(Rate(1), Rate(1), Rate(1), Rate(-7)))
    with pytest.raises(PriceBookError, match="the output cost is negative: -7"):
        price_book(NOW, [costly])


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_a_speed_that_cannot_be_published_is_refused(speed: float) -> None:
    with pytest.raises(PriceBookError, match="needs a speed above 0"):
        price_book(NOW, [replace(card(Tier.BULK, 1), interactivity_tok_s_user=speed)])


def test_a_concurrency_below_one_is_refused() -> None:
    with pytest.raises(PriceBookError, match="concurrency of at least 1"):
        price_book(NOW, [replace(card(Tier.BULK, 1), concurrency_max=0)])
