import html
import re

import pytest

from app.clock import from_us
from app.identity.service import create_customer, create_key
from tests.app.console.market_fixtures import NOON_US, Market, event, put
from tests.app.console.seeded_market import HOSTILE, add_customer, add_provider

PAGES = ("", "/providers", "/requests", "/frontier", "/prices", "/customers", "/ledger", "/audit")


def text_of(page: str) -> str:
    """What a reader sees: no tags, one space between words."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "Nothing sold yet"),
        ("/providers", "No providers yet"),
        ("/requests", "No requests match Nothing was sold yet."),
        ("/prices", "No book is in force"),
        ("/customers", "No customers yet"),
        ("/ledger", "Nothing booked yet"),
        ("/audit", "No record Nothing has been changed yet."),
    ],
)
async def test_an_empty_page_says_what_is_missing_and_how_to_change_that(
    empty_market: Market, path: str, said: str
) -> None:
    await empty_market.sign_in()
    assert said in text_of(await empty_market.page(f"/console{path}"))


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_keeps_to_itself(market: Market, path: str) -> None:
    await market.sign_in()
    answer = await market.client.get(f"/console{path}")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert not re.search(r"<style|\sstyle=|<script(?![^>]*\ssrc=)|\son\w+=\"", answer.text)
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", answer.text)
    assert len(answer.content) < 100_000


@pytest.mark.parametrize("path", PAGES)
async def test_names_that_try_to_be_markup_stay_text(market: Market, path: str) -> None:
    customer_id = await add_customer(market.desk, HOSTILE)
    await add_provider(market.desk, "evil", model=HOSTILE, label=HOSTILE)
    hostile = event("gen-evil", NOON_US, customer_id=customer_id, model=HOSTILE, provider_id='"><b>', offer_id="evil/x")
    await put(market.desk, hostile)
    await market.tell("/admin/providers/evil/drain", {"reason": HOSTILE})
    await market.sign_in()
    page = await market.page(f"/console{path}")
    assert "<img src=x" not in page
    assert '"><b>' not in page


async def test_hostile_names_stay_text_on_the_pages_of_one_thing(market: Market) -> None:
    customer_id = await add_customer(market.desk, HOSTILE)
    async with market.desk.database.writing() as session:
        key, _ = await create_key(session, customer_id, HOSTILE, NOON_US)
    evil = event("gen-evil", NOON_US, customer_id=customer_id, model=HOSTILE, explanation={HOSTILE: [HOSTILE]})
    await put(market.desk, evil)
    await market.sign_in()
    for path in (f"customers/{customer_id}", f"keys/{key.id}/revoke", "requests/gen-evil"):
        page = await market.page(f"/console/{path}")
        assert "<img src=x" not in page
        assert HOSTILE in html.unescape(page)


async def test_the_overview_shows_the_days_figures(empty_market: Market) -> None:
    await put(
        empty_market.desk,
        event("gen-1", NOON_US, gross=2_000_000_000, net=1_500_000_000, adjustment=500_000_000, held=9 * 10**9,
              quote_ceiling=9 * 10**9, tokens_good=99, is_attained=False),
        event("gen-2", NOON_US, net=0, gross=0, ending="provider_error", is_attained=False, tokens_good=0),
        *(event(f"gen-{number}", NOON_US) for number in range(3, 101)),
    )  # fmt: skip
    await empty_market.sign_in()
    shown = text_of(await empty_market.page("/console"))
    assert "Revenue today $11.30 $11.80 gross less $0.50 for late and failed answers" in shown
    assert "Token margin today $7.30 64.6 % over $4.00 of cost per token" in shown
    assert "Good tokens today 9.89 k of 10.0 k" in shown
    assert "Requests today 100 1 failed (1.0 %); nothing was charged for those" in shown
    assert "standard 98.0 % of 100 98.9 %" in shown
    assert "premium – of 0" in shown


async def test_figures_too_large_for_a_float_are_shown_to_the_last_digit(empty_market: Market) -> None:
    exact = 4_503_599_627_370_497_001
    assert int(float(exact)) != exact
    await put(
        empty_market.desk,
        event(
            "gen-1",
            NOON_US,
            gross=exact,
            net=exact,
            held=exact,
            quote_ceiling=exact,
            tokens_output=2**62,
            tokens_good=1,
        ),
    )
    await empty_market.sign_in()
    page = await empty_market.page("/console")
    assert 'title="$4503599627.370497001 USD"' in page
    assert "$4,503,599,627.37" in page
    assert "4,611,686,018,427,387,904 tokens" in page
    assert "&lt;0.1 %" in page


async def test_requests_are_filtered_and_paged_by_links_that_can_be_shared(market: Market) -> None:
    await market.sign_in()
    first = await market.page("/console/requests?tier=standard&outcome=good")
    assert "<option selected>standard</option>" in first
    shown = re.findall(r'href="/console/requests/(gen-[0-9a-f]+)"', first)
    assert shown
    older = re.search(r'href="(\?[^"]*after=[^"]*)">Older', await market.page("/console/requests"))
    assert older is not None
    second = await market.page(f"/console/requests{html.unescape(older.group(1))}")
    assert len(re.findall(r'href="/console/requests/gen-', second)) == 70 - 50
    assert "Older" not in second


@pytest.mark.parametrize("query", ["after=x", "after=1.'", "after=" + "9" * 25 + ".a"])
async def test_a_damaged_link_is_a_clear_page(market: Market, query: str) -> None:
    await market.sign_in()
    for path in ("requests", "audit", "customers", "ledger"):
        answer = await market.client.get(f"/console/{path}", params=query)
        assert answer.status_code in {200, 400}
        if answer.status_code == 400:
            assert "is no cursor of this list" in html.unescape(answer.text)


async def test_a_pasted_request_id_leads_to_its_receipt_whatever_else_is_pasted(market: Market) -> None:
    await market.sign_in()
    answer = await market.client.get(
        "/console/requests/find", params={"id": " gen-1/../../evil?x=1 "}, follow_redirects=False
    )
    assert answer.headers["location"] == "/console/requests/gen-1%2F..%2F..%2Fevil%3Fx%3D1"
    missing = await market.client.get("/console/requests/gen-none")
    assert missing.status_code == 404
    assert "There is no request &#39;gen-none&#39;; check the id." in missing.text


async def test_a_receipt_shows_the_bill_tier_by_tier_and_why(market: Market) -> None:
    [late] = (await market.ask("/admin/requests", outcome="late", limit=1))["data"]
    receipt = await market.ask(f"/admin/requests/{late['id']}")
    await market.sign_in()
    page = await market.page(f"/console/requests/{late['id']}")
    for sentence in receipt["why"]:
        assert sentence in html.unescape(page)
    assert f"${receipt['bill']['gross']} USD" in page
    assert f"−${receipt['bill']['slo_adjustment']} USD" in page
    assert 'data-chart="delivery"' in page


async def test_a_receipt_stands_when_its_timeline_was_erased_and_its_book_is_not_at_hand(empty_market: Market) -> None:
    await put(empty_market.desk, event("gen-1", NOON_US, timeline=None, price_book_id="pb-unknown"))
    await empty_market.sign_in()
    shown = text_of(await empty_market.page("/console/requests/gen-1"))
    assert "erased after the retention time; the bill above stands" in shown
    assert "(not at hand here)" in shown
    assert "Net $0.10" in shown


async def test_an_answer_that_never_began_has_a_receipt_too(empty_market: Market) -> None:
    lines = [{"tier": "standard", "input": 0, "cached": 0, "cache_write": 0, "output": 0, "amount": 0}]
    await put(
        empty_market.desk,
        event("gen-1", NOON_US, ending="provider_timeout", lines=lines, first_token_at_us=None, is_attained=False,
              tokens_output=0, tokens_good=0, net=0, gross=0),
    )  # fmt: skip
    await empty_market.sign_in()
    shown = text_of(await empty_market.page("/console/requests/gen-1"))
    assert "Waiting for a first token" in shown
    assert "No token was delivered." in shown
    assert "The answer ended with provider_timeout: nothing is owed for it." in shown


async def test_the_price_book_shows_promise_rate_cost_and_margin_of_each_tier(market: Market) -> None:
    await market.sign_in()
    page = await market.page("/console/prices")
    book = market.desk.shelf.live(from_us(NOON_US))
    for card in book.cards.values():
        assert card.deployment_id in page
        assert card.explanation[:40] in html.unescape(page)
    assert book.sha256 in page
    assert await market.page(f"/console/prices/{book.id}") is not None
    assert (await market.client.get("/console/prices/pb-none")).status_code == 404


async def test_the_frontier_marks_the_tiers_on_sale_at_their_measured_points(market: Market) -> None:
    await market.sign_in()
    for on in ("per_usd", "per_mw", "usd_per_mtok"):
        page = await market.page(f"/console/frontier?y={on}")
        assert page.count("&#34;tier&#34;:") == 3
        assert "Goldilocks zone" in page
    shown = text_of(await market.page("/console/frontier?model=nonsense&lengths=1/2&y=nonsense"))
    assert "Tiers on sale" in shown


async def test_a_frontier_of_a_model_that_nobody_sells_has_no_marks(market: Market) -> None:
    await market.sign_in()
    page = await market.page("/console/frontier?model=DeepSeek-R1-0528&lengths=1024/1024")
    assert "&#34;tiers&#34;:[]" in page
    assert "Tiers on sale" not in page


async def test_an_unknown_page_is_a_page_of_ours(market: Market) -> None:
    await market.sign_in()
    answer = await market.client.get("/console/customers/cus_none")
    assert answer.status_code == 404
    assert "To the overview" in answer.text
    assert answer.headers["content-security-policy"]


async def test_a_mistake_of_ours_is_a_page_that_tells_nothing_of_its_insides(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the inside of the house")

    await market.sign_in()
    monkeypatch.setattr("app.console.book_pages.books_page", broken)
    answer = await market.client.get("/console/prices")
    assert answer.status_code == 500
    assert "Something went wrong on our side" in answer.text
    assert "inside of the house" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_hundreds_of_customers_come_in_pages(empty_market: Market) -> None:
    async with empty_market.desk.database.writing() as session:
        for number in range(60):
            await create_customer(session, f"Customer {number:03d}", NOON_US + number)
    await empty_market.sign_in()
    first = await empty_market.page("/console/customers")
    assert first.count("Customer 0") == 2 * 50
    older = re.search(r'href="(\?after=[^"]*)">Older', first)
    assert older is not None
    second = await empty_market.page(f"/console/customers{html.unescape(older.group(1))}")
    assert second.count("Customer 00") == 2 * 10
