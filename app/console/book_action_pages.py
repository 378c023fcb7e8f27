"""Pages that change which published book is in force: going back to an older one, withdrawing one to come."""

from collections.abc import Mapping

from litestar import Response, get, post
from litestar.response import Redirect

from app.admin import price_service
from app.catalog.service import effective_us
from app.console.book_actions import rolling_back, withdrawing
from app.console.book_pages import HERE
from app.console.card_changes import card_changes
from app.console.confirming import Confirmation, confirm_page
from app.console.draft_frame import RUNS_PRICES
from app.console.forms import read_form
from app.console.guard import HttpRequest, Id
from app.console.shapes import moment
from app.console.site import Site, TheSite
from app.console.slices import slice_of
from app.errors import MarketError
from app.identity.service import UnknownSubject
from pricing.pricebook import PriceBook

CARDS_PER_PAGE = 20
BOOK = "/prices/{book_id:str}"


@get(f"{BOOK}/rollback", name="console.confirm_rollback", include_in_schema=False, opt=RUNS_PRICES)
async def confirm_rollback(request: HttpRequest, site: TheSite, book_id: Id) -> Response[str]:
    """What going back means, and the form that does it."""
    return await _rollback_page(request, site, book_id, {}, None)


async def _rollback_page(
    request: HttpRequest, site: Site, book_id: str, typed: Mapping[str, str], error: MarketError | None
) -> Response[str]:
    book, live = await _book(site, book_id), site.live_book()
    changes = card_changes({} if live is None else live.cards, book.cards)
    asked = Confirmation(
        word="Roll back",
        crumb="books",
        subject_id=book_id,
        about=f"To the prices and promises of {book_id}, in force from {moment(effective_us(book))} UTC.",
        consequences=rolling_back(changes, effective_us(book)),
        back_to=f"{HERE}/{book_id}",
        hidden={"after": "" if live is None else live.id},
        changes=slice_of(changes, request.query_params.get("page", ""), CARDS_PER_PAGE),
    )
    return confirm_page(request, site, asked, typed, error)


@post(f"{BOOK}/rollback", name="console.roll_back", include_in_schema=False, opt=RUNS_PRICES, status_code=200)
async def do_roll_back(request: HttpRequest, site: TheSite, book_id: Id) -> Response[str] | Redirect:
    """Publishes the older book's prices again, unless another book came into force since they were compared."""
    form = await read_form(request)
    try:
        reason = form.reason()
        await price_service.roll_back(site.desk, site.actor(request), book_id, reason, after=form.text("after") or None)
    except MarketError as error:
        return await _rollback_page(request, site, book_id, form.fields, error)
    return Redirect(f"{HERE}?done=rolled_back", status_code=303)


@get(f"{BOOK}/withdraw", name="console.confirm_withdraw", include_in_schema=False, opt=RUNS_PRICES)
async def confirm_withdraw(request: HttpRequest, site: TheSite, book_id: Id) -> Response[str]:
    """What withdrawing means, and the form that does it."""
    return await _withdraw_page(request, site, book_id, {}, None)


async def _withdraw_page(
    request: HttpRequest, site: Site, book_id: str, typed: Mapping[str, str], error: MarketError | None
) -> Response[str]:
    book = await _book(site, book_id)
    asked = Confirmation(
        word="Withdraw this book",
        crumb="books",
        subject_id=book_id,
        about=f"{book_id}, scheduled for {moment(effective_us(book))} UTC.",
        consequences=withdrawing(effective_us(book), site.desk.now_us()),
        back_to=f"{HERE}/{book_id}",
    )
    return confirm_page(request, site, asked, typed, error)


@post(f"{BOOK}/withdraw", name="console.withdraw", include_in_schema=False, opt=RUNS_PRICES, status_code=200)
async def do_withdraw(request: HttpRequest, site: TheSite, book_id: Id) -> Response[str] | Redirect:
    """Takes back a book before its moment."""
    form = await read_form(request)
    try:
        reason = form.reason()
        await price_service.withdraw_book(site.desk, site.actor(request), book_id, reason)
    except MarketError as error:
        return await _withdraw_page(request, site, book_id, form.fields, error)
    return Redirect(f"{HERE}?done=withdrawn", status_code=303)


async def _book(site: Site, book_id: str) -> PriceBook:
    book = await site.desk.shelf.find(book_id)
    if book is None:
        raise UnknownSubject("price book", book_id)
    return book


HANDLERS = [confirm_rollback, do_roll_back, confirm_withdraw, do_withdraw]
