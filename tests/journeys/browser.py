"""A real browser for journeys: Chromium, a page that notes everything that should not be, and pictures of it."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.app.console.seeded_market import EMAIL, PASSWORD

AXE = Path(__file__).parents[2] / "node_modules/axe-core/axe.min.js"
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert executable, "no Chromium: run `make browser`, or set CHROMIUM=/path/to/chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@dataclass
class Watched:
    """A page, and everything about it that should not be."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self._said(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.on("response", lambda answer: self._answered(answer.status, answer.url))

    def _said(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"}:
            self.complaints.append(f"{kind}: {text}")

    def _asked(self, url: str) -> None:
        if not url.startswith((self.url, "data:")):
            self.complaints.append(f"external: {url}")

    def _answered(self, status: int, url: str) -> None:
        if status >= 400:
            self.complaints.append(f"{status}: {url}")

    def open(self, path: str) -> Page:
        self.page.goto(f"{self.url}/console{path}")
        if self.page.locator("[data-chart]").count():
            self.page.wait_for_selector("body[data-chart=ready]", timeout=15_000)
        return self.page

    def sign_in(self) -> Page:
        self.open("/login")
        self.page.get_by_label("Email").fill(EMAIL)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.page.get_by_role("heading", level=1)).to_have_text("Overview")
        return self.page

    def faults(self) -> list[str]:
        """What axe finds wrong with the page for people who use it otherwise than with eyes and mouse."""
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("axe.run().then(run => run.violations)")
        return [f"{each['id']}: {[node['html'][:160] for node in each['nodes']][:3]}" for each in found]


def shoot(page: Page, name: str, folder: Path) -> None:
    """Keeps a picture where a person can look at it."""
    target = Path(os.environ.get("CONSOLE_SCREENSHOTS", folder))
    target.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=target / f"{name}.png", full_page=True)
