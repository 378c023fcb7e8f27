"""What the operators' API reads: bodies that refuse what they do not know, and problems instead of stack traces."""

from typing import Annotated, Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.errors import MarketError
from pricing.money import MoneyError

PROBLEM = "application/problem+json"
PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=1000, pattern=PRINTABLE)]
Label = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=PRINTABLE)]
Email = Annotated[str, StringConstraints(strip_whitespace=True, max_length=320, pattern=PRINTABLE)]
Limit = Annotated[int, Field(ge=1, le=10**12)]


class ReasonBody(BaseModel):
    """Why something is done."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: Reason


class ProviderStateBody(BaseModel):
    """Why a provider's state changes, and which version of it was looked at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: Reason
    version: int | None = Field(default=None, ge=1, description="refused with 409 when it has changed since")


class LimitsBody(BaseModel):
    """Limits of a customer or key; one left out falls back to the next wider."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rpm: Limit | None = Field(default=None, description="requests per minute")
    tpm: Limit | None = Field(default=None, description="tokens per minute, input and output asked for")
    concurrency: Limit | None = Field(default=None, description="requests in flight")


class CustomerBody(BaseModel):
    """A new customer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Label
    email: Email = ""
    limits: LimitsBody = LimitsBody()


class KeyBody(BaseModel):
    """A new key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: Label
    limits: LimitsBody = LimitsBody()


class CreditBody(BaseModel):
    """Credit to give."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    amount_usd: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,10}(\.[0-9]{1,9})?$")] = Field(
        description="dollars as text, at most nine decimals, for example 25.00"
    )
    reason: Reason
    idempotency_key: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,100}$")] = Field(
        description="the same key gives the credit once, however often it is sent"
    )


def problem(status: int, code: str, detail: str, **more: Any) -> Response[dict[str, Any]]:
    """An ``application/problem+json`` answer."""
    body = {"type": f"urn:goodput:error:{code}", "title": code, "status": status, "detail": detail, **more}
    return Response(body, status_code=status, media_type=PROBLEM)


def market_problem(_request: Request[Any, Any, Any], error: MarketError) -> Response[dict[str, Any]]:
    """What a refusal of ours looks like."""
    return Response(error.problem_body(), status_code=error.status, media_type=PROBLEM, headers=error.headers())


def money_problem(_request: Request[Any, Any, Any], error: MoneyError) -> Response[dict[str, Any]]:
    """An amount that cannot be represented."""
    return problem(400, "invalid_amount", str(error))


def depth_problem(_request: Request[Any, Any, Any], _error: RecursionError) -> Response[dict[str, Any]]:
    """A body that nests deeper than can be read."""
    return problem(400, "invalid_request", "The body nests too deeply to be read.")


def http_problem(_request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, Any]]:
    """What the framework's own refusals look like: bad bodies, unknown paths, wrong methods."""
    if isinstance(error, ValidationException):
        return problem(400, "invalid_request", _what_is_wrong(error))
    code = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large", 415: "unsupported_media_type"}
    return problem(error.status_code, code.get(error.status_code, "invalid_request"), error.detail)


def _what_is_wrong(error: ValidationException) -> str:
    findings = error.extra if isinstance(error.extra, list) else []
    words = [
        f"{finding.get('key') or 'body'}: {finding.get('message')}" for finding in findings if isinstance(finding, dict)
    ]
    return "; ".join(words[:20]) or error.detail
