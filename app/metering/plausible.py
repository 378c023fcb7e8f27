"""Whether a backend's token counts can be, given the bytes of the request and of its own answer; pure.

A backend is paid and a customer billed by what it counts, so its count is held against what was seen: an answer has at
least one token per event that carried content, where the backend streams token by token, and at most one per byte of
content. What cannot be is not believed, and the smaller count is billed.
"""

from dataclasses import dataclass
from typing import Final

from app.metering.delivery import Delivery
from app.metering.meter import Reported, within
from pricing.usage import Usage

SPARE_TOKENS: Final = 16
"""Tokens that no byte shows: the end of the text, marks of channels and calls."""
EVENTS_SHARE: Final = 0.5
"""An event may be half of a token (a character cut in two), hardly ever less."""
TEMPLATE_PER_MESSAGE: Final = 64
TEMPLATE_TOKENS: Final = 512
BYTES_PER_TOKEN: Final = 3
"""Of ordinary text a token has this many bytes or more: what is billed where the backend's own count cannot be."""


@dataclass(frozen=True, slots=True)
class Dispute:
    """Counts that were not believed.

    Attributes:
        reported: as the backend counted.
        input_most: prompt tokens that the request can have.
        output_least, output_most: output tokens that its answer can have.
        output_billed: output tokens billed instead.
        reason: in words, with the numbers.
    """

    reported: Usage
    input_most: int
    output_least: int
    output_most: int
    output_billed: int
    reason: str


def checked(reported: Reported, delivery: Delivery, input_most: int) -> tuple[Reported, Dispute | None]:
    """What is to be metered, and what of the backend's counts was not believed.

    Args:
        reported: the backend's counts, or ours where it gave none.
        delivery: what it delivered.
        input_most: prompt tokens that the request can have at most: its quote's bound.
    """
    if reported.source != "provider" or not delivery.content_bytes:
        return reported, None
    usage, hidden = reported.usage, min(reported.hidden_tokens, reported.usage.output)
    least = int(delivery.content_events * EVENTS_SHARE) if delivery.is_streamed else 0
    most = hidden + delivery.content_bytes + SPARE_TOKENS
    doubts: list[str] = []
    if usage.output > most:
        doubts.append(f"{usage.output} output tokens for {delivery.content_bytes} bytes of content")
    if usage.output < least:
        doubts.append(f"{usage.output} output tokens for {delivery.content_events} events with content")
    if usage.input_total > input_most:
        doubts.append(f"{usage.input_total} input tokens where at most {input_most} can be")
    if not doubts:
        return reported, None
    billed = min(usage.output, counted(delivery) + hidden) if usage.output > most else usage.output
    dispute = Dispute(usage, input_most, least, most, billed, "; ".join(doubts))
    kept = within(usage, input_most, billed)
    if kept == usage:
        return reported, dispute
    return Reported(kept, hidden, "counted"), dispute


def input_tokens_most(prompt_bytes: int, messages: int) -> int:
    """More prompt tokens than a request can have: one per byte, and what a template adds around its messages.

    >>> input_tokens_most(1000, 2)
    1640
    """
    return prompt_bytes + TEMPLATE_PER_MESSAGE * messages + TEMPLATE_TOKENS


def counted(delivery: Delivery) -> int:
    """Output tokens by our own count alone: one per event, or by the bytes where events carry many.

    >>> counted(Delivery(is_streamed=True, content_bytes=30, content_events=4))
    10
    """
    return max(delivery.content_events, -(-delivery.content_bytes // BYTES_PER_TOKEN))
