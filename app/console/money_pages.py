"""Pages about money and who it belongs to: customers and their keys, the ledger, the audit log."""

import secrets
from typing import Any

from litestar import Response, get, post
from litestar.response import Redirect

from app.admin import repository, service
from app.admin.pages import page_of, read_id_cursor, read_number_cursor, rows_wanted
from app.admin.wire import CreditBody, CustomerBody, KeyBody
from app.audit.service import AuditFilter, audit_page
from app.console.forms import Form, read_form
from app.console.guard import ROUTE_PERMISSION, HttpRequest, Id
from app.console.site import Site, TheSite
from app.errors import MarketError
from app.identity.models import ApiKey
from app.identity.repository import customers_page, keys_of
from app.identity.roles import Permission
from app.identity.service import OwnLimits, UnknownSubject, customer_by_id
from app.ledger.chart import wallet
from app.ledger.models import AccountRow
from pricing.money import usd

CUSTOMERS, LEDGER, AUDIT = "/console/customers", "/console/ledger", "/console/audit"
RUNS_CUSTOMERS = {ROUTE_PERMISSION: Permission.RUN_CUSTOMERS}
GRANTS = {ROUTE_PERMISSION: Permission.GRANT_CREDIT}
KEYS_MAX = 200
RECENT_ROWS = 10


@get("/customers", name="console.customers", include_in_schema=False)
async def customers(request: HttpRequest, site: TheSite) -> Response[str]:
    """Who buys, what they have left, and how many keys they hold."""
    return await _customers_page(request, site, {})


async def _customers_page(request: HttpRequest, site: Site, more: dict[str, Any], status: int = 200) -> Response[str]:
    rows_max = rows_wanted(None, site.desk.settings.page_rows_max)
    after = read_id_cursor(request.query_params.get("after", ""))
    async with site.desk.database.reading() as session:
        rows = await customers_page(session, after or None, rows_max + 1)
        ids = [row.id for row in rows]
        wallets = await repository.wallets_of(session, ids)
        keys = await repository.keys_by_customer(session, ids)
    page = page_of(rows, rows_max, lambda row: row.id)
    context = {"page": page, "wallets": wallets, "keys": keys, "typed": {}, **more}
    return site.page(request, "customers.html", CUSTOMERS, context, status)


@post("/customers", name="console.create_customer", include_in_schema=False, opt=RUNS_CUSTOMERS, status_code=200)
async def create_customer(request: HttpRequest, site: TheSite) -> Response[str] | Redirect:
    """Adds a customer."""
    form = await read_form(request)
    try:
        body = form.read(CustomerBody, name=form.text("name"), email=form.text("email"))
        made = await service.create_customer(site.desk, site.actor(request), body.name, body.email, OwnLimits())
    except MarketError as error:
        return await _customers_page(request, site, {"problem": error.message, "typed": form.fields}, error.status)
    return Redirect(f"{CUSTOMERS}/{made.id}?done=customer", status_code=303)


@get("/customers/{customer_id:str}", name="console.customer", include_in_schema=False)
async def customer(request: HttpRequest, site: TheSite, customer_id: Id) -> Response[str]:
    """One customer: balance, keys, what they did last."""
    return await _customer_page(request, site, customer_id, {})


async def _customer_page(
    request: HttpRequest, site: Site, customer_id: str, more: dict[str, Any], status: int = 200
) -> Response[str]:
    wanted = repository.RequestFilter(customer_id=customer_id)
    async with site.desk.database.reading() as session:
        owner = await customer_by_id(session, customer_id)
        keys = await keys_of(session, customer_id, KEYS_MAX)
        found = await repository.wallets_of(session, [customer_id])
        recent = await repository.requests_page(session, wanted, None, RECENT_ROWS - 1)
    purse = found.get(customer_id) or AccountRow(id=wallet(customer_id), kind="wallet")
    context = {
        "customer": owner,
        "keys": keys,
        "wallet": purse,
        "recent": recent,
        "idempotency_key": secrets.token_hex(16),
        "minted": None,
        "typed": {},
        **more,
    }
    return site.page(request, "customer.html", CUSTOMERS, context, status)


@post(
    "/customers/{customer_id:str}/keys",
    name="console.create_key",
    include_in_schema=False,
    opt=RUNS_CUSTOMERS,
    status_code=200,
)
async def create_key(request: HttpRequest, site: TheSite, customer_id: Id) -> Response[str]:
    """Adds a key and shows its secret, this once."""
    form = await read_form(request)
    try:
        body = form.read(KeyBody, label=form.text("label"))
        key, minted = await service.create_key(site.desk, site.actor(request), customer_id, body.label, OwnLimits())
    except MarketError as error:
        return await _customer_page(request, site, customer_id, _refused(error, form), error.status)
    return await _customer_page(request, site, customer_id, {"minted": minted, "made": key})


@post(
    "/customers/{customer_id:str}/credit",
    name="console.grant_credit",
    include_in_schema=False,
    opt=GRANTS,
    status_code=200,
)
async def grant_credit(request: HttpRequest, site: TheSite, customer_id: Id) -> Response[str] | Redirect:
    """Gives a customer credit; the form's own key makes a second click harmless."""
    form = await read_form(request)
    try:
        body = form.read(
            CreditBody,
            amount_usd=form.text("amount_usd").strip(),
            reason=form.text("reason"),
            idempotency_key=form.text("idempotency_key"),
        )
        await service.grant_credit(
            site.desk,
            site.actor(request),
            customer_id,
            usd(body.amount_usd),
            reason=body.reason,
            idem=f"console:{body.idempotency_key}",
        )
    except MarketError as error:
        return await _customer_page(request, site, customer_id, _refused(error, form), error.status)
    return Redirect(f"{CUSTOMERS}/{customer_id}?done=credit", status_code=303)


@post(
    "/customers/{customer_id:str}/{verb:str}",
    name="console.freeze_customer",
    include_in_schema=False,
    opt=RUNS_CUSTOMERS,
    status_code=200,
)
async def freeze_customer(request: HttpRequest, site: TheSite, customer_id: Id, verb: Id) -> Response[str] | Redirect:
    """Stops a customer's new requests, or allows them again."""
    if verb not in {"freeze", "unfreeze"}:
        raise UnknownSubject("customer action", verb)
    form = await read_form(request)
    try:
        await service.freeze_customer(
            site.desk, site.actor(request), customer_id, form.reason(), is_frozen=verb == "freeze"
        )
    except MarketError as error:
        return await _customer_page(request, site, customer_id, _refused(error, form), error.status)
    return Redirect(f"{CUSTOMERS}/{customer_id}?done={'frozen' if verb == 'freeze' else 'unfrozen'}", status_code=303)


@get("/keys/{key_id:str}/revoke", name="console.confirm_revoke", include_in_schema=False, opt=RUNS_CUSTOMERS)
async def confirm_revoke(request: HttpRequest, site: TheSite, key_id: Id) -> Response[str]:
    """What revoking a key means, and the form that does it."""
    return await _revoke_page(request, site, key_id, {})


async def _revoke_page(
    request: HttpRequest, site: Site, key_id: str, more: dict[str, Any], status: int = 200
) -> Response[str]:
    async with site.desk.database.reading() as session:
        key = await session.get(ApiKey, key_id)
        if key is None:
            raise UnknownSubject("key", key_id)
        owner = await customer_by_id(session, key.customer_id)
    context = {"key": key, "customer": owner, "cache_s": site.desk.settings.key_cache_s, **more}
    return site.page(request, "key_revoke.html", CUSTOMERS, context, status)


@post(
    "/keys/{key_id:str}/revoke", name="console.revoke_key", include_in_schema=False, opt=RUNS_CUSTOMERS, status_code=200
)
async def revoke_key(request: HttpRequest, site: TheSite, key_id: Id) -> Response[str] | Redirect:
    """Ends a key for good."""
    form = await read_form(request)
    try:
        key = await service.revoke_key(site.desk, site.actor(request), key_id, form.reason())
    except MarketError as error:
        return await _revoke_page(request, site, key_id, {"problem": error.message}, error.status)
    return Redirect(f"{CUSTOMERS}/{key.customer_id}?done=revoked", status_code=303)


@get("/ledger", name="console.ledger", include_in_schema=False)
async def ledger(request: HttpRequest, site: TheSite) -> Response[str]:
    """Whether the books balance, every account, and the last transactions."""
    rows_max = rows_wanted(25, site.desk.settings.page_rows_max)
    before_id = read_number_cursor(request.query_params.get("after", ""))
    async with site.desk.database.snapshot() as session:
        balance = await repository.trial_balance(session)
        accounts = await repository.accounts(session)
        rows = await repository.transactions_page(session, before_id, rows_max)
    page = page_of(rows, rows_max, lambda row: str(row[0].id))
    context = {"balance": balance, "accounts": accounts, "page": page, "is_later": before_id is not None}
    return site.page(request, "ledger.html", LEDGER, context)


@get("/audit", name="console.audit", include_in_schema=False)
async def audit(request: HttpRequest, site: TheSite) -> Response[str]:
    """Who changed what, newest first."""
    asked = {name: request.query_params.get(name, "").strip()[:200] for name in ("subject", "action")}
    after = read_id_cursor(request.query_params.get("after", ""))
    rows_max = rows_wanted(None, site.desk.settings.page_rows_max)
    wanted = AuditFilter(subject=asked["subject"], action=asked["action"], after_id=after)
    async with site.desk.database.reading() as session:
        rows = await audit_page(session, wanted, rows_max + 1)
    context = {"page": page_of(rows, rows_max, lambda row: row.id), "asked": asked}
    return site.page(request, "audit.html", AUDIT, context)


def _refused(error: MarketError, form: Form) -> dict[str, Any]:
    return {"problem": error.message, "typed": form.fields}


HANDLERS = [
    customers,
    create_customer,
    customer,
    create_key,
    grant_credit,
    freeze_customer,
    confirm_revoke,
    revoke_key,
    ledger,
    audit,
]
