"""Why a request ran where it did, as its row keeps it for operators; pure.

The candidates are always kept; every other offer's part in the decision only where it was asked for, or drawn.
"""

from typing import Any

from app.gateway.answer import Answer, Placement
from pricing.money import PICO_PER_NANO
from scheduler.placement import Candidate, Verdict, Why


def explanation(answer: Answer) -> dict[str, Any]:
    """The explanation of one served request, JSON-ready; times in µs, worth in nano-USD."""
    placement = answer.placement
    found: dict[str, Any] = {
        "chosen": placement.offer.id,
        "tier": placement.tier.value,
        "waited_us": placement.placed_at_us - answer.admitted_at_us,
        "candidates": [_candidate(each) for each in _tried(placement)],
    }
    if placement.why is not None:
        found["offers"] = _why(placement.why)
    if answer.story:
        found["attempts"] = answer.story
    if answer.hedge is not None:
        found["hedge"] = answer.hedge
    if answer.resumed:
        found["continued"] = [each.document() for each in answer.resumed]
    if answer.asked != answer.ask.order.model:
        found["model_asked"] = answer.asked
    return found


def _tried(placement: Placement) -> tuple[Candidate, ...]:
    """The candidates, the chosen one as the lease found it."""
    chosen = placement.candidate
    others = (each for each in placement.candidates if each.offer.id != chosen.offer.id)
    return (chosen, *others)


def _candidate(candidate: Candidate) -> dict[str, Any]:
    factors = candidate.calibration
    return {
        "offer": candidate.offer.id,
        "ttft_us": int(candidate.ttft_us * factors.ttft),
        "tpot_us": int(candidate.tpot_us * factors.tpot),
        "value_nano_usd": int(candidate.value_pico) // PICO_PER_NANO,
        "in_flight_max": candidate.in_flight_max,
    }


def _why(why: Why) -> dict[str, Any]:
    return {
        "due_us": why.due_us,
        "margin": why.margin,
        "considered": len(why.verdicts),
        "verdicts": [_verdict(each) for each in why.verdicts],
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    optional = {
        "ruled_out": verdict.ruled_out or None,
        "ttft_us": None if verdict.ttft_us is None else int(verdict.ttft_us),
        "tpot_us": None if verdict.tpot_us is None else int(verdict.tpot_us),
        "value_nano_usd": None if verdict.value_pico is None else int(verdict.value_pico) // PICO_PER_NANO,
    }
    told = {name: value for name, value in optional.items() if value is not None}
    return {"offer": verdict.offer_id, "in_flight": verdict.in_flight, "in_flight_max": verdict.in_flight_max, **told}
