"""Rates one delivery again from its timeline and stored price book, and compares every nano; pure.

The comparison goes through to the journal: the legs that the settlement must have are drafted anew from the usage
event and its hold, and held against the entries that were booked.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from app.ledger import chart, journal
from app.ledger.holds import LateCause, Settlement
from app.ledger.models import HoldRow, JournalTxnRow
from app.metering import timeline_codec
from app.metering.models import UsageEvent
from app.metering.timeline_codec import TimelineCodecError
from app.reconcile.findings import Finding
from pricing.goodput import Grade, TimelineError, grade
from pricing.money import NanoUsd
from pricing.pricebook import PriceBook
from pricing.rating import Charge, Ending, rate
from pricing.slo import Ladder, Tier
from pricing.usage import Usage


@dataclass(frozen=True, slots=True)
class Settled:
    """One settled request as the tables tell it.

    Attributes:
        txn: its settlement; None when there is none.
        legs: amounts by account, nano-USD.
        hold: its hold; None when there is none.
        book: the stored book it names; None when that is not there.
    """

    event: UsageEvent
    txn: JournalTxnRow | None
    legs: Mapping[str, int]
    hold: HoldRow | None
    book: PriceBook | None


def disagreements(settled: Settled) -> Iterator[Finding]:
    """Everything in which event, price book, hold and journal contradict each other."""
    event, where = settled.event, f"usage_event {settled.event.request_id}"
    if settled.txn is None:
        yield Finding(where, "was delivered but never settled: no transaction in the journal", event.net)
    if settled.hold is None:
        yield Finding(where, "was delivered without a hold")
    if settled.book is None:
        yield Finding(where, f"its price book {event.price_book_id} is not stored")
        return
    yield from _other_books(settled)
    if event.timeline is None:
        return
    try:
        charge, graded = _rated_again(event, settled.book)
    except (TimelineCodecError, TimelineError, ValueError) as error:
        yield Finding(where, f"cannot be rated again: {error}")
        return
    yield from _other_amounts(event, charge, graded)
    if settled.txn is not None and settled.hold is not None:
        yield from _other_legs(settled, charge, settled.hold)


def _rated_again(event: UsageEvent, book: PriceBook) -> tuple[Charge, Grade]:
    ladder = _ladder(event, book)
    graded = grade(timeline_codec.decode(event.timeline or b""), ladder)
    usage = Usage(event.tokens_input, event.tokens_cached, event.tokens_cache_write, event.tokens_output)
    return rate(ladder, usage, graded, Ending(event.ending)), graded


def _ladder(event: UsageEvent, book: PriceBook) -> Ladder:
    ladder = book.ladder(event.model, Tier(event.tier_served))
    if ladder is None:
        raise ValueError(f"price book {book.id} does not sell {event.model} at {event.tier_served}")
    return ladder


def _other_books(settled: Settled) -> Iterator[Finding]:
    """The price depends on the book stamped at admission and on no other."""
    event = settled.event
    for kind, row in (("hold", settled.hold), ("settlement", settled.txn)):
        if row is not None and row.price_book_id != event.price_book_id:
            yield Finding(
                f"{kind} of {event.request_id}",
                f"names price book {row.price_book_id}, the event {event.price_book_id}",
            )


def _other_amounts(event: UsageEvent, charge: Charge, graded: Grade) -> Iterator[Finding]:
    where = f"usage_event {event.request_id}"
    for name, stored, found in (
        ("gross", event.gross, charge.gross),
        ("adjustment", event.adjustment, charge.adjustment),
        ("net", event.net, charge.net),
    ):
        if stored != found:
            yield Finding(where, f"{name} is {stored} nano-USD, rated again {found}", stored - found)
    if event.tokens_good != graded.tokens_good:
        yield Finding(where, f"{event.tokens_good} good tokens, graded again {graded.tokens_good}")
    stored_lines = [(line["tier"], line["output"], line["amount"]) for line in event.lines]
    lines = [(line.tier.value, line.tokens_output, line.amount) for line in charge.lines]
    if stored_lines != lines:
        yield Finding(where, f"lines are {stored_lines}, rated again {lines}")


def _other_legs(settled: Settled, charge: Charge, hold: HoldRow) -> Iterator[Finding]:
    event = settled.event
    counter = chart.provider_counter(event.provider_id, is_owned=True)
    settlement = Settlement(
        hold_id=event.request_id,
        customer_id=event.customer_id,
        price_book_id=event.price_book_id,
        model=event.model,
        charge=charge,
        cost=NanoUsd(event.cost),
        provider_id=event.provider_id,
        is_owned=counter in settled.legs,
        late_cause=LateCause(event.late_cause),
        booked_at_us=event.finished_at_us,
    )
    draft = journal.draft_settlement(settlement, min(charge.net, hold.amount), is_late=False)
    expected = {leg.account_id: leg.amount for leg in draft.legs}
    for account_id in sorted(expected.keys() | settled.legs.keys()):
        booked, due = settled.legs.get(account_id, 0), expected.get(account_id, 0)
        if booked != due:
            yield Finding(
                f"settlement of {event.request_id}, {account_id}",
                f"booked {booked} nano-USD, due {due}",
                booked - due,
            )
    paid = -settled.legs.get(chart.wallet(event.customer_id), 0)
    if paid != min(event.net, event.held):
        said = min(event.net, event.held)
        yield Finding(
            f"usage_event {event.request_id}", f"its receipt says {said} nano-USD paid, it was {paid}", said - paid
        )
    if hold.state == "captured" and hold.captured != min(charge.net, hold.amount):
        due = min(charge.net, hold.amount)
        yield Finding(f"hold {hold.id}", f"captured {hold.captured} nano-USD, due {due}", hold.captured - due)
