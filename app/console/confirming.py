"""The page that asks whether something is to be done, and why; the same for every act on a book or draft."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from litestar import Response

from app.console.book_pages import HERE
from app.console.guard import HttpRequest
from app.console.site import Site
from app.errors import MarketError


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What is to be done.

    Attributes:
        word: the button.
        crumb: the list that the subject stands in: ``books`` or ``drafts``.
        about: one sentence.
        consequences: a sentence each.
        back_to: where "cancel" leads.
        hidden: what the form sends along: which state of things was looked at.
        changes: a slice of what changes; None where nothing is compared.
    """

    word: str
    crumb: str
    subject_id: str
    about: str
    consequences: tuple[str, ...]
    back_to: str
    hidden: Mapping[str, str] = field(default_factory=dict[str, str])
    changes: Any = None


def confirm_page(
    request: HttpRequest, site: Site, asked: Confirmation, typed: Mapping[str, str], error: MarketError | None
) -> Response[str]:
    """The form, with what was typed and why it was refused, if it was."""
    context = {
        "word": asked.word,
        "crumb": asked.crumb,
        "subject_id": asked.subject_id,
        "about": asked.about,
        "consequences": asked.consequences,
        "hidden": asked.hidden,
        "typed": typed,
        "back_to": asked.back_to,
        "changes": asked.changes,
        "problem": None if error is None else error.message,
    }
    return site.page(request, "book_action.html", HERE, context, 200 if error is None else error.status)
