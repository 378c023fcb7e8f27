"""A whole price book from what was measured: every model on sale, its profiles and what its hardware costs; pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from pricing.assumptions import Assumptions
from pricing.derive import derive_cards
from pricing.hardware import HardwareCost
from pricing.pricebook import PriceBook, price_book
from pricing.profiles import Profile


@dataclass(frozen=True, slots=True)
class PricedModel:
    """What the prices of one model follow from.

    Attributes:
        model: the profiles' own name of it; a tuned model is priced from its base's profiles.
        public_name: the name it is sold under.
        profiles: of every deployment that may run it; others are ignored.
        hardware_costs: by hardware.
        assumptions: the operator's inputs.
    """

    model: str
    public_name: str
    profiles: tuple[Profile, ...]
    hardware_costs: Mapping[str, HardwareCost]
    assumptions: Assumptions


def derived_book(models: Iterable[PricedModel], effective_at: datetime) -> PriceBook:
    """The book in which every model has the prices that its measurements and costs imply.

    Raises:
        FrontierError: a model cannot be priced from what was measured.
        PriceBookError: no models, one twice, or rates that do not fall from tier to tier.
    """
    cards = [
        card
        for each in models
        for card in derive_cards(each.model, each.public_name, each.profiles, each.hardware_costs, each.assumptions)
    ]
    return price_book(effective_at, cards)
