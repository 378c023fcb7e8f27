"""A price and a promise changed wholly in the browser, on a running market: draft, diff, publish, quote, rollback."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from playwright.sync_api import Browser, Locator, Page, expect

from app import clock
from app.identity.passwords import Passwords
from app.identity.roles import Role
from app.identity.service import create_operator
from tests.app.console.seeded_market import EMAIL, PASSWORD
from tests.journeys import browser
from tests.journeys.browser import Watched, shoot
from tests.journeys.stage import MODEL, Stage, opened

pytestmark = [pytest.mark.slow, pytest.mark.browser]

chromium = browser.chromium
CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
BOOK_ID = re.compile(r"pb-[0-9]{8}T[0-9]{6}-[0-9a-f]{8}")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with opened(tmp_path_factory.mktemp("prices"), redis_url="memory://") as stage:
        stage.run(_add_operator(stage))
        yield stage


async def _add_operator(stage: Stage) -> None:
    async with stage.assembly.market.database.writing() as session:
        await create_operator(session, EMAIL, Passwords(CHEAP).hash(PASSWORD), Role.OPERATOR, clock.now_us())


@pytest.fixture
def watched(running: Stage, chromium: Browser) -> Iterator[Watched]:
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light")
    yield Watched(context.new_page(), running.url)
    context.close()


def quoted(stage: Stage, **more: Any) -> dict[str, Any]:
    """What the API says that 1,000 tokens in and at most 500 out cost at standard."""
    return stage.post("/v1/quotes", {"model": MODEL, "input_tokens": 1_000, "max_tokens": 500, **more})


def answer(stage: Stage, quote_id: str) -> str:
    """One request under a quote; the id of its receipt."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
    with stage.http() as client:
        sent = client.post("/v1/chat/completions", json=body, headers={"x-quote-id": quote_id})
        return sent.raise_for_status().headers["x-generation-id"]


def live_book(page: Page, watched: Watched) -> str:
    watched.open("/prices")
    found = BOOK_ID.search(page.locator("dl.facts").inner_text())
    assert found is not None
    return found.group()


def test_one_tier_is_repriced_and_repromised_and_taken_back_wholly_in_the_browser(
    watched: Watched, running: Stage, tmp_path: Path
) -> None:
    before = quoted(running)
    assert before["ceiling_usd"] == "0.003"  # 1,000 x $1 + 500 x $4 per million
    answer(running, before["id"])  # traffic that the review can be shown on: 10 tokens in, 5 out
    page = watched.sign_in()
    first = live_book(page, watched)
    assert before["price_book"]["id"] == first

    draft_of_standard(page, watched, tmp_path)
    review_and_publish(page, watched, tmp_path)
    second = live_book(page, watched)
    assert second != first
    new_price_is_seen(page, watched, running, second)
    old_quote_is_honoured(running, before, first)

    roll_back(page, watched, first, tmp_path)
    third = live_book(page, watched)
    assert third not in {first, second}
    after = quoted(running)
    assert (after["price_book"]["id"], after["ceiling_usd"]) == (third, "0.003")
    assert after["slo"] == {"ttft_ms": 2000.0, "tpot_ms": 100.0}
    audit_tells_it_all(page, watched, second, third, tmp_path)
    assert watched.complaints == []


def cells(table: Locator, row: str) -> list[str]:
    """What one row of a table says, cell by cell."""
    found = table.get_by_role("row", name=row)
    expect(found).to_be_visible()
    return [text.strip() for text in found.locator("td").all_inner_texts()]


def draft_of_standard(page: Page, watched: Watched, folder: Path) -> None:
    """Standard's output from $4 to $5, and a token every 50 ms in place of 100."""
    page.get_by_label("Title of the new draft").fill("A faster standard")
    page.get_by_role("button", name="New draft from live").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("A faster standard")
    expect(page.get_by_role("status")).to_contain_text("Draft made")
    output = page.get_by_label("Output of standard")
    output.fill("5")
    expect(page.locator("#f-standard-output-was")).to_contain_text("+25.0 %")
    pace = page.get_by_label("Then a token every of standard")
    pace.fill("50 ms")
    expect(page.locator("#f-standard-tpot-was")).to_contain_text("20 tok/s/user")
    page.get_by_label("Output of bulk").fill("9")
    page.get_by_role("button", name=f"Save {MODEL}").click()
    expect(page.locator("#f-bulk-output-was")).to_contain_text("must be below standard's 5.00")
    assert watched.faults() == []
    shoot(page, "draft-inverted", folder)
    page.get_by_label("Output of bulk").fill("2")
    page.get_by_role("button", name=f"Save {MODEL}").press("Enter")
    expect(page.get_by_text("cannot be published")).to_have_count(0)
    expect(page.locator("#f-standard-output-was")).to_contain_text("was 4.00")
    shoot(page, "draft-saved", folder)


def review_and_publish(page: Page, watched: Watched, folder: Path) -> None:
    page.get_by_role("link", name="Review and publish").click()
    card = page.get_by_role("region", name=f"{MODEL} standard")
    assert cells(card, "Output")[1:4] == ["$4.00", "$5.00", "+25.0 %"]
    assert cells(card, "Then a token every")[1:4] == ["100 ms", "50 ms", "−50.0 %"]
    expect(page.get_by_role("region", name=f"{MODEL} bulk")).to_have_count(0)
    impact = page.get_by_role("region", name="Margin impact by model and tier")
    assert cells(impact, "standard")[2:5] == ["1", "$0.00003", "$0.000035"]  # 10 x $1 + 5 x $4, or x $5, per million
    assert watched.faults() == []
    shoot(page, "draft-diff", folder)
    page.get_by_label("Reason, for the book and the audit log").fill("standard is worth more when it is faster")
    page.get_by_label("Type publish to confirm").fill("publish")
    page.get_by_role("button", name="Publish 1 changed card").click()
    expect(page.get_by_role("status").filter(has_text="Published")).to_be_visible()


def new_price_is_seen(page: Page, watched: Watched, running: Stage, book_id: str) -> None:
    page.get_by_label("Input tokens").fill("1000")
    page.get_by_label("Output tokens, at most").fill("500")
    page.get_by_role("button", name="Calculate").click()
    result = page.locator(f"#calculator [data-book='{book_id}']")
    expect(result).to_contain_text("$0.0035")  # 1,000 x $1 + 500 x $5 per million
    quote = quoted(running)
    assert (quote["price_book"]["id"], quote["ceiling_usd"]) == (book_id, "0.0035")
    assert quote["slo"] == {"ttft_ms": 2000.0, "tpot_ms": 50.0}
    assert quoted(running, service_tier="flex")["ceiling_usd"] == "0.0015"  # bulk stays: 1,000 x $0.50 + 500 x $2
    assert watched.faults() == []


def old_quote_is_honoured(running: Stage, quote: dict[str, Any], book_id: str) -> None:
    receipt = running.receipt(answer(running, quote["id"]))
    assert receipt["price_book"]["id"] == book_id


def roll_back(page: Page, watched: Watched, book_id: str, folder: Path) -> None:
    watched.open("/prices")
    page.get_by_role("link", name=f"Roll back… to {book_id}").press("Enter")
    assert cells(page.get_by_role("region", name="What it changes"), "Output")[3:] == ["$5.00", "$4.00", "−20.0 %"]
    expect(page.get_by_label("Reason, for the audit log")).to_be_focused()
    assert watched.faults() == []
    shoot(page, "rollback", folder)
    page.keyboard.type("customers complained")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="Rolled back")).to_be_visible()


def audit_tells_it_all(page: Page, watched: Watched, second: str, third: str, folder: Path) -> None:
    watched.open("/audit")
    log = page.get_by_role("region", name="Audit records")
    for action, words in {
        "price_draft.opened": EMAIL,
        "price_draft.edited": "5.00",
        "price_book.published": second,
    }.items():
        expect(log.get_by_role("row").filter(has_text=action).filter(has_text=words).first).to_be_visible()
    rolled = log.get_by_role("row").filter(has_text=third).filter(has_text="customers complained")
    expect(rolled.first).to_be_visible()
    shoot(page, "audit-of-prices", folder)


def test_a_book_is_scheduled_counts_down_and_is_withdrawn_in_the_browser(
    watched: Watched, running: Stage, tmp_path: Path
) -> None:
    page = watched.sign_in()
    live = live_book(page, watched)
    page.get_by_role("button", name="New draft from live").click()
    page.get_by_label("Output of standard").fill("6")
    page.get_by_role("button", name=f"Save {MODEL}").click()
    page.get_by_role("link", name="Review and publish").click()
    moment = clock.now() + timedelta(minutes=50)
    page.get_by_label("At a moment to come").check()
    page.get_by_label("Moment, UTC").fill(f"{moment:%Y-%m-%dT%H:%M}")
    page.get_by_label("Reason, for the book and the audit log").fill("next hour")
    page.get_by_label("Type publish to confirm").fill("publish")
    page.get_by_role("button", name="Publish 1 changed card").click()
    notice = page.locator("main > .notice-warn")
    expect(notice).to_contain_text("comes into force in 4")
    assert quoted(running)["price_book"]["id"] == live
    assert watched.faults() == []
    shoot(page, "scheduled", tmp_path)
    notice.get_by_role("link", name="Withdraw").click()
    page.get_by_label("Reason, for the audit log").fill("not yet")
    page.get_by_role("button", name="Withdraw this book").click()
    expect(page.get_by_role("status").filter(has_text="Withdrawn")).to_be_visible()
    expect(notice).to_have_count(0)
    expect(page.get_by_role("region", name="Books published")).to_contain_text("not yet")
    assert live_book(page, watched) == live
    assert watched.complaints == []
