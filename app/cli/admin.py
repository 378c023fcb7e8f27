"""``goodput admin``: the operators of the market and their tokens."""

from typing import Annotated

import typer

app = typer.Typer(help="Operators: create, reset a password, give a token.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Email = Annotated[str, typer.Argument(help="The operator's address; they sign in with it.")]


@app.command()
def create(
    email: Email,
    role: Annotated[str, typer.Option(help="viewer, operator, finance or admin")] = "admin",
    as_json: AsJson = False,
) -> None:
    """Create an operator with a random password, shown once."""
    from app.audit.service import Actor
    from app.cli import accounts
    from app.cli.configuration import load_settings
    from app.cli.failure import Failure
    from app.cli.terminal import answer, with_database
    from app.identity.roles import Role

    if role not in set(Role):
        raise Failure(f"there is no role {role!r}; choose one of {', '.join(Role)}.")
    actor = Actor("system", "goodput admin create")
    made = with_database(load_settings(), lambda database: accounts.create_operator(database, email, Role(role), actor))
    answer({"id": made.id, "email": made.email, "role": role, "password": made.password}, as_json=as_json)


@app.command("reset-password")
def reset_password(email: Email, as_json: AsJson = False) -> None:
    """Give an operator another random password and sign out their browsers."""
    from app.audit.service import Actor
    from app.cli import accounts
    from app.cli.configuration import load_settings
    from app.cli.terminal import answer, with_database
    from app.db import Database

    async def reset(database: Database) -> str:
        operator_id = await accounts.operator_id_of(database, email)
        return await accounts.reset_password(database, operator_id, Actor("system", "goodput admin reset-password"))

    answer({"email": email, "password": with_database(load_settings(), reset)}, as_json=as_json)


@app.command()
def token(
    email: Email,
    label: Annotated[str, typer.Option(help="What the token is for.")] = "command line",
    as_json: AsJson = False,
) -> None:
    """Give an operator a bearer token for the JSON API at /admin, shown once."""
    from app.audit.service import Actor
    from app.cli import accounts
    from app.cli.configuration import load_settings
    from app.cli.terminal import answer, with_database
    from app.db import Database

    async def create_token(database: Database) -> str:
        operator_id = await accounts.operator_id_of(database, email)
        return await accounts.create_admin_token(database, operator_id, label, Actor("system", "goodput admin token"))

    answer({"email": email, "admin_token": with_database(load_settings(), create_token)}, as_json=as_json)
