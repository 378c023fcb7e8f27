"""The ``goodput`` command: one entry point, one group per room; heavy imports wait until a command runs."""

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Final

import typer

from app.cli.failure import Failure
from app.errors import MarketError

GROUPS: Final = (
    "admin",
    "bench",
    "config",
    "credit",
    "customers",
    "hardware",
    "inputs",
    "keys",
    "ledger",
    "plan",
    "prices",
    "profiles",
    "providers",
    "simulate",
    "tuned",
)
"""Modules beside this one whose ``app`` is a group of commands."""
COMMANDS: Final = ("capacity", "frontier", "ratio", "whatif")
"""Modules beside this one that hold one command of their own name."""

DataDir = Annotated[Path | None, typer.Option(help="Where the market keeps everything.  [default: var]")]
Host = Annotated[str | None, typer.Option(help="Address to listen on.  [default: 127.0.0.1]")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.  [default: 8000]")]

app = typer.Typer(
    help="A token marketplace: tokens are sold by the promise they keep.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command()
def up(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line when ready.")] = False,
    data_dir: DataDir = None,
    host: Host = None,
    port: Port = None,
    engine: Annotated[str | None, typer.Option(help="local (llama.cpp, measured here) or none.")] = None,
    demo: Annotated[bool, typer.Option(help="Seed a demo market on the first start.")] = True,
) -> None:
    """Open the embedded market: everything it needs, in one command, until Ctrl-C."""
    from app.cli.configuration import load_settings
    from app.cli.up import UpOptions, run_up

    settings = load_settings({"data_dir": data_dir, "host": host, "port": port, "engine": engine})
    run_up(settings, UpOptions(as_json=as_json, is_demo=demo))


@app.command()
def serve(
    host: Host = None,
    port: Port = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="API processes; more than one needs PostgreSQL.")] = 1,
) -> None:
    """Serve the API and the console on the database and Redis that the settings name."""
    from app.cli.configuration import load_settings
    from app.cli.services import serve as serve_api

    serve_api(load_settings({"host": host, "port": port}), workers)


@app.command()
def worker(
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Processes; on SQLite always one.")] = 2,
) -> None:
    """Run background tasks."""
    from app.cli.configuration import load_settings
    from app.cli.services import work

    work(load_settings(), concurrency)


@app.command()
def beat() -> None:
    """Send scheduled tasks to the worker; run exactly one."""
    from app.cli.configuration import load_settings
    from app.cli.services import beat as send_due

    send_due(load_settings())


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    from app.cli.configuration import load_settings
    from app.cli.terminal import note
    from migrations.run import migrate as migrate_database

    settings = load_settings()
    migrate_database(settings.database_dsn)
    note("The database is at the newest schema.")


@app.command()
def seed(
    at: Annotated[list[str], typer.Option(help="PROVIDER=http://host:port of an emulated provider; repeatable.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Seed the demo market over emulated providers that run elsewhere (see goodput emulate)."""
    from dataclasses import asdict

    from app.cli.configuration import load_settings
    from app.cli.demo_commands import seed_at
    from app.cli.terminal import answer, note

    credentials = seed_at(load_settings(), at)
    if credentials is None:
        note("The market is seeded; its credentials were told when it was first.")
    else:
        answer(asdict(credentials), as_json=as_json)


@app.command()
def emulate(
    provider: Annotated[str, typer.Argument(help="One of the demo's providers, such as cluster-b200.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65000, help="Port of its first deployment; others follow.")] = 9000,
) -> None:
    """Run an emulated provider: an OpenAI-compatible server at the measured token times of a deployment."""
    from app.cli.demo_commands import emulate as run_emulated

    raise typer.Exit(run_emulated(provider, host, port))


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check what the market needs on this machine; the status is 1 when something is missing."""
    from app.cli.configuration import load_settings
    from app.cli.doctor import examine
    from app.cli.terminal import answer

    findings = examine(load_settings())
    answer([finding.row() for finding in findings], as_json=as_json)
    if not all(finding.is_well for finding in findings):
        raise typer.Exit(1)


for _group in GROUPS:
    app.add_typer(import_module(f"app.cli.{_group}").app, name=_group)
import_module("app.cli.model_prices").register(app)  # ``models``: a file of that name would be one of tables
for _command in COMMANDS:
    app.command(name=_command)(getattr(import_module(f"app.cli.{_command}"), _command))


def run() -> None:
    """Runs a command; a failure is one message and status 1, never a traceback (unless the log level is debug)."""
    try:
        app()
    except (Failure, MarketError) as failure:
        typer.echo(f"goodput: {failure}", err=True)
        sys.exit(1)
    except Exception as error:
        if os.environ.get("GOODPUT_LOG_LEVEL") == "debug":
            raise
        typer.echo(f"goodput: {type(error).__name__}: {error}\nGOODPUT_LOG_LEVEL=debug shows where.", err=True)
        sys.exit(1)


if __name__ == "__main__":
    run()
