"""Rates and promises as an operator types them, and back; pure.

Every field says its unit: a rate is in $ per million tokens by its heading, a span of time names its own, so that
seconds are never taken for milliseconds. What is written can be read back to the same integer.
"""

import re
from decimal import Decimal

from pricing.money import Rate, format_usd_per_mtok, usd_per_mtok
from pricing.slo import Slo
from pricing.usage import Rates

WINDOW = "window"
SPAN_US_MAX = 7 * 86_400_000_000
"""The longest promise that can be typed: a week."""

_RATE = re.compile(r"\$?([0-9]{1,6}(?:\.[0-9]{1,6})?)")
_SPAN = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(µs|us|ms|s|min|h)")
_UNITS = {"µs": 1, "us": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000}
_RATE_FIELDS = ("input", "cached", "cache_write", "output")
FIELDS = (*_RATE_FIELDS, "ttft", "tpot")
"""What can be typed of one tier, in the order in which it is shown."""


class FieldRefused(ValueError):
    """A field that cannot be read; the message stands beside it."""


def read_rate(text: str) -> Rate:
    """Reads a rate in $ per million tokens.

    Raises:
        FieldRefused: it is none, or finer or larger than a rate can be.

    >>> read_rate("0.42"), read_rate(" $12 ")
    (420000, 12000000)
    """
    found = _RATE.fullmatch(text.strip())
    if found is None:
        raise FieldRefused(
            f"{_shown(text)} is no rate: write dollars per million tokens, such as 0.42, below 1000000 and with at "
            "most six decimals"
        )
    return usd_per_mtok(found.group(1))


def read_span(text: str) -> int:
    """Reads a span of time with its unit, in µs.

    Raises:
        FieldRefused: no number, no unit, finer than a µs, nothing, or more than a week.

    >>> read_span("500 ms"), read_span("1.5 s"), read_span("15min")
    (500000, 1500000, 900000000)
    """
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise FieldRefused(f"{_shown(text)} is no span of time: write a number and its unit, such as 500 ms or 1.5 s")
    us = Decimal(found.group(1)) * _UNITS[found.group(2)]
    if us != us.to_integral_value():
        raise FieldRefused(f"{_shown(text)} is finer than a microsecond")
    if not 0 < us <= SPAN_US_MAX:
        raise FieldRefused(f"{_shown(text)} is out of range: more than nothing, at most a week")
    return int(us)


def read_gap(text: str) -> int:
    """Reads how often a further token is due, in µs; 0 for a window, in which all tokens have one deadline.

    Raises:
        FieldRefused: it is neither a span nor the word.

    >>> read_gap("6.6 ms"), read_gap("window")
    (6600, 0)
    """
    if text.strip().lower() == WINDOW:
        return 0
    try:
        return read_span(text)
    except FieldRefused as error:
        raise FieldRefused(f"{error}; or {WINDOW} where the whole answer has one deadline") from error


def span_text(us: int) -> str:
    """A span as it is typed, to the last µs.

    >>> span_text(900_000_000), span_text(1_420_000), span_text(6_600), span_text(12)
    ('15 min', '1.42 s', '6.6 ms', '0.012 ms')
    """
    if us >= _UNITS["min"] and us % _UNITS["min"] == 0:
        return f"{us // _UNITS['min']} min"
    unit = "s" if us >= _UNITS["s"] else "ms"
    return f"{_plain(Decimal(us) / _UNITS[unit])} {unit}"


def gap_text(us: int) -> str:
    """How often a further token is due, as it is typed."""
    return span_text(us) if us else WINDOW


def texts_of(rates: Rates, slo: Slo) -> dict[str, str]:
    """A rate card's fields as they are typed, by :data:`FIELDS`."""
    written = {name.value: format_usd_per_mtok(rate) for name, rate in rates.by_class().items()}
    return {**written, "ttft": span_text(slo.ttft_us), "tpot": gap_text(slo.tpot_us)}


def _plain(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _shown(text: str) -> str:
    return f"'{text.strip()[:40]}'" if text.strip() else "an empty field"
