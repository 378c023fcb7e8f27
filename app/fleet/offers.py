"""From registered deployments to what the scheduler may look at; pure.

Offers that did not change stay the same objects from snapshot to snapshot: the scheduler keeps what it worked out from
one for as long as it does.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from app.fleet.roster import Deployed, DeploymentSpec
from pricing.slo import Tier
from scheduler.fleet import Fleet, Offer, OfferId

UNKNOWN = "unknown"


def offer_of(spec: DeploymentSpec, share: float = 1.0) -> Offer:
    """A deployment as the scheduler sees it.

    Args:
        spec: what runs where.
        share: the part of its concurrency that it may use now, at least one request.
    """
    return Offer(
        id=spec.id,
        provider_id=spec.provider_id,
        deployment_id=spec.deployment_id,
        model=spec.model,
        speed=spec.speed,
        concurrency_max=usable(spec.concurrency_max, share),
        context_max=spec.context_max,
        cost=spec.cost,
        is_owned=spec.is_owned,
        capabilities=spec.capabilities,
        tiers=spec.tiers,
        precision=spec.precision,
        region=spec.region,
    )


def offers_by_model(
    deployed: Iterable[Deployed], limits: Mapping[OfferId, int], known: Mapping[str, tuple[Offer, ...]]
) -> dict[str, tuple[Offer, ...]]:
    """All offers, by the public name of their model.

    Args:
        deployed: everything registered; whether it takes work is not decided here.
        limits: for offers that may use only part of their concurrency now, how much.
        known: the offers of the snapshot before; what equals one of them is that one.
    """
    before = {offer.id: offer for offers in known.values() for offer in offers}
    found: dict[str, list[Offer]] = {}
    for each in deployed:
        made = offer_of(each.spec)
        if each.id in limits:
            made = replace(made, concurrency_max=max(1, min(made.concurrency_max, limits[each.id])))
        kept = before.get(each.id)
        found.setdefault(each.spec.model, []).append(kept if kept is not None and kept == made else made)
    return {model: _same(known.get(model), tuple(offers)) for model, offers in found.items()}


def precisions(fleet: Fleet, model: str, tier: Tier) -> tuple[str, ...]:
    """At which precisions a model is served at a tier now, by name; ``unknown`` among them where one is not stated."""
    serving = (each for each in fleet.offers.get(model, ()) if tier in each.tiers and each.id not in fleet.closed)
    return tuple(sorted({each.precision or UNKNOWN for each in serving}))


def usable(concurrency_max: int, share: float) -> int:
    """How many requests a part of a concurrency is: at least one.

    >>> usable(64, 0.1), usable(4, 0.1), usable(64, 1.0)
    (7, 1, 64)
    """
    return max(1, math.ceil(concurrency_max * share))


def _same(before: tuple[Offer, ...] | None, now: tuple[Offer, ...]) -> tuple[Offer, ...]:
    """The tuple of before, when it holds the same objects."""
    is_same = before is not None and len(before) == len(now) and all(a is b for a, b in zip(before, now, strict=True))
    return before if is_same and before is not None else now
