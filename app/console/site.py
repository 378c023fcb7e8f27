"""What all pages share: the desk, the renderer, the figures read once for everybody, and the frame around a page."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from litestar import Response
from litestar.di import NamedDependency

from app.admin import repository
from app.admin.desk import Desk, Economics
from app.admin.figures import ATTAINMENT_TARGET_PERCENT, DayFigures, Pace, paces
from app.audit.service import Actor
from app.catalog.service import NoPriceBook
from app.clock import from_us
from app.console.assets import Assets
from app.console.economics import shipped_economics
from app.console.fresh import Fresh
from app.console.guard import HttpRequest, address_of, request_id_of, visitor_of
from app.console.overview import rate_per_s, tier_rows
from app.console.panels import Now, ProviderPanel, provider_panels
from app.console.render import Renderer
from app.identity.roles import Permission
from app.metering.models import UsageEvent
from pricing.pricebook import PriceBook
from scheduler.breaker import BreakerState
from scheduler.fleet import OfferId

REFRESH_US = 2_000_000
RECENT_ROWS = 10


@dataclass(frozen=True, slots=True)
class Link:
    """One entry of the left rail."""

    path: str
    label: str
    icon: str


NAVIGATION: Sequence[tuple[str, Sequence[Link]]] = (
    (
        "Operate",
        (
            Link("/console", "Overview", "overview"),
            Link("/console/providers", "Providers", "providers"),
            Link("/console/requests", "Requests", "requests"),
        ),
    ),
    (
        "Price",
        (Link("/console/frontier", "Frontier", "frontier"), Link("/console/prices", "Price book", "prices")),
    ),
    (
        "Money",
        (Link("/console/customers", "Customers", "customers"), Link("/console/ledger", "Ledger", "ledger")),
    ),
    ("Admin", (Link("/console/audit", "Audit log", "audit"),)),
)
DONE: Mapping[str, str] = {
    "drained": "Draining: running requests finish, new ones go elsewhere.",
    "enabled": "Enabled: it takes new work within a second.",
    "disabled": "Disabled: it takes no work until it is enabled again.",
    "customer": "Customer created.",
    "revoked": "Key revoked: it stops working everywhere within seconds.",
    "credit": "Credit granted.",
    "frozen": "Frozen: running requests finish, new ones are refused.",
    "draft": "Draft made: what is sold changes when it is published.",
    "saved": "Saved in this draft.",
    "rebased": "Compared with another book from now on; the draft's edits are kept.",
    "discarded": "Draft discarded; what is sold stays as it is.",
    "published": "Published: quotes and new requests are priced under it within a second.",
    "scheduled": "Scheduled: it comes into force at its moment, unless it is withdrawn before.",
    "withdrawn": "Withdrawn: it will not come into force.",
    "rolled_back": "Rolled back: the older prices and promises are in force again, as a new book.",
    "nothing_derived": "The book in force already has the prices that follow from the latest measurements and costs.",
    "derived": "Derived from the latest measurements and costs; review it, then publish.",
    "unfrozen": "Unfrozen: new requests are accepted again.",
}
_NEXT_THEME = {"system": "light", "light": "dark", "dark": "system"}


@dataclass(frozen=True, slots=True)
class Standing:
    """How the market stands at a moment; what the overview shows."""

    figures: DayFigures
    recent: Sequence[UsageEvent]
    providers: Sequence[ProviderPanel]


class Site:
    """The console of one process."""

    def __init__(self, desk: Desk, assets: Assets) -> None:
        self.desk = desk
        self.assets = assets
        self.renderer = Renderer(assets)
        self.standing = Fresh(self._standing, REFRESH_US)
        self.panels = Fresh(self._panels, REFRESH_US)
        self.streams = 0
        self._economics: Economics | None = None

    def page(
        self, request: HttpRequest, template: str, here: str, context: Mapping[str, Any], status: int = 200
    ) -> Response[str]:
        """A page inside its frame."""
        return self.renderer.page(template, {**self.frame(request, here), **context}, status)

    def frame(self, request: HttpRequest, here: str) -> dict[str, Any]:
        """What the frame around every page needs."""
        visitor = visitor_of(request)
        back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return {
            "visitor": visitor,
            "navigation": NAVIGATION,
            "here": here,
            "back": back if request.method == "GET" else here,
            "next_theme": _NEXT_THEME.get(visitor.theme, "system"),
            "market": "Market" if self.desk.settings.database_url else "Embedded market",
            "done": DONE.get(request.query_params.get("done", "")),
            "problem": None,
            "now_us": self.desk.now_us(),
            "may_run_fleet": visitor.principal.role.may(Permission.RUN_FLEET),
            "may_run_customers": visitor.principal.role.may(Permission.RUN_CUSTOMERS),
            "may_run_prices": visitor.principal.role.may(Permission.RUN_PRICES),
            "may_grant": visitor.principal.role.may(Permission.GRANT_CREDIT),
        }

    def actor(self, request: HttpRequest) -> Actor:
        """Who acts, for the audit log."""
        principal = visitor_of(request).principal
        return Actor("operator", principal.operator_id, principal.email, address_of(request), request_id_of(request))

    def overview_context(self, standing: Standing) -> dict[str, Any]:
        """What the overview and its live parts show."""
        minutes = standing.figures.minutes
        return {
            "figures": standing.figures,
            "tiers": tier_rows(standing.figures),
            "target": ATTAINMENT_TARGET_PERCENT,
            "good_per_s": rate_per_s(minutes, standing.figures.as_of_us, good=True),
            "tokens_per_s": rate_per_s(minutes, standing.figures.as_of_us, good=False),
            "recent": standing.recent,
            "providers": standing.providers,
            "in_flight": sum(panel.in_flight for panel in standing.providers),
            "capacity": sum(panel.capacity for panel in standing.providers),
        }

    def live_book(self) -> PriceBook | None:
        """The book in force; None when none is."""
        try:
            return self.desk.shelf.live(from_us(self.desk.now_us()))
        except NoPriceBook:
            return None

    async def economics(self) -> Economics:
        """What frontiers are drawn from; read once."""
        if self._economics is None:
            read = self.desk.economics or (lambda: shipped_economics(self.desk.settings))
            self._economics = await asyncio.to_thread(read)
        return self._economics

    async def _standing(self) -> Standing:
        async with self.desk.database.reading() as session:
            figures = await repository.day_figures(session, self.desk.now_us())
            recent = await repository.requests_page(session, repository.RequestFilter(), None, RECENT_ROWS - 1)
        return Standing(figures, recent, await self.panels.get())

    async def _panels(self) -> tuple[ProviderPanel, ...]:
        now_us = self.desk.now_us()
        async with self.desk.database.reading() as session:
            providers = await repository.providers_with_deployments(session)
            answers = await repository.recent_answers(session, now_us)
        live = self.desk.live_fleet
        breakers: dict[str, BreakerState] = {
            row.id: live.breaker_state(OfferId(row.id), now_us) for _, rows in providers for row in rows
        }
        paced: Mapping[str, Pace] = paces(answers)
        return provider_panels(providers, Now(live.fleet.loads, breakers, live.troubles, paced))


TheSite = NamedDependency[Site]
