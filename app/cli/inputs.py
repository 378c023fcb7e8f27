"""``goodput inputs``: what prices follow from, as dated revisions."""

import json
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from app.cli.option_set import takes

app = typer.Typer(
    help="Inputs of derivation: utilisation, attainment, margins, hardware costs, corrections; dated, never changed.",
    no_args_is_help=True,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Subject = Annotated[str, typer.Argument(help="market, tier:T, model:M, hardware:H, deployment:M@D or profile:M@D.")]
HISTORY_ROWS = 50
VALUE_CHARS = 60
CLI = "goodput inputs"


@app.command("list")
def list_inputs(
    at: Annotated[str | None, typer.Option(help="A past moment, such as 2026-11-24T12:00:00+00:00.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show every input in force, now or at a past moment, with its source and evidence."""
    from app.cli.configuration import load_settings
    from app.cli.terminal import answer, with_database
    from app.clock import now_us
    from app.db import Database
    from app.planning.input_store import inputs_at

    at_us = now_us() if at is None else _moment_us(at)

    async def read(database: Database) -> Any:
        async with database.reading() as session:
            return (await inputs_at(session, at_us)).revisions

    found = with_database(load_settings(), read)
    documents = [_document(found[key]) for key in sorted(found)]
    if as_json:
        typer.echo(json.dumps({"inputs": documents}))
    else:
        answer([_row(each) for each in documents], as_json=False)


@app.command("known")
def known(as_json: AsJson = False) -> None:
    """List every input there is: what it means, whose it may be, and its range."""
    from app.cli.terminal import answer
    from app.planning.inputs import KINDS

    rows = [
        {
            "name": kind.name,
            "subjects": ", ".join(sorted(kind.subjects)),
            "allowed": kind.rule.allowed,
            "meaning": kind.meaning,
        }
        for kind in KINDS.values()
    ]
    answer(rows, as_json=as_json)


@dataclass(frozen=True, slots=True)
class SetOptions:
    """What `goodput inputs set` may be told."""

    subject: Subject
    name: Annotated[str, typer.Argument(help="Of the input; see `goodput inputs known`.")]
    value: Annotated[str, typer.Argument(help="JSON, @FILE to read it from, or null to withdraw the input.")]
    reason: Annotated[str, typer.Option(help="Why; it stands in the history and the audit log.")]
    effective_at: Annotated[str | None, typer.Option(help="A moment to come; at once without.")] = None
    pin: Annotated[
        bool, typer.Option("--pin/--until-metered", help="Keep it, or let the return loop go on from it.")
    ] = True
    as_json: AsJson = False


@app.command("set")
@takes(SetOptions)
def set_(options: SetOptions) -> None:
    """Set an input from now on, or from a moment to come."""
    from app.audit.service import Actor
    from app.catalog.service import checked_reason
    from app.cli.configuration import load_settings
    from app.cli.failure import Failure
    from app.cli.terminal import answer, with_database
    from app.clock import now_us
    from app.db import Database
    from app.planning.input_rules import InputError
    from app.planning.input_store import set_input
    from app.planning.inputs import Revision, Source

    at_us = now_us()
    moment_us = at_us if options.effective_at is None else _moment_us(options.effective_at)
    if moment_us < at_us:
        raise Failure(f"{options.effective_at} has passed: a revision is never backdated.")
    wanted = Revision(
        subject=options.subject,
        name=options.name,
        value=_value(options.value),
        source=Source.OPERATOR,
        effective_at_us=moment_us,
        created_at_us=at_us,
        actor="",
        reason=checked_reason(options.reason),
        evidence={},
        is_pinned=options.pin,
    )

    async def write(database: Database) -> Any:
        async with database.writing() as session:
            return await set_input(session, wanted, Actor("operator", CLI, CLI))

    try:
        stored = with_database(load_settings(), write)
    except InputError as error:
        raise Failure(str(error)) from error
    document = _document(stored)
    answer(document if options.as_json else _row(document), as_json=options.as_json)


@app.command("history")
def show_history(
    subject: Annotated[str, typer.Argument(help="Only of this subject.")] = "",
    name: Annotated[str, typer.Argument(help="Only this input.")] = "",
    rows: Annotated[int, typer.Option(min=1, max=1_000, help="Newest rows.")] = HISTORY_ROWS,
    as_json: AsJson = False,
) -> None:
    """Show revisions, newest first: who set what when, and on what evidence."""
    from app.cli.configuration import load_settings
    from app.cli.terminal import answer, with_database
    from app.db import Database
    from app.planning.input_store import history

    async def read(database: Database) -> Any:
        async with database.reading() as session:
            return await history(session, subject, name, rows)

    documents = [_document(each) for each in with_database(load_settings(), read)]
    if as_json:
        typer.echo(json.dumps({"revisions": documents}))
    else:
        answer([_row(each) for each in documents], as_json=False)


def _value(text: str) -> Any:
    """JSON as given or from a file; a word that is no JSON is a text."""
    from pathlib import Path

    from app.cli.failure import Failure
    from pricing.profile_document import BYTES_MAX

    try:
        if text.startswith("@"):
            with Path(text[1:]).open(encoding="utf-8") as file:
                text = file.read(BYTES_MAX)
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{text[1:]}: {error}") from error
    try:
        return json.loads(text)
    except ValueError:
        return text


def _moment_us(text: str) -> int:
    from datetime import datetime

    from app.catalog.service import moment_us
    from app.cli.failure import Failure

    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise Failure(f"{text!r}: expected a moment such as 2026-11-24T12:00:00+00:00") from error
    if at.tzinfo is None:
        raise Failure(f"{text!r} has no time zone; write 2026-11-24T12:00:00+00:00")
    return moment_us(at)


def _document(revision: Any) -> dict[str, Any]:
    from app.planning.input_store import revision_document

    return revision_document(revision)


def _row(document: dict[str, Any]) -> dict[str, Any]:
    """A revision on one line."""
    value = json.dumps(document["value"])
    return {
        "subject": document["subject"],
        "input": document["name"],
        "value": value if len(value) <= VALUE_CHARS else f"{value[:VALUE_CHARS]}…",
        "source": document["source"] + (" (pinned)" if document["is_pinned"] else ""),
        "since": document["effective_at"][:19],
        "by": document["actor"],
        "why": document["reason"][:VALUE_CHARS],
    }
