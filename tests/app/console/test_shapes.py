from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.console import shapes
from app.console.overview import rate_per_s, spark
from app.console.render import minus, query, short_id, words
from pricing.money import usd

NANO = st.integers(-(2**63), 2**63 - 1)


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000000001"),
        (1_234, "$0.00000123"),
        (999_500_000, "$1.00"),
        (999_400_000, "$0.999"),
        (12_345_000_000, "$12.34"),
        (12_355_000_000, "$12.36"),
        (-12_500_000_000, "−$12.50"),
        (1_234_567_890_000_000, "$1,234,567.89"),
    ],
)
def test_money_has_cents_from_a_dollar_up_and_three_digits_below(nano: int, text: str) -> None:
    assert shapes.usd(nano) == text


@given(NANO)
def test_the_exact_amount_reads_back_to_the_nano(nano: int) -> None:
    text = shapes.usd_exact(nano)
    assert usd(text.removesuffix(" USD").replace("$", "").replace("−", "-")) == nano


@given(NANO)
def test_money_at_a_glance_is_within_half_a_unit_of_its_last_digit(nano: int) -> None:
    shown = Decimal(shapes.usd(nano).replace("$", "").replace(",", "").replace("−", "-"))
    exponent = shown.as_tuple().exponent
    assert isinstance(exponent, int)
    size = abs(Decimal(nano)) / 10**9
    unit = Decimal("0.01") if size >= 1 or nano == 0 else Decimal(1).scaleb(size.adjusted() - 2)
    assert abs(shown - Decimal(nano) / 10**9) <= max(unit, Decimal("0.01") if size >= 1 else unit) / 2


@given(st.integers(0, 10**15), st.integers(1, 10**15))
def test_a_share_never_reads_higher_than_it_is_and_is_100_percent_only_when_whole(part: int, whole: int) -> None:
    part = min(part, whole)
    text = shapes.percent(part, whole)
    assert (text == "100 %") == (part == whole)
    if not text.startswith("<"):
        assert Decimal(text.removesuffix(" %")) * whole <= Decimal(100) * part


@given(st.integers(0, 10**30))
def test_a_short_count_is_never_above_the_exact_one(number: int) -> None:
    text = shapes.tokens(number)
    digits, _, unit = text.partition(" ")
    power = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}[unit]
    whole, _, part = digits.replace(",", "").partition(".")
    shown = int(whole + part) * power // 10 ** len(part)
    assert shown <= number
    assert 99 * (number - shown) < number or shown == number


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "0 µs"),
        (999, "999 µs"),
        (1_000, "1 ms"),
        (5_160, "5.16 ms"),
        (999_999, "1,000 ms"),
        (1_000_000, "1 s"),
        (599_000_000, "599 s"),
        (600_000_000, "10 min"),
        (86_400_000_000, "24 h"),
        (None, "–"),
    ],
)
def test_a_duration_is_in_the_unit_it_is_best_read_in(us: int | None, text: str) -> None:
    assert shapes.duration(us) == text


def test_a_margin_may_be_a_loss_and_is_nothing_without_revenue() -> None:
    assert shapes.margin_percent(-5_000, 1) == "−500,000.0 %"
    assert shapes.margin_percent(-5_000, 0) == "–"


def test_a_tiny_line_stays_inside_its_box_even_below_zero_and_with_one_point() -> None:
    for values in ([5], [0, 0, 0], [-3, 4, -(10**30)], list(range(60))):
        for point in spark(values).split():
            x, y = point.split(",")
            assert 0 <= float(x) <= 240
            assert 0 <= float(y) <= 36
    assert spark([]) == ""
    assert rate_per_s([], 0, good=True) == 0


def test_names_and_queries_are_written_for_readers() -> None:
    assert words("hold_exhausted") == "Hold exhausted"
    assert short_id("gen-short") == "gen-short"
    assert query({"a": "x y&z", "b": ""}) == "a=x+y%26z"
    assert minus([3, 1], [1, 4]) == [2, -3]
