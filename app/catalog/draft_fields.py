"""Rates and promises as an operator writes them in a command or a request, read exactly or not at all; pure.

>>> read_fields(["output=0.30", "ttft=0.5", "tpot=20ms"])
{'output': 300000, 'ttft_us': 500000, 'tpot_us': 20000}
"""

import re
from collections.abc import Iterable
from decimal import Decimal

from app.catalog.draft import SPAN_US_MAX
from app.errors import MarketError
from pricing.money import Rate, usd_per_mtok
from pricing.usage import TokenClass

_RATE = re.compile(r"\$?([0-9]{1,7}(?:\.[0-9]{1,6})?)", re.ASCII)
_SPAN = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(us|µs|ms|s|min|h)?")
_UNITS = {"us": 1, "µs": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000, None: 1_000_000}
_SPANS = {"ttft": "ttft_us", "tpot": "tpot_us"}
SHOWN_MAX = 40


class FieldRefused(MarketError):
    """A rate or promise that cannot be read."""


def read_fields(texts: Iterable[str]) -> dict[str, int]:
    """Reads ``name=value`` pairs: a token class in USD per million tokens, ``ttft`` and ``tpot`` in seconds.

    A span may name its unit (``us``, ``ms``, ``s``, ``min``, ``h``). ``tpot=0`` is a window for all tokens.

    Raises:
        FieldRefused: an unknown name, one twice, or a value that cannot be read exactly.
    """
    found: dict[str, int] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise _refused(text, f"write it as NAME=VALUE, such as output=0.30; names are {_names()}")
        key = _SPANS.get(name, name)
        if key in found:
            raise _refused(text, f"{name} is given twice")
        found[key] = read_span(name, value) if name in _SPANS else read_rate(name, value)
    return found


def read_rate(name: str, text: str) -> Rate:
    """Reads a rate in USD per million tokens, exactly to the pico-USD per token.

    Raises:
        FieldRefused: no such token class, no plain decimal number, or finer than six decimals.
    """
    if name not in set(TokenClass):
        raise _refused(name, f"no such field; names are {_names()}")
    match = _RATE.fullmatch(text.strip())
    if match is None:
        raise _refused(
            text,
            f"no {name} rate: write USD per million tokens as a plain decimal number such as 0.30, not negative and "
            "with at most six decimals",
            param=name,
        )
    return usd_per_mtok(match.group(1))


def read_span(name: str, text: str) -> int:
    """Reads a span of time in seconds, or in the unit it names, as whole µs.

    Raises:
        FieldRefused: no such number, finer than a µs, or more than a week; a ``ttft`` of nothing.
    """
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise _refused(text, f"no {name}: write seconds such as 0.5, or a unit such as 500ms", param=name)
    us = Decimal(match.group(1)) * _UNITS[match.group(2)]
    if us != us.to_integral_value():
        raise _refused(text, f"a {name} is not finer than a microsecond", param=name)
    if us > SPAN_US_MAX or (us == 0 and name == "ttft"):
        raise _refused(text, f"a {name} is above 0 and at most a week", param=name)
    return int(us)


def _names() -> str:
    return ", ".join([*TokenClass, *_SPANS])


def _refused(text: str, why: str, param: str | None = None) -> FieldRefused:
    shown = text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"
    return FieldRefused(400, "invalid_field", f"{shown!r}: {why}.", param=param)
