"""What others publish for a model: list prices, and their median as the anchor that a price may be held to.

One provider has one voice for each model and service. The anchor of a tier is the median of each token class over the
providers that sell the like of it: a standard service for standard, a faster one sold beside it for premium, a batch
service for bulk. Multiples between services are not taken over from anybody.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pricing.profiles import LengthClass
from pricing.slo import Tier
from pricing.tables import DATA_DIR, Row, TableError, parse_table

TABLE = "list_prices.csv"
TIERS = {"standard": Tier.STANDARD, "fast": Tier.PREMIUM, "batch": Tier.BULK}
USD_MAX = 1e6
PROVIDERS_MIN = 3
"""A median over fewer is hardly more than their say; it is used, and flagged."""


@dataclass(frozen=True, slots=True)
class ListPrice:
    """What one provider publishes for one service of a model; USD per million tokens.

    Attributes:
        tier: the tier whose like it is.
        cached: None where it is not published.
    """

    model: str
    provider: str
    tier: Tier
    input: float
    output: float
    cached: float | None = None


@dataclass(frozen=True, slots=True)
class Anchor:
    """The median list price of a tier's like; USD per million tokens.

    Attributes:
        providers: how many have a voice in it.
        cached: None where nobody publishes it.
    """

    tier: Tier
    providers: int
    input: float
    output: float
    cached: float | None = None

    def usd_per_mtok(self, lengths: LengthClass) -> float:
        """The price of a million tokens at a mix of fresh input and output.

        >>> Anchor(Tier.STANDARD, 14, input=0.15, output=0.6).usd_per_mtok(LengthClass(2000, 1000))
        0.3
        """
        return (self.input * lengths.isl + self.output * lengths.osl) / (lengths.isl + lengths.osl)


def list_prices(data_dir: Path = DATA_DIR) -> tuple[ListPrice, ...]:
    """All list prices that ship, or that an operator put in their place.

    Raises:
        TableError: a row that makes no sense, with its line.
    """
    return tuple(parse_table(TABLE, _list_price, data_dir))


def _list_price(row: Row) -> ListPrice:
    if row["service"] not in TIERS:
        raise TableError(f"service {row['service']!r} is none of {', '.join(TIERS)}")
    cached = row["cached_usd_per_mtok"]
    return ListPrice(
        model=row["model"],
        provider=row["provider"],
        tier=TIERS[row["service"]],
        input=_usd(row, "input_usd_per_mtok"),
        output=_usd(row, "output_usd_per_mtok"),
        cached=_usd(row, "cached_usd_per_mtok") if cached else None,
    )


def _usd(row: Row, name: str) -> float:
    value = float(row[name])
    if not (math.isfinite(value) and 0 < value <= USD_MAX):
        raise TableError(f"{name} must be above 0 and at most {USD_MAX:g}, got {row[name]}")
    return value


def anchors(model: str, prices: Iterable[ListPrice]) -> dict[Tier, Anchor]:
    """The anchors of a model, best tier first; a tier whose like nobody sells has none.

    Raises:
        TableError: a provider that has more than one voice.
    """
    by_tier: dict[Tier, dict[str, ListPrice]] = {}
    for price in prices:
        if price.model != model:
            continue
        voices = by_tier.setdefault(price.tier, {})
        if price.provider in voices:
            raise TableError(f"{price.provider} lists {model} twice as {price.tier}; keep one")
        voices[price.provider] = price
    return {tier: _anchor(tier, by_tier[tier]) for tier in Tier if tier in by_tier}


def _anchor(tier: Tier, voices: Mapping[str, ListPrice]) -> Anchor:
    cached = [price.cached for price in voices.values() if price.cached is not None]
    return Anchor(
        tier=tier,
        providers=len(voices),
        input=median(price.input for price in voices.values()),
        output=median(price.output for price in voices.values()),
        cached=median(cached) if cached else None,
    )
