"""``goodput plan``: what the planner proposes to run for the demand that was metered; nothing acts on it."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from app.planning.plan_shelf_store import Proposed

app = typer.Typer(help="Plans: pools and prefill : decode ratios for the metered demand.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
CLI = "goodput plan"
NOTE_CHARS = 160


@app.callback(invoke_without_command=True)
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the plan proposed last."""
    if context.invoked_subcommand is not None:
        return
    from app.cli.configuration import load_settings
    from app.cli.terminal import with_database
    from app.db import Database
    from app.planning.plan_shelf_store import latest_plan

    async def read(database: Database) -> "Proposed":
        async with database.reading() as session:
            return await latest_plan(session)

    _tell(with_database(load_settings(), read), as_json=as_json)


@app.command("make")
def make(
    days: Annotated[int | None, typer.Option(min=1, max=90, help="Days of demand to look back on.")] = None,
    as_json: AsJson = False,
) -> None:
    """Plan now, from the inputs and the demand as they are; the plan is stored."""
    from app.audit.service import Actor
    from app.cli.configuration import load_settings
    from app.cli.terminal import with_database
    from app.clock import now_us
    from app.planning.plan_store import propose_plan
    from app.planning.service import shipped

    settings = load_settings()
    actor, known = Actor("operator", CLI, CLI), shipped()
    found = with_database(
        settings, lambda database: propose_plan(database, known, days or settings.plan_days, now_us(), actor)
    )
    _tell(found, as_json=as_json)


def _tell(found: "Proposed", *, as_json: bool) -> None:
    from app.cli.terminal import answer
    from app.planning.plan_shelf_store import plan_row_document

    document = plan_row_document(found)
    if as_json:
        typer.echo(json.dumps(document))
        return
    demand = document["demand"]
    typer.echo(
        f"Plan {document['sequence']} of {document['created_at'][:16]}, for {demand['requests']:,} answers from "
        f"{demand['since'][:10]} to {demand['until'][:10]} ({demand['requests_emulated']:,} emulated)."
    )
    rows = [row for model in document["models"] for row in _rows(model)]
    answer(rows or [{"plan": "nothing was asked of any model; pools stay as they are"}], as_json=False)
    for model in document["models"]:
        for text in model["notes"]:
            typer.echo(f"note: {model['model']}: {text[:NOTE_CHARS]}")
        for ratio in model.get("ratios", []):
            typer.echo(
                f"ratio: {model['model']} {ratio['tier']} on {ratio['hardware']} {ratio['engine']} "
                f"{ratio['precision']}: {ratio['prefill_gpus']} prefill : {ratio['decode_gpus']} decode"
            )


def _rows(model: dict[str, Any]) -> list[dict[str, Any]]:
    """What would change, one deployment a line."""
    return [
        {
            "model": model["model"],
            "deployment": change["deployment"],
            "runs": change["runs"],
            "proposed": change["proposed"],
            "usd_per_hour": model["plan"]["usd_per_hour"],
        }
        for change in model.get("changes", [])
    ]
