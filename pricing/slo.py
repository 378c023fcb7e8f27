"""When each token is due: the promise of a tier, and the ladder of promises a request can fall down.

The clock counts integer microseconds since ``requested_at``, when the first byte of the request was read; queueing,
retries and failover are all inside it. Token ``i`` (from 0) is due at

    ``D_i = ttft_us + i · tpot_us + excused_us(i)``

where ``excused_us(i)`` is the time, up to token ``i``, in which the customer's own transport refused writes while a
token was waiting.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from pricing.usage import Rates

US_PER_S = 1_000_000


class Tier(StrEnum):
    """What is sold, best first."""

    PREMIUM = "premium"
    STANDARD = "standard"
    BULK = "bulk"

    @property
    def rank(self) -> int:
        """0 for the best tier; a larger rank is a lesser promise."""
        return _RANK[self]


_RANK = {Tier.PREMIUM: 0, Tier.STANDARD: 1, Tier.BULK: 2}


class LadderError(ValueError):
    """Rungs that do not form a ladder: none at all, or not in order from the best tier down."""


@dataclass(frozen=True, slots=True)
class Slo:
    """A promise: the first token within ``ttft_us``, each further one ``tpot_us`` later; early tokens bank slack.

    A window (bulk) is the same promise with ``tpot_us = 0``: every token is due at ``ttft_us``.
    """

    ttft_us: int
    tpot_us: int

    def __post_init__(self) -> None:
        if self.ttft_us <= 0 or self.tpot_us < 0:
            raise ValueError(f"a promise needs ttft_us > 0 and tpot_us >= 0, got {self.ttft_us} and {self.tpot_us}")

    def deadline_us(self, index: int, excused_us: int = 0) -> int:
        """When token ``index`` (from 0) is due, in µs since the request was read.

        >>> Slo(ttft_us=500_000, tpot_us=10_000).deadline_us(index=3, excused_us=7)
        530007
        """
        return self.ttft_us + index * self.tpot_us + excused_us

    @property
    def is_window(self) -> bool:
        """True when all tokens share one deadline."""
        return self.tpot_us == 0

    @property
    def tok_s_user(self) -> float | None:
        """The promised speed in tokens/s/user; None for a window."""
        return US_PER_S / self.tpot_us if self.tpot_us else None


@dataclass(frozen=True, slots=True)
class Rung:
    """One tier's promise and what its tokens cost when the promise was kept."""

    tier: Tier
    slo: Slo
    rates: Rates


@dataclass(frozen=True, slots=True)
class Ladder:
    """The promise and rates of the tier served, and of all tiers below it, best first.

    Raises:
        LadderError: no rungs, or rungs out of order.
    """

    rungs: tuple[Rung, ...]

    def __post_init__(self) -> None:
        if not self.rungs:
            raise LadderError("a ladder needs at least the rung of the tier served")
        ranks = [rung.tier.rank for rung in self.rungs]
        if ranks != sorted(set(ranks)):
            raise LadderError(f"rungs must run from the best tier down, got {[r.tier.value for r in self.rungs]}")

    def __iter__(self) -> Iterator[Rung]:
        return iter(self.rungs)

    @property
    def served(self) -> Rung:
        """The rung of the tier served."""
        return self.rungs[0]
