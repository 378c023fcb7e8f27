"""The console's routes: signing in and out, its files, and the pages behind the guard."""

import secrets
from typing import Any

from litestar import MediaType, Response, Router, get, post
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.response import Redirect
from litestar.types import ControllerRouterHandler

from app.admin.desk import Desk
from app.console import (
    book_action_pages,
    book_pages,
    draft_pages,
    frontier_pages,
    money_pages,
    operate_pages,
    promise_pages,
    review_pages,
)
from app.console.assets import PREFIX, AssetsMissing, load_assets
from app.console.forms import read_form
from app.console.guard import (
    COOKIE,
    HOME,
    LOGIN_COOKIE,
    ROUTE_IS_PUBLIC,
    ForeignForm,
    HttpRequest,
    Id,
    NotSignedIn,
    address_of,
    guard_of,
    is_same,
    login_cookie,
    request_id_of,
    safe_next,
    session_cookie,
    visitor_of,
)
from app.console.render import SECURITY_HEADERS
from app.console.site import Site, TheSite
from app.errors import MarketError
from app.logs import get_logger

BODY_BYTES_MAX = 64 * 1024
FOREVER = "public, max-age=31536000, immutable"
THEMES = frozenset({"system", "light", "dark"})
PUBLIC = {ROUTE_IS_PUBLIC: True}
_HEADINGS = {
    400: "That cannot be done as asked",
    401: "Signed out",
    403: "Not permitted",
    404: "Not found",
    409: "It has changed meanwhile",
    413: "Too large",
    429: "Too often",
    503: "Not now",
}


@get("/login", name="console.login", include_in_schema=False, opt=PUBLIC)
async def login_page(request: HttpRequest, site: TheSite) -> Response[str]:
    """The sign-in form."""
    return _login_page(request, site, safe_next(request.query_params.get("next", HOME)))


@post("/login", name="console.sign_in", include_in_schema=False, opt=PUBLIC, status_code=200)
async def sign_in(request: HttpRequest, site: TheSite) -> Response[str] | Redirect:
    """Checks address and password and begins a session."""
    form = await read_form(request)
    if not is_same(form.text("csrf"), request.cookies.get(LOGIN_COOKIE, "")):
        raise ForeignForm
    next_path = safe_next(form.text("next"))
    try:
        cookie, _ = await site.desk.browsers.sign_in(
            form.text("email"), form.text("password"), address_of(request), request.cookies.get(COOKIE)
        )
    except MarketError as error:
        return _login_page(request, site, next_path, email=form.text("email")[:320], error=error)
    is_https = request.url.scheme == "https"
    cookies = [session_cookie(cookie, is_https=is_https), login_cookie("", is_https=is_https)]
    return Redirect(next_path, status_code=303, cookies=cookies)


@post("/logout", name="console.sign_out", include_in_schema=False, status_code=200)
async def sign_out(request: HttpRequest, site: TheSite) -> Redirect:
    """Ends the session."""
    await site.desk.browsers.sign_out(visitor_of(request))
    return Redirect(
        f"{HOME}/login", status_code=303, cookies=[session_cookie("", is_https=request.url.scheme == "https")]
    )


@post("/theme", name="console.theme", include_in_schema=False, status_code=200)
async def choose_theme(request: HttpRequest, site: TheSite) -> Redirect:
    """Remembers light, dark, or whatever the browser prefers."""
    form = await read_form(request)
    if form.text("theme") in THEMES:
        await site.desk.browsers.choose_theme(visitor_of(request), form.text("theme"))
    return Redirect(safe_next(form.text("back")), status_code=303)


@get(
    f"{PREFIX.removeprefix(HOME)}/{{digest:str}}/{{name:str}}",
    name="console.asset",
    include_in_schema=False,
    opt=PUBLIC,
)
async def asset(request: HttpRequest, site: TheSite, digest: Id, name: Id) -> Response[bytes]:
    """A file of the console, for ever the same under its address."""
    found = site.assets.find(digest, name)
    if found is None:
        return Response(b"", status_code=404, media_type=MediaType.TEXT, headers=SECURITY_HEADERS)
    headers = {**SECURITY_HEADERS, "cache-control": FOREVER, "vary": "accept-encoding"}
    content = found.content
    if found.zipped is not None and "gzip" in request.headers.get("accept-encoding", ""):
        content, headers["content-encoding"] = found.zipped, "gzip"
    return Response(content, media_type=found.media_type, headers=headers)


def _login_page(
    request: HttpRequest, site: Site, next_path: str, *, email: str = "", error: MarketError | None = None
) -> Response[str]:
    csrf = request.cookies.get(LOGIN_COOKIE) or secrets.token_urlsafe(32)
    problem = None if error is None else f"{error.message[:1].upper()}{error.message[1:]}."
    context = {"csrf": csrf, "next": next_path, "email": email, "problem": problem}
    response = site.renderer.page("login.html", context, 200 if error is None else error.status)
    response.set_cookie(login_cookie(csrf, is_https=request.url.scheme == "https"))
    if error is not None:
        response.headers.update(error.headers())
    return response


def console_routes(desk: Desk) -> list[ControllerRouterHandler]:
    """Everything under ``/console``; one plain answer in its place while its files are missing."""
    try:
        assets = load_assets()
    except AssetsMissing as missing:
        get_logger("console").warning("console.assets_missing", detail=str(missing))
        return [_without_assets(str(missing))]
    return [router(Site(desk, assets))]


def router(site: Site) -> Router:
    """The console of a site."""

    def refused(request: HttpRequest, error: MarketError) -> Response[Any]:
        return _refused(request, site, error)

    def not_served(request: HttpRequest, error: HTTPException) -> Response[Any]:
        wrapped = MarketError(error.status_code, "http_error", error.detail)
        return _refused(request, site, wrapped)

    def broken(request: HttpRequest, error: Exception) -> Response[Any]:
        get_logger("console").error("page.failed", path=request.url.path, exc_info=error)
        return _refused(request, site, _broken())

    rooms = (
        operate_pages,
        frontier_pages,
        promise_pages,
        book_pages,
        book_action_pages,
        draft_pages,
        review_pages,
        money_pages,
    )
    pages = [handler for room in rooms for handler in room.HANDLERS]
    return Router(
        HOME,
        route_handlers=[login_page, sign_in, sign_out, choose_theme, asset, *pages],
        guards=[guard_of(site.desk)],
        dependencies={"site": Provide(lambda: site, sync_to_thread=False)},
        exception_handlers={MarketError: refused, HTTPException: not_served, Exception: broken},
        request_max_body_size=BODY_BYTES_MAX,
    )


def _refused(request: HttpRequest, site: Site, error: MarketError) -> Response[Any]:
    if isinstance(error, NotSignedIn) and "text/event-stream" not in request.headers.get("accept", ""):
        asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        back = safe_next(asked) if request.method == "GET" else HOME
        return Redirect(f"{HOME}/login", query_params={"next": back}, status_code=303)
    context = {
        "status": error.status,
        "heading": _HEADINGS.get(error.status, "Something went wrong"),
        "message": f"{error.message[:1].upper()}{error.message[1:]}.".replace("..", "."),
        "request_id": request_id_of(request),
    }
    response = site.renderer.page("error.html", context, error.status)
    response.headers.update(error.headers())
    return response


def _broken() -> MarketError:
    return MarketError(
        500, "internal_error", "something went wrong on our side; the log has it under this request's id"
    )


def _without_assets(message: str) -> ControllerRouterHandler:
    @get([HOME, f"{HOME}/{{path:path}}"], name="console.missing", include_in_schema=False)
    async def missing() -> Response[str]:
        return Response(f"{message}\n", status_code=503, media_type=MediaType.TEXT, headers=SECURITY_HEADERS)

    return missing
