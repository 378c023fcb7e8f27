"""Supply through the operators' API: accounts, credentials, deployments, contracts, statements, tuned models."""

import json
from typing import Any

import pytest

from app.audit.service import Actor
from app.catalog.sale import ModelOnSale
from app.catalog.service import put_on_sale
from app.fleet.vault import Vault
from app.identity.roles import Role
from app.metering.models import UsageDispute
from app.tuning.service import request_model
from app.tuning.tuned import Wish
from tests.app.console.market_fixtures import NOON_US, Market, event, put
from tests.providers.fake_backend import fake_backend

pytestmark = pytest.mark.slow

SECRET = "sk-live-7f3a9c1d5e8b2f4a6c0d"
SPEED = {"concurrency": [1, 64], "tpot_us": [5_000.0, 20_000.0], "ttft_base_us": 40_000.0, "prefill_tok_s": 20_000.0}
RATES = {"input": "0.25", "output": "0.69"}
DEPLOYMENT = {
    "deployment_id": "api-1",
    "model": "open/one",
    "base_url": "http://127.0.0.1:9/v1",
    "speed": SPEED,
    "concurrency_max": 64,
    "context_max": 131_072,
    "usd_per_mtok": RATES,
}
REASON = {"reason": "because"}


@pytest.fixture
async def acme(market: Market) -> Market:
    market.desk.vault = Vault("test secret")
    await market.tell("/admin/providers", {"id": "acme", "name": "Acme AI"}, status=201)
    await market.tell("/admin/providers/acme/deployments", DEPLOYMENT, status=201)
    return market


async def test_a_provider_is_added_with_its_deployment_and_seen_in_the_fleet(acme: Market) -> None:
    [seen] = [row for row in (await acme.ask("/admin/providers"))["data"] if row["id"] == "acme"]
    [deployment] = seen["deployments"]
    assert deployment["id"] == "acme/api-1"
    assert deployment["cost_usd_per_mtok"]["output"] == "0.69"
    assert not deployment["is_owned"]


async def test_a_credential_is_shown_by_prefix_and_fingerprint_and_nowhere_whole(acme: Market) -> None:
    told = [await acme.tell("/admin/providers/acme/credential", {"secret": SECRET})]
    assert told[0]["prefix"] == "sk-l"
    assert len(told[0]["fingerprint"]) == 12
    assert told[0]["state"] == "in use"
    told += [
        await acme.ask("/admin/providers/acme"),
        await acme.ask("/admin/audit", subject="provider:acme"),
        await acme.ask("/admin/providers"),
        await acme.tell("/admin/providers/acme/credential", {"secret": SECRET + "\n"}, status=400),
        await acme.tell("/admin/providers/acme/credential", {"secret": {"key": SECRET}}, status=400),
        await acme.tell("/admin/providers/acme/credential", {"secret": SECRET, "extra": 1}, status=400),
        await acme.tell("/admin/providers/nobody/credential", {"secret": SECRET}, status=404),
        await acme.tell("/admin/providers/acme/credential/remove", REASON),
    ]
    assert SECRET not in json.dumps(told)
    assert told[1]["credential"]["fingerprint"] == told[0]["fingerprint"]


async def test_without_a_secret_key_a_credential_is_refused_with_what_to_set(acme: Market) -> None:
    acme.desk.vault = Vault("")
    refused = await acme.tell("/admin/providers/acme/credential", {"secret": SECRET}, status=400)
    assert "set GOODPUT_SECRET_KEY" in refused["detail"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"base_url": "file:///etc/passwd"}, "expected http://host:port/v1"),
        ({"base_url": "http://169.254.169.254/v1"}, "link-local"),
        ({"kind": "quantum"}, "kind 'quantum' is unknown; there are gpu_cluster"),
        ({"deployment_id": "a b"}, "without spaces"),
        ({"speed": {**SPEED, "tpot_us": [9.0, 5.0]}}, "never fall"),
        ({"usd_per_mtok": {"input": "-1", "output": "1"}}, "usd_per_mtok"),
        ({"concurrency_max": 0}, "concurrency_max"),
        ({"surprise": 1}, "surprise"),
    ],
)
async def test_a_deployment_that_cannot_be_is_refused_with_the_field(
    acme: Market, change: dict[str, Any], words: str
) -> None:
    refused = await acme.tell("/admin/providers/acme/deployments", {**DEPLOYMENT, **change}, status=400)
    assert words in refused["detail"]


async def test_a_deployment_is_drained_enabled_and_removed_and_then_its_provider(acme: Market) -> None:
    at = "/admin/providers/acme/deployments/api-1"
    assert (await acme.tell(f"{at}/drain", REASON))["state"] == "draining"
    assert (await acme.tell(f"{at}/enable", {**REASON, "version": 2}))["version"] == 3
    await acme.tell(f"{at}/disable", {**REASON, "version": 1}, status=409)
    assert "remove them first" in (await acme.tell("/admin/providers/acme/remove", REASON, status=409))["detail"]
    assert (await acme.tell(f"{at}/remove", REASON))["is_removed"]
    await acme.tell(f"{at}/remove", REASON, status=404)
    assert (await acme.tell("/admin/providers/acme/remove", REASON))["is_removed"]
    actions = [row["action"] for row in (await acme.ask("/admin/audit", subject="provider:acme"))["data"]]
    assert actions == ["provider.removed", "provider.registered"]


async def test_a_probe_says_what_came_of_one_request(acme: Market) -> None:
    found = await acme.tell("/admin/providers/acme/deployments/api-1/probe", {})
    assert (found["id"], found["is_well"]) == ("acme/api-1", False)
    assert found["trouble"].startswith("ProviderUnreachable")
    await acme.tell("/admin/providers/acme/deployments/none/probe", {}, status=404)


async def test_what_was_not_believed_is_listed_by_provider(acme: Market) -> None:
    counts = {"input_reported": 9, "output_reported": 10**6, "input_most": 600, "output_least": 1, "output_most": 99}
    for number, who in enumerate(("acme", "other")):
        row = UsageDispute(
            request_id=f"gen-{number}",
            provider_id=who,
            offer_id=f"{who}/d",
            at_us=NOON_US,
            output_billed=30,
            reason="1000000 output tokens for 83 bytes of content",
            **counts,
        )
        await put(acme.desk, row)
    [shown] = (await acme.ask("/admin/usage_disputes", provider_id="acme"))["data"]
    assert (shown["request_id"], shown["output_billed"]) == ("gen-0", 30)
    assert len((await acme.ask("/admin/usage_disputes"))["data"]) == 2


async def test_a_probe_that_meets_a_refused_credential_marks_it(acme: Market) -> None:
    await acme.tell("/admin/providers/acme/credential", {"secret": SECRET})
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {SECRET}"}}).encode()
    async with fake_backend(lambda out, _: out.answer(401, body)) as backend:
        await acme.tell("/admin/providers/acme/deployments", {**DEPLOYMENT, "base_url": backend.base_url}, status=201)
        found = await acme.tell("/admin/providers/acme/deployments/api-1/probe", {})
    assert found["trouble"].startswith("ProviderCredentialRejected")
    account = await acme.ask("/admin/providers/acme")
    assert account["credential"]["state"] == "credential refused"
    assert SECRET not in json.dumps([found, account])


async def test_a_contract_is_signed_shown_and_ended(acme: Market) -> None:
    terms = {"usd_per_mtok": RATES, "rpm": 600, "promise": {"ttft_ms": 400, "tpot_ms": 20}, "ends_at": "2027-01-01"}
    signed = await acme.tell("/admin/providers/acme/contracts", terms, status=201)
    assert signed["basis"] == "token"
    assert signed["usd_per_mtok"]["cached"] == "0.25"
    refused = await acme.tell("/admin/providers/acme/contracts", {"usd_per_hour": "98"}, status=400)
    assert "end it first" in refused["detail"]
    ended = await acme.tell(f"/admin/contracts/{signed['id']}/end", REASON)
    assert ended["ends_at_us"] >= NOON_US
    [shown] = (await acme.ask("/admin/providers/acme"))["contracts"]
    assert not shown["is_in_force"]
    actions = {row["action"] for row in (await acme.ask("/admin/audit", subject="provider:acme"))["data"]}
    assert {"contract.signed", "contract.ended"} <= actions


@pytest.mark.parametrize(
    "terms",
    [
        {},
        {"usd_per_hour": "1", "usd_per_mtok": RATES},
        {"usd_per_hour": "1", "ends_at": "yesterday"},
        {"usd_per_hour": "1", "ends_at": "2026-13-01"},
        {"usd_per_hour": "1", "starts_at": "2027-01-01", "ends_at": "2026-01-01"},
        {"usd_per_mtok": RATES, "rpm": 0},
    ],
)
async def test_terms_that_cannot_be_are_refused(acme: Market, terms: dict[str, Any]) -> None:
    refused = await acme.tell("/admin/providers/acme/contracts", terms, status=400)
    assert refused["detail"]


async def test_a_statement_sums_what_was_delivered_under_each_contract(acme: Market) -> None:
    await acme.tell("/admin/providers/acme/contracts", {"usd_per_mtok": RATES, "starts_at": "2026-11-24"}, status=201)
    mine = {"provider_id": "acme", "offer_id": "acme/api-1", "model": "open/one", "cost": 81_500}
    at_noon = [event(f"gen-s{n}", NOON_US - n * 1_000_000, **mine) for n in range(3)]
    await put(acme.desk, *at_noon, event("gen-before", NOON_US - 86_400_000_000, **mine))
    day: dict[str, Any] = {"from": "2026-11-24", "until": "2026-11-25"}
    told = await acme.ask("/admin/providers/acme/statement", **day)
    [line] = told["lines"]
    assert (line["requests"], line["tokens"]["input"], line["tokens"]["output"]) == (3, 150, 300)
    assert line["at_rates_nano"] == str(150 * 250 + 300 * 690)  # nano-USD per token are milli-USD per million
    assert line["owed_nano"] == line["accrued_nano"] == str(3 * 81_500)
    assert told["ledger"]["drift_nano"] == str(-3 * 81_500)  # these events were put in past the ledger
    assert not told["is_closed"]
    month = await acme.ask("/admin/providers/acme/statement", month="2026-11")
    assert [each["basis"] for each in month["lines"]] == ["no contract", "token"]
    assert month["owed_nano"] == str(4 * 81_500)


async def test_a_month_of_hours_is_owed_whether_or_not_it_served(acme: Market) -> None:
    terms = {"usd_per_hour": "98.32", "starts_at": "2026-10-31T12:00:00Z"}
    await acme.tell("/admin/providers/acme/contracts", terms, status=201)
    told = await acme.ask("/admin/providers/acme/statement", month="2026-10")
    [line] = told["lines"]
    assert (line["basis"], line["hours"], line["requests"]) == ("hour", "12.0000", 0)
    assert told["owed_usd"] == "1179.84"  # twelve hours at 98.32
    assert told["is_closed"]


@pytest.mark.parametrize(
    "query", [{"from": "2026-11-25", "until": "2026-11-24"}, {"from": "2020-01-01"}, {"month": "x"}]
)
async def test_a_period_that_cannot_be_is_refused(acme: Market, query: dict[str, Any]) -> None:
    assert (await acme.ask("/admin/providers/acme/statement", status=400, **query))["detail"]
    await acme.ask("/admin/providers/nobody/statement", status=404)


async def test_a_viewer_looks_and_changes_nothing(acme: Market) -> None:
    assert await acme.ask("/admin/providers/acme", Role.VIEWER)
    assert await acme.ask("/admin/providers/acme/statement", Role.VIEWER)
    for path, body in (
        ("providers", {"id": "b", "name": "B"}),
        ("providers/acme/credential", {"secret": SECRET}),
        ("providers/acme/deployments", DEPLOYMENT),
        ("providers/acme/contracts", {"usd_per_hour": "1"}),
        ("providers/acme/remove", REASON),
        ("tuned_models/tm_1/refuse", REASON),
    ):
        refused = await acme.tell(f"/admin/{path}", body, Role.VIEWER, status=403)
        assert "run fleet" in refused["detail"]


async def test_how_a_provider_is_asked_is_kept_and_cannot_smuggle_headers(acme: Market) -> None:
    access = {"auth_header": "x-api-key", "auth_scheme": "", "headers": {"x-org": "acme"}}
    assert (await acme.tell("/admin/providers/acme/access", access))["is_changed"]
    assert (await acme.ask("/admin/providers/acme"))["access"] == access
    refused = await acme.tell("/admin/providers/acme/access", {"headers": {"Host": "elsewhere"}}, status=400)
    assert "no header name, or one that is set here" in refused["detail"]


async def test_a_tuned_model_is_refused_with_a_reason_that_its_customer_reads(acme: Market) -> None:
    [customer] = (await acme.ask("/admin/customers", limit=1))["data"]
    actor = Actor("customer", customer["id"])
    async with acme.desk.database.writing() as session:
        await put_on_sale(session, ModelOnSale("base/one", "One", 4096, NOON_US), actor, NOON_US)
        wish = Wish("support", "base/one", "acme-support", rpm=60, concurrency=2)
        row = await request_model(session, customer["id"], wish, actor, NOON_US)
    [shown] = (await acme.ask("/admin/tuned_models", status=200))["data"]
    assert (shown["id"], shown["customer_id"], shown["status"]) == (row.id, customer["id"], "requested")
    stale = {"reason": "no room", "version": 9}
    assert "version 9" in (await acme.tell(f"/admin/tuned_models/{row.id}/refuse", stale, status=409))["detail"]
    refused = await acme.tell(f"/admin/tuned_models/{row.id}/refuse", {"reason": "no room"})
    assert (refused["status"], refused["reason"]) == ("refused", "no room")
    out_of_range = {"offers": ["acme/api-1"], "reason": "because", "slowdown": "1.0000001", "cost_factor": 0}
    await acme.tell(f"/admin/tuned_models/{row.id}/approve", out_of_range, status=400)
    wrong = {"offers": ["acme/api-1"], "reason": "because"}
    assert "not the base" in (await acme.tell(f"/admin/tuned_models/{row.id}/approve", wrong, status=400))["detail"]
