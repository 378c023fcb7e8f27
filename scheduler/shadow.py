"""The price of a slot where capacity is short: ``λ ← [λ + η · (u − u*) · dt]₊``, per offer; pure.

Above the target utilisation u* it rises, below it falls to 0. Work that earns little per second it holds a slot then
looks for another place, and leaves the scarce one to work that earns more.

Source: dual ascent on a capacity constraint, as in Kelly, Maulloo and Tan (1998).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pricing.slo import US_PER_S
from scheduler.fleet import Fleet, OfferId


@dataclass(frozen=True, slots=True)
class ShadowPolicy:
    """How fast and how far a shadow price moves.

    Attributes:
        utilisation_target: u*.
        step_pico: η, pico-USD per slot-second gained per second at a utilisation of 1 above target.
        price_max_pico: the highest λ.
    """

    utilisation_target: float = 0.85
    step_pico: float = 10_000_000.0
    price_max_pico: float = 10_000_000_000.0


DEFAULT_SHADOW_POLICY = ShadowPolicy()


class ShadowPrices:
    """The λ of all offers; one per process."""

    def __init__(self, policy: ShadowPolicy = DEFAULT_SHADOW_POLICY) -> None:
        self._policy = policy
        self._prices: dict[OfferId, float] = {}
        self._observed_us: int | None = None

    def observe(self, fleet: Fleet, now_us: int) -> Mapping[OfferId, float]:
        """Moves every price by the time since the last call, and returns those above 0 for a new snapshot."""
        since_s = 0.0 if self._observed_us is None else max(0, now_us - self._observed_us) / US_PER_S
        self._observed_us = now_us
        moved: dict[OfferId, float] = {}
        for offer in (offer for offers in fleet.offers.values() for offer in offers):
            room = max(1, min(offer.concurrency_max, offer.speed.concurrency_measured))
            excess = fleet.load(offer.id).in_flight / room - self._policy.utilisation_target
            price = self._prices.get(offer.id, 0.0) + self._policy.step_pico * excess * since_s
            if price > 0:
                moved[offer.id] = min(price, self._policy.price_max_pico)
        self._prices = moved
        return dict(moved)
