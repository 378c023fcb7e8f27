"""Why a draft cannot be opened, changed or published, in words and numbers; pure."""

from collections.abc import Sequence

from app.catalog.draft import TITLE_MAX, Draft
from app.clock import from_us
from app.errors import MarketError

REMARKS_SHOWN_MAX = 10


class UnknownDraft(MarketError):
    """No draft has this id."""

    def __init__(self, draft_id: str) -> None:
        super().__init__(404, "draft_not_found", f"There is no price draft {draft_id[:80]!r}.")


class DraftChanged(MarketError):
    """Somebody else changed the draft since it was read."""


class DraftClosed(MarketError):
    """The draft was published or discarded: it stays as it is."""


class DraftNotPublishable(MarketError):
    """The draft has problems, or warnings that nobody accepted."""


class DraftOutdated(MarketError):
    """Another book has taken the place of the one that the draft was compared with."""


class DraftRefused(MarketError):
    """A draft that cannot be opened as asked."""


def checked_title(text: str) -> str:
    """A draft's title as it is kept.

    Raises:
        DraftRefused: it is empty, too long, or has control characters.
    """
    title = text.strip()
    if not title or len(title) > TITLE_MAX or not title.isprintable():
        raise DraftRefused(
            400,
            "invalid_title",
            f"A draft needs a title of 1 to {TITLE_MAX} printable characters; got {len(title)}.",
            param="title",
        )
    return title


def closed(draft: Draft) -> DraftClosed:
    """The refusal of a change to a draft that was published or discarded."""
    became = f" as {draft.published_book_id}" if draft.published_book_id else ""
    return DraftClosed(
        409, "draft_closed", f"{draft.id} was {draft.state}{became} and stays as it is. Open another draft to go on."
    )


def stale(draft_id: str, asked: int, found: int) -> DraftChanged:
    """The refusal of a change to another version than the one that was read; names both."""
    return DraftChanged(
        409,
        "draft_changed",
        f"{draft_id} is at version {found}, but the change was made from version {asked}: somebody else changed it "
        "meanwhile. Read it again and repeat the change.",
    )


def outdated(draft: Draft, at_us: int, replaces: str | None) -> DraftOutdated:
    """The refusal of a draft that was compared with another book than it would replace; names both."""
    return DraftOutdated(
        409,
        "draft_outdated",
        f"{draft.id} was compared with {draft.base_book_id or 'no book'}, but at {from_us(at_us).isoformat()} the book "
        f"to be replaced is {replaces or 'none'}. Rebase the draft onto that one: its edits are kept.",
    )


def check_remarks(draft: Draft, *, accepts_warnings: bool) -> None:
    """Lets a draft through that can be published.

    Raises:
        DraftNotPublishable: it has problems, or warnings that were not accepted.
    """
    if draft.problems:
        raise DraftNotPublishable(
            409, "draft_has_problems", f"{draft.id} cannot be published as it is: {_listed(draft.problems)}."
        )
    if draft.warnings and not accepts_warnings:
        raise DraftNotPublishable(
            409,
            "warnings_not_accepted",
            f"{draft.id} has warnings: {_listed(draft.warnings)}. Change it, or publish it with the warnings accepted.",
        )


def _listed(remarks: Sequence[object]) -> str:
    shown = "; ".join(map(str, remarks[:REMARKS_SHOWN_MAX]))
    return shown if len(remarks) <= REMARKS_SHOWN_MAX else f"{shown}; and {len(remarks) - REMARKS_SHOWN_MAX} more"
