"""What every page about one draft needs: the draft, the book it is compared with, and the books that stand."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.catalog import draft_store
from app.catalog.book_store import books_page
from app.catalog.draft import Cards, Draft
from app.console.book_lines import BookLine, book_lines
from app.console.guard import ROUTE_PERMISSION
from app.console.site import Site
from app.identity.roles import Permission
from pricing.pricebook import PriceBook

DRAFTS = "/console/prices/drafts"
RUNS_PRICES: Mapping[str, Permission] = {ROUTE_PERMISSION: Permission.RUN_PRICES}
BOOKS_LOOKED_AT = 50


@dataclass(frozen=True, slots=True)
class DraftFrame:
    """A draft and its surroundings at one moment.

    Attributes:
        base: the book it is compared with; None when nothing was in force.
        live: the book in force; None when none is.
        scheduled: books to come, the last published first.
    """

    draft: Draft
    base: PriceBook | None
    live: PriceBook | None
    scheduled: tuple[BookLine, ...]

    @property
    def base_cards(self) -> Cards:
        """The cards it is compared with."""
        return {} if self.base is None else self.base.cards

    @property
    def others(self) -> tuple[str, ...]:
        """Books that it could be compared with instead: the one in force, and those to come."""
        live = () if self.live is None else (self.live.id,)
        return tuple(name for name in (*live, *(line.id for line in self.scheduled)) if name != self.draft.base_book_id)

    @property
    def is_outdated(self) -> bool:
        """True when the book it is compared with is neither in force nor to come."""
        names = (None if self.live is None else self.live.id, *(line.id for line in self.scheduled))
        return self.draft.is_open and self.draft.base_book_id not in names

    def context(self) -> dict[str, Any]:
        """What the pages' heads show."""
        return {
            "draft": self.draft,
            "is_open": self.draft.is_open,
            "is_outdated": self.is_outdated,
            "others": self.others,
            "live_id": None if self.live is None else self.live.id,
            "blockers": [str(remark) for remark in self.draft.problems] if self.draft.is_open else [],
            "cautions": [str(remark) for remark in self.draft.warnings] if self.draft.is_open else [],
        }


async def draft_frame(site: Site, draft_id: str) -> DraftFrame:
    """Reads a draft and what is around it.

    Raises:
        UnknownDraft: there is none of that id.
    """
    async with site.desk.database.reading() as session:
        draft = await draft_store.draft_by_id(session, draft_id)
        heads = await books_page(session, BOOKS_LOOKED_AT)
    base = None if draft.base_book_id is None else await site.desk.shelf.find(draft.base_book_id)
    live = site.live_book()
    lines = book_lines(heads, None if live is None else live.id, site.desk.now_us())
    return DraftFrame(draft, base, live, tuple(line for line in lines if line.can_withdraw))
