"""What operators look at, read from the tables of the rooms below; nothing here writes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, SQLColumnExpression, case, func, literal_column, tuple_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.admin.figures import (
    US_PER_MINUTE,
    Answer,
    DayFigures,
    Minute,
    Sums,
    day_began_us,
    filled_minutes,
)
from app.admin.pages import Cursor
from app.catalog.models import PriceBookRow
from app.fleet.models import DeploymentRow, ProviderAccount
from app.identity.models import ApiKey
from app.ledger.models import AccountRow, EntryRow, HoldRow, JournalTxnRow
from app.metering.models import UsageEvent
from pricing.rating import Ending
from pricing.slo import Tier

MINUTES_SHOWN = 60
ANSWERS_FOR_PACE_MAX = 2_000
PACE_S = 3_600
DEPLOYMENTS_MAX = 1_000
ACCOUNTS_MAX = 5_000
BOOKS_MAX = 50
_US_PER_S = 1_000_000
_FAILED = tuple(ending.value for ending in Ending if not ending.is_billable)
_Tiers = dict[Tier, Sums]


def _ones(condition: SQLColumnExpression[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def _total(column: SQLColumnExpression[int]) -> ColumnElement[int]:
    return func.coalesce(func.sum(column), 0)


_PAID: ColumnElement[int] = case(
    (col(UsageEvent.net) < col(UsageEvent.held), col(UsageEvent.net)), else_=col(UsageEvent.held)
)
_HAS_FAILED: ColumnElement[bool] = col(UsageEvent.ending).in_(_FAILED)


async def day_figures(session: AsyncSession, now_us: int) -> DayFigures:
    """The UTC day so far, and its last hour."""
    by_tier = await _sums_by_tier(session, day_began_us(now_us))
    for tier, lost in (await _lost_by_tier(session, day_began_us(now_us))).items():
        by_tier[tier] = by_tier[tier].plus(Sums(accepted=lost, failed=lost))
    return DayFigures(by_tier, await _minutes(session, now_us), now_us)


async def _sums_by_tier(session: AsyncSession, since_us: int) -> _Tiers:
    statement = (
        select(  # pyright: ignore[reportCallIssue] (SQLModel types up to four columns)
            col(UsageEvent.tier_served),
            func.count(),
            _ones(col(UsageEvent.is_attained)),
            _ones(_HAS_FAILED),
            _total(col(UsageEvent.tokens_input) + col(UsageEvent.tokens_cached) + col(UsageEvent.tokens_cache_write)),
            _total(col(UsageEvent.tokens_output)),
            _total(col(UsageEvent.tokens_good)),
            _total(col(UsageEvent.gross)),
            _total(col(UsageEvent.adjustment)),
            _total(_PAID),
            _total(col(UsageEvent.cost)),
        )
        .where(col(UsageEvent.finished_at_us) >= since_us)
        .group_by(col(UsageEvent.tier_served))
    )
    found = {row[0]: Sums(*(int(value) for value in row[1:])) for row in await session.exec(statement)}
    return {tier: found.get(tier.value, Sums()) for tier in Tier}


async def _lost_by_tier(session: AsyncSession, since_us: int) -> dict[Tier, int]:
    """Accepted requests that left no usage event, because the process that served them died: their hold expired."""
    statement = (
        select(HoldRow.tier, func.count())
        .where(col(HoldRow.state) == "expired", col(HoldRow.resolved_at_us) >= since_us)
        .where(~select(UsageEvent.request_id).where(col(UsageEvent.request_id) == col(HoldRow.id)).exists())
        .group_by(col(HoldRow.tier))
    )
    return {Tier(tier): count for tier, count in await session.exec(statement) if tier in set(Tier)}


async def _minutes(session: AsyncSession, now_us: int) -> tuple[Minute, ...]:
    first = now_us // US_PER_MINUTE - MINUTES_SHOWN + 1
    minute = col(UsageEvent.finished_at_us) // literal_column(str(US_PER_MINUTE))  # no parameter: it is grouped by
    statement = (
        select(  # pyright: ignore[reportCallIssue] (SQLModel types up to four columns)
            minute,
            _total(col(UsageEvent.tokens_output)),
            _total(col(UsageEvent.tokens_good)),
            _total(_PAID),
            _total(col(UsageEvent.cost)),
        )
        .where(col(UsageEvent.finished_at_us) >= first * US_PER_MINUTE)
        .group_by(minute)
    )
    found = {
        int(row[0]): Minute(int(row[0]) * US_PER_MINUTE, *(int(value) for value in row[1:]))
        for row in await session.exec(statement)
    }
    return filled_minutes(found, now_us, MINUTES_SHOWN)


async def recent_answers(session: AsyncSession, now_us: int) -> list[Answer]:
    """The newest answers of the last hour, for how fast each offer is; at most :data:`ANSWERS_FOR_PACE_MAX`."""
    statement = (
        select(  # pyright: ignore[reportCallIssue] (SQLModel types up to four columns)
            UsageEvent.offer_id,
            _HAS_FAILED,
            UsageEvent.is_attained,
            UsageEvent.tokens_output,
            UsageEvent.tokens_good,
            col(UsageEvent.first_token_at_us) - col(UsageEvent.requested_at_us),
            case(
                (col(UsageEvent.is_streamed), col(UsageEvent.finished_at_us) - col(UsageEvent.first_token_at_us)),
                else_=None,
            ),
        )
        .where(col(UsageEvent.finished_at_us) >= now_us - PACE_S * _US_PER_S)
        .order_by(col(UsageEvent.finished_at_us).desc())
        .limit(ANSWERS_FOR_PACE_MAX)
    )
    return [Answer(row[0], bool(row[1]), bool(row[2]), *row[3:]) for row in await session.exec(statement)]


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """Which requests to show; empty text does not filter.

    Attributes:
        outcome: ``good``, ``late`` or ``failed``.
    """

    model: str = ""
    tier: str = ""
    provider_id: str = ""
    customer_id: str = ""
    outcome: str = ""


OUTCOMES = ("good", "late", "failed")


async def requests_page(
    session: AsyncSession, wanted: RequestFilter, after: Cursor | None, rows_max: int
) -> Sequence[UsageEvent]:
    """Up to ``rows_max`` + 1 requests, the last finished first."""
    place = (col(UsageEvent.finished_at_us), col(UsageEvent.request_id))
    statement = select(UsageEvent).order_by(place[0].desc(), place[1].desc()).limit(rows_max + 1)
    exact = {
        UsageEvent.model: wanted.model,
        UsageEvent.tier_served: wanted.tier,
        UsageEvent.provider_id: wanted.provider_id,
        UsageEvent.customer_id: wanted.customer_id,
    }
    for column, value in exact.items():
        if value:
            statement = statement.where(col(column) == value)
    if wanted.outcome:
        statement = statement.where(_has_outcome(wanted.outcome))
    if after is not None:
        statement = statement.where(tuple_(*place) < (after.at_us, after.id))
    return (await session.exec(statement)).all()


def _has_outcome(outcome: str) -> SQLColumnExpression[bool]:
    match outcome:
        case "good":
            return col(UsageEvent.is_attained)
        case "failed":
            return _HAS_FAILED
        case _:
            return ~col(UsageEvent.is_attained) & ~_HAS_FAILED


async def request_by_id(session: AsyncSession, request_id: str) -> UsageEvent | None:
    """One delivered request; None when there is none, or it is still running."""
    return await session.get(UsageEvent, request_id)


async def providers_with_deployments(
    session: AsyncSession,
) -> list[tuple[ProviderAccount, tuple[DeploymentRow, ...]]]:
    """Every provider and what it runs, by id."""
    accounts = (await session.exec(select(ProviderAccount).order_by(col(ProviderAccount.id)))).all()
    statement = select(DeploymentRow).order_by(col(DeploymentRow.id)).limit(DEPLOYMENTS_MAX)
    rows = (await session.exec(statement)).all()
    return [(account, tuple(row for row in rows if row.provider_id == account.id)) for account in accounts]


async def wallets_of(session: AsyncSession, customer_ids: Iterable[str]) -> dict[str, AccountRow]:
    """Customers' wallets by customer id; one is missing until its first credit."""
    ids = {f"wallet:{customer_id}": customer_id for customer_id in customer_ids}
    rows = await session.exec(select(AccountRow).where(col(AccountRow.id).in_(ids)))
    return {ids[row.id]: row for row in rows}


async def keys_by_customer(session: AsyncSession, customer_ids: Iterable[str]) -> dict[str, int]:
    """How many working keys each customer has."""
    statement = (
        select(ApiKey.customer_id, func.count())
        .where(col(ApiKey.customer_id).in_(set(customer_ids)), col(ApiKey.revoked_at_us).is_(None))
        .group_by(col(ApiKey.customer_id))
    )
    return dict((await session.exec(statement)).all())


async def accounts(session: AsyncSession) -> Sequence[AccountRow]:
    """The chart of accounts with balances, customers' wallets left out."""
    statement = (
        select(AccountRow).where(col(AccountRow.kind) != "wallet").order_by(col(AccountRow.id)).limit(ACCOUNTS_MAX)
    )
    return (await session.exec(statement)).all()


@dataclass(frozen=True, slots=True)
class TrialBalance:
    """Whether the books balance.

    Attributes:
        by_kind: sum of the balances of all accounts of a kind, nano-USD, credits positive.
        wallets: how many there are.
        held: reserved on wallets.
    """

    by_kind: dict[str, int]
    wallets: int
    held: int

    @property
    def drift(self) -> int:
        """Sum of all balances; 0 in sound books."""
        return sum(self.by_kind.values())


async def trial_balance(session: AsyncSession) -> TrialBalance:
    """Balances by kind of account. `goodput ledger verify` also adds up every entry; this is made for looking often."""
    statement = select(
        AccountRow.kind, _total(col(AccountRow.posted)), _total(col(AccountRow.held)), func.count()
    ).group_by(col(AccountRow.kind))
    rows = {row[0]: (int(row[1]), int(row[2]), int(row[3])) for row in await session.exec(statement)}
    _, held, wallets = rows.get("wallet", (0, 0, 0))
    return TrialBalance({kind: posted for kind, (posted, _, _) in rows.items()}, wallets, held)


async def transactions_page(
    session: AsyncSession, before_id: int | None, rows_max: int
) -> list[tuple[JournalTxnRow, tuple[EntryRow, ...]]]:
    """Up to ``rows_max`` + 1 transactions with their legs, the last booked first."""
    statement = select(JournalTxnRow).order_by(col(JournalTxnRow.id).desc()).limit(rows_max + 1)
    if before_id is not None:
        statement = statement.where(col(JournalTxnRow.id) < before_id)
    txns = (await session.exec(statement)).all()
    legs = (
        await session.exec(
            select(EntryRow)
            .where(col(EntryRow.txn_id).in_([txn.id for txn in txns]))
            .order_by(col(EntryRow.txn_id), col(EntryRow.leg))
        )
    ).all()
    return [(txn, tuple(leg for leg in legs if leg.txn_id == txn.id)) for txn in txns]


async def price_books(session: AsyncSession) -> Sequence[PriceBookRow]:
    """The newest published books, newest first."""
    statement = select(PriceBookRow).order_by(col(PriceBookRow.sequence).desc()).limit(BOOKS_MAX)
    return (await session.exec(statement)).all()
