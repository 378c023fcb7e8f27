"""A small market for tests of planning: one measured deployment, one model priced from it, and answers at will."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from app.audit.service import Actor
from app.catalog.sale import ModelOnSale
from app.catalog.service import put_on_sale
from app.db import Database
from app.fleet.roster import DeploymentSpec
from app.fleet.service import register_deployment, register_provider
from app.fleet.speeds import speed_curve
from app.metering.models import UsageEvent
from app.planning.input_store import set_input
from app.planning.inputs import Revision, Source
from app.planning.priced import PricedModelSpec
from app.planning.priced_store import set_priced_model
from app.planning.resolve import Shipped
from app.planning.service import Opened, Seeding, open_prices
from migrations.tables import all_tables
from pricing.deployments import deployment
from pricing.money import Rate
from pricing.profiles import Basis, Configuration, LengthClass, OperatingPoint, Profile, Provenance
from pricing.usage import Rates
from providers.spec import ProviderKind
from scheduler.fleet import SpeedCurve
from tests.ledger_world import usage_row

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
T0_US = 1_795_478_400_000_000  # 2026-11-24, midnight
START = Actor("system", "goodput up", "goodput up")
ADA = Actor("operator", "op_1", "ada@example.com")
MODEL = "acme/chat"
PROFILED = "acme/lm"
CHAT = LengthClass(1024, 1024)
LOADS = ((1, 5.0, 0.05), (4, 6.0, 0.06), (16, 8.0, 0.1), (64, 14.0, 0.3), (256, 40.0, 0.9))
"""concurrency, TPOT ms, TTFT s."""
CONFIGURATION = Configuration("b200", 2, "trtllm", "fp4", "tp2ep1")
DEPLOYMENT = CONFIGURATION.deployment_id
OFFER = f"cluster/{DEPLOYMENT}"
SPEC = PricedModelSpec(MODEL, PROFILED, lengths=CHAT)


def at(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1e6, UTC)


def point(concurrency: int, tpot_ms: float, ttft_s: float, lengths: LengthClass = CHAT) -> OperatingPoint:
    tpot_s = tpot_ms / 1000
    output_tok_s = concurrency * lengths.osl / (ttft_s + (lengths.osl - 1) * tpot_s)
    return OperatingPoint(
        lengths=lengths,
        concurrency=concurrency,
        ttft_s_p50=ttft_s,
        tpot_s_p50=tpot_s,
        output_tok_s=output_tok_s,
        input_tok_s=output_tok_s * lengths.isl / lengths.osl,
        isl_mean=float(lengths.isl),
        osl_mean=float(lengths.osl),
        provenance=Provenance("a test", Basis.MEASURED, "own measurement"),
        ttft_s_p99=ttft_s * 2,
        tpot_s_p99=tpot_s * 1.2,
        requests=1000,
    )


PROFILE = Profile(PROFILED, CONFIGURATION, tuple(point(*load) for load in LOADS))
SHIPPED = Shipped((PROFILE,), {})
CURVE: SpeedCurve = speed_curve(deployment(PROFILE, CHAT))


@asynccontextmanager
async def opened_database(url: str) -> AsyncGenerator[Database]:
    """A database with every table."""
    database = Database(url)
    async with database.engine.begin() as connection:
        await connection.run_sync(all_tables().create_all)
    yield database
    await database.close()


async def set_up(database: Database, at_us: int = T0_US, spec: PricedModelSpec = SPEC) -> Opened:
    """The model on sale, priced, and its first book published by a start."""
    async with database.writing() as session:
        on_sale = ModelOnSale(spec.public_name, "Chat", 131_072, at_us)
        await put_on_sale(session, on_sale, START, at_us)
    return await start(database, at_us, spec)


async def start(database: Database, at_us: int, spec: PricedModelSpec = SPEC, **market: Any) -> Opened:
    """A start of the market with some settings."""
    defaults = {("market", name): value for name, value in {"utilisation": 0.6, "margin": 0.4, **market}.items()}
    return await open_prices(database, Seeding([spec], defaults, SHIPPED), START, at_us)


async def set_market(database: Database, name: str, value: Any, at_us: int, **changes: Any) -> None:
    """An operator sets an input."""
    wanted = Revision("market", name, value, Source.OPERATOR, at_us, at_us, "", "a test says so", {}, is_pinned=True)
    async with database.writing() as session:
        await set_input(session, replace(wanted, **changes), ADA)


def revision(subject: str, name: str, value: Any, at_us: int = 0, **changes: Any) -> Revision:
    """An operator's own figure."""
    return Revision(subject, name, value, Source.OPERATOR, at_us, at_us, "ada", "", {}, **changes)


async def price(database: Database, spec: PricedModelSpec, at_us: int) -> None:
    async with database.writing() as session:
        await set_priced_model(session, spec, ADA, "a test says so", at_us)


async def deploy(database: Database, at_us: int, **changes: Any) -> None:
    """Registers the measured deployment, as of ``at_us``."""
    wanted = DeploymentSpec(
        provider_id="cluster",
        deployment_id=DEPLOYMENT,
        kind=ProviderKind.GPU_CLUSTER,
        model=MODEL,
        base_url="http://127.0.0.1:9/v1",
        backend_model="lm",
        speed=CURVE,
        concurrency_max=256,
        context_max=131_072,
        cost=Rates(Rate(1), Rate(1), Rate(1), Rate(1)),
    )
    async with database.writing() as session:
        await register_provider(session, changes.get("provider_id", "cluster"), "Cluster", ADA, at_us)
        await register_deployment(session, replace(wanted, **changes), ADA, at_us)


def answer_row(number: int, placed_us: int, **changes: Any) -> UsageEvent:
    """An answer of 1,000 tokens in and 1,001 out, at twice the pace that the curve has for one alone, say."""
    finished_us = placed_us + changes.pop("took_us", 100_000) + changes.pop("streamed_us", 5_000_000)
    tier = changes.pop("tier", "standard")
    tokens = {"input": 1_000, "cached": 0, "cache_write": 0, "output": 1_001}
    values: dict[str, Any] = {
        "model": MODEL,
        "tier_asked": tier,
        "tier_served": tier,
        "provider_id": "cluster",
        "offer_id": OFFER,
        "deployment_id": DEPLOYMENT,
        "is_emulated": False,
        "requested_at_us": placed_us,
        "admitted_at_us": placed_us,
        "placed_at_us": placed_us,
        "first_token_at_us": placed_us + 100_000,
        "finished_at_us": finished_us,
        "tokens_input": 1_000,
        "tokens_output": 1_001,
        "tokens_good": 1_001,
        "lines": [{"tier": changes.pop("met", tier), **tokens, "amount": 60}],
    }
    return UsageEvent(**usage_row(f"gen-{number:09}", **{**values, **changes}).values)


async def deliver(database: Database, rows: Sequence[UsageEvent]) -> None:
    async with database.writing() as session:
        session.add_all(rows)
