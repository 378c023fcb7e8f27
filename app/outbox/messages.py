"""What leaves after a commit, as values; pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ATTEMPTS_MAX = 8
BACKOFF_US = 5_000_000
BACKOFF_US_MAX = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Message:
    """An effect that is being carried out.

    Attributes:
        id: also the idempotency key to show to whoever receives it: a message may be delivered twice.
        payload: frozen when it was queued.
        attempts: this one included.
    """

    id: str
    topic: str
    subject: str
    payload: Mapping[str, Any]
    attempts: int


def message_values(message_id: str, topic: str, subject: str, payload: Mapping[str, Any], at_us: int) -> dict[str, Any]:
    """The columns of a new message, to be written in the transaction whose effect it is.

    Args:
        message_id: natural, so that the same effect is queued once: usually ``topic:subject``.
        topic: ``noun.verb_past``.
        subject: what it is about.
        payload: JSON-ready.
        at_us: µs since the epoch; due at once.
    """
    return {
        "id": message_id,
        "topic": topic,
        "subject": subject,
        "payload": dict(payload),
        "state": "pending",
        "attempts": 0,
        "created_at_us": at_us,
        "available_at_us": at_us,
        "error": "",
    }


def backoff_us(attempts: int) -> int:
    """How long to wait after the ``attempts``-th attempt failed: doubling from 5 s, at most an hour.

    >>> backoff_us(1), backoff_us(3), backoff_us(60)
    (5000000, 20000000, 3600000000)
    """
    return min(BACKOFF_US_MAX, BACKOFF_US << min(attempts - 1, 20))
