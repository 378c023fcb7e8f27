"""The models that may serve one request, in the order its customer wants them tried, each understood and priced.

The money held covers the model that is tried; moving on to a dearer one holds more first, so that whoever can pay for
the first is not refused for the price of the last.
"""

from app.errors import MarketError
from app.gateway.answer import Ask, Choices, Reserve
from app.gateway.market import Market
from app.gateway.usage_row import held_amount
from pricing.money import NanoUsd
from scheduler.placement import Admit, Wait

ABOUT_PLACES = frozenset({"capacity_exceeded", "no_provider_available", "context_length_exceeded"})
"""Refusals that say that there is no place for this model, not that its customer may not."""


def arrive(choices: Choices, market: Market) -> Admit | Wait:
    """Asks where the first model that is not refused at once may run; nothing was reserved yet.

    Raises:
        MarketError: all are refused; in the words for the first.
    """
    first: MarketError | None = None
    while True:
        try:
            return market.driver.arrive(choices.ask.job)
        except MarketError as refused:
            first = first or refused
            if refused.code not in ABOUT_PLACES or not choices.left:
                raise first from None
        choices.ask = choices.left.pop(0)


async def move_on(choices: Choices, market: Market, *, after_failure: bool) -> Admit | Wait | None:
    """Goes on to the next model that can be paid for and has a place; None when there is none.

    Args:
        choices: moved on.
        market: the rooms.
        after_failure: an attempt failed before; this counts as a retry.
    """
    ask_where = market.driver.arrive_again if after_failure else market.driver.arrive
    while choices.left:
        ask = choices.left.pop(0)
        amount = held_amount(ask, reserve_for(ask, market.settings.hold_step_tokens))
        if amount > choices.held and not await market.ledger.extend(ask.job.id, NanoUsd(amount - choices.held)):
            continue
        choices.held = max(choices.held, amount)
        try:
            decision = ask_where(ask.job)
        except MarketError:
            continue
        choices.ask = ask
        return decision
    return None


def reserve_for(ask: Ask, step_tokens: int) -> Reserve:
    """How much output to hold first: a step that can grow, or all of it where the answer cannot be cut."""
    bound = ask.quote.output_bound
    return Reserve(min(bound, step_tokens) if ask.order.is_stream else bound, bound)
