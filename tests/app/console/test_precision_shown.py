import html
import re

from app.fleet.models import DeploymentRow
from tests.app.console.market_fixtures import NOON_US, Market, event, put
from tests.app.console.seeded_market import add_provider


def text_of(page: str) -> str:
    """What a reader sees: no tags, one space between words."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


async def test_a_receipt_page_shows_the_precision_served(empty_market: Market) -> None:
    await put(empty_market.desk, event("gen-1", NOON_US, precision="fp8"), event("gen-2", NOON_US))
    await empty_market.sign_in()
    assert "FP8 Precision" in text_of(await empty_market.page("/console/requests/gen-1"))
    assert "not stated Precision" in text_of(await empty_market.page("/console/requests/gen-2"))


async def test_the_list_of_requests_tells_machines_the_precision(empty_market: Market) -> None:
    await put(empty_market.desk, event("gen-1", NOON_US, precision="fp8"))
    (row,) = (await empty_market.ask("/admin/requests"))["data"]
    assert row["precision"] == "fp8"


async def test_providers_show_the_precision_of_their_deployments(empty_market: Market) -> None:
    for name in ("one", "two"):
        await add_provider(empty_market.desk, name)
    async with empty_market.desk.database.writing() as session:
        row = await session.get(DeploymentRow, "one/one-fp4")
        assert row is not None
        row.precision = "fp4"
        session.add(row)
    documents = {each["id"]: each["deployments"][0] for each in (await empty_market.ask("/admin/providers"))["data"]}
    assert (documents["one"]["precision"], documents["two"]["precision"]) == ("fp4", None)
    await empty_market.sign_in()
    shown = text_of(await empty_market.page("/console/providers"))
    assert "GPU cluster, FP4" in shown
    assert "GPU cluster, precision not stated" in shown
