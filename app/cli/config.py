"""``goodput config``: the settings in force."""

from typing import Annotated

import typer

app = typer.Typer(help="Settings in force: show.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Settings in force: show."""


@app.command()
def show(
    redact: Annotated[bool, typer.Option(help="Hide secrets, and passwords in URLs.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show every setting by the name of its environment variable."""
    from app.cli.configuration import load_settings, shown
    from app.cli.terminal import answer

    answer(shown(load_settings(), redact=redact), as_json=as_json)
