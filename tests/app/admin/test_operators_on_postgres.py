"""What operators see and do is the same on PostgreSQL as on SQLite, from the same trade."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from litestar import Litestar

from app.admin import repository
from app.admin.routes import admin_routes
from app.console.assets import STATIC, load_assets
from app.console.routes import router
from app.console.site import Site
from app.identity.roles import Role
from tests.app.console.market_fixtures import BASE_URL, NOON_US, Market, event, put
from tests.app.console.seeded_market import add_operator, make_desk, open_market, with_a_history

pytest_plugins = ("tests.postgres",)
pytestmark = [pytest.mark.slow, pytest.mark.postgres]


@pytest.fixture
async def postgres_market(postgres_url: str, vendor: Path, tmp_path: Path) -> AsyncIterator[Market]:
    desk, writer = make_desk(tmp_path, postgres_url)
    ticks = itertools.count(NOON_US)
    desk.now_us = lambda: next(ticks)
    await open_market(desk, writer)
    token = await add_operator(desk, "robot@example.com", Role.ADMIN)
    await with_a_history(desk, sales=70)
    site = Site(desk, load_assets(STATIC, vendor))
    app = Litestar(route_handlers=[router(site), *admin_routes(desk)])
    transport = httpx.ASGITransport(cast("Any", app), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=BASE_URL, follow_redirects=True) as client:
        yield Market(desk, client, {Role.ADMIN: token})
    await writer.close()
    await desk.database.close()


async def test_the_same_trade_gives_the_same_figures_on_both_databases(postgres_market: Market, market: Market) -> None:
    figures: list[dict[str, Any]] = []
    for each in (postgres_market, market):
        await put(each.desk, event("gen-huge", NOON_US, net=4 * 10**18, gross=4 * 10**18, held=4 * 10**18,
                                   quote_ceiling=4 * 10**18))  # fmt: skip
        async with each.desk.database.snapshot() as session:
            found = asdict(await repository.day_figures(session, NOON_US))
            found["balance"] = asdict(await repository.trial_balance(session))
            found["answers"] = len(await repository.recent_answers(session, NOON_US))
            figures.append(found)
    assert figures[0] == figures[1]


@pytest.mark.usefixtures("vendor")
async def test_every_page_and_every_read_of_the_api_works_on_postgresql(postgres_market: Market) -> None:
    market = postgres_market
    await market.sign_in()
    for path in ("", "/providers", "/requests", "/frontier", "/prices", "/customers", "/ledger", "/audit"):
        await market.page(f"/console{path}")
    seen: list[str] = []
    after = ""
    for _ in range(3):
        page = await market.ask("/admin/requests", after=after, limit=30)
        seen += [row["id"] for row in page["data"]]
        after = page["next"] or ""
    assert len(set(seen)) == len(seen) == 70
    for path in ("overview", "providers", "customers", "prices", "ledger/balance", "ledger/transactions", "audit"):
        assert await market.ask(f"/admin/{path}")
    for outcome in repository.OUTCOMES:
        await market.page(f"/console/requests?outcome={outcome}&tier=premium")


async def test_changes_sign_ins_and_throttling_work_on_postgresql(postgres_market: Market) -> None:
    market = postgres_market
    for _ in range(5):
        assert (await market.sign_in(password="wrong")).status_code == 401
    assert (await market.sign_in()).status_code == 429
    made = await market.tell("/admin/customers", {"name": "Acme"}, status=201)
    key = await market.tell(f"/admin/customers/{made['id']}/keys", {"label": "ci"}, status=201)
    caller = await market.desk.authenticator.authenticate(f"Bearer {key['secret']}")
    assert caller.customer_id == made["id"]
    assert await market.desk.authenticator.write_uses() >= 1
    credit = {"amount_usd": "1.5", "reason": "goodwill", "idempotency_key": "k"}
    await market.tell(f"/admin/customers/{made['id']}/credits", credit, status=201)
    await market.tell("/admin/providers/cluster-b200/drain", {"reason": "firmware"})
    actions = [row["action"] for row in (await market.ask("/admin/audit", limit=4))["data"]]
    assert actions == ["provider.drained", "credit.granted", "key.created", "customer.created"]
