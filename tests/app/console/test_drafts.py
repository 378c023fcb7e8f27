import html
import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qsl

import pytest

from app.catalog.sale import ModelOnSale
from app.catalog.service import put_on_sale
from app.clock import from_us
from app.identity.roles import Role
from app.planning.input_store import write_defaults
from app.planning.priced import PricedModelSpec
from app.planning.priced_store import seed_priced_model
from pricing.money import format_usd_per_mtok
from pricing.profiles import LengthClass
from pricing.slo import Tier
from tests.app.console.market_fixtures import EMAILS, Market
from tests.app.console.seeded_market import HOSTILE, MODEL, SYSTEM, cards_of_the_shipped_profiles, publish
from tests.app.console.test_pages import text_of

pytestmark = pytest.mark.slow

PRICES = "/console/prices"
FIELDS = ("input", "cached", "cache_write", "output", "ttft", "tpot")


def form_of(page: str) -> dict[str, str]:
    """What the editor's form would send as it stands."""
    fields = dict(re.findall(r'name="((?:premium|standard|bulk)\.\w+)" value="([^"]*)"(?! checked)', page))
    checked = re.findall(r'name="(\w+\.sold)" value="yes" checked', page)
    version = re.search(r'name="version" value="(\d+)"', page)
    assert version is not None
    plain = {name: html.unescape(value) for name, value in fields.items() if not name.endswith(".sold")}
    return {**plain, **dict.fromkeys(checked, "yes"), "version": version.group(1), "model": MODEL}


async def new_draft(market: Market, role: Role = Role.OPERATOR) -> str:
    """Signs in and makes a draft of the live book; its path."""
    await market.sign_in(EMAILS[role])
    done = await market.send(f"{PRICES}/drafts")
    assert done.status_code == 303, done.text
    return done.headers["location"].partition("?")[0]


async def save(market: Market, path: str, **changed: str) -> str:
    """Changes fields of the model as a person would, and returns the page that follows."""
    form = form_of(await market.page(path))
    done = await market.send(path, **{**form, **{name.replace("_of_", "."): text for name, text in changed.items()}})
    assert done.status_code == 303, text_of(done.text)
    return await market.page(done.headers["location"])


async def publish_draft(market: Market, path: str, **more: str) -> Mapping[str, str]:
    """Publishes a draft as it is; the headers of the answer."""
    version = form_of(await market.page(path))["version"]
    form = {"version": version, "when": "now", "reason": "it is time", "confirm": "publish", "accept": "yes", **more}
    done = await market.send(f"{path}/publish", **form)
    assert done.status_code == 303, text_of(done.text)
    return done.headers


def live_id(market: Market) -> str:
    return market.desk.shelf.live(from_us(market.desk.now_us())).id


async def test_a_draft_of_the_live_book_is_edited_reviewed_published_and_rolled_back(market: Market) -> None:
    first = live_id(market)
    path = await new_draft(market)
    page = await save(market, path, standard_of_output="0.6", standard_of_tpot="10 ms")
    shown = text_of(page)
    assert "Saved in this draft." in shown
    assert "was 0.519598 +15.5 %" in shown  # 0.6 / 0.519598 = 1.15474
    assert "was 8.5 ms +17.6 % 100 tok/s/user" in shown  # 10 / 8.5 = 1.17647
    review = text_of(await market.page(f"{path}/diff"))
    assert (
        f"{MODEL} standard 118 tok/s/user, first token within 3.8 s, then one every 8.5 ms → 100 tok/s/user" in review
    )
    assert "Output $0.519598 $0.60 +15.5 % $0.3317 36.2 % 44.7 %" in review  # 1 - 0.331655 / 0.6 = 44.7 %
    assert "2 cards stay as they are" in review
    headers = await publish_draft(market, path)
    assert headers["location"] == f"{PRICES}?done=published"
    second = live_id(market)
    assert second != first
    card = market.desk.shelf.live(from_us(market.desk.now_us())).cards[MODEL, Tier.STANDARD]
    assert (card.rung.rates.output, card.rung.slo.tpot_us) == (600_000, 10_000)
    assert "Published: quotes and new requests are priced under it" in await market.page(headers["location"])

    asked = text_of(await market.page(f"{PRICES}/{first}/rollback"))
    assert "Output $0.60 $0.519598 −13.4 %" in asked  # 0.519598 / 0.6 = 0.86600
    back = await market.send(f"{PRICES}/{first}/rollback", reason="customers left", after=second)
    assert back.headers["location"] == f"{PRICES}?done=rolled_back"
    third = live_id(market)
    assert third not in {first, second}
    card = market.desk.shelf.live(from_us(market.desk.now_us())).cards[MODEL, Tier.STANDARD]
    assert (card.rung.rates.output, card.rung.slo.tpot_us) == (519_598, 8_500)
    log = text_of(await market.page("/console/audit"))
    for action in ("opened", "edited", "published"):
        assert f"price_draft.{action}" in log
    for action in ("published", "rolled_back"):
        assert f"price_book.{action}" in log
    assert "customers left" in log


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"confirm": "yes"}, 400, "type publish into the last field to confirm; nothing was published"),
        ({"reason": " "}, 400, "reason: "),
        ({"version": "7"}, 409, "is at version 2, but the change was made from version 7"),
        ({"when": "later", "effective_at": ""}, 400, "choose the moment at which it comes into force"),
        ({"when": "later", "effective_at": "2026-11-24T11:59"}, 400, "2026-11-24 11:59 UTC has passed"),
        ({"when": "later", "effective_at": "2026-11-25T12:00+02:00"}, 400, "write the moment in UTC"),
        ({"when": "later", "effective_at": "2031-01-01T00:00"}, 400, "is more than 366 days after now"),
    ],
)
async def test_a_publication_that_cannot_be_taken_says_why_and_keeps_what_was_typed(
    market: Market, fields: dict[str, str], status: int, said: str
) -> None:
    first = live_id(market)
    path = await new_draft(market)
    await save(market, path, standard_of_output="0.6")
    form = {"version": "2", "when": "now", "reason": "it is time", "confirm": "publish", **fields}
    answer = await market.send(f"{path}/publish", **form)
    assert answer.status_code == status
    assert said in html.unescape(answer.text)
    assert f'value="{form["reason"]}"' in answer.text
    assert live_id(market) == first


async def test_a_scheduled_book_counts_down_and_can_be_withdrawn_before_its_moment(market: Market) -> None:
    first = live_id(market)
    path = await new_draft(market)
    await save(market, path, standard_of_output="0.6")
    headers = await publish_draft(market, path, when="later", effective_at="2026-11-25T14:30")
    page = await market.page(headers["location"])
    assert "comes into force in 1 d 2 h , at 2026-11-25 14:30:00 UTC" in text_of(page)
    assert live_id(market) == first
    found = re.search(rf'href="({PRICES}/pb-20261125T143000-[0-9a-f]+)/withdraw"', page)
    assert found is not None
    asked = text_of(await market.page(f"{found.group(1)}/withdraw"))
    assert "It will not come into force in 1 d 2 h, at 2026-11-25 14:30:00 UTC." in asked
    done = await market.send(f"{found.group(1)}/withdraw", reason="too early")
    assert done.headers["location"] == f"{PRICES}?done=withdrawn"
    after = text_of(await market.page(PRICES))
    assert "comes into force in" not in after
    assert "Withdrawn" in after
    assert "withdrawn by operator@example.com: too early" in after
    again = await market.send(f"{found.group(1)}/withdraw", reason="once more")
    assert again.status_code == 409
    assert "was withdrawn before" in html.unescape(again.text)


async def test_a_tier_that_is_dearer_than_the_better_one_is_marked_beside_its_field_and_not_published(
    market: Market,
) -> None:
    first = live_id(market)
    path = await new_draft(market)
    page = await save(market, path, bulk_of_output="9")
    assert 'id="f-bulk-output" name="bulk.output" value="9.00"' in page
    assert re.search(r'name="bulk.output"[^>]*aria-invalid="true"', page)
    assert "the output rate of 9.00 must be below standard's 0.519598" in html.unescape(page)
    review = await market.page(f"{path}/diff")
    assert "As it stands it cannot be published" in review
    assert f'action="{path}/publish"' not in review
    refused = await market.send(
        f"{path}/publish", version="2", when="now", reason="all the same", confirm="publish", accept="yes"
    )
    assert refused.status_code == 409
    assert live_id(market) == first


async def test_selling_below_cost_has_to_be_accepted_in_so_many_words(market: Market) -> None:
    first = live_id(market)
    path = await new_draft(market)
    page = await save(market, path, standard_of_output="0.3")
    assert "the output rate of 0.30 is below our cost of 0.33" in html.unescape(page)
    review = html.unescape(await market.page(f"{path}/diff"))
    assert re.search(r'name="accept" value="yes" required>', review)
    form = {"version": "2", "when": "now", "reason": "a promotion", "confirm": "publish"}
    refused = await market.send(f"{path}/publish", **form)
    assert refused.status_code == 409
    assert "has warnings: " in html.unescape(refused.text)
    assert live_id(market) == first
    assert (await market.send(f"{path}/publish", **form, accept="yes")).status_code == 303
    assert live_id(market) != first
    assert "below our cost" in html.unescape(await market.page("/console/audit?action=price_draft.published"))


async def test_what_cannot_be_read_is_said_beside_its_field_and_nothing_of_the_model_is_saved(market: Market) -> None:
    path = await new_draft(market)
    form = {**form_of(await market.page(path)), "standard.output": "0,6", "premium.ttft": "660", "bulk.output": "0.05"}
    answer = await market.send(path, **form)
    assert answer.status_code == 400
    page = html.unescape(answer.text)
    assert "2 fields could not be read, so nothing was saved" in page
    assert "'0,6' is no rate: write dollars per million tokens" in page
    assert "'660' is no span of time: write a number and its unit" in page
    assert 'value="0,6"' in page
    assert "version 1," in text_of(await market.page(path))


async def test_whoever_saves_second_sees_both_versions_and_can_go_on_with_either(market: Market) -> None:
    path = await new_draft(market)
    mine = {**form_of(await market.page(path)), "standard.output": "0.7"}
    await save(market, path, standard_of_output="0.6", bulk_of_input="0.0148")
    clash = await market.send(path, **mine)
    assert clash.status_code == 409
    shown = text_of(clash.text)
    assert "You edited version 1 of this draft; version 2 was saved" in shown
    assert "standard Output 0.519598 0.60 0.7" in shown
    assert "bulk Input 0.014726 0.0148 0.014726" in shown
    assert "standard Input" not in shown
    kept = form_of(await market.page(path))
    assert (kept["standard.output"], kept["version"]) == ("0.60", "2")
    over = dict(re.findall(r'type="hidden" name="([\w.]+)" value="([^"]*)"', clash.text))
    over.pop("csrf")
    assert over["version"] == "2"
    assert (await market.send(path, **over)).status_code == 303
    now = form_of(await market.page(path))
    assert (now["standard.output"], now["bulk.input"]) == ("0.70", "0.014726")


async def test_a_tier_is_taken_off_sale_and_put_back(market: Market) -> None:
    path = await new_draft(market)
    form = form_of(await market.page(path))
    del form["premium.sold"]
    assert (await market.send(path, **form)).status_code == 303
    review = text_of(await market.page(f"{path}/diff"))
    assert f"{MODEL} premium withdrawn" in review
    assert f"{MODEL} is no longer sold at premium: such requests are refused." in review
    assert "premium.sold" not in form_of(await market.page(path))
    await save(market, path, premium_of_sold="yes")
    assert "Nothing differs" in await market.page(f"{path}/diff")


async def test_a_draft_whose_book_was_replaced_is_compared_anew_and_keeps_its_edits(market: Market) -> None:
    path = await new_draft(market)
    await save(market, path, standard_of_output="0.6")
    other = await new_draft(market)
    await save(market, other, bulk_of_output="0.06")
    await publish_draft(market, other)
    page = await market.page(path)
    assert "compared with a book that is no longer in force" in text_of(page)
    refused = await market.send(
        f"{path}/publish", version="2", when="now", reason="mine too", confirm="publish", accept="yes"
    )
    assert refused.status_code == 409
    done = await market.send(f"{path}/rebase", version="2", onto=live_id(market))
    assert done.headers["location"] == f"{path}/diff?done=rebased"
    review = text_of(await market.page(f"{path}/diff"))
    assert "Output $0.519598 $0.60" in review
    assert "$0.058903" not in review
    await publish_draft(market, path)
    cards = market.desk.shelf.live(from_us(market.desk.now_us())).cards
    assert cards[MODEL, Tier.STANDARD].rung.rates.output == 600_000
    assert cards[MODEL, Tier.BULK].rung.rates.output == 60_000


async def test_a_discarded_draft_stays_readable_and_closed(market: Market) -> None:
    path = await new_draft(market)
    assert "No card changes in it" in text_of(await market.page(f"{path}/discard"))
    assert (await market.send(f"{path}/discard", version="1", reason="")).status_code == 400
    done = await market.send(f"{path}/discard", version="1", reason="never mind")
    assert done.headers["location"] == f"{PRICES}?done=discarded"
    page = await market.page(path)
    assert "was discarded and cannot be edited" in page
    assert '<fieldset class="price price-standard" disabled>' in page
    refused = await market.send(path, **form_of(page))
    assert refused.status_code == 409
    assert "Discarded" in text_of(await market.page(PRICES))


async def test_margin_impact_is_shown_on_the_last_days_traffic_and_its_absence_said(
    market: Market, empty_market: Market
) -> None:
    del market
    await publish(empty_market.desk)
    path = await new_draft(empty_market)
    await save(empty_market, path, standard_of_output="0.6")
    assert "No traffic to compare on Nothing was sold in the last 7 days" in text_of(
        await empty_market.page(f"{path}/diff")
    )


PAGES_TO_SEE = ("", "/diff")
FORMS = ("", "/publish", "/discard", "/rebase")


async def test_a_viewer_sees_drafts_and_their_review_but_no_way_to_act(market: Market) -> None:
    path = await new_draft(market)
    await save(market, path, standard_of_output="0.6")
    first = live_id(market)
    await market.send("/console/logout")
    await market.sign_in(EMAILS[Role.VIEWER])
    for more in PAGES_TO_SEE:
        page = await market.page(f"{path}{more}")
        main = page.partition("<main")[2]
        assert "<form method" not in main
        assert "Discard" not in main
    listed = (await market.page(PRICES)).partition("<main")[2]
    assert "<form method" not in listed
    assert "Roll back" not in listed
    for more in FORMS:
        assert (await market.send(f"{path}{more}", version="2", reason="me too")).status_code == 403
    for refused in (f"{PRICES}/drafts", f"{PRICES}/{first}/rollback", f"{PRICES}/{first}/withdraw"):
        assert (await market.send(refused, reason="me too")).status_code == 403
    for hidden in (f"{path}/discard", f"{PRICES}/{first}/rollback", f"{PRICES}/{first}/withdraw"):
        assert (await market.client.get(hidden)).status_code == 403
    assert live_id(market) == first


async def test_every_form_about_prices_needs_the_sessions_own_token(market: Market) -> None:
    path = await new_draft(market)
    first = live_id(market)
    for target in (*(f"{path}{more}" for more in FORMS), f"{PRICES}/drafts", f"{PRICES}/{first}/rollback"):
        answer = await market.client.post(target, data={"csrf": "x", "reason": "from elsewhere", "version": "1"})
        assert answer.status_code == 403
        assert "was not sent from a page of your present session" in answer.text


async def test_unknown_drafts_and_books_are_not_found(market: Market) -> None:
    await market.sign_in()
    for path in ("drafts/draft-none", "drafts/draft-none/diff", "drafts/draft-none/discard", "pb-none/rollback"):
        assert (await market.client.get(f"{PRICES}/{path}")).status_code == 404


async def test_a_book_of_a_hundred_models_comes_in_pages_and_a_draft_edits_one_model_at_a_time(
    empty_market: Market,
) -> None:
    models = [f"acme/model-{number:03d}" for number in range(100)]
    cards = cards_of_the_shipped_profiles()
    await publish(
        empty_market.desk,
        tuple(replace(card, model=name) for name in (*models, HOSTILE) for card in cards),
    )
    await empty_market.sign_in()
    page = await empty_market.page(PRICES)
    assert page.count('class="card price ') == 8 * 3
    assert "Page 1 of 13, 101 in all" in text_of(page)
    found = await empty_market.page(f"{PRICES}?find=MODEL-04")
    assert found.count('class="card price ') == 8 * 3
    assert "Page 1 of 2, 10 in all" in text_of(found)
    assert "No model is called so" in text_of(await empty_market.page(f"{PRICES}?find=nothing+like+it"))
    path = await new_draft(empty_market)
    form = {**form_of(await empty_market.page(f"{path}?model={models[42]}")), "model": models[42]}
    assert (await empty_market.send(path, **{**form, "standard.output": "0.6"})).status_code == 303
    for shown in (path, f"{path}/diff"):
        answer = await empty_market.page(shown)
        assert len(answer.encode()) < 150_000
        assert "<img src=x" not in answer
    assert "302 cards stay as they are" in text_of(await empty_market.page(f"{path}/diff"))


async def point_on_the_frontier(market: Market) -> dict[str, str]:
    """The third point of the frontier's table: what its link asks for."""
    page = html.unescape(await market.page("/console/frontier"))
    links = re.findall(r'href="/console/frontier/promise\?(model=[^"]*&point=[^"]*)"', page)
    return dict(parse_qsl(links[2]))


async def test_a_measured_point_becomes_a_tiers_promise_with_its_cost_and_the_rates_stay(market: Market) -> None:
    before = market.desk.shelf.live(from_us(market.desk.now_us())).cards[MODEL, Tier.STANDARD]
    await market.sign_in(EMAILS[Role.OPERATOR])
    asked = await point_on_the_frontier(market)
    page = await market.client.get("/console/frontier/promise", params=asked)
    assert "Which tier promises it" in page.text
    done = await market.send("/console/frontier/promise", card=f"standard {MODEL}", **asked)
    assert done.status_code == 303
    path = done.headers["location"].partition("?")[0]
    draft = await market.ask(f"/admin/price-drafts/{path.rpartition('/')[2]}")
    [card] = [each for each in draft["cards"] if each["tier"] == "standard"]
    deployment_id, _, load = asked["point"].partition("/c")
    assert card["deployment_id"] == deployment_id != before.deployment_id
    assert card["concurrency_max"] == int(load.partition("/")[0])
    assert card["usd_per_mtok"]["output"] == format_usd_per_mtok(before.rung.rates.output)
    assert card["slo"]["tpot_us"] != before.rung.slo.tpot_us
    assert "Deployment behind it" in await market.page(f"{path}/diff")


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"point": "nowhere/c1/x"}, 404),
        ({"lengths": "8k/1k"}, 404),
        ({"model": "none"}, 404),
        ({"card": "gold x"}, 400),
    ],
)
async def test_a_point_or_tier_that_is_none_opens_no_draft(
    market: Market, changed: dict[str, str], status: int
) -> None:
    await market.sign_in(EMAILS[Role.OPERATOR])
    asked = {"card": f"standard {MODEL}", **await point_on_the_frontier(market), **changed}
    assert (await market.send("/console/frontier/promise", **asked)).status_code == status
    assert (await market.ask("/admin/price-drafts"))["data"] == []
    await market.send("/console/logout")
    await market.sign_in(EMAILS[Role.VIEWER])
    assert (await market.send("/console/frontier/promise", **asked)).status_code == 403


async def test_prices_are_derived_from_measurements_as_a_draft_beside_the_live_book(market: Market) -> None:
    now_us = market.desk.now_us()
    async with market.desk.database.writing() as session:
        await put_on_sale(session, ModelOnSale(MODEL, "Chat", 131_072, now_us), SYSTEM, now_us)
        spec = PricedModelSpec(MODEL, MODEL, lengths=LengthClass(8192, 1024))
        await seed_priced_model(session, spec, SYSTEM, "test", now_us)
        await write_defaults(session, {("market", "margin"): 1.0}, SYSTEM, now_us)
    await market.sign_in(EMAILS[Role.OPERATOR])
    done = await market.send(f"{PRICES}/derive")
    path, _, query = done.headers["location"].partition("?")
    assert (done.status_code, query) == (303, "done=derived")
    page = text_of(await market.page(path))
    assert "Derived from measurements" in page
    again = await market.send(f"{PRICES}/derive")
    assert again.headers["location"].startswith(path)
    await publish_draft(market, path)
    assert (await market.send(f"{PRICES}/derive")).headers["location"] == f"{PRICES}?done=nothing_derived"


async def test_what_cannot_be_derived_says_why(market: Market) -> None:
    await market.sign_in(EMAILS[Role.OPERATOR])
    refused = await market.send(f"{PRICES}/derive")
    assert refused.status_code == 409
    assert "no priced model is on sale" in refused.text
