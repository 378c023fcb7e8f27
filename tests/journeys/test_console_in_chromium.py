"""The console in a real browser: it works, it keeps to itself, everyone can use it, and it looks right at any width."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx  # what the test client of handlers is made of, too
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.app.console.seeded_market import EMAIL, HOSTILE, PASSWORD
from tests.journeys import browser
from tests.journeys.browser import Watched, shoot

pytestmark = [pytest.mark.slow, pytest.mark.browser]

ROOT = Path(__file__).parents[2]
PAGES = ("", "/providers", "/requests", "/frontier", "/prices", "/customers", "/ledger", "/audit")
START_S_MAX = 60.0
chromium = browser.chromium


@dataclass(frozen=True)
class Served:
    """A console that is up, with a market of invented history behind it."""

    url: str
    admin_token: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("console")
    command = [sys.executable, "-m", "tests.app.console.seeded_market", str(folder)]
    log = (folder / "log").open("w")
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    try:
        ready = process.stdout.readline()
        assert ready, f"the console did not start: {(folder / 'log').read_text()[-2000:]}"
        served = Served(**json.loads(ready))
        _wait_until_up(served.url, folder)
        yield served
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def _wait_until_up(url: str, folder: Path) -> None:
    until = time.monotonic() + START_S_MAX
    while time.monotonic() < until:
        try:
            httpx.get(f"{url}/console/login", timeout=2)
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"the console did not answer: {(folder / 'log').read_text()[-2000:]}")


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    yield context
    context.close()


@pytest.fixture
def watched(context: BrowserContext, served: Served) -> Watched:
    return Watched(context.new_page(), served.url)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_usable_by_everyone_and_keeps_to_itself(
    chromium: Browser, served: Served, scheme: str, tmp_path: Path
) -> None:
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme)  # pyright: ignore[reportArgumentType] (one of its words)
    watched = Watched(context.new_page(), served.url)
    watched.open("/login")
    assert watched.faults() == []
    watched.sign_in()
    faults: dict[str, list[str]] = {}
    for path in PAGES:
        page = watched.open(path)
        shoot(page, f"{path.strip('/') or 'overview'}-{scheme}", tmp_path)
        if found := watched.faults():
            faults[path] = found
    receipt = page_of_first_receipt(watched)
    shoot(receipt, f"receipt-{scheme}", tmp_path)
    if found := watched.faults():
        faults["receipt"] = found
    assert faults == {}
    assert watched.complaints == []
    context.close()


def page_of_first_receipt(watched: Watched) -> Page:
    page = watched.open("/requests?outcome=late")
    page.locator("tbody a.mono").first.click()
    page.wait_for_selector("body[data-chart=ready]")
    return page


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 800), ("light", 390)])
def test_pages_about_a_draft_are_usable_by_everyone_at_any_width(
    chromium: Browser, served: Served, scheme: str, width: int, tmp_path: Path
) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # pyright: ignore[reportArgumentType] (one of its words)
    watched = Watched(context.new_page(), served.url)
    draft = f"/prices/drafts/{_tell(served, '/admin/price-drafts', {'title': HOSTILE})['id']}"
    watched.sign_in()
    page = watched.open(draft)
    page.get_by_label("Output of standard").fill("0.3")
    page.get_by_label("Cached of bulk").fill("7")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#f-bulk-cached-was")).to_contain_text("must be below")
    faults: dict[str, list[str]] = {}
    for path in (draft, f"{draft}/diff", f"{draft}/discard"):
        page = watched.open(path)
        shoot(page, f"draft{path.removeprefix(draft).replace('/', '-')}-{scheme}-{width}", tmp_path)
        wide = page.evaluate("document.scrollingElement.scrollWidth - window.innerWidth")
        if found := [*watched.faults(), *([f"{wide} px too wide"] if wide > 0 else [])]:
            faults[path] = found
    assert faults == {}
    assert watched.complaints == []
    context.close()


@pytest.mark.parametrize("width", [1280, 800, 400])
def test_no_page_is_wider_than_its_window(chromium: Browser, served: Served, width: int, tmp_path: Path) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 900})
    watched = Watched(context.new_page(), served.url)
    watched.sign_in()
    wide: dict[str, int] = {}
    for path in (*PAGES, "/providers/cluster-b200/drain"):
        page = watched.open(path)
        shoot(page, f"{path.strip('/').replace('/', '-') or 'overview'}-{width}", tmp_path)
        overflow = page.evaluate("document.scrollingElement.scrollWidth - window.innerWidth")
        if overflow > 0:
            wide[path] = overflow
    assert wide == {}
    context.close()


def test_the_overview_follows_the_market_without_a_reload(watched: Watched, served: Served) -> None:
    page = watched.sign_in()
    panel = page.locator("#strip-cluster-h100")
    expect(panel).to_contain_text("Healthy")
    _tell(served, "/admin/providers/cluster-h100/drain", {"reason": "seen without a reload"})
    expect(panel).to_contain_text("Draining", timeout=15_000)
    expect(page.locator("#live-words")).to_contain_text("Live, as of")
    _tell(served, "/admin/providers/cluster-h100/enable", {"reason": "back"})
    expect(panel).to_contain_text("Healthy", timeout=15_000)
    series = page.evaluate("echarts.getInstanceByDom(document.getElementById('minutes')).getOption().series")
    assert [each["name"] for each in series] == ["good", "late"]
    assert len(series[0]["data"]) == 60
    assert watched.complaints == []


def _tell(served: Served, path: str, body: dict[str, str]) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {served.admin_token}"}
    answer = httpx.post(f"{served.url}{path}", json=body, headers=headers, timeout=10)
    return answer.raise_for_status().json()


def test_a_stream_whose_session_ended_elsewhere_says_so(watched: Watched, context: BrowserContext) -> None:
    page = watched.sign_in()
    expect(page.locator("#live-words")).to_contain_text("Live, as of", timeout=15_000)
    other = context.new_page()
    other.goto(f"{watched.url}/console/audit")
    other.get_by_role("button", name="Sign out").click()
    expect(other.get_by_role("heading", level=1)).to_have_text("Sign in")
    expect(page.locator("#live-words")).to_have_text("Session ended: reload to sign in", timeout=15_000)


def test_a_provider_is_drained_by_keyboard_with_its_consequences_read_first(watched: Watched) -> None:
    watched.sign_in()
    page = watched.open("/providers")
    page.locator("#wafer-1").get_by_role("link", name="Drain…").press("Enter")
    expect(page.get_by_text("2 in-flight requests will finish; no new work goes there.")).to_be_visible()
    expect(page.get_by_label("Reason, for the audit log")).to_be_focused()
    page.keyboard.type("keyboards work")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="Draining: running requests finish")).to_be_visible()
    expect(page.locator("#wafer-1")).to_contain_text("Draining")
    page.goto(f"{watched.url}/console/audit")
    expect(page.get_by_text("keyboards work")).to_be_visible()
    assert watched.complaints == []


def test_the_frontier_labels_the_tiers_on_sale_and_pins_where_a_point_comes_from(watched: Watched) -> None:
    watched.sign_in()
    for axis, unit in (("tok/s / MW", "tok/s per MW"), ("$ / Mtok", "$ per Mtok"), ("tokens / $", "tokens per $")):
        page = watched.open("/frontier")
        page.get_by_role("link", name=axis).click()
        page.wait_for_selector("body[data-chart=ready]")
        option = page.evaluate("echarts.getInstanceByDom(document.getElementById('frontier')).getOption()")
        assert option["yAxis"][0]["name"].startswith(unit)
        tiers = option["series"][-1]["data"]
        assert [point["label"]["formatter"] for point in tiers] == ["premium", "standard", "bulk"]
    pixel = page.evaluate(
        "(() => { const chart = echarts.getInstanceByDom(document.getElementById('frontier'));"
        "const point = chart.getOption().series.at(-1).data[1].value.slice(0, 2);"
        "const box = document.getElementById('frontier').getBoundingClientRect();"
        "const at = chart.convertToPixel({seriesIndex: chart.getOption().series.length - 1}, point);"
        "return [box.x + at[0], box.y + at[1]]; })()"
    )
    page.mouse.click(*pixel)
    expect(page.locator("#pinned")).to_contain_text("64 at once")
    expect(page.locator("#pinned")).to_contain_text("measured, 2026-01-07")
    page.get_by_text("The frontier's 18 points and where they come from").click()
    expect(page.get_by_role("region", name="The frontier's points")).to_be_visible()
    assert watched.complaints == []


def test_a_point_of_the_frontier_becomes_a_tiers_promise_in_a_draft(watched: Watched) -> None:
    watched.sign_in()
    page = watched.open("/frontier")
    expect(page.locator("#use-point")).to_be_hidden()
    pixel = page.evaluate(
        "(() => { const chart = echarts.getInstanceByDom(document.getElementById('frontier'));"
        "const index = chart.getOption().series.findIndex((each) => each.name === 'Frontier');"
        "const point = chart.getOption().series[index].data[2].slice(0, 2);"
        "const box = document.getElementById('frontier').getBoundingClientRect();"
        "const at = chart.convertToPixel({seriesIndex: index}, point);"
        "return [box.x + at[0], box.y + at[1]]; })()"
    )
    page.mouse.click(*pixel)
    measured = page.locator("#pinned").inner_text().splitlines()
    page.get_by_role("link", name="Use this point as a promise").click()
    expect(page.get_by_text(measured[1])).to_be_visible()
    assert watched.faults() == []
    page.get_by_role("radio", name="standard").check()
    page.get_by_role("button", name="Open a draft with this promise").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("standard: a promise from the frontier")
    expect(page.locator("fieldset.price-standard")).to_contain_text(measured[0])
    expect(page.locator("#f-standard-ttft-was")).to_contain_text("was 3.8 s")
    assert watched.complaints == []


def test_a_name_that_tries_to_be_markup_runs_nowhere(watched: Watched) -> None:
    watched.sign_in()
    page = watched.open("/customers")
    page.get_by_role("link", name=HOSTILE).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    assert page.title() == f"{HOSTILE} · Goodput"
    page.get_by_label("New key's label").fill(HOSTILE)
    page.get_by_role("button", name="Create key").click()
    expect(page.locator("#secret")).to_contain_text("gp-")
    assert page.evaluate("document.querySelectorAll('main img').length") == 0
    assert watched.complaints == []


def test_the_pages_are_readable_without_any_script(chromium: Browser, served: Served) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{served.url}/console/login")
    page.get_by_label("Email").fill(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("Revenue today")).to_be_visible()
    page.get_by_role("link", name="Price book").first.click()
    expect(page.get_by_text("Whole answer in 15 min")).to_be_visible()
    context.close()


def test_the_theme_button_goes_through_light_and_dark_and_is_remembered(watched: Watched) -> None:
    page = watched.sign_in()
    colours: list[str] = []
    for _ in range(3):
        page.get_by_role("button", name="Theme:").click()
        page.wait_for_load_state()
        colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert colours[0] != colours[1]
    assert page.evaluate("document.documentElement.dataset.theme") == "system"
