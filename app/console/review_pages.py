"""The page on which a draft is reviewed against the book it is compared with, and published or scheduled."""

from collections.abc import Mapping
from datetime import UTC, datetime

from litestar import Response, get, post
from litestar.response import Redirect

from app.admin import price_service
from app.catalog.draft_store import Release
from app.catalog.impact_store import DAYS_DEFAULT, assess, last_days
from app.clock import US_PER_S, from_us
from app.console.book_actions import publishing
from app.console.book_pages import HERE
from app.console.card_changes import card_changes
from app.console.draft_frame import RUNS_PRICES, DraftFrame, draft_frame
from app.console.forms import Form, FormRefused, read_form
from app.console.guard import HttpRequest, Id
from app.console.impact_view import ImpactView, impact_view
from app.console.site import Site, TheSite
from app.console.slices import slice_of
from app.errors import MarketError

CARDS_PER_PAGE = 20
CONFIRMATION = "publish"
DRAFT = "/prices/drafts/{draft_id:str}"


@get(f"{DRAFT}/diff", name="console.draft_diff", include_in_schema=False)
async def draft_diff(request: HttpRequest, site: TheSite, draft_id: Id) -> Response[str]:
    """What would change, and what that would have earned on recent traffic."""
    return await _review(request, site, draft_id, {}, None)


async def _review(
    request: HttpRequest, site: Site, draft_id: str, typed: Mapping[str, str], error: MarketError | None
) -> Response[str]:
    frame = await draft_frame(site, draft_id)
    changes = card_changes(frame.base_cards, frame.draft.cards)
    quote_ttl_us = round(site.desk.settings.quote_ttl_s * US_PER_S)
    context = {
        **frame.context(),
        "impact": await impact_of(site, frame),
        "changes": slice_of(changes, request.query_params.get("page", ""), CARDS_PER_PAGE),
        "unchanged": len({*frame.base_cards, *frame.draft.cards}) - len(changes),
        "consequences": publishing(changes, quote_ttl_us, [line.head for line in frame.scheduled]),
        "typed": typed,
        "problem": None if error is None else error.message,
    }
    return site.page(request, "draft_diff.html", HERE, context, 200 if error is None else error.status)


async def impact_of(site: Site, frame: DraftFrame) -> ImpactView:
    """The last days' traffic under the book compared with and under the draft."""
    period = last_days(DAYS_DEFAULT, site.desk.now_us())
    assessed = await assess(site.desk.database, frame.base_cards, frame.draft.cards, period)
    return impact_view(assessed.impact, period.since_us, DAYS_DEFAULT)


@post(f"{DRAFT}/publish", name="console.publish_draft", include_in_schema=False, opt=RUNS_PRICES, status_code=200)
async def do_publish(request: HttpRequest, site: TheSite, draft_id: Id) -> Response[str] | Redirect:
    """Publishes a draft at once or at a moment to come."""
    form = await read_form(request)
    try:
        wanted = read_release(form, from_us(site.desk.now_us()))
        await price_service.publish_draft(site.desk, site.actor(request), draft_id, wanted)
    except MarketError as error:
        return await _review(request, site, draft_id, form.fields, error)
    done = "published" if wanted.effective_at is None else "scheduled"
    return Redirect(f"{HERE}?done={done}", status_code=303)


def read_release(form: Form, now: datetime) -> Release:
    """Reads the publication form.

    Raises:
        FormRefused: the word was not typed, or the moment or the reason is none.
    """
    if form.text("confirm").strip() != CONFIRMATION:
        raise FormRefused(f"type {CONFIRMATION} into the last field to confirm; nothing was published")
    effective_at = read_moment(form.text("effective_at"), now) if form.text("when") == "later" else None
    return Release(
        version=form.version() or 0,
        reason=form.reason(),
        effective_at=effective_at,
        accepts_warnings=form.text("accept") == "yes",
    )


def read_moment(text: str, now: datetime) -> datetime:
    """Reads a form's date and time as UTC.

    Raises:
        FormRefused: it is none, or has passed.

    >>> read_moment("2026-11-25T10:30", datetime(2026, 11, 24, tzinfo=UTC)).isoformat()
    '2026-11-25T10:30:00+00:00'
    """
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise FormRefused("choose the moment at which it comes into force, as date and time in UTC") from error
    if at.tzinfo is not None:
        raise FormRefused("write the moment in UTC, without a time zone")
    at = at.replace(tzinfo=UTC)
    if at <= now:
        raise FormRefused(f"{at:%Y-%m-%d %H:%M} UTC has passed; it is {now:%Y-%m-%d %H:%M} UTC now")
    return at


HANDLERS = [draft_diff, do_publish]
