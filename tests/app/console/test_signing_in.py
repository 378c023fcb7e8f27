import pytest

from app.identity.roles import Role
from app.identity.session_store import AGE_S_MAX
from tests.app.console.market_fixtures import EMAILS, Market, csrf_of
from tests.app.console.seeded_market import EMAIL, PASSWORD

PAGES = ("", "/providers", "/requests", "/frontier", "/prices", "/customers", "/ledger", "/audit")


@pytest.mark.parametrize("path", PAGES)
async def test_nobody_sees_a_page_before_signing_in_and_comes_back_to_it_after(empty_market: Market, path: str) -> None:
    answer = await empty_market.client.get(f"/console{path}?x=1", follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/console/login?next=")
    page = await empty_market.client.get(answer.headers["location"])
    assert f'value="/console{path}?x=1"' in page.text


async def test_the_cookie_is_http_only_lax_and_bound_to_the_console(empty_market: Market) -> None:
    answer = await empty_market.sign_in()
    assert (answer.status_code, answer.headers["location"]) == (303, "/console")
    [cookie] = [value for value in answer.headers.get_list("set-cookie") if value.startswith("goodput_session=")]
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/console", f"max-age={AGE_S_MAX}"} <= attributes
    assert "secure" not in attributes


async def test_over_https_the_cookie_is_secure(empty_market: Market) -> None:
    empty_market.client.base_url = "https://console.example.com"
    answer = await empty_market.sign_in()
    [cookie] = [value for value in answer.headers.get_list("set-cookie") if value.startswith("goodput_session=")]
    assert "secure" in cookie.lower()


async def test_a_wrong_password_says_so_keeps_the_address_and_never_the_password(empty_market: Market) -> None:
    answer = await empty_market.sign_in(password="wrong & <b>")
    assert answer.status_code == 401
    assert "This address and password do not belong together." in answer.text
    assert f'value="{EMAIL}"' in answer.text
    assert "wrong" not in answer.text


async def test_after_five_failures_the_page_says_how_long_to_wait(empty_market: Market) -> None:
    for _ in range(5):
        assert (await empty_market.sign_in(password="wrong")).status_code == 401
    answer = await empty_market.sign_in()
    assert answer.status_code == 429
    assert "Too many failed attempts; try again in 15 minutes." in answer.text
    assert int(answer.headers["retry-after-ms"]) / 1000 >= 890 or answer.headers["retry-after"] == "120"


async def test_a_sign_in_form_from_elsewhere_is_refused(empty_market: Market) -> None:
    await empty_market.client.get("/console/login")
    form = {"csrf": "planted", "email": EMAIL, "password": PASSWORD}
    answer = await empty_market.client.post("/console/login", data=form, follow_redirects=False)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "next_path",
    ["https://evil.example", "//evil.example", "/\\evil.example", "/admin", "/console/logout", "javascript:x"],
)
async def test_signing_in_never_leads_out_of_the_console(empty_market: Market, next_path: str) -> None:
    page = await empty_market.client.get("/console/login")
    form = {"csrf": csrf_of(page.text), "email": EMAIL, "password": PASSWORD, "next": next_path}
    answer = await empty_market.client.post("/console/login", data=form, follow_redirects=False)
    assert answer.headers["location"] == "/console"


async def test_signing_out_ends_the_session_for_its_old_cookie_too(empty_market: Market) -> None:
    await empty_market.sign_in()
    cookie = empty_market.client.cookies["goodput_session"]
    answer = await empty_market.send("/console/logout")
    assert answer.headers["location"] == "/console/login"
    again = await empty_market.client.get(
        "/console", headers={"cookie": f"goodput_session={cookie}"}, follow_redirects=False
    )
    assert again.status_code == 303


@pytest.mark.parametrize("csrf", [None, "", "planted"])
async def test_a_form_without_this_sessions_token_changes_nothing(empty_market: Market, csrf: str | None) -> None:
    await empty_market.sign_in()
    form = {"name": "Mallory", **({} if csrf is None else {"csrf": csrf})}
    answer = await empty_market.client.post("/console/customers", data=form, follow_redirects=False)
    assert answer.status_code == 403
    assert "was not sent from a page of your present session" in answer.text
    assert "Mallory" not in await empty_market.page("/console/customers")


@pytest.mark.parametrize(
    "headers", [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "https://evil.example"}]
)
async def test_a_form_that_another_site_sends_is_refused_even_with_the_token(
    empty_market: Market, headers: dict[str, str]
) -> None:
    await empty_market.sign_in()
    csrf = csrf_of(await empty_market.page("/console/customers"))
    form = {"csrf": csrf, "name": "Mallory"}
    answer = await empty_market.client.post("/console/customers", data=form, headers=headers, follow_redirects=False)
    assert answer.status_code == 403


async def test_a_viewer_sees_all_pages_and_can_change_nothing(market: Market) -> None:
    await market.sign_in(EMAILS[Role.VIEWER])
    for path in PAGES:
        await market.page(f"/console{path}")
    page = await market.page("/console/customers")
    assert "does not include creating customers" in page
    assert (await market.send("/console/customers", name="Mallory")).status_code == 403
    assert (await market.client.get("/console/providers/cluster-b200/drain")).status_code == 403
    assert "Drain…" not in await market.page("/console/providers")


async def test_an_operator_runs_the_fleet_but_grants_no_credit(market: Market) -> None:
    await market.sign_in(EMAILS[Role.OPERATOR])
    assert (await market.client.get("/console/providers/cluster-b200/drain")).status_code == 200
    answer = await market.send("/console/customers/cus_x/credit", amount_usd="1.00", reason="bribe")
    assert answer.status_code == 403
    assert "the role operator does not include &#39;grant credit&#39;" in answer.text.lower()


async def test_a_theme_stays_with_the_operator(empty_market: Market) -> None:
    await empty_market.sign_in()
    assert 'data-theme="system"' in await empty_market.page("/console")
    answer = await empty_market.send("/console/theme", theme="dark", back="/console/ledger")
    assert answer.headers["location"] == "/console/ledger"
    assert 'data-theme="dark"' in await empty_market.page("/console")
    await empty_market.send("/console/theme", theme="plaid", back="https://evil.example")
    assert 'data-theme="dark"' in await empty_market.page("/console")


async def test_an_ended_session_ends_the_live_stream_and_says_so(empty_market: Market) -> None:
    answer = await empty_market.client.get("/console/overview/stream", headers={"accept": "text/event-stream"})
    assert answer.status_code == 401


async def test_a_body_over_the_limit_is_refused(empty_market: Market) -> None:
    await empty_market.sign_in()
    answer = await empty_market.client.post("/console/customers", data={"name": "x" * 100_000}, follow_redirects=False)
    assert answer.status_code == 413
