import asyncio
import gzip
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar

from app.admin.desk import Desk
from app.console import operate_pages, routes
from app.console.assets import LIBRARIES, OWN, STATIC, AssetsMissing, load_assets
from app.console.fresh import Fresh
from tests.app.console.market_fixtures import NOON_US, Market, Stage, event, put
from tests.app.console.seeded_market import make_desk

US = 1_000_000


async def test_files_are_served_for_ever_under_the_hash_of_their_content(empty_market: Market, stage: Stage) -> None:
    for name, asset in stage.site.assets.by_name.items():
        answer = await empty_market.client.get(asset.address, headers={"accept-encoding": "gzip"})
        assert (answer.status_code, answer.content) == (200, asset.content), name
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"
    plain = await empty_market.client.get(
        stage.site.assets.address("console.css"), headers={"accept-encoding": "identity"}
    )
    assert "content-encoding" not in plain.headers
    assert b"asset:" not in plain.content


@pytest.mark.parametrize(
    "path", ["0000000000000000/console.css", "x/../../routes.py", "x/%2e%2e%2froutes.py", "vendor/htmx.min.js"]
)
async def test_nothing_else_is_served(empty_market: Market, path: str) -> None:
    answer = await empty_market.client.get(f"/console/static/{path}", follow_redirects=False)
    assert answer.status_code in {303, 404}


def test_a_changed_file_gets_another_address(vendor: Path, tmp_path: Path) -> None:
    for name in OWN:
        (tmp_path / name).write_bytes((STATIC / name).read_bytes())
    before = load_assets(tmp_path, vendor)
    (tmp_path / "console.js").write_text("changed")
    after = load_assets(tmp_path, vendor)
    assert before.address("console.js") != after.address("console.js")
    assert before.address("charts.js") == after.address("charts.js")
    changed = after.by_name["console.js"]
    assert changed.zipped is not None
    assert gzip.decompress(changed.zipped) == b"changed"
    assert after.find(before.by_name["console.js"].digest, "console.js") is None


def test_missing_libraries_are_named_with_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(AssetsMissing, match=r"htmx\.min\.js.*make assets"):
        load_assets(STATIC, tmp_path)


async def test_without_its_libraries_the_console_says_so_and_nothing_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise AssetsMissing([tmp_path / name for name in LIBRARIES])

    monkeypatch.setattr(routes, "load_assets", missing)
    desk, _ = make_desk(tmp_path)
    import httpx  # noqa: PLC0415 (what the test client is made of)

    transport: Any = httpx.ASGITransport(Litestar(route_handlers=routes.console_routes(desk)))  # pyright: ignore[reportArgumentType] (an ASGI app)
    async with httpx.AsyncClient(transport=transport, base_url="http://console.test") as client:
        for path in ("/console", "/console/requests/x"):
            answer = await client.get(path)
            assert answer.status_code == 503
            assert "make assets" in answer.text


class Listener:
    """A browser that reads a live stream, driven by hand."""

    def __init__(self, app: Litestar, cookie: str) -> None:
        self.status = 0
        self.text = ""
        self.has_left = asyncio.Event()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/console/overview/stream",
            "raw_path": b"/console/overview/stream",
            "root_path": "",
            "query_string": b"",
            "headers": [(b"cookie", f"goodput_session={cookie}".encode()), (b"accept", b"text/event-stream")],
            "client": ("192.0.2.1", 1),
            "server": ("console.test", 80),
            "state": {},
        }
        self.task = asyncio.ensure_future(app(scope, self._receive, self._send))  # pyright: ignore[reportArgumentType]
        self._has_asked = False

    async def _receive(self) -> dict[str, Any]:
        if not self._has_asked:
            self._has_asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.has_left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.text += message.get("body", b"").decode()
            if not message.get("more_body", False):
                self.has_left.set()  # a server tells so once the answer is complete

    async def until(self, words: str) -> None:
        for _ in range(200):
            if words in self.text:
                return
            await asyncio.sleep(0.02)
        pytest.fail(f"{words!r} did not come: {self.text[-500:]}")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operate_pages, "REFRESH_US", 60_000)
    monkeypatch.setattr(operate_pages, "STEP_S", 0.02)


async def _listener(market: Market, stage: Stage) -> Listener:
    await market.sign_in()
    return Listener(stage.app, market.client.cookies["goodput_session"])


@pytest.mark.usefixtures("quick")
async def test_a_live_page_gets_its_parts_and_what_happens_meanwhile(empty_market: Market, stage: Stage) -> None:
    listener = await _listener(empty_market, stage)
    for name in ("figures", "attainment", "providers", "recent"):
        await listener.until(f"event: {name}")
    assert listener.status == 200
    assert listener.headers["content-type"].startswith("text/event-stream")
    assert "gen-sold" not in listener.text
    await put(empty_market.desk, event("gen-sold", NOON_US))
    stage.site.standing.forget()
    await listener.until("gen-sold")
    listener.has_left.set()
    await asyncio.wait_for(listener.task, 5)
    assert stage.site.streams == 0


@pytest.mark.usefixtures("quick")
async def test_a_live_page_ends_with_its_session_and_says_so(empty_market: Market, stage: Stage) -> None:
    listener = await _listener(empty_market, stage)
    await listener.until("event: recent")
    await empty_market.send("/console/logout")
    await listener.until("event: ended")
    await asyncio.wait_for(listener.task, 5)


@pytest.mark.usefixtures("quick")
async def test_a_live_page_ends_when_the_market_closes(empty_market: Market, stage: Stage) -> None:
    listener = await _listener(empty_market, stage)
    await listener.until("event: recent")
    stage.desk.is_closing = lambda: True
    await asyncio.wait_for(listener.task, 5)


@pytest.mark.usefixtures("quick")
async def test_more_live_pages_than_the_maximum_are_refused(
    empty_market: Market, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operate_pages, "STREAMS_MAX", 1)
    first = await _listener(empty_market, stage)
    await first.until("event: figures")
    second = Listener(stage.app, empty_market.client.cookies["goodput_session"])
    await asyncio.wait_for(second.task, 5)
    assert second.status == 503
    first.has_left.set()
    await asyncio.wait_for(first.task, 5)


class Reading:
    """Something slow to read, that counts."""

    def __init__(self, took_us: int) -> None:
        self.now_us = 0
        self.reads = 0
        self.took_us = took_us

    async def __call__(self) -> int:
        self.reads += 1
        await asyncio.sleep(0)
        self.now_us += self.took_us
        return self.reads


async def test_a_value_is_read_once_for_all_who_ask_at_once_and_again_when_it_is_old() -> None:
    reading = Reading(took_us=0)
    fresh = Fresh(reading, every_us=2 * US, monotonic_us=lambda: reading.now_us)
    assert await asyncio.gather(*(fresh.get() for _ in range(20))) == [1] * 20
    reading.now_us = 2 * US - 1
    assert await fresh.get() == 1
    reading.now_us = 2 * US
    assert await fresh.get() == 2
    fresh.forget()
    assert await fresh.get() == 3


async def test_looking_takes_at_most_a_tenth_of_the_time_however_slow_a_read_is() -> None:
    reading = Reading(took_us=3 * US)
    fresh = Fresh(reading, every_us=2 * US, monotonic_us=lambda: reading.now_us)
    await fresh.get()
    reading.now_us = 30 * US - 1
    assert await fresh.get() == 1
    reading.now_us = 30 * US
    assert await fresh.get() == 2


async def test_whoever_gives_up_waiting_leaves_the_read_to_the_next() -> None:
    reading = Reading(took_us=0)
    fresh = Fresh(reading, every_us=US, monotonic_us=lambda: reading.now_us)
    first, second = asyncio.ensure_future(fresh.get()), asyncio.ensure_future(fresh.get())
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 2
    assert isinstance(first, asyncio.Future)


def test_a_desk_is_open_until_it_is_closed(tmp_path: Path) -> None:
    desk: Desk
    desk, _ = make_desk(tmp_path)
    assert not desk.is_closing()
