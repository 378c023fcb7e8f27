"""``goodput prices diff | list | publish | schedule | rollback | withdraw | export``: books over time."""

import csv
import io
import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import price_drafts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlmodel.ext.asyncio.session import AsyncSession

    from app.admin.price_service import Review, Side
    from app.catalog.book_store import BookHead, Released
    from app.db import Database
    from pricing.pricebook import PriceBook

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Why = Annotated[str, typer.Option(help="Why; it stands in the audit log and with the book.")]
DraftId = Annotated[str, typer.Argument(help="The draft, draft-….")]
BookId = Annotated[str, typer.Argument(help="The price book, pb-….")]
Accept = Annotated[bool, typer.Option("--accept-warnings", help="The draft's warnings were read and are meant.")]
BOOKS_MAX = 500
RATE_COLUMNS = ("input", "cached", "cache_write", "output")


def register(app: typer.Typer) -> None:
    """Adds these commands to ``goodput prices``."""
    app.add_typer(price_drafts.app, name="draft")
    for command in (diff, publish, schedule, rollback, withdraw, export):
        app.command()(command)
    app.command("list")(list_books)


def diff(
    old: Annotated[
        str, typer.Argument(help="A book, draft or `live`; alone, it is what is compared with its own base.")
    ] = "",
    new: Annotated[str, typer.Argument(help="A book or draft.")] = "",
    days: Annotated[int, typer.Option(min=0, max=92, help="Days of traffic to rate under both; 0 for none.")] = 7,
    as_json: AsJson = False,
) -> None:
    """Compare two price books, or a draft with its base, and what recent traffic would have earned under both.

    Without arguments: the only open draft. With one: a draft against its base, a book against the one in force.
    """
    from app.admin.price_documents import review_document

    found = _reviewed(old, new, days)
    if as_json:
        typer.echo(json.dumps(review_document(found)))
    else:
        _print_review(found)


def _reviewed(old: str, new: str, days: int) -> "Review":
    from app.admin.price_service import review
    from app.cli.price_market import named, on_market, open_draft_id
    from app.clock import now_us

    async def read(database: "Database") -> "Review":
        async with database.reading() as session:
            newer = await named(session, new or old) if new or old else await open_draft_id(session, "")
            older = await named(session, old) if new else None
        return await review(database, newer, now_us(), old_id=older, days=days)

    return on_market(read)


def _print_review(found: "Review") -> None:
    from app.admin.price_documents import basis
    from app.cli.price_tables import diff_summary, diff_table, impact_table
    from app.cli.tables import show

    if found.diff.cards:
        show(diff_table(found))
    typer.echo(diff_summary(found.diff))
    if found.new.draft is not None:
        for word, remarks in (("problem", found.new.draft.problems), ("warning", found.new.draft.warnings)):
            for remark in remarks:
                typer.echo(f"{word}: {remark}")
    if found.assessment is not None:
        if found.assessment.impact.lines:
            typer.echo("")
            show(impact_table(found.assessment.impact, found.assessment.period.days))
        typer.echo(basis(found.assessment))


def list_books(as_json: AsJson = False) -> None:
    """List published price books, the last published first: live, scheduled, past and withdrawn ones."""
    from app.admin.price_documents import book_head_document
    from app.catalog.book_store import books_page
    from app.catalog.repository import live_row
    from app.cli.price_market import reading
    from app.cli.terminal import answer, note
    from app.clock import now_us

    now = now_us()

    async def read(session: "AsyncSession") -> "tuple[list[BookHead], str | None]":
        live = await live_row(session, now)
        return await books_page(session, BOOKS_MAX), None if live is None else live.id

    heads, live_id = reading(read)
    documents = [book_head_document(head, live_id, now) for head in heads]
    if as_json:
        answer(documents, as_json=True)
    elif not documents:
        note("No price book was ever published.")
    else:
        columns = ("id", "state", "origin", "effective_at", "published_by", "reason")
        answer([{name: document[name] for name in columns} for document in documents], as_json=False)


def publish(draft_id: DraftId, reason: Why, accept_warnings: Accept = False, as_json: AsJson = False) -> None:
    """Publish a draft: in force at once, and everywhere within a second."""
    _print_released(_release(draft_id, reason, None, accepts_warnings=accept_warnings), as_json=as_json)


def schedule(
    draft_id: DraftId,
    at: Annotated[str, typer.Option(help="When, with a time zone, such as 2026-12-01T00:00:00Z.")],
    reason: Why,
    accept_warnings: Accept = False,
    as_json: AsJson = False,
) -> None:
    """Publish a draft that comes into force at a moment to come; it can be withdrawn until then."""
    released = _release(draft_id, reason, _moment(at), accepts_warnings=accept_warnings)
    _print_released(released, as_json=as_json)


def _moment(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no moment; write it such as 2026-12-01T00:00:00Z") from error
    if at.tzinfo is None:
        raise typer.BadParameter(f"{text!r} has no time zone; write a moment with one, such as 2026-12-01T00:00:00Z")
    return at


def _release(draft_id: str, reason: str, at: datetime | None, *, accepts_warnings: bool) -> "Released":
    from app.catalog.draft_store import Release, draft_by_id, publish_draft
    from app.cli.price_market import actor, writing
    from app.clock import now_us

    async def write(session: "AsyncSession") -> "Released":
        draft = await draft_by_id(session, draft_id)
        wanted = Release(draft.version, reason, at, accepts_warnings=accepts_warnings)
        return await publish_draft(session, draft_id, wanted, actor("schedule" if at else "publish"), now_us())

    return writing(write)


def rollback(book_id: BookId, reason: Why, as_json: AsJson = False) -> None:
    """Put an older book's promises and rates in force again, as a new book, at once."""
    from app.catalog.book_store import roll_back
    from app.cli.price_market import actor, writing
    from app.clock import now_us

    released = writing(lambda session: roll_back(session, book_id, actor("rollback"), reason, now_us()))
    _print_released(released, as_json=as_json)


def withdraw(book_id: BookId, reason: Why, as_json: AsJson = False) -> None:
    """Take back a book that is to come: it never comes into force."""
    from app.admin.price_documents import book_head_document
    from app.catalog.book_store import withdraw_book
    from app.cli.price_market import actor, writing
    from app.cli.terminal import answer
    from app.clock import now_us

    head = writing(lambda session: withdraw_book(session, book_id, actor("withdraw"), reason, now_us()))
    document = book_head_document(head, None, now_us())
    shown = document if as_json else {name: document[name] for name in ("id", "state", "effective_at", "reason")}
    answer(shown, as_json=as_json)


def export(
    subject: Annotated[str, typer.Argument(help="A book or draft; left out, the book in force.")] = "live",
    file_format: Annotated[str, typer.Option("--format", help="json or csv")] = "json",
) -> None:
    """Print a price book: JSON is the published document whose digest is its sha256, CSV a row for each card."""
    if file_format not in {"json", "csv"}:
        raise typer.BadParameter(f"there is no format {file_format!r}; choose json or csv")
    side, book = _exported(subject)
    typer.echo(_csv(side) if file_format == "csv" else json.dumps(_document(side, book)), nl=file_format == "json")


def _exported(subject: str) -> "tuple[Side, PriceBook | None]":
    from app.admin.price_service import side_of
    from app.catalog.book_store import book_by_id
    from app.cli.price_market import named, reading

    async def read(session: "AsyncSession") -> "tuple[Side, PriceBook | None]":
        side = await side_of(session, await named(session, subject))
        return side, None if side.draft is not None else await book_by_id(session, side.id)

    return reading(read)


def _document(side: "Side", book: "PriceBook | None") -> dict[str, Any]:
    from app.admin.price_documents import draft_document
    from pricing.pricebook import book_document

    if book is not None:
        return {"id": book.id, "sha256": book.sha256, **book_document(book)}
    return {} if side.draft is None else draft_document(side.draft)


def _csv(side: "Side") -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(_csv_rows(side))
    return text.getvalue()


def _csv_rows(side: "Side") -> "Iterable[list[str]]":
    from pricing.money import format_usd_per_mtok
    from pricing.slo import US_PER_S

    rates = [f"{name}_usd_per_mtok" for name in RATE_COLUMNS]
    costs = [f"cost_{name}_usd_per_mtok" for name in RATE_COLUMNS]
    yield ["id", "model", "tier", *rates, "ttft_s", "tpot_s", *costs, "deployment_id", "concurrency_max"]
    for card in side.cards.values():
        slo = card.rung.slo
        yield [
            *(side.id, card.model, card.rung.tier.value),
            *(format_usd_per_mtok(rate) for rate in card.rung.rates.by_class().values()),
            *(f"{us / US_PER_S:.6f}" for us in (slo.ttft_us, slo.tpot_us)),
            *(format_usd_per_mtok(rate) for rate in card.cost.by_class().values()),
            *(card.deployment_id, str(card.concurrency_max)),
        ]


def _print_released(released: "Released", *, as_json: bool) -> None:
    from app.admin.price_documents import released_document
    from app.cli.terminal import answer, note
    from app.clock import now_us

    document = released_document(released, None, now_us())
    if as_json:
        answer(document, as_json=True)
        return
    answer({name: document[name] for name in ("price_book_id", "effective_at", "replaces", "sha256")}, as_json=False)
    for head in document["followed_by"]:
        note(f"note: {head['id']} is scheduled for {head['effective_at']} and replaces it then.")
    if released.off_sale:
        note(f"note: it prices models that are not on sale: {', '.join(released.off_sale)}.")
    if released.unpriced:
        note(f"note: it has no price for models on sale, whose requests are refused: {', '.join(released.unpriced)}.")
