"""Turns what was delivered and what the backend reported into a graded, priced, explained answer; pure."""

from dataclasses import dataclass

from app.ledger.holds import LateCause
from app.metering.delivery import Delivery
from pricing.goodput import Grade, Timeline, grade
from pricing.money import NanoUsd, half_even_to_nano
from pricing.rating import Charge, Ending, rate
from pricing.slo import Ladder
from pricing.usage import Rates, Usage


@dataclass(frozen=True, slots=True)
class Reported:
    """What is known about token counts when an answer ends.

    Attributes:
        usage: the backend's final count, or ours when it gave none.
        hidden_tokens: output tokens generated but never shown.
        source: ``provider`` or ``counted``.
    """

    usage: Usage
    hidden_tokens: int
    source: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """What was reserved: the customer never pays for more tokens than these; the excess is ours.

    Attributes:
        input: prompt tokens the quote reserved.
        output: output tokens held when the answer ended.
    """

    input: int
    output: int


@dataclass(frozen=True, slots=True)
class Metered:
    """One answer, measured and priced.

    Attributes:
        usage: what is billed: the reported counts within the bounds, and only tokens that were delivered.
        cost: nano-USD that everything reported costs us, delivered or not.
        ended_us: when it ended, µs since the request was read.
    """

    usage: Usage
    timeline: Timeline
    grade: Grade
    charge: Charge
    cost: NanoUsd
    late_cause: LateCause
    reported: Reported
    ended_us: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Who ended an answer, and when.

    Attributes:
        at_us: µs since the request was read.
    """

    ending: Ending
    at_us: int


@dataclass(frozen=True, slots=True)
class Supply:
    """Where an answer came from, as far as the meter cares.

    Attributes:
        cost: what a token of each class costs us there, pico-USD per token.
        platform_us: µs between reading the request and handing it to the provider.
    """

    cost: Rates
    platform_us: int


def meter(
    delivery: Delivery, reported: Reported, bounds: Bounds, ladder: Ladder, supply: Supply, finish: Finish
) -> Metered:
    """Grades and prices one answer.

    Args:
        delivery: when each chunk was handed over.
        reported: how many tokens there were.
        bounds: how many of them may be billed.
        ladder: promises and rates, from the book stamped at admission.
        supply: where it came from.
        finish: who ended it, and when.
    """
    timeline = delivery.timeline(reported.usage.output, hidden_tokens=reported.hidden_tokens, tokens_max=bounds.output)
    usage = within(reported.usage, bounds.input, timeline.tokens)
    graded = grade(timeline, ladder)
    return Metered(
        usage=usage,
        timeline=timeline,
        grade=graded,
        charge=rate(ladder, usage, graded, finish.ending),
        cost=token_cost(supply.cost, reported.usage),
        late_cause=late_cause(timeline, graded, ladder, supply.platform_us),
        reported=reported,
        ended_us=finish.at_us,
    )


def within(usage: Usage, input_bound: int, output: int) -> Usage:
    """The usage cut to what may be billed; fresh input is cut first, being the dearest to the customer.

    >>> within(Usage(input=90, cached=30, output=5), input_bound=100, output=4)
    Usage(input=70, cached=30, cache_write=0, output=4)
    """
    excess = max(0, usage.input_total - input_bound)
    counts: list[int] = []
    for count in (usage.input, usage.cache_write, usage.cached):
        cut = min(count, excess)
        excess -= cut
        counts.append(count - cut)
    fresh, written, cached = counts
    return Usage(input=fresh, cached=cached, cache_write=written, output=output)


def token_cost(rates: Rates, usage: Usage) -> NanoUsd:
    """What tokens cost us, rounded half to even."""
    return half_even_to_nano(rates.input_pico(usage) + rates.output_pico(usage.output))


def late_cause(timeline: Timeline, graded: Grade, ladder: Ladder, platform_us: int) -> LateCause:
    """Who made tokens late: the platform, when without its own time every promise had been kept; else the provider.

    Args:
        timeline: the delivery.
        graded: its grade.
        ladder: the promises.
        platform_us: µs between reading the request and handing it to the provider.
    """
    if graded.attained or not graded.tokens:
        return LateCause.NONE
    sooner = Timeline(
        tuple(max(0, at_us - platform_us) for at_us in timeline.at_us),
        timeline.tokens_through,
        timeline.excused_us,
        streamed=timeline.streamed,
    )
    return LateCause.PLATFORM if grade(sooner, ladder).attained else LateCause.PROVIDER
