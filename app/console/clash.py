"""Where two people set the same field of a draft differently, both versions side by side; pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.catalog.draft import Cards
from app.console.card_fields import FIELDS, texts_of
from app.console.draft_grid import LABELS, number_of
from pricing.pricebook import RateCard
from pricing.slo import Tier


@dataclass(frozen=True, slots=True)
class Clash:
    """One field that two people set differently."""

    tier: Tier
    label: str
    was: str
    saved: str
    yours: str


def clashes(model: str, old: Cards, saved: Cards, typed: Mapping[str, str]) -> tuple[Clash, ...]:
    """The fields in which what was typed differs from what was saved meanwhile."""
    found: list[Clash] = []
    for tier in Tier:
        before, present = (_texts(cards.get((model, tier))) for cards in (old, saved))
        yours = _typed_texts(tier, typed)
        for name, label in (("sold", "Sold"), *LABELS.items()):
            shown = Clash(tier, label, before.get(name, ""), present.get(name, ""), yours.get(name, ""))
            if _means(name, shown.saved) != _means(name, shown.yours):
                found.append(shown)
    return tuple(found)


def _texts(card: RateCard | None) -> dict[str, str]:
    return {"sold": "no"} if card is None else {"sold": "yes", **texts_of(card.rung.rates, card.rung.slo)}


def _typed_texts(tier: Tier, typed: Mapping[str, str]) -> dict[str, str]:
    if typed.get(f"{tier}.sold") != "yes":
        return {"sold": "no"}
    return {"sold": "yes", **{name: typed.get(f"{tier}.{name}", "") for name in FIELDS}}


def _means(name: str, text: str) -> str | int:
    number = None if name == "sold" else number_of(name, text)
    return text.strip() if number is None else number
