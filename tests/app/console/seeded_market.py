"""A market with a history, for looking at it: real database, ledger, price book and receipts; invented traffic.

Run it to look around: ``python -m tests.app.console.seeded_market DIR [PORT]``.
"""

import json
import socket
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import uvicorn
from argon2 import PasswordHasher
from litestar import Litestar
from sqlmodel import SQLModel

from app import clock
from app.admin.desk import Desk
from app.admin.routes import admin_routes
from app.audit.service import Actor
from app.catalog.book_cache import BookShelf
from app.catalog.service import publish_book
from app.console.routes import console_routes
from app.db import Database
from app.fleet.models import DeploymentRow, ProviderAccount
from app.gateway.tiers import WORD_OF_TIER
from app.identity.auth import Authenticator
from app.identity.ids import time_ordered_id
from app.identity.passwords import Passwords
from app.identity.roles import Role
from app.identity.service import create_admin_token, create_customer, create_key, create_operator
from app.identity.session_store import SessionStore
from app.ledger.holds import HoldRequest, LateCause, PreparedRow, Settlement
from app.ledger.service import Ledger
from app.ledger.writer import LedgerWriter
from app.logs import configure
from app.metering.delivery import Delivery
from app.metering.timeline_codec import encode
from app.settings import Settings
from pricing.derive import derive_cards
from pricing.goodput import Grade, Timeline, grade
from pricing.hardware import hardware_costs
from pricing.money import NanoUsd, half_even_to_nano, usd
from pricing.pricebook import PriceBook, RateCard, price_book
from pricing.profiles import cleaned
from pricing.rating import Charge, Ending, quote, rate
from pricing.shipped import shipped_profiles
from pricing.slo import Tier
from pricing.usage import Usage
from scheduler.breaker import BreakerState
from scheduler.fleet import Fleet, Load, OfferId

EMAIL, PASSWORD = "ops@example.com", "correct horse battery"
MODEL = "gpt-oss-120b"
HOSTILE = '<img src=x onerror="document.title=1"> & Co'
CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
US = 1_000_000
SYSTEM = Actor("system", "test")
_NS = 1_000


@dataclass
class StillFleet:
    """A fleet that stands as it was put."""

    fleet: Fleet = field(default_factory=lambda: Fleet(offers={}))
    breakers: dict[str, BreakerState] = field(default_factory=dict[str, BreakerState])
    troubles: dict[str, str] = field(default_factory=dict[str, str])

    def breaker_state(self, offer_id: OfferId, now_us: int) -> BreakerState:
        del now_us
        return self.breakers.get(offer_id, BreakerState.CLOSED)


@dataclass(frozen=True)
class Sale:
    """One request to invent.

    Attributes:
        slow: how many times slower than promised its tokens come.
    """

    tier: Tier
    customer_id: str
    finished_at_us: int
    tokens: int = 120
    input_tokens: int = 900
    slow: float = 0.5
    ttft_share: float = 0.5
    ending: Ending = Ending.STOP
    provider_id: str = "cluster-b200"
    is_streamed: bool = True
    model: str = MODEL


def make_desk(data_dir: Path, database_url: str = "") -> tuple[Desk, LedgerWriter]:
    """The rooms of a market, not yet opened."""
    settings = Settings(data_dir=data_dir, database_url=database_url)
    database = Database(settings.database_dsn)
    writer = LedgerWriter(database)
    desk = Desk(
        settings=settings,
        database=database,
        shelf=BookShelf(database),
        live_fleet=StillFleet(),
        ledger=Ledger(writer),
        authenticator=Authenticator(database, settings),
        browsers=SessionStore(database, Passwords(CHEAP)),
    )
    return desk, writer


async def open_market(desk: Desk, writer: LedgerWriter) -> None:
    """An empty market: tables and one operator; no customer, provider or book."""
    async with desk.database.engine.begin() as connection:
        await connection.run_sync(SQLModel.metadata.create_all)
    await add_operator(desk, EMAIL, Role.ADMIN)
    await writer.start()


async def add_operator(desk: Desk, email: str, role: Role) -> str:
    """An operator who signs in with :data:`PASSWORD`; answers a token of theirs."""
    async with desk.database.writing() as session:
        operator = await create_operator(session, email, Passwords(CHEAP).hash(PASSWORD), role, desk.now_us())
        _, minted = await create_admin_token(session, operator.id, "test", desk.now_us())
    return minted.secret


def cards_of_the_shipped_profiles() -> tuple[RateCard, ...]:
    return derive_cards(MODEL, MODEL, cleaned(shipped_profiles()), hardware_costs("hyperscaler"))


async def publish(desk: Desk, cards: tuple[RateCard, ...] | None = None) -> PriceBook:
    """Puts a book of the shipped profiles' prices in force."""
    now_us = desk.now_us()
    book = price_book(clock.from_us(now_us) - timedelta(days=1), cards or cards_of_the_shipped_profiles())
    async with desk.database.writing() as session:
        await publish_book(session, book, SYSTEM, "first prices", now_us)
    shelf = desk.shelf
    assert isinstance(shelf, BookShelf)
    await shelf.refresh()
    return book


async def add_provider(desk: Desk, provider_id: str, **more: Any) -> None:
    """Registers a provider with one deployment of every tier."""
    now_us = desk.now_us()
    row: dict[str, Any] = {
        "kind": "gpu_cluster",
        "model": MODEL,
        "is_emulated": True,
        "label": "emulated from a measured profile",
        "tiers": ["premium", "standard", "bulk"],
        "concurrency_max": 64,
        **more,
    }
    deployment = DeploymentRow(
        id=f"{provider_id}/{provider_id}-fp4",
        provider_id=provider_id,
        deployment_id=f"{provider_id}-fp4",
        base_url="http://127.0.0.1:9",
        backend_model=row["model"],
        speed={},
        context_max=131_072,
        cost_input=20_000,
        cost_cached=2_000,
        cost_cache_write=20_000,
        cost_output=90_000,
        capabilities=["streaming"],
        created_at_us=now_us,
        updated_at_us=now_us,
        **row,
    )
    async with desk.database.writing() as session:
        name = provider_id.replace("-", " ").title()
        session.add(ProviderAccount(id=provider_id, name=name, created_at_us=now_us, updated_at_us=now_us))
        await session.flush()
        session.add(deployment)


@dataclass(frozen=True)
class Sold:
    """What became of a sale: delivered, graded, rated."""

    sale: Sale
    id: str
    book: PriceBook
    usage: Usage
    timeline: Timeline
    grade: Grade
    charge: Charge
    cost: NanoUsd
    held: NanoUsd

    @property
    def requested_at_us(self) -> int:
        return self.sale.finished_at_us - (self.timeline.at_us[-1] if self.timeline.at_us else 40_000)

    @property
    def late_cause(self) -> LateCause:
        return LateCause.PROVIDER if self.charge.adjustment else LateCause.NONE


async def sell(desk: Desk, book: PriceBook, sale: Sale, random: Random) -> str:
    """Delivers, grades, rates and settles one request as the gateway would; answers its id."""
    sold = _delivered(book, sale, random)
    hold = HoldRequest(
        id=sold.id,
        customer_id=sale.customer_id,
        amount=sold.held,
        ceiling=sold.held,
        price_book_id=book.id,
        model=sale.model,
        tier=sale.tier.value,
        created_at_us=sold.requested_at_us,
        expires_at_us=clock.now_us() + 600 * US,
    )
    settlement = Settlement(
        hold_id=sold.id,
        customer_id=sale.customer_id,
        price_book_id=book.id,
        model=sale.model,
        charge=sold.charge,
        cost=sold.cost,
        provider_id=sale.provider_id,
        is_owned=True,
        late_cause=sold.late_cause,
        booked_at_us=sale.finished_at_us,
        rows=(PreparedRow("usage_event", {**_who(sold), **_when(sold), **_how(sold), **_how_much(sold)}),),
    )
    await desk.ledger.hold(hold)
    await desk.ledger.settle(settlement)
    return sold.id


def _delivered(book: PriceBook, sale: Sale, random: Random) -> Sold:
    ladder, card = book.ladder(sale.model, sale.tier), book.cards[sale.model, sale.tier]
    assert ladder is not None
    delivery = Delivery(is_streamed=sale.is_streamed)
    pace_us = card.rung.slo.tpot_us or 12_000
    at_us = min(card.rung.slo.ttft_us, 20_000_000) * sale.ttft_share
    for _ in range(sale.tokens):
        delivery.record(int(at_us * _NS), content_bytes=4)
        at_us += pace_us * sale.slow * random.uniform(0.7, 1.3)
    timeline = delivery.timeline(sale.tokens)
    usage = Usage(input=sale.input_tokens, cached=sale.input_tokens // 3, output=sale.tokens)
    graded = grade(timeline, ladder)
    name = time_ordered_id("gen", sale.finished_at_us, random.randbytes(10)).replace("gen_", "gen-")
    return Sold(
        sale=sale,
        id=name,
        book=book,
        usage=usage,
        timeline=timeline,
        grade=graded,
        charge=rate(ladder, usage, graded, sale.ending),
        cost=half_even_to_nano(card.cost.input_pico(usage) + card.cost.output_pico(usage.output)),
        held=quote(ladder, 2 * sale.input_tokens, 2 * sale.tokens).ceiling,
    )


def _who(sold: Sold) -> dict[str, Any]:
    sale = sold.sale
    return {
        "request_id": sold.id,
        "customer_id": sale.customer_id,
        "key_id": "key_x",
        "model": sale.model,
        "tier_asked": sale.tier.value,
        "tier_served": sale.tier.value,
        "service_tier": WORD_OF_TIER[sale.tier],
        "provider_id": sale.provider_id,
        "offer_id": f"{sale.provider_id}/{sale.provider_id}-fp4",
        "deployment_id": f"{sale.provider_id}-fp4",
        "is_emulated": True,
        "price_book_id": sold.book.id,
        "explanation": {"headroom_ms": 41, "value": "cheapest that keeps the promise"},
    }


def _when(sold: Sold) -> dict[str, Any]:
    began_us = sold.requested_at_us
    return {
        "requested_at_us": began_us,
        "admitted_at_us": began_us + 800,
        "placed_at_us": began_us + 4_000,
        "first_token_at_us": began_us + sold.timeline.at_us[0] if sold.timeline.at_us else None,
        "finished_at_us": sold.sale.finished_at_us,
    }


def _how(sold: Sold) -> dict[str, Any]:
    ending = sold.sale.ending
    return {
        "is_streamed": sold.sale.is_streamed,
        "ending": ending.value,
        "finish_reason": "stop" if ending.is_billable else "error",
        "late_cause": sold.late_cause.value,
        "attempts": 1,
        "tokens_good": sold.grade.tokens_good,
        "is_attained": sold.grade.attained and ending.is_billable,
        "timeline": encode(sold.timeline),
        "usage_source": "provider",
    }


def _how_much(sold: Sold) -> dict[str, Any]:
    return {
        "tokens_input": sold.usage.input,
        "tokens_cached": sold.usage.cached,
        "tokens_cache_write": 0,
        "tokens_output": sold.usage.output,
        "tokens_reasoning": 0,
        "lines": [
            {
                "tier": line.tier.value,
                "input": line.input.input,
                "cached": line.input.cached,
                "cache_write": line.input.cache_write,
                "output": line.tokens_output,
                "amount": line.amount,
            }
            for line in sold.charge.lines
        ],
        "gross": sold.charge.gross,
        "adjustment": sold.charge.adjustment,
        "net": sold.charge.net,
        "cost": sold.cost,
        "quote_ceiling": sold.held,
        "held": sold.held,
    }


async def add_customer(desk: Desk, name: str, credit_usd: str = "250") -> str:
    """A customer with a key and credit."""
    async with desk.database.writing() as session:
        customer = await create_customer(session, name, desk.now_us(), email="buyer@example.com")
        await create_key(session, customer.id, "production", desk.now_us())
    await desk.ledger.grant(customer.id, usd(credit_usd), "opening credit", f"open:{customer.id}")
    return customer.id


async def with_a_history(desk: Desk, sales: int = 160, seed: int = 7) -> None:
    """Customers, providers, a book, and the last hour's trade."""
    random = Random(seed)  # noqa: S311 (invented traffic)
    book = await publish(desk)
    customers = [await add_customer(desk, name) for name in ("Northwind Research", "Blue Harbor AI", HOSTILE)]
    for provider_id, more in _PROVIDERS.items():
        await add_provider(desk, provider_id, **more)
    now_us = desk.now_us()
    for number in range(sales):
        tier = random.choices(list(Tier), weights=(3, 5, 2))[0]
        finished_at_us = now_us - random.randrange(int(0.02 * US), 55 * 60 * US)
        sale = Sale(
            tier=tier,
            customer_id=random.choice(customers),
            finished_at_us=finished_at_us,
            tokens=random.randrange(40, 600),
            input_tokens=random.randrange(200, 6_000),
            slow=random.choice((0.5, 0.6, 0.8)) if number % 17 else 3.0,
            ending=Ending.STOP if number % 41 else Ending.PROVIDER_ERROR,
            provider_id=random.choice(("cluster-b200", "cluster-b200", "cluster-h100", "wafer-1")),
        )
        await sell(desk, book, sale, random)
    fleet = desk.live_fleet
    assert isinstance(fleet, StillFleet)
    loads = {"cluster-b200": 14, "cluster-h100": 31, "wafer-1": 2}
    fleet.fleet = replace(
        fleet.fleet, loads={OfferId(f"{name}/{name}-fp4"): Load(in_flight=busy) for name, busy in loads.items()}
    )


_PROVIDERS: Mapping[str, Mapping[str, Any]] = {
    "cluster-b200": {"concurrency_max": 96},
    "cluster-h100": {"concurrency_max": 48, "tiers": ["standard", "bulk"]},
    "wafer-1": {
        "kind": "wafer_scale",
        "concurrency_max": 16,
        "tiers": ["premium"],
        "label": "emulated, declared speed",
    },
    "tuned-1": {"kind": "tuned", "model": "acme/support-tuned", "concurrency_max": 8, "tiers": ["standard"]},
}


def serve(data_dir: Path, port: int = 0) -> None:
    """The console and the JSON API over a market with a history; one line on standard output says where and how."""
    desk, writer = make_desk(data_dir)
    listener = socket.create_server(("127.0.0.1", port))

    @asynccontextmanager
    async def running(_: Litestar) -> AsyncGenerator[None]:
        await open_market(desk, writer)
        await with_a_history(desk)
        token = await add_operator(desk, "robot@example.com", Role.ADMIN)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        print(json.dumps({"url": url, "admin_token": token}), flush=True)
        yield
        await writer.close()
        await desk.database.close()

    routes = [*console_routes(desk), *admin_routes(desk)]
    app = Litestar(route_handlers=routes, lifespan=[running], openapi_config=None)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    desk.is_closing = lambda: server.should_exit
    server.run(sockets=[listener])


if __name__ == "__main__":
    configure("info", as_json=False)
    serve(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
