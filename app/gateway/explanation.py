"""Why a request ran where it did, as its row keeps it for operators; pure.

The candidates are always kept; every other offer's part in the decision only where it was asked for.
"""

from typing import Any

from app.gateway.answer import Answer, Placement
from pricing.money import format_usd
from scheduler.placement import Candidate, Verdict, Why

PICO_PER_NANO = 1_000
US_PER_MS = 1_000


def explanation(answer: Answer) -> dict[str, Any]:
    """The explanation of one served request, JSON-ready; numbers in ms and USD."""
    placement = answer.placement
    found: dict[str, Any] = {
        "chosen": placement.offer.id,
        "tier": placement.tier.value,
        "waited_ms": _ms(placement.placed_at_us - answer.admitted_at_us),
        "candidates": [_candidate(each) for each in _tried(placement)],
    }
    optional = {
        "offers": None if placement.why is None else _why(placement.why),
        "attempts": answer.story,
        "hedge": answer.hedge,
        "continued": [each.document() for each in answer.resumed],
        "model_asked": answer.asked if answer.asked != answer.ask.order.model else None,
    }
    return {**found, **{name: value for name, value in optional.items() if value}}


def _tried(placement: Placement) -> tuple[Candidate, ...]:
    """The candidates, the chosen one as the lease found it."""
    chosen = placement.candidate
    others = (each for each in placement.candidates if each.offer.id != chosen.offer.id)
    return (chosen, *others)


def _candidate(candidate: Candidate) -> dict[str, Any]:
    factors = candidate.calibration
    return {
        "offer": candidate.offer.id,
        "ttft_ms": _ms(candidate.ttft_us * factors.ttft),
        "tpot_ms": _ms(candidate.tpot_us * factors.tpot),
        "value_usd": _usd(candidate.value_pico),
        "in_flight_max": candidate.in_flight_max,
        "calibration": [round(factors.ttft, 3), round(factors.tpot, 3)],
    }


def _why(why: Why) -> dict[str, Any]:
    return {
        "due_ms": _ms(why.due_us),
        "margin": why.margin,
        "considered": len(why.verdicts),
        "verdicts": [_verdict(each) for each in why.verdicts],
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    optional = {
        "ruled_out": verdict.ruled_out or None,
        "ttft_ms": None if verdict.ttft_us is None else _ms(verdict.ttft_us),
        "tpot_ms": None if verdict.tpot_us is None else _ms(verdict.tpot_us),
        "value_usd": None if verdict.value_pico is None else _usd(verdict.value_pico),
    }
    told = {name: value for name, value in optional.items() if value is not None}
    return {"offer": verdict.offer_id, "in_flight": verdict.in_flight, "in_flight_max": verdict.in_flight_max, **told}


def _ms(us: float) -> float:
    return round(us / US_PER_MS, 3)


def _usd(pico: float) -> str:
    return format_usd(round(pico / PICO_PER_NANO))
