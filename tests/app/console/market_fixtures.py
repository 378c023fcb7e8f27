"""Fixtures over a real market on SQLite: prepared once per run, copied per test."""

import asyncio
import itertools
import re
import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import httpx  # what Litestar's own test client is made of
import pytest
from litestar import Litestar

from app.admin.desk import Desk
from app.admin.routes import admin_routes
from app.catalog.book_cache import BookShelf
from app.console.assets import LIBRARIES, STATIC, load_assets
from app.console.routes import router
from app.console.site import Site
from app.identity.roles import Role
from app.metering.models import UsageEvent
from tests.app.console.seeded_market import (
    EMAIL,
    PASSWORD,
    StillFleet,
    add_operator,
    make_desk,
    open_market,
    with_a_history,
)

BASE_URL = "http://console.test"
NOON_US = 1_795_521_600_000_000
"""2026-11-24 12:00 UTC."""

EMAILS = {role: f"{role.value}@example.com" for role in Role}


@dataclass
class Market:
    """A market under test: its rooms, and a browser that is not signed in."""

    desk: Desk
    client: httpx.AsyncClient
    tokens: Mapping[Role, str]

    async def sign_in(self, email: str = EMAIL, password: str = PASSWORD) -> httpx.Response:
        page = await self.client.get("/console/login")
        form = {"csrf": csrf_of(page.text), "email": email, "password": password, "next": "/console"}
        return await self.client.post("/console/login", data=form, follow_redirects=False)

    async def page(self, path: str) -> str:
        answer = await self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def send(self, path: str, **fields: str) -> httpx.Response:
        """Sends a form as a page of this session would."""
        csrf = csrf_of((await self.client.get("/console/customers")).text)
        return await self.client.post(path, data={"csrf": csrf, **fields}, follow_redirects=False)

    def bearer(self, role: Role = Role.ADMIN) -> dict[str, str]:
        return {"authorization": f"Bearer {self.tokens[role]}"}

    async def ask(self, path: str, role: Role = Role.ADMIN, status: int = 200, **query: Any) -> dict[str, Any]:
        answer = await self.client.get(path, headers=self.bearer(role), params=query)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def tell(self, path: str, body: object, role: Role = Role.ADMIN, status: int = 200) -> dict[str, Any]:
        answer = await self.client.post(path, headers=self.bearer(role), json=body)
        assert answer.status_code == status, answer.text
        return answer.json()


def csrf_of(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found is not None, page[:500]
    return found.group(1)


@dataclass(frozen=True)
class Template:
    """A market's data, made once."""

    folder: Path
    tokens: Mapping[Role, str]
    fleet: StillFleet


async def _made(folder: Path, *, has_history: bool) -> Template:
    desk, writer = make_desk(folder)
    desk.now_us = lambda: NOON_US
    await open_market(desk, writer)
    tokens = {role: await add_operator(desk, EMAILS[role], role) for role in Role}
    if has_history:
        await with_a_history(desk, sales=70)
    await writer.close()
    await desk.database.close()
    fleet = desk.live_fleet
    assert isinstance(fleet, StillFleet)
    return Template(folder, tokens, fleet)


@pytest.fixture(scope="session")
def empty_template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return asyncio.run(_made(tmp_path_factory.mktemp("empty_market"), has_history=False))


@pytest.fixture(scope="session")
def busy_template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return asyncio.run(_made(tmp_path_factory.mktemp("busy_market"), has_history=True))


@pytest.fixture(scope="session")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stand-ins for the front-end libraries, so that handlers can be tested before `make assets` ran."""
    folder = tmp_path_factory.mktemp("vendor")
    for name in LIBRARIES:
        (folder / name).write_bytes(f"/* {name} */".encode())
    return folder


@dataclass(frozen=True)
class Stage:
    """One application for all tests; each test puts its own market under it."""

    desk: Desk
    site: Site
    app: Litestar

    def play(self, desk: Desk) -> None:
        for part in fields(Desk):
            setattr(self.desk, part.name, getattr(desk, part.name))
        self.site.standing.forget()
        self.site.panels.forget()
        self.site.streams = 0


@pytest.fixture(scope="session")
def stage(vendor: Path, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    desk, _ = make_desk(tmp_path_factory.mktemp("stage"))
    site = Site(desk, load_assets(STATIC, vendor))
    return Stage(desk, site, Litestar(route_handlers=[router(site), *admin_routes(desk)]))


@pytest.fixture
async def empty_market(empty_template: Template, stage: Stage, tmp_path: Path) -> AsyncIterator[Market]:
    async for market in _opened(empty_template, stage, tmp_path):
        yield market


@pytest.fixture
async def market(busy_template: Template, stage: Stage, tmp_path: Path) -> AsyncIterator[Market]:
    async for market in _opened(busy_template, stage, tmp_path):
        yield market


async def _opened(template: Template, stage: Stage, folder: Path) -> AsyncIterator[Market]:
    shutil.copytree(template.folder, folder, dirs_exist_ok=True)
    desk, writer = make_desk(folder)
    ticks = itertools.count(NOON_US)
    desk.now_us = lambda: next(ticks)
    desk.live_fleet = replace(template.fleet)
    shelf = desk.shelf
    assert isinstance(shelf, BookShelf)
    await shelf.refresh()
    stage.play(desk)
    transport = httpx.ASGITransport(cast("Any", stage.app), raise_app_exceptions=False)
    async with writer, httpx.AsyncClient(transport=transport, base_url=BASE_URL, follow_redirects=True) as client:
        yield Market(stage.desk, client, template.tokens)
    await desk.database.close()


def event(request_id: str, finished_at_us: int, **fields_set: Any) -> UsageEvent:
    """A usage event of round numbers: 100 tokens, all good, $0.10 charged, $0.04 of cost."""
    values: dict[str, Any] = {
        "request_id": request_id,
        "customer_id": "cus_1",
        "key_id": "key_1",
        "model": "m",
        "tier_asked": "standard",
        "tier_served": "standard",
        "provider_id": "p",
        "offer_id": "p/d",
        "deployment_id": "d",
        "price_book_id": "pb-1",
        "requested_at_us": finished_at_us - 2_000_000,
        "admitted_at_us": finished_at_us - 1_990_000,
        "placed_at_us": finished_at_us - 1_980_000,
        "first_token_at_us": finished_at_us - 1_500_000,
        "finished_at_us": finished_at_us,
        "is_streamed": True,
        "ending": "stop",
        "finish_reason": "stop",
        "tokens_input": 50,
        "tokens_output": 100,
        "tokens_good": 100,
        "is_attained": True,
        "lines": [
            {"tier": "standard", "input": 50, "cached": 0, "cache_write": 0, "output": 100, "amount": 100_000_000}
        ],
        "gross": 100_000_000,
        "adjustment": 0,
        "net": 100_000_000,
        "cost": 40_000_000,
        "quote_ceiling": 500_000_000,
        "held": 500_000_000,
        **fields_set,
    }
    return UsageEvent(**values)


async def put(desk: Desk, *rows: object) -> None:
    """Writes rows as they are."""
    async with desk.database.writing() as session:
        session.add_all(rows)
