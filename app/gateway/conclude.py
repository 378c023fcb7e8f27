"""The last bytes of an exchange: usage and ``[DONE]``, the whole body, an error event, or an error answer."""

import msgspec

from app.clock import US_PER_S, now_us
from app.errors import MarketError
from app.gateway.answer import Answer, Ended
from app.gateway.errors import failure_answer
from app.gateway.market import Market
from app.gateway.relay import Relay
from app.gateway.rewrite import error_event, usage_body
from app.gateway.sse import DONE, STREAM_HEADERS, Exchange, Headers
from app.gateway.usage_row import is_attained, tpot_us
from app.metering.meter import Metered
from app.metering.models import UsageEvent
from app.metering.receipt import receipt
from pricing.rating import Ending

JSON_HEADERS: Headers = ((b"content-type", b"application/json"),)
US_PER_MS = 1_000


async def conclude(relay: Relay, ended: Ended, metered: Metered) -> None:
    """Ends an exchange whose answer is settled."""
    exchange, answer = relay.exchange, relay.answer
    if ended.ending is Ending.HANGUP:
        return
    if ended.error is not None:
        failure = failure_answer(ended.error, is_started=exchange.is_started)
        await refuse(exchange, relay.head.request_id, failure)
    elif answer.ask.order.is_stream:
        await exchange.finish(_closing(relay, ended, metered))
    else:
        headers = [*JSON_HEADERS, *relay.headers]
        await exchange.answer(200, headers, relay.rewriter.body(answer.body, _usage(answer, ended, metered)))


async def conclude_again(exchange: Exchange, request_id: str, event: UsageEvent, market: Market) -> None:
    """Answers a request that was settled before: its receipt, not its text, which is not kept."""
    book = await market.shelf.find(event.price_book_id)
    body = {
        "id": event.request_id,
        "object": "chat.completion",
        "created": event.requested_at_us // US_PER_S,
        "model": event.model,
        "service_tier": event.service_tier,
        "choices": [],
        "usage": {
            "prompt_tokens": event.tokens_input + event.tokens_cached + event.tokens_cache_write,
            "completion_tokens": event.tokens_output,
            "total_tokens": event.tokens_input + event.tokens_cached + event.tokens_cache_write + event.tokens_output,
        },
        "receipt": receipt(event, book),
    }
    named = {"x-request-id": request_id, "x-generation-id": event.request_id, "x-idempotent-replay": "true"}
    headers = [(name.encode(), value.encode()) for name, value in named.items()]
    if event.is_streamed:
        chunk = msgspec.json.encode({**body, "object": "chat.completion.chunk"})
        await exchange.start(200, [*STREAM_HEADERS, *headers])
        await exchange.finish(b"data: " + chunk + b"\n\n" + DONE)
    else:
        await exchange.answer(200, [*JSON_HEADERS, *headers], msgspec.json.encode(body))


async def refuse(exchange: Exchange, request_id: str, error: MarketError) -> None:
    """Tells the customer why not: as an answer, or as an event when the answer had begun."""
    if exchange.is_hung_up:
        return
    if exchange.is_started:
        await exchange.finish(error_event(error.openai_body()))
        return
    named = {"x-request-id": request_id, **error.headers()}
    headers = [*JSON_HEADERS, *((name.encode(), value.encode("latin-1", "replace")) for name, value in named.items())]
    await exchange.answer(error.status, headers, msgspec.json.encode(error.openai_body()))


def _closing(relay: Relay, ended: Ended, metered: Metered) -> bytes:
    created_s = now_us() // US_PER_S
    parts: list[bytes] = []
    if ended.ending is Ending.HOLD_EXHAUSTED:
        parts.append(relay.rewriter.cut_event(created_s))
    if relay.answer.ask.order.wants_usage:
        parts.append(relay.rewriter.usage_event(_usage(relay.answer, ended, metered), created_s))
    return b"".join((*parts, DONE))


def _usage(answer: Answer, ended: Ended, metered: Metered) -> dict[str, object]:
    pace_us = tpot_us(metered, is_stream=answer.ask.order.is_stream)
    first_us = answer.delivery.first_token_us
    timing = {
        "ttft_ms": None if first_us is None else round(first_us / US_PER_MS, 3),
        "tpot_ms": None if pace_us is None else round(pace_us / US_PER_MS, 3),
        "attained": is_attained(answer, ended, metered),
    }
    return usage_body(metered.usage, metered.charge, metered.reported.hidden_tokens, timing)
