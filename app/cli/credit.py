"""``goodput credit``: what customers may spend."""

from typing import Annotated

import typer

app = typer.Typer(help="Credit: grant.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.callback()
def group() -> None:
    """Credit: grant."""


@app.command()
def grant(
    customer_id: Annotated[str, typer.Argument(help="Who gets it, cus_….")],
    usd: Annotated[str, typer.Argument(help="How much, in USD, for example 25 or 0.5.")],
    reason: Annotated[str, typer.Option(help="Why; it stands in the journal.")] = "granted by an operator",
    idem: Annotated[str, typer.Option(help="A key of your own: granting again under it gives nothing more.")] = "",
    as_json: AsJson = False,
) -> None:
    """Give a customer credit."""
    import secrets

    from app.audit.service import Actor
    from app.cli import accounts
    from app.cli.configuration import load_settings
    from app.cli.failure import Failure
    from app.cli.terminal import answer, with_ledger
    from pricing.money import MoneyError, format_usd
    from pricing.money import usd as nano_usd

    try:
        amount = nano_usd(usd)
    except MoneyError as error:
        raise Failure(f"{usd!r} is no amount of USD: {error}") from error
    wanted = accounts.Grant(customer_id, amount, reason, idem or f"cli-{secrets.token_hex(12)}")
    actor = Actor("system", "goodput credit grant")
    transfer = with_ledger(
        load_settings(), lambda database, ledger: accounts.grant_credit(database, ledger, wanted, actor)
    )
    answer(
        {"customer_id": customer_id, "granted_usd": format_usd(transfer.amount), "idem": wanted.idem}, as_json=as_json
    )
