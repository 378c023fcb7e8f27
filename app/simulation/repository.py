"""Reads the market that is to be simulated from the database: its price book and the offers that take work."""

from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from app.catalog import repository as catalog
from app.catalog.service import live_book, moment_us
from app.errors import MarketError
from app.fleet.offers import offer_of
from app.fleet.repository import read_roster
from app.fleet.roster import State
from app.simulation.market import Market
from app.simulation.supplies import Evidence, market_of
from pricing.pricebook import PriceBook


class UnknownBook(MarketError):
    """No price book of that id was ever published."""


async def read_market(session: AsyncSession, at: datetime, evidence: Evidence, book_id: str | None = None) -> Market:
    """The market as it stands.

    Args:
        session: a reading one.
        at: when; decides which book is in force.
        evidence: measurements and hardware costs, for the engines behind the offers.
        book_id: another published book than the one in force.

    Raises:
        NoPriceBook: no book is in force.
        UnknownBook: no book has that id.
        ImpossibleMarket: no offer takes work for anything on sale.
    """
    book = await live_book(session, at) if book_id is None else await published_book(session, book_id)
    roster = await read_roster(session, moment_us(at))
    offers = [offer_of(each.spec) for each in roster.deployed if each.decided is State.ENABLED and not each.trouble]
    return market_of(book, offers, evidence, "the live fleet")


async def published_book(session: AsyncSession, book_id: str) -> PriceBook:
    """A book by its id.

    Raises:
        UnknownBook: there is none.
    """
    row = await catalog.row_by_id(session, book_id)
    if row is None:
        raise UnknownBook(404, "price_book_not_found", f"No price book {book_id} was ever published.")
    return catalog.book_of(row)
