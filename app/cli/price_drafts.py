"""``goodput prices draft``: price books in the making."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sqlmodel.ext.asyncio.session import AsyncSession

    from app.catalog.draft import Draft
    from pricing.derive import Derivation

app = typer.Typer(help="Drafts of price books: list, show, new, set, rebase, discard.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
DraftOption = Annotated[str, typer.Option("--draft", help="Which draft; left out, the only one that is open.")]
DRAFTS_MAX = 500


@app.command("list")
def list_drafts(
    every: Annotated[bool, typer.Option("--all", help="Published and discarded ones too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List drafts, the last opened first."""
    from app.admin.price_documents import draft_head_document
    from app.catalog.draft import DraftState
    from app.catalog.draft_store import drafts_page
    from app.cli.price_market import reading
    from app.cli.terminal import answer, note

    state = None if every else DraftState.OPEN
    heads = reading(lambda session: drafts_page(session, DRAFTS_MAX, state=state))
    documents = [draft_head_document(head) for head in heads]
    if as_json:
        answer(documents, as_json=True)
    elif not documents:
        note("No draft is open; open one with goodput prices draft new.")
    else:
        columns = ("id", "title", "state", "version", "base_price_book_id", "created_by")
        answer([{name: document[name] for name in columns} for document in documents], as_json=False)


@app.command()
def show(
    draft_id: Annotated[str, typer.Argument(help="Which; left out, the only one that is open.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show a draft: its cards, what stands in the way of publishing it, what has to be accepted."""
    from app.catalog.draft_store import draft_by_id
    from app.cli.price_market import open_draft_id, reading

    async def read(session: "AsyncSession") -> "Draft":
        return await draft_by_id(session, await open_draft_id(session, draft_id))

    _print(reading(read), as_json=as_json)


@app.command()
def new(
    title: Annotated[str, typer.Option(help="What it is called.")] = "Prices from the command line",
    from_book: Annotated[str, typer.Option("--from", help="The book to begin with; left out, the one in force.")] = "",
    as_json: AsJson = False,
) -> None:
    """Open a draft to replace the book in force."""
    from app.catalog import repository
    from app.catalog.book_store import UnknownBook
    from app.catalog.draft_store import Heading, open_draft
    from app.cli.price_market import actor, live_id, writing
    from app.clock import now_us

    async def write(session: "AsyncSession") -> "Draft":
        base_id = await live_id(session)
        base = await repository.row_by_id(session, base_id)
        source = await repository.row_by_id(session, from_book or base_id)
        if source is None or base is None:
            raise UnknownBook(from_book or base_id)
        cards = repository.book_of(source)
        return await open_draft(session, cards, repository.book_of(base), Heading(title), actor("draft new"), now_us())

    _print(writing(write), as_json=as_json)


@app.command("set")
def set_card(
    model: Annotated[str, typer.Argument(help="The public name of the model.")],
    tier: Annotated[str, typer.Argument(help="premium, standard or bulk")],
    fields: Annotated[
        list[str] | None,
        typer.Argument(help="input, cached, cache_write, output in USD per million tokens; ttft, tpot in s (or 20ms)."),
    ] = None,
    draft_id: DraftOption = "",
    is_sold: Annotated[bool | None, typer.Option("--sell/--withhold", help="Whether the tier is sold.")] = None,
    as_json: AsJson = False,
) -> None:
    """Set rates and promises of one tier, such as: set gpt-oss-120b standard output=0.30 ttft=0.5."""
    from app.catalog.draft import CardEdit
    from app.catalog.draft_fields import FieldRefused, read_fields
    from app.catalog.draft_store import draft_by_id, edit_card
    from app.cli.price_market import actor, open_draft_id, writing
    from app.clock import now_us
    from pricing.slo import Tier

    if tier not in set(Tier):
        raise typer.BadParameter(f"there is no tier {tier!r}; choose one of {', '.join(Tier)}")
    if not fields and is_sold is None:
        raise typer.BadParameter("say what to set, such as output=0.30, or --withhold")
    try:
        values = read_fields(fields or [])
    except FieldRefused as error:
        raise typer.BadParameter(error.message) from error

    async def write(session: "AsyncSession") -> "Draft":
        draft = await draft_by_id(session, await open_draft_id(session, draft_id))
        keeps = (model, Tier(tier)) not in draft.withheld if is_sold is None else is_sold
        edit = CardEdit(model, Tier(tier), is_sold=keeps, fields=values)
        return await edit_card(session, draft.id, draft.version, edit, actor("draft set"), now_us())

    _print(writing(write), as_json=as_json, only=model)


@app.command()
def rebase(
    draft_id: DraftOption = "",
    onto: Annotated[str, typer.Option(help="The book to compare with; left out, the one in force.")] = "",
    as_json: AsJson = False,
) -> None:
    """Compare a draft with the book that is in force now, and keep its edits."""
    from app.catalog import draft_store
    from app.cli.price_market import actor, open_draft_id, writing
    from app.clock import now_us

    async def write(session: "AsyncSession") -> "Draft":
        draft = await draft_store.draft_by_id(session, await open_draft_id(session, draft_id))
        return await draft_store.rebase(
            session, draft.id, draft.version, actor("draft rebase"), now_us(), onto=onto or None
        )

    _print(writing(write), as_json=as_json)


@app.command()
def discard(
    draft_id: Annotated[str, typer.Argument(help="Which draft.")],
    reason: Annotated[str, typer.Option(help="Why; it stands in the audit log.")],
    as_json: AsJson = False,
) -> None:
    """Drop a draft; it stays readable."""
    from app.admin.price_documents import draft_head_document
    from app.catalog import draft_store
    from app.cli.price_market import actor, writing
    from app.cli.terminal import answer
    from app.clock import now_us

    async def write(session: "AsyncSession") -> "Draft":
        draft = await draft_store.draft_by_id(session, draft_id)
        return await draft_store.discard(session, draft.id, draft.version, actor("draft discard"), reason, now_us())

    answer(draft_head_document(writing(write)), as_json=as_json)


def open_derived(found: "Derivation", public_name: str) -> str:
    """Opens a draft of the book in force in which one model has derived prices; answers its id."""
    from app.catalog.draft import Origin
    from app.catalog.draft_store import Heading, open_draft_from_cards
    from app.cli.price_market import actor, writing
    from app.clock import now_us
    from pricing.derive import rate_cards

    name = public_name or found.model
    cards = rate_cards(found, name)
    heading = Heading(f"{name} as derived", Origin.DERIVED)
    draft = writing(lambda session: open_draft_from_cards(session, cards, heading, actor("derive"), now_us()))
    return draft.id


def _print(draft: "Draft", *, as_json: bool, only: str | None = None) -> None:
    """The draft: all of it as JSON, one model's cards or all for a person."""
    from app.admin.price_documents import draft_document
    from app.cli.price_tables import cards_table
    from app.cli.tables import show as show_table

    if as_json:
        document: dict[str, Any] = draft_document(draft)
        typer.echo(json.dumps(document))
        return
    base = draft.base_book_id or "no book"
    title = f"{draft.id} · {draft.title} · {draft.state}, version {draft.version} · compared with {base}"
    show_table(cards_table(title, draft.cards, draft.withheld, only))
    for remark in draft.problems:
        typer.echo(f"problem: {remark}")
    for remark in draft.warnings:
        typer.echo(f"warning: {remark}")
