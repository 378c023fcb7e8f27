"""``goodput customers``: who buys tokens."""

from typing import Annotated

import typer

app = typer.Typer(help="Customers: create and list.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the customer is called.")],
    email: Annotated[str, typer.Option(help="Where to write to them.")] = "",
    as_json: AsJson = False,
) -> None:
    """Create a customer; they can buy once they have a key and credit."""
    from app.audit.service import Actor
    from app.cli import accounts
    from app.cli.configuration import load_settings
    from app.cli.terminal import answer, with_database

    actor = Actor("system", "goodput customers create")
    made = with_database(load_settings(), lambda database: accounts.create_customer(database, name, email, actor))
    answer({"id": made, "name": name}, as_json=as_json)


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List the newest customers, with what they may still spend."""
    from app.cli import accounts
    from app.cli.configuration import load_settings
    from app.cli.terminal import answer, with_database

    settings = load_settings()
    rows = with_database(settings, lambda database: accounts.customers(database, settings.page_rows_max))
    answer(rows, as_json=as_json)
