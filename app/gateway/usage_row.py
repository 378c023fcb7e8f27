"""One served request as a row of ``usage_event``; pure."""

from typing import Any

from app.gateway.answer import Answer, Ask, Ended, Reserve
from app.gateway.explanation import explanation
from app.gateway.tiers import WORD_OF_TIER
from app.ledger.holds import PreparedRow
from app.metering import timeline_codec
from app.metering.meter import Metered
from app.metering.plausible import Dispute
from pricing.money import NanoUsd
from pricing.rating import ChargeLine, ceiling

FINISH_REASON_CHARS_MAX = 100


def usage_row(answer: Answer, ended: Ended, metered: Metered, *, finished_at_us: int, is_emulated: bool) -> PreparedRow:
    """The row that says what was delivered, to whom, by whom, when, and what it costs."""
    return PreparedRow(
        "usage_event",
        {
            **_who(answer),
            **_when(answer, finished_at_us),
            **_how(answer, ended, metered),
            **_how_much(answer, metered),
            "is_emulated": is_emulated,
        },
    )


def dispute_rows(answer: Answer, dispute: Dispute | None, at_us: int) -> tuple[PreparedRow, ...]:
    """The row that says which of a backend's counts were not believed; none where all were."""
    if dispute is None:
        return ()
    offer = answer.placement.offer
    values = {
        "request_id": answer.ask.job.id,
        "provider_id": offer.provider_id,
        "offer_id": offer.id,
        "at_us": at_us,
        "input_reported": dispute.reported.input_total,
        "output_reported": dispute.reported.output,
        "input_most": dispute.input_most,
        "output_least": dispute.output_least,
        "output_most": dispute.output_most,
        "output_billed": dispute.output_billed,
        "reason": dispute.reason[:500],
    }
    return (PreparedRow("usage_dispute", values),)


def held_amount(ask: Ask, reserve: Reserve) -> NanoUsd:
    """nano-USD that a hold of the whole prompt and ``reserve`` output tokens covers."""
    return min(ask.quote.ceiling, ceiling(ask.ladder.served, ask.quote.input_bound, reserve.tokens))


def is_attained(answer: Answer, ended: Ended, metered: Metered) -> bool:
    """True when the promise was kept: every token good, or none at all and over before one was due."""
    if ended.ending.is_billable and not metered.grade.tokens:
        return metered.ended_us <= answer.ask.ladder.served.slo.ttft_us
    return metered.grade.attained and ended.ending.is_billable


def storable(finish_reason: str) -> str:
    """A backend's word as any database keeps it: not too long, without NUL and half characters."""
    return finish_reason.replace("\0", "").encode("utf-8", "replace").decode()[:FINISH_REASON_CHARS_MAX]


def tpot_us(metered: Metered, *, is_stream: bool) -> float | None:
    """Mean µs per output token after the first chunk, as delivered; None when there is no such token."""
    timeline = metered.timeline
    if not is_stream or not timeline.tokens or timeline.tokens_through[0] == timeline.tokens:
        return None
    return (timeline.at_us[-1] - timeline.at_us[0]) / (timeline.tokens - timeline.tokens_through[0])


def _who(answer: Answer) -> dict[str, Any]:
    ask, offer = answer.ask, answer.placement.offer
    return {
        "request_id": ask.job.id,
        "customer_id": ask.caller.customer_id,
        "key_id": ask.caller.key_id,
        "model": ask.order.model,
        "tier_asked": ask.order.tier.value,
        "tier_served": answer.placement.tier.value,
        "service_tier": WORD_OF_TIER[answer.placement.tier],
        "provider_id": offer.provider_id,
        "offer_id": offer.id,
        "deployment_id": offer.deployment_id,
        "precision": offer.precision,
        "price_book_id": ask.book.id,
        "attempts": answer.attempts,
        "is_streamed": ask.order.is_stream,
        "explanation": explanation(answer),
    }


def _when(answer: Answer, finished_at_us: int) -> dict[str, Any]:
    requested_at_us = answer.ask.job.requested_at_us
    first_token_us = answer.delivery.first_token_us
    return {
        "requested_at_us": requested_at_us,
        "admitted_at_us": answer.admitted_at_us,
        "placed_at_us": answer.placement.placed_at_us,
        "first_token_at_us": None if first_token_us is None else requested_at_us + first_token_us,
        "finished_at_us": finished_at_us,
    }


def _how(answer: Answer, ended: Ended, metered: Metered) -> dict[str, Any]:
    return {
        "ending": ended.ending.value,
        "finish_reason": storable(answer.finish_reason or "") if ended.ending.is_billable else "error",
        "late_cause": metered.late_cause.value,
        "tokens_good": metered.grade.tokens_good,
        "is_attained": is_attained(answer, ended, metered),
        "timeline": timeline_codec.encode(metered.timeline),
        "usage_source": metered.reported.source,
    }


def _how_much(answer: Answer, metered: Metered) -> dict[str, Any]:
    usage, charge = metered.usage, metered.charge
    return {
        "tokens_input": usage.input,
        "tokens_cached": usage.cached,
        "tokens_cache_write": usage.cache_write,
        "tokens_output": usage.output,
        "tokens_reasoning": min(metered.reported.hidden_tokens, usage.output),
        "lines": [_line(line) for line in charge.lines],
        "gross": charge.gross,
        "adjustment": charge.adjustment,
        "net": charge.net,
        "cost": metered.cost,
        "quote_ceiling": answer.ask.quote.ceiling,
        "held": held_amount(answer.ask, answer.reserve),
    }


def _line(line: ChargeLine) -> dict[str, Any]:
    return {
        "tier": line.tier.value,
        "input": line.input.input,
        "cached": line.input.cached,
        "cache_write": line.input.cache_write,
        "output": line.tokens_output,
        "amount": line.amount,
    }
