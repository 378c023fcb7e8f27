"""The application: every room built once, wired together, started and stopped in order."""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from litestar import Litestar
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from app import clock
from app.admin.desk import Desk
from app.admin.routes import admin_routes
from app.catalog.book_cache import BookShelf
from app.console.routes import console_routes
from app.db import Database
from app.fleet.fleet_view import FleetView
from app.fleet.lease_store import InProcessLeaseStore
from app.fleet.leases import LeaseStore
from app.fleet.live_client import LiveClients
from app.fleet.redis_lease_store import RedisLeaseStore
from app.fleet.redis_pipeline_client import RedisPipelineClient, RedisUnavailable
from app.fleet.redis_target_client import redis_target
from app.fleet.steady_lease_store import SteadyLeaseStore
from app.fleet.vault import Vault
from app.gateway.driver import Driver
from app.gateway.idempotency_store import IdempotencyStore
from app.gateway.market import Market
from app.gateway.meters import Meters
from app.gateway.quotes import QuoteSigner
from app.gateway.routes import CHAT_PATH, gateway_router, health_routes
from app.gauges import Gauges
from app.identity.auth import Authenticator
from app.identity.ids import ENTROPY_BYTES, time_ordered_id
from app.identity.passwords import Passwords
from app.identity.session_store import SessionStore
from app.ledger.service import Ledger
from app.ledger.writer import LedgerWriter
from app.logs import get_logger
from app.refusals import HANDLERS, refuse_nul
from app.settings import IN_PROCESS, Settings
from app.telemetry import Metrics
from app.tuning.repository import caps
from pricing.slo import US_PER_S
from scheduler.dispatcher import Dispatcher
from scheduler.policy import Policy

KEY_USES_S = 30.0
GAUGES_S = 5.0


@dataclass(frozen=True, slots=True)
class Assembly:
    """A market, put together and not yet started; :attr:`application` starts it."""

    application: ASGIApp
    market: Market
    view: FleetView


def create_app(settings: Settings | None = None) -> ASGIApp:
    """The ASGI application of a market."""
    return assemble(settings or Settings()).application


def assemble(settings: Settings) -> Assembly:
    """Builds every room; nothing is opened before the application starts."""
    database = Database(settings.database_dsn)
    writer = LedgerWriter(database, queue_max=settings.writer_queue_max, batch_max=settings.writer_batch_max)
    rooms = AsyncExitStack()
    leases, trouble, open_leases = _lease_store(settings)
    vault = Vault(settings.secret_key.get_secret_value(), settings.former_secrets)
    view = FleetView(database, leases, LiveClients(os.environ, vault=vault), caps=caps)
    shelf, authenticator, metrics = BookShelf(database), Authenticator(database, settings), Metrics()
    dispatcher = _dispatcher(settings)
    driver = Driver(dispatcher, view, leases, clock.now_us, lease_ttl_s=settings.lease_ttl_s)
    market = Market(
        settings=settings,
        authenticator=authenticator,
        shelf=shelf,
        supply=view,
        leases=leases,
        ledger=Ledger(writer),
        database=database,
        driver=driver,
        quotes=QuoteSigner(_secret(settings)),
        idempotency=IdempotencyStore(database),
        meters=Meters(metrics),
        leases_trouble=trouble,
    )
    gauges = Gauges(metrics, database, view, writer, dispatcher)
    life = Life(market, view, writer, gauges, open_leases, rooms)
    desk = Desk(
        settings=settings,
        database=database,
        shelf=shelf,
        live_fleet=view,
        ledger=market.ledger,
        authenticator=authenticator,
        browsers=SessionStore(database, Passwords()),
        vault=vault,
        is_closing=lambda: market.is_draining,
    )
    litestar = Litestar(
        route_handlers=[
            gateway_router(market),
            *health_routes(market, metrics.render),
            *admin_routes(desk),
            *console_routes(desk),
        ],
        before_request=refuse_nul,
        exception_handlers=HANDLERS,
        lifespan=[life.lived],
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title="Goodput", version="1", path="/schema", render_plugins=[JsonRenderPlugin(path="/openapi.json")]
        ),
    )
    return Assembly(named(litestar), market, view)


@dataclass(slots=True)
class Life:
    """What runs beside the requests, from start to stop."""

    market: Market
    view: FleetView
    writer: LedgerWriter
    gauges: Gauges
    open_leases: Callable[[], Awaitable[object]]
    rooms: AsyncExitStack

    @asynccontextmanager
    async def lived(self, _app: Litestar) -> AsyncGenerator[None]:
        """Opens the rooms in order, and closes them in the opposite one."""
        market = self.market
        async with self.rooms as rooms:
            rooms.push_async_callback(market.database.close)
            await self.writer.start()
            rooms.push_async_callback(self.writer.close)
            await self.open_leases()
            rooms.push_async_callback(market.leases.close)
            await market.audience.refresh()
            await market.shelf.refresh()
            await self.view.refresh()
            rooms.push_async_callback(self.view.close)
            await market.ledger.sweep(clock.now_us())
            tasks = [asyncio.create_task(work) for work in self._background()]
            rooms.push_async_callback(_end, tasks)
            rooms.push_async_callback(market.driver.close)
            yield
            market.is_draining = True

    def _background(self) -> list[Coroutine[Any, Any, None]]:
        market = self.market
        return [
            market.audience.run(),
            market.shelf.run(),
            self.view.run(),
            _every(market.settings.heartbeat_s, "heartbeat", self._beat),
            _every(KEY_USES_S, "key_uses", self._write_uses),
            _every(GAUGES_S, "gauges", self.gauges.refresh),
        ]

    async def _beat(self) -> None:
        """Says that what runs here is alive: its places and its holds."""
        market = self.market
        await market.driver.beat()
        if market.holds:
            expires_at_us = clock.now_us() + round(market.settings.hold_lease_s * US_PER_S)
            await market.ledger.beat(tuple(market.holds), expires_at_us)

    async def _write_uses(self) -> None:
        await self.market.authenticator.write_uses()


async def _every(seconds: float, name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Does something again and again; one failure is logged and the next turn tries again."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception as error:  # noqa: BLE001 (the outermost edge of a background task)
            get_logger("app").warning("background.failed", task=name, error=repr(error))


async def _end(tasks: list["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def named(application: ASGIApp) -> ASGIApp:
    """Gives each request an id, and says it in each answer; the chat route says its own."""

    async def with_request_id(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        request_id = time_ordered_id("gen", clock.now_us(), os.urandom(ENTROPY_BYTES))
        entries: dict[str, Any] = scope  # pyright: ignore[reportAssignmentType] (a scope may carry more keys than its type names)
        entries.setdefault("state", {})["request_id"] = request_id
        if scope["path"] == CHAT_PATH and scope["method"] == "POST":
            await application(scope, receive, send)
            return
        header = (b"x-request-id", request_id.encode())

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", [])
                message["headers"] = headers if header in headers else [*headers, header]
            await send(message)

        await application(scope, receive, send_named)

    return with_request_id


def _lease_store(settings: Settings) -> tuple[LeaseStore, Callable[[], str], Callable[[], Awaitable[object]]]:
    """The lease store in force, what troubles it, and how it is opened."""
    if settings.redis_url == IN_PROCESS:
        return InProcessLeaseStore(), lambda: "", _nothing
    client = RedisPipelineClient(redis_target(settings.redis_dsn))
    store = SteadyLeaseStore(RedisLeaseStore(client), client)

    async def connect() -> None:
        """A market whose Redis is away opens all the same, and is whole again when it is back."""
        try:
            await client.connect()
        except RedisUnavailable as error:
            get_logger("app").warning("redis.unavailable", detail=str(error))
            client.connect_in_background()

    return store, lambda: store.trouble, connect


def _dispatcher(settings: Settings) -> Dispatcher:
    """This process's dispatcher; its ties fall differently from its neighbours'."""
    policy = Policy(
        queue_max=settings.dispatch_queue_max,
        retry_share=settings.retry_share,
        hedge_share=settings.hedge_share,
        explore_share=settings.explore_share,
        affinity_load_max=settings.affinity_load_max,
        margin_step=settings.margin_step,
    )
    return Dispatcher(policy, seed=int.from_bytes(os.urandom(4), "big"))


async def _nothing() -> None:
    """Nothing is to be opened."""


def _secret(settings: Settings) -> bytes:
    """The key that quotes are signed with; one of this process alone where none was set."""
    return settings.secret_key.get_secret_value().encode() or os.urandom(32)
