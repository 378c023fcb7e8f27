"""What a customer can check afterwards: one usage event and its price book, as a receipt; pure.

A receipt carries everything from which ``docs/verify_receipt.py`` recomputes the bill without any code of ours: the
timeline, the tokens of each class, who ended the answer, and the price book's id and digest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from app.metering import timeline_codec
from app.metering.models import UsageEvent
from pricing.goodput import Timeline
from pricing.money import format_usd, format_usd_per_mtok
from pricing.pricebook import PriceBook
from pricing.rating import Ending
from pricing.slo import US_PER_S, Ladder, Rung, Tier

US_PER_MS = 1_000
FORMAT = "goodput-receipt/1"


@dataclass(frozen=True, slots=True)
class LateToken:
    """The first token that missed the promise of the tier served.

    Attributes:
        index: from 0.
        at_us: when it was delivered; ``due_us`` when it was due; µs since the request was read.
    """

    index: int
    at_us: int
    due_us: int


def receipt(event: UsageEvent, book: PriceBook | None) -> dict[str, Any]:
    """The receipt of one settled request, JSON-ready; amounts are decimal strings of USD.

    Args:
        event: what was delivered.
        book: the price book stamped at admission; None where it is not at hand, then promises and rates are missing.
    """
    timeline = None if event.timeline is None else timeline_codec.decode(event.timeline)
    ladder = None if book is None else book.ladder(event.model, Tier(event.tier_served))
    late = None if timeline is None or ladder is None else first_late_token(timeline, ladder.served)
    return {
        "format": FORMAT,
        **_what(event),
        "price_book": {"id": event.price_book_id, "sha256": book.sha256 if book else None},
        "usage": _usage(event),
        "ladder": _ladder(event, ladder),
        "input_tier": next((line["tier"] for line in event.lines if _input_tokens(line)), None),
        "bill": _bill(event),
        "why": _why(event, late),
        "timing": _timing(event, timeline, late),
        "timeline": None if timeline is None else _timeline(timeline),
        **_familiar(event),
    }


def first_late_token(timeline: Timeline, served: Rung) -> LateToken | None:
    """Finds the first token that missed its deadline; None when all were good, or there were none.

    In a chunk the first token is due first, so it is the one that is late if any is.
    """
    last = timeline.tokens - 1
    index = 0
    for at_us, through, excused_us in zip(timeline.at_us, timeline.tokens_through, timeline.excused_us, strict=True):
        if through > index:
            due_us = served.slo.deadline_us(index if timeline.streamed else last, excused_us)
            if at_us > due_us:
                return LateToken(index, at_us, due_us)
            index = through
    return None


def _what(event: UsageEvent) -> dict[str, Any]:
    return {
        "id": event.request_id,
        "object": "receipt",
        "model": event.model,
        "tier_asked": event.tier_asked,
        "tier_served": event.tier_served,
        "service_tier": event.service_tier,
        "provider": {
            "id": event.provider_id,
            "offer_id": event.offer_id,
            "deployment_id": event.deployment_id,
            "precision": event.precision or None,
            "is_emulated": event.is_emulated,
            "attempts": event.attempts,
            "continued": _continued(event),
        },
        "is_streamed": event.is_streamed,
        "ending": event.ending,
        "is_billable": Ending(event.ending).is_billable,
        "finish_reason": event.finish_reason or None,
        "attained": event.is_attained,
        "late_cause": event.late_cause,
    }


def _continued(event: UsageEvent) -> list[dict[str, Any]]:
    """Each time that another provider went on with an answer that had broken off; nothing else of an explanation."""
    breaks = (event.explanation or {}).get("continued", ())
    return [
        {
            "after_tokens": each["after_tokens"],
            "from": each["from"].partition("/")[0],
            "to": each["to"].partition("/")[0],
        }
        for each in breaks
    ]


def _usage(event: UsageEvent) -> dict[str, Any]:
    return {
        "input": event.tokens_input,
        "cached": event.tokens_cached,
        "cache_write": event.tokens_cache_write,
        "output": event.tokens_output,
        "reasoning": event.tokens_reasoning,
        "good": event.tokens_good,
        "missed": event.tokens_output - sum(line["output"] for line in event.lines),
        "counted_by": {"provider": "provider", "counted": "gateway"}[event.usage_source],
    }


def _ladder(event: UsageEvent, ladder: Ladder | None) -> list[dict[str, Any]]:
    """Per rung, best first: what was promised, what it costs, and how much of the delivery met it."""
    rungs = {rung.tier.value: rung for rung in ladder} if ladder else {}
    return [_rung(line, rungs.get(line["tier"]), event.tokens_output) for line in event.lines]


def _rung(line: dict[str, Any], rung: Rung | None, tokens_output: int) -> dict[str, Any]:
    met = {
        "tier": line["tier"],
        "tokens_input": _input_tokens(line),
        "tokens_output": line["output"],
        "amount_usd": format_usd(line["amount"]),
    }
    if rung is None:
        return met
    last_due_us = rung.slo.deadline_us(max(0, tokens_output - 1))
    return {
        **met,
        "promise": {"ttft_us": rung.slo.ttft_us, "tpot_us": rung.slo.tpot_us, "last_token_due_us": last_due_us},
        "usd_per_mtok": {name.value: format_usd_per_mtok(rate) for name, rate in rung.rates.by_class().items()},
    }


def _bill(event: UsageEvent) -> dict[str, Any]:
    return {
        "currency": "USD",
        "gross": format_usd(event.gross),
        "slo_adjustment": format_usd(event.adjustment),
        "net": format_usd(event.net),
        "charged": format_usd(min(event.net, event.held)),
        "quoted_at_most": format_usd(event.quote_ceiling),
        "held": format_usd(event.held),
    }


def _why(event: UsageEvent, late: LateToken | None) -> list[str]:
    """The adjustment in sentences, tier by tier."""
    if not Ending(event.ending).is_billable:
        return [f"The answer ended with {event.ending}: nothing is owed for it."]
    sentences = list(_fallen(event))
    if late is not None:
        sentences.append(
            f"Token {late.index} was the first to miss the {event.tier_served} promise: due at "
            f"{_ms(late.due_us)} ms, delivered at {_ms(late.at_us)} ms."
        )
    return sentences


def _fallen(event: UsageEvent) -> Iterator[str]:
    for line in event.lines[1:]:
        fell = f"missed {event.tier_served} and met {line['tier']}"
        if line["output"]:
            yield f"{line['output']} output tokens {fell}: they are billed at {line['tier']} rates."
        if _input_tokens(line):
            yield f"The first token {fell}: the input is billed at {line['tier']} rates."
    missed = event.tokens_output - sum(line["output"] for line in event.lines)
    if missed:
        yield f"{missed} output tokens met no promise: they are free."
    if event.tokens_output and not any(_input_tokens(line) for line in event.lines) and _input_tokens(_all(event)):
        yield "The first token met no promise: the input is free."


def _all(event: UsageEvent) -> dict[str, int]:
    return {"input": event.tokens_input, "cached": event.tokens_cached, "cache_write": event.tokens_cache_write}


def _input_tokens(line: dict[str, Any]) -> int:
    return line["input"] + line["cached"] + line["cache_write"]


def _timing(event: UsageEvent, timeline: Timeline | None, late: LateToken | None) -> dict[str, Any]:
    first_us = None if event.first_token_at_us is None else event.first_token_at_us - event.requested_at_us
    return {
        "requested_at_us": event.requested_at_us,
        "queue_ms": _ms(event.placed_at_us - event.requested_at_us),
        "ttft_ms": None if first_us is None else _ms(first_us),
        "tpot_ms": None if timeline is None else _pace_ms(timeline),
        "total_ms": _ms(event.finished_at_us - event.requested_at_us),
        "first_late_token": None if late is None else {"index": late.index, "at_us": late.at_us, "due_us": late.due_us},
    }


def _pace_ms(timeline: Timeline) -> float | None:
    """Mean ms per output token after the first chunk; None when there is no such token."""
    if not timeline.streamed or not timeline.tokens or timeline.tokens == timeline.tokens_through[0]:
        return None
    return _ms((timeline.at_us[-1] - timeline.at_us[0]) / (timeline.tokens - timeline.tokens_through[0]))


def _timeline(timeline: Timeline) -> dict[str, bool | Sequence[int]]:
    return {
        "streamed": timeline.streamed,
        "at_us": timeline.at_us,
        "tokens_through": timeline.tokens_through,
        "excused_us": timeline.excused_us,
    }


def _familiar(event: UsageEvent) -> dict[str, Any]:
    """The same facts under the names that clients of other markets look for."""
    first_us = None if event.first_token_at_us is None else event.first_token_at_us - event.requested_at_us
    return {
        "created_at": event.requested_at_us // US_PER_S,
        "total_cost": format_usd(min(event.net, event.held)),
        "provider_name": event.provider_id,
        "tokens_prompt": _input_tokens(_all(event)),
        "tokens_completion": event.tokens_output,
        "latency": None if first_us is None else _ms(first_us),
        "generation_time": _ms(event.finished_at_us - event.placed_at_us),
        "streamed": event.is_streamed,
        "cancelled": event.ending == Ending.HANGUP.value,
    }


def _ms(duration_us: float) -> float:
    return round(duration_us / US_PER_MS, 3)
