"""The numbers operators steer by, as plain values; pure. Money is integer nano-USD, times µs since the epoch."""

from dataclasses import dataclass, field

from pricing.slo import Tier

US_PER_DAY = 86_400_000_000
US_PER_MINUTE = 60_000_000
PERCENTILES = (50, 95, 99)
ATTAINMENT_TARGET_PERCENT = 99
"""Promises are set on the 99th percentile of what was measured, so 99 % of requests are meant to be wholly good."""


def day_began_us(now_us: int) -> int:
    """When the UTC day of a moment began.

    >>> day_began_us(86_400_000_001)
    86400000000
    """
    return now_us - now_us % US_PER_DAY


@dataclass(frozen=True, slots=True)
class Sums:
    """What a set of accepted requests adds up to.

    Attributes:
        accepted: requests that were admitted, whatever became of them.
        attained: of them, those whose every token was good.
        failed: of them, those that a provider or we broke; the customer owed nothing.
        tokens_output: output tokens delivered; ``tokens_good`` of them met the deadline of the tier served.
        gross: at the rates of the tier served, before lateness and failure.
        adjustment: what lateness and failure gave back.
        revenue: what customers paid: net, at most what was held.
        cost: what the tokens cost, at the cost per token that each deployment is rated at.
    """

    accepted: int = 0
    attained: int = 0
    failed: int = 0
    tokens_input: int = 0
    tokens_output: int = 0
    tokens_good: int = 0
    gross: int = 0
    adjustment: int = 0
    revenue: int = 0
    cost: int = 0

    @property
    def margin(self) -> int:
        """Revenue less token cost."""
        return self.revenue - self.cost

    def plus(self, other: "Sums") -> "Sums":
        """Both sets together."""
        return Sums(
            self.accepted + other.accepted,
            self.attained + other.attained,
            self.failed + other.failed,
            self.tokens_input + other.tokens_input,
            self.tokens_output + other.tokens_output,
            self.tokens_good + other.tokens_good,
            self.gross + other.gross,
            self.adjustment + other.adjustment,
            self.revenue + other.revenue,
            self.cost + other.cost,
        )


@dataclass(frozen=True, slots=True)
class Minute:
    """Tokens delivered in one minute, and the money in it.

    Attributes:
        at_us: when the minute began.
    """

    at_us: int
    tokens_output: int
    tokens_good: int
    revenue: int
    cost: int


@dataclass(frozen=True, slots=True)
class DayFigures:
    """The UTC day so far, and its last hour minute by minute.

    Attributes:
        by_tier: by tier served; every tier is there.
        minutes: the last sixty, oldest first, empty ones too.
        as_of_us: when it was read.
    """

    by_tier: dict[Tier, Sums]
    minutes: tuple[Minute, ...]
    as_of_us: int

    @property
    def total(self) -> Sums:
        """All tiers together."""
        total = Sums()
        for sums in self.by_tier.values():
            total = total.plus(sums)
        return total


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a provider's recent answers were, in µs; None where nothing was delivered.

    Attributes:
        answers: how many the percentiles rest on.
        ttft_us: percentile → µs from the request to its first token.
        tpot_us: percentile → mean µs per token after the first.
    """

    answers: int = 0
    failed: int = 0
    attained: int = 0
    tokens_output: int = 0
    tokens_good: int = 0
    ttft_us: dict[int, int] = field(default_factory=dict[int, int])
    tpot_us: dict[int, int] = field(default_factory=dict[int, int])


@dataclass(frozen=True, slots=True)
class Answer:
    """What of one delivered answer a provider's pace is read from.

    Attributes:
        decode_us: from first to last token; None for an answer that left as one body.
    """

    offer_id: str
    is_failed: bool
    is_attained: bool
    tokens_output: int
    tokens_good: int
    ttft_us: int | None
    decode_us: int | None


def paces(answers: list[Answer]) -> dict[str, Pace]:
    """How fast each offer was, over the given answers."""
    by_offer: dict[str, list[Answer]] = {}
    for answer in answers:
        by_offer.setdefault(answer.offer_id, []).append(answer)
    return {offer_id: _pace(of_offer) for offer_id, of_offer in by_offer.items()}


def percentile(values: list[int], percent: int) -> int:
    """The smallest value that at least ``percent`` percent of all values do not exceed (nearest rank).

    >>> percentile([5, 1, 4, 2, 3], 50), percentile([7], 99)
    (3, 7)
    """
    ordered = sorted(values)
    return ordered[max(0, -(-percent * len(ordered) // 100) - 1)]


def _pace(answers: list[Answer]) -> Pace:
    ttfts = [answer.ttft_us for answer in answers if answer.ttft_us is not None]
    tpots = [
        answer.decode_us // (answer.tokens_output - 1)
        for answer in answers
        if answer.decode_us is not None and answer.tokens_output > 1
    ]
    return Pace(
        answers=len(answers),
        failed=sum(answer.is_failed for answer in answers),
        attained=sum(answer.is_attained for answer in answers),
        tokens_output=sum(answer.tokens_output for answer in answers),
        tokens_good=sum(answer.tokens_good for answer in answers),
        ttft_us={percent: percentile(ttfts, percent) for percent in PERCENTILES} if ttfts else {},
        tpot_us={percent: percentile(tpots, percent) for percent in PERCENTILES} if tpots else {},
    )


def filled_minutes(found: dict[int, Minute], now_us: int, count: int) -> tuple[Minute, ...]:
    """The last ``count`` minutes up to now, oldest first, with zeros where nothing happened.

    Args:
        found: by the minute's number since the epoch.
        now_us: the last minute is the one it lies in.
        count: how many.
    """
    last = now_us // US_PER_MINUTE
    return tuple(
        found.get(number) or Minute(number * US_PER_MINUTE, 0, 0, 0, 0) for number in range(last - count + 1, last + 1)
    )
