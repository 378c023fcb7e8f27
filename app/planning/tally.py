"""Adds up the answers of a period, one at a time: who used what where, and which deadline it met; pure.

What is kept grows with offers, tiers and customers; the answers themselves only as far as calibration needs them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.planning.observed import Passage
from pricing.feedback import customer_weights, weight
from pricing.rating import Ending
from pricing.slo import Tier
from pricing.usage import Usage


@dataclass(frozen=True, slots=True)
class Answer:
    """One usage event, as far as the return loop reads it; names as in ``usage_event``."""

    model: str
    tier_served: Tier
    customer_id: str
    offer_id: str
    is_emulated: bool
    is_streamed: bool
    ending: Ending
    placed_at_us: int
    first_token_at_us: int | None
    finished_at_us: int
    usage: Usage
    lines: Sequence[Mapping[str, Any]]

    @property
    def tokens(self) -> int:
        """Input and output."""
        return self.usage.input_total + self.usage.output


@dataclass(slots=True)
class Earned:
    """What one customer's tokens of one tier served came to, in input tokens' worth.

    Attributes:
        delivered: all of them.
        met: by tier at whose rate they were billed; failed ones at none.
    """

    delivered: float = 0.0
    met: dict[Tier, float] = field(default_factory=dict[Tier, float])


@dataclass(slots=True)
class Counted:
    """How much evidence there is."""

    requests: int = 0
    tokens: int = 0
    requests_emulated: int = 0

    def add(self, answer: Answer) -> None:
        """Counts one answer."""
        self.requests += 1
        self.tokens += answer.tokens
        self.requests_emulated += answer.is_emulated


@dataclass(slots=True)
class Tally:
    """All of a period.

    Attributes:
        used: tokens by offer and tier served.
        counted: evidence by offer.
        counted_tier: evidence by tier served.
        earned: by tier served and customer.
        passages: answers by offer, for the load that each met.
        answers: how many were added within the period.
    """

    used: dict[tuple[str, Tier], Usage] = field(default_factory=dict[tuple[str, Tier], Usage])
    counted: dict[str, Counted] = field(default_factory=dict[str, Counted])
    counted_tier: dict[Tier, Counted] = field(default_factory=dict[Tier, Counted])
    earned: dict[Tier, dict[str, Earned]] = field(default_factory=dict[Tier, dict[str, Earned]])
    passages: dict[str, list[Passage]] = field(default_factory=dict[str, list[Passage]])
    answers: int = 0

    def add(self, answer: Answer, *, is_within: bool) -> None:
        """Takes one answer.

        Args:
            answer: any.
            is_within: it ended in the period; else it is only load for others, that ended before it.
        """
        passage = Passage(
            customer_id=answer.customer_id,
            placed_at_us=answer.placed_at_us,
            first_token_at_us=answer.first_token_at_us,
            finished_at_us=answer.finished_at_us,
            prompt_tokens=answer.usage.input + answer.usage.cache_write,
            output_tokens=answer.usage.output,
            is_judged=is_within and answer.is_streamed and answer.ending.is_billable,
        )
        self.passages.setdefault(answer.offer_id, []).append(passage)
        if not is_within:
            return
        self.answers += 1
        key = answer.offer_id, answer.tier_served
        self.used[key] = _plus(self.used.get(key, Usage()), answer.usage)
        self.counted.setdefault(answer.offer_id, Counted()).add(answer)
        self.counted_tier.setdefault(answer.tier_served, Counted()).add(answer)
        _earn(self.earned.setdefault(answer.tier_served, {}).setdefault(answer.customer_id, Earned()), answer)


@dataclass(frozen=True, slots=True)
class Attained:
    """What a tier's tokens met.

    Attributes:
        shares: by tier; what failed is missing from a sum of one.
        customers: how many.
        largest_share: of all tokens, by the largest customer.
        is_held_back: that customer was counted no more than all others together.
    """

    shares: Mapping[Tier, float]
    customers: int
    largest_share: float
    is_held_back: bool


def attained(customers: Mapping[str, Earned], tokens_min: float) -> Attained | None:
    """The attainment of a tier served; None where nothing was delivered."""
    delivered = {name: each.delivered for name, each in customers.items()}
    total = sum(delivered.values())
    if total <= 0:
        return None
    weights = customer_weights(delivered, tokens_min)
    whole = sum(weights[name] * amount for name, amount in delivered.items())
    shares = {
        tier: min(sum(weights[name] * each.met.get(tier, 0.0) for name, each in customers.items()) / whole, 1.0)
        for tier in Tier
    }
    return Attained(
        shares={tier: share for tier, share in shares.items() if share > 0},
        customers=len(customers),
        largest_share=max(delivered.values()) / total,
        is_held_back=min(weights.values()) < 1,
    )


def _earn(earned: Earned, answer: Answer) -> None:
    earned.delivered += weight(answer.usage)
    if not answer.ending.is_billable:
        return
    for line in answer.lines:
        tier = Tier(line["tier"])
        billed = Usage(int(line["input"]), int(line["cached"]), int(line["cache_write"]), int(line["output"]))
        earned.met[tier] = earned.met.get(tier, 0.0) + weight(billed)


def _plus(one: Usage, other: Usage) -> Usage:
    return Usage(
        one.input + other.input,
        one.cached + other.cached,
        one.cache_write + other.cache_write,
        one.output + other.output,
    )
