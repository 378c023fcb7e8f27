"""What the commands about price books and drafts share: the market they act on, who acts, what an argument names."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from sqlmodel.ext.asyncio.session import AsyncSession

    from app.audit.service import Actor
    from app.db import Database

T = TypeVar("T")
LIVE = "live"
SHOWN_MAX = 5


def on_market(work: "Callable[[Database], Awaitable[T]]") -> T:
    """Runs ``work`` on the database in force; a market that was never opened is not made by looking at it."""
    from app.cli.configuration import load_settings
    from app.cli.failure import Failure
    from app.cli.terminal import with_database
    from app.db import Database

    settings = load_settings()
    path = Database(settings.database_dsn).sqlite_path
    if path is not None and not path.exists():
        raise Failure(f"there is no market at {path}; open one with goodput up, or set GOODPUT_DATA_DIR")
    return with_database(settings, work)


def reading(work: "Callable[[AsyncSession], Awaitable[T]]") -> T:
    """Runs ``work`` in one reading session."""

    async def run(database: "Database") -> T:
        async with database.reading() as session:
            return await work(session)

    return on_market(run)


def writing(work: "Callable[[AsyncSession], Awaitable[T]]") -> T:
    """Runs ``work`` in one transaction, which commits when it ends."""

    async def run(database: "Database") -> T:
        async with database.writing() as session:
            return await work(session)

    return on_market(run)


def actor(command: str) -> "Actor":
    """Who acts, for the audit log: the command, run on this machine."""
    from app.audit.service import Actor

    return Actor("system", f"goodput prices {command}", f"goodput prices {command}")


async def live_id(session: "AsyncSession") -> str:
    """The book in force.

    Raises:
        NoPriceBook: none is.
    """
    from app.catalog.repository import live_row
    from app.catalog.service import no_price_book
    from app.clock import now_us

    row = await live_row(session, now_us())
    if row is None:
        raise no_price_book()
    return row.id


async def named(session: "AsyncSession", text: str) -> str:
    """The id that an argument names: ``live`` is the book in force, anything else is an id."""
    return await live_id(session) if text == LIVE else text


async def open_draft_id(session: "AsyncSession", given: str) -> str:
    """The draft that a command is about: the one given, or the only one that is open.

    Raises:
        Failure: none is given, and none or several are open.
    """
    from app.catalog.draft import DraftState
    from app.catalog.draft_store import drafts_page
    from app.cli.failure import Failure

    if given:
        return given
    heads = await drafts_page(session, SHOWN_MAX + 1, state=DraftState.OPEN)
    if len(heads) == 1:
        return heads[0].id
    if not heads:
        raise Failure("no draft is open; open one with goodput prices draft new")
    shown = ", ".join(f"{head.id} ({head.title})" for head in heads[:SHOWN_MAX])
    more = " …" if len(heads) > SHOWN_MAX else ""
    raise Failure(f"several drafts are open, so name one with --draft: {shown}{more}")
