"""The one retry loop's next step: where a request goes whose attempt failed.

Before the customer has seen anything: to another offer of the model, then to the next model that they named. After it:
nowhere, unless they asked for continuation and the answer is plain text. Each step counts against the process's share
of retries, waits a random moment, and is not made when no promise of the ladder can be kept any more.
"""

from dataclasses import replace

from app.errors import MarketError
from app.gateway.answer import Admission, Answer, Placement, without
from app.gateway.choices import move_on, reserve_for
from app.gateway.continuation import Resumed, Spoken
from app.gateway.market import Market
from providers.errors import ProviderError
from scheduler.jobs import Capability, Job
from scheduler.placement import Admit, Wait


async def place_again(answer: Answer, market: Market) -> bool:
    """Moves a request of which nothing was seen to another offer or model; False when there is none."""
    await leave(answer, market)
    answer.begin_again()
    job = without(answer.ask.job, answer.tried)
    return await _on_another_offer(answer, job, market) or await _on_another_model(answer, market)


async def go_on(answer: Answer, spoken: Spoken, failure: ProviderError, market: Market) -> bool:
    """Moves an answer that broke off to an offer that continues it; False when there is none."""
    tokens = answer.delivery.tokens_counted
    left = answer.ask.quote.output_bound - tokens
    if not spoken.is_plain or not spoken.chars or left < 1:
        return False
    before = answer.placement
    await leave(answer, market)
    job = _continuing(answer, tokens)
    if not await _on_another_offer(answer, job, market):
        return False
    placement = answer.placement
    answer.placement = replace(
        placement,
        job=replace(placement.job, requested_at_us=answer.ask.job.requested_at_us),
        placed_at_us=before.placed_at_us,  # the time until the break was not spent on placing
    )
    answer.begin_again()
    answer.tokens_before = tokens
    answer.resumed.append(Resumed(spoken.text, tokens, before.offer.id, placement.offer.id, failure.detail))
    market.meters.continued()
    return True


async def leave(answer: Answer, market: Market) -> None:
    """Gives a failed attempt's place back, and waits a moment, so that those who failed together do not go together."""
    await market.driver.give_back(answer.placement)
    answer.tried.add(answer.placement.offer.id)
    await market.driver.pause(answer.attempts)


def _continuing(answer: Answer, tokens: int) -> Job:
    """The rest of an answer as a job: its next token is due when it would have been in the whole answer."""
    job, rung = answer.ask.job, answer.ask.ladder.served
    later_us = 0 if rung.slo.is_window else tokens * rung.slo.tpot_us
    return replace(
        without(job, answer.tried),
        requested_at_us=job.requested_at_us + later_us,
        input_tokens=job.input_tokens + tokens,
        output_tokens=max(1, job.output_tokens - tokens),
        output_tokens_max=max(1, job.output_tokens_max - tokens),
        needs=job.needs | {Capability.CONTINUATION},
    )


async def _on_another_offer(answer: Answer, job: Job, market: Market) -> bool:
    try:
        return await _lease(answer, market.driver.arrive_again(job), market)
    except MarketError as refused:
        market.meters.not_tried_again(refused)
        return False


async def _on_another_model(answer: Answer, market: Market) -> bool:
    while decision := await move_on(answer.choices, market, after_failure=True):
        answer.reserve = reserve_for(answer.ask, market.settings.hold_step_tokens)
        answer.tried.clear()
        try:
            return await _lease(answer, decision, market)
        except MarketError:
            continue
    return False


async def _lease(answer: Answer, decision: Admit | Wait, market: Market) -> bool:
    before: Placement = answer.placement
    market.meters.failed_over(before.offer.id)
    placement = await market.driver.lease(decision, Admission(None, answer.ask.tokens))
    answer.placement = replace(placement, allowance=before.allowance)
    answer.attempts += 1
    return True
