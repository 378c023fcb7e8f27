"""The page about where prices come from: the frontier of what was measured."""

import asyncio
from typing import TYPE_CHECKING, Any

from litestar import Response, get

from app.admin import repository
from app.admin.desk import Economics
from app.console.guard import HttpRequest
from app.console.site import TheSite
from pricing.pricebook import PriceBook
from pricing.profiles import LengthClass, ProfileError

if TYPE_CHECKING:
    from app.console.frontier import Picture

HERE = "/console/frontier"


@get("/frontier", name="console.frontier", include_in_schema=False)
async def frontier_page(request: HttpRequest, site: TheSite) -> Response[str]:
    """What was measured, its envelope, and where the tiers on sale lie on it."""
    asked = {name: request.query_params.get(name, "")[:200] for name in ("model", "lengths", "y", "scope")}
    try:
        economics = await site.economics()
    except (ProfileError, ValueError) as error:
        return site.page(request, "frontier.html", HERE, {**_NOTHING, "problem": f"a profile cannot be read: {error}"})
    async with site.desk.database.reading() as session:
        found = await repository.providers_with_deployments(session)
    fleet = frozenset(row.deployment_id for _, rows in found for row in rows)
    context = await asyncio.to_thread(frontier_context, economics, site.live_book(), fleet, asked)
    return site.page(request, "frontier.html", HERE, context)


_NOTHING: dict[str, Any] = {
    "models": (),
    "model": "",
    "classes": (),
    "lengths": "",
    "yields": (),
    "chosen": "",
    "scopes": (),
    "scope": "",
    "drawing": None,
    "chart": "",
    "sources": {},
}


def frontier_context(
    economics: Economics, book: PriceBook | None, fleet: frozenset[str], asked: dict[str, str]
) -> dict[str, Any]:
    """What the page shows; runs in a thread, for it interpolates and sorts thousands of points."""
    from app.console import frontier  # noqa: PLC0415 (it loads scipy, which the gateway does without)
    from pricing.candidates import FrontierError  # noqa: PLC0415 (with it)

    models = frontier.models_measured(economics)
    default = frontier.default_choice(economics, book)
    if default is None:
        return _NOTHING
    model = asked["model"] if asked["model"] in models else default[0]
    classes = frontier.classes_measured(economics, model)
    lengths = _class_of(asked["lengths"], classes) or (default[1] if model == default[0] else classes[0])
    chosen = frontier.Yield(asked["y"]) if asked["y"] in set(frontier.Yield) else frontier.Yield.PER_USD
    ours = fleet & frontier.measured_deployments(economics, model, lengths)
    scope = "all" if not ours or asked["scope"] == "all" else "fleet"
    context: dict[str, Any] = {
        "scopes": ("fleet", "all") if ours else ("all",),
        "scope": scope,
        "models": models,
        "model": model,
        "classes": classes,
        "lengths": str(lengths),
        "yields": tuple(frontier.Yield),
        "chosen": chosen,
        "drawing": None,
        "chart": "",
        "sources": {},
    }
    try:
        view = frontier.View(model, lengths, chosen, ours if scope == "fleet" else None)
        drawing: Picture = frontier.picture(economics, book, view)
    except FrontierError as error:
        return {**context, "problem": str(error)}

    chart = frontier.chart_document(drawing, economics.sources)
    return {**context, "drawing": drawing, "chart": chart, "sources": economics.sources}


def _class_of(text: str, classes: tuple[LengthClass, ...]) -> LengthClass | None:
    return next((lengths for lengths in classes if str(lengths) == text), None)


HANDLERS = [frontier_page]
