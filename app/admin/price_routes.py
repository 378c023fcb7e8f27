"""The operators' JSON API about prices to come: drafts, their comparison, publishing, withdrawing, going back."""

from typing import Annotated, Any

from litestar import get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler

from app.admin import price_documents as documents
from app.admin import price_service as service
from app.admin.auth import ROUTE_PERMISSION, AdminRequest, actor_of
from app.admin.desk import Desk
from app.admin.documents import page_document
from app.admin.pages import page_of, read_id_cursor, read_number_cursor, rows_wanted
from app.admin.price_wire import DiscardBody, DraftBody, EditsBody, PublishBody, RebaseBody, RollBackBody
from app.admin.wire import ReasonBody
from app.catalog import book_store, draft_store, repository
from app.catalog.draft import DraftState
from app.catalog.draft_store import Release
from app.catalog.impact_store import DAYS_DEFAULT, DAYS_MAX
from app.identity.roles import Permission

RUNS_PRICES = {ROUTE_PERMISSION: Permission.RUN_PRICES}
EDIT_BYTES_MAX = 256 * 1024
After = Annotated[str, QueryParameter(max_length=100, description="the `next` of the page before")]
Rows = Annotated[int | None, QueryParameter(ge=1, le=1000, description="rows of a page; cut at the market's maximum")]
Days = Annotated[int, QueryParameter(ge=0, le=DAYS_MAX, description="of traffic to rate again; 0 leaves it out")]
Against = Annotated[str, QueryParameter(max_length=64, description="a price book or draft to compare with")]
State = Annotated[DraftState | None, QueryParameter(description="only drafts in this state")]
TheDesk = NamedDependency[Desk]
Id = FromPath[str]
Document = dict[str, Any]


@get("/price-books", operation_id="list_price_books", summary="Published price books, the last published first")
async def price_books(desk: TheDesk, after: After = "", limit: Rows = None) -> Document:
    """Live, scheduled, past and withdrawn ones; their cards are at ``/admin/prices/{id}``."""
    rows_max = rows_wanted(limit, desk.settings.page_rows_max)
    now_us = desk.now_us()
    async with desk.database.reading() as session:
        rows = await book_store.books_page(session, rows_max + 1, before_sequence=read_number_cursor(after))
        live = await repository.live_row(session, now_us)
    page = page_of(rows, rows_max, lambda row: str(row.sequence))
    live_id = None if live is None else live.id
    return page_document(page, [documents.book_head_document(row, live_id, now_us) for row in page.rows])


@get("/price-books/{book_id:str}/diff", operation_id="diff_price_book", summary="A price book compared with another")
async def price_book_diff(desk: TheDesk, book_id: Id, against: Against = "", days: Days = DAYS_DEFAULT) -> Document:
    """Against the book in force unless told otherwise; with what recent traffic would have earned under both."""
    found = await service.review(desk.database, book_id, desk.now_us(), old_id=against or None, days=days)
    return documents.review_document(found)


@post(
    "/price-books/{book_id:str}/withdraw",
    operation_id="withdraw_price_book",
    summary="Take back a price book that is to come",
    status_code=200,
    opt=RUNS_PRICES,
)
async def withdraw_price_book(
    request: AdminRequest, desk: TheDesk, book_id: Id, data: JSONBody[ReasonBody]
) -> Document:
    """It never comes into force; one that has can only be replaced."""
    withdrawn = await service.withdraw_book(desk, actor_of(request), book_id, data.reason)
    return documents.book_head_document(withdrawn, None, desk.now_us())


@post(
    "/price-books/{book_id:str}/rollback",
    operation_id="roll_back_price_book",
    summary="Put an older price book's promises and rates in force again, as a new book",
    status_code=201,
    opt=RUNS_PRICES,
)
async def roll_back(request: AdminRequest, desk: TheDesk, book_id: Id, data: JSONBody[RollBackBody]) -> Document:
    """At once; quotes and requests that run keep the book that they name."""
    released = await service.roll_back(desk, actor_of(request), book_id, data.reason, after=data.live_price_book_id)
    return documents.released_document(released, released.book.id, desk.now_us())


@get("/price-drafts", operation_id="list_price_drafts", summary="Drafts of price books, the last opened first")
async def price_drafts(desk: TheDesk, after: After = "", limit: Rows = None, draft_state: State = None) -> Document:
    """Without their cards."""
    rows_max = rows_wanted(limit, desk.settings.page_rows_max)
    async with desk.database.reading() as session:
        rows = await draft_store.drafts_page(session, rows_max + 1, after_id=read_id_cursor(after), state=draft_state)
    page = page_of(rows, rows_max, lambda row: row.id)
    return page_document(page, [documents.draft_head_document(row) for row in page.rows])


@post("/price-drafts", operation_id="open_price_draft", summary="Open a draft", status_code=201, opt=RUNS_PRICES)
async def open_price_draft(request: AdminRequest, desk: TheDesk, data: JSONBody[DraftBody]) -> Document:
    """It begins with the cards in force, or with those of a book that is named."""
    opened = await service.open_draft(desk, actor_of(request), data.title, data.from_price_book_id)
    return documents.draft_document(opened)


@get("/price-drafts/{draft_id:str}", operation_id="get_price_draft", summary="One draft")
async def price_draft(desk: TheDesk, draft_id: Id) -> Document:
    """With its cards, why it cannot be published as it is, and what has to be accepted."""
    async with desk.database.reading() as session:
        return documents.draft_document(await draft_store.draft_by_id(session, draft_id))


@patch(
    "/price-drafts/{draft_id:str}/cards",
    operation_id="edit_price_draft",
    summary="Change some tiers of a draft, all or none",
    opt=RUNS_PRICES,
    request_max_body_size=EDIT_BYTES_MAX,
)
async def edit_price_draft(request: AdminRequest, desk: TheDesk, draft_id: Id, data: JSONBody[EditsBody]) -> Document:
    """409 with both versions when somebody else changed it meanwhile."""
    edits = [card.edit() for card in data.cards]
    edited = await service.edit_draft(desk, actor_of(request), draft_id, data.version, edits)
    return documents.draft_document(edited)


@post(
    "/price-drafts/{draft_id:str}/rebase",
    operation_id="rebase_price_draft",
    summary="Compare a draft with another book, and keep its edits",
    status_code=200,
    opt=RUNS_PRICES,
)
async def rebase_price_draft(
    request: AdminRequest, desk: TheDesk, draft_id: Id, data: JSONBody[RebaseBody]
) -> Document:
    """What to do when another book was published since the draft was opened."""
    actor = actor_of(request)
    return documents.draft_document(
        await service.rebase_draft(desk, actor, draft_id, data.version, data.onto_price_book_id)
    )


@post(
    "/price-drafts/{draft_id:str}/discard",
    operation_id="discard_price_draft",
    summary="Drop a draft",
    status_code=200,
    opt=RUNS_PRICES,
)
async def discard_price_draft(
    request: AdminRequest, desk: TheDesk, draft_id: Id, data: JSONBody[DiscardBody]
) -> Document:
    """It stays readable."""
    dropped = await service.discard_draft(desk, actor_of(request), draft_id, data.version, data.reason)
    return documents.draft_head_document(dropped)


@get("/price-drafts/{draft_id:str}/diff", operation_id="diff_price_draft", summary="A draft compared with its base")
async def price_draft_diff(desk: TheDesk, draft_id: Id, against: Against = "", days: Days = DAYS_DEFAULT) -> Document:
    """With what recent traffic would have earned under both."""
    found = await service.review(desk.database, draft_id, desk.now_us(), old_id=against or None, days=days)
    return documents.review_document(found)


@post(
    "/price-drafts/{draft_id:str}/publish",
    operation_id="publish_price_draft",
    summary="Publish a draft, at once or at a moment to come",
    status_code=201,
    opt=RUNS_PRICES,
)
async def publish_price_draft(
    request: AdminRequest, desk: TheDesk, draft_id: Id, data: JSONBody[PublishBody]
) -> Document:
    """409 when another book would be in force at that moment than the one it was compared with."""
    wanted = Release(data.version, data.reason, data.effective_at, accepts_warnings=data.accept_warnings)
    released = await service.publish_draft(desk, actor_of(request), draft_id, wanted)
    live_id = released.book.id if data.effective_at is None else released.replaces
    return documents.released_document(released, live_id, desk.now_us())


def price_routes() -> list[ControllerRouterHandler]:
    """Everything here, to be put under ``/admin``."""
    books = [price_books, price_book_diff, withdraw_price_book, roll_back]
    drafts = [price_drafts, open_price_draft, price_draft, edit_price_draft, rebase_price_draft]
    return [*books, *drafts, discard_price_draft, price_draft_diff, publish_price_draft]
