import html
import re

import pytest

from app.identity.auth import InvalidApiKey
from app.identity.roles import Role
from tests.app.console.market_fixtures import EMAILS, Market
from tests.app.console.seeded_market import add_customer

REASON = "firmware update"


async def test_draining_tells_what_follows_then_does_it_and_records_it(market: Market) -> None:
    await market.sign_in(EMAILS[Role.OPERATOR])
    page = html.unescape(await market.page("/console/providers/cluster-b200/drain"))
    assert "14 in-flight requests will finish; no new work goes there." in page
    assert "85.7 % of premium capacity goes away (96 at once)." in page
    assert 'name="version" value="1"' in page
    done = await market.send("/console/providers/cluster-b200/drain", reason=REASON, version="1")
    assert (done.status_code, done.headers["location"]) == (303, "/console/providers?done=drained")
    providers = await market.page("/console/providers?done=drained")
    assert "Draining: running requests finish, new ones go elsewhere." in providers
    assert "14 in flight will finish, no new work" in providers
    assert REASON in await market.page("/console/audit?subject=provider:cluster-b200")


async def test_the_last_provider_of_a_model_says_that_its_requests_will_be_refused(market: Market) -> None:
    await market.sign_in()
    page = html.unescape(await market.page("/console/providers/tuned-1/disable"))
    assert "Nobody else serves acme/support-tuned: its requests will be refused." in page


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"reason": ""}, 400, "reason: "),
        ({"reason": REASON, "version": "7"}, 409, "was changed meanwhile: you saw version 7, it is at version 1"),
        ({"reason": REASON, "version": "seven"}, 400, "version is damaged"),
        ({"reason": "x" * 4001}, 400, "at most 4000"),
    ],
)
async def test_a_form_that_cannot_be_taken_says_why_and_changes_nothing(
    market: Market, fields: dict[str, str], status: int, said: str
) -> None:
    await market.sign_in()
    answer = await market.send("/console/providers/cluster-b200/drain", **fields)
    assert answer.status_code == status
    assert said in html.unescape(answer.text)
    assert "Drain…" in await market.page("/console/providers")
    assert (await market.ask("/admin/audit", subject="provider:cluster-b200"))["data"] == []


@pytest.mark.parametrize("path", ["nobody/drain", "cluster-b200/explode"])
async def test_an_action_that_is_none_is_not_found(market: Market, path: str) -> None:
    await market.sign_in()
    assert (await market.client.get(f"/console/providers/{path}")).status_code == 404
    assert (await market.send(f"/console/providers/{path}", reason=REASON)).status_code == 404


async def test_a_new_keys_secret_is_shown_on_that_one_page_only(market: Market) -> None:
    customer_id = await add_customer(market.desk, "Acme")
    await market.sign_in()
    page = (await market.send(f"/console/customers/{customer_id}/keys", label="ci")).text
    found = re.search(r'id="secret">(gp-[A-Za-z0-9_-]{43})<', page)
    assert found is not None
    secret = found.group(1)
    assert (await market.desk.authenticator.authenticate(f"Bearer {secret}")).customer_id == customer_id
    again = await market.page(f"/console/customers/{customer_id}")
    assert secret not in again
    assert secret[:9] in again


async def test_a_key_without_a_label_is_refused_and_no_secret_is_made(market: Market) -> None:
    customer_id = await add_customer(market.desk, "Acme")
    await market.sign_in()
    answer = await market.send(f"/console/customers/{customer_id}/keys", label=" ")
    assert answer.status_code == 400
    assert 'id="secret"' not in answer.text


async def test_revoking_asks_first_and_then_ends_the_key_at_once(market: Market) -> None:
    customer_id = await add_customer(market.desk, "Acme")
    await market.sign_in()
    page = (await market.send(f"/console/customers/{customer_id}/keys", label="ci")).text
    secret = re.findall(r"gp-[A-Za-z0-9_-]{43}", page)[0]
    [revoke] = re.findall(r'href="(/console/keys/key_[0-9a-f]+/revoke)" aria-label="Revoke ci"', page)
    assert "get 401 within 2 s" in await market.page(revoke)
    assert (await market.send(revoke, reason="")).status_code == 400
    done = await market.send(revoke, reason="leaked")
    assert done.headers["location"] == f"/console/customers/{customer_id}?done=revoked"
    with pytest.raises(InvalidApiKey):
        await market.desk.authenticator.authenticate(f"Bearer {secret}")
    assert "It was revoked" in await market.page(revoke)


async def test_credit_is_granted_once_though_the_button_is_pressed_twice(market: Market) -> None:
    customer_id = await add_customer(market.desk, "Acme", credit_usd="1")
    await market.sign_in(EMAILS[Role.FINANCE])
    page = await market.page(f"/console/customers/{customer_id}")
    found = re.search(r'name="idempotency_key" value="([0-9a-f]+)"', page)
    assert found is not None
    form = {"idempotency_key": found.group(1), "amount_usd": "2.50", "reason": "goodwill"}
    for _ in range(2):
        done = await market.send(f"/console/customers/{customer_id}/credit", **form)
        assert done.headers["location"] == f"/console/customers/{customer_id}?done=credit"
    balance = await market.desk.ledger.balance(customer_id)
    assert balance.posted == 3_500_000_000
    assert "$3.50" in await market.page(f"/console/customers/{customer_id}")


@pytest.mark.parametrize("amount", ["", "-5", "1e9", "0", "1.0000000001", "<b>"])
async def test_an_amount_that_is_none_keeps_what_was_typed_and_moves_no_money(market: Market, amount: str) -> None:
    customer_id = await add_customer(market.desk, "Acme", credit_usd="1")
    await market.sign_in()
    form = {"idempotency_key": "k1", "amount_usd": amount, "reason": "good will"}
    answer = await market.send(f"/console/customers/{customer_id}/credit", **form)
    assert answer.status_code == 400
    assert f'value="{html.escape(amount)}"' in answer.text
    assert (await market.desk.ledger.balance(customer_id)).posted == 1_000_000_000


async def test_a_customer_is_created_frozen_and_unfrozen_with_a_reason(market: Market) -> None:
    await market.sign_in()
    done = await market.send("/console/customers", name=" Acme & Sons ", email="a@example.com")
    path = done.headers["location"].partition("?")[0]
    assert "Acme &amp; Sons" in await market.page(path)
    assert (await market.send(f"{path}/freeze", reason="dispute 7")).status_code == 303
    assert "New requests are refused now" in await market.page(path)
    assert (await market.send(f"{path}/unfreeze", reason="settled")).status_code == 303
    assert (await market.send(f"{path}/melt", reason="heat")).status_code == 404
    log = await market.page(f"/console/audit?subject=customer:{path.rpartition('/')[2]}")
    assert [word for word in ("customer.created", "customer.frozen", "customer.unfrozen") if word in log] != []
    assert "dispute 7" in log


async def test_a_nameless_customer_is_refused_with_the_form_kept(market: Market) -> None:
    await market.sign_in()
    answer = await market.send("/console/customers", name="  ", email="kept@example.com")
    assert answer.status_code == 400
    assert 'value="kept@example.com"' in answer.text
