"""The pages on which a measured point becomes a tier's promise, in a draft."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from litestar import Response, get, post
from litestar.response import Redirect

from app.admin.desk import Economics
from app.catalog.draft_store import Heading, open_draft
from app.console.draft_frame import DRAFTS, RUNS_PRICES
from app.console.forms import FormRefused, read_form
from app.console.guard import HttpRequest
from app.console.render import query
from app.console.site import Site, TheSite
from app.identity.service import UnknownSubject
from pricing.pricebook import PriceBook, RateCard
from pricing.profiles import LengthClass

if TYPE_CHECKING:
    from pricing.candidates import Candidate

HERE = "/console/frontier"
ASKED = ("model", "lengths", "point")
CHARS_MAX = 400


@get("/frontier/promise", name="console.promise", include_in_schema=False, opt=RUNS_PRICES)
async def promise_page(request: HttpRequest, site: TheSite) -> Response[str]:
    """Which tier is to promise what was measured at a point."""
    asked = {name: request.query_params.get(name, "")[:CHARS_MAX] for name in ASKED}
    economics = await site.economics()
    context = await asyncio.to_thread(promise_context, economics, site.live_book(), asked)
    return site.page(request, "promise.html", HERE, context)


def promise_context(economics: Economics, book: PriceBook | None, asked: Mapping[str, str]) -> dict[str, Any]:
    """What the page shows; runs in a thread, for it costs every measured point of a model."""
    from app.console.chosen_point import choices  # noqa: PLC0415 (it loads scipy, which the gateway does without)
    from app.console.frontier import provenance  # noqa: PLC0415 (with it)
    from pricing.assumptions import UTILISATION  # noqa: PLC0415 (with it)

    chosen = found_point(economics, asked)
    offered = () if book is None else choices(book.cards, chosen)
    nearest = min(
        (each for each in offered if not each.before.rung.slo.is_window),
        key=lambda each: abs(each.before.interactivity_tok_s_user - chosen.tok_s_user),
        default=None,
    )
    return {
        "words": provenance(chosen, economics.sources),
        "offered": offered,
        "selected": "" if nearest is None else nearest.key,
        "asked": dict(asked),
        "utilisation": UTILISATION,
        "back_to": f"{HERE}?{query({name: asked[name] for name in ('model', 'lengths')})}",
    }


def found_point(economics: Economics, asked: Mapping[str, str]) -> "Candidate":
    """The measured point of a chart that its key names.

    Raises:
        UnknownSubject: there is none.
    """
    from app.console.frontier import key_of  # noqa: PLC0415 (it loads scipy)
    from pricing.candidates import FrontierError, candidates  # noqa: PLC0415 (with it)

    isl, _, osl = asked["lengths"].partition("/")
    try:
        lengths = LengthClass(int(isl), int(osl))
        points = candidates(economics.profiles, asked["model"], lengths, economics.costs).points
    except (FrontierError, ValueError) as error:
        raise UnknownSubject("measured point", asked["point"]) from error
    chosen = next((each for each in points if key_of(each) == asked["point"]), None)
    if chosen is None:
        raise UnknownSubject("measured point", asked["point"])
    return chosen


def moved_cards(economics: Economics, book: PriceBook, asked: Mapping[str, str], key: str) -> list[RateCard]:
    """The book's cards, with the chosen one at the point.

    Raises:
        FormRefused: the choice is no card of the book.
    """
    from app.console.chosen_point import choices  # noqa: PLC0415 (it loads scipy)

    offered = choices(book.cards, found_point(economics, asked))
    chosen = next((each for each in offered if each.key == key), None)
    if chosen is None:
        raise FormRefused("choose the tier and model that is to promise it")
    return [chosen.after if card is chosen.before else card for card in book.cards.values()]


@post("/frontier/promise", name="console.open_promise", include_in_schema=False, opt=RUNS_PRICES, status_code=200)
async def open_promise(request: HttpRequest, site: TheSite) -> Redirect:
    """Opens the draft."""
    form = await read_form(request)
    asked = {name: form.text(name) for name in ASKED}
    economics, book = await site.economics(), site.live_book()
    if book is None:
        raise FormRefused("no book is in force, so there is no tier to promise it at")
    cards = await asyncio.to_thread(moved_cards, economics, book, asked, form.text("card"))
    tier, _, model = form.text("card").partition(" ")
    draft_id = await _opened(request, site, book, cards, f"{model} {tier}: a promise from the frontier"[:180])
    return Redirect(f"{DRAFTS}/{draft_id}?{query({'model': model, 'done': 'draft'})}", status_code=303)


async def _opened(request: HttpRequest, site: Site, book: PriceBook, cards: list[RateCard], title: str) -> str:
    async with site.desk.database.writing() as session:
        made = await open_draft(
            session,
            cards,
            book,
            Heading(title),
            site.actor(request),
            site.desk.now_us(),
        )
    return made.id


HANDLERS = [promise_page, open_promise]
