"""Which offers may serve a request at all, whatever their load."""

from collections.abc import Iterable

from pricing.slo import Tier
from scheduler.fleet import Fleet, Offer
from scheduler.jobs import Capability, Job
from scheduler.preferences import NO_PREFERENCES


def serves(offer: Offer, tier: Tier, needs: frozenset[Capability]) -> bool:
    """Whether an offer sells a tier and can do all that a request needs."""
    return tier in offer.tiers and needs <= offer.capabilities


def fits(offer: Offer, context_tokens: int) -> bool:
    """Whether prompt and longest answer fit into an offer's context."""
    return context_tokens <= offer.context_max


def is_open(offer: Offer, fleet: Fleet, job: Job) -> bool:
    """Whether an offer takes new work, was not already tried for this job, and is one its customer wants."""
    return offer.id not in fleet.closed and offer.id not in job.excluded and is_wanted(offer, job)


def is_wanted(offer: Offer, job: Job) -> bool:
    """Whether an offer is one that the job's customer wants."""
    return job.wishes is NO_PREFERENCES or not job.wishes.why_not(offer.provider_id, offer.region, offer.precision)


def lacking(offers: Iterable[Offer], needs: frozenset[Capability]) -> frozenset[Capability]:
    """Those of ``needs`` that no offer can do."""
    return needs.difference(*(offer.capabilities for offer in offers))
