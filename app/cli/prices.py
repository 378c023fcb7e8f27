"""``goodput prices``: the live price book, and what prices would follow from profiles and costs."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import price_books, price_drafts
from app.cli.option_set import takes
from app.cli.price_mode import BAND_HELP, CAPACITY_HELP, DEMAND_HELP, MODE_HELP, MW_HELP, RATE_HELP
from app.cli.quality_options import ACCURACY_HELP, FLOOR_HELP, MINIMUM_HELP

if TYPE_CHECKING:
    from rich.table import Table
    from sqlmodel.ext.asyncio.session import AsyncSession

    from pricing.derive import Derivation
    from pricing.money import Rate
    from pricing.pricebook import PriceBook

app = typer.Typer(help="Prices: show the live book, derive from profiles and costs.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def show(
    book_id: Annotated[str, typer.Argument(help="A published book, pb-…; left out, the one in force.")] = "",
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show a price book, the live one by default: promises and rates of every tier it sells."""
    from app.catalog.book_store import book_by_id
    from app.cli.failure import Failure
    from app.cli.price_market import named, reading
    from pricing.pricebook import book_document

    async def read(session: "AsyncSession") -> "PriceBook":
        return await book_by_id(session, await named(session, book_id or "live"))

    book = reading(read)
    if model is not None and model not in book.models():
        raise Failure(f"{model} is not on sale; on sale: {', '.join(book.models())}")
    if as_json:
        document: dict[str, Any] = {"id": book.id, "sha256": book.sha256, **book_document(book)}
        document["cards"] = [card for card in document["cards"] if model in {None, card["model"]}]
        typer.echo(json.dumps(document))
        return
    typer.echo(f"{book.id} · in force from {book.effective_at:%Y-%m-%d %H:%M} UTC · USD per million tokens\n")
    for name in book.models():
        if model in {None, name}:
            _print(_cards_table(book, name))


@dataclass(frozen=True, slots=True)
class DeriveOptions:
    """What `goodput prices derive` may be told."""

    model: Annotated[str, typer.Option(help="The profiles' own name of the model; see `goodput profiles list`.")]
    isl: Annotated[int | None, typer.Option(min=1, help="Prompt length of the class, tokens.")] = None
    osl: Annotated[int | None, typer.Option(min=1, help="Answer length of the class, tokens.")] = None
    ownership: Annotated[str | None, typer.Option(help="hyperscaler, neocloud or rental.")] = None
    hardware: Annotated[list[str] | None, typer.Option(help="Only this hardware; repeatable.")] = None
    engine: Annotated[list[str] | None, typer.Option(help="Only this engine; repeatable.")] = None
    precision: Annotated[list[str] | None, typer.Option(help="Only this precision; repeatable.")] = None
    usd_per_hour: Annotated[list[str] | None, typer.Option(help="Your own cost, HARDWARE=USD; repeatable.")] = None
    utilisation: Annotated[float | None, typer.Option(help="Share of paid-for time that makes tokens.")] = None
    margin: Annotated[float | None, typer.Option(help="Margin on effective cost at standard.")] = None
    profile: Annotated[list[Path] | None, typer.Option(help="A profile document to add; repeatable.")] = None
    hardware_cost: Annotated[list[Path] | None, typer.Option(help="Your own costs, a document; repeatable.")] = None
    precision_floor: Annotated[list[str] | None, typer.Option(help=FLOOR_HELP)] = None
    accuracy: Annotated[Path | None, typer.Option(help=ACCURACY_HELP)] = None
    accuracy_min: Annotated[list[str] | None, typer.Option(help=MINIMUM_HELP)] = None
    mode: Annotated[str, typer.Option(help=MODE_HELP)] = "cost_plus"
    band: Annotated[str | None, typer.Option(help=BAND_HELP)] = None
    demand: Annotated[Path | None, typer.Option(help=DEMAND_HELP)] = None
    capacity: Annotated[list[str] | None, typer.Option(help=CAPACITY_HELP)] = None
    mw: Annotated[float | None, typer.Option(help=MW_HELP)] = None
    rate: Annotated[list[str] | None, typer.Option(help=RATE_HELP)] = None
    plot: Annotated[Path | None, typer.Option(help="Draw what prices are made of: FILE.png, .svg or .html.")] = None
    draft: Annotated[bool, typer.Option("--draft", help="Open a draft with these prices in the live book.")] = False
    public_name: Annotated[
        str, typer.Option("--as", help="The name it is sold under; left out, the profiles' own.")
    ] = ""
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False


@app.command()
@takes(DeriveOptions)
def derive(options: DeriveOptions) -> None:
    """Derive tiers, promises, costs and prices of a model; nothing is published, with --draft a draft is opened."""
    from app.cli import pricing_inputs as inputs
    from app.cli.configuration import load_settings
    from app.cli.failure import Failure
    from app.cli.pictures.target import refuse_target
    from app.cli.price_mode import class_rates, price_mode
    from app.cli.quality_options import tier_floors
    from pricing.derivation_document import derivation_document
    from pricing.derive import derive as derive_prices

    if options.plot is not None:
        refuse_target(options.plot)
    settings = load_settings({name: getattr(options, name) for name in ("ownership", "utilisation", "margin")})
    profiles = inputs.known_profiles(options.profile or [])
    chosen = inputs.selection(options.hardware or [], options.engine or [], options.precision or [])
    floors = tier_floors(options.precision_floor, options.accuracy, options.accuracy_min)
    costs = inputs.known_costs(settings, options.usd_per_hour or [], options.hardware_cost or [])
    mode = price_mode(options.mode, options.band, options.demand, options.capacity, options.mw)
    own = class_rates(options.rate or [])
    try:
        given = inputs.assumptions(settings, inputs.length_class(options.isl, options.osl), chosen, floors)
        given = replace(given, mode=mode, class_rates=own)
        found = derive_prices(options.model, profiles, costs, given)
    except ValueError as error:
        raise Failure(str(error)) from error
    if options.plot is not None:
        _plot(options.plot, found, settings.ownership)
    opened = {"draft_id": price_drafts.open_derived(found, options.public_name)} if options.draft else {}
    if options.as_json:
        typer.echo(json.dumps({"ownership": settings.ownership, **derivation_document(found), **opened}))
        return
    _print(_derivation_table(found))
    _print(_rates_table(found))
    for line in _remarks(found):
        typer.echo(line)
    for draft_id in opened.values():
        typer.echo(f"opened {draft_id}; see goodput prices diff {draft_id}")


def _plot(path: Path, found: "Derivation", ownership: str) -> None:
    from app.cli.pictures.cost_stack import cost_stack_picture
    from app.cli.pictures.picture import write_picture
    from pricing.shipped import source_titles

    write_picture(cost_stack_picture(found, ownership, source_titles()), path)


def _print(table: "Table") -> None:
    from app.cli.tables import show

    show(table)


def _cards_table(book: "PriceBook", model: str) -> "Table":
    from app.cli.tables import numbers, table, words
    from pricing.explain import promise_in_short

    found = table(model, [*words("tier", "promise"), *numbers("input", "cached", "cache write", "output")])
    for card in book.cards.values():
        if card.model == model:
            rates = [_aligned(rate) for rate in card.rung.rates.by_class().values()]
            found.add_row(card.rung.tier.value, promise_in_short(card.rung.slo), *rates)
    return found


def _derivation_table(derived: "Derivation") -> "Table":
    from app.cli.tables import numbers, table, wide, words
    from pricing.explain import configuration_name, promise_in_short

    title = f"{derived.model} · ISL/OSL {derived.lengths} · speeds in tok/s/user"
    columns = [*words("tier"), *numbers("speed", "run at", "load"), *words("promise"), *wide("run on"), *words("basis")]
    found = table(title, columns)
    for tier, price in derived.tiers.items():
        chosen = price.point.chosen
        found.add_row(
            tier.value,
            f"{price.point.target_tok_s_user:.0f}",
            f"{chosen.tok_s_user:.0f}",
            f"{chosen.point.concurrency:,}",
            promise_in_short(price.point.slo),
            configuration_name(chosen.profile.configuration),
            chosen.point.provenance.basis.value,
        )
    return found


def _rates_table(derived: "Derivation") -> "Table":
    from app.cli.tables import numbers, table, words

    classes = ("input", "cached", "cache write", "output")
    found = table("USD per million tokens", [*words("tier", ""), *numbers(*classes)])
    for tier, price in derived.tiers.items():
        for name, rates in (("cost", price.cost), ("price", price.rates)):
            figures = [_aligned(rate) for rate in rates.by_class().values()]
            found.add_row(tier.value, name, *figures, style="bold" if name == "price" else None)
    return found


def _aligned(rate: "Rate") -> str:
    """A rate with all of its six decimals, so that decimal points stand below each other."""
    from pricing.money import format_usd_per_mtok

    whole, _, decimals = format_usd_per_mtok(rate).partition(".")
    return f"{whole}.{decimals:0<6}"


def _remarks(found: "Derivation") -> list[str]:
    from app.cli.price_mode import level_lines
    from pricing.explain import explain_price

    return [
        *(explain_price(price) for price in found.tiers.values()),
        *level_lines(found),
        *(f"no {tier}: {reason}" for tier, reason in found.missing.items()),
        *(f"note: {flag}" for flag in found.flags),
    ]


price_books.register(app)
