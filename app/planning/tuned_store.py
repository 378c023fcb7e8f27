"""A tuned model among the priced ones: derived as its base is, with the adder that was agreed; in the caller's turn."""

from collections.abc import Mapping
from dataclasses import replace

from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.service import Actor
from app.catalog.service import NoPriceBook, live_book
from app.clock import from_us
from app.planning.adapters import agreed_adder
from app.planning.input_store import inputs_at
from app.planning.inputs import MARKET
from app.planning.priced import PricedModelError, PricedModelSpec, Serving
from app.planning.priced_store import priced_models_at, set_priced_model
from app.tuning.models import TunedModelRow
from app.tuning.tuned import Approval
from pricing.assumptions import UTILISATION
from pricing.pricebook import RateCard
from pricing.slo import Tier


async def price_tuned(session: AsyncSession, row: TunedModelRow, approval: Approval, actor: Actor, now_us: int) -> bool:
    """Prices an approved model from its base's measurements from now on.

    Prices that were agreed and published stay its own; without them they follow its cost. A model whose base has
    prices made by hand is priced by hand too.

    Args:
        session: a writing one, in which it was approved.
        row: the approved model.
        approval: the operator's terms.
        actor: the operator.
        now_us: µs since the epoch.

    Returns:
        Whether anything was written.

    Raises:
        PricedModelError: its cost is over its base's, and no book in force says what that is.
    """
    base = await _spec(session, row.base_model, now_us)
    if base is None:
        return False
    cards = await _cards(session, row.base_model, now_us)
    standard = cards.get(Tier.STANDARD) or next(iter(cards.values()), None)
    if standard is None and approval.cost_ppm > approval.slowdown_ppm:
        raise PricedModelError(
            f"cost: no book in force says what '{row.base_model}' costs, so nothing can be over it; open prices first"
        )
    given = await inputs_at(session, now_us)
    utilisation = given.value("utilisation", [f"model:{row.name}", MARKET], UTILISATION)
    agreed = {} if approval.price_ppm is None else await _cards(session, row.name, now_us)
    adder = replace(
        agreed_adder(approval, None if standard is None else standard.cost, utilisation),
        tiers=frozenset(agreed) or approval.tiers or base.adder.tiers,
        rates={tier: card.rung.rates for tier, card in agreed.items()},
    )
    wanted = replace(base, public_name=row.name, serving=Serving(row.serving), adder=adder)
    return await set_priced_model(session, wanted, actor, approval.reason, now_us)


async def end_tuned(session: AsyncSession, name: str, actor: Actor, reason: str, now_us: int) -> bool:
    """Prices a tuned model no more; False where it was not."""
    spec = await _spec(session, name, now_us)
    if spec is None:
        return False
    return await set_priced_model(session, replace(spec, is_priced=False), actor, reason, now_us)


async def _spec(session: AsyncSession, name: str, now_us: int) -> PricedModelSpec | None:
    return next((each for each in await priced_models_at(session, now_us) if each.public_name == name), None)


async def _cards(session: AsyncSession, model: str, now_us: int) -> Mapping[Tier, RateCard]:
    try:
        book = await live_book(session, from_us(now_us))
    except NoPriceBook:
        return {}
    return {tier: book.cards[model, tier] for tier in book.tiers(model)}
