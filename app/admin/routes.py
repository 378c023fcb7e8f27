"""The operators' JSON API under ``/admin``: bearer tokens, problem+json, keyset pages."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from litestar import Router, get, post
from litestar.di import NamedDependency, Provide
from litestar.exceptions import HTTPException
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler

from app.admin import documents, repository, service
from app.admin.auth import ROUTE_PERMISSION, AdminRequest, actor_of, bearer_guard
from app.admin.desk import Desk
from app.admin.figures import paces
from app.admin.pages import page_of, read_cursor, read_id_cursor, read_number_cursor, rows_wanted
from app.admin.planning_routes import planning_routes
from app.admin.price_routes import price_routes
from app.admin.supply_routes import supply_handlers
from app.admin.wire import (
    CreditBody,
    CustomerBody,
    KeyBody,
    LimitsBody,
    ProviderStateBody,
    ReasonBody,
    depth_problem,
    http_problem,
    market_problem,
    money_problem,
)
from app.audit.service import AuditFilter, audit_page
from app.clock import from_us
from app.errors import MarketError
from app.fleet.roster import State
from app.fleet.service import StateChange
from app.identity.models import Customer
from app.identity.repository import customers_page, keys_of
from app.identity.roles import Permission
from app.identity.service import OwnLimits, UnknownSubject, customer_by_id
from app.metering.receipt import receipt
from pricing.money import MoneyError, usd
from scheduler.fleet import OfferId

BODY_BYTES_MAX = 64 * 1024
KEYS_MAX = 200
RUNS_FLEET = {ROUTE_PERMISSION: Permission.RUN_FLEET}
RUNS_CUSTOMERS = {ROUTE_PERMISSION: Permission.RUN_CUSTOMERS}
GRANTS = {ROUTE_PERMISSION: Permission.GRANT_CREDIT}

After = Annotated[str, QueryParameter(max_length=100, description="the `next` of the page before")]
Rows = Annotated[int | None, QueryParameter(ge=1, le=1000, description="rows of a page; cut at the market's maximum")]
Text = Annotated[str, QueryParameter(max_length=200)]
Verb = Literal["enable", "drain", "disable"]
_STATES: Mapping[str, State] = {"enable": State.ENABLED, "drain": State.DRAINING, "disable": State.DISABLED}
TheDesk = NamedDependency[Desk]
Id = FromPath[str]
Why = JSONBody[ReasonBody]
Document = dict[str, Any]


@get("/overview", operation_id="get_overview", summary="The UTC day so far")
async def overview(desk: TheDesk) -> Document:
    """Revenue, cost, goodput and attainment, in all and per tier."""
    async with desk.database.reading() as session:
        return documents.overview_document(await repository.day_figures(session, desk.now_us()))


@get("/providers", operation_id="list_providers", summary="Providers and their deployments")
async def providers(desk: TheDesk) -> Document:
    """State, load, breaker and pace of everything that makes tokens."""
    now_us = desk.now_us()
    async with desk.database.reading() as session:
        found = await repository.providers_with_deployments(session)
        paced = paces(await repository.recent_answers(session, now_us))
    live = desk.live_fleet
    breakers = {row.id: live.breaker_state(OfferId(row.id), now_us) for _, deployments in found for row in deployments}
    loads = {str(offer_id): load for offer_id, load in live.fleet.loads.items()}
    live_now = documents.LiveNow(loads, breakers, live.troubles, paced)
    rows = [documents.provider_document(account, rows, live_now) for account, rows in found]
    return {"object": "list", "data": rows, "has_more": False, "next": None}


@post(
    "/providers/{provider_id:str}/{verb:str}",
    operation_id="set_provider_state",
    summary="Enable, drain or disable a provider",
    status_code=200,
    opt=RUNS_FLEET,
)
async def set_provider_state(
    request: AdminRequest,
    desk: TheDesk,
    provider_id: Id,
    verb: FromPath[Verb],
    data: JSONBody[ProviderStateBody],
) -> Document:
    """Gateways follow within a second; requests that run finish."""
    change = StateChange(_STATES[verb], data.reason, data.version)
    account = await service.set_provider_state(desk, actor_of(request), provider_id, change)
    return {"id": account.id, "state": account.state, "version": account.version}


@get("/requests", operation_id="list_requests", summary="Settled requests, the last finished first")
async def requests(request: AdminRequest, desk: TheDesk, after: After = "", limit: Rows = None) -> Document:
    """Filters: ``model``, ``tier``, ``provider_id``, ``customer_id``, ``outcome`` (good, late, failed)."""
    wanted = _request_filter(request.query_params)
    rows_max = rows_wanted(limit, desk.settings.page_rows_max)
    async with desk.database.reading() as session:
        rows = await repository.requests_page(session, wanted, read_cursor(after), rows_max)
    page = page_of(rows, rows_max, lambda row: f"{row.finished_at_us}.{row.request_id}")
    return documents.page_document(page, [documents.request_document(row) for row in page.rows])


def _request_filter(given: Mapping[str, str]) -> repository.RequestFilter:
    wanted = repository.RequestFilter(
        **{name: given.get(name, "") for name in ("model", "tier", "provider_id", "customer_id", "outcome")}
    )
    if wanted.outcome and wanted.outcome not in repository.OUTCOMES:
        raise MarketError(
            400,
            "invalid_outcome",
            f"outcome {wanted.outcome[:40]!r} is unknown; use one of {', '.join(repository.OUTCOMES)}",
            param="outcome",
        )
    return wanted


@get("/requests/{request_id:str}", operation_id="get_receipt", summary="The receipt of one request")
async def request_receipt(desk: TheDesk, request_id: Id) -> Document:
    """Everything the customer's own receipt has, and beside it what the tokens cost us and why it was placed there."""
    async with desk.database.reading() as session:
        event = await repository.request_by_id(session, request_id)
    if event is None:
        raise UnknownSubject("request", request_id)
    shown = receipt(event, await desk.shelf.find(event.price_book_id))
    inside = {"customer_id": event.customer_id, "key_id": event.key_id, "explanation": event.explanation}
    return {**shown, "operator": {**inside, **documents.amounts(cost=event.cost, held=event.held)}}


@get("/customers", operation_id="list_customers", summary="Customers, newest first")
async def customers(desk: TheDesk, after: After = "", limit: Rows = None) -> Document:
    """With what each has left and how many keys work."""
    rows_max = rows_wanted(limit, desk.settings.page_rows_max)
    async with desk.database.reading() as session:
        rows = await customers_page(session, read_id_cursor(after) or None, rows_max + 1)
        wallets = await repository.wallets_of(session, [row.id for row in rows])
        keys = await repository.keys_by_customer(session, [row.id for row in rows])
    page = page_of(rows, rows_max, lambda row: row.id)
    shown = [documents.customer_document(row, wallets.get(row.id), keys.get(row.id, 0)) for row in page.rows]
    return documents.page_document(page, shown)


@post("/customers", operation_id="create_customer", summary="Add a customer", status_code=201, opt=RUNS_CUSTOMERS)
async def create_customer(request: AdminRequest, desk: TheDesk, data: JSONBody[CustomerBody]) -> Document:
    """Their wallet opens with their first credit."""
    limits = _own(data.limits)
    made = await service.create_customer(desk, actor_of(request), data.name, data.email, limits)
    return documents.customer_document(made, None, 0)


@get("/customers/{customer_id:str}", operation_id="get_customer", summary="One customer and their keys")
async def customer(desk: TheDesk, customer_id: Id) -> Document:
    """Keys come by prefix; a secret is never shown again."""
    async with desk.database.reading() as session:
        owner = await customer_by_id(session, customer_id)
        keys = await keys_of(session, customer_id, KEYS_MAX)
        wallets = await repository.wallets_of(session, [customer_id])
    working = sum(key.revoked_at_us is None for key in keys)
    shown = documents.customer_document(owner, wallets.get(customer_id), working)
    return {**shown, "keys": [documents.key_document(key) for key in keys]}


@post(
    "/customers/{customer_id:str}/freeze",
    operation_id="freeze_customer",
    summary="Refuse a customer's new requests",
    status_code=200,
    opt=RUNS_CUSTOMERS,
)
async def freeze_customer(request: AdminRequest, desk: TheDesk, customer_id: Id, data: Why) -> Document:
    """Requests that run finish."""
    return await _freeze(request, desk, customer_id, data.reason, is_frozen=True)


@post(
    "/customers/{customer_id:str}/unfreeze",
    operation_id="unfreeze_customer",
    summary="Accept a customer's requests again",
    status_code=200,
    opt=RUNS_CUSTOMERS,
)
async def unfreeze_customer(request: AdminRequest, desk: TheDesk, customer_id: Id, data: Why) -> Document:
    """The reverse of freezing."""
    return await _freeze(request, desk, customer_id, data.reason, is_frozen=False)


async def _freeze(request: AdminRequest, desk: Desk, customer_id: str, reason: str, *, is_frozen: bool) -> Document:
    frozen: Customer = await service.freeze_customer(desk, actor_of(request), customer_id, reason, is_frozen=is_frozen)
    return {"id": frozen.id, "is_frozen": frozen.is_frozen}


@post(
    "/customers/{customer_id:str}/keys",
    operation_id="create_key",
    summary="Add a key; its secret is in this answer only",
    status_code=201,
    opt=RUNS_CUSTOMERS,
)
async def create_key(request: AdminRequest, desk: TheDesk, customer_id: Id, data: JSONBody[KeyBody]) -> Document:
    """It works at once."""
    key, minted = await service.create_key(desk, actor_of(request), customer_id, data.label, _own(data.limits))
    return documents.key_document(key, minted.secret)


@post("/keys/{key_id:str}/revoke", operation_id="revoke_key", summary="End a key", status_code=200, opt=RUNS_CUSTOMERS)
async def revoke_key(request: AdminRequest, desk: TheDesk, key_id: Id, data: Why) -> Document:
    """Doing it again changes nothing."""
    return documents.key_document(await service.revoke_key(desk, actor_of(request), key_id, data.reason))


@post(
    "/customers/{customer_id:str}/credits",
    operation_id="grant_credit",
    summary="Give a customer credit",
    status_code=201,
    opt=GRANTS,
)
async def grant_credit(request: AdminRequest, desk: TheDesk, customer_id: Id, data: JSONBody[CreditBody]) -> Document:
    """Once per idempotency key; sending it again answers the first transaction."""
    transfer = await service.grant_credit(
        desk, actor_of(request), customer_id, usd(data.amount_usd), reason=data.reason, idem=data.idempotency_key
    )
    booked = {"transaction": transfer.txn_id, "customer_id": customer_id, "booked_at_us": transfer.booked_at_us}
    return {**booked, **documents.amounts(amount=transfer.amount)}


@get("/prices", operation_id="get_live_prices", summary="The price book in force, with costs")
async def prices(desk: TheDesk) -> Document:
    """503 while nothing is on sale."""
    return documents.prices_document(desk.shelf.live(from_us(desk.now_us())))


@get("/prices/{book_id:str}", operation_id="get_price_book", summary="Any published price book, with costs")
async def price_book(desk: TheDesk, book_id: Id) -> Document:
    """A published book never changes; a withdrawn one can still be read."""
    book = await desk.shelf.find(book_id)
    if book is None:
        raise UnknownSubject("price book", book_id)
    return documents.prices_document(book)


@get("/ledger/balance", operation_id="get_trial_balance", summary="The trial balance and every account")
async def trial_balance(desk: TheDesk) -> Document:
    """``drift`` is 0 in sound books."""
    async with desk.database.snapshot() as session:
        balance = await repository.trial_balance(session)
        return documents.balance_document(balance, await repository.accounts(session))


@get("/ledger/transactions", operation_id="list_transactions", summary="The journal, the last booked first")
async def transactions(desk: TheDesk, after: After = "", limit: Rows = None) -> Document:
    """Legs are signed, credits positive, and sum to zero."""
    rows_max = rows_wanted(limit, desk.settings.page_rows_max)
    async with desk.database.reading() as session:
        rows = await repository.transactions_page(session, read_number_cursor(after), rows_max)
    page = page_of(rows, rows_max, lambda row: str(row[0].id))
    return documents.page_document(page, [documents.transaction_document(txn, legs) for txn, legs in page.rows])


@get("/audit", operation_id="list_audit_events", summary="Who changed what, newest first")
async def audit(
    desk: TheDesk, after: After = "", limit: Rows = None, subject: Text = "", action: Text = ""
) -> Document:
    """Filters are exact, for example ``subject=provider:cluster-b200``."""
    rows_max = rows_wanted(limit, desk.settings.page_rows_max)
    wanted = AuditFilter(subject=subject, action=action, after_id=read_id_cursor(after))
    async with desk.database.reading() as session:
        rows = await audit_page(session, wanted, rows_max + 1)
    page = page_of(rows, rows_max, lambda row: row.id)
    return documents.page_document(page, [documents.audit_document(row) for row in page.rows])


def admin_routes(desk: Desk) -> list[ControllerRouterHandler]:
    """Everything under ``/admin``."""
    looking = [overview, providers, requests, request_receipt, customers, customer, prices, price_book]
    books = [trial_balance, transactions, audit]
    doing = [set_provider_state, create_customer, freeze_customer, unfreeze_customer, create_key, revoke_key]
    router = Router(
        "/admin",
        route_handlers=[
            *looking,
            *books,
            *doing,
            grant_credit,
            *price_routes(),
            *planning_routes(),
            *supply_handlers(),
        ],
        guards=[bearer_guard(desk)],
        dependencies={"desk": Provide(lambda: desk, sync_to_thread=False)},
        exception_handlers={
            MarketError: market_problem,
            MoneyError: money_problem,
            HTTPException: http_problem,
            RecursionError: depth_problem,
        },
        request_max_body_size=BODY_BYTES_MAX,
        tags=["operators"],
    )
    return [router]


def _own(limits: LimitsBody) -> OwnLimits:
    return OwnLimits(limits.rpm, limits.tpm, limits.concurrency)
