from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.money import (
    MoneyError,
    ceil_to_nano,
    cents_and_carry,
    floor_to_nano,
    format_usd,
    format_usd_per_mtok,
    format_usd_per_token,
    half_even_to_nano,
    total,
    usd,
    usd_per_mtok,
)


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("0", 0),
        ("12.50", 12_500_000_000),
        ("-3", -3_000_000_000),
        ("0.000000001", 1),
        (Decimal("1e-9"), 1),
        ("1E3", 10**12),
    ],
)
def test_dollars_become_whole_nano_exactly(text: str | Decimal, nano: int) -> None:
    assert usd(text) == nano


@pytest.mark.parametrize("text", ["", "abc", "NaN", "Infinity", "-Infinity", "1,5", "0.0000000001", "1e19", "1e-19"])
def test_what_is_no_exact_amount_is_refused_and_named(text: str) -> None:
    with pytest.raises(MoneyError, match="amount of dollars"):
        usd(text)


def test_a_rate_has_pico_precision_and_a_published_cached_rate_fits() -> None:
    assert usd_per_mtok("0.0025") == 2_500
    assert usd_per_mtok("75") == 75_000_000


def test_a_rate_is_never_negative_nor_finer_than_a_pico() -> None:
    with pytest.raises(MoneyError, match="must not be negative, got -1"):
        usd_per_mtok("-1")
    with pytest.raises(MoneyError, match="at most six decimals"):
        usd_per_mtok("0.0000001")


def test_rounding_directions_are_one_each() -> None:
    assert (floor_to_nano(1_999), floor_to_nano(-1)) == (1, -1)
    assert (ceil_to_nano(1_001), ceil_to_nano(1_000), ceil_to_nano(0)) == (2, 1, 0)
    assert [half_even_to_nano(pico) for pico in (499, 500, 501, 1_500, 2_500, 2_501)] == [0, 0, 1, 2, 2, 3]
    assert [half_even_to_nano(pico) for pico in (-500, -1_500, -1_501)] == [0, -2, -2]


def test_cents_and_carry_lose_nothing() -> None:
    assert cents_and_carry(123_456_789_012) == (12_345, 6_789_012)
    assert cents_and_carry(0) == (0, 0)


@given(st.integers(-(10**18), 10**18))
def test_an_amount_survives_its_own_rendering(amount: int) -> None:
    assert usd(format_usd(amount)) == amount


@given(st.integers(0, 10**15))
def test_a_rate_survives_its_own_rendering(rate: int) -> None:
    assert usd_per_mtok(format_usd_per_mtok(rate)) == rate
    assert Decimal(format_usd_per_token(rate)) * 10**12 == rate


@given(st.integers(-(10**18), 10**18))
def test_the_three_roundings_bracket_the_exact_value(pico: int) -> None:
    low, high, middle = floor_to_nano(pico), ceil_to_nano(pico), half_even_to_nano(pico)
    assert low * 1_000 <= pico <= high * 1_000
    assert high - low == (pico % 1_000 != 0)
    assert middle in {low, high}
    assert abs(middle * 1_000 - pico) <= 500


@given(st.integers(0, 10**18))
def test_cents_and_carry_sum_to_the_amount(amount: int) -> None:
    cents, carry = cents_and_carry(amount)
    assert cents * 10_000_000 + carry == amount
    assert 0 <= carry < 10_000_000


def test_renderings_keep_two_decimals_at_least_and_drop_the_rest() -> None:
    assert format_usd(1) == "0.000000001"
    assert format_usd(-12_500_000_000) == "-12.50"
    assert format_usd_per_mtok(500_000) == "0.50"
    assert format_usd_per_token(500_000) == "0.0000005"
    assert format_usd_per_token(0) == "0"


def test_a_total_adds() -> None:
    assert total([1, 2, 3]) == 6
    assert total([]) == 0
