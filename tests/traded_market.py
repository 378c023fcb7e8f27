"""A small market that has traded, for reconciliation to look at."""

from app.catalog.models import PriceBookRow
from app.ledger.holds import LateCause
from pricing.goodput import Timeline
from pricing.money import NanoUsd
from pricing.pricebook import PriceBook, book_record
from pricing.rating import Ending
from pricing.slo import Tier
from pricing.usage import Usage
from tests.deliveries import book, charged, delivery_row
from tests.ledger_world import CUSTOMER, T0, World, hold_request, settlement

BOOK = book()
ON_TIME = Timeline((90_000, 110_000), (1, 3), (0, 0))
SLIPPING = Timeline((90_000, 200_000, 600_000), (2, 4, 6), (0, 0, 0))


async def store_book(world: World, stored: PriceBook = BOOK) -> None:
    """Publishes the book as the catalog does."""
    async with world.database.writing() as session:
        session.add(
            PriceBookRow(
                sequence=1,
                id=stored.id,
                sha256=stored.sha256,
                effective_at_us=T0,
                record=book_record(stored),
                published_by="test",
                reason="test",
                created_at_us=T0,
            )
        )


async def deliver(
    world: World, request_id: str, timeline: Timeline, usage: Usage, ending: Ending = Ending.STOP
) -> None:
    """One request from hold to settlement."""
    row = delivery_row(
        timeline, usage, ending=ending, at=BOOK, request_id=request_id, late_cause="provider", finished_at_us=T0 + 9
    )
    held = row.values["held"]
    await world.ledger.hold(hold_request(request_id, held, price_book_id=BOOK.id))
    await world.ledger.settle(
        settlement(
            request_id,
            price_book_id=BOOK.id,
            charge=charged(timeline, usage, tier=Tier.PREMIUM, ending=ending, at=BOOK),
            cost=NanoUsd(20),
            late_cause=LateCause.PROVIDER,
            booked_at_us=T0 + 9,
            rows=(row,),
        )
    )


async def trade(world: World) -> None:
    """On time, late, failed, voided, expired and still running: one of each."""
    await store_book(world)
    await world.ledger.grant(CUSTOMER, 10**9, "seed", "seed")
    await deliver(world, "gen-a", ON_TIME, Usage(input=90, cached=10, output=3))
    await deliver(world, "gen-b", SLIPPING, Usage(input=5, output=6))
    await deliver(world, "gen-c", ON_TIME, Usage(input=5, output=3), Ending.PROVIDER_ERROR)
    await world.ledger.hold(hold_request("gen-void"))
    await world.ledger.void("gen-void", "not placed")
    await world.ledger.hold(hold_request("gen-expired", expires_at_us=T0 + 1))
    await world.ledger.sweep(T0 + 2)
    await world.ledger.hold(hold_request("gen-late", 10**6, price_book_id=BOOK.id, expires_at_us=T0 + 1))
    await world.ledger.sweep(T0 + 2)
    await world.ledger.hold(hold_request("gen-running", 500))
