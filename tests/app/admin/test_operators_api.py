import json
from typing import Any

import pytest
from litestar import Litestar
from litestar.openapi.config import OpenAPIConfig

from app.admin.repository import RequestFilter, requests_page
from app.admin.routes import admin_routes
from app.identity.auth import InvalidApiKey
from app.identity.roles import Role
from tests.app.console.market_fixtures import NOON_US, Market, Stage, event, put

READS = ("overview", "providers", "requests", "customers", "prices", "ledger/balance", "ledger/transactions", "audit")


@pytest.mark.parametrize("path", READS)
async def test_every_read_needs_a_token_and_a_viewers_is_enough(market: Market, path: str) -> None:
    refused = await market.client.get(f"/admin/{path}")
    assert refused.status_code == 401
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.json()["title"] == "invalid_admin_token"
    assert await market.ask(f"/admin/{path}", Role.VIEWER)


async def test_a_session_cookie_opens_no_door_of_the_api(market: Market) -> None:
    await market.sign_in()
    assert (await market.client.get("/admin/overview")).status_code == 401


async def test_the_overview_has_amounts_as_text_to_read_and_to_reckon_with(empty_market: Market) -> None:
    await put(empty_market.desk, event("gen-1", NOON_US))
    document = await empty_market.ask("/admin/overview")
    assert document["tiers"]["standard"]["revenue_usd"] == "0.10"
    assert document["tiers"]["standard"]["revenue_nano"] == "100000000"
    assert document["total"]["token_margin_usd"] == "0.06"
    assert document["total"]["requests_attained"] == 1
    assert document["tiers"]["bulk"]["requests_accepted"] == 0


async def test_requests_come_in_pages_that_meet_without_gap(market: Market) -> None:
    seen: list[str] = []
    after = ""
    for _ in range(4):
        page = await market.ask("/admin/requests", after=after, limit=30)
        seen += [row["id"] for row in page["data"]]
        if not page["has_more"]:
            assert page["next"] is None
            break
        after = page["next"]
    async with market.desk.database.reading() as session:
        rows = await requests_page(session, RequestFilter(), None, 500)
    assert seen == [row.request_id for row in rows]
    assert len(seen) == 70


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"after": "'; drop table usage_event; --"}, "invalid_cursor"),
        ({"limit": "0"}, "invalid_request"),
        ({"limit": "many"}, "invalid_request"),
        ({"outcome": "splendid"}, "invalid_outcome"),
        ({"after": "x" * 200}, "invalid_request"),
    ],
)
async def test_a_bad_query_is_named_not_a_crash(market: Market, query: dict[str, Any], code: str) -> None:
    document = await market.ask("/admin/requests", status=400, **query)
    assert document["title"] == code
    assert document["detail"]


async def test_a_filter_leaves_what_matches(market: Market) -> None:
    document = await market.ask("/admin/requests", tier="premium", provider_id="wafer-1")
    assert document["data"]
    assert {(row["tier_served"], row["provider_id"]) for row in document["data"]} == {("premium", "wafer-1")}


async def test_a_receipt_says_more_to_operators_than_to_customers(market: Market) -> None:
    [row] = (await market.ask("/admin/requests", limit=1, outcome="late"))["data"]
    document = await market.ask(f"/admin/requests/{row['id']}")
    assert document["id"] == row["id"]
    assert document["why"]
    assert int(document["operator"]["cost_nano"]) > 0
    missing = await market.ask("/admin/requests/gen-none", status=404)
    assert missing["detail"] == "there is no request 'gen-none'; check the id"


async def test_draining_is_recorded_with_who_why_and_where_from(market: Market) -> None:
    done = await market.tell("/admin/providers/cluster-b200/drain", {"reason": "firmware"}, Role.OPERATOR)
    assert done == {"id": "cluster-b200", "state": "draining", "version": 2}
    [record] = (await market.ask("/admin/audit", subject="provider:cluster-b200"))["data"]
    assert record["action"] == "provider.drained"
    assert record["actor"]["name"] == "operator@example.com"
    assert (record["before"], record["after"]) == ({"state": "enabled"}, {"state": "draining"})
    assert record["reason"] == "firmware"
    states = {row["id"]: row["state"] for row in (await market.ask("/admin/providers"))["data"]}
    assert states["cluster-b200"] == "draining"


async def test_a_provider_that_nobody_registered_cannot_be_drained(market: Market) -> None:
    refused = await market.tell("/admin/providers/nobody/drain", {"reason": "firmware"}, status=404)
    assert "no provider 'nobody' in the fleet" in refused["detail"]


async def test_a_change_of_what_has_changed_meanwhile_is_refused(market: Market) -> None:
    await market.tell("/admin/providers/cluster-b200/drain", {"reason": "firmware", "version": 1})
    refused = await market.tell("/admin/providers/cluster-b200/disable", {"reason": "gone", "version": 1}, status=409)
    assert "you saw version 1, it is at version 2 and draining now" in refused["detail"]


@pytest.mark.parametrize(
    ("path", "body", "role"),
    [
        ("providers/cluster-b200/drain", {"reason": "because"}, Role.FINANCE),
        ("customers", {"name": "x"}, Role.VIEWER),
        ("customers/cus_1/credits", {"amount_usd": "1", "reason": "why", "idempotency_key": "k"}, Role.OPERATOR),
        ("keys/key_1/revoke", {"reason": "because"}, Role.VIEWER),
    ],
)
async def test_a_role_that_is_too_narrow_is_refused_before_anything_is_looked_up(
    market: Market, path: str, body: dict[str, Any], role: Role
) -> None:
    refused = await market.tell(f"/admin/{path}", body, role, status=403)
    assert refused["title"] == "role_too_narrow"
    assert role.value in refused["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "reason"),
        ({"reason": "x"}, "reason"),
        ({"reason": "because", "force": True}, "force"),
        ({"reason": "because", "version": 0}, "version"),
        ({"reason": "nul\x00byte"}, "reason"),
        ([], "body"),
        ("{", "body"),
    ],
)
async def test_a_body_that_is_not_understood_is_refused_by_field(market: Market, body: object, field: str) -> None:
    answer = await market.client.post(
        "/admin/providers/cluster-b200/drain",
        headers={**market.bearer(), "content-type": "application/json"},
        content=body if isinstance(body, str) else json.dumps(body),
    )
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert field in answer.json()["detail"] or field == "body"


async def test_a_keys_secret_is_told_once_works_at_once_and_stops_when_revoked(market: Market) -> None:
    made = await market.tell("/admin/customers", {"name": "Acme", "limits": {"rpm": 7}}, status=201)
    key = await market.tell(f"/admin/customers/{made['id']}/keys", {"label": "ci"}, status=201)
    caller = await market.desk.authenticator.authenticate(f"Bearer {key['secret']}")
    assert (caller.customer_id, caller.limits.rpm) == (made["id"], 7)
    shown = await market.ask(f"/admin/customers/{made['id']}")
    assert key["secret"] not in str(shown)
    assert [each["prefix"] for each in shown["keys"]] == [key["prefix"]]
    for _ in range(2):
        revoked = await market.tell(f"/admin/keys/{key['id']}/revoke", {"reason": "leaked"})
        assert 0 <= revoked["revoked_at_us"] - NOON_US < 100
    with pytest.raises(InvalidApiKey):
        await market.desk.authenticator.authenticate(f"Bearer {key['secret']}")
    records = (await market.ask("/admin/audit", subject=f"key:{key['id']}"))["data"]
    assert [record["action"] for record in records] == ["key.revoked", "key.created"]
    assert key["secret"] not in str(records)


async def test_credit_is_given_once_per_idempotency_key(market: Market) -> None:
    made = await market.tell("/admin/customers", {"name": "Acme"}, status=201)
    body = {"amount_usd": "12.345678901", "reason": "goodwill", "idempotency_key": "g-1"}
    first = await market.tell(f"/admin/customers/{made['id']}/credits", body, Role.FINANCE, status=201)
    again = await market.tell(f"/admin/customers/{made['id']}/credits", body, Role.FINANCE, status=201)
    assert first == again
    assert first["amount_nano"] == "12345678901"
    assert (await market.ask(f"/admin/customers/{made['id']}"))["balance_usd"] == "12.345678901"
    actions = [r["action"] for r in (await market.ask("/admin/audit", subject=f"customer:{made['id']}"))["data"]]
    assert actions == ["credit.granted", "customer.created"]


@pytest.mark.parametrize("amount", ["-1", "0.0000000001", "1e3", "NaN", "", "12,50", "12345678901", 12.5])
async def test_an_amount_that_is_no_plain_dollars_is_refused(market: Market, amount: object) -> None:
    body = {"amount_usd": amount, "reason": "goodwill", "idempotency_key": "g-1"}
    refused = await market.tell("/admin/customers/cus_1/credits", body, status=400)
    assert "amount_usd" in refused["detail"]


async def test_zero_dollars_are_no_grant_and_nobody_can_be_granted_credit(market: Market) -> None:
    body = {"amount_usd": "0", "reason": "goodwill", "idempotency_key": "g-1"}
    await market.tell("/admin/customers/cus_nobody/credits", body, status=404)
    made = await market.tell("/admin/customers", {"name": "Acme"}, status=201)
    assert "above 0" in (await market.tell(f"/admin/customers/{made['id']}/credits", body, status=400))["detail"]


async def test_a_frozen_customer_is_so_for_their_keys_at_once(market: Market) -> None:
    made = await market.tell("/admin/customers", {"name": "Acme"}, status=201)
    key = await market.tell(f"/admin/customers/{made['id']}/keys", {"label": "ci"}, status=201)
    header = f"Bearer {key['secret']}"
    assert not (await market.desk.authenticator.authenticate(header)).is_frozen
    await market.tell(f"/admin/customers/{made['id']}/freeze", {"reason": "dispute"})
    assert (await market.desk.authenticator.authenticate(header)).is_frozen
    await market.tell(f"/admin/customers/{made['id']}/unfreeze", {"reason": "settled"})
    assert not (await market.desk.authenticator.authenticate(header)).is_frozen


async def test_prices_show_costs_to_operators_and_every_book_can_be_had(market: Market) -> None:
    live = await market.ask("/admin/prices")
    assert live["cards"][0]["cost_usd_per_mtok"]["output"]
    assert await market.ask(f"/admin/prices/{live['id']}") == live
    await market.ask("/admin/prices/pb-none", status=404)


async def test_before_the_first_book_the_answer_says_that_nothing_is_on_sale(empty_market: Market) -> None:
    refused = await empty_market.ask("/admin/prices", status=503)
    assert "no price book is in force" in refused["detail"]


async def test_the_ledger_balances_and_its_journal_is_paged(market: Market) -> None:
    balance = await market.ask("/admin/ledger/balance")
    assert balance["drift_nano"] == "0"
    first = await market.ask("/admin/ledger/transactions", limit=2)
    assert [row["id"] for row in first["data"]] == [73, 72]
    assert all(sum(int(leg["amount_nano"]) for leg in row["legs"]) == 0 for row in first["data"])
    assert [row["id"] for row in (await market.ask("/admin/ledger/transactions", limit=1, after="72"))["data"]] == [71]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "nothing", 404), ("DELETE", "overview", 405)])
async def test_what_is_not_there_is_a_problem_document(market: Market, method: str, path: str, status: int) -> None:
    answer = await market.client.request(method, f"/admin/{path}", headers=market.bearer())
    assert answer.status_code == status


async def test_every_operation_is_described_under_an_id_of_its_own(stage: Stage) -> None:
    app = Litestar(route_handlers=admin_routes(stage.desk), openapi_config=OpenAPIConfig(title="Goodput", version="1"))
    paths = app.openapi_schema.to_schema()["paths"]
    operations = [each["operationId"] for item in paths.values() for each in item.values()]
    assert len(operations) == len(set(operations)) > 18
    assert "grant_credit" in operations
    assert all(each["summary"] for item in paths.values() for each in item.values())
