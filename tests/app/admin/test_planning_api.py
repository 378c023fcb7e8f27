"""What prices follow from, through the operators' JSON API: dated inputs, their history, the plan."""

import pytest

from app.identity.roles import Role
from tests.app.console.market_fixtures import Market

SETTING = {"subject": "market", "name": "overhead_usd_per_mtok", "value": 0.01, "reason": "support got dearer"}


async def test_an_input_is_set_listed_and_kept_in_history(market: Market) -> None:
    made = await market.tell("/admin/inputs", SETTING, Role.FINANCE, status=201)
    assert (made["value"], made["source"], made["is_pinned"], made["actor"]) == (
        0.01,
        "operator",
        True,
        "finance@example.com",
    )
    await market.tell("/admin/inputs", {**SETTING, "value": 0.02, "is_pinned": False}, Role.ADMIN, status=201)
    listed = (await market.ask("/admin/inputs"))["data"]
    assert [(each["value"], each["is_pinned"]) for each in listed if each["name"] == SETTING["name"]] == [(0.02, False)]
    assert (await market.ask("/admin/inputs", at_us=1))["data"] == []

    first = await market.ask("/admin/inputs/history", limit=1, subject="market")
    assert ([each["value"] for each in first["data"]], first["has_more"]) == ([0.02], True)
    second = await market.ask("/admin/inputs/history", limit=1, subject="market", after=first["next"])
    assert ([each["value"] for each in second["data"]], second["has_more"]) == ([0.01], False)
    records = (await market.ask("/admin/audit", action="pricing_input.set"))["data"]
    assert records[0]["subject"] == "pricing_input:market/overhead_usd_per_mtok"


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"value": -1}, "invalid_input", "from 0 to"),
        ({"name": "luck"}, "invalid_input", "is no input"),
        ({"subject": "galaxy"}, "invalid_input", "is no subject"),
        ({"effective_at_us": 1}, "moment_passed", "never backdated"),
    ],
)
async def test_what_cannot_be_is_refused(market: Market, changes: dict[str, object], code: str, said: str) -> None:
    problem = await market.tell("/admin/inputs", {**SETTING, **changes}, Role.OPERATOR, status=400)
    assert (problem["title"], said in problem["detail"]) == (code, True)


async def test_looking_is_not_setting(market: Market) -> None:
    await market.tell("/admin/inputs", SETTING, Role.VIEWER, status=403)
    known = (await market.ask("/admin/inputs/known"))["data"]
    assert "utilisation" in {each["name"] for each in known}


async def test_before_the_first_plan_there_is_none(market: Market) -> None:
    answer = await market.client.get("/admin/plan", headers=market.bearer())
    assert (answer.status_code, answer.json()["title"]) == (404, "no_plan")
