"""From the inputs in force to what sets the level of a model's prices: cost plus, an anchor, or a demand; pure."""

import json
from collections.abc import Mapping
from typing import Any, Final

from app.planning.in_force import InForce
from app.planning.inputs import MARKET
from pricing.anchors import ListPrice
from pricing.demand_document import DemandModel, demand_from_json
from pricing.modes import BAND, Anchored, CostPlus, Mode, ModeName, Optimised
from pricing.slo import Tier
from pricing.usage import TokenClass

DEFAULT_MODE: Final = ModeName.COST_PLUS


def price_mode(
    model: str, given: InForce, list_prices: tuple[ListPrice, ...], demand: DemandModel | None = None
) -> Mode:
    """The mode of one model: its own, else the market's, else cost plus.

    The capacity that an optimised price is set for is the model's own ``accelerators`` and ``mw_max``; without them,
    the whole site's, as if nothing else ran there.

    Args:
        model: the name it is sold under.
        given: the inputs in force.
        list_prices: what others publish.
        demand: the documented defaults, for a market that states none of its own.

    Raises:
        ModeError: figures that cannot be.
        DemandError: a demand is needed and there is none.
    """
    subjects = [f"model:{model}", MARKET]
    match ModeName(given.value("price_mode", subjects, DEFAULT_MODE.value)):
        case ModeName.COST_PLUS:
            return CostPlus()
        case ModeName.ANCHORED:
            low, high = given.value("price_band", subjects, list(BAND))
            return Anchored(list_prices, low, high)
        case ModeName.OPTIMISED:
            stated: Mapping[str, Any] | None = given.value("demand", subjects, None)
            wanted = demand if stated is None else None
            return Optimised(
                demand=wanted or demand_from_json(json.dumps(stated)),
                list_prices=list_prices,
                accelerators=given.value("accelerators", subjects[:1], given.of_kind("hardware", "count_max")),
                mw=given.value("mw_max", subjects, None),
            )


def class_rates(model: str, given: InForce) -> dict[Tier, dict[TokenClass, float]]:
    """USD per million tokens that an operator charges for single token classes of a model, whatever its mode says."""
    stated: Mapping[str, Mapping[str, float]] = given.value("class_rates", [f"model:{model}"], {})
    return {Tier(tier): {TokenClass(name): usd for name, usd in rates.items()} for tier, rates in stated.items()}
