"""Why a job was placed where it was: every offer's part in one decision, worked out only when it is asked for.

The decision itself is not slowed down: whoever wants an explanation has each offer judged once more, alone, by the
same rules (:func:`scheduler.admission.feasible`), at the same loads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scheduler import filters
from scheduler.admission import Ask, feasible, room, tolerated_by
from scheduler.columns import Row
from scheduler.fleet import Load, Offer, OfferId
from scheduler.load_view import LoadView
from scheduler.placement import Verdict, Why

OFFERS_SHOWN_MAX = 500


@dataclass(frozen=True, slots=True)
class Scene:
    """What a decision was made from.

    Attributes:
        offers: all of the model.
        rows: those that may serve the rung, by offer.
        kept: why an offer that could serve is left to others, by offer.
    """

    offers: Sequence[Offer]
    rows: Mapping[OfferId, Row]
    view: LoadView
    kept: Mapping[OfferId, str]


def explain(ask: Ask, scene: Scene) -> Why:
    """Says of every offer whether it could be chosen, and why not."""
    shown = scene.offers[:OFFERS_SHOWN_MAX]
    verdicts = tuple(_verdict(offer, ask, scene) for offer in shown)
    return Why(ask.tier, ask.now_us, ask.budget_us, ask.policy.margin, verdicts)


def _verdict(offer: Offer, ask: Ask, scene: Scene) -> Verdict:
    row, load = scene.rows.get(offer.id), scene.view.load(offer.id)
    if row is None:
        return Verdict(offer.id, _cannot(offer, ask), load.in_flight)
    found = feasible([row], ask, scene.view, ()).found
    why_not = _barred(offer, ask, scene)
    if found and not why_not:
        best = found[0]
        return Verdict(
            offer.id, "", load.in_flight, best.in_flight_max, best.ttft_us, best.tpot_us, round(best.value, 1)
        )
    ttft_us = row.ttft_base_us + (load.prefill_tokens + ask.job.input_tokens) * row.prompt_token_us
    tpot_us = row.tpot_at(min(load.in_flight + 1, row.concurrency[-1]))
    reason = why_not or _infeasible(row, load, ask, scene.view)
    return Verdict(offer.id, reason, load.in_flight, row.in_flight_max, ttft_us, tpot_us)


def _cannot(offer: Offer, ask: Ask) -> str:
    if ask.tier not in offer.tiers:
        return f"does not serve {ask.tier}"
    return f"cannot do {', '.join(sorted(filters.lacking([offer], ask.job.needs)))}"


def _barred(offer: Offer, ask: Ask, scene: Scene) -> str:
    job = ask.job
    if offer.id in job.excluded:
        return "already tried for this request"
    if offer.id in scene.view.fleet.closed:
        return "takes no new work: drained, disabled, or its breaker is open"
    return job.wishes.why_not(offer.provider_id, offer.region, offer.precision) or scene.kept.get(offer.id, "")


def _infeasible(row: Row, load: Load, ask: Ask, view: LoadView) -> str:
    """The first rule of feasibility that an offer breaks; in the order in which they are checked."""
    in_flight = load.in_flight
    if ask.context_tokens > row.context_max:
        return f"its context of {row.context_max} tokens is too small for {ask.context_tokens}"
    if in_flight >= row.room:
        return f"full: {in_flight} run, {row.room} may"
    ttft_us = row.ttft_base_us + (load.prefill_tokens + ask.job.input_tokens) * row.prompt_token_us
    if in_flight >= tolerated_by(row, ask, ttft_us, load) and not ask.is_window:
        return f"with {in_flight + 1} running, a token would take longer than promised"
    if in_flight >= load.in_flight_tolerated:
        return f"with {in_flight + 1} running, a promise already given there would break"
    if in_flight >= room(row, view.fleet.shares):
        return f"starting slowly after a failure: {room(row, view.fleet.shares)} may run for now"
    return "the last token would come too late" if ask.is_window else "the first token would come too late"
