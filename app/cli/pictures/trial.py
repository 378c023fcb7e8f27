"""Levers that were tried, and what each did at each speed, as a picture shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pricing.candidates import Candidates
from pricing.whatif import Effect


@dataclass(frozen=True, slots=True)
class Trial:
    """What was tried.

    Attributes:
        found: the points of the base.
        ownership: what an hour's price rests on.
        effects: by speed, the largest first.
        assumptions: a sentence each.
    """

    found: Candidates
    ownership: str
    effects: Mapping[float, Sequence[Effect]]
    assumptions: Sequence[str] = ()
