"""One model's frontier and what stands around it, as a picture shows it."""

from collections.abc import Mapping
from dataclasses import dataclass

from pricing.candidates import Candidate, Candidates
from pricing.frontier import Frontier, Interpolated
from pricing.slo import Tier
from pricing.tiers import TierPoint, Tiers


@dataclass(frozen=True, slots=True)
class Curve:
    """One model in one length class.

    Attributes:
        found: all that was measured and can be costed.
        kept: what of it keeps the ceiling.
        front: drawn from ``kept``.
        chosen: the tiers on it; None where none can be sold.
        readings: of the speeds asked for.
    """

    found: Candidates
    kept: tuple[Candidate, ...]
    front: Frontier
    chosen: Tiers | None = None
    readings: tuple[Interpolated, ...] = ()

    @property
    def model(self) -> str:
        """The profiles' own name of it."""
        return self.found.model

    @property
    def sold(self) -> Mapping[Tier, TierPoint]:
        """The tiers' points, best first; empty where there are none."""
        return {} if self.chosen is None else self.chosen.sold

    @property
    def refused(self) -> list[Candidate]:
        """What misses the ceiling."""
        kept = {id(each) for each in self.kept}
        return [each for each in self.found.points if id(each) not in kept]

    @property
    def off(self) -> list[Candidate]:
        """What keeps the ceiling and is not on the frontier."""
        on = {id(each) for each in self.front.points}
        return [each for each in self.kept if id(each) not in on]
