"""A whole market on loopback, in a thread of its own, with a backend that does what a test says."""

import asyncio
import ssl
import threading
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
from openai import OpenAI

from app import clock
from app.asgi import Assembly, assemble
from app.audit.service import Actor
from app.catalog.sale import ModelOnSale
from app.catalog.service import publish_book, put_on_sale
from app.cli.server import ApiServer, listening_socket, url_of
from app.db import Database
from app.fleet.health import Health
from app.fleet.roster import DeploymentSpec
from app.fleet.service import register_deployment, register_provider
from app.identity.service import create_customer, create_key
from app.reconcile.service import verify
from app.settings import Settings
from migrations.run import migrate
from pricing.money import Rate, usd_per_mtok
from pricing.pricebook import PriceBook, RateCard, price_book
from pricing.slo import Rung, Slo, Tier
from pricing.usage import Rates
from providers.spec import ProviderKind
from scheduler.fleet import SpeedCurve
from scheduler.jobs import Capability
from tests.journeys.backend import Backend, Behaviour

SETTLED_TRIES = 250
HELLO = [{"role": "user", "content": "Hello there"}]
MODEL = "acme/test-model"
ACTOR = Actor("system", "test stage")
CONTEXT_MAX = 8_192
SLOS = {
    Tier.PREMIUM: Slo(500_000, 20_000),
    Tier.STANDARD: Slo(2_000_000, 100_000),
    Tier.BULK: Slo(900_000_000, 0),
}
USD_PER_MTOK = {
    Tier.PREMIUM: ("2", "0.2", "2", "8"),
    Tier.STANDARD: ("1", "0.1", "1", "4"),
    Tier.BULK: ("0.5", "0.05", "0.5", "2"),
}
COST = Rates(*(Rate(100_000),) * 4)
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""All is loopback without TLS; a client of its own would load every certificate of the machine, each time."""
T = TypeVar("T")


def stage_book() -> PriceBook:
    cards = [
        RateCard(
            model=MODEL,
            rung=Rung(tier, SLOS[tier], Rates(*map(usd_per_mtok, USD_PER_MTOK[tier]))),
            deployment_id="d1",
            interactivity_tok_s_user=100.0,
            cost=COST,
            concurrency_max=8,
        )
        for tier in Tier
    ]
    return price_book(clock.now() - timedelta(minutes=1), cards)


def stage_deployment(base_url: str, provider_id: str = "p1") -> DeploymentSpec:
    return DeploymentSpec(
        provider_id=provider_id,
        deployment_id="d1",
        kind=ProviderKind.OPENAI_COMPATIBLE,
        model=MODEL,
        base_url=base_url,
        backend_model="backend-model",
        speed=SpeedCurve((1, 8), (5_000.0, 10_000.0), 20_000.0, 20_000.0),
        concurrency_max=8,
        context_max=CONTEXT_MAX,
        cost=COST,
        capabilities=frozenset(Capability),
    )


class Stage:
    """The market and its backend; start with :func:`opened`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.backend = Backend()
        self.api_key = ""
        self.customer_id = ""
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stage", daemon=True)
        self._server: ApiServer | None = None
        self._serving: asyncio.Future[None] | None = None
        self.assembly: Assembly

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs something on the market's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def client(self, api_key: str | None = None) -> OpenAI:
        return OpenAI(base_url=self.url + "/v1", api_key=api_key or self.api_key, max_retries=0, timeout=30)

    def http(self) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.api_key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, verify=NO_TLS)

    def get(self, path: str, **params: str) -> Any:
        with self.http() as client:
            return client.get(path, params=params).raise_for_status().json()

    def get_as(self, api_key: str, path: str, **params: str) -> Any:
        with self.http() as client:
            headers = {"authorization": f"Bearer {api_key}"}
            return client.get(path, params=params, headers=headers).raise_for_status().json()

    def post(self, path: str, body: Any) -> Any:
        with self.http() as client:
            return client.post(path, json=body).raise_for_status().json()

    def receipt(self, generation_id: str) -> Any:
        return self.get("/v1/generation", id=generation_id)["data"]

    def add_provider(self, provider_id: str) -> Backend:
        """A second provider of the same model, with a backend of its own."""
        backend = Backend()
        self.run(self._add_provider(provider_id, backend))
        return backend

    async def _add_provider(self, provider_id: str, backend: Backend) -> None:
        await backend.start()
        now_us = clock.now_us()
        async with self.assembly.market.database.writing() as session:
            await register_provider(session, provider_id, provider_id, ACTOR, now_us)
            await register_deployment(session, stage_deployment(backend.base_url, provider_id), ACTOR, now_us)
        await self.assembly.view.refresh()

    def reset(self) -> None:
        """A well-behaved backend, and a fleet without memory of how it behaved before."""
        self.backend.behaviour = Behaviour()
        self.backend.requests.clear()
        self.backend.abandoned = 0
        self.run(self._forget())

    async def _forget(self) -> None:
        await self.assembly.market.driver.close()
        self.assembly.view._health = Health()
        await self.assembly.view.refresh()

    def check_books(self) -> None:
        """Every law of the ledger that reconciliation knows holds, and nothing is left held once all has settled."""
        assert self.run(self._held_at_last()) == 0
        report = self.run(verify(self.assembly.market.database, clock.now_us()))
        assert report.is_balanced, report

    async def _held_at_last(self) -> int:
        """What is held when nothing more is on its way to the ledger; a settlement follows the end of its answer."""
        ledger = self.assembly.market.ledger
        for _ in range(SETTLED_TRIES):
            if not (await ledger.balance(self.customer_id)).held:
                break
            await asyncio.sleep(0.02)
        return (await ledger.balance(self.customer_id)).held

    def new_key(self, credit_nano: int) -> tuple[str, str]:
        """A further customer with a key; returns the customer's id and the key."""
        return self.run(self._new_customer(credit_nano))

    async def _new_customer(self, credit_nano: int) -> tuple[str, str]:
        market = self.assembly.market
        now_us = clock.now_us()
        async with market.database.writing() as session:
            customer = await create_customer(session, f"customer {now_us}", now_us)
            _, minted = await create_key(session, customer.id, "test", now_us)
        if credit_nano:
            await market.ledger.grant(customer.id, credit_nano, "test", f"grant-{customer.id}")
        return customer.id, minted.secret

    async def _open(self) -> None:
        await self.backend.start()
        await self._seed()
        self.assembly = assemble(self.settings)
        listener = listening_socket(self.settings)
        self.url = url_of(listener)
        self._server = ApiServer(self.assembly, self.settings)
        self._serving = asyncio.ensure_future(self._server.serve(listener))
        while not self._server.has_started:
            if self._serving.done():
                await self._serving
            await asyncio.sleep(0.01)
        self.customer_id, self.api_key = await self._new_customer(10_000_000_000)

    async def _seed(self) -> None:
        database = Database(self.settings.database_dsn)
        now_us = clock.now_us()
        async with database.writing() as session:
            await put_on_sale(session, ModelOnSale(MODEL, "Test model", CONTEXT_MAX, now_us), ACTOR, now_us)
            await publish_book(session, stage_book(), ACTOR, "test", now_us)
            await register_provider(session, "p1", "Provider one", ACTOR, now_us)
            await register_deployment(session, stage_deployment(self.backend.base_url), ACTOR, now_us)
        await database.close()

    async def _close(self) -> None:
        if self._server is not None and self._serving is not None:
            self._server.stop()
            await self._serving
        await self.backend.stop()

    def open(self) -> None:
        migrate(self.settings.database_dsn)
        self._thread.start()
        self.run(self._open())

    def close(self) -> None:
        self.run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@contextmanager
def opened(data_dir: Path, **settings: Any) -> Generator[Stage]:
    """A running market; everything it started ends with the block."""
    stage = Stage(Settings(data_dir=data_dir, port=0, **settings))
    stage.open()
    try:
        yield stage
    finally:
        stage.backend.behaviour = Behaviour()
        stage.close()


def ask(stage: Stage, key: str = "", **fields: Any) -> httpx.Response:
    """One request in the customer's words; with another key where one is given."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with stage.http() as client:
        return client.post("/v1/chat/completions", json={"model": MODEL, "messages": HELLO, **fields}, headers=headers)
