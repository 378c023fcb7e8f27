"""Who may see and do what in the console: a signed-in browser, the right role, and forms from our own pages only."""

from collections.abc import Awaitable, Callable
from hmac import compare_digest
from typing import Any
from urllib.parse import urlsplit

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath

from app.admin.desk import Desk
from app.errors import MarketError
from app.identity.roles import Permission
from app.identity.session_store import AGE_S_MAX, SignedIn

COOKIE = "goodput_session"
LOGIN_COOKIE = "goodput_login"
HOME = "/console"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
ROUTE_PERMISSION = "permission"
ROUTE_IS_PUBLIC = "is_public"
NEXT_CHARS_MAX = 500
_OURS = frozenset({"same-origin", "none"})

Id = FromPath[str]
Connection = ASGIConnection[Any, Any, Any, Any]
HttpRequest = Request[Any, Any, Any]


class NotSignedIn(MarketError):
    """Nobody is signed in, or no longer."""

    def __init__(self) -> None:
        super().__init__(401, "not_signed_in", "your session has ended; sign in again")


class NotPermitted(MarketError):
    """The operator's role does not include it."""

    def __init__(self, role: str, permission: Permission) -> None:
        doing = permission.value.replace("_", " ")
        super().__init__(
            403, "not_permitted", f"the role {role} does not include '{doing}'; ask an admin to do it or to change it"
        )


class ForeignForm(MarketError):
    """A form that did not come from a page of this session."""

    def __init__(self) -> None:
        super().__init__(
            403,
            "foreign_form",
            "this form was not sent from a page of your present session; nothing was changed. Reload the page and "
            "send it again",
        )


def guard_of(desk: Desk) -> Callable[[Connection, BaseRouteHandler], Awaitable[None]]:
    """What lets a request through, or raises.

    It raises :class:`NotSignedIn` without a live session behind the cookie, :class:`NotPermitted` where the route needs
    a permission that the role lacks, and :class:`ForeignForm` for a changing request without the session's own token or
    from another site.
    """

    async def guard(connection: Connection, handler: BaseRouteHandler) -> None:
        is_changing = connection.scope.get("method", "GET") not in SAFE_METHODS
        if is_changing:
            refuse_other_sites(connection)
        if handler.opt.get(ROUTE_IS_PUBLIC):
            return
        visitor = await desk.browsers.recognise(connection.cookies.get(COOKIE))
        if visitor is None:
            raise NotSignedIn
        connection.state.visitor = visitor
        permission = handler.opt.get(ROUTE_PERMISSION, Permission.SEE)
        if not visitor.principal.role.may(permission):
            raise NotPermitted(visitor.principal.role.value, permission)
        if is_changing and not visitor.accepts_csrf(await _sent_token(connection)):
            raise ForeignForm

    return guard


def refuse_other_sites(connection: Connection) -> None:
    """Refuses a changing request whose browser says that another site made it.

    Raises:
        ForeignForm: it says so.
    """
    site = connection.headers.get("sec-fetch-site")
    if site is not None and site not in _OURS:
        raise ForeignForm
    origin = connection.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != connection.headers.get("host", ""):
        raise ForeignForm


def is_same(sent: str, expected: str) -> bool:
    """Compares two secrets in constant time; an empty one equals nothing."""
    return bool(expected) and compare_digest(sent.encode(), expected.encode())


def safe_next(path: str) -> str:
    """A path of the console to go to after signing in; home for everything else.

    >>> safe_next("/console/requests?tier=bulk"), safe_next("//evil.example"), safe_next("/console//evil")
    ('/console/requests?tier=bulk', '/console', '/console')
    """
    parts = urlsplit(path)
    is_ours = parts.path == HOME or parts.path.startswith(f"{HOME}/")
    plain = path.isprintable() and path.isascii() and "\\" not in path and "//" not in path
    stays = not parts.scheme and not parts.netloc and len(path) <= NEXT_CHARS_MAX
    return path if is_ours and plain and stays and not parts.path.startswith(f"{HOME}/log") else HOME


def session_cookie(value: str, *, is_https: bool) -> Cookie:
    """The cookie of a signed-in browser; an empty value takes it away."""
    return Cookie(
        key=COOKIE,
        value=value,
        path=HOME,
        httponly=True,
        samesite="lax",
        secure=is_https,
        max_age=AGE_S_MAX if value else 0,
    )


def login_cookie(value: str, *, is_https: bool) -> Cookie:
    """The cookie that ties a sign-in form to the browser it was shown in."""
    return Cookie(
        key=LOGIN_COOKIE, value=value, path=f"{HOME}/login", httponly=True, samesite="strict", secure=is_https
    )


def visitor_of(request: HttpRequest) -> SignedIn:
    """The signed-in browser that :func:`guard` recognised."""
    return request.state.visitor


def address_of(request: HttpRequest) -> str:
    """The client's address, as the server sees it."""
    return request.client.host if request.client is not None else ""


def request_id_of(request: HttpRequest) -> str:
    """The id under which the application logs a request."""
    return str(request.scope.get("state", {}).get("request_id", ""))


async def _sent_token(connection: Connection) -> str:
    header = connection.headers.get("x-csrf-token")
    if header is not None:
        return header
    if not isinstance(connection, Request):
        return ""
    sent = (await connection.form()).get("csrf", "")
    return sent if isinstance(sent, str) else ""
