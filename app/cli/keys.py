"""``goodput keys``: customers' API keys."""

from typing import Annotated

import typer

app = typer.Typer(help="API keys: create and revoke.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def create(
    customer_id: Annotated[str, typer.Argument(help="Whose key, cus_….")],
    label: Annotated[str, typer.Option(help="What the key is for.")] = "command line",
    as_json: AsJson = False,
) -> None:
    """Create an API key, shown once."""
    from app.audit.service import Actor
    from app.cli import accounts
    from app.cli.configuration import load_settings
    from app.cli.terminal import answer, with_database

    actor = Actor("system", "goodput keys create")
    key_id, secret = with_database(
        load_settings(), lambda database: accounts.create_key(database, customer_id, label, actor)
    )
    answer({"id": key_id, "customer_id": customer_id, "label": label, "api_key": secret}, as_json=as_json)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="Which key, key_….")], as_json: AsJson = False) -> None:
    """End a key for good; running markets notice within GOODPUT_KEY_CACHE_S seconds."""
    from app.audit.service import Actor
    from app.cli import accounts
    from app.cli.configuration import load_settings
    from app.cli.terminal import answer, with_database

    actor = Actor("system", "goodput keys revoke")
    with_database(load_settings(), lambda database: accounts.revoke_key(database, key_id, actor))
    answer({"id": key_id, "state": "revoked"}, as_json=as_json)
