"""Feeds back how well promises were kept: a tier that misses its floor is placed with more margin, and goes first.

Per tier the margin m follows ``m ← m + step · (floor − x)`` for each answer, x being 1 when all of it was good: at the
floor it stands still, below it rises, above it falls back to the policy's own margin. While a tier is below its floor,
a slot counts for more to lesser tiers: their λ is multiplied by ``1 + gain · (m − m₀) / (m_max − m₀)``.

Margins move in whole hundredths, so that what was worked out under one stays valid for a while.

Source: integral control; the same stochastic approximation as in :mod:`scheduler.calibration`.
"""

from dataclasses import replace

from pricing.slo import Tier
from scheduler.policy import Policy

_GRAIN = 100


class Attainment:
    """The margins in force, by tier; one per process."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._margins: dict[Tier, float] = {}
        self._policies: dict[Tier, Policy] = {}

    def observe(self, tier: Tier, *, is_attained: bool) -> None:
        """An answer of a tier ended; failures and hang-ups, which no margin mends, are not told."""
        policy = self._policy
        floor = policy.attainment_floors.get(tier)
        if floor is None:
            return
        moved = self._margins.get(tier, policy.margin) + policy.margin_step * (floor - is_attained)
        self._margins[tier] = min(max(moved, policy.margin), max(policy.margin, policy.margin_max))
        if self.margin(tier) != self.policy(tier).margin:
            self._policies[tier] = replace(policy, margin=self.margin(tier))

    def margin(self, tier: Tier) -> float:
        """The margin in force for a tier."""
        known = self._margins.get(tier)
        if known is None:
            return self._policy.margin
        return max(self._policy.margin, round(known * _GRAIN) / _GRAIN)

    @property
    def is_neutral(self) -> bool:
        """Whether no margin was ever moved."""
        return not self._policies

    def policy(self, tier: Tier) -> Policy:
        """The policy with the margin in force; the same object for as long as it stays."""
        return self._policies.get(tier, self._policy)

    def scarcity(self, tier: Tier) -> float:
        """By what a slot's shadow price is multiplied for a tier: above 1 while a better one misses its floor."""
        policy = self._policy
        span = policy.margin_max - policy.margin
        if not self._policies or span <= 0:
            return 1.0
        short = max((self.margin(each) - policy.margin for each in self._margins if each.rank < tier.rank), default=0.0)
        return 1.0 + policy.scarcity_gain * short / span
