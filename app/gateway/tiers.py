"""The words a customer may use for a tier, and the words the answer uses; pure.

Answers speak OpenAI's words, because clients compute costs from them; ours ride in ``x-tier`` and ``usage.tier``.
"""

from app.catalog.public import SERVICE_TIERS
from pricing.slo import Tier

TIER_OF_WORD = {
    "priority": Tier.PREMIUM,
    "fast": Tier.PREMIUM,
    "premium": Tier.PREMIUM,
    "auto": Tier.STANDARD,
    "default": Tier.STANDARD,
    "standard": Tier.STANDARD,
    "standard_only": Tier.STANDARD,
    "scale": Tier.STANDARD,
    "flex": Tier.BULK,
    "bulk": Tier.BULK,
}
WORD_OF_TIER = SERVICE_TIERS


def tier_asked(word: str | None) -> Tier | None:
    """The tier a ``service_tier`` asks for; standard when absent; None when the word is unknown.

    >>> tier_asked("fast"), tier_asked(None), tier_asked("warp")
    (<Tier.PREMIUM: 'premium'>, <Tier.STANDARD: 'standard'>, None)
    """
    return Tier.STANDARD if word is None else TIER_OF_WORD.get(word)
