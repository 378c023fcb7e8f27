"""Why a job is not taken, in words and numbers a customer can act on, and when trying again could help."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from pricing.slo import US_PER_S, Rung
from scheduler import filters
from scheduler.admission import Ask, Crowd, could_alone, next_chance_us
from scheduler.columns import Row, row
from scheduler.fleet import NEUTRAL, Offer
from scheduler.jobs import Job
from scheduler.load_view import LoadView
from scheduler.placement import RefusalReason, Refuse
from scheduler.policy import Policy

_US_PER_MS = 1_000
_RETRY_JITTER = 0.5
_OFFERS_NAMED_MAX = 20


@dataclass(frozen=True, slots=True)
class Setting:
    """What a refusal is explained by.

    Attributes:
        rows: offers that may serve the rung asked for.
        is_queue_full: the job could have waited, were there a place to wait.
    """

    rows: Sequence[Row]
    view: LoadView
    crowd: Crowd
    is_queue_full: bool = False


def refuse(ask: Ask, setting: Setting, rng: Random) -> Refuse:
    """Refuses a job with the reason nearest to what would have to change."""
    job, fleet = ask.job, setting.view.fleet
    rung = job.ladder.rungs[ask.index]
    if not setting.rows:
        return Refuse(job, RefusalReason.NO_OFFER, None, _no_offer(fleet.offers.get(job.model, ()), job, rung))
    fitting = [each for each in setting.rows if filters.fits(each.offer, ask.context_tokens)]
    if not fitting:
        return Refuse(job, RefusalReason.CONTEXT_TOO_LONG, None, _too_long(setting.rows, ask))
    wanted = [each for each in fitting if filters.is_wanted(each.offer, job)]
    if not wanted:
        return Refuse(job, RefusalReason.NO_OFFER, None, _unwanted(fitting, job))
    open_rows = [each for each in wanted if filters.is_open(each.offer, fleet, job)]
    if not open_rows:
        retry_us = retry_after(ask.policy.recovery_us, ask.policy, rng)
        return Refuse(job, RefusalReason.NO_CAPACITY, retry_us, _all_shut(wanted, job, retry_us))
    able = [each for each in open_rows if could_alone(each, ask)]
    if not able:
        return _out_of_reach(open_rows, ask, rng)
    return _busy(able, ask, setting, rng)


def shed(job: Job, waiting: int, policy: Policy, rng: Random) -> Refuse:
    """Refuses a job that waited, to make place for one that goes before it."""
    retry_us = retry_after(policy.recovery_us, policy, rng)
    explanation = (
        f"{waiting} requests wait, as many as may; this one, last in line at the {job.tier} tier, made place for one "
        f"that goes before it. Try again in {_s(retry_us)}."
    )
    return Refuse(job, RefusalReason.QUEUE_FULL, retry_us, explanation)


def overfull(job: Job, admitted: int, policy: Policy, rng: Random) -> Refuse:
    """Refuses a job because too many others are being admitted at this moment."""
    retry_us = retry_after(policy.retry_us_min, policy, rng)
    explanation = f"{admitted} requests are being admitted, as many as may at once. Try again in {_s(retry_us)}."
    return Refuse(job, RefusalReason.QUEUE_FULL, retry_us, explanation)


def unanswered(job: Job, policy: Policy, rng: Random) -> Refuse:
    """Refuses a job that was admitted, but that nobody leased or withdrew in time."""
    retry_us = retry_after(policy.recovery_us, policy, rng)
    explanation = (
        f"The request was admitted but found no lease within {_s(policy.answer_us_max)}. Try again in {_s(retry_us)}."
    )
    return Refuse(job, RefusalReason.NO_CAPACITY, retry_us, explanation)


def retry_after(wait_us: float, policy: Policy, rng: Random) -> int:
    """When to try again: the wait expected and up to half as much again, so that not all come back at once."""
    wished_us = wait_us * (1.0 + _RETRY_JITTER * rng.random())
    return round(min(max(wished_us, policy.retry_us_min), policy.retry_us_max))


def _no_offer(offers: Sequence[Offer], job: Job, rung: Rung) -> str:
    if not offers:
        return f"No provider offers {job.model}."
    at_tier = [offer for offer in offers if rung.tier in offer.tiers]
    if not at_tier:
        return f"None of the {len(offers)} offers of {job.model} serves the {rung.tier} tier."
    missing = filters.lacking(at_tier, job.needs) or job.needs
    wanted = ", ".join(sorted(missing))
    return f"None of the {len(at_tier)} offers of {job.model} at the {rung.tier} tier can do: {wanted}."


def _too_long(rows: Sequence[Row], ask: Ask) -> str:
    largest = max(each.context_max for each in rows)
    job = ask.job
    return (
        f"The prompt of about {job.input_tokens} tokens and an answer of up to {job.output_tokens_max} need a context "
        f"of {ask.context_tokens} tokens; the largest on offer for {job.model} is {largest}."
    )


def _unwanted(rows: Sequence[Row], job: Job) -> str:
    offers = [each.offer for each in rows[:_OFFERS_NAMED_MAX]]
    reasons = sorted(
        {
            f"{offer.provider_id} ({job.wishes.why_not(offer.provider_id, offer.region, offer.precision)})"
            for offer in offers
        }
    )
    return (
        f"None of the {len(rows)} offers of {job.model} that could serve this meets your preferences "
        f"({job.wishes.words()}): {', '.join(reasons)}. Widen them."
    )


def no_second_try(job: Job, share: float) -> Refuse:
    """Refuses to try a job again after a failed attempt, when so many others were that it would only add to trouble."""
    explanation = f"Of all requests at most {share:.0%} may be tried again, and that many were. Send it again."
    return Refuse(job, RefusalReason.NO_CAPACITY, 0, explanation)


def no_fallbacks(job: Job) -> Refuse:
    """Refuses to try a job elsewhere because its customer allowed no fallbacks."""
    return Refuse(job, RefusalReason.NO_OFFER, None, "The request allows no fallbacks.")


def _all_shut(rows: Sequence[Row], job: Job, retry_us: int) -> str:
    tried = sum(each.id in job.excluded for each in rows)
    return (
        f"All {len(rows)} offers of {job.model} that could serve this are shut for now ({tried} failed this request, "
        f"{len(rows) - tried} take no new work). Try again in {_s(retry_us)}."
    )


def _out_of_reach(rows: Sequence[Row], ask: Ask, rng: Random) -> Refuse:
    job = ask.job
    rung = job.ladder.rungs[ask.index]
    as_measured = [row(each.offer, rung, NEUTRAL, ask.policy) for each in rows]
    fresh_us = rung.slo.ttft_us - ask.budget_us
    can_recover = any(could_alone(each, _from_the_start(ask, fresh_us)) for each in as_measured)
    retry_us = retry_after(ask.policy.recovery_us, ask.policy, rng) if can_recover else None
    advice = (
        "Ask for a lower tier or send a shorter prompt."
        if retry_us is None
        else f"Try again in {_s(retry_us)}, or ask for a lower tier."
    )
    explanation = (
        f"{_promise(ask, rung)}; {_ms(fresh_us)} have passed since the request came. {_forecasts(rows, ask)} {advice}"
    )
    return Refuse(job, RefusalReason.PROMISE_OUT_OF_REACH, retry_us, explanation)


def _from_the_start(ask: Ask, elapsed_us: int) -> Ask:
    budget_us = ask.budget_us + elapsed_us
    return replace(ask, budget_us=budget_us, safe_us=budget_us * (1.0 - ask.policy.margin))


def _busy(rows: Sequence[Row], ask: Ask, setting: Setting, rng: Random) -> Refuse:
    rung = ask.job.ladder.rungs[ask.index]
    wait_us = next_chance_us(rows, ask, setting.view, setting.crowd)
    retry_us = retry_after(min(wait_us, ask.policy.retry_us_max), ask.policy, rng)
    loads = [setting.view.load(each.id) for each in rows]
    reason = RefusalReason.QUEUE_FULL if setting.is_queue_full else RefusalReason.NO_CAPACITY
    full = " and no more requests may wait" if setting.is_queue_full else ""
    wait = f"room is expected in about {_s(wait_us)}" if math.isfinite(wait_us) else "no room is in sight"
    explanation = (
        f"{_promise(ask, rung)}; {_ms(max(0, ask.budget_us))} of that are left. The {len(rows)} offers that can do so "
        f"are busy with {sum(load.in_flight for load in loads)} requests, {sum(load.prefill_tokens for load in loads)} "
        f"prompt tokens not yet taken in; {wait}{full}. Try again in {_s(retry_us)}."
    )
    return Refuse(ask.job, reason, retry_us, explanation)


def _promise(ask: Ask, rung: Rung) -> str:
    if ask.is_window:
        return f"The {rung.tier} tier of {ask.job.model} promises the whole answer within {_s(rung.slo.ttft_us)}"
    return (
        f"The {rung.tier} tier of {ask.job.model} promises a first token within {_ms(rung.slo.ttft_us)} and "
        f"{_ms(rung.slo.tpot_us)} per token"
    )


def _forecasts(rows: Sequence[Row], ask: Ask) -> str:
    first_us = min(each.ttft_base_us + ask.job.input_tokens * each.prompt_token_us for each in rows)
    tpot_us = min(each.tpot_us[0] for each in rows)
    return (
        f"For this prompt of about {ask.job.input_tokens} tokens the fastest of {len(rows)} offers would need "
        f"{_ms(first_us)} and {_ms(tpot_us)} per token even with nothing else to do."
    )


def _ms(us: float) -> str:
    ms = us / _US_PER_MS
    return f"{ms:.0f} ms" if abs(ms) >= 100 else f"{ms:.3g} ms"  # noqa: PLR2004 (three digits are enough to act on)


def _s(us: float) -> str:
    return f"{us / US_PER_S:.3g} s"
