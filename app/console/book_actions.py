"""What follows from publishing, withdrawing or going back to a price book, in words and numbers; pure."""

from collections.abc import Sequence

from app.catalog.book_store import BookHead
from app.console.card_changes import CardChange
from app.console.shapes import count, duration, moment, until


def publishing(changes: Sequence[CardChange], quote_ttl_us: int, scheduled: Sequence[BookHead]) -> tuple[str, ...]:
    """Sentences about publishing a draft.

    Args:
        changes: what differs from the book it is compared with.
        quote_ttl_us: how long a signed quote is honoured.
        scheduled: books that are to come into force.

    >>> publishing((), 300_000_000, ())[0]
    'No card changes; every other stays as it is.'
    """
    gone = [change for change in changes if change.word == "withdrawn"]
    return (
        f"{_cards(len(changes))}; every other stays as it is.",
        *(f"{change.model} is no longer sold at {change.tier}: such requests are refused." for change in gone[:4]),
        *(
            f"{head.id}, scheduled for {moment(head.effective_at_us)} UTC, knows nothing of these changes: it replaces "
            "them if it comes later."
            for head in scheduled[:4]
        ),
        "A request that is running keeps the prices and promises it was admitted under.",
        f"A quote that is signed already is honoured under the book it names, for up to {duration(quote_ttl_us)}.",
        "A published book is for ever; going back means publishing the old prices again.",
    )


def rolling_back(changes: Sequence[CardChange], effective_at_us: int) -> tuple[str, ...]:
    """Sentences about putting an older book's prices in force again."""
    return (
        f"The prices and promises of {moment(effective_at_us)} UTC come into force at once, as a new book.",
        f"Against the book in force, {_cards(len(changes)).lower()}: see below.",
        "Requests that are running keep theirs; signed quotes are honoured under the book they name.",
        "Costs are those that the old book was made with; drafts that are open have to be compared again.",
    )


def withdrawing(effective_at_us: int, now_us: int) -> tuple[str, ...]:
    """Sentences about taking back a book that is to come."""
    return (
        f"It will not come into force {until(effective_at_us, now_us)}, at {moment(effective_at_us)} UTC.",
        "What is in force by then stays in force past that moment.",
        "The withdrawn book stays in the list, for what was published is never removed.",
    )


def discarding(changes: Sequence[CardChange]) -> tuple[str, ...]:
    """Sentences about dropping a draft."""
    return (
        f"{_cards(len(changes))} in it; none of that is published, and what is sold stays as it is.",
        "The draft stays readable, but can neither be edited nor published any more.",
    )


def _cards(number: int) -> str:
    if not number:
        return "No card changes"
    return "One card changes" if number == 1 else f"{count(number)} cards change"
