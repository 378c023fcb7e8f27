"""Laws of the price book: what is published is what is hashed, and storage changes nothing."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.money import Rate
from pricing.pricebook import RateCard, book_document, book_from_record, book_record, price_book
from pricing.slo import Rung, Slo, Tier
from pricing.usage import Rates

few = settings(max_examples=30)

MIDNIGHT = datetime(2026, 11, 24, tzinfo=UTC)
MODELS = ["gpt-oss-120b", "smollm2-135m", "tuned/é×"]


@st.composite
def card_lists(draw: st.DrawFn) -> list[RateCard]:
    cards: list[RateCard] = []
    for model in draw(st.lists(st.sampled_from(MODELS), min_size=1, unique=True)):
        tiers = draw(st.lists(st.sampled_from(Tier), min_size=1, unique=True))
        rates, slo_us = [0, 0, 0, 0], 1_000
        for tier in sorted(tiers, key=lambda tier: tier.rank, reverse=True):
            rates = [below + draw(st.integers(1, 10**6)) for below in rates]
            slo_us -= draw(st.integers(0, 100))
            promise = Rung(tier, Slo(slo_us, slo_us), Rates(*map(Rate, rates)))
            speed, cost = draw(st.floats(0.1, 5_000)), Rates(*[Rate(draw(st.integers(0, 10**6)))] * 4)
            cards.append(RateCard(model, promise, "b200-fp4", speed, cost, draw(st.integers(1, 512)), "because"))
    return cards


@few
@given(card_lists())
def test_a_stored_book_is_read_back_whole(cards: list[RateCard]) -> None:
    book = price_book(MIDNIGHT, cards)
    stored = json.loads(json.dumps(book_record(book)))
    assert book_from_record(stored) == book


@few
@given(card_lists(), st.integers(0, 2**32))
def test_the_order_in_which_cards_arrive_changes_nothing(cards: list[RateCard], seed: int) -> None:
    shuffled = list(cards)
    Random(seed).shuffle(shuffled)  # noqa: S311 (a shuffle, not a secret)
    assert price_book(MIDNIGHT, shuffled) == price_book(MIDNIGHT, cards)


@few
@given(card_lists())
def test_anyone_can_recompute_the_hash_from_the_published_document(cards: list[RateCard]) -> None:
    book = price_book(MIDNIGHT, cards)
    text = json.dumps(book_document(book), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    assert hashlib.sha256(text.encode("ascii")).hexdigest() == book.sha256
    assert book.id.endswith(book.sha256[:8])


@few
@given(card_lists(), st.integers(1, 1_000))
def test_a_rate_a_promise_or_a_date_changed_is_another_book(cards: list[RateCard], step: int) -> None:
    book = price_book(MIDNIGHT, cards)
    first = max(cards, key=lambda card: (card.model, -card.rung.tier.rank))
    dearer = replace(first.rung, rates=replace(first.rung.rates, output=Rate(first.rung.rates.output + step)))
    gentler = replace(first.rung, slo=Slo(first.rung.slo.ttft_us, first.rung.slo.tpot_us - 1))
    others = [card for card in cards if card is not first]
    digests = {
        book.sha256,
        price_book(MIDNIGHT, [*others, replace(first, rung=dearer)]).sha256,
        price_book(MIDNIGHT, [*others, replace(first, rung=gentler)]).sha256,
        price_book(MIDNIGHT + timedelta(microseconds=step), cards).sha256,
    }
    assert len(digests) == 4


@few
@given(card_lists(), st.integers(-12, 14))
def test_a_moment_is_the_same_book_in_every_time_zone(cards: list[RateCard], hours: int) -> None:
    elsewhere = MIDNIGHT.astimezone(timezone(timedelta(hours=hours)))
    assert price_book(elsewhere, cards) == price_book(MIDNIGHT, cards)


@few
@given(card_lists(), st.integers(0, 10**6))
def test_our_own_cost_is_stored_but_no_part_of_what_is_published(cards: list[RateCard], pico: int) -> None:
    other = [replace(card, cost=Rates(*[Rate(pico)] * 4)) for card in cards]
    assert price_book(MIDNIGHT, other).sha256 == price_book(MIDNIGHT, cards).sha256
    assert "cost" not in json.dumps(book_document(price_book(MIDNIGHT, cards)))


@few
@given(card_lists())
def test_a_ladder_runs_from_the_tier_served_to_the_least_one_sold(cards: list[RateCard]) -> None:
    book = price_book(MIDNIGHT, cards)
    assert list(book.models()) == sorted({card.model for card in cards})
    for model in book.models():
        sold = book.tiers(model)
        for position, tier in enumerate(sold):
            ladder = book.ladder(model, tier)
            assert ladder is not None
            assert tuple(rung.tier for rung in ladder) == sold[position:]
        for tier in set(Tier) - set(sold):
            assert book.ladder(model, tier) is None
