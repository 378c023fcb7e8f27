"""The price calculator: the most that a request of given lengths costs under a book, as a quote would say; pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from pricing.pricebook import RateCard
from pricing.rating import ceiling
from pricing.slo import Tier

TOKENS_MAX = 100_000_000
INPUT_DEFAULT = 1_000
OUTPUT_DEFAULT = 500


@dataclass(frozen=True, slots=True)
class Asked:
    """What a calculation is asked for.

    Attributes:
        problem: why the numbers cannot be taken; empty where they can.
    """

    model: str
    tier: Tier
    input_tokens: int
    output_tokens: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Calculation:
    """A ceiling and what it is made of.

    Attributes:
        input_rate: the dearest that an input token can be, pico-USD per token.
        ceiling: nano-USD, rounded up as a hold is.
    """

    input_rate: int
    output_rate: int
    ceiling: int


def read_asked(query: Mapping[str, str], models: tuple[str, ...]) -> Asked:
    """Reads a calculator's form; what is missing has a default.

    >>> read_asked({"calc_input": "2000", "calc_tier": "bulk"}, ("m",))
    Asked(model='m', tier=<Tier.BULK: 'bulk'>, input_tokens=2000, output_tokens=500, problem='')
    """
    model, tier = query.get("calc_model", ""), query.get("calc_tier", "")
    problems: list[str] = []
    counts = [
        _count(query.get(f"calc_{name}", ""), default, problems)
        for name, default in (("input", INPUT_DEFAULT), ("output", OUTPUT_DEFAULT))
    ]
    return Asked(
        model=model if model in models else models[0] if models else "",
        tier=Tier(tier) if tier in set(Tier) else Tier.STANDARD,
        input_tokens=counts[0],
        output_tokens=counts[1],
        problem="; ".join(problems),
    )


def calculation(cards: Mapping[tuple[str, Tier], RateCard], asked: Asked) -> Calculation | None:
    """What it costs at most; None where that tier of that model is not sold."""
    card = cards.get((asked.model, asked.tier))
    if card is None:
        return None
    rates = card.rung.rates
    return Calculation(
        input_rate=rates.input_dearest,
        output_rate=rates.output,
        ceiling=ceiling(card.rung, asked.input_tokens, asked.output_tokens),
    )


def _count(text: str, default: int, problems: list[str]) -> int:
    text = text.strip().replace(",", "")
    if not text:
        return default
    if text.isascii() and text.isdigit() and len(text) < 12 and int(text) <= TOKENS_MAX:  # noqa: PLR2004 (fits)
        return int(text)
    problems.append(f"'{text[:40]}' is no count of tokens: write a whole number, at most {TOKENS_MAX:,}")
    return default
