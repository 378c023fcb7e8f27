"""Makes a provider's statement from usage events, contracts and the ledger, all as of one moment."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import MarketError
from app.fleet.contracts import Contract, covering, in_force
from app.fleet.models import DeploymentRow, ProviderAccount
from app.fleet.service import not_in_fleet
from app.fleet.statements import Delivered, Span, Statement, Supplied, bought, lines, spans
from app.fleet.supply_store import contracts
from app.ledger.chart import provider_counter
from app.ledger.models import EntryRow, JournalTxnRow
from app.metering import timeline_codec
from app.metering.models import UsageDispute, UsageEvent
from pricing.goodput import Timeline
from pricing.money import NanoUsd
from pricing.slo import Slo
from pricing.usage import Usage

PAGE_ROWS: Final = 1_000
ANSWERS_MAX: Final = 1_000_000
PERIOD_US_MAX: Final = 400 * 86_400_000_000


class WrongPeriod(MarketError):
    """A period that no statement can be made for."""


async def statement(session: AsyncSession, provider_id: str, from_us: int, until_us: int, now_us: int) -> Statement:
    """What is owed to a provider for a period.

    Args:
        session: one in which every query sees the same moment.
        provider_id: who.
        from_us: where the period begins, µs since the epoch.
        until_us: where it ends; a period that is not over yet is told as it stands.
        now_us: µs since the epoch.

    Raises:
        NotInFleet: there is no such provider.
        WrongPeriod: it ends before it begins, or is longer than a bit over a year.
    """
    account = await session.get(ProviderAccount, provider_id)
    if account is None:
        raise not_in_fleet("provider", provider_id)
    if not from_us < until_us <= from_us + PERIOD_US_MAX:
        raise WrongPeriod(400, "wrong_period", "A period ends after it begins, and within 400 days of that.")
    signed = await contracts(session, provider_id)
    delivered = {
        span: await _delivered(session, provider_id, signed, span) for span in spans(signed, from_us, until_us)
    }
    owned = await _owned(session, provider_id)
    found = lines(Supplied(signed, delivered, owned), provider_id)
    return Statement(
        provider_id=provider_id,
        name=account.name,
        from_us=from_us,
        until_us=until_us,
        lines=found,
        payable=await _payable(session, provider_id, from_us, until_us),
        accrued_bought=bought(found, owned),
        is_closed=until_us <= now_us,
    )


async def _delivered(
    session: AsyncSession, provider_id: str, signed: Sequence[Contract], span: Span
) -> tuple[Delivered, ...]:
    total = lambda column: func.coalesce(func.sum(column), 0)  # noqa: E731 (one expression, five times)
    statement = (
        select(  # pyright: ignore[reportCallIssue] (SQLModel types up to four columns)
            UsageEvent.offer_id,
            UsageEvent.model,
            func.count(),
            total(col(UsageEvent.tokens_input)),
            total(col(UsageEvent.tokens_cached)),
            total(col(UsageEvent.tokens_cache_write)),
            total(col(UsageEvent.tokens_output)),
            total(col(UsageEvent.cost)),
        )
        .where(*_within(provider_id, span))
        .group_by(col(UsageEvent.offer_id), col(UsageEvent.model))
        .order_by(col(UsageEvent.offer_id), col(UsageEvent.model))
    )
    rows: list[Any] = list(await session.exec(statement))
    late = await _late(session, provider_id, signed, span)
    disputed = await _disputed(session, provider_id, span)
    return tuple(
        Delivered(
            offer_id=row[0],
            model=row[1],
            requests=int(row[2]),
            usage=Usage(*(int(count) for count in row[3:7])),
            accrued=NanoUsd(int(row[7])),
            tokens_late=late[row[0], row[1]],
            disputed=disputed.get(row[0], 0),
        )
        for row in rows
    )


async def _late(
    session: AsyncSession, provider_id: str, signed: Sequence[Contract], span: Span
) -> defaultdict[tuple[str, str], int]:
    """Output tokens that missed the promise of the contract they came under, by offer and model."""
    late: defaultdict[tuple[str, str], int] = defaultdict(int)
    if not any(each.promise for each in signed):
        return late
    after, seen = "", 0
    while seen < ANSWERS_MAX:
        rows = (
            await session.exec(
                select(UsageEvent)
                .where(*_within(provider_id, span), col(UsageEvent.request_id) > after)
                .order_by(col(UsageEvent.request_id))
                .limit(PAGE_ROWS)
            )
        ).all()
        for row in rows:
            contract = in_force(covering(signed, provider_id, row.model), span.from_us)
            if contract is not None and contract.promise is not None and row.timeline is not None:
                platform_us = max(0, row.placed_at_us - row.requested_at_us)
                late[row.offer_id, row.model] += tokens_late(
                    timeline_codec.decode(row.timeline), contract.promise, platform_us
                )
        if len(rows) < PAGE_ROWS:
            return late
        after, seen = rows[-1].request_id, seen + len(rows)
    raise WrongPeriod(
        400, "too_many_answers", f"More than {ANSWERS_MAX} answers carry a promise in that period: take a shorter one."
    )


def tokens_late(timeline: Timeline, promise: Slo, platform_us: int) -> int:
    """Tokens that the provider handed over later than it promised, counted from when it was asked.

    Args:
        timeline: the delivery, from when the request was read.
        promise: the provider's.
        platform_us: µs between reading the request and asking the provider.
    """
    if not timeline.streamed:
        due_us = promise.deadline_us(max(0, timeline.tokens - 1))
        return timeline.tokens if timeline.at_us and timeline.at_us[-1] - platform_us > due_us else 0
    late, before = 0, 0
    for at_us, through, excused_us in zip(timeline.at_us, timeline.tokens_through, timeline.excused_us, strict=True):
        over_us = at_us - platform_us - excused_us - promise.ttft_us
        if promise.tpot_us:
            first_good = max(before, -(-over_us // promise.tpot_us))  # token i is due i × tpot after the first
            late += max(0, min(through, first_good) - before)
        elif over_us > 0:
            late += through - before
        before = through
    return late


async def _disputed(session: AsyncSession, provider_id: str, span: Span) -> dict[str, int]:
    statement = (
        select(UsageDispute.offer_id, func.count())
        .where(
            col(UsageDispute.provider_id) == provider_id,
            col(UsageDispute.at_us) >= span.from_us,
            col(UsageDispute.at_us) < span.until_us,
        )
        .group_by(col(UsageDispute.offer_id))
    )
    return {row[0]: int(row[1]) for row in await session.exec(statement)}


async def _owned(session: AsyncSession, provider_id: str) -> frozenset[str]:
    statement = select(DeploymentRow.id).where(
        col(DeploymentRow.provider_id) == provider_id, col(DeploymentRow.is_owned)
    )
    return frozenset((await session.exec(statement)).all())


async def _payable(session: AsyncSession, provider_id: str, from_us: int, until_us: int) -> NanoUsd:
    """What the ledger booked as payable to the provider in the period."""
    statement = (
        select(func.coalesce(func.sum(EntryRow.amount), 0))
        .join(JournalTxnRow, col(JournalTxnRow.id) == col(EntryRow.txn_id))
        .where(
            col(EntryRow.account_id) == provider_counter(provider_id, is_owned=False),
            col(JournalTxnRow.booked_at_us) >= from_us,
            col(JournalTxnRow.booked_at_us) < until_us,
        )
    )
    return NanoUsd(int((await session.exec(statement)).one()))


def _within(provider_id: str, span: Span) -> tuple[Any, ...]:
    return (
        col(UsageEvent.provider_id) == provider_id,
        col(UsageEvent.finished_at_us) >= span.from_us,
        col(UsageEvent.finished_at_us) < span.until_us,
    )
