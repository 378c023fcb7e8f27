"""``goodput models``: which models are priced, from what, and at which tiers; tuned ones with their adder."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.option_set import takes

if TYPE_CHECKING:
    from app.db import Database
    from app.planning.priced import PricedModelSpec

group = typer.Typer(
    help="Models: list what is priced and from what, price one, stop pricing one.", no_args_is_help=True
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Name = Annotated[str, typer.Argument(help="The name it is sold under.")]
CLI = "goodput models"
NEXT = (
    "The prices in force stay until a book is published: the repricer opens a draft within two hours, or open one now "
    "with the console's button."
)


def register(app: typer.Typer) -> None:
    """Adds ``goodput models``."""
    app.add_typer(group, name="models")


@group.command("list")
def list_models(as_json: AsJson = False) -> None:
    """Show every priced model and what its prices follow from."""
    from app.cli.configuration import load_settings
    from app.cli.terminal import answer, with_database
    from app.clock import now_us
    from app.db import Database
    from app.planning.priced_store import priced_models_at, spec_document

    async def read(database: Database) -> "tuple[PricedModelSpec, ...]":
        async with database.reading() as session:
            return await priced_models_at(session, now_us())

    documents = [spec_document(spec) for spec in with_database(load_settings(), read)]
    if as_json:
        typer.echo(json.dumps({"models": documents}))
    else:
        answer([_row(each) for each in documents], as_json=False)


@dataclass(frozen=True, slots=True)
class PriceOptions:
    """What `goodput models price` may be told."""

    name: Name
    profiled_as: Annotated[str, typer.Option(help="The profiles' own name of what runs; a tuned model's base.")]
    adder_shared: Annotated[
        str | None,
        typer.Option(
            help="A tuned model beside others on its base: slowdown=1.15,usd_per_mtok=0.01; or rank=16,widths=…,"
            "adapters=…,tok_per_hour=…,weight_gb=…"
        ),
    ] = None
    adder_dedicated: Annotated[
        str | None, typer.Option(help="On deployments of its own: demand_tok_s=300; or usd_per_mtok=0.02.")
    ] = None
    tier: Annotated[list[str] | None, typer.Option(help="A tier it may be sold at; repeatable; all without.")] = None
    deployment: Annotated[list[str] | None, typer.Option(help="Priced from this deployment only; repeatable.")] = None
    isl: Annotated[int | None, typer.Option(min=1, help="Prompt length of the class, tokens.")] = None
    osl: Annotated[int | None, typer.Option(min=1, help="Answer length of the class, tokens.")] = None
    premium_from: Annotated[str, typer.Option(help="Promise premium from this declared offer.")] = ""
    title: Annotated[str, typer.Option(help="Puts the model on sale under this title, if it is not yet.")] = ""
    context_max: Annotated[int, typer.Option(min=1, help="Its prompt plus answer, tokens; with --title.")] = 131_072
    reason: Annotated[str, typer.Option(help="Why; it stands in the audit log.")] = "priced by an operator"
    as_json: AsJson = False


@group.command("price")
@takes(PriceOptions)
def price(options: PriceOptions) -> None:
    """Price a model from its profiles, or a tuned model from its base's with an adder of its own."""
    from app.cli.configuration import load_settings
    from app.cli.failure import Failure
    from app.cli.terminal import answer, note, with_database
    from app.planning.priced_store import spec_document

    try:
        found = with_database(load_settings(), lambda database: _price(options, database))
    except ValueError as error:
        raise Failure(str(error)) from error
    spec, tiers = found
    document = {**spec_document(spec), "derived": tiers}
    if options.as_json:
        typer.echo(json.dumps(document))
        return
    answer(_row(document), as_json=False)
    answer(tiers, as_json=False)
    note(NEXT)


@group.command("stop")
def stop(
    name: Name,
    reason: Annotated[str, typer.Option(help="Why; it stands in the audit log.")] = "no longer priced",
    as_json: AsJson = False,
) -> None:
    """Stop deriving a model's prices; those in force stay until a book is published without it."""
    from dataclasses import replace

    from app.audit.service import Actor
    from app.cli.configuration import load_settings
    from app.cli.failure import Failure
    from app.cli.terminal import answer, with_database
    from app.clock import now_us
    from app.db import Database
    from app.planning.priced_store import priced_models_at, set_priced_model

    async def write(database: Database) -> bool:
        at_us = now_us()
        async with database.writing() as session:
            for spec in await priced_models_at(session, at_us):
                if spec.public_name == name:
                    retired = replace(spec, is_priced=False)
                    return await set_priced_model(session, retired, Actor("operator", CLI, CLI), reason, at_us)
        return False

    if not with_database(load_settings(), write):
        raise Failure(f"{name} is not priced; see `goodput models list`.")
    answer({"model": name, "is_priced": False}, as_json=as_json)


async def _price(options: PriceOptions, database: "Database") -> "tuple[PricedModelSpec, list[dict[str, Any]]]":
    """Checks that the model can be derived before it is stored; answers what it would be sold at."""
    from app.audit.service import Actor
    from app.catalog.service import checked_reason
    from app.clock import now_us
    from app.planning.input_store import inputs_at
    from app.planning.priced_store import set_priced_model
    from app.planning.resolve import priced_model
    from app.planning.service import shipped
    from pricing.derive import derive

    at_us, known, actor = now_us(), shipped(), Actor("operator", CLI, CLI)
    async with database.reading() as session:
        given = await inputs_at(session, at_us)
    spec = _spec(options, given, known)
    model = priced_model(spec, given, known)
    found = derive(model.model, model.profiles, model.hardware_costs, model.assumptions)
    async with database.writing() as session:
        await _put_on_sale(session, options, actor, at_us)
        await set_priced_model(session, spec, actor, checked_reason(options.reason), at_us)
    return spec, [_tier_row(tier, price) for tier, price in found.tiers.items()]


def _spec(options: PriceOptions, given: Any, known: Any) -> "PricedModelSpec":
    from app.planning.adapters import adder_of, base_model, figures
    from app.planning.priced import PricedModelError, PricedModelSpec, Serving, length_class
    from app.planning.resolve import priced_model
    from pricing.assumptions import Adder
    from pricing.derive import derive
    from pricing.slo import Tier

    if options.adder_shared is not None and options.adder_dedicated is not None:
        raise PricedModelError("an adapter is served shared or dedicated: give one adder")
    if unknown := sorted(set(options.tier or []) - set(Tier)):
        raise PricedModelError(f"--tier {unknown[0]!r}: expected premium, standard or bulk")
    tiers = frozenset(map(Tier, options.tier or list(Tier)))
    base = PricedModelSpec(
        public_name=options.name,
        profiled_as=options.profiled_as,
        deployment_ids=frozenset(options.deployment or []),
        lengths=length_class(options.isl, options.osl),
        adder=Adder(tiers=tiers),
        premium_deployment_id=options.premium_from,
    )
    stated = options.adder_shared if options.adder_shared is not None else options.adder_dedicated
    if stated is None:
        return base
    from dataclasses import replace

    serving = Serving.SHARED if options.adder_shared is not None else Serving.DEDICATED
    plain = priced_model(replace(base, adder=Adder()), given, known)
    found = derive(plain.model, plain.profiles, plain.hardware_costs, plain.assumptions)
    adder = adder_of(serving, figures(stated), base_model(found, plain.assumptions.utilisation), tiers)
    return replace(base, serving=serving, adder=adder)


async def _put_on_sale(session: Any, options: PriceOptions, actor: Any, at_us: int) -> None:
    from app.catalog import repository
    from app.catalog.sale import ModelOnSale
    from app.catalog.service import put_on_sale
    from app.cli.failure import Failure
    from app.planning.repricer_store import MODELS_MAX

    on_sale = {model.name for model in await repository.models_on_sale(session, MODELS_MAX)}
    if options.name in on_sale:
        return
    if not options.title:
        raise Failure(
            f"{options.name} is not on sale; give --title to put it there, and register a deployment that serves it "
            "(goodput providers)."
        )
    await put_on_sale(session, ModelOnSale(options.name, options.title, options.context_max, at_us), actor, at_us)


def _tier_row(tier: Any, price: Any) -> dict[str, Any]:
    from pricing.explain import promise_in_short
    from pricing.money import format_usd_per_mtok

    return {
        "tier": tier.value,
        "promise": promise_in_short(price.point.slo),
        "cost": f"{format_usd_per_mtok(price.cost.input)} / {format_usd_per_mtok(price.cost.output)}",
        "price": f"{format_usd_per_mtok(price.rates.input)} / {format_usd_per_mtok(price.rates.output)}",
        "run_on": price.point.chosen.deployment_id,
    }


def _row(document: dict[str, Any]) -> dict[str, Any]:
    adder = document["adder"]
    costs = max(adder["usd_per_mtok"].values())
    parts = [f"× {adder['slowdown']:g}"] if adder["slowdown"] != 1 else []
    parts += [f"+ {costs:g} USD/Mtok"] if costs else []
    parts += [f"alone at {adder['utilisation']:.1%}"] if adder["utilisation"] is not None else []
    return {
        "model": document["public_name"],
        "profiled as": document["profiled_as"],
        "serving": document["serving"],
        "adder": ", ".join(parts) or "none",
        "tiers": ", ".join(document["tiers"]),
        "deployments": len(document["deployment_ids"]) or "all",
    }
