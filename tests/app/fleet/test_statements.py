"""What is owed to a provider: by the token at its contract's rates, by the hour, and less for what came late."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.fleet.contracts import US_PER_HOUR, Basis, Contract
from app.fleet.statement_store import tokens_late
from app.fleet.statements import Delivered, Span, Supplied, bought, half_even, lines, spans, statement_document
from app.fleet.statements import Statement as Told
from pricing.goodput import Timeline
from pricing.money import NanoUsd, Rate
from pricing.slo import Slo
from pricing.usage import Rates, Usage

RATES = Rates(Rate(300_000), Rate(30_000), Rate(300_000), Rate(900_000))
TOKEN = Contract("acme", Basis.BOUGHT, 0, 100, id="ctr_t", rates=RATES, promise=Slo(1_000, 10))
HOUR = Contract("acme", Basis.HOURLY, 100, None, id="ctr_h", usd_per_hour=NanoUsd(98_000_000_000))
DELIVERED = Delivered("acme/d", "m", 2, Usage(input=1_000, cached=500, output=200), NanoUsd(495_001), tokens_late=10)


def test_a_period_is_cut_wherever_terms_change() -> None:
    assert spans((TOKEN, HOUR), 50, 150) == (Span(50, 100), Span(100, 150))
    assert spans((TOKEN,), 0, 100) == (Span(0, 100),)


def test_bought_tokens_are_owed_as_they_were_accrued_and_held_against_the_rates() -> None:
    (line,) = lines(Supplied((TOKEN,), {Span(0, 100): (DELIVERED,)}), "acme")
    assert line.at_rates == 1_000 * 300 + 500 * 30 + 200 * 900  # nano-USD
    assert line.owed == 495_001  # each answer was rounded by itself
    assert line.claim == 10 * 900
    assert bought((line,), frozenset()) == 495_001


def test_hours_are_owed_for_the_part_of_the_term_in_the_period() -> None:
    period = Span(100, 100 + 3 * US_PER_HOUR // 2)
    (line,) = lines(Supplied((HOUR,), {period: ()}), "acme")
    assert line.hours_us == 3 * US_PER_HOUR // 2
    assert line.owed == 147_000_000_000  # an hour and a half at 98 USD
    assert bought((line,), frozenset()) == 0


def test_what_ran_without_a_contract_is_owed_only_where_it_was_bought() -> None:
    own = Delivered("acme/own", "m", 1, Usage(output=1), NanoUsd(7))
    (line,) = lines(Supplied((), {Span(0, 100): (DELIVERED, own)}, frozenset({"acme/own"})), "acme")
    assert (line.basis, line.owed) == ("", 495_001)
    assert bought((line,), frozenset({"acme/own"})) == 495_001


def test_a_statement_tells_the_ledgers_payable_and_by_how_much_they_differ() -> None:
    found = lines(Supplied((TOKEN,), {Span(0, 100): (DELIVERED,)}), "acme")
    told = statement_document(Told("acme", "Acme", 0, 100, found, NanoUsd(495_000), bought(found, frozenset()), True))
    assert told["ledger"] == {
        "payable_usd": "0.000495",
        "payable_nano": "495000",
        "drift_usd": "-0.000000001",
        "drift_nano": "-1",
    }
    assert told["due_nano"] == str(495_001 - 9_000)


@pytest.mark.parametrize(
    ("at_us", "through", "late"),
    [
        ((1_500,), (1,), 0),  # asked at 500: a thousand later is in time
        ((1_501,), (1,), 1),
        ((1_500, 1_520), (1, 3), 1),  # both came at 1 520: token 1 was due at 1 510, token 2 at 1 520
        ((1_600,), (20,), 10),  # a hundred over: tokens 0 to 9 were due before
    ],
)
def test_tokens_are_late_against_the_promise_counted_from_when_the_provider_was_asked(
    at_us: tuple[int, ...], through: tuple[int, ...], late: int
) -> None:
    assert tokens_late(Timeline(at_us, through, (0,) * len(at_us)), Slo(1_000, 10), 500) == late


def test_a_whole_answer_is_late_altogether_or_not_at_all() -> None:
    whole = Timeline((1_600,), (11,), (0,), streamed=False)
    assert tokens_late(whole, Slo(1_000, 10), 500) == 0
    assert tokens_late(whole, Slo(1_000, 10), 499) == 11
    assert tokens_late(Timeline((), (), (), streamed=False), Slo(1_000, 10), 0) == 0


@given(
    st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 20)), max_size=20),
    st.integers(1, 2_000),
    st.integers(0, 50),
    st.integers(0, 500),
)
def test_lateness_is_that_of_every_single_token(
    steps: list[tuple[int, int]], ttft_us: int, tpot_us: int, platform_us: int
) -> None:
    at_us, through, now_us, count = [], [], 0, 0
    for pause_us, tokens in steps:
        now_us, count = now_us + pause_us, count + tokens
        at_us.append(now_us)
        through.append(count)
    promise = Slo(ttft_us, tpot_us)
    expected = sum(
        at - platform_us > promise.deadline_us(index)
        for at, before, until in zip(at_us, [0, *through], through, strict=False)
        for index in range(before, until)
    )
    timeline = Timeline(tuple(at_us), tuple(through), (0,) * len(at_us))
    assert tokens_late(timeline, promise, platform_us) == expected


def test_halves_are_rounded_to_the_even_nano() -> None:
    assert [half_even(n, 2) for n in range(6)] == [0, 0, 1, 2, 2, 2]
