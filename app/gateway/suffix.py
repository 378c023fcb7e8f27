"""The suffixes of a model's name: ``:nitro`` for speed, ``:floor`` for price; pure.

A suffix sorts the offers, and where the request names no tier it also names one: the fastest that the model is sold at,
with a downgrade rather than a refusal, or the cheapest.
"""

from dataclasses import replace
from typing import Final

from app.gateway.wire import Order
from pricing.pricebook import PriceBook
from scheduler.preferences import Sort

NITRO: Final = ":nitro"
FLOOR: Final = ":floor"


def resolved(order: Order, name: str, book: PriceBook) -> Order:
    """The order for one of the models that it names, without a suffix; a model that is sold under the very name wins.

    >>> suffix_of("acme/m:nitro"), suffix_of("acme/m:free")
    (':nitro', '')
    """
    suffix = "" if book.tiers(name) else suffix_of(name)
    if not suffix:
        return order if name == order.model else replace(order, model=name)
    model = name.removesuffix(suffix)
    preferences = order.wishes.preferences
    if preferences.sort is None:
        sort = Sort.THROUGHPUT if suffix == NITRO else Sort.PRICE
        preferences = replace(preferences, sort=sort)
    order = replace(order, model=model, wishes=replace(order.wishes, preferences=preferences))
    tiers = sorted(book.tiers(model), key=lambda tier: tier.rank)
    if order.is_tier_named or not tiers:
        return order
    if suffix == FLOOR:
        return replace(order, tier=tiers[-1])
    return replace(order, tier=tiers[0], allows_downgrade=True)


def suffix_of(name: str) -> str:
    """The suffix that a name ends in; empty when in none."""
    return next((suffix for suffix in (NITRO, FLOOR) if name.endswith(suffix)), "")
