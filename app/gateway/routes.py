"""The customer API's routes: the hot one is an ASGI mount, the rest are ordinary handlers."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import msgspec
from asyncpg import InterfaceError, PostgresError
from litestar import Request, Response, Router, asgi, get, post
from litestar.exceptions import MethodNotAllowedException
from litestar.params import FromPath, QueryParameter
from litestar.types import Receive, Scope, Send
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import select

from app import clock
from app.catalog.public import model_document, model_list
from app.errors import MarketError
from app.fleet.offers import precisions
from app.gateway import errors
from app.gateway.ask import Sighting, price_ask
from app.gateway.head import read_head
from app.gateway.market import Market
from app.gateway.quotes import QuoteTicket
from app.gateway.serve import expect_sold, serve
from app.gateway.sse import Exchange
from app.gateway.suffix import resolved
from app.gateway.tiers import WORD_OF_TIER, tier_asked
from app.gateway.tuned_routes import tuned_routes
from app.gateway.wire import Order
from app.http_protocol import ABORT, BEGAN_NS
from app.identity.caller import Caller
from app.metering.receipt import receipt
from app.metering.repository import usage_event
from app.telemetry import CONTENT_TYPE
from pricing.money import format_usd
from pricing.pricebook import PriceBook, book_document
from pricing.slo import US_PER_S, Tier
from scheduler.fleet import Fleet

CHAT_PATH = "/v1/chat/completions"
NS_PER_US = 1_000
DATABASE_S_MAX = 2.0


class QuoteRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What a quote is asked for.

    Attributes:
        input_tokens: the most prompt tokens the request will have.
        max_tokens: the most output tokens; the rest of the context when absent.
    """

    model: str
    input_tokens: Annotated[int, msgspec.Meta(ge=0, le=100_000_000)]
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=100_000_000)] | None = None
    service_tier: str | None = None


def gateway_router(market: Market) -> Router:
    """All routes under ``/v1``."""
    return Router(
        path="/v1",
        route_handlers=[
            chat_mount(market),
            *_catalog_routes(market),
            *_account_routes(market),
            *tuned_routes(market),
        ],
    )


def chat_mount(market: Market) -> Any:
    """``POST /v1/chat/completions``, as a bare ASGI mount: no framework work per token."""

    @asgi("/chat/completions", copy_scope=False)
    async def chat_completions(scope: Scope, receive: Receive, send: Send) -> None:
        entries: dict[str, Any] = scope  # pyright: ignore[reportAssignmentType] (a scope may carry more keys than its type names)
        if entries["method"] != "POST":
            raise MethodNotAllowedException(detail=f"Use POST, not {entries['method']}.", headers={"allow": "POST"})
        arrived_ns = clock.monotonic_ns()
        began_ns: int = entries.get(BEGAN_NS, arrived_ns)
        requested_at_us = clock.now_us() - (arrived_ns - began_ns) // NS_PER_US
        request_id: str = entries["state"]["request_id"]
        head = read_head(scope["headers"], request_id, began_ns, requested_at_us)
        exchange = Exchange(receive, send, market.settings.client_stall_s_max, entries.get(ABORT))
        await serve(exchange, head, market)

    return chat_completions


async def caller_of(request: Request[Any, Any, Any], market: Market) -> Caller:
    """The customer behind a request."""
    return await market.authenticator.authenticate(
        request.headers.get("authorization"), request.headers.get("x-api-key")
    )


def _catalog_routes(market: Market) -> list[Any]:
    @get("/models", operation_id="listModels", summary="Models on sale, with prices and promises per tier")
    async def list_models(request: Request[Any, Any, Any]) -> dict[str, Any]:
        caller = await caller_of(request, market)
        seen = [each for each in market.shelf.models() if market.audience.may_see(each.name, caller.customer_id)]
        return model_list(market.shelf.live(clock.now()), seen, partial(precisions, market.supply.fleet))

    @get("/models/{model_id:path}", operation_id="getModel", summary="One model on sale")
    async def get_model(request: Request[Any, Any, Any], model_id: FromPath[str]) -> dict[str, Any]:
        caller = await caller_of(request, market)
        name = model_id.removeprefix("/")
        book = market.shelf.live(clock.now())
        expect_sold(name, caller, book, market)
        model = market.shelf.model(name)
        if model is None:
            raise errors.model_not_found(name, market.audience.visible(book.models(), caller.customer_id))
        return model_document(book, model, partial(precisions, market.supply.fleet))

    @get(
        "/price_books/{book_id:str}", operation_id="getPriceBook", summary="A published price book, to check a receipt"
    )
    async def get_price_book(request: Request[Any, Any, Any], book_id: FromPath[str]) -> dict[str, Any]:
        book = market.shelf.live(clock.now()) if book_id == "live" else await market.shelf.find(book_id)
        if book is None:
            raise MarketError(404, "price_book_not_found", f"There is no price book '{book_id[:80]}'.", param="book_id")
        caller = await caller_of(request, market) if request.headers.get("authorization") else None
        return public_book(book, market, None if caller is None else caller.customer_id)

    @post(
        "/quotes",
        status_code=200,
        operation_id="createQuote",
        summary="The most a request can cost",
    )
    async def create_quote(request: Request[Any, Any, Any]) -> dict[str, Any]:
        caller = await caller_of(request, market)
        return quote_document(read_quote_request(await request.body()), caller, market)

    return [list_models, get_model, get_price_book, create_quote]


def public_book(book: PriceBook, market: Market, customer_id: str | None) -> dict[str, Any]:
    """A price book as one reader may see it: other customers' tuned models are left out, and how many cards that is.

    The digest is of the whole book, so with cards left out it names the book but cannot be made from what is shown.
    """
    document = book_document(book)
    seen = [card for card in document["cards"] if market.audience.may_see(card["model"], customer_id)]
    withheld = len(document["cards"]) - len(seen)
    return {
        "id": book.id,
        "sha256": book.sha256,
        "document": {**document, "cards": seen} if withheld else document,
        "cards_withheld": withheld,
    }


def read_quote_request(body: bytes) -> QuoteRequest:
    """Reads the body of ``POST /v1/quotes``."""
    try:
        return msgspec.json.decode(body, type=QuoteRequest)
    except msgspec.DecodeError as error:
        raise errors.invalid(None, f"Invalid quote request: {error}.") from error


def quote_document(asked: QuoteRequest, caller: Caller, market: Market) -> dict[str, Any]:
    """Prices a request that is described, not sent; the quote's id honours the book it was priced from."""
    tier = tier_asked(asked.service_tier)
    if tier is None:
        raise errors.tier_unknown(asked.service_tier or "")
    now_us = clock.now_us()
    book = market.shelf.live(clock.from_us(now_us))
    order = resolved(_order_of(asked, tier), asked.model, book)
    model, tier = order.model, order.tier
    seen = Sighting("quote", now_us)
    expect_sold(model, caller, book, market)
    context_max = market.shelf.context_max(model)
    ask = price_ask(order, caller, book, context_max, market.lengths, seen)
    room = (context_max or 0) - asked.input_tokens
    if room < 1:
        raise errors.context_too_long(asked.input_tokens, asked.max_tokens or 1, context_max or 0)
    priced = ask.requoted(asked.input_tokens, min(asked.max_tokens or room, room))
    expires_at_us = now_us + round(market.settings.quote_ttl_s * US_PER_S)
    rung = ask.ladder.served
    return {
        "id": market.quotes.issue(QuoteTicket(caller.customer_id, model, tier.value, book.id, expires_at_us)),
        "object": "quote",
        "model": model,
        "tier": tier.value,
        "service_tier": WORD_OF_TIER[tier],
        "price_book": {"id": book.id, "sha256": book.sha256},
        "input_tokens": priced.input_bound,
        "max_tokens": priced.output_bound,
        "ceiling_usd": format_usd(priced.ceiling),
        "slo": {"ttft_ms": rung.slo.ttft_us / 1_000, "tpot_ms": rung.slo.tpot_us / 1_000},
        "precisions": list(precisions(market.supply.fleet, model, tier)),
        "created_at": now_us // US_PER_S,
        "expires_at": expires_at_us // US_PER_S,
    }


def _order_of(asked: QuoteRequest, tier: Tier) -> Order:
    """The request that a quote is asked for, as far as it is described."""
    return Order(
        model=asked.model,
        tier=tier,
        is_stream=False,
        wants_usage=False,
        output_tokens_max=asked.max_tokens,
        limit_field="max_tokens",
        prompt_bytes=0,
        messages=0,
        needs=frozenset(),
        fields={},
        is_tier_named=asked.service_tier is not None,
    )


def _account_routes(market: Market) -> list[Any]:
    @get("/generation", operation_id="getGeneration", summary="The receipt of one request")
    async def get_generation(
        request: Request[Any, Any, Any], generation_id: Annotated[str, QueryParameter(name="id", max_length=200)]
    ) -> dict[str, Any]:
        caller = await caller_of(request, market)
        event = await usage_event(market.database, generation_id)
        if event is None or event.customer_id != caller.customer_id:
            raise MarketError(
                404,
                "generation_not_found",
                f"No settled request '{generation_id[:80]}' of yours; a receipt exists once the request has ended.",
                param="id",
            )
        return {"data": receipt(event, await market.shelf.find(event.price_book_id))}

    @get("/credits", operation_id="getCredits", summary="Your wallet")
    async def get_credits(request: Request[Any, Any, Any]) -> dict[str, Any]:
        caller = await caller_of(request, market)
        return {"data": await credits_document(caller, market)}

    @get("/key", operation_id="getKey", summary="The key you are using, and its limits")
    async def get_key(request: Request[Any, Any, Any]) -> dict[str, Any]:
        caller = await caller_of(request, market)
        return {
            "data": {
                "label": caller.key_label,
                "key_id": caller.key_id,
                "customer_id": caller.customer_id,
                "is_frozen": caller.is_frozen,
                "rate_limit": {
                    "requests_per_minute": caller.limits.rpm,
                    "tokens_per_minute": caller.limits.tpm,
                    "concurrency": caller.limits.concurrency,
                },
                **await credits_document(caller, market),
            }
        }

    return [get_generation, get_credits, get_key]


async def credits_document(caller: Caller, market: Market) -> dict[str, Any]:
    """A wallet in USD, as strings with exact decimals."""
    balance = await market.ledger.balance(caller.customer_id)
    return {
        "currency": "USD",
        "balance": format_usd(balance.posted),
        "held": format_usd(balance.held),
        "available": format_usd(balance.available),
    }


def health_routes(market: Market, render_metrics: Callable[[], bytes]) -> list[Any]:
    """``/health``, ``/livez``, ``/readyz`` and ``/metrics``."""

    @get(
        ["/health", "/healthz", "/livez"],
        operation_id="getHealth",
        summary="The process is alive",
        sync_to_thread=False,
    )
    def get_health() -> dict[str, str]:
        return {"status": "ok"}

    @get("/readyz", operation_id="getReadiness", summary="Whether requests can be served, and what is missing")
    async def get_readiness() -> Response[dict[str, Any]]:
        checks = await readiness(market)
        is_ready = all(check["ok"] for check in checks.values())
        body = {"status": "ready" if is_ready else "not ready", "checks": checks}
        return Response(body, status_code=200 if is_ready else 503)

    @get("/metrics", operation_id="getMetrics", summary="Figures for Prometheus", sync_to_thread=False)
    def get_metrics() -> Response[bytes]:
        return Response(render_metrics(), headers={"content-type": CONTENT_TYPE})

    return [get_health, get_readiness, get_metrics]


async def readiness(market: Market) -> dict[str, dict[str, Any]]:
    """What a load balancer and an operator need to know: database, Redis, price book, providers per model and tier."""
    checks: dict[str, dict[str, Any]] = {"draining": {"ok": not market.is_draining}}
    checks["database"] = await database_check(market)
    trouble = market.leases_trouble()
    checks["redis"] = {"ok": True, "degraded": bool(trouble), "why": trouble}
    try:
        book = market.shelf.live(clock.now())
    except MarketError as error:
        checks["price_book"] = {"ok": False, "why": error.message}
        return checks
    checks["price_book"] = {"ok": True, "id": book.id}
    unserved = sorted(
        f"{model} {tier}" for model, tier in book.cards if not is_served(market.supply.fleet, model, tier)
    )
    checks["providers"] = {"ok": len(unserved) < len(book.cards), "unserved": unserved}
    return checks


async def database_check(market: Market) -> dict[str, Any]:
    """Whether the database answers, and soon; a server that is starting or silent does not."""
    try:
        async with asyncio.timeout(DATABASE_S_MAX), market.database.reading() as session:
            await session.exec(select(1))
    except (SQLAlchemyError, OSError, PostgresError, InterfaceError) as error:
        return {"ok": False, "why": str(error) or f"no answer within {DATABASE_S_MAX:g} s"}
    return {"ok": True}


def is_served(fleet: Fleet, model: str, tier: Tier) -> bool:
    """Whether some offer takes new work for a model at a tier."""
    return any(tier in offer.tiers and offer.id not in fleet.closed for offer in fleet.offers.get(model, ()))
