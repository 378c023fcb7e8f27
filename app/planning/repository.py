"""What planning reads of other rooms: answers of a period, page by page, and who runs what."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import Database
from app.fleet.models import DeploymentRow, ProviderAccount
from app.fleet.roster import State
from app.fleet.speeds import curve_from_document
from app.metering.models import UsageEvent
from app.planning.supplied import HourlyTokens, Running
from app.planning.tally import Answer
from pricing.rating import Ending
from pricing.slo import Tier
from pricing.usage import Usage
from scheduler.fleet import SpeedCurveError

PAGE_ROWS_MAX: Final = 2_000
DEPLOYMENTS_MAX: Final = 1_000
HOUR_US: Final = 3_600_000_000
HOURS_PER_DAY: Final = 24
_COLUMNS: Final = (
    UsageEvent.request_id,
    UsageEvent.model,
    UsageEvent.tier_served,
    UsageEvent.customer_id,
    UsageEvent.offer_id,
    UsageEvent.is_emulated,
    UsageEvent.is_streamed,
    UsageEvent.ending,
    UsageEvent.placed_at_us,
    UsageEvent.first_token_at_us,
    UsageEvent.finished_at_us,
    UsageEvent.tokens_input,
    UsageEvent.tokens_cached,
    UsageEvent.tokens_cache_write,
    UsageEvent.tokens_output,
    UsageEvent.lines,
)


async def answers_between(database: Database, since_us: int, until_us: int, rows_max: int) -> AsyncIterator[Answer]:
    """Answers that finished in ``[since_us, until_us)``, in that order; each page in a transaction of its own.

    At most ``rows_max`` of them: whoever counts them sees that it may have been more.
    """
    after: tuple[int, str] = (since_us - 1, "")
    left = rows_max
    while left > 0:
        async with database.reading() as session:
            rows = await _page(session, after, until_us, min(PAGE_ROWS_MAX, left))
        for row in rows:
            yield _answer(row)
        if len(rows) < min(PAGE_ROWS_MAX, left):
            return
        left -= len(rows)
        after = rows[-1][10], rows[-1][0]


async def running(session: AsyncSession) -> tuple[Running, ...]:
    """Every registered deployment."""
    statement = (
        select(DeploymentRow, ProviderAccount.state)
        .join(ProviderAccount, col(ProviderAccount.id) == col(DeploymentRow.provider_id))
        .order_by(col(DeploymentRow.id))
        .limit(DEPLOYMENTS_MAX)
    )
    return tuple(_running(row, state) for row, state in (await session.exec(statement)).all())


async def hourly_tokens(session: AsyncSession, since_us: int, until_us: int) -> list[HourlyTokens]:
    """What was asked of each model and tier in a period, by hour of the day (UTC) in which it finished."""
    hour = ((col(UsageEvent.finished_at_us) // HOUR_US) % HOURS_PER_DAY).label("hour")
    read = col(UsageEvent.tokens_input) + col(UsageEvent.tokens_cached) + col(UsageEvent.tokens_cache_write)
    keys: Sequence[Any] = (col(UsageEvent.model), col(UsageEvent.tier_served), hour, col(UsageEvent.is_emulated))
    statement = (
        select(*keys, func.sum(read), func.sum(UsageEvent.tokens_output), func.count())  # pyright: ignore[reportCallIssue] (SQLModel's stub ends at four columns)
        .where(col(UsageEvent.finished_at_us) >= since_us, col(UsageEvent.finished_at_us) < until_us)
        .group_by(*keys)
        .order_by(*keys[:3])
    )
    rows: Sequence[Any] = (await session.exec(statement)).all()
    return [
        HourlyTokens(model, Tier(tier), int(hour), int(read), int(made), int(count), bool(emulated))
        for model, tier, hour, emulated, read, made, count in rows
    ]


async def first_answer_us(session: AsyncSession) -> int | None:
    """When the first answer ever finished; None before it."""
    return (await session.exec(select(func.min(UsageEvent.finished_at_us)))).one()


async def _page(session: AsyncSession, after: tuple[int, str], until_us: int, rows_max: int) -> Sequence[Any]:
    finished_us, request_id = after
    finished, name = col(UsageEvent.finished_at_us), col(UsageEvent.request_id)
    statement = (
        select(*_COLUMNS)  # pyright: ignore[reportCallIssue, reportArgumentType] (SQLModel's stub ends at four columns)
        .where(finished >= finished_us, finished < until_us)
        .where((finished > finished_us) | (name > request_id))
        .order_by(finished, name)
        .limit(rows_max)
    )
    return (await session.exec(statement)).all()


def _answer(row: Any) -> Answer:
    _, model, tier, customer, offer, emulated, streamed, ending, placed, first, finished, *tokens, lines = row
    return Answer(
        model=model,
        tier_served=Tier(tier),
        customer_id=customer,
        offer_id=offer,
        is_emulated=bool(emulated),
        is_streamed=bool(streamed),
        ending=Ending(ending),
        placed_at_us=placed,
        first_token_at_us=first,
        finished_at_us=finished,
        usage=Usage(*tokens),
        lines=lines,
    )


def _running(row: DeploymentRow, provider_state: str) -> Running:
    try:
        curve = curve_from_document(row.speed)
    except SpeedCurveError:
        curve = None  # its answers are still counted; only nothing is said of its speed
    return Running(
        offer_id=row.id,
        deployment_id=row.deployment_id,
        model=row.model,
        curve=curve,
        is_owned=row.is_owned,
        is_emulated=row.is_emulated,
        is_paid=State.DISABLED.value not in {row.state, provider_state},
        since_us=row.created_at_us,
    )
