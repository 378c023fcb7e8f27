"""What is simulated: a price book, and a fleet whose offers each have an engine behind them; pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pricing.money import ZERO, NanoUsd, half_even_to_nano
from pricing.pricebook import PriceBook, canonical_json
from providers.engine_model.spec import BatchSpec, EngineSpec, spec_document
from scheduler.fleet import Offer, OfferId

NS_PER_HOUR = 3_600_000_000_000


class ImpossibleMarket(ValueError):
    """A market that cannot be run: no offers, one twice, or an engine smaller than its offer promises."""


@dataclass(frozen=True, slots=True)
class Supply:
    """One offer and what makes its tokens.

    Attributes:
        engine: when its tokens are made; the scheduler never sees it, only the offer's load curve.
        per_hour: nano-USD that an hour of it costs, busy or idle; 0 where tokens are bought.
        notes: what in it is assumed rather than measured.
    """

    offer: Offer
    engine: EngineSpec
    per_hour: NanoUsd = ZERO
    notes: tuple[str, ...] = ()

    @property
    def tokens_max(self) -> int:
        """The most tokens, prompt and answer, that its engine takes of one request."""
        return self.engine.kv_tokens if isinstance(self.engine, BatchSpec) else self.engine.context_max

    def cost_of_time(self, duration_ns: int) -> NanoUsd:
        """What owning it for so long costs, nano-USD."""
        return half_even_to_nano(self.per_hour * 1_000 * duration_ns // NS_PER_HOUR)


@dataclass(frozen=True, slots=True)
class Market:
    """A price book and a fleet.

    Attributes:
        source: where they come from, in words.

    Raises:
        ImpossibleMarket: see there.
    """

    book: PriceBook
    supplies: tuple[Supply, ...]
    source: str = ""

    def __post_init__(self) -> None:
        if not self.supplies:
            raise ImpossibleMarket("the fleet has no offer that takes work; enable one, or simulate the demo fleet")
        seen: set[OfferId] = set()
        for supply in self.supplies:
            offer = supply.offer
            if offer.id in seen:
                raise ImpossibleMarket(f"offer {offer.id} is there twice")
            seen.add(offer.id)
            if supply.tokens_max < offer.context_max:
                raise ImpossibleMarket(
                    f"{offer.id} promises a context of {offer.context_max} tokens, but its engine holds "
                    f"{supply.tokens_max}"
                )
        if not self.models:
            sold = ", ".join(self.book.models())
            raise ImpossibleMarket(f"no offer makes any model of the price book ({sold}); register one that does")

    @property
    def models(self) -> tuple[str, ...]:
        """Models that are both sold and made, by name."""
        made = {supply.offer.model for supply in self.supplies}
        return tuple(model for model in self.book.models() if model in made)

    def by_model(self) -> Mapping[str, tuple[Offer, ...]]:
        """The offers as the scheduler's snapshot holds them."""
        offers: dict[str, tuple[Offer, ...]] = {}
        for supply in self.supplies:
            offers[supply.offer.model] = (*offers.get(supply.offer.model, ()), supply.offer)
        return offers

    def context_max(self, model: str) -> int:
        """The largest context that any offer of a model has."""
        return max(supply.offer.context_max for supply in self.supplies if supply.offer.model == model)

    @property
    def sha256(self) -> str:
        """Digest of everything in it that can change a result."""
        document = {"book": self.book.sha256, "supplies": [supply_document(supply) for supply in self.supplies]}
        return hashlib.sha256(canonical_json(document)).hexdigest()


def supply_document(supply: Supply) -> dict[str, Any]:
    """What a supply is, JSON-ready."""
    offer = supply.offer
    return {
        "offer": offer.id,
        "model": offer.model,
        "concurrency_max": offer.concurrency_max,
        "context_max": offer.context_max,
        "cost": {name.value: rate for name, rate in offer.cost.by_class().items()},
        "is_owned": offer.is_owned,
        "tiers": sorted(tier.value for tier in offer.tiers),
        "curve": [list(offer.speed.concurrency), list(offer.speed.tpot_us)],
        "ttft_base_us": offer.speed.ttft_base_us,
        "prefill_tok_s": offer.speed.prefill_tok_s,
        "engine": spec_document(supply.engine),
        "per_hour": supply.per_hour,
        "notes": list(supply.notes),
    }
