"""How much of a customer's per-minute limits is left; pure.

A limit of ``L`` per minute is a bucket that holds ``L`` and refills evenly, ``L`` in a minute. What was taken is kept
as *debt*: integer units of 1/60,000,000 of a request or token, of which ``L`` drain away each µs. Debt, unlike a
timestamp, keeps its meaning when the limit changes. ``leases.lua`` computes the same numbers.
"""

from dataclasses import dataclass

from app.fleet.leases import Allowance
from app.identity.caller import Limits

UNITS = 60_000_000
"""Debt units per request or token; also the µs in a minute."""
US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class Debt:
    """What one customer took and has not regained.

    Attributes:
        requests, tokens: debt units as of ``at_us``.
    """

    requests: int = 0
    tokens: int = 0
    at_us: int = 0


def drained(debt: Debt, limits: Limits, now_us: int) -> Debt:
    """The debt that is left at ``now_us``; time that runs backwards regains nothing.

    >>> drained(Debt(requests=2 * UNITS, at_us=0), Limits(rpm=60, tpm=1, concurrency=1), now_us=1_500_000).requests
    30000000
    """
    elapsed_us = max(0, now_us - debt.at_us)
    return Debt(
        requests=max(0, debt.requests - max(0, limits.rpm) * elapsed_us),
        tokens=max(0, debt.tokens - max(0, limits.tpm) * elapsed_us),
        at_us=now_us,
    )


def after(debt: Debt, tokens: int) -> Debt:
    """The debt once one request of ``tokens`` tokens was taken."""
    return Debt(debt.requests + UNITS, debt.tokens + tokens * UNITS, debt.at_us)


def wait_us(debt: int, limit: int, cost: int) -> int | None:
    """How long until ``cost`` more fits under ``limit`` per minute; 0 when it does now, None when it never will.

    >>> wait_us(debt=60 * UNITS, limit=60, cost=1), wait_us(debt=0, limit=60, cost=61)
    (1000000, None)
    """
    if cost > limit:
        return None
    excess = debt + cost * UNITS - limit * UNITS
    return -(-excess // limit) if excess > 0 else 0


def allowance(debt: Debt, limits: Limits) -> Allowance:
    """What a customer may be told about a debt that is current."""
    return Allowance(
        limit_requests=limits.rpm,
        remaining_requests=_remaining(debt.requests, limits.rpm),
        reset_requests_s=_reset_s(debt.requests, limits.rpm),
        limit_tokens=limits.tpm,
        remaining_tokens=_remaining(debt.tokens, limits.tpm),
        reset_tokens_s=_reset_s(debt.tokens, limits.tpm),
    )


def _remaining(debt: int, limit: int) -> int:
    return max(0, limit * UNITS - debt) // UNITS


def _reset_s(debt: int, limit: int) -> float:
    return -(-debt // limit) / US_PER_S if limit > 0 else 0.0
