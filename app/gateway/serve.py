"""One chat completion, from the first byte read to the settled ledger entry. Read it top to bottom.

authenticate → read → price → place → hold → lease → stream and meter → settle → conclude

Hold and settle are two short transactions around the stream, never one across it. The settlement is durable before
the closing ``[DONE]`` (or the whole body) leaves. It runs on every path, cancellation included.
"""

import asyncio
from dataclasses import dataclass

from app.clock import from_us, now_us
from app.errors import MarketError
from app.gateway import errors
from app.gateway.answer import Admission, Answer, Ask, Ended, Placement, Reserve
from app.gateway.ask import Sighting, price_ask
from app.gateway.conclude import conclude, conclude_again, refuse
from app.gateway.head import Head
from app.gateway.idempotency_store import Claim
from app.gateway.market import Market
from app.gateway.relay import Relay
from app.gateway.sse import Exchange, HangUp
from app.gateway.usage_row import dispute_rows, held_amount, tpot_us, usage_row
from app.gateway.wire import Order, read_order
from app.identity.caller import Caller
from app.ledger.holds import HoldRequest, Settlement
from app.logs import get_logger
from app.metering.delivery import Delivery
from app.metering.meter import Bounds, Finish, Metered, Reported, Supply, meter
from app.metering.plausible import Dispute, checked, input_tokens_most
from app.refusals import internal_error
from pricing.pricebook import PriceBook
from pricing.rating import Ending
from pricing.slo import US_PER_S
from scheduler.placement import Admit, Wait

BODY_S_MAX = 30.0


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


async def price(order: Order, caller: Caller, head: Head, market: Market) -> Ask:
    """Fixes the price book and bounds the price; the quote that the customer names, else the book in force."""
    if caller.is_frozen:
        raise errors.frozen()
    book = market.shelf.live(from_us(head.requested_at_us))
    if head.quote_id is not None:
        ticket = market.quotes.read(head.quote_id, head.requested_at_us)
        ticket.check(caller.customer_id, order.model, order.tier)
        book = await market.shelf.find(ticket.price_book_id) or book
    expect_sold(order.model, caller, book, market)
    seen = Sighting(head.request_id, head.requested_at_us)
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
    ask = await price(read_order(received.body), received.caller, head, market)
    exchange.watch()
    decision = market.driver.arrive(ask.job)
    reserve = reserve_for(ask, market.settings.hold_step_tokens)
    admitted_at_us = now_us()
    placement = await secure(ask, decision, reserve, market)
    return Answer(ask, placement, Delivery(is_streamed=ask.order.is_stream), reserve, admitted_at_us)


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


async def secure(ask: Ask, decision: Admit | Wait, reserve: Reserve, market: Market) -> Placement:
    """Reserves the money, then the place; gives the money back when the place is refused or the customer leaves."""
    try:
        await market.ledger.hold(hold_request(ask, reserve, market))
    except BaseException as error:
        market.driver.withdraw(ask.job)
        if not isinstance(error, MarketError):  # the hold may have been written all the same
            market.driver.spawn(market.ledger.void(ask.job.id, "customer left"))
        raise
    market.holds.add(ask.job.id)
    try:
        return await market.driver.lease(decision, Admission(ask.caller.limits, ask.tokens))
    except BaseException:
        market.holds.discard(ask.job.id)
        market.driver.spawn(market.ledger.void(ask.job.id, "not placed"))
        raise


def reserve_for(ask: Ask, step_tokens: int) -> Reserve:
    """How much output to hold first: a step that can grow, or all of it where the answer cannot be cut."""
    bound = ask.quote.output_bound
    return Reserve(min(bound, step_tokens) if ask.order.is_stream else bound, bound)


def hold_request(ask: Ask, reserve: Reserve, market: Market) -> HoldRequest:
    """What to reserve first: the whole prompt, and the output that is held first."""
    created_at_us = now_us()
    return HoldRequest(
        id=ask.job.id,
        customer_id=ask.caller.customer_id,
        amount=held_amount(ask, reserve),
        ceiling=ask.quote.ceiling,
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
        pace_us = tpot_us(metered, is_stream=ask.order.is_stream)
        market.supply.succeeded(
            placement.offer.id,
            placement.tier,
            placement.candidate.tpot_us,
            pace_us,
            since_us=ask.job.requested_at_us + (first_us or 0),
        )
    market.meters.settled(answer, ended, metered)
