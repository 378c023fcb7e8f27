"""``goodput tuned``: customers' own models, as operators decide about them."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.option_set import takes

if TYPE_CHECKING:
    from app.cli.supply_rooms import Counter

app = typer.Typer(help="Customers' tuned models: list, approve, refuse, withdraw.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
ModelId = Annotated[str, typer.Argument(help="The tuned model, tm_….")]
Why = Annotated[str, typer.Option("--reason", help="Why; its customer reads it.")]


@app.command("list")
def list_models(
    status: Annotated[str, typer.Option(help="requested, approved, refused or withdrawn; all if empty.")] = "",
    as_json: AsJson = False,
) -> None:
    """List customers' tuned models and requests, newest first."""
    from app.cli.supply_rooms import at_counter
    from app.cli.terminal import answer
    from app.tuning.repository import tuned_models
    from app.tuning.service import tuned_document

    async def work(counter: "Counter") -> list[dict[str, Any]]:
        async with counter.database.reading() as session:
            rows = await tuned_models(session, stage=status)
        return [{**tuned_document(row), "customer_id": row.customer_id} for row in rows]

    rows = at_counter(work)
    if as_json:
        typer.echo(json.dumps({"object": "list", "data": rows}))
        return
    names = ("id", "model", "customer_id", "base_model", "adapter", "serving", "status")
    answer([{name: row[name] for name in names} for row in rows], as_json=False)


@dataclass(frozen=True, slots=True)
class ApproveOptions:
    """What ``goodput tuned approve`` is told."""

    model_id: ModelId
    offer: Annotated[list[str], typer.Option(help="PROVIDER/DEPLOYMENT of the base that loads it; repeatable.")]
    reason: Why = "approved by an operator"
    rpm: Annotated[int | None, typer.Option(min=1, help="Requests a minute; what was asked for if left out.")] = None
    concurrency: Annotated[int | None, typer.Option(min=1, help="Requests at once; likewise.")] = None
    slowdown: Annotated[str, typer.Option(help="How many times longer a token takes than on the base.")] = "1"
    cost_factor: Annotated[str, typer.Option(help="What a token costs us, over the base's cost.")] = "1"
    price_factor: Annotated[str | None, typer.Option(help="Publish prices at so much of the base's.")] = None
    base_url: Annotated[str, typer.Option(help="Its own engine, where it was asked for as dedicated.")] = ""
    tier: Annotated[list[str] | None, typer.Option(help="A tier to sell it at; repeatable; its base's without.")] = None
    as_json: AsJson = False


@app.command()
@takes(ApproveOptions)
def approve(options: ApproveOptions) -> None:
    """Serve a tuned model to its customer: register where it runs, put it on sale to them alone, price it."""
    from app.admin.supply_bodies import ApprovalBody
    from app.admin.supply_service import decide_tuned
    from app.cli.failure import Failure
    from app.cli.provider_terms import wrong
    from app.cli.supply_rooms import ACTOR, at_counter, said
    from app.tuning.service import tuned_document

    names = ("rpm", "concurrency", "slowdown", "cost_factor", "price_factor", "base_url", "reason")
    try:
        body = ApprovalBody.model_validate(
            {"offers": options.offer, "tiers": options.tier or [], **{name: getattr(options, name) for name in names}}
        )
    except ValueError as error:
        raise Failure(wrong(error)) from error
    row = at_counter(lambda counter: decide_tuned(counter, ACTOR, options.model_id, body))
    said(tuned_document(row), as_json=options.as_json, otherwise=f"{row.name} is served to {row.customer_id}.")


@app.command()
def refuse(model_id: ModelId, reason: Why, as_json: AsJson = False) -> None:
    """Refuse a request; its customer is told why."""
    from app.admin.supply_service import decide_tuned
    from app.cli.supply_rooms import ACTOR, at_counter, said
    from app.tuning.service import tuned_document

    row = at_counter(lambda counter: decide_tuned(counter, ACTOR, model_id, reason))
    said(tuned_document(row), as_json=as_json, otherwise=f"{row.name} is refused.")


@app.command()
def withdraw(model_id: ModelId, reason: Why = "by an operator", as_json: AsJson = False) -> None:
    """Take a tuned model off sale and its deployments out of the fleet."""
    from app.admin.supply_service import withdraw_tuned
    from app.cli.supply_rooms import ACTOR, at_counter, said
    from app.tuning.service import tuned_document

    row = at_counter(lambda counter: withdraw_tuned(counter, ACTOR, model_id, reason))
    said(tuned_document(row), as_json=as_json, otherwise=f"{row.name} is withdrawn.")
