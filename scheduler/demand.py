"""How much of each tier is being asked for, so that lesser work can leave better work its room.

A count that halves every ``half_life_us`` estimates the rate of arrivals: arrivals at rate λ over the last T µs bring
it to ``λ · half_life / ln 2 · (1 − 2^(−T / half_life))``, which is solved for λ. A first request counts as if one came
every ``_SEEN_US_MIN``, until time tells better.
"""

import math
from dataclasses import dataclass

from pricing.slo import US_PER_S, Rung, Tier
from scheduler.jobs import Job

_WEIGHT = 0.1
"""Weight of the newest request in the running means."""
_SEEN_US_MIN = 2 * US_PER_S
_COUNT_MIN = 0.05
"""Below this the last request is so long ago that nobody is expected."""


@dataclass(slots=True)
class TierDemand:
    """What is asked of one model at one tier.

    Attributes:
        rung: promise and rates, as last asked for.
        since_us: when it was first asked for.
        count: arrivals, discounted by age as of ``at_us``.
        input_tokens: of a typical prompt.
        output_tokens: of a typical answer.
    """

    rung: Rung
    since_us: int
    count: float
    at_us: int
    input_tokens: float
    output_tokens: float

    @property
    def token_pico(self) -> float:
        """What a typical request earns per output token, its prompt included, pico-USD."""
        output_tokens = max(1.0, self.output_tokens)
        return (self.rung.rates.input * self.input_tokens + self.rung.rates.output * output_tokens) / output_tokens


class Demand:
    """The recent demand for every model and tier."""

    def __init__(self, half_life_us: int) -> None:
        self._half_life_us = half_life_us
        self._by_model: dict[str, dict[Tier, TierDemand]] = {}

    def note(self, job: Job, now_us: int) -> None:
        """A request arrived."""
        rung = job.ladder.served
        tiers = self._by_model.setdefault(job.model, {})
        known = tiers.get(job.tier)
        if known is None:
            tiers[job.tier] = TierDemand(rung, now_us, 1.0, now_us, job.input_tokens, job.output_tokens)
            return
        known.count = self._count(known, now_us) + 1.0
        known.at_us = max(known.at_us, now_us)
        known.rung = rung
        known.input_tokens += _WEIGHT * (job.input_tokens - known.input_tokens)
        known.output_tokens += _WEIGHT * (job.output_tokens - known.output_tokens)

    def better_than(self, model: str, tier: Tier, now_us: int) -> list[tuple[TierDemand, float]]:
        """The tiers of a model above ``tier`` that are asked for, with the output tokens per µs asked for."""
        return [each for each in self.wanted(model, now_us) if each[0].rung.tier.rank < tier.rank] if tier.rank else []

    def wanted(self, model: str, now_us: int) -> list[tuple[TierDemand, float]]:
        """The tiers of a model that are asked for, with the output tokens per µs asked for."""
        return [
            (demand, self._arrivals_per_us(demand, now_us) * max(1.0, demand.output_tokens))
            for demand in self._by_model.get(model, {}).values()
            if self._count(demand, now_us) >= _COUNT_MIN
        ]

    def _count(self, demand: TierDemand, now_us: int) -> float:
        return demand.count * 0.5 ** (max(0, now_us - demand.at_us) / self._half_life_us)

    def _arrivals_per_us(self, demand: TierDemand, now_us: int) -> float:
        seen_us = max(_SEEN_US_MIN, now_us - demand.since_us)
        counted_us = self._half_life_us / math.log(2) * (1.0 - 0.5 ** (seen_us / self._half_life_us))
        return self._count(demand, now_us) / counted_us
