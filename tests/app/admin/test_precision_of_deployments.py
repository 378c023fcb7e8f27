from tests.app.admin.test_supply_api import DEPLOYMENT
from tests.app.console.market_fixtures import Market


async def test_a_deployment_is_added_with_its_precision_and_one_that_is_not_known_stays_empty(
    empty_market: Market,
) -> None:
    await empty_market.tell("/admin/providers", {"id": "acme", "name": "Acme AI"}, status=201)
    for number, precision in enumerate(("FP8", "unknown", "")):
        body = {**DEPLOYMENT, "deployment_id": f"api-{number}", "precision": precision}
        await empty_market.tell("/admin/providers/acme/deployments", body, status=201)
    [provider] = (await empty_market.ask("/admin/providers"))["data"]
    assert [each["precision"] for each in provider["deployments"]] == ["fp8", None, None]
    refused = {**DEPLOYMENT, "deployment_id": "api-9", "precision": "eight bits"}
    told = await empty_market.tell("/admin/providers/acme/deployments", refused, status=400)
    assert "at most 32 lower-case letters such as fp8" in told["detail"]
