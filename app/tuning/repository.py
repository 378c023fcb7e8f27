"""Queries of tuned models; each takes the caller's session and leaves committing to it."""

from collections.abc import Mapping, Sequence

from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.fleet.leases import Quota
from app.fleet.models import DeploymentRow
from app.tuning.models import TunedModelRow
from app.tuning.tuned import Stage

MODELS_MAX = 10_000


async def by_id(session: AsyncSession, model_id: str) -> TunedModelRow | None:
    """A tuned model by id or public name, locked against others' changes where the database can."""
    statement = (
        select(TunedModelRow)
        .where((col(TunedModelRow.id) == model_id) | (col(TunedModelRow.name) == model_id))
        .with_for_update()
    )
    return (await session.exec(statement)).first()


async def tuned_models(session: AsyncSession, customer_id: str = "", stage: str = "") -> Sequence[TunedModelRow]:
    """Tuned models, newest first; one customer's, or those at one stage, where given."""
    statement = select(TunedModelRow).order_by(col(TunedModelRow.id).desc()).limit(MODELS_MAX)
    if customer_id:
        statement = statement.where(col(TunedModelRow.customer_id) == customer_id)
    if stage:
        statement = statement.where(col(TunedModelRow.state) == stage)
    return (await session.exec(statement)).all()


async def open_requests(session: AsyncSession, customer_id: str) -> int:
    """How many of a customer's requests nobody has decided yet."""
    statement = select(func.count()).where(
        col(TunedModelRow.customer_id) == customer_id, col(TunedModelRow.state) == Stage.REQUESTED.value
    )
    return (await session.exec(statement)).one()


async def owners(session: AsyncSession) -> Mapping[str, str]:
    """Whose each tuned model is, by public name, whatever became of it."""
    statement = select(TunedModelRow.name, TunedModelRow.customer_id).limit(MODELS_MAX)
    return {name: customer_id for name, customer_id in (await session.exec(statement)).all()}  # noqa: C416 (typed rows)


async def caps(session: AsyncSession) -> Mapping[str, Quota]:
    """How much of each approved model may be used, by public name."""
    statement = select(TunedModelRow).where(col(TunedModelRow.state) == Stage.APPROVED.value).limit(MODELS_MAX)
    rows = (await session.exec(statement)).all()
    return {row.name: Quota(f"tuned:{row.name}", rpm=row.rpm_max, concurrency=row.concurrency_max) for row in rows}


async def offers_of(session: AsyncSession, model: str) -> Sequence[str]:
    """The deployments that serve a model."""
    statement = select(DeploymentRow.id).where(col(DeploymentRow.model) == model).limit(MODELS_MAX)
    return (await session.exec(statement)).all()
