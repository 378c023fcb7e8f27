"""Understands, bounds and prices a request before anything is reserved; pure."""

from dataclasses import dataclass

from app.gateway.answer import Ask
from app.gateway.errors import context_too_long, invalid, model_not_found, over_price_cap, tier_not_sold
from app.gateway.lengths import Lengths
from app.gateway.wire import Order
from app.identity.caller import Caller
from pricing.pricebook import PriceBook
from pricing.rating import quote
from pricing.slo import Ladder, Rung
from scheduler.jobs import Job, JobId


@dataclass(frozen=True, slots=True)
class Sighting:
    """When and as what a request was first seen.

    Attributes:
        requested_at_us: µs since the epoch, when its first byte was read.
        affinity: what requests of one conversation share, where a header says so.
        is_explained: whether its placement is to be explained in full.
    """

    request_id: str
    requested_at_us: int
    affinity: str = ""
    is_explained: bool = False


def price_ask(
    order: Order, caller: Caller, book: PriceBook, context_max: int | None, lengths: Lengths, seen: Sighting
) -> Ask:
    """Turns an order into a priced, bounded job.

    Raises:
        MarketError: the model or tier is not sold, or the context is too small.
    """
    if context_max is None or not book.tiers(order.model):
        raise model_not_found(order.model, book.models())
    ladder = book.ladder(order.model, order.tier)
    if ladder is None:
        raise tier_not_sold(order.model, order.tier, book.tiers(order.model))
    ladder = within_cap(order, ladder, book)
    predicted = lengths.input_predicted(order.model, order.prompt_bytes, order.messages)
    bound = min(lengths.input_bound(order.model, order.prompt_bytes, order.messages), context_max)
    output_max = _output_max(order, predicted, context_max)
    job = Job(
        id=JobId(seen.request_id),
        customer_id=caller.customer_id,
        model=order.model,
        tier=ladder.served.tier,
        ladder=ladder,
        requested_at_us=seen.requested_at_us,
        input_tokens=predicted,
        output_tokens=lengths.output_predicted(caller.customer_id, order.model, output_max),
        output_tokens_max=output_max,
        needs=order.needs,
        downgrade_allowed=order.allows_downgrade,
        wishes=order.wishes.preferences,
        affinity=order.affinity or seen.affinity,
        is_explained=seen.is_explained,
    )
    return Ask(order, caller, book, ladder, quote(ladder, bound, output_max), job, predicted)


def within_cap(order: Order, ladder: Ladder, book: PriceBook) -> Ladder:
    """The ladder from the best rung on that is no dearer than the customer pays: the one asked for, else where allowed.

    Raises:
        MarketError: none is; what the cheapest tier of the model costs is named.
    """
    cap = order.wishes.cap
    rungs = ladder.rungs if order.allows_downgrade else ladder.rungs[:1]
    for rung in rungs:
        if cap.admits(rung.rates.input, rung.rates.output):
            return ladder if rung is ladder.served else book.ladder(order.model, rung.tier) or ladder
    raise over_price_cap(order.model, cap.input, cap.output, ladder.served, cheapest(order.model, book))


def cheapest(model: str, book: PriceBook) -> Rung:
    """The rung of a model that costs least: by its output, then by its input."""
    rungs = [book.cards[model, tier].rung for tier in book.tiers(model)]
    return min(rungs, key=lambda rung: (rung.rates.output, rung.rates.input))


def _output_max(order: Order, predicted: int, context_max: int) -> int:
    """The most output tokens: what was asked for, and what the context leaves."""
    asked = order.output_tokens_max
    if asked is not None and asked > context_max:
        shown = str(asked) if asked < 10**18 else "a huge number"
        raise invalid(
            order.limit_field,
            f"'{order.limit_field}' is {shown}, more than this model's context of {context_max} tokens.",
        )
    room = context_max - predicted
    if room < 1:
        raise context_too_long(predicted, asked or 1, context_max)
    return room if asked is None else min(asked, room)
