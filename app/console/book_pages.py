"""Pages about published price books: the one in force with its drafts, any other, and what a request costs under it."""

from collections.abc import Sequence
from typing import Any

from litestar import Response, get

from app.admin.pages import Page, page_of, read_id_cursor, read_number_cursor
from app.catalog.book_store import book_head, books_page
from app.catalog.draft import Cards
from app.catalog.draft_store import drafts_page
from app.clock import from_us
from app.console.book_lines import book_lines
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
DRAFTS_PER_PAGE = 10
SCHEDULED_LOOKED_AT = 50
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
    before = read_number_cursor(request.query_params.get("books", ""))
    after_id = read_id_cursor(request.query_params.get("drafts", ""))
    async with site.desk.database.reading() as session:
        newest = await books_page(session, SCHEDULED_LOOKED_AT)
        heads = await books_page(session, BOOKS_PER_PAGE + 1, before_sequence=before)
        shown = None if book is None else await book_head(session, book.id)
        drafts = await drafts_page(session, DRAFTS_PER_PAGE + 1, after_id=after_id)
    live, now_us = site.live_book(), site.desk.now_us()
    live_id = None if live is None else live.id
    books = page_of(heads, BOOKS_PER_PAGE, lambda head: str(head.sequence))
    context = {
        "book": book,
        "line": None if shown is None else book_lines([shown], live_id, now_us)[0],
        "live_id": live_id,
        "now": from_us(now_us),
        "drafts": page_of(drafts, DRAFTS_PER_PAGE, lambda head: head.id),
        "scheduled": [line for line in book_lines(newest, live_id, now_us) if line.can_withdraw],
        "books": Page(book_lines(books.rows, live_id, now_us), books.next),
        **_models(request, book),
        **calculator_context(request, [] if book is None else [("The most it costs", book.id, book.cards)], {}),
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


def calculator_context(
    request: HttpRequest, books: Sequence[tuple[str, str, Cards]], hidden: dict[str, str]
) -> dict[str, Any]:
    """What the price calculator shows: the ceiling under each of some books.

    Args:
        request: its query holds what was asked.
        books: title, id and cards.
        hidden: what of the page's own query is to be kept; a model there is the calculator's default.
    """
    names = tuple(sorted({model for _, _, cards in books for model, _ in cards}))
    asked = read_asked({"calc_model": hidden.get("model", ""), **request.query_params}, names)
    results: list[tuple[str, str, Calculation | None]] = [
        (title, book_id, calculation(cards, asked)) for title, book_id, cards in books
    ]
    return {"asked": asked, "calculator_models": names, "results": results, "calculator_hidden": hidden}


HANDLERS = [prices, price_book_page]
