"""Pages for running the market: overview and its live stream, providers, requests, receipts."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from litestar import Response, get, post
from litestar.response import Redirect, ServerSentEvent, ServerSentEventMessage

from app.admin import repository, service
from app.admin.pages import page_of, read_cursor, rows_wanted
from app.admin.repository import OUTCOMES, RequestFilter
from app.console.consequences import VERBS, consequences
from app.console.forms import Form, read_form
from app.console.guard import COOKIE, ROUTE_PERMISSION, HttpRequest, Id
from app.console.panels import ProviderPanel
from app.console.receipt import receipt
from app.console.render import SECURITY_HEADERS
from app.console.site import REFRESH_US, Site, TheSite
from app.errors import MarketError, Retry
from app.fleet.roster import State
from app.fleet.service import StateChange
from app.identity.repository import names_of
from app.identity.roles import Permission
from app.identity.service import UnknownSubject
from app.metering.receipt import receipt as customers_receipt
from pricing.slo import Tier

STREAMS_MAX = 64
STEP_S = 0.25
"""How often a stream that waits looks whether the market closes."""

STREAM_S_MAX = 900.0
"""A stream ends after so long and the browser opens another, so that no connection lives for ever."""

RUNS_FLEET = {ROUTE_PERMISSION: Permission.RUN_FLEET}
_STATES = {"drain": State.DRAINING, "enable": State.ENABLED, "disable": State.DISABLED}
_DONE = {"drain": "drained", "enable": "enabled", "disable": "disabled"}
_PARTS = (
    ("figures", "_figures.html"),
    ("attainment", "_attainment.html"),
    ("providers", "_strip.html"),
    ("recent", "_recent.html"),
)


class TooManyStreams(MarketError):
    """More browsers watch at once than this process serves."""

    def __init__(self) -> None:
        super().__init__(
            503,
            "too_many_streams",
            f"{STREAMS_MAX} browsers watch live already; close one, or reload this page for a still picture",
            retry=Retry(after_s=30.0),
        )


@get("/", name="console.overview", include_in_schema=False)
async def overview(request: HttpRequest, site: TheSite) -> Response[str]:
    """The market at a glance."""
    standing = await site.standing.get()
    return site.page(request, "overview.html", "/console", site.overview_context(standing))


@get("/overview/stream", name="console.stream", include_in_schema=False)
async def overview_stream(request: HttpRequest, site: TheSite) -> ServerSentEvent:
    """The overview's parts, whenever they are read anew."""
    if site.streams >= STREAMS_MAX:
        raise TooManyStreams
    frame = site.frame(request, "/console")
    return ServerSentEvent(_live_parts(site, frame, request.cookies.get(COOKIE)), headers=dict(SECURITY_HEADERS))


async def _live_parts(
    site: Site, frame: dict[str, object], cookie: str | None
) -> AsyncGenerator[ServerSentEventMessage, None]:
    site.streams += 1
    try:
        for _ in range(int(STREAM_S_MAX * 1_000_000 / REFRESH_US)):
            if await site.desk.browsers.recognise(cookie, is_use=False) is None:
                yield ServerSentEventMessage(event="ended", data="signed out")
                return
            standing = await site.standing.get()
            context = {**frame, "now_us": site.desk.now_us(), **site.overview_context(standing)}
            for name, template in _PARTS:
                yield ServerSentEventMessage(event=name, data=site.renderer.text(template, context), retry=3000)
            for _ in range(int(REFRESH_US / 1_000_000 / STEP_S)):
                if site.desk.is_closing():
                    return
                await asyncio.sleep(STEP_S)
    finally:
        site.streams -= 1


@get("/providers", name="console.providers", include_in_schema=False)
async def providers(request: HttpRequest, site: TheSite) -> Response[str]:
    """Every provider and deployment as it stands."""
    return site.page(request, "providers.html", "/console/providers", {"providers": await site.panels.get()})


@get("/providers/{provider_id:str}/{verb:str}", name="console.provider_action", include_in_schema=False, opt=RUNS_FLEET)
async def provider_action(request: HttpRequest, site: TheSite, provider_id: Id, verb: Id) -> Response[str]:
    """What an action would do, and the form that does it."""
    site.panels.forget()
    panels = await site.panels.get()
    chosen = _chosen(panels, provider_id, verb)
    return _action_page(request, site, (panels, chosen), verb)


@post(
    "/providers/{provider_id:str}/{verb:str}",
    name="console.provider_act",
    include_in_schema=False,
    opt=RUNS_FLEET,
    status_code=200,
)
async def provider_act(request: HttpRequest, site: TheSite, provider_id: Id, verb: Id) -> Response[str] | Redirect:
    """Does it, and records who did and why."""
    panels = await site.panels.get()
    chosen = _chosen(panels, provider_id, verb)
    form = await read_form(request)
    try:
        change = StateChange(_STATES[verb], form.reason(), form.version())
        await service.set_provider_state(site.desk, site.actor(request), provider_id, change)
    except MarketError as error:
        return _action_page(request, site, (panels, chosen), verb, error)
    site.panels.forget()
    site.standing.forget()
    return Redirect(f"/console/providers?done={_DONE[verb]}", status_code=303)


@get("/requests", name="console.requests", include_in_schema=False)
async def requests(request: HttpRequest, site: TheSite) -> Response[str]:
    """Delivered requests, newest first, by what one looks for."""
    asked = {
        name: request.query_params.get(name, "").strip()[:200]
        for name in ("model", "tier", "provider", "customer", "outcome")
    }
    if asked["outcome"] not in OUTCOMES:
        asked["outcome"] = ""
    wanted = RequestFilter(asked["model"], asked["tier"], asked["provider"], asked["customer"], asked["outcome"])
    rows_max = rows_wanted(None, site.desk.settings.page_rows_max)
    after = read_cursor(request.query_params.get("after", ""))
    async with site.desk.database.reading() as session:
        rows = await repository.requests_page(session, wanted, after, rows_max)
        names = await names_of(session, [row.customer_id for row in rows])
    page = page_of(rows, rows_max, lambda row: f"{row.finished_at_us}.{row.request_id}")
    context = {"page": page, "asked": asked, "names": names, "tiers": tuple(Tier), "outcomes": OUTCOMES}
    return site.page(request, "requests.html", "/console/requests", context)


@get("/requests/find", name="console.find_request", include_in_schema=False)
async def find_request(request: HttpRequest) -> Redirect:
    """Goes to the receipt of an id that was pasted."""
    form = Form({"id": request.query_params.get("id", "")})
    return Redirect(f"/console/requests/{form.path_part('id')}", status_code=303)


@get("/requests/{request_id:str}", name="console.receipt", include_in_schema=False)
async def request_receipt(request: HttpRequest, site: TheSite, request_id: Id) -> Response[str]:
    """One request: where its time went, which tokens kept which promise, what it cost."""
    async with site.desk.database.reading() as session:
        event = await repository.request_by_id(session, request_id)
        names = {} if event is None else await names_of(session, [event.customer_id])
    if event is None:
        raise UnknownSubject("request", request_id)
    book = await site.desk.shelf.find(event.price_book_id)
    why = customers_receipt(event, book)["why"]
    context = {"receipt": receipt(event, book), "why": why, "customer": names.get(event.customer_id, event.customer_id)}
    return site.page(request, "receipt.html", "/console/requests", context)


def _action_page(
    request: HttpRequest,
    site: Site,
    offered: tuple[Sequence[ProviderPanel], ProviderPanel],
    verb: str,
    error: MarketError | None = None,
) -> Response[str]:
    panels, chosen = offered
    context = {
        "verb": verb,
        "word": VERBS[verb],
        "panel": chosen,
        "consequences": consequences(verb, chosen.account.id, panels),
        "problem": None if error is None else error.message,
    }
    status = 200 if error is None else error.status
    return site.page(request, "provider_action.html", "/console/providers", context, status)


def _chosen(panels: Sequence[ProviderPanel], provider_id: str, verb: str) -> ProviderPanel:
    chosen = next((panel for panel in panels if panel.account.id == provider_id), None)
    if chosen is None or verb not in VERBS:
        raise UnknownSubject("provider action", f"{provider_id}/{verb}")
    return chosen


HANDLERS = [
    overview,
    overview_stream,
    providers,
    provider_action,
    provider_act,
    requests,
    find_request,
    request_receipt,
]
