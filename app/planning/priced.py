"""What one model on sale is priced from: its measurements, its adapter's cost, its tiers; pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from app.catalog.sale import NAME_MAX
from pricing.assumptions import Adder
from pricing.costs import TokenCosts
from pricing.money import Rate
from pricing.profiles import LengthClass, ProfileError
from pricing.slo import Tier
from pricing.usage import Rates, TokenClass

DEPLOYMENTS_MAX: Final = 200
USD_PER_MTOK_MAX: Final = 1e6
SLOWDOWN_MAX: Final = 100.0
NOTHING: Final = TokenCosts(0.0, 0.0, 0.0, 0.0)


class PricedModelError(ValueError):
    """A model that cannot be priced as described; the message says which field and what is allowed."""


class Serving(StrEnum):
    """How a tuned model's adapter is served."""

    NONE = "none"
    """It is no tuned model."""
    SHARED = "shared"
    """Beside other adapters, on the base's own deployments: each token takes a little longer."""
    DEDICATED = "dedicated"
    """On deployments of its own: the adapter costs what they cost."""


@dataclass(frozen=True, slots=True)
class PricedModelSpec:
    """What one model's prices follow from.

    Attributes:
        public_name: the name it is sold under.
        profiled_as: the profiles' own name of what runs; a tuned model is priced from its base's profiles.
        deployment_ids: measured deployments that it is priced from; empty for every one measured.
        lengths: the class that it is priced from; None for the derivation's own choice.
        adder: what a tuned model adds to its base, and the tiers that the model is sold at.
        premium_deployment_id: the declared offer that premium is promised from; empty for none.

    Raises:
        PricedModelError: a field that cannot be.
    """

    public_name: str
    profiled_as: str
    deployment_ids: frozenset[str] = frozenset()
    lengths: LengthClass | None = None
    serving: Serving = Serving.NONE
    adder: Adder = field(default_factory=Adder)
    premium_deployment_id: str = ""
    is_priced: bool = True

    def __post_init__(self) -> None:
        for what, text in (("public_name", self.public_name), ("profiled_as", self.profiled_as)):
            if not text or len(text) > NAME_MAX or not text.isprintable() or text != text.strip():
                raise PricedModelError(f"{what}: expected 1 to {NAME_MAX} printable letters, got {text!r}")
        if len(self.deployment_ids) > DEPLOYMENTS_MAX:
            raise PricedModelError(f"{len(self.deployment_ids)} deployments, at most {DEPLOYMENTS_MAX}")
        amounts = self.adder.usd_per_mtok.by_class()
        for name, usd in amounts.items():
            if not (math.isfinite(usd) and 0 <= usd <= USD_PER_MTOK_MAX):
                raise PricedModelError(f"adder {name}: expected 0 to {USD_PER_MTOK_MAX:g} USD per Mtok, got {usd}")
        if self.adder.slowdown > SLOWDOWN_MAX:
            raise PricedModelError(f"slowdown: expected above 0, at most {SLOWDOWN_MAX:g}, got {self.adder.slowdown}")
        if self.serving is Serving.NONE and self.adder != Adder(tiers=self.adder.tiers):
            raise PricedModelError("only a tuned model has an adder: say how it is served, shared or dedicated")


def adder_document(adder: Adder) -> dict[str, Any]:
    """The stored form of what a tuned model adds; its tiers stand beside it."""
    return {
        "usd_per_mtok": {name.value: usd for name, usd in adder.usd_per_mtok.by_class().items()},
        "slowdown": adder.slowdown,
        "utilisation": adder.utilisation,
        "margins": {tier.value: margin for tier, margin in sorted(adder.margins.items())},
        "rates": {
            tier.value: {name.value: rate for name, rate in rates.by_class().items()}
            for tier, rates in sorted(adder.rates.items())
        },
    }


def adder_from_document(document: Mapping[str, Any], tiers: frozenset[Tier]) -> Adder:
    """Reads a stored adder back; the inverse of :func:`adder_document`.

    Those stored before adders had a utilisation, margins and rates have none of their own.

    Raises:
        PricedModelError: it is none.
    """
    try:
        utilisation = document.get("utilisation")
        costs = {name.value: float(document["usd_per_mtok"][name.value]) for name in TokenClass}
        rates = {
            Tier(tier): Rates(**{name.value: Rate(int(found[name.value])) for name in TokenClass})
            for tier, found in document.get("rates", {}).items()
        }
        return Adder(
            usd_per_mtok=TokenCosts(**costs),
            slowdown=float(document["slowdown"]),
            tiers=tiers,
            utilisation=None if utilisation is None else float(utilisation),
            margins={Tier(tier): float(margin) for tier, margin in document.get("margins", {}).items()},
            rates=rates,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PricedModelError(f"not a stored adder ({error!r})") from error


def length_class(isl: int | None, osl: int | None) -> LengthClass | None:
    """A class from two lengths; both or neither.

    Raises:
        PricedModelError: only one of them, or none that can be.
    """
    if (isl is None) != (osl is None):
        raise PricedModelError("give both isl and osl, or neither")
    try:
        return None if isl is None or osl is None else LengthClass(isl, osl)
    except ProfileError as error:
        raise PricedModelError(str(error)) from error
