"""Who may use the operators' API: the bearer of an operator's token, as far as the operator's role goes."""

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from app.admin.desk import Desk
from app.audit.service import Actor
from app.errors import NO_RETRY, MarketError
from app.identity.auth import Principal
from app.identity.roles import Permission

ROUTE_PERMISSION = "permission"
AdminRequest = Request[Any, Any, Any]
Connection = ASGIConnection[Any, Any, Any, Any]


class RoleTooNarrow(MarketError):
    """The operator's role does not include it."""

    def __init__(self, principal: Principal, permission: Permission) -> None:
        doing = permission.value.replace("_", " ")
        super().__init__(
            403,
            "role_too_narrow",
            f"{principal.email} is {principal.role}, which does not include '{doing}'; use another operator's token",
            type="permission_error",
            retry=NO_RETRY,
        )


def bearer_guard(desk: Desk) -> Callable[[Connection, BaseRouteHandler], Awaitable[None]]:
    """What lets an operator's program through, or raises InvalidAdminToken or RoleTooNarrow."""

    async def guard(connection: Connection, handler: BaseRouteHandler) -> None:
        principal = await desk.authenticator.authenticate_operator(connection.headers.get("authorization"))
        permission = handler.opt.get(ROUTE_PERMISSION, Permission.SEE)
        if not principal.role.may(permission):
            raise RoleTooNarrow(principal, permission)
        connection.state.principal = principal

    return guard


def actor_of(request: AdminRequest) -> Actor:
    """Who acts, for the audit log."""
    principal: Principal = request.state.principal
    address = request.client.host if request.client is not None else ""
    request_id = str(request.scope.get("state", {}).get("request_id", ""))
    return Actor("operator", principal.operator_id, principal.email, address, request_id)
