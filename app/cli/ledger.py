"""``goodput ledger``: does every nano add up, and where does it stand."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from app.db import Database
    from app.reconcile.findings import Check, Report

app = typer.Typer(help="The books: verify, balance.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
T = TypeVar("T")


@app.callback()
def group() -> None:
    """The books: verify, balance."""


@app.command()
def verify(as_json: AsJson = False) -> None:
    """Check every entry, hold, delivery and digest; the status is 1 when the books have drifted."""
    from app.cli.terminal import answer
    from app.clock import now_us
    from app.reconcile.service import verify as verify_books

    report = _read(lambda database: verify_books(database, now_us()))
    if as_json:
        answer(_document(report), as_json=True)
    else:
        _print_report(report)
    if not report.is_balanced:
        raise typer.Exit(1)


@app.command()
def balance(
    customer_id: Annotated[str, typer.Argument(help="Whose wallet, cus_…; left out, the trial balance.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show a customer's wallet, or the trial balance."""
    from app.cli.terminal import answer

    if customer_id:
        answer(_read(lambda database: _wallet(database, customer_id)), as_json=as_json)
        return
    accounts = _read(_accounts)
    if as_json:
        answer(accounts, as_json=True)
    else:
        _print_accounts(accounts)


def _read(work: "Callable[[Database], Awaitable[T]]") -> T:
    """Runs a read on the database in force; a market that was never opened is not made by looking at it."""
    from app.cli.configuration import load_settings
    from app.cli.failure import Failure
    from app.cli.terminal import with_database
    from app.db import Database

    settings = load_settings()
    path = Database(settings.database_dsn).sqlite_path
    if path is not None and not path.exists():
        raise Failure(f"there is no market at {path}; open one with goodput up, or set GOODPUT_DATA_DIR")
    return with_database(settings, work)


async def _wallet(database: "Database", customer_id: str) -> dict[str, Any]:
    from app.ledger.repository import balance as wallet_balance
    from pricing.money import format_usd

    async with database.reading() as session:
        wallet = await wallet_balance(session, customer_id)
    return {
        "customer_id": customer_id,
        "posted_usd": format_usd(wallet.posted),
        "held_usd": format_usd(wallet.held),
        "available_usd": format_usd(wallet.available),
    }


async def _accounts(database: "Database") -> list[dict[str, Any]]:
    from app.reconcile.repository import house_accounts, wallets_total

    async with database.snapshot() as session:
        wallets, posted, held = await wallets_total(session)
        house = [_account(row.id, row.kind, row.posted, row.held) for row in await house_accounts(session)]
    return [*house, _account(f"wallets of {wallets} customers", "wallet", posted, held)]


def _account(name: str, kind: str, posted: int, held: int) -> dict[str, Any]:
    from pricing.money import format_usd

    return {"account": name, "kind": kind, "posted_usd": format_usd(posted), "held_usd": format_usd(held)}


def _document(report: "Report") -> dict[str, Any]:
    return {
        "is_balanced": report.is_balanced,
        "at_us": report.at_us,
        "checks": [
            {
                "id": check.id,
                "title": check.title,
                "counted": check.counted,
                "skipped": check.skipped,
                "found": check.found,
                "drifted": check.drifted,
                "findings": [
                    {
                        "severity": finding.severity.value,
                        "where": finding.where,
                        "what": finding.what,
                        "amount_nano_usd": None if finding.amount is None else str(finding.amount),
                    }
                    for finding in check.findings
                ],
            }
            for check in report.checks
        ],
    }


def _print_report(report: "Report") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table(box=None, pad_edge=False)
    for heading in ("", "check", "rows", "result"):
        table.add_column(heading, justify="right" if heading == "rows" else "left")
    for check in report.checks:
        table.add_row(check.id, check.title, f"{check.counted:,}", _result(check))
    console.print(table)
    for check in report.checks:
        for finding in check.findings:
            console.print(f"[bold]{finding.severity.value}[/] {escape(finding.where)}: {escape(finding.what)}")
        if check.found > len(check.findings):
            console.print(f"… and {check.found - len(check.findings):,} more of: {check.title}")
    console.print("The books balance." if report.is_balanced else "[bold red]The books have drifted.[/]")


def _result(check: "Check") -> str:
    if check.drifted:
        return f"[bold red]{check.drifted:,} drifted[/]"
    if check.found:
        return f"[yellow]{check.found:,} to look at[/]"
    return f"holds ({check.skipped:,} timelines erased)" if check.skipped else "holds"


def _print_accounts(accounts: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("account", overflow="fold")
    table.add_column("kind")
    table.add_column("posted USD", justify="right")
    table.add_column("held USD", justify="right")
    for account in accounts:
        table.add_row(account["account"], account["kind"], account["posted_usd"], account["held_usd"])
    Console().print(table)
