"""Renders every refusal in the shape its surface promises: OpenAI's under ``/v1``, problem+json elsewhere.

No framework's own error shape ever reaches a customer.
"""

from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from app.errors import NO_RETRY, MarketError
from app.logs import get_logger

V1 = "/v1"
SERVER_ERROR = 500
CODES = {
    400: "invalid_value",
    401: "invalid_api_key",
    403: "permission_denied",
    404: "not_found",
    405: "method_not_allowed",
    413: "request_too_large",
    415: "unsupported_media_type",
    429: "rate_limit_exceeded",
    503: "server_is_overloaded",
}

AnyRequest = Request[Any, Any, Any]


class ImpossibleAddress(MarketError):
    """An address with a NUL byte: no id has one, and no database takes it."""


def refuse_nul(request: AnyRequest) -> None:
    """Lets no address through that has a NUL byte in its path or query.

    Raises:
        ImpossibleAddress: it has one.
    """
    if "\0" in request.scope["path"] or b"%00" in request.scope["query_string"]:
        raise ImpossibleAddress(
            400, "invalid_value", "The address holds a NUL byte (%00), which no id or filter can have.", retry=NO_RETRY
        )


def on_market_error(request: AnyRequest, error: MarketError) -> Response[dict[str, Any]]:
    """Renders an expected refusal."""
    if request.url.path.startswith(V1):
        return Response(
            error.openai_body(), status_code=error.status, headers=error.headers(), media_type="application/json"
        )
    return Response(
        error.problem_body(), status_code=error.status, headers=error.headers(), media_type="application/problem+json"
    )


def on_http_exception(request: AnyRequest, error: HTTPException) -> Response[dict[str, Any]]:
    """Renders what the framework refuses: an unknown path, a wrong method, a bad parameter."""
    if error.status_code >= SERVER_ERROR:
        get_logger("app").error("request.failed", path=request.url.path, status=error.status_code, detail=error.detail)
    headers = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
    refused = MarketError(
        error.status_code,
        CODES.get(error.status_code, "invalid_request" if error.status_code < SERVER_ERROR else "internal_error"),
        _message(request, error),
        type="invalid_request_error" if error.status_code < SERVER_ERROR else "server_error",
        param=_param(error),
        extra_headers=headers,
    )
    return on_market_error(request, refused)


def on_unexpected(request: AnyRequest, error: Exception) -> Response[dict[str, Any]]:
    """Renders a mistake of ours: logged whole, told briefly."""
    get_logger("app").error("request.failed", path=request.url.path, exc_info=error)
    return on_market_error(request, internal_error(request.scope.get("state", {}).get("request_id", "")))


def internal_error(request_id: str) -> MarketError:
    """What a customer is told of a mistake of ours."""
    return MarketError(
        SERVER_ERROR,
        "internal_error",
        f"Something went wrong on our side; nothing was charged. Please report request id {request_id}.",
        type="server_error",
    )


def _message(request: AnyRequest, error: HTTPException) -> str:
    if error.status_code == 404:  # noqa: PLR2004 (the status itself)
        return f"There is nothing at {request.method} {request.url.path}."
    if isinstance(error, ValidationException) and isinstance(error.extra, list):
        problems = "; ".join(f"{item.get('key', 'request')}: {item.get('message', '')}" for item in error.extra)
        return f"Invalid request: {problems}."
    return error.detail or f"The request was refused with status {error.status_code}."


def _param(error: HTTPException) -> str | None:
    if isinstance(error, ValidationException) and isinstance(error.extra, list) and error.extra:
        key = error.extra[0].get("key")
        return str(key) if key is not None else None
    return None


HANDLERS: dict[type[Exception] | int, Any] = {
    MarketError: on_market_error,
    HTTPException: on_http_exception,
    Exception: on_unexpected,
}
