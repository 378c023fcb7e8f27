"""How the console writes numbers: money from whole nano-USD, shares from whole counts, durations from whole µs; pure.

Nothing here goes through a float on its way to a digit that stands for money or for a promise kept.
"""

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal

from app.clock import from_us
from pricing.money import NANO_PER_USD, PICO_PER_TOKEN_PER_USD_PER_MTOK, format_usd, format_usd_per_mtok

MISSING = "–"
_US_PER_MS = 1_000
_US_PER_S = 1_000_000
_US_PER_MIN = 60 * _US_PER_S
_US_PER_H = 60 * _US_PER_MIN
_US_PER_D = 24 * _US_PER_H
_CENT = Decimal("0.01")
_HUNDRED = Decimal(100)


def usd(nano: int) -> str:
    """Money for reading at a glance: two decimals from a dollar up, three significant digits below.

    >>> usd(1_234_560_000_000), usd(-12_500_000_000), usd(4_217_000), usd(0)
    ('$1,234.56', '−$12.50', '$0.00422', '$0.00')
    """
    return _dollars(Decimal(nano) / NANO_PER_USD)


def usd_exact(nano: int) -> str:
    """Money to the last nano-USD.

    >>> usd_exact(4_217_001)
    '$0.004217001 USD'
    """
    return f"{'−' if nano < 0 else ''}${format_usd(abs(nano))} USD"


def rate(pico_per_token: int) -> str:
    """A rate in $/Mtok, unit not included: four significant digits at most.

    >>> rate(420_000), rate(2_500), rate(12_345_678), rate(0)
    ('$0.42', '$0.0025', '$12.35', '$0.00')
    """
    return _dollars(Decimal(pico_per_token) / PICO_PER_TOKEN_PER_USD_PER_MTOK, digits=4)


def rate_exact(pico_per_token: int) -> str:
    """A rate to the last pico-USD per token."""
    return f"${format_usd_per_mtok(pico_per_token)} per million tokens"


def count(number: int) -> str:
    """A whole number with thousands set apart.

    >>> count(1234567)
    '1,234,567'
    """
    return f"{number:,}".replace("-", "−")


def tokens(number: int) -> str:
    """A count of tokens, short; the exact one belongs into a title.

    >>> tokens(999), tokens(1_240), tokens(999_999), tokens(1_240_000_000), tokens(3 * 10**18)
    ('999', '1.24 k', '999 k', '1.24 B', '3,000,000 T')
    """
    for power, unit in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k")):
        if number >= power:
            places = max(0, 3 - len(str(number // power)))
            whole, part = divmod(number * 10**places // power, 10**places)
            return f"{whole:,}.{part:0{places}} {unit}" if places else f"{whole:,} {unit}"
    return str(number)


def percent(part: int, whole: int) -> str:
    """A share of a whole: one decimal, two above 99.9, and never 100 % while anything is missing.

    >>> percent(993, 1000), percent(99_996, 100_000), percent(5, 5), percent(0, 0), percent(1, 100_000)
    ('99.3 %', '99.99 %', '100 %', '–', '<0.1 %')
    """
    if whole <= 0:
        return MISSING
    if part == whole:
        return "100 %"
    share = Decimal(part) * 100 / whole
    if share > Decimal("99.9"):
        return f"{share.quantize(_CENT, ROUND_DOWN)} %"
    if 0 < share < Decimal("0.1"):
        return "<0.1 %"
    return f"{share.quantize(Decimal('0.1'), ROUND_DOWN)} %".replace("-", "−")


def margin_percent(margin: int, revenue: int) -> str:
    """Margin as a share of revenue; it may be far below zero.

    >>> margin_percent(40, 100), margin_percent(-250, 100), margin_percent(0, 0)
    ('40.0 %', '−250.0 %', '–')
    """
    if revenue <= 0:
        return MISSING
    share = Decimal(margin) * 100 / revenue
    return f"{share.quantize(Decimal('0.1'), ROUND_HALF_EVEN):,} %".replace("-", "−")


def change(old: int, new: int) -> str:
    """How far something moved, as a share of what it was; empty where it did not move or there was nothing.

    >>> change(100, 105), change(100, 90), change(100, 100), change(0, 5), change(1_000_000, 1_000_001)
    ('+5.0 %', '−10.0 %', '', '', '+<0.1 %')
    """
    if old <= 0 or new == old:
        return ""
    share = (abs(Decimal(new - old) * 100 / old)).quantize(Decimal("0.1"), ROUND_HALF_EVEN)
    size = f"{share:,}" if share else "<0.1"
    return f"{'+' if new > old else '−'}{size} %"


def until(at_us: int, now_us: int) -> str:
    """How long until a moment, coarsely; two units where it is far.

    >>> until(45_000_000, 0), until(125_000_000, 0), until(7_300_000_000, 0), until(3 * 86_400_000_000, 0), until(0, 1)
    ('in 45 s', 'in 2 min', 'in 2 h 1 min', 'in 3 d 0 h', 'now')
    """
    left = at_us - now_us
    if left <= 0:
        return "now"
    if left < _US_PER_MIN:
        return f"in {-(-left // _US_PER_S)} s"
    if left < _US_PER_H:
        return f"in {left // _US_PER_MIN} min"
    if left < _US_PER_D:
        return f"in {left // _US_PER_H} h {left % _US_PER_H // _US_PER_MIN} min"
    return f"in {left // _US_PER_D} d {left % _US_PER_D // _US_PER_H} h"


def width(part: int, whole: int) -> int:
    """A share as whole per mille, for drawing.

    >>> width(1, 3), width(5, 0), width(7, 5)
    (333, 0, 1000)
    """
    return max(0, min(1000, part * 1000 // whole)) if whole > 0 else 0


def duration(us: int | None) -> str:
    """A time span in the unit it is best read in.

    >>> duration(184_000), duration(1_420_000), duration(12), duration(900_000_000), duration(None)
    ('184 ms', '1.42 s', '12 µs', '15 min', '–')
    """
    if us is None:
        return MISSING
    if abs(us) < _US_PER_MS:
        return f"{us} µs"
    for below, unit, name in ((_US_PER_S, _US_PER_MS, "ms"), (10 * _US_PER_MIN, _US_PER_S, "s")):
        if abs(us) < below:
            return f"{_three_digits(Decimal(us) / unit)} {name}"
    if abs(us) < 10 * _US_PER_H:
        return f"{_three_digits(Decimal(us) / _US_PER_MIN)} min"
    return f"{_three_digits(Decimal(us) / _US_PER_H)} h"


def speed(tpot_us: int | None) -> str:
    """A pace in tokens per second and user.

    >>> speed(10_000), speed(None), speed(0)
    ('100', '–', '–')
    """
    return _three_digits(Decimal(_US_PER_S) / tpot_us) if tpot_us else MISSING


def moment(at_us: int | None) -> str:
    """A moment to the second, in UTC; the unit is said where it stands."""
    return MISSING if at_us is None else from_us(at_us).strftime("%Y-%m-%d %H:%M:%S")


def time_of_day(at_us: int) -> str:
    """The time of a moment, in UTC."""
    return from_us(at_us).strftime("%H:%M:%S")


def local_minute(at_us: int) -> str:
    """A moment as a form's field of date and time has it, in UTC, to the minute."""
    return from_us(at_us).strftime("%Y-%m-%dT%H:%M")


def iso(at_us: int) -> str:
    """A moment for machines."""
    return from_us(at_us).isoformat()


def ago(at_us: int | None, now_us: int) -> str:
    """How long ago a moment was, coarsely.

    >>> ago(0, 5_000_000), ago(0, 125_000_000), ago(0, 7_300_000_000), ago(0, 3 * 86_400_000_000), ago(None, 0)
    ('5 s ago', '2 min ago', '2 h ago', '3 d ago', 'never')
    """
    if at_us is None:
        return "never"
    passed = max(0, now_us - at_us)
    if passed < _US_PER_MIN:
        return f"{passed // _US_PER_S} s ago"
    for below, unit, name in ((_US_PER_H, _US_PER_MIN, "min"), (_US_PER_D, _US_PER_H, "h")):
        if passed < below:
            return f"{passed // unit} {name} ago"
    return f"{passed // _US_PER_D} d ago"


def _dollars(amount: Decimal, digits: int = 3) -> str:
    size = abs(amount)
    places = 2 if size == 0 or size >= 1 else max(2, digits - 1 - size.adjusted())
    rounded = size.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN)
    text = f"{rounded:,f}"
    whole, _, fraction = text.partition(".")
    trimmed = fraction.rstrip("0").ljust(2, "0")
    return f"{'−' if amount < 0 else ''}${whole}.{trimmed}"


def _three_digits(value: Decimal) -> str:
    """Three significant digits, without trailing zeros after the point."""
    places = max(0, 2 - value.adjusted()) if value else 0
    text = f"{value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN):,f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")
