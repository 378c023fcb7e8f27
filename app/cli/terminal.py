"""How commands speak: results to standard output, the rest to standard error; and asynchronous work run to its end."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from app.cli.failure import Failure

if TYPE_CHECKING:
    from app.db import Database
    from app.ledger.service import Ledger
    from app.settings import Settings

T = TypeVar("T")


def answer(result: Mapping[str, Any] | Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Prints a command's result: one JSON document, or for a person a line per field, a table for rows."""
    if as_json:
        typer.echo(json.dumps(result, default=str))
    elif isinstance(result, Mapping):
        _print_columns([[name, str(value)] for name, value in result.items()])
    elif result:
        _print_columns([list(result[0]), *([str(value) for value in row.values()] for row in result)])


def _print_columns(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def note(text: str) -> None:
    """Tells the user something that is no result."""
    typer.echo(text, err=True)


def with_database(settings: "Settings", work: "Callable[[Database], Awaitable[T]]") -> T:
    """Runs ``work`` on the database in force and closes it."""
    from sqlalchemy.exc import SQLAlchemyError

    from app.db import Database

    async def run() -> T:
        database = Database(settings.database_dsn)
        try:
            return await work(database)
        except (OSError, SQLAlchemyError) as error:
            where = database.url.render_as_string(hide_password=True)
            said = str(error).splitlines()[0]
            raise Failure(
                f"the database {where} did not do it: {said}. Is it running and at the newest schema (goodput migrate)?"
            ) from error
        finally:
            await database.close()

    return asyncio.run(run())


def with_ledger(settings: "Settings", work: "Callable[[Database, Ledger], Awaitable[T]]") -> T:
    """Runs ``work`` on database and ledger, and closes both."""
    from app.ledger.service import Ledger
    from app.ledger.writer import LedgerWriter

    async def run(database: "Database") -> T:
        async with LedgerWriter(database) as writer:
            return await work(database, Ledger(writer))

    return with_database(settings, run)
