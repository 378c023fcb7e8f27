"""What a request may cost at most, before it runs, and what it did cost, after it was delivered.

Laws (tests/laws/test_rating.py): a charge never exceeds its quote; delaying, dropping or re-chunking tokens never
raises a charge; the net is rounded once, down, and the lines sum to it, each within one nano of its exact value.

Why the net and not each line: were every line rounded down by itself, a token that slips from one line to a cheaper one
could save the fraction of both, and a delay would raise the bill by a nano. So the lines are the differences of a
running sum that is rounded down after each rung.
"""

from dataclasses import dataclass
from enum import StrEnum

from pricing.goodput import Grade
from pricing.money import ZERO, NanoUsd, ceil_to_nano, floor_to_nano, total
from pricing.slo import Ladder, Rung, Tier
from pricing.usage import Usage


class Ending(StrEnum):
    """Who or what ended an answer; it decides whether anything is owed."""

    STOP = "stop"
    LENGTH = "length"
    HOLD_EXHAUSTED = "hold_exhausted"
    HANGUP = "hangup"
    PROVIDER_ERROR = "provider_error"
    PROVIDER_TIMEOUT = "provider_timeout"
    CRASH = "crash"

    @property
    def is_billable(self) -> bool:
        """True when the good tokens so far are owed; a provider's or our own failure costs the customer nothing."""
        return self not in _FREE_ENDINGS


_FREE_ENDINGS = frozenset({Ending.PROVIDER_ERROR, Ending.PROVIDER_TIMEOUT, Ending.CRASH})


@dataclass(frozen=True, slots=True)
class Quote:
    """The most a request can cost: every bound token at the dearest rate of the tier served.

    Attributes:
        input_ceiling: nano-USD for ``input_bound`` input tokens, at the dearest input class.
        ceiling: nano-USD for input and ``output_bound`` output tokens.
    """

    tier: Tier
    input_bound: int
    output_bound: int
    input_ceiling: NanoUsd
    ceiling: NanoUsd


def quote(ladder: Ladder, input_bound: int, output_bound: int) -> Quote:
    """Bounds the price of a request before it runs.

    Args:
        ladder: the served tier's promise and rates, and those below.
        input_bound: the most input tokens the request can have.
        output_bound: the most output tokens it can produce.
    """
    return Quote(
        tier=ladder.served.tier,
        input_bound=input_bound,
        output_bound=output_bound,
        input_ceiling=ceiling(ladder.served, input_bound, 0),
        ceiling=ceiling(ladder.served, input_bound, output_bound),
    )


def ceiling(rung: Rung, input_tokens: int, output_tokens: int) -> NanoUsd:
    """What ``input_tokens`` and ``output_tokens`` can cost at most at one rung, rounded up; the size of a hold."""
    return ceil_to_nano(rung.rates.input_dearest * input_tokens + rung.rates.output * output_tokens)


@dataclass(frozen=True, slots=True)
class ChargeLine:
    """What the tokens that met one tier's deadline cost at that tier's rates.

    Attributes:
        input: the input tokens, on the one line whose first-token deadline was met; empty usage elsewhere.
        tokens_output: output tokens that met this tier's deadline and no better one.
        amount: nano-USD; the running sum through this line, rounded down, less that of the lines before it.
    """

    tier: Tier
    input: Usage
    tokens_output: int
    amount: NanoUsd


@dataclass(frozen=True, slots=True)
class Charge:
    """What a delivered request costs.

    Attributes:
        gross: nano-USD of all its tokens at the rates of the tier served.
        lines: one per rung, best first.
        adjustment: gross − net: what lateness or failure gave back.
        net: nano-USD owed: all lines together, rounded once, down.
    """

    tier: Tier
    ending: Ending
    gross: NanoUsd
    lines: tuple[ChargeLine, ...]
    adjustment: NanoUsd
    net: NanoUsd


def rate(ladder: Ladder, usage: Usage, grade: Grade, ending: Ending = Ending.STOP) -> Charge:
    """Prices a delivery by the goodput in it.

    Args:
        ladder: from the price book stamped at admission.
        usage: tokens of each class; ``usage.output`` must equal the tokens graded.
        grade: which deadline each token met.
        ending: who ended the answer; a failure of ours or the provider's makes it free.

    Raises:
        ValueError: usage and grade disagree about the number of output tokens.
    """
    if usage.output != grade.tokens:
        raise ValueError(f"usage has {usage.output} output tokens, but {grade.tokens} were graded")
    served = ladder.served
    gross = floor_to_nano(served.rates.input_pico(usage) + served.rates.output_pico(usage.output))
    lines = _lines(ladder, usage, grade, billable=ending.is_billable)
    net = total(line.amount for line in lines)
    return Charge(served.tier, ending, gross, lines, NanoUsd(gross - net), net)


def _lines(ladder: Ladder, usage: Usage, grade: Grade, *, billable: bool) -> tuple[ChargeLine, ...]:
    met = dict(grade.tokens_met)
    lines: list[ChargeLine] = []
    running = 0
    for rung in ladder:
        counted = Usage(usage.input, usage.cached, usage.cache_write) if grade.input_tier is rung.tier else Usage()
        tokens_output = met.get(rung.tier, 0)
        before = running
        running += rung.rates.input_pico(counted) + rung.rates.output_pico(tokens_output)
        amount = NanoUsd(floor_to_nano(running) - floor_to_nano(before)) if billable else ZERO
        lines.append(ChargeLine(rung.tier, counted, tokens_output, amount))
    return tuple(lines)
