"""Pages about drafts of price books: make one, edit it model by model, take both sides of a conflict, drop it."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from litestar import Response, get, post
from litestar.response import Redirect

from app.admin import price_service
from app.catalog.draft import CardEdit
from app.clock import from_us
from app.console.book_actions import discarding
from app.console.book_pages import HERE, calculator_context
from app.console.card_changes import card_changes
from app.console.clash import clashes
from app.console.confirming import Confirmation, confirm_page
from app.console.draft_frame import DRAFTS, RUNS_PRICES, DraftFrame, draft_frame
from app.console.draft_grid import Typed, grid, listed_models, read_typed
from app.console.forms import Form, read_form
from app.console.guard import HttpRequest, Id
from app.console.shapes import moment
from app.console.site import Site, TheSite
from app.errors import MarketError
from pricing.slo import Tier

CHANGED_MEANWHILE = "draft_changed"
EDITOR = "/prices/drafts/{draft_id:str}"


@post("/prices/drafts", name="console.new_draft", include_in_schema=False, opt=RUNS_PRICES, status_code=200)
async def new_draft(request: HttpRequest, site: TheSite) -> Redirect:
    """A draft that begins as a copy of the book in force."""
    form = await read_form(request)
    title = form.text("title").strip() or f"Prices of {moment(site.desk.now_us())[:16]}"
    made = await price_service.open_draft(site.desk, site.actor(request), title)
    return Redirect(f"{DRAFTS}/{made.id}?done=draft", status_code=303)


@post("/prices/derive", name="console.derive_draft", include_in_schema=False, opt=RUNS_PRICES, status_code=200)
async def derive_draft(request: HttpRequest, site: TheSite) -> Redirect:
    """A draft of the prices that follow from the latest measurements and costs; one that is open is kept or renewed."""
    from app.planning.service import derive_now, propose  # noqa: PLC0415 (it loads scipy, which the gateway does without)

    now_us = site.desk.now_us()
    found = await derive_now(site.desk.database, now_us)
    async with site.desk.database.writing() as session:
        made = await propose(session, from_us(now_us), found, actor=site.actor(request))
    if made is None:
        return Redirect(f"{HERE}?done=nothing_derived", status_code=303)
    return Redirect(f"{DRAFTS}/{made.id}?done=derived", status_code=303)


@get(EDITOR, name="console.draft", include_in_schema=False)
async def draft(request: HttpRequest, site: TheSite, draft_id: Id) -> Response[str]:
    """The editor: one model's tiers beside each other."""
    frame = await draft_frame(site, draft_id)
    return _editor(request, site, frame, request.query_params.get("model", ""))


def _editor(
    request: HttpRequest,
    site: Site,
    frame: DraftFrame,
    asked: str,
    typed: Typed | None = None,
    error: MarketError | None = None,
) -> Response[str]:
    """The page; with what was typed in place of what is saved where it could not be taken."""
    models = listed_models(frame.base_cards, frame.draft)
    names = [each.name for each in models]
    model = asked if asked in names else names[0] if names else ""
    context = {
        **frame.context(),
        "models": models,
        "model": model,
        "columns": grid(model, frame.base_cards, frame.draft, typed),
        "version": frame.draft.version if typed is None else typed.fields.get("version", ""),
        "problem": error.message if error is not None else None if typed is None else _unread(len(typed.refused)),
        **calculator_context(request, _priced(frame), {"model": model}),
    }
    status = error.status if error is not None else 200 if typed is None else 400
    return site.page(request, "draft.html", HERE, context, status)


def _priced(frame: DraftFrame) -> list[tuple[str, str, Any]]:
    """What the calculator compares: the book in force, and the draft."""
    live = [] if frame.live is None else [("Under the live book", frame.live.id, frame.live.cards)]
    return [*live, ("Under this draft", frame.draft.id, frame.draft.cards)]


def _unread(fields: int) -> str:
    if fields == 1:
        return "One field could not be read, so nothing was saved; see beside it."
    return f"{fields} fields could not be read, so nothing was saved; see beside them."


@post(EDITOR, name="console.edit_draft", include_in_schema=False, opt=RUNS_PRICES, status_code=200)
async def edit_draft(request: HttpRequest, site: TheSite, draft_id: Id) -> Response[str] | Redirect:
    """Saves one model's tiers; shows what of it cannot be taken, or that somebody else saved first."""
    form = await read_form(request)
    model, version = form.text("model"), form.version() or 0
    cards, refused = read_typed(form.fields, [tier for tier in Tier if f"{tier}.input" in form.fields])
    if refused:
        frame = await draft_frame(site, draft_id)
        return _editor(request, site, frame, model, Typed(form.fields, refused))
    edits = [CardEdit(model, card.tier, card.rates, card.slo, card.is_sold) for card in cards]
    try:
        await price_service.edit_draft(site.desk, site.actor(request), draft_id, version, edits)
    except MarketError as error:
        frame = await draft_frame(site, draft_id)
        if error.code == CHANGED_MEANWHILE:
            return _conflict(request, site, frame, form, error)
        return _editor(request, site, frame, model, Typed(form.fields, {}), error)
    return Redirect(f"{DRAFTS}/{draft_id}?{urlencode({'model': model, 'done': 'saved'})}", status_code=303)


def _conflict(request: HttpRequest, site: Site, frame: DraftFrame, form: Form, error: MarketError) -> Response[str]:
    """Both versions beside each other, and a way on with either."""
    model = form.text("model")
    kept = {name: text for name, text in form.fields.items() if name.partition(".")[0] in set(Tier)}
    context = {
        **frame.context(),
        "model": model,
        "seen_version": form.version(),
        "rows": clashes(model, frame.base_cards, frame.draft.cards, form.fields),
        "kept": kept,
    }
    return site.page(request, "draft_conflict.html", HERE, context, error.status)


@post(f"{EDITOR}/rebase", name="console.rebase_draft", include_in_schema=False, opt=RUNS_PRICES, status_code=200)
async def rebase_draft(request: HttpRequest, site: TheSite, draft_id: Id) -> Response[str] | Redirect:
    """Compares a draft with another book from now on; its edits are kept."""
    form = await read_form(request)
    onto = form.text("onto") or None
    try:
        await price_service.rebase_draft(site.desk, site.actor(request), draft_id, form.version() or 0, onto)
    except MarketError as error:
        frame = await draft_frame(site, draft_id)
        return _editor(request, site, frame, "", None, error)
    return Redirect(f"{DRAFTS}/{draft_id}/diff?done=rebased", status_code=303)


@get(f"{EDITOR}/discard", name="console.confirm_discard", include_in_schema=False, opt=RUNS_PRICES)
async def confirm_discard(request: HttpRequest, site: TheSite, draft_id: Id) -> Response[str]:
    """What dropping a draft means, and the form that does it."""
    return await _discard_page(request, site, draft_id, {}, None)


async def _discard_page(
    request: HttpRequest, site: Site, draft_id: str, typed: Mapping[str, str], error: MarketError | None
) -> Response[str]:
    frame = await draft_frame(site, draft_id)
    asked = Confirmation(
        word="Discard this draft",
        crumb="drafts",
        subject_id=draft_id,
        about=frame.draft.title,
        consequences=discarding(card_changes(frame.base_cards, frame.draft.cards)),
        back_to=f"{DRAFTS}/{draft_id}",
        hidden={"version": str(frame.draft.version)},
    )
    return confirm_page(request, site, asked, typed, error)


@post(f"{EDITOR}/discard", name="console.discard_draft", include_in_schema=False, opt=RUNS_PRICES, status_code=200)
async def discard_draft(request: HttpRequest, site: TheSite, draft_id: Id) -> Response[str] | Redirect:
    """Drops a draft; it stays readable."""
    form = await read_form(request)
    try:
        reason, version = form.reason(), form.version() or 0
        await price_service.discard_draft(site.desk, site.actor(request), draft_id, version, reason)
    except MarketError as error:
        return await _discard_page(request, site, draft_id, form.fields, error)
    return Redirect(f"{HERE}?done=discarded", status_code=303)


HANDLERS = [new_draft, derive_draft, draft, edit_draft, rebase_draft, confirm_discard, discard_draft]
