"""Which promise each delivered token kept: the waterfall that turns a delivery into goodput.

Each token is *good* at the best tier, not above the one served, whose deadline it met.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pricing.slo import Ladder, Tier

Micros = NDArray[np.int64]


class TimelineError(ValueError):
    """A timeline that no delivery could have: unequal lengths, counts that fall, or time that runs backwards."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """When the tokens of one answer were handed to the customer's transport.

    A timeline is a list of chunks; a token belongs to the chunk that completes it.

    Attributes:
        at_us: per chunk, µs since the request was read. Shape (chunks,).
        tokens_through: per chunk, how many tokens had arrived with it and before it. Shape (chunks,).
        excused_us: per chunk, µs up to it in which the customer refused writes while a token waited. Shape (chunks,).
        streamed: False when the whole answer left as one body: then every token, and the input, is due when the
            last token is.
    """

    at_us: tuple[int, ...]
    tokens_through: tuple[int, ...]
    excused_us: tuple[int, ...]
    streamed: bool = True

    def __post_init__(self) -> None:
        if not len(self.at_us) == len(self.tokens_through) == len(self.excused_us):
            raise TimelineError(
                f"unequal lengths: {len(self.at_us)} times, {len(self.tokens_through)} counts, "
                f"{len(self.excused_us)} excuses"
            )
        for name in ("at_us", "tokens_through", "excused_us"):
            values: tuple[int, ...] = getattr(self, name)
            if values and (values[0] < 0 or any(b < a for a, b in pairwise(values))):
                raise TimelineError(f"{name} must start at or above 0 and never fall")

    @property
    def tokens(self) -> int:
        """How many tokens were delivered."""
        return self.tokens_through[-1] if self.tokens_through else 0


@dataclass(frozen=True, slots=True)
class Grade:
    """How many output tokens met each tier's deadline, and at which tier the input is good.

    Attributes:
        tokens_met: output tokens per rung of the ladder, best first. A token counts once, at the best tier it met.
        tokens_missed: output tokens that met no deadline of the ladder.
        input_tier: the best tier whose first-token deadline was met; None when none was.
    """

    tokens_met: tuple[tuple[Tier, int], ...]
    tokens_missed: int
    input_tier: Tier | None

    @property
    def tokens(self) -> int:
        """All tokens graded."""
        return self.tokens_missed + sum(count for _, count in self.tokens_met)

    @property
    def tokens_good(self) -> int:
        """Tokens that met the deadline of the tier served."""
        return self.tokens_met[0][1]

    @property
    def attained(self) -> bool:
        """True when the answer had tokens and every one was good at the tier served, the input included."""
        return self.tokens > 0 and self.tokens_good == self.tokens and self.input_tier is self.tokens_met[0][0]


def grade(timeline: Timeline, ladder: Ladder) -> Grade:
    """Grades every token of a delivery against the ladder of the tier served.

    >>> from pricing.slo import Rung, Slo
    >>> from pricing.usage import Rates
    >>> from pricing.money import Rate
    >>> free = Rates(Rate(0), Rate(0), Rate(0), Rate(0))
    >>> ladder = Ladder((Rung(Tier.PREMIUM, Slo(100, 10), free), Rung(Tier.STANDARD, Slo(200, 50), free)))
    >>> grade(Timeline(at_us=(100, 111), tokens_through=(1, 2), excused_us=(0, 0)), ladder)
    Grade(tokens_met=((<Tier.PREMIUM: 'premium'>, 1), (<Tier.STANDARD: 'standard'>, 1)), tokens_missed=0, input_tier=<Tier.PREMIUM: 'premium'>)
    """  # noqa: E501 (one line of a doctest's output cannot be broken)
    through = np.asarray(timeline.tokens_through, dtype=np.int64)
    per_chunk = np.diff(through, prepend=0)
    at_us = np.repeat(np.asarray(timeline.at_us, dtype=np.int64), per_chunk)
    excused_us = np.repeat(np.asarray(timeline.excused_us, dtype=np.int64), per_chunk)
    return grade_tokens(at_us, excused_us, ladder, streamed=timeline.streamed)


def grade_tokens(at_us: Micros, excused_us: Micros, ladder: Ladder, *, streamed: bool = True) -> Grade:
    """Grades tokens given one by one; what :func:`grade` and the simulator share.

    Args:
        at_us: arrival of each token, µs since the request was read. Shape (tokens,).
        excused_us: excused µs up to each token. Shape (tokens,).
        ladder: the promise of the tier served and of all below it.
        streamed: as :attr:`Timeline.streamed`.
    """
    tokens = len(at_us)
    if not tokens:
        return Grade(tuple((rung.tier, 0) for rung in ladder), 0, None)
    index = np.arange(tokens, dtype=np.int64) if streamed else np.full(tokens, tokens - 1, dtype=np.int64)
    lateness_us = at_us - excused_us
    open_tokens = np.ones(tokens, dtype=np.bool_)
    tokens_met: list[tuple[Tier, int]] = []
    input_tier: Tier | None = None
    for rung in ladder:
        met = open_tokens & (lateness_us <= rung.slo.ttft_us + index * rung.slo.tpot_us)
        tokens_met.append((rung.tier, int(np.count_nonzero(met))))
        if input_tier is None and met[0]:
            input_tier = rung.tier
        open_tokens &= ~met
    return Grade(tuple(tokens_met), int(np.count_nonzero(open_tokens)), input_tier)
