"""The fleet and the demand that routers are compared on: deployments of the shipped profiles, bursty tiers; pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

from app.catalog.derivation import PricedModel, derived_book
from app.fleet.speeds import speed_curve
from app.simulation.market import Market, Supply
from app.simulation.plant import engine_of
from app.simulation.supplies import Evidence, market_of
from app.simulation.workload import NS_PER_S, Workload, WorkloadError, arrivals
from pricing.assumptions import Assumptions
from pricing.candidates import Selection
from pricing.deployments import deployments
from pricing.derive import derive
from pricing.pricebook import PriceBook
from pricing.profiles import Deployment, LengthClass, cleaned
from pricing.quality import stated
from pricing.slo import Tier
from pricing.usage import Rates
from scheduler.fleet import Offer, OfferId, SpeedCurve

MODEL: Final = "gpt-oss-120b"
LENGTHS: Final = LengthClass(8_192, 1_024)
FLEET: Final = {
    "b200-a": "b200-trtllm-fp4-agg-tp2ep1",
    "b200-b": "b200-trtllm-fp4-agg-tp1ep1",
    "b200-c": "b200-trtllm-fp4-agg-tp4ep1",
    "b200-d": "b200-vllm-fp4-agg-tp2ep1",
    "gb200-a": "gb200-trtllm-fp4-disagg-p-tp1dp1ep1x1-d-tp4dp1ep1x1",
    "h200-a": "h200-trtllm-fp4-agg-tp2ep1",
    "h100-a": "h100-vllm-fp4-agg-tp4ep1",
}
"""By cluster, the measured deployment that it runs: fast and dear, slow and cheap, old and new."""
CONTEXT_MAX: Final = 131_072
EFFECTIVE: Final = datetime(2026, 1, 1, tzinfo=UTC)
BURSTS: Final = (0.6, 1.8, 0.6)
"""A third of the time three times as busy as the rest."""
TIERS: Final = {Tier.PREMIUM: 0.2, Tier.STANDARD: 0.5, Tier.BULK: 0.3}
SATURATED_S: Final = 60
WARM_S: Final = 20


class NoSuchFleet(ValueError):
    """The profiles lack a deployment that the fleet is made of."""


@dataclass(frozen=True, slots=True)
class Contest:
    """What every router meets.

    Attributes:
        market: book and fleet.
        demand: at a load of 1; see :func:`demand_at`.
        capacity_rps: requests a second that the fleet finishes when every engine is kept full.
        homes: offers by tier, for routers that keep tiers apart.
    """

    market: Market
    demand: Workload
    capacity_rps: float
    homes: Mapping[Tier, frozenset[OfferId]]


def contest(evidence: Evidence, demand: Workload | None = None) -> Contest:
    """The standard contest over the shipped profiles.

    Args:
        evidence: profiles and costs of hardware.
        demand: lengths, tiers and customers; its rate does not matter.

    Raises:
        NoSuchFleet: a deployment of the fleet is not among the profiles.
    """
    asked = demand or Workload(tiers=TIERS, bursts=BURSTS)
    known = cleaned(evidence.profiles)
    measured = {d.deployment_id: d for d in deployments(known, MODEL, LENGTHS.isl, LENGTHS.osl)}
    if missing := sorted(set(FLEET.values()) - measured.keys()):
        raise NoSuchFleet(f"the profiles of {MODEL} at {LENGTHS} lack {', '.join(missing)}")
    found = {provider: measured[name] for provider, name in FLEET.items()}
    book = _book(evidence, found.values())
    offers = [_offer(provider, each, evidence) for provider, each in found.items()]
    market = market_of(book, offers, evidence, "shipped profiles")
    return Contest(market, asked, capacity(market, asked), _homes(book, market))


def demand_at(given: Contest, load: float) -> Workload:
    """The contest's demand at a multiple of the fleet's capacity."""
    return replace(given.demand, rps=load * given.capacity_rps)


def misjudged(market: Market, factor: float) -> Market:
    """A market whose offers' profiles say ``factor`` times the times that their engines take."""
    return replace(market, supplies=tuple(_misjudged(supply, factor) for supply in market.supplies))


def capacity(market: Market, demand: Workload) -> float:
    """Requests a second that a fleet finishes when each engine always holds as many as its offer takes."""
    return sum(_saturated(supply, market, demand) for supply in market.supplies)


def _saturated(supply: Supply, market: Market, demand: Workload) -> float:
    """Finishes a second of one engine that is never short of requests, after it has settled."""
    engine = engine_of(supply.engine)
    coming = arrivals(replace(demand, rps=1.0, bursts=()), market.book, market.models, seed=0)
    submitted = 0
    at_ns, done = 0, 0
    for _ in range(supply.offer.concurrency_max):
        arrival = next(coming)
        engine.submit(submitted, arrival.input_tokens, min(arrival.output_tokens, arrival.output_limit), at_ns)
        submitted += 1
    while (event_ns := engine.next_event()) is not None and event_ns < SATURATED_S * NS_PER_S:
        at_ns = event_ns
        finished = engine.advance(at_ns)
        engine.take_started()
        done += len(finished) if at_ns >= WARM_S * NS_PER_S else 0
        for _ in finished:
            arrival = next(coming)
            engine.submit(submitted, arrival.input_tokens, min(arrival.output_tokens, arrival.output_limit), at_ns)
            submitted += 1
    if not done:
        raise WorkloadError(f"{supply.offer.id} finishes no request of this demand within {SATURATED_S} s")
    return done / (SATURATED_S - WARM_S)


def _book(evidence: Evidence, fleet: Iterable[Deployment]) -> PriceBook:
    given = _assumptions(each.deployment_id for each in fleet)
    return derived_book([PricedModel(MODEL, MODEL, evidence.profiles, evidence.hardware_costs, given)], EFFECTIVE)


def _assumptions(names: Iterable[str]) -> Assumptions:
    return Assumptions(lengths=LENGTHS, selection=Selection(deployment_id=frozenset(names)))


def _offer(provider: str, found: Deployment, evidence: Evidence) -> Offer:
    return Offer(
        id=OfferId(f"{provider}/{found.deployment_id}"),
        provider_id=provider,
        deployment_id=found.deployment_id,
        model=MODEL,
        speed=speed_curve(found),
        concurrency_max=found.concurrency_max,
        context_max=CONTEXT_MAX,
        cost=_cost(found, evidence),
        precision=stated(found.configuration.precision),
    )


def _cost(found: Deployment, evidence: Evidence) -> Rates:
    tiers = derive(
        MODEL,
        evidence.profiles,
        evidence.hardware_costs,
        replace(_assumptions([found.deployment_id]), uncertainty=None),
    ).tiers
    return (tiers.get(Tier.STANDARD) or next(iter(tiers.values()))).cost


def _homes(book: PriceBook, market: Market) -> dict[Tier, frozenset[OfferId]]:
    """The fleet cut into tiers by speed, in shares of its cost like the tiers' shares of demand.

    An operator who keeps tiers apart gives the fastest clusters to premium and the slowest to bulk; each tier sold has
    one cluster at least.
    """
    sold = book.tiers(MODEL)
    fastest = sorted((supply.offer for supply in market.supplies), key=lambda offer: offer.speed.tpot_us[0])
    ends = [round(len(fastest) * share) for share in _cumulated([TIERS[tier] for tier in sold])]
    bounds = [0, *ends[:-1], len(fastest)]
    cut = [max(bound, index) for index, bound in enumerate(bounds)]
    slices = [fastest[low:high] for low, high in pairwise(cut)]
    return {tier: frozenset(offer.id for offer in each) for tier, each in zip(sold, slices, strict=True)}


def _cumulated(weights: list[float]) -> list[float]:
    total = sum(weights)
    return [sum(weights[: index + 1]) / total for index in range(len(weights))]


def _misjudged(supply: Supply, factor: float) -> Supply:
    speed = supply.offer.speed
    told = SpeedCurve(
        speed.concurrency,
        tuple(each * factor for each in speed.tpot_us),
        speed.ttft_base_us * factor,
        speed.prefill_tok_s / factor,
    )
    return replace(supply, offer=replace(supply.offer, speed=told))
