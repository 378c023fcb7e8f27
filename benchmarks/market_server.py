"""The market over the benchmark's upstream: ``python -m benchmarks.market_server PORT UPSTREAM_PORT FOLDER``.

Prints the API key of a customer who can pay, then serves as ``goodput serve`` does: SQLite FULL, leases in a real
Redis-compatible server, one process.
"""

import asyncio
import sys
from pathlib import Path

import uvloop

from app import clock
from app.asgi import assemble
from app.catalog.sale import ModelOnSale
from app.catalog.service import publish_book, put_on_sale
from app.cli.server import ApiServer, listening_socket
from app.db import Database
from app.embedded_redis import embedded_redis
from app.fleet.roster import DeploymentSpec
from app.fleet.service import register_deployment, register_provider
from app.identity.service import OwnLimits, create_customer, create_key
from app.ledger.service import Ledger
from app.ledger.writer import LedgerWriter
from app.settings import Settings
from migrations.run import migrate
from pricing.pricebook import RateCard, price_book
from pricing.slo import Rung, Slo, Tier
from pricing.usage import Rates
from providers.spec import ProviderKind
from scheduler.fleet import SpeedCurve
from tests.journeys.stage import ACTOR, COST, USD_PER_MTOK, usd_per_mtok

SLOS = {
    Tier.PREMIUM: Slo(5_000_000, 200_000),
    Tier.STANDARD: Slo(9_000_000, 400_000),
    Tier.BULK: Slo(900_000_000, 0),
}
MODELS = ("m-0", "m-40000")
CONTEXT_MAX = 8_192
MANY = 1_000_000_000
CREDIT_NANO = 10**15
OFFERS = 4


async def seed(settings: Settings, upstream_port: int) -> str:
    """Two models, four offers of each, and a customer who can pay; the customer's key."""
    database, now_us = Database(settings.database_dsn), clock.now_us()
    slos = {
        Tier.PREMIUM: Slo(5_000_000, 200_000),
        Tier.STANDARD: Slo(9_000_000, 400_000),
        Tier.BULK: Slo(900_000_000, 0),
    }
    rungs = [Rung(tier, slos[tier], Rates(*map(usd_per_mtok, USD_PER_MTOK[tier]))) for tier in Tier]
    cards = [RateCard(model, rung, "bench", 100.0, COST, 4_096) for model in MODELS for rung in rungs]
    async with database.writing() as session:
        await publish_book(session, price_book(clock.from_us(now_us - 1_000_000), cards), ACTOR, "bench", now_us)
        for number in range(OFFERS):
            await register_provider(session, f"p{number}", f"Provider {number}", ACTOR, now_us)
        for model in MODELS:
            await put_on_sale(session, ModelOnSale(model, model, CONTEXT_MAX, now_us), ACTOR, now_us)
            for number in range(OFFERS):
                await register_deployment(session, _deployment(model, number, upstream_port), ACTOR, now_us)
        limits = OwnLimits(rpm=MANY, tpm=MANY, concurrency=100_000)
        customer = await create_customer(session, "bench", now_us, limits=limits)
        _, minted = await create_key(session, customer.id, "bench", now_us)
    async with LedgerWriter(database) as writer:
        await Ledger(writer).grant(customer.id, CREDIT_NANO, "bench", "bench")
    await database.close()
    return minted.secret


def _deployment(model: str, number: int, upstream_port: int) -> DeploymentSpec:
    return DeploymentSpec(
        provider_id=f"p{number}",
        deployment_id=f"d-{model}",
        kind=ProviderKind.OPENAI_COMPATIBLE,
        model=model,
        base_url=f"http://127.0.0.1:{upstream_port}/v1",
        backend_model=model,
        speed=SpeedCurve((1, 1024), (1_000.0, 40_000.0), 1_000.0, 1e9),
        concurrency_max=1_024,
        context_max=CONTEXT_MAX,
        cost=COST,
    )


async def main() -> None:
    """Seeds, tells the key, serves until ended."""
    port, upstream_port, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    settings = Settings(data_dir=folder, port=port, redis_url=f"unix://{folder / 'redis.sock'}")
    await asyncio.to_thread(migrate, settings.database_dsn)
    key = await seed(settings, upstream_port)
    server = ApiServer(assemble(settings), settings)
    print(key, flush=True)
    await server.serve(listening_socket(settings))


if __name__ == "__main__":
    with embedded_redis(Path(sys.argv[3]) / "redis.sock", Path(sys.argv[3]) / "redis.log"):
        uvloop.run(main())
