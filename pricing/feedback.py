"""How what was metered moves an input: least evidence, a share of the way, a clip; and what exactly is metered.

**Utilisation** is accelerator time put to use over accelerator time paid for. A token of a class takes ``C/c`` seconds
of one accelerator, C being its cost at full use at the operating point and c the price of an hour, so that

    ``u = Σ tokens · gpu_s(class, tier) / (accelerators · seconds paid for)``

and ``Σ tokens · C/u`` is the bill for the hardware: prices off this u pay for it exactly, whatever the load was.

**Attainment** of a tier served is, for it and each lower tier, the share of its tokens that were billed at that tier's
rate; what failed is billed at none and is missing from a sum of one. Token classes count by what they cost: an output
token as many input tokens as the fit's default ratio says.

**Movement.** A figure moves by ``weight`` of the way to what was observed, no further than ``clip``, and not at all
below the least evidence or within the dead band. A zero, an absence or an outage therefore never carries a price off,
and neither does one busy day. Where one customer makes more than half of the evidence, and the others alone would
suffice, theirs counts no more than all others' together.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pricing.costs import CACHE_WRITE_SHARE, CACHED_SHARE, RATIO_ASSUMED, S_PER_HOUR, TOKENS_PER_MTOK, TokenCosts
from pricing.slo import Tier
from pricing.usage import TokenClass, Usage


class FeedbackError(ValueError):
    """A caution that cannot be."""


@dataclass(frozen=True, slots=True)
class Caution:
    """How much evidence moves a figure, and how far.

    Attributes:
        requests_min: fewer answers move nothing.
        tokens_min: fewer tokens move nothing.
        weight: the share of the way to the observed figure that is gone at once.
        clip: the furthest step, as a share of the figure (of one, for attainment).
        dead_band: a smaller change is none.
    """

    requests_min: int = 200
    tokens_min: int = 50_000
    weight: float = 0.3
    clip: float = 0.1
    dead_band: float = 0.005

    def __post_init__(self) -> None:
        shares_fit = 0 < self.weight <= 1 and 0 < self.clip < 1 and 0 <= self.dead_band < 1
        if not (shares_fit and self.requests_min >= 1 and self.tokens_min >= 1):
            raise FeedbackError(
                f"a caution needs at least one request and token, a weight in (0, 1], a clip in (0, 1) and a dead band "
                f"in [0, 1), got {self}"
            )

    def suffices(self, requests: int, tokens: int) -> bool:
        """True when there is evidence enough to move anything."""
        return requests >= self.requests_min and tokens >= self.tokens_min


DEFAULT_CAUTION: Final = Caution()
DIGITS: Final = 6


def moved(before: float, observed: float, least: float, most: float, caution: Caution = DEFAULT_CAUTION) -> float:
    """A figure after it was observed to be another: the same one where the change is none.

    Args:
        before: in force.
        observed: metered; not finite moves nothing.
        least: the figure is held at or above it.
        most: and at or below it.
        caution: how far at once.

    >>> moved(0.6, 0.9, 0.2, 1.0), moved(0.6, 0.1, 0.2, 1.0), moved(0.6, 0.605, 0.2, 1.0)
    (0.66, 0.54, 0.6)
    """
    if not (math.isfinite(observed) and before > 0):
        return before
    wanted = min(max(observed, least), most)
    step = min(max(caution.weight * (wanted - before), -caution.clip * before), caution.clip * before)
    return before if abs(step) < caution.dead_band * before else round(before + step, DIGITS)


def moved_shares(
    before: Mapping[Tier, float], observed: Mapping[Tier, float], served: Tier, caution: Caution = DEFAULT_CAUTION
) -> dict[Tier, float]:
    """Attainment shares after others were observed: on the way between the two, so that they never exceed one.

    Args:
        before: in force.
        observed: metered; of ``served`` and lower tiers.
        served: the tier; some share of its own is always left, by at most a clip a time.
        caution: how far at once.

    >>> moved_shares({Tier.BULK: 0.9}, {Tier.BULK: 0.1}, Tier.BULK)
    {<Tier.BULK: 'bulk'>: 0.8}
    """
    tiers = [tier for tier in Tier if tier in before or tier in observed]
    gaps = {tier: observed.get(tier, 0.0) - before.get(tier, 0.0) for tier in tiers}
    furthest = max(map(abs, gaps.values()), default=0.0)
    if furthest * caution.weight < caution.dead_band:
        return dict(before)
    part = min(caution.weight, caution.clip / furthest)
    after = {tier: before.get(tier, 0.0) + part * gaps[tier] for tier in tiers}
    kept = {tier: math.floor(share * 10**DIGITS + 0.5) / 10**DIGITS for tier, share in after.items()}
    kept[served] = max(kept.get(served, 0.0), 10**-DIGITS)
    surplus = math.fsum(kept.values()) - 1
    if surplus > 0:
        kept[served] = max(kept[served] - surplus, 10**-DIGITS)
    return {tier: share for tier, share in kept.items() if share > 0}


def gpu_seconds(used: Usage, costs: TokenCosts, usd_per_hour: float) -> float:
    """Accelerator-seconds that some tokens take at an operating point.

    Args:
        used: tokens by class.
        costs: USD per million tokens of each class at full use there.
        usd_per_hour: of one accelerator.

    >>> gpu_seconds(Usage(output=1_000_000), TokenCosts(0.1, 0.01, 0.1, 0.5), usd_per_hour=1.8)
    1000.0
    """
    usd = math.fsum(tokens * costs.by_class()[name] for name, tokens in by_class(used).items()) / TOKENS_PER_MTOK
    return usd / (usd_per_hour / S_PER_HOUR)


def utilisation(used_gpu_s: float, paid_gpu_s: float) -> float | None:
    """The share of paid-for time that made tokens; None where nothing was paid for.

    It can exceed one: a load beyond the operating point makes more than it would.
    """
    return used_gpu_s / paid_gpu_s if paid_gpu_s > 0 else None


def weight(used: Usage) -> float:
    """How much some tokens count, in input tokens: by what a token of each class costs.

    >>> weight(Usage(input=100, cached=100, output=10))
    150.0
    """
    shares = {
        TokenClass.INPUT: 1.0,
        TokenClass.CACHED: CACHED_SHARE,
        TokenClass.CACHE_WRITE: CACHE_WRITE_SHARE,
        TokenClass.OUTPUT: RATIO_ASSUMED,
    }
    return math.fsum(tokens * shares[name] for name, tokens in by_class(used).items())


def by_class(used: Usage) -> dict[TokenClass, int]:
    """Token counts keyed by class."""
    return {name: getattr(used, name.value) for name in TokenClass}


def customer_weights(tokens: Mapping[str, float], tokens_min: float) -> dict[str, float]:
    """By customer, how much of their evidence counts, in (0, 1]: no one outweighs all others where these suffice.

    Args:
        tokens: by customer.
        tokens_min: what the others must have for the largest one to be held back.

    >>> customer_weights({"giant": 900.0, "a": 60.0, "b": 40.0}, tokens_min=50)["giant"]
    0.1111111111111111
    >>> customer_weights({"giant": 900.0, "a": 10.0}, tokens_min=50)["giant"]
    1.0
    """
    weights = dict.fromkeys(tokens, 1.0)
    if not tokens:
        return weights
    giant = max(tokens, key=lambda name: (tokens[name], name))
    others = math.fsum(tokens.values()) - tokens[giant]
    if others >= tokens_min and tokens[giant] > others:
        weights[giant] = others / tokens[giant]
    return weights


def weighted_median(values: Mapping[int, tuple[float, float]]) -> float:
    """The middle of some values by weight: half of the weight lies at or below it.

    Args:
        values: value and weight by any key; at least one, weights above zero.

    >>> weighted_median({0: (1.0, 1.0), 1: (9.0, 1.0), 2: (2.0, 1.0)})
    2.0
    """
    ordered = sorted(values.values())
    half = math.fsum(each for _, each in ordered) / 2
    reached = 0.0
    for value, each in ordered:
        reached += each
        if reached >= half:
            return value
    return ordered[-1][0]
