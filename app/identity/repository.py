"""Queries of identity; each takes the caller's session and leaves committing to it."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import delete, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.identity.models import AdminToken, ApiKey, Customer, LoginFailure, Operator, OperatorSession
from app.identity.throttle import Failures


async def key_with_customer(session: AsyncSession, secret_sha256: str) -> tuple[ApiKey, Customer] | None:
    """The key with this digest, working or revoked, and whose it is."""
    statement = (
        select(ApiKey, Customer)
        .join(Customer, col(Customer.id) == col(ApiKey.customer_id))
        .where(col(ApiKey.secret_sha256) == secret_sha256)
    )
    row = (await session.exec(statement)).first()
    return None if row is None else (row[0], row[1])


async def customers_page(session: AsyncSession, after_id: str | None, rows_max: int) -> Sequence[Customer]:
    """Customers, newest first, older than ``after_id`` where given (ids sort by time)."""
    statement = select(Customer).order_by(col(Customer.id).desc()).limit(rows_max)
    if after_id is not None:
        statement = statement.where(col(Customer.id) < after_id)
    return (await session.exec(statement)).all()


async def keys_of(session: AsyncSession, customer_id: str, rows_max: int) -> Sequence[ApiKey]:
    """A customer's keys, newest first, revoked ones too."""
    statement = (
        select(ApiKey).where(col(ApiKey.customer_id) == customer_id).order_by(col(ApiKey.id).desc()).limit(rows_max)
    )
    return (await session.exec(statement)).all()


async def names_of(session: AsyncSession, customer_ids: Iterable[str]) -> dict[str, str]:
    """Customers' names by id."""
    statement = select(Customer.id, Customer.name).where(col(Customer.id).in_(set(customer_ids)))
    return {row[0]: row[1] for row in (await session.exec(statement)).all()}


async def operator_by_email(session: AsyncSession, email: str) -> Operator | None:
    """The operator who signs in as ``email`` (lower case)."""
    return (await session.exec(select(Operator).where(col(Operator.email) == email))).one_or_none()


async def token_with_operator(session: AsyncSession, token_sha256: str) -> tuple[AdminToken, Operator] | None:
    """The admin token with this digest, working or revoked, and whose it is."""
    statement = (
        select(AdminToken, Operator)
        .join(Operator, col(Operator.id) == col(AdminToken.operator_id))
        .where(col(AdminToken.token_sha256) == token_sha256)
    )
    row = (await session.exec(statement)).first()
    return None if row is None else (row[0], row[1])


async def session_with_operator(session: AsyncSession, id_sha256: str) -> tuple[OperatorSession, Operator] | None:
    """The signed-in browser with this digest, expired or not, and whose it is."""
    statement = (
        select(OperatorSession, Operator)
        .join(Operator, col(Operator.id) == col(OperatorSession.operator_id))
        .where(col(OperatorSession.id_sha256) == id_sha256)
    )
    row = (await session.exec(statement)).first()
    return None if row is None else (row[0], row[1])


async def delete_session(session: AsyncSession, id_sha256: str) -> None:
    """Ends one signed-in browser."""
    await session.exec(delete(OperatorSession).where(col(OperatorSession.id_sha256) == id_sha256))


async def delete_sessions_of(session: AsyncSession, operator_id: str) -> None:
    """Ends every signed-in browser of an operator."""
    await session.exec(delete(OperatorSession).where(col(OperatorSession.operator_id) == operator_id))


async def delete_idle_sessions(session: AsyncSession, seen_before_us: int) -> None:
    """Forgets sessions that have expired anyway."""
    await session.exec(delete(OperatorSession).where(col(OperatorSession.seen_at_us) < seen_before_us))


async def login_failures(session: AsyncSession, names: Sequence[str]) -> dict[str, Failures]:
    """The counters with these names that exist."""
    rows = await session.exec(select(LoginFailure).where(col(LoginFailure.bucket).in_(names)))
    return {row.bucket: Failures(row.failures, row.since_at_us) for row in rows}


async def put_login_failures(session: AsyncSession, failures: Mapping[str, Failures]) -> None:
    """Writes counters, new or known."""
    for bucket, seen in failures.items():
        await session.merge(LoginFailure(bucket=bucket, failures=seen.count, since_at_us=seen.since_at_us))


async def forgive_login_failure(session: AsyncSession, cleared: str, names: Sequence[str]) -> None:
    """After a success: clears one counter, and takes the attempt back from the others."""
    await session.exec(delete(LoginFailure).where(col(LoginFailure.bucket) == cleared))
    await session.exec(
        update(LoginFailure)
        .where(col(LoginFailure.bucket).in_(names), col(LoginFailure.failures) > 0)
        .values(failures=col(LoginFailure.failures) - 1)
    )


async def delete_login_failures(session: AsyncSession, since_before_us: int) -> None:
    """Forgets counters whose window has passed."""
    await session.exec(delete(LoginFailure).where(col(LoginFailure.since_at_us) < since_before_us))


async def put_last_used(session: AsyncSession, keys: Mapping[str, int], tokens: Mapping[str, int]) -> None:
    """Notes when keys and tokens were last used (µs since the epoch, by id); a time never moves back."""
    for table, used in ((ApiKey, keys), (AdminToken, tokens)):
        for row_id, at_us in used.items():
            earlier = col(table.last_used_at_us).is_(None) | (col(table.last_used_at_us) < at_us)
            await session.exec(update(table).where(col(table.id) == row_id, earlier).values(last_used_at_us=at_us))
