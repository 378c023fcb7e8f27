"""Prices through the operators' JSON API: draft, compare, publish, schedule, withdraw, go back."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from app.clock import from_us
from app.identity.roles import Role
from tests.app.console.market_fixtures import Market

MODEL = "gpt-oss-120b"
WHY = "a better margin"


async def opened(market: Market, **body: str) -> dict[str, Any]:
    return await market.tell("/admin/price-drafts", {"title": "December", **body}, Role.OPERATOR, status=201)


async def edited(market: Market, draft: dict[str, Any], status: int = 200, **card: Any) -> dict[str, Any]:
    body = {"version": draft["version"], "cards": [{"model": MODEL, "tier": "standard", **card}]}
    answer = await market.client.patch(f"/admin/price-drafts/{draft['id']}/cards", headers=market.bearer(), json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def published(market: Market, draft: dict[str, Any], status: int = 201, **more: Any) -> dict[str, Any]:
    body = {"version": draft["version"], "reason": WHY, **more}
    return await market.tell(f"/admin/price-drafts/{draft['id']}/publish", body, status=status)


def output_of(document: dict[str, Any], tier: str = "standard") -> str:
    (card,) = [card for card in document["cards"] if (card["model"], card["tier"]) == (MODEL, tier)]
    return card["usd_per_mtok"]["output"]


async def live_output(market: Market) -> int:
    document = await market.ask("/admin/prices")
    return next(
        card["rates"]["output"] for card in document["cards"] if (card["model"], card["tier"]) == (MODEL, "standard")
    )


async def raised(market: Market, factor: str = "1.05") -> tuple[dict[str, Any], int, int]:
    """A draft in which standard's output costs a little more; with the rate before and after."""
    before = await live_output(market)
    after = int(before * float(factor))
    draft = await edited(market, await opened(market), usd_per_mtok={"output": f"{after // 10**6}.{after % 10**6:06}"})
    return draft, before, after


async def test_from_draft_to_a_book_in_force_and_back_all_audited(market: Market) -> None:
    first = await market.ask("/admin/prices")
    draft, before, after = await raised(market)
    assert (draft["version"], draft["state"], draft["problems"], draft["warnings"]) == (2, "open", [], [])

    diff = await market.ask(f"/admin/price-drafts/{draft['id']}/diff")
    assert (diff["old"], diff["new"], diff["cards_changed"]) == (first["id"], draft["id"], 1)
    assert diff["cards"][0]["rates"]["output"]["share"].startswith("0.0")
    assert diff["impact"]["days"] == 7
    assert "what customers pay" in diff["impact"]["basis"] or "No request finished" in diff["impact"]["basis"]

    done = await published(market, draft)
    assert done["replaces"] == first["id"]
    assert await live_output(market) == after
    books = (await market.ask("/admin/price-books"))["data"]
    assert [(book["id"], book["state"], book["origin"]) for book in books] == [
        (done["price_book_id"], "live", "operator"),
        (first["id"], "past", "derived"),
    ]

    back = await market.tell(f"/admin/price-books/{first['id']}/rollback", {"reason": "complaints"}, status=201)
    assert back["replaces"] == done["price_book_id"]
    assert await live_output(market) == before
    records = (await market.ask("/admin/audit", limit=50))["data"]
    done_by = {record["action"]: record["actor"]["name"] for record in records}
    assert {"price_draft.opened", "price_draft.edited", "price_draft.published", "price_book.rolled_back"} <= set(
        done_by
    )
    assert done_by["price_draft.opened"] == "operator@example.com"


async def test_the_impact_of_recent_traffic_adds_up_to_what_was_booked(market: Market) -> None:
    draft, _, _ = await raised(market)
    diff = await market.ask(f"/admin/price-drafts/{draft['id']}/diff", days=30)
    impact = diff["impact"]
    lines = impact["lines"]
    assert lines
    for name in ("requests", "revenue_old_nano", "revenue_new_nano", "cost_new_nano"):
        assert int(impact["total"][name]) == sum(int(line[name]) for line in lines)
    sold = [line for line in lines if (line["model"], line["tier"]) == (MODEL, "standard")]
    assert all(int(line["revenue_new_nano"]) >= int(line["revenue_old_nano"]) for line in sold)
    assert int(impact["total"]["revenue_change_nano"]) > 0
    itself = await market.ask(f"/admin/price-books/{diff['old']}/diff", days=30, against=diff["old"])
    assert itself["cards"] == []
    assert itself["impact"]["total"]["revenue_change_nano"] == "0"
    without = await market.ask(f"/admin/price-drafts/{draft['id']}/diff", days=0)
    assert without["impact"] is None


async def test_a_book_is_scheduled_withdrawn_and_its_moment_passes_without_it(market: Market) -> None:
    draft, before, _ = await raised(market)
    moment = from_us(market.desk.now_us()) + timedelta(hours=1)
    done = await published(market, draft, effective_at=moment.isoformat())
    assert datetime.fromisoformat(done["effective_at"]) == moment
    states = [(book["id"], book["state"]) for book in (await market.ask("/admin/price-books"))["data"]]
    assert states[0] == (done["price_book_id"], "scheduled")
    gone = await market.tell(f"/admin/price-books/{done['price_book_id']}/withdraw", {"reason": "not now"})
    assert (gone["state"], gone["withdrawal"]["reason"]) == ("withdrawn", "not now")
    assert market.desk.shelf.live(moment).id == states[1][0]
    assert await live_output(market) == before


async def test_two_operators_at_one_draft_the_second_is_told_both_versions(market: Market) -> None:
    draft = await opened(market)
    await edited(market, draft, slo={"ttft_us": 3_000_000})
    refused = await edited(market, draft, status=409, slo={"ttft_us": 4_000_000})
    assert refused["title"] == "draft_changed"
    assert "at version 2, but the change was made from version 1" in refused["detail"]


async def test_a_draft_that_another_book_overtook_is_rebased_and_published(market: Market) -> None:
    mine, _, after = await raised(market)
    theirs = await edited(market, await opened(market), slo={"ttft_us": 9_000_000})
    newer = (await published(market, theirs))["price_book_id"]
    refused = await published(market, mine, status=409)
    assert refused["title"] == "draft_outdated"
    assert newer in refused["detail"]
    moved = await market.tell(f"/admin/price-drafts/{mine['id']}/rebase", {"version": mine["version"]})
    assert (moved["base_price_book_id"], moved["version"]) == (newer, 3)
    await published(market, moved)
    assert await live_output(market) == after


async def test_warnings_have_to_be_accepted_and_problems_cannot_be(market: Market) -> None:
    draft = await edited(market, await opened(market), slo={"ttft_us": 600_000_000})
    refused = await published(market, draft, status=409)
    assert refused["title"] == "warnings_not_accepted"
    assert "is it the unit?" in refused["detail"]
    await published(market, draft, accept_warnings=True)
    broken = await edited(market, await opened(market), usd_per_mtok={"output": "900"})
    assert broken["problems_count"] == 1
    refused = await published(market, broken, status=409, accept_warnings=True)
    assert refused["title"] == "draft_has_problems"


async def test_a_tier_is_taken_off_sale_and_put_back(market: Market) -> None:
    without = await edited(market, await opened(market), is_sold=False)
    assert [card["tier"] for card in without["withheld"]] == ["standard"]
    back = await edited(market, without, is_sold=True)
    assert back["withheld"] == []
    assert output_of(back)


@pytest.mark.parametrize(
    ("card", "code"),
    [
        ({"usd_per_mtok": {"output": "0.0000001"}}, "invalid_field"),
        ({"usd_per_mtok": {"output": "NaN"}}, "invalid_field"),
        ({"usd_per_mtok": {"output": "-1"}}, "invalid_field"),
        ({"usd_per_mtok": {"output": 0.5}}, "invalid_request"),
        ({"usd_per_mtok": {"reasoning": "1"}}, "invalid_request"),
        ({"slo": {"ttft_us": 0}}, "invalid_promise"),
        ({"slo": {"ttft_us": -5}}, "invalid_request"),
        ({"tier": "gold"}, "invalid_request"),
        ({"model": "nobody"}, "no_such_card"),
        ({"usd_per_mtok": {"output": "2000000"}}, "invalid_rate"),
    ],
)
async def test_what_no_card_can_be_is_refused_and_changes_nothing(
    market: Market, card: dict[str, Any], code: str
) -> None:
    draft = await opened(market)
    refused = await edited(market, draft, status=400, **card)
    assert refused["title"] == code
    assert (await market.ask(f"/admin/price-drafts/{draft['id']}"))["version"] == 1


@pytest.mark.parametrize("moment", ["2020-01-01T00:00:00Z", "2026-12-01T00:00:00", "soon", "9999-12-31T23:59:59Z"])
async def test_a_moment_that_cannot_be_is_refused(market: Market, moment: str) -> None:
    draft, _, _ = await raised(market)
    refused = await published(market, draft, status=400, effective_at=moment)
    assert refused["title"] in {"moment_has_passed", "moment_without_zone", "invalid_request", "moment_too_far_away"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/admin/price-drafts/draft-none"),
        ("GET", "/admin/price-drafts/draft-none/diff"),
        ("GET", "/admin/price-books/pb-none/diff"),
        ("POST", "/admin/price-books/pb-none/withdraw"),
        ("POST", "/admin/price-books/pb-none/rollback"),
    ],
)
async def test_what_is_not_there_is_not_found(market: Market, method: str, path: str) -> None:
    body = None if method == "GET" else {"reason": WHY}
    answer = await market.client.request(method, path, headers=market.bearer(), json=body)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_viewer_looks_and_changes_nothing(market: Market) -> None:
    draft = await opened(market)
    for path in ("/admin/price-books", "/admin/price-drafts", f"/admin/price-drafts/{draft['id']}/diff"):
        await market.ask(path, Role.VIEWER)
    for path in ("/admin/price-drafts", f"/admin/price-drafts/{draft['id']}/publish"):
        refused = await market.tell(path, {"title": "x"}, Role.VIEWER, status=403)
        assert refused["title"] == "role_too_narrow"


async def test_lists_are_paged_and_drafts_filtered_by_state(market: Market) -> None:
    made = [await opened(market, title=f"draft {n}") for n in range(3)]
    dropped = await market.tell(f"/admin/price-drafts/{made[0]['id']}/discard", {"version": 1, "reason": "a trial"})
    assert dropped["state"] == "discarded"
    first = await market.ask("/admin/price-drafts", limit=2)
    rest = await market.ask("/admin/price-drafts", limit=2, after=first["next"])
    assert [row["title"] for row in (*first["data"], *rest["data"])] == ["draft 2", "draft 1", "draft 0"]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    closed = await market.ask("/admin/price-drafts", draft_state="discarded")
    assert [row["id"] for row in closed["data"]] == [made[0]["id"]]


async def test_nothing_in_force_means_nothing_to_draft_from(empty_market: Market) -> None:
    refused = await empty_market.tell("/admin/price-drafts", {"title": "the first"}, status=503)
    assert refused["title"] == "no_price_book"
    assert (await empty_market.ask("/admin/price-books"))["data"] == []


@pytest.mark.parametrize("path", ["/admin/price-drafts", "/admin/inputs"])
async def test_a_body_that_nests_too_deeply_is_the_senders_mistake(market: Market, path: str) -> None:
    body = '{"title":' + "[" * 5_000 + "]" * 5_000 + "}"
    headers = {**market.bearer(), "content-type": "application/json"}
    answer = await market.client.post(path, headers=headers, content=body)
    assert (answer.status_code, answer.json()["detail"]) == (400, "The body nests too deeply to be read.")
