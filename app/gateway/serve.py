"""One chat completion, from the first byte read to the settled ledger entry. Read it top to bottom.

authenticate → read → price → place → hold → lease → stream and meter → settle → conclude

Hold and settle are two short transactions around the stream, never one across it. The settlement is durable before
the closing ``[DONE]`` (or the whole body) leaves. It runs on every path, cancellation included.
"""

import asyncio
from dataclasses import dataclass, replace
from functools import partial

from app.clock import from_us, now_us
from app.errors import MarketError
from app.gateway import errors
from app.gateway.answer import Admission, Answer, Ask, Choices, Ended, Placement
from app.gateway.ask import Sighting, price_ask
from app.gateway.choices import ABOUT_PLACES, arrive, move_on, reserve_for
from app.gateway.conclude import conclude, conclude_again, refuse
from app.gateway.head import Head
from app.gateway.idempotency_store import Claim
from app.gateway.market import Market
from app.gateway.provider_field import check_known
from app.gateway.relay import Relay
from app.gateway.sse import Exchange, HangUp
from app.gateway.suffix import resolved
from app.gateway.usage_row import dispute_rows, held_amount, tpot_us, usage_row
from app.gateway.wire import Order, read_order
from app.identity.caller import Caller
from app.ledger.holds import HoldRequest, Settlement
from app.logs import get_logger
from app.metering.delivery import Delivery
from app.metering.meter import Bounds, Finish, Metered, Reported, Supply, meter, token_cost
from app.metering.plausible import Dispute, checked, input_tokens_most
from app.refusals import internal_error
from pricing.pricebook import PriceBook
from pricing.rating import Ending
from pricing.slo import US_PER_S
from scheduler.placement import Admit, Wait

BODY_S_MAX = 30.0
WHOLE = frozenset({Ending.STOP, Ending.LENGTH, Ending.HOLD_EXHAUSTED})
"""Endings of answers that came to their end: how well their promise was kept feeds back on placing."""


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came in: who sent it, and its body."""

    caller: Caller
    body: bytes


async def serve(exchange: Exchange, head: Head, market: Market) -> None:
    """Answers one ``POST /v1/chat/completions``."""
    try:
        received = await admit(exchange, head, market)
        if head.idempotency_key is None:
            await deliver(await begin(received, head, exchange, market), head, exchange, market)
        else:
            await fulfil_once(received, head.idempotency_key, head, exchange, market)
    except MarketError as error:
        exchange.unwatch()
        market.meters.refused(error)
        await refuse(exchange, head.request_id, error)
    except HangUp:
        market.meters.hung_up()
    except asyncio.CancelledError:
        if not exchange.absorb():
            raise
        market.meters.hung_up()
    except Exception as error:  # noqa: BLE001 (the outermost edge: a mistake of ours is logged whole and told briefly)
        exchange.unwatch()
        get_logger("app.gateway").exception("request.failed", request_id=head.request_id, exc_info=error)
        await refuse(exchange, head.request_id, internal_error(head.request_id))
    finally:
        exchange.unwatch()


async def admit(exchange: Exchange, head: Head, market: Market) -> Received:
    """Authenticates a request and reads its body; nothing is reserved yet."""
    if market.is_draining:
        raise errors.shutting_down()
    caller = await market.authenticator.authenticate(head.authorization)
    body = await exchange.read_body(head.content_length, market.settings.body_bytes_max, BODY_S_MAX)
    return Received(caller, body)


async def price(order: Order, caller: Caller, head: Head, market: Market) -> Choices:
    """Fixes the price book and bounds the price of each model that may serve; the book of a quote, else that in force.

    A quote is for one model: with one, no other is tried.
    """
    if caller.is_frozen:
        raise errors.frozen()
    may_see = partial(market.audience.may_see, customer_id=caller.customer_id)
    check_known(order.wishes.preferences, market.supply.fleet.offers, may_see)
    book = market.shelf.live(from_us(head.requested_at_us))
    ticket = None
    if head.quote_id is not None:
        ticket = market.quotes.read(head.quote_id, head.requested_at_us)
        book = await market.shelf.find(ticket.price_book_id) or book
    asks: list[Ask] = []
    refused: list[MarketError] = []
    for name in (order.model, *order.fallbacks):
        try:
            asks.append(price_one(resolved(order, name, book), caller, book, head, market))
        except MarketError as error:
            refused.append(error)
    if not asks:
        raise errors.none_of_models(refused)
    if ticket is None:
        return Choices(asks[0], asks[1:])
    ticket.check(caller.customer_id, asks[0].order.model, asks[0].order.tier)
    return Choices(asks[0])


def price_one(order: Order, caller: Caller, book: PriceBook, head: Head, market: Market) -> Ask:
    """Understands, bounds and prices a request for one model.

    Raises:
        MarketError: the model cannot serve it, whoever runs it.
    """
    expect_sold(order.model, caller, book, market)
    is_explained = head.is_explained or head.is_drawn(market.settings.explain_share)
    seen = Sighting(head.request_id, head.requested_at_us, head.affinity, is_explained)
    return price_ask(order, caller, book, market.shelf.context_max(order.model), market.lengths, seen)


def expect_sold(model: str, caller: Caller, book: PriceBook, market: Market) -> None:
    """Refuses a model that does not exist for this customer: not on sale, without a price, or another's tuned model.

    Raises:
        MarketError: 404, in the same words whichever it is.
    """
    is_sold = market.shelf.context_max(model) is not None and bool(book.tiers(model))
    if not (is_sold and market.audience.may_see(model, caller.customer_id)):
        raise errors.model_not_found(model, market.audience.visible(book.models(), caller.customer_id))


async def fulfil_once(received: Received, key: str, head: Head, exchange: Exchange, market: Market) -> None:
    """Fulfils a request that may be sent again: the second time it runs and bills nothing, and answers the receipt.

    A request that got no place gives its key back. One that did is settled, and its settlement says what the key
    stands for.
    """
    claim = Claim(received.caller.customer_id, key, head.request_id)
    replay = await market.idempotency.claim(claim, received.body, now_us())
    if replay is not None:
        await conclude_again(exchange, head.request_id, replay.event, market)
        return
    try:
        answer = await begin(received, head, exchange, market)
    except MarketError:
        await market.idempotency.drop(claim)  # before the refusal is told: trying again must find the key free
        raise
    except BaseException:
        market.driver.spawn(market.idempotency.drop(claim))
        raise
    await deliver(answer, head, exchange, market)


async def begin(received: Received, head: Head, exchange: Exchange, market: Market) -> Answer:
    """Prices, places, holds and leases a request; nothing is left of one that is refused."""
    choices = await price(read_order(received.body), received.caller, head, market)
    asked = choices.ask.order.model
    exchange.watch()
    decision = arrive(choices, market)
    admitted_at_us = now_us()
    placement = await secure(choices, decision, market)
    ask = choices.ask
    reserve = reserve_for(ask, market.settings.hold_step_tokens)
    return Answer(choices, placement, Delivery(is_streamed=ask.order.is_stream), reserve, admitted_at_us, asked)


async def deliver(answer: Answer, head: Head, exchange: Exchange, market: Market) -> None:
    """Streams, meters, settles and concludes an answer that has its place."""
    market.meters.began(answer.ask.order.tier)
    relay = Relay(answer, head, exchange, market)
    ended = Ended(Ending.CRASH)
    try:
        ended = await until_hang_up(relay, exchange)
    finally:
        exchange.unwatch()
        market.driver.release(answer.placement)
        metered = await settle(answer, ended, market)
    await conclude(relay, ended, metered)


async def secure(choices: Choices, decision: Admit | Wait, market: Market) -> Placement:
    """Reserves the money, then the place; gives the money back when the place is refused or the customer leaves."""
    job = choices.ask.job
    request = hold_request(choices, market)
    try:
        await market.ledger.hold(request)
    except BaseException as error:
        market.driver.withdraw(job)
        if not isinstance(error, MarketError):  # the hold may have been written all the same
            market.driver.spawn(market.ledger.void(job.id, "customer left"))
        raise
    choices.held = request.amount
    market.holds.add(job.id)
    try:
        return await place(choices, decision, market)
    except BaseException:
        market.holds.discard(job.id)
        market.driver.spawn(market.ledger.void(job.id, "not placed"))
        raise


async def place(choices: Choices, decision: Admit | Wait, market: Market) -> Placement:
    """Leases a place for the first model that has one."""
    while True:
        ask = choices.ask
        try:
            return await market.driver.lease(decision, Admission(ask.caller.limits, ask.tokens))
        except MarketError as refused:
            following = await move_on(choices, market, after_failure=False) if refused.code in ABOUT_PLACES else None
            if following is None:
                raise
            decision = following


def hold_request(choices: Choices, market: Market) -> HoldRequest:
    """What to reserve first: the whole prompt, and the output that is held first."""
    ask, created_at_us = choices.ask, now_us()
    return HoldRequest(
        id=ask.job.id,
        customer_id=ask.caller.customer_id,
        amount=held_amount(ask, reserve_for(ask, market.settings.hold_step_tokens)),
        ceiling=choices.ceiling,
        price_book_id=ask.book.id,
        model=ask.order.model,
        tier=ask.order.tier.value,
        created_at_us=created_at_us,
        expires_at_us=created_at_us + round(market.settings.hold_lease_s * US_PER_S),
    )


async def until_hang_up(relay: Relay, exchange: Exchange) -> Ended:
    """Relays the answer; a customer who leaves ends it there."""
    try:
        return await relay.run()
    except asyncio.CancelledError:
        if exchange.absorb():
            return Ended(Ending.HANGUP)
        raise


async def settle(answer: Answer, ended: Ended, market: Market) -> Metered:
    """Meters and prices what was delivered, and books it durably.

    Once the ledger has taken the settlement it is carried out, whether or not this task is cancelled meanwhile; and
    nothing is awaited before.
    """
    ask, placement, offer = answer.ask, answer.placement, answer.placement.offer
    market.holds.discard(ask.job.id)
    if ended.ending is Ending.HANGUP and not ask.order.is_stream:
        answer.delivery = Delivery(is_streamed=False)  # a body that never left was not delivered
    booked_at_us = now_us()
    reported, dispute = believed(answer)
    metered = meter(
        answer.delivery,
        reported,
        Bounds(ask.quote.input_bound, answer.reserve.tokens),
        ask.book.ladder(ask.order.model, placement.tier) or ask.ladder,
        Supply(offer.cost, max(0, placement.placed_at_us - ask.job.requested_at_us)),
        Finish(ended.ending, booked_at_us - ask.job.requested_at_us),
    )
    if answer.resumed and answer.usage_last is not None:  # the last backend bills its own prompt and tokens alone
        metered = replace(metered, cost=token_cost(offer.cost, answer.usage_last))
    is_emulated = market.supply.is_emulated(offer.id)
    row = usage_row(answer, ended, metered, finished_at_us=booked_at_us, is_emulated=is_emulated)
    settlement = Settlement(
        hold_id=ask.job.id,
        customer_id=ask.caller.customer_id,
        price_book_id=ask.book.id,
        model=ask.order.model,
        charge=metered.charge,
        cost=metered.cost,
        provider_id=offer.provider_id,
        is_owned=offer.is_owned,
        late_cause=metered.late_cause,
        booked_at_us=booked_at_us,
        rows=(row, *dispute_rows(answer, dispute, booked_at_us)),
    )
    try:
        await market.ledger.settle(settlement)
    finally:
        learn(answer, ended, metered, market)
    return metered


def believed(answer: Answer) -> tuple[Reported, Dispute | None]:
    """The counts to bill by: the backend's, unless its own answer contradicts them."""
    order, offer = answer.ask.order, answer.placement.offer
    reported, dispute = checked(answer.reported, answer.delivery, input_tokens_most(order.prompt_bytes, order.messages))
    if dispute is not None:
        answer.usage = reported.usage  # nothing is learned from the rest
        get_logger("app.gateway").warning(
            "usage.disputed", request_id=answer.ask.job.id, offer=offer.id, reason=dispute.reason
        )
    return reported, dispute


def learn(answer: Answer, ended: Ended, metered: Metered, market: Market) -> None:
    """Lets lengths, calibration and metrics know what happened."""
    ask, placement, usage = answer.ask, answer.placement, answer.usage
    if usage is not None:
        market.lengths.observe(
            ask.caller.customer_id, ask.order.model, ask.order.prompt_bytes, usage.input_total, usage.output
        )
    first_us = answer.delivery.first_token_us
    if ended.error is None and (first_us is not None or answer.finish_reason is not None):
        pace_us = None if answer.resumed else tpot_us(metered, is_stream=ask.order.is_stream)
        market.supply.succeeded(
            placement.offer.id,
            placement.tier,
            placement.candidate.tpot_us,
            pace_us,
            since_us=ask.job.requested_at_us + (first_us or 0),
        )
    if ended.ending in WHOLE and metered.grade.tokens:
        market.driver.settled(placement.tier, is_attained=metered.grade.attained)
    market.meters.settled(answer, ended, metered)
