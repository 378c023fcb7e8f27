"""What is done with tuned models: asked for, approved, refused, withdrawn; in the caller's transaction, audited."""

import secrets
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.service import Actor, Change, record
from app.catalog import repository as catalog
from app.catalog.models import ModelOnSaleRow
from app.catalog.sale import ModelOnSale
from app.catalog.service import NoPriceBook, live_book, publish_book, put_on_sale, withdraw
from app.clock import from_us
from app.errors import NO_RETRY, MarketError
from app.fleet.models import DeploymentRow
from app.fleet.repository import deployment_by_id, spec_of
from app.fleet.service import register_deployment, remove_deployment
from app.identity.ids import ENTROPY_BYTES, time_ordered_id
from app.tuning import repository
from app.tuning.models import TunedModelRow
from app.tuning.tuned import (
    Approval,
    Serving,
    Stage,
    TunedError,
    Wish,
    cards_for,
    is_namespaced,
    offer_for,
    public_name,
)
from pricing.pricebook import PriceBookId, price_book

OPEN_REQUESTS_MAX = 20


class TunedRefused(MarketError):
    """A request or a decision about a tuned model that cannot be carried out."""


async def request_model(
    session: AsyncSession, customer_id: str, wish: Wish, actor: Actor, now_us: int
) -> TunedModelRow:
    """A customer asks for a tuned model; an operator decides.

    Raises:
        TunedRefused: the base is not on sale, the name is in use, or too many requests are open.
    """
    base = await session.get(ModelOnSaleRow, wish.base_model)
    if base is None or not base.is_on_sale or is_namespaced(wish.base_model):
        raise _refused(
            404, "model_not_found", f"The base model '{wish.base_model[:128]}' is not on sale.", "base_model"
        )
    if (waiting := await repository.open_requests(session, customer_id)) >= OPEN_REQUESTS_MAX:
        raise _refused(
            400, "too_many_requests_open", f"{waiting} of your requests wait for a decision already.", "name"
        )
    name = public_name(customer_id, wish.name)
    if await repository.by_id(session, name) is not None:
        raise _refused(400, "name_in_use", f"You have asked for '{wish.name}' before; choose another name.", "name")
    row = TunedModelRow(
        id=time_ordered_id("tm", now_us, secrets.token_bytes(ENTROPY_BYTES)),
        name=name,
        customer_id=customer_id,
        base_model=wish.base_model,
        adapter=wish.adapter,
        source=wish.source,
        serving=wish.serving.value,
        rpm_wanted=wish.rpm,
        concurrency_wanted=wish.concurrency,
        created_at_us=now_us,
        updated_at_us=now_us,
    )
    session.add(row)
    await session.flush()
    await record(session, actor, Change("tuned_model.requested", _subject(row), {}, tuned_document(row)), now_us)
    return row


async def approve(session: AsyncSession, model_id: str, approval: Approval, actor: Actor, now_us: int) -> TunedModelRow:
    """Registers where it is served, puts it on sale to its customer alone, and prices it where asked to.

    Raises:
        TunedRefused: there is no such request, or it was decided meanwhile; or an offer is none of its base.
        TunedError: it is dedicated and no engine of its own is named, or the reverse.
    """
    row = await _waiting(session, model_id, approval.version, {Stage.REQUESTED, Stage.REFUSED, Stage.WITHDRAWN})
    _check_serving(row, approval)
    concurrency = approval.concurrency or row.concurrency_wanted
    for offer_id in approval.offers:
        base = await _base_offer(session, row, offer_id)
        spec = offer_for(spec_of(base), row.name, row.adapter, approval, concurrency)
        await register_deployment(session, spec, actor, now_us)
    await _put_on_sale(session, row, actor, now_us)
    if approval.price_ppm is not None:
        await _price(session, row, approval, actor, now_us)
    caps = {"rpm_max": approval.rpm or row.rpm_wanted, "concurrency_max": concurrency}
    basis = {"slowdown_ppm": approval.slowdown_ppm, "cost_ppm": approval.cost_ppm}
    await _decide(session, row, Stage.APPROVED, {**caps, **basis, "reason": approval.reason}, actor, now_us)
    return row


async def refuse(
    session: AsyncSession, model_id: str, reason: str, actor: Actor, now_us: int, version: int | None = None
) -> TunedModelRow:
    """An operator refuses a request; the customer is told why.

    Raises:
        TunedRefused: there is no such request, or it was decided meanwhile.
    """
    row = await _waiting(session, model_id, version, {Stage.REQUESTED})
    await _decide(session, row, Stage.REFUSED, {"reason": reason}, actor, now_us)
    return row


async def withdraw_model(
    session: AsyncSession, model_id: str, reason: str, actor: Actor, now_us: int, *, customer_id: str = ""
) -> TunedModelRow:
    """Takes it off sale and its deployments out of the fleet; requests that run finish.

    Args:
        session: a writing one.
        model_id: id or public name.
        reason: why.
        actor: the operator, or the customer.
        now_us: µs since the epoch.
        customer_id: only if it is theirs; empty for operators.

    Raises:
        TunedRefused: there is none that could be withdrawn.
    """
    row = await _waiting(session, model_id, None, {Stage.REQUESTED, Stage.APPROVED}, customer_id)
    for offer_id in await repository.offers_of(session, row.name):
        await remove_deployment(session, offer_id, actor, reason, now_us)
    await withdraw(session, row.name, actor, reason, now_us)
    await _decide(session, row, Stage.WITHDRAWN, {"reason": reason}, actor, now_us)
    return row


def tuned_document(row: TunedModelRow) -> dict[str, Any]:
    """A tuned model as its customer may see it."""
    caps = {"rpm": row.rpm_max, "concurrency": row.concurrency_max}
    return {
        "id": row.id,
        "object": "tuned_model",
        "model": row.name,
        "base_model": row.base_model,
        "adapter": row.adapter,
        "source": row.source,
        "serving": row.serving,
        "status": row.state,
        "reason": row.reason,
        "wanted": {"rpm": row.rpm_wanted, "concurrency": row.concurrency_wanted},
        "cap": caps if row.state == Stage.APPROVED.value else None,
        "version": row.version,
        "created_at_us": row.created_at_us,
    }


async def _waiting(
    session: AsyncSession, model_id: str, version: int | None, stages: set[Stage], customer_id: str = ""
) -> TunedModelRow:
    row = await repository.by_id(session, model_id)
    if row is None or (customer_id and row.customer_id != customer_id):
        raise _refused(404, "tuned_model_not_found", f"There is no tuned model '{model_id[:128]}'.", "id")
    if version is not None and version != row.version:
        raise _refused(
            409,
            "tuned_model_changed",
            f"It was changed meanwhile: you saw version {version}, it is at version {row.version} and {row.state} now.",
        )
    if Stage(row.state) not in stages:
        raise _refused(400, "tuned_model_decided", f"It is {row.state} already ({row.reason or 'no reason given'}).")
    return row


def _check_serving(row: TunedModelRow, approval: Approval) -> None:
    is_dedicated = row.serving == Serving.DEDICATED.value
    if is_dedicated and not approval.base_url:
        raise TunedError("it was asked for on an engine of its own: name its base_url, or refuse and say why")
    if approval.base_url and not is_dedicated:
        raise TunedError("it was asked for beside others: leave base_url out, or have it asked for as dedicated")
    if approval.base_url and len(approval.offers) > 1:
        raise TunedError("an engine of its own follows the profile of one deployment: name one offer")


async def _base_offer(session: AsyncSession, row: TunedModelRow, offer_id: str) -> DeploymentRow:
    base = await deployment_by_id(session, offer_id)
    if base is None or base.model != row.base_model:
        runs = "nothing" if base is None else f"'{base.model}'"
        raise _refused(
            400, "not_an_offer_of_the_base", f"'{offer_id[:200]}' runs {runs}, not the base '{row.base_model}'."
        )
    return base


async def _put_on_sale(session: AsyncSession, row: TunedModelRow, actor: Actor, now_us: int) -> None:
    base = await session.get(ModelOnSaleRow, row.base_model)
    if base is None:
        raise _refused(400, "base_not_on_sale", f"The base '{row.base_model}' is not on sale any more.")
    on_sale = ModelOnSale(
        name=row.name,
        title=row.name.rpartition("/")[2],
        description=f"Your tuned model on {row.base_model}.",
        owned_by=row.name.partition("/")[0],
        context_max=base.context_max,
        bytes_per_token=base.bytes_per_token,
        created_at_us=now_us,
    )
    await put_on_sale(session, on_sale, actor, now_us)


async def _price(session: AsyncSession, row: TunedModelRow, approval: Approval, actor: Actor, now_us: int) -> None:
    """Publishes the book in force again, with its cards beside all others."""
    latest = await catalog.latest_row(session)
    try:
        live = await live_book(session, from_us(now_us))
    except NoPriceBook:
        live = None
    base = [] if live is None else [live.cards[row.base_model, tier] for tier in live.tiers(row.base_model)]
    if live is None or latest is None or not base:
        raise _refused(400, "base_not_priced", f"The base '{row.base_model}' has no price to follow from.")
    cards = cards_for(base, row.name, approval)
    if not cards:
        sold = ", ".join(card.rung.tier for card in base)
        raise TunedError(f"tiers: '{row.base_model}' is sold at {sold} alone, so its tuned model can be too")
    others = [card for card in live.cards.values() if card.model != row.name]
    book = price_book(from_us(now_us), [*others, *cards])
    reason = f"{row.name} approved: {row.base_model}'s prices × {approval.price_ppm}/1000000"
    await publish_book(session, book, actor, reason, now_us, after=PriceBookId(latest.id))


async def _decide(
    session: AsyncSession, row: TunedModelRow, stage: Stage, changes: dict[str, Any], actor: Actor, now_us: int
) -> None:
    before = {"state": row.state}
    row.sqlmodel_update({**changes, "state": stage.value, "version": row.version + 1, "updated_at_us": now_us})
    session.add(row)
    await session.flush()
    after = {**changes, "state": row.state, "customer_id": row.customer_id}
    change = Change(f"tuned_model.{stage.value}", _subject(row), before, after, row.reason)
    await record(session, actor, change, now_us)


def _subject(row: TunedModelRow) -> str:
    return f"tuned_model:{row.id}"


def _refused(status: int, code: str, message: str, param: str | None = None) -> TunedRefused:
    return TunedRefused(status, code, message, param=param, retry=NO_RETRY)
