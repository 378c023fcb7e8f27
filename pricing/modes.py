"""The three ways in which the level of prices can be set, and what each of them needs to be told.

Costs are the floor of all three; only what is charged above them differs. A mode sets one *level* for each tier: its
blended price at the reference mix. The rates of its token classes follow its costs' proportions.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import assert_never

from pricing.anchors import ListPrice
from pricing.demand_document import DemandModel
from pricing.profiles import LengthClass

BAND = (0.8, 1.2)
COUNT_MAX = 1e9


class ModeError(ValueError):
    """A mode that was told something that cannot be, or that lacks what it rests on."""


class ModeName(StrEnum):
    """What sets the level of prices."""

    COST_PLUS = "cost_plus"
    ANCHORED = "anchored"
    OPTIMISED = "optimised"


@dataclass(frozen=True, slots=True)
class CostPlus:
    """Effective cost × (1 + margin); the margins are an assumption of their own."""


@dataclass(frozen=True, slots=True)
class Anchored:
    """Cost-plus, clipped to a band around what others publish.

    Attributes:
        list_prices: of any models.
        low, high: the band's ends, as multiples of the anchor.
    """

    list_prices: tuple[ListPrice, ...]
    low: float = BAND[0]
    high: float = BAND[1]

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and 0 < self.low <= self.high):
            raise ModeError(f"a band needs 0 < low <= high, as multiples of the anchor, got {self.low} and {self.high}")


@dataclass(frozen=True, slots=True)
class Optimised:
    """What earns most from a demand, within the capacity there is.

    Attributes:
        demand: who would buy what.
        list_prices: what a demand in multiples of list prices rests on.
        accelerators: how many there are for this model, by hardware; hardware not named is not scarce.
        mw: the power there is for this model; None for enough.
    """

    demand: DemandModel
    list_prices: tuple[ListPrice, ...] = ()
    accelerators: Mapping[str, float] = field(default_factory=dict[str, float])
    mw: float | None = None

    def __post_init__(self) -> None:
        for name, count in (*self.accelerators.items(), ("mw", 1.0 if self.mw is None else self.mw)):
            if not 0 < count <= COUNT_MAX:
                raise ModeError(f"the capacity of {name} must be above 0 and at most {COUNT_MAX:g}, got {count}")


Mode = CostPlus | Anchored | Optimised


@dataclass(frozen=True, slots=True)
class Level:
    """The blended price of one tier, and what set it.

    Attributes:
        usd_per_mtok: USD per million tokens at the mix.
        mix: the lengths whose fresh input and output tokens are blended.
        why: a clause for the sentence on the rate card.
    """

    usd_per_mtok: float
    mix: LengthClass
    why: str


def mode_name(mode: Mode) -> ModeName:
    """What a mode is called.

    >>> mode_name(CostPlus()).value
    'cost_plus'
    """
    match mode:
        case CostPlus():
            return ModeName.COST_PLUS
        case Anchored():
            return ModeName.ANCHORED
        case Optimised():
            return ModeName.OPTIMISED
        case _:
            assert_never(mode)
