"""What is assumed when prices are derived: every number that is not measured, with its default and its meaning."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from pricing.candidates import Selection
from pricing.costs import CacheShares, TokenCosts
from pricing.modes import CostPlus, Mode
from pricing.profiles import LengthClass
from pricing.slo import Tier
from pricing.tiers import TierRules
from pricing.uncertainty import Uncertainty
from pricing.usage import Rates, TokenClass

UTILISATION = 0.6
ATTAINMENT = 0.97
MARGIN = 0.4
MARGIN_SHARES = {Tier.PREMIUM: 1.5, Tier.STANDARD: 1.0, Tier.BULK: 0.5}
"""Margins of the tiers relative to standard's: promises that are harder to keep carry more of it."""
STEP_PERCENT = 5
PRICE_BANDS = {Tier.PREMIUM: (1.75, 2.5), Tier.BULK: (0.5, 0.5)}
"""Published multipliers of priority, and of flex and batch, over standard: a sanity band, never a source."""


class AssumptionError(ValueError):
    """An assumption outside what it can mean."""


def margins(standard: float = MARGIN) -> dict[Tier, float]:
    """Cost-plus margins by tier from that of standard: price = effective cost × (1 + margin).

    >>> {tier.value: round(margin, 3) for tier, margin in margins(0.4).items()}
    {'premium': 0.6, 'standard': 0.4, 'bulk': 0.2}
    """
    return {tier: standard * share for tier, share in MARGIN_SHARES.items()}


def _class_rates() -> dict[Tier, dict[TokenClass, float]]:
    return {}


def _attainment() -> dict[Tier, dict[Tier, float]]:
    return {tier: {tier: ATTAINMENT} for tier in Tier}


@dataclass(frozen=True, slots=True)
class Adder:
    """What a tuned model adds to its base: an adapter's own cost and the time it takes. It never makes one cheaper.

    :mod:`pricing.adders` works one out from how the adapter is served: on deployments of its own, or beside others.

    Attributes:
        usd_per_mtok: added to the cost of a token of each class at full use (storage, swapping, a licence).
        slowdown: how much longer every token takes than the base model's; it raises cost and loosens the promise.
        tiers: the tiers that the tuned model is sold at.
        utilisation: of deployments that serve it alone; the market's own where that is lower, or None is given.
        margins: of its own by tier, instead of the operator's.
        rates: by tier, what the operator charges for it whatever it costs; a rate below cost is flagged.
    """

    usd_per_mtok: TokenCosts = field(default_factory=lambda: TokenCosts(0.0, 0.0, 0.0, 0.0))
    slowdown: float = 1.0
    tiers: frozenset[Tier] = frozenset(Tier)
    utilisation: float | None = None
    margins: Mapping[Tier, float] = field(default_factory=dict[Tier, float])
    rates: Mapping[Tier, Rates] = field(default_factory=dict[Tier, Rates])

    def __post_init__(self) -> None:
        amounts = self.usd_per_mtok.by_class().values()
        if not self.tiers:
            raise AssumptionError("a tuned model must be sold at one tier at least")
        if not (math.isfinite(self.slowdown) and self.slowdown >= 1 and all(usd >= 0 for usd in amounts)):
            raise AssumptionError(f"an adder makes nothing faster or cheaper: slowdown >= 1 and costs >= 0, got {self}")
        if self.utilisation is not None and not 0 < self.utilisation <= 1:
            raise AssumptionError(f"a tuned model's own utilisation must lie in (0, 1], got {self.utilisation}")
        if not all(math.isfinite(margin) and margin >= 0 for margin in self.margins.values()):
            raise AssumptionError(f"a tuned model's margins must be 0 or more, got {dict(self.margins)}")
        if not all(rate >= 0 for rates in self.rates.values() for rate in rates.by_class().values()):
            raise AssumptionError(f"a tuned model's rates must be 0 or more, got {dict(self.rates)}")


@dataclass(frozen=True, slots=True)
class Assumptions:
    """An operator's inputs to a derivation.

    Attributes:
        lengths: the class whose measurements set tiers and costs; None takes 8192/1024 where it is measured, else the
            class with the most points.
        utilisation: u, the share of paid-for time that makes tokens.
        attainment: s, by tier served: the share of its tokens that meet each tier's deadline. Late ones still earn the
            lower rate; what is missing from a sum of one earns nothing.
        margins: by tier, over effective cost.
        overhead_usd_per_mtok: added to every class: network, support, payment.
        step_percent: a tier's rate exceeds the next lower one's by at least so much in every class.
        premium_deployment_id: the operator's explicit choice to promise premium from a declared offer that is bought by
            the token; then no other deployment can stand in for it.
        parameters_billion: by model, for the check that it fits memory; empty skips it.
        uncertainty: how sure the costs are; prices rest on a percentile of it. None prices off the point estimates.
        mode: what sets the level of prices above cost.
        class_rates: USD per million tokens that an operator sets for a tier's token class, whatever the mode says.
    """

    lengths: LengthClass | None = None
    selection: Selection = Selection()  # noqa: RUF009 (frozen)
    rules: TierRules = field(default_factory=TierRules)
    cache: CacheShares = field(default_factory=CacheShares)
    utilisation: float = UTILISATION
    attainment: Mapping[Tier, Mapping[Tier, float]] = field(default_factory=_attainment)
    margins: Mapping[Tier, float] = field(default_factory=margins)
    overhead_usd_per_mtok: float = 0.0
    step_percent: int = STEP_PERCENT
    adder: Adder = field(default_factory=Adder)
    premium_deployment_id: str | None = None
    parameters_billion: Mapping[str, float] = field(default_factory=dict[str, float])
    uncertainty: Uncertainty | None = Uncertainty()  # noqa: RUF009 (frozen)
    mode: Mode = CostPlus()  # noqa: RUF009 (frozen)
    class_rates: Mapping[Tier, Mapping[TokenClass, float]] = field(default_factory=_class_rates)

    @property
    def utilisation_used(self) -> float:
        """The share of paid-for time that makes this model's tokens: its own deployments', never above the market's."""
        own = self.adder.utilisation
        return self.utilisation if own is None else min(own, self.utilisation)

    def margin(self, tier: Tier) -> float:
        """The margin of a tier: the tuned model's own, else the operator's."""
        return self.adder.margins.get(tier, self.margins[tier])

    def __post_init__(self) -> None:
        if not 0 < self.utilisation <= 1:
            raise AssumptionError(f"utilisation must lie in (0, 1], got {self.utilisation}")
        if not (math.isfinite(self.overhead_usd_per_mtok) and self.overhead_usd_per_mtok >= 0):
            raise AssumptionError(f"overhead_usd_per_mtok must not be negative, got {self.overhead_usd_per_mtok}")
        if self.step_percent < 0:
            raise AssumptionError(f"step_percent must not be negative, got {self.step_percent}")
        for tier in Tier:
            self._check_tier(tier)
        for tier, rates in self.class_rates.items():
            for name, usd in rates.items():
                if not (math.isfinite(usd) and usd >= 0):
                    raise AssumptionError(f"the {tier} rate of {name} tokens must be 0 or more USD/M, got {usd}")

    def _check_tier(self, tier: Tier) -> None:
        margin, shares = self.margins.get(tier, -1.0), self.attainment.get(tier, {})
        if not (math.isfinite(margin) and margin >= 0):
            raise AssumptionError(f"the {tier} margin must be 0 or more, got {self.margins.get(tier)}")
        served = shares.get(tier, 0.0)
        allowed = all(0 <= share <= 1 and lower.rank >= tier.rank for lower, share in shares.items())
        if not (allowed and served > 0 and math.fsum(shares.values()) <= 1 + 1e-9):
            raise AssumptionError(
                f"the {tier} attainment needs a share in (0, 1] at {tier} itself, shares only of lower tiers, and a "
                f"sum of at most 1, got {dict(shares)}"
            )
