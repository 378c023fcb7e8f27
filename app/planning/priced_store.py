"""Keeps which models are priced and from what, revision by revision; each call joins the caller's transaction."""

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.service import Actor, Change, record
from app.planning.input_store import append
from app.planning.models import PricedModelRow
from app.planning.priced import PricedModelSpec, Serving, adder_document, adder_from_document, length_class
from pricing.slo import Tier


async def set_priced_model(
    session: AsyncSession, wanted: PricedModelSpec, actor: Actor, reason: str, now_us: int
) -> bool:
    """Prices a model as described from now on; False, and nothing written, where that is what is in force."""
    known = {spec.public_name: spec for spec in await priced_models_at(session, now_us, with_retired=True)}
    before = known.get(wanted.public_name)
    if before == wanted:
        return False

    def row(sequence: int) -> PricedModelRow:
        return PricedModelRow(
            sequence=sequence,
            public_name=wanted.public_name,
            profiled_as=wanted.profiled_as,
            deployment_ids=sorted(wanted.deployment_ids),
            isl=None if wanted.lengths is None else wanted.lengths.isl,
            osl=None if wanted.lengths is None else wanted.lengths.osl,
            serving=wanted.serving.value,
            adder=adder_document(wanted.adder),
            tiers=[tier.value for tier in Tier if tier in wanted.adder.tiers],
            premium_deployment_id=wanted.premium_deployment_id,
            is_priced=wanted.is_priced,
            effective_at_us=now_us,
            created_at_us=now_us,
            actor=actor.name or actor.id,
            reason=reason,
        )

    await append(session, PricedModelRow, row)
    change = Change(
        "priced_model.set",
        f"model:{wanted.public_name}",
        {} if before is None else spec_document(before),
        spec_document(wanted),
        reason,
    )
    await record(session, actor, change, now_us)
    return True


async def seed_priced_model(
    session: AsyncSession, wanted: PricedModelSpec, actor: Actor, reason: str, now_us: int
) -> bool:
    """The same, unless somebody else described the model last: what an operator decided stays."""
    statement = (
        select(PricedModelRow)
        .where(col(PricedModelRow.public_name) == wanted.public_name)
        .order_by(col(PricedModelRow.sequence).desc())
        .limit(1)
    )
    last = (await session.exec(statement)).first()
    if last is not None and last.actor != (actor.name or actor.id):
        return False
    return await set_priced_model(session, wanted, actor, reason, now_us)


async def priced_models_at(
    session: AsyncSession, at_us: int, *, with_retired: bool = False
) -> tuple[PricedModelSpec, ...]:
    """Every model that was priced at a moment, by name; on request those too that no longer were."""
    place = func.row_number().over(
        partition_by=col(PricedModelRow.public_name),
        order_by=(col(PricedModelRow.effective_at_us).desc(), col(PricedModelRow.sequence).desc()),
    )
    ranked = (
        select(col(PricedModelRow.sequence).label("sequence"), place.label("place"))
        .where(col(PricedModelRow.effective_at_us) <= at_us)
        .subquery()
    )
    statement = (
        select(PricedModelRow)
        .join(ranked, ranked.c.sequence == col(PricedModelRow.sequence))
        .where(ranked.c.place == 1)
        .order_by(col(PricedModelRow.public_name))
    )
    found = tuple(map(spec_of, (await session.exec(statement)).all()))
    return found if with_retired else tuple(spec for spec in found if spec.is_priced)


def spec_of(row: PricedModelRow) -> PricedModelSpec:
    """A row as a checked value."""
    return PricedModelSpec(
        public_name=row.public_name,
        profiled_as=row.profiled_as,
        deployment_ids=frozenset(row.deployment_ids),
        lengths=length_class(row.isl, row.osl),
        serving=Serving(row.serving),
        adder=adder_from_document(row.adder, frozenset(map(Tier, row.tiers))),
        premium_deployment_id=row.premium_deployment_id,
        is_priced=row.is_priced,
    )


def spec_document(spec: PricedModelSpec) -> dict[str, object]:
    """A specification for machines and the audit log."""
    return {
        "public_name": spec.public_name,
        "profiled_as": spec.profiled_as,
        "deployment_ids": sorted(spec.deployment_ids),
        "isl": None if spec.lengths is None else spec.lengths.isl,
        "osl": None if spec.lengths is None else spec.lengths.osl,
        "serving": spec.serving.value,
        "adder": adder_document(spec.adder),
        "tiers": [tier.value for tier in Tier if tier in spec.adder.tiers],
        "premium_deployment_id": spec.premium_deployment_id,
        "is_priced": spec.is_priced,
    }
