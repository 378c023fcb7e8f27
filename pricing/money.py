"""Money in whole nano-dollars, rates in whole pico-dollars per token, and the only rounding in the house.

Units:
    * A **rate** is an integer number of pico-USD per token, which is the same number as micro-USD per million tokens.
    * An **amount** is an integer number of nano-USD (10⁻⁹ USD). A nano per token would be too coarse for a rate:
      a published cached-input rate is 2.5 nano-USD.

No float ever becomes money: text and :class:`~decimal.Decimal` do, exactly or not at all.
"""

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import NewType

NanoUsd = NewType("NanoUsd", int)
PicoUsd = NewType("PicoUsd", int)
Rate = NewType("Rate", int)
"""Pico-USD per token, equal to micro-USD per million tokens."""

PICO_PER_NANO = 1_000
NANO_PER_USD = 1_000_000_000
NANO_PER_CENT = 10_000_000
PICO_PER_TOKEN_PER_USD_PER_MTOK = 1_000_000
ZERO = NanoUsd(0)
EXPONENT_MAX = 18
"""Amounts beyond 10¹⁸ (or finer than 10⁻¹⁸) are refused before they are scaled."""


class MoneyError(ValueError):
    """An amount or rate that cannot be represented exactly, or lies outside what the ledger can hold."""


def usd(text: str | Decimal) -> NanoUsd:
    """Reads an amount of dollars exactly.

    Args:
        text: dollars as text or Decimal, with at most nine decimals, for example ``"12.50"``.

    Raises:
        MoneyError: the text is no finite number or is finer than one nano-USD.

    >>> usd("12.50")
    12500000000
    """
    return NanoUsd(_exactly(text, NANO_PER_USD, "an amount of dollars", "nine"))


def usd_per_mtok(text: str | Decimal) -> Rate:
    """Reads a rate in dollars per million tokens exactly.

    Raises:
        MoneyError: the text is no finite number, is negative, or is finer than one pico-USD per token.

    >>> usd_per_mtok("0.0025")
    2500
    """
    rate = _exactly(text, PICO_PER_TOKEN_PER_USD_PER_MTOK, "a rate in USD per million tokens", "six")
    if rate < 0:
        raise MoneyError(f"a rate must not be negative, got {text} USD per million tokens")
    return Rate(rate)


def format_usd(amount: int) -> str:
    """Renders nano-USD as a plain decimal string of dollars, at least two and at most nine decimals.

    >>> format_usd(12_500_000_000), format_usd(-1)
    ('12.50', '-0.000000001')
    """
    return _plain(amount, 9)


def format_usd_per_mtok(rate: int) -> str:
    """Renders a rate as a decimal string of USD per million tokens.

    >>> format_usd_per_mtok(2_500)
    '0.0025'
    """
    return _plain(rate, 6)


def format_usd_per_token(rate: int) -> str:
    """Renders a rate as a decimal string of USD per single token, the unit of public model lists.

    >>> format_usd_per_token(500_000)
    '0.0000005'
    """
    return _plain(rate, 12, decimals_min=0)


def floor_to_nano(pico: int) -> NanoUsd:
    """Rounds a customer's line down to whole nano-USD: the fraction is the customer's.

    >>> floor_to_nano(1_999)
    1
    """
    return NanoUsd(pico // PICO_PER_NANO)


def ceil_to_nano(pico: int) -> NanoUsd:
    """Rounds a reservation up to whole nano-USD, so that a hold always covers its line.

    >>> ceil_to_nano(1_001)
    2
    """
    return NanoUsd(-(-pico // PICO_PER_NANO))


def half_even_to_nano(pico: int) -> NanoUsd:
    """Rounds a provider's cost to the nearest nano-USD, ties to even, so that costs carry no bias.

    >>> half_even_to_nano(1_500), half_even_to_nano(2_500)
    (2, 2)
    """
    whole, rest = divmod(pico, PICO_PER_NANO)
    half = PICO_PER_NANO // 2
    return NanoUsd(whole + (rest > half or (rest == half and whole % 2 == 1)))


def cents_and_carry(amount: int) -> tuple[int, NanoUsd]:
    """Splits nano-USD into whole cents to invoice and the remainder that is carried forward.

    >>> cents_and_carry(123_456_789_012)
    (12345, 6789012)
    """
    cents, carry = divmod(amount, NANO_PER_CENT)
    return cents, NanoUsd(carry)


def total(amounts: Iterable[int]) -> NanoUsd:
    """Adds amounts of nano-USD."""
    return NanoUsd(sum(amounts))


def _exactly(text: str | Decimal, units_per_one: int, what: str, decimals: str) -> int:
    try:
        value = Decimal(text)
    except (InvalidOperation, TypeError, ValueError) as error:
        raise MoneyError(f"{text!r} is not {what}; write it as a decimal number such as '0.25'") from error
    if not value.is_finite():
        raise MoneyError(f"{text!r} is not {what}; it must be finite")
    if abs(value.adjusted()) > EXPONENT_MAX:
        raise MoneyError(f"{text!r} is out of range for {what}")
    scaled = value * units_per_one
    if scaled != scaled.to_integral_value():
        raise MoneyError(f"{text!r} is finer than {what} can be; at most {decimals} decimals")
    return int(scaled)


def _plain(units: int, scale: int, decimals_min: int = 2) -> str:
    whole, fraction = divmod(abs(units), 10**scale)
    digits = f"{fraction:0{scale}d}".rstrip("0").ljust(decimals_min, "0")
    sign = "-" if units < 0 else ""
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"
