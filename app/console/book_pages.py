"""Pages about published price books: the one in force with its drafts, any other, and what a request costs under it."""

from collections.abc import Sequence
from typing import Any

from litestar import Response, get

from app.admin import repository
from app.catalog.models import PriceBookRow
from app.clock import from_us
from app.console.book_lines import BookLine, book_line, replaced_books
from app.console.books import book_cards
from app.console.calculator import Calculation, calculation, read_asked
from app.console.guard import HttpRequest, Id
from app.console.site import Site, TheSite
from app.console.slices import slice_of
from app.identity.service import UnknownSubject
from pricing.pricebook import PriceBook

HERE = "/console/prices"
MODELS_PER_PAGE = 8
BOOKS_PER_PAGE = 20
FIND_CHARS_MAX = 200


@get("/prices", name="console.prices", include_in_schema=False)
async def prices(request: HttpRequest, site: TheSite) -> Response[str]:
    """The book in force, what is to follow it, drafts, and the books before."""
    book = site.live_book()
    return await _book_page(request, site, book, {"is_list": True})


@get("/prices/{book_id:str}", name="console.price_book", include_in_schema=False)
async def price_book_page(request: HttpRequest, site: TheSite, book_id: Id) -> Response[str]:
    """A book that was in force once, or will be."""
    book = await site.desk.shelf.find(book_id)
    if book is None:
        raise UnknownSubject("price book", book_id)
    return await _book_page(request, site, book, {"is_list": False})


async def _book_page(request: HttpRequest, site: Site, book: PriceBook | None, more: dict[str, Any]) -> Response[str]:
    async with site.desk.database.reading() as session:
        published = await repository.price_books(session)
    now_us = site.desk.now_us()
    live = site.live_book()
    lines = book_lines(published, live, now_us)
    books = () if book is None else (("The most it costs", book),)
    context = {
        "book": book,
        "line": None if book is None else next((each for each in lines if each.id == book.id), None),
        "live_id": None if live is None else live.id,
        "now": from_us(now_us),
        "can_derive": False,
        "drafts": slice_of((), "", 1),
        "scheduled": [each for each in lines if each.can_withdraw],
        "books": slice_of(lines, request.query_params.get("books", ""), BOOKS_PER_PAGE),
        **_models(request, book),
        **calculator_context(request, books, {}),
        **more,
    }
    return site.page(request, "prices.html", HERE, context)


def _models(request: HttpRequest, book: PriceBook | None) -> dict[str, Any]:
    find = request.query_params.get("find", "").strip()[:FIND_CHARS_MAX]
    names = () if book is None else tuple(name for name in book.models() if find.lower() in name.lower())
    shown = slice_of(names, request.query_params.get("page", ""), MODELS_PER_PAGE)
    return {
        "models": shown,
        "cards": () if book is None else book_cards(book, shown.rows),
        "find": find,
        "models_per_page": MODELS_PER_PAGE,
    }


def book_lines(published: Sequence[PriceBookRow], live: PriceBook | None, now_us: int) -> tuple[BookLine, ...]:
    """Every published book with its state, newest first."""
    replaced = replaced_books(published)
    return tuple(book_line(row, None if live is None else live.id, now_us, replaced) for row in published)


def calculator_context(
    request: HttpRequest, books: Sequence[tuple[str, PriceBook]], hidden: dict[str, str]
) -> dict[str, Any]:
    """What the price calculator shows: the ceiling under each of some books.

    Args:
        request: its query holds what was asked.
        books: title and book.
        hidden: what of the page's own query is to be kept.
    """
    names = tuple(sorted({name for _, book in books for name in book.models()}))
    asked = read_asked(request.query_params, names)
    results: list[tuple[str, str, Calculation | None]] = [
        (title, book.id, calculation(book.cards, asked)) for title, book in books
    ]
    return {"asked": asked, "calculator_models": names, "results": results, "calculator_hidden": hidden}


HANDLERS = [prices, price_book_page]
