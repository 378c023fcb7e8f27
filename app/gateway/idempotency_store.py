"""Makes a request that is sent again under the same ``Idempotency-Key`` run and cost nothing the second time.

A claim is durable before anything is reserved. It is dropped when the request is refused or leaves nothing settled, so
that trying again may succeed; a claim whose process died is taken over after a while.
"""

import hashlib
from dataclasses import dataclass

from sqlalchemy import delete, text
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import Database
from app.errors import MarketError, Retry
from app.gateway.errors import invalid
from app.gateway.models import IdempotencyKeyRow
from app.ledger.holds import HoldState
from app.ledger.models import HoldRow
from app.metering.models import UsageEvent
from pricing.rating import Ending
from pricing.slo import US_PER_S

KEY_CHARS_MAX = 255
ABANDONED_S = 60.0
"""A claim that has neither a hold nor a receipt after so long belongs to a process that died."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A key held for one request."""

    customer_id: str
    key: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Replay:
    """The key's request was settled before; this is its receipt."""

    event: UsageEvent


class IdempotencyStore:
    """The claims of all gateways, in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, claim: Claim, body: bytes, now_us: int) -> Replay | None:
        """Claims a key for a request.

        Returns:
            None when the request may run; the receipt when it did before.

        Raises:
            MarketError: 400 when the key was used for another body, 429 while its request still runs.
        """
        if not 0 < len(claim.key) <= KEY_CHARS_MAX:
            raise invalid(
                "Idempotency-Key", f"An Idempotency-Key has 1 to {KEY_CHARS_MAX} characters, got {len(claim.key)}."
            )
        wanted = IdempotencyKeyRow(
            customer_id=claim.customer_id,
            key=claim.key,
            request_id=claim.request_id,
            body_sha256=hashlib.sha256(body).hexdigest(),
            claimed_at_us=now_us,
        )
        async with self._database.writing() as session:
            is_first = await _insert(session, wanted)
            return None if is_first else await _resolve(session, wanted)

    async def drop(self, claim: Claim) -> None:
        """Frees a key whose request left nothing settled."""
        async with self._database.writing() as session:
            await session.exec(
                delete(IdempotencyKeyRow).where(
                    col(IdempotencyKeyRow.customer_id) == claim.customer_id,
                    col(IdempotencyKeyRow.key) == claim.key,
                    col(IdempotencyKeyRow.request_id) == claim.request_id,
                )
            )


async def _insert(session: AsyncSession, wanted: IdempotencyKeyRow) -> bool:
    result = await (await session.connection()).execute(_INSERT, wanted.model_dump())
    return result.rowcount == 1


async def _resolve(session: AsyncSession, wanted: IdempotencyKeyRow) -> Replay | None:
    """Says what the earlier claim of the same key came to."""
    found = await session.get(IdempotencyKeyRow, (wanted.customer_id, wanted.key), with_for_update=True)
    if found is None:  # dropped in between: the next try will get it
        raise _in_progress(wanted.key)
    if found.body_sha256 != wanted.body_sha256:
        raise invalid(
            "Idempotency-Key",
            f"The Idempotency-Key '{wanted.key}' was used for a request with another body; use a new key.",
            "idempotency_key_reused",
        )
    event = await session.get(UsageEvent, found.request_id)
    if event is not None and _is_answered(event):
        session.expunge(event)
        return Replay(event)
    hold = await session.get(HoldRow, found.request_id)
    age_s = (wanted.claimed_at_us - found.claimed_at_us) / US_PER_S
    is_running = hold is not None and hold.state == HoldState.PENDING
    if is_running or (hold is None and event is None and age_s < ABANDONED_S):
        raise _in_progress(wanted.key)
    found.request_id, found.claimed_at_us = wanted.request_id, wanted.claimed_at_us
    session.add(found)
    return None


def _is_answered(event: UsageEvent) -> bool:
    """Whether the customer has something of it: a finished answer, or the tokens until they hung up."""
    ending = Ending(event.ending)
    return ending.is_billable and (ending is not Ending.HANGUP or event.tokens_output > 0)


def _in_progress(key: str) -> MarketError:
    return MarketError(
        429,
        "idempotency_in_progress",
        f"A request with the Idempotency-Key '{key}' is still running; its receipt is here once it has ended.",
        type="rate_limit_exceeded",
        retry=Retry(should_retry=True, after_s=1.0),
    )


_INSERT = text(
    "INSERT INTO idempotency_key (customer_id, key, request_id, body_sha256, claimed_at_us) "
    "VALUES (:customer_id, :key, :request_id, :body_sha256, :claimed_at_us) ON CONFLICT DO NOTHING"
)
