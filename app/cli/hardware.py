"""``goodput hardware``: which kinds are known, what an hour of one costs, and what an operator's build-up comes to."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pricing.hardware import HardwareCost
    from pricing.hardware_catalog import HardwareEntry
    from pricing.profiles import Profile

OWNERSHIPS = ("hyperscaler", "neocloud", "rental")

app = typer.Typer(help="Hardware: what an hour costs, and what it is built up from.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command(name="list")
def list_(as_json: AsJson = False) -> None:
    """List all hardware known by name: its cost of an hour by ownership, its power, and whether it was measured."""
    from app.cli.failure import Failure
    from pricing.hardware_catalog import known_hardware
    from pricing.shipped import shipped_profiles
    from pricing.tables import TableError

    try:
        profiles = shipped_profiles()
        rows = [_document(entry, profiles) for entry in known_hardware()]
    except TableError as error:
        raise Failure(str(error)) from error
    if as_json:
        typer.echo(json.dumps({"hardware": rows}))
        return
    _print(
        [
            {
                "hardware": row["hardware"],
                "scale": row["scale"],
                **{name: _dollars(row["usd_per_hour"].get(name)) for name in OWNERSHIPS},
                "kW": _figure(row["kw"]),
                "GB": _figure(row["hbm_gb"]),
                "standing": row["standing"],
            }
            for row in rows
        ]
    )
    typer.echo("kW is all in; GB is memory. Your own costs: goodput hardware build-up.")


@app.command()
def show(hardware: Annotated[str, typer.Argument(help="Slug, such as b200.")], as_json: AsJson = False) -> None:
    """Show one kind: its costs with their source, its profiles, and what others ask for it."""
    from app.cli.failure import Failure
    from pricing.hardware_catalog import known_hardware, market_costs
    from pricing.shipped import shipped_profiles, source_titles
    from pricing.tables import TableError

    try:
        known, titles = {entry.hardware: entry for entry in known_hardware()}, source_titles()
        asked = [each for each in market_costs() if each.hardware == hardware]
    except TableError as error:
        raise Failure(str(error)) from error
    if hardware not in known:
        raise Failure(f"no hardware {hardware!r}; known: {', '.join(known)}")
    document = _document(known[hardware], shipped_profiles())
    document["market"] = [
        {"what": each.what, "value": each.value, "unit": each.unit, "as_of": each.as_of, "source": titles[each.source]}
        for each in asked
    ]
    if as_json:
        typer.echo(json.dumps(document))
        return
    for name in ("hardware", "name", "scale", "domain", "standing", "kw", "hbm_gb", "source", "note"):
        if document[name] not in {None, ""}:
            typer.echo(f"{name:<9} {document[name]}")
    for name, usd in document["usd_per_hour"].items():
        typer.echo(f"{name:<12} {usd:.3f} USD/h, all in; its parts are not stated by the source")
    for each in document["market"]:
        typer.echo(f"market    {each['what']}: {each['value']:g} {each['unit']} ({each['as_of']}, {each['source']})")


@app.command(name="build-up")
def build_up(
    file: Annotated[Path, typer.Argument(help="Your own costs, a goodput-hardware-cost/1 document.")],
    as_json: AsJson = False,
) -> None:
    """Show what an hour of each kind in a document costs, part by part."""
    from app.cli.pricing_inputs import read_costs
    from pricing.hardware_document import hardware_cost_document

    costs = read_costs(file)
    if as_json:
        typer.echo(json.dumps({"hardware": [hardware_cost_document(cost) for cost in costs]}))
        return
    for cost in costs:
        _print_stack(cost)


def _document(entry: "HardwareEntry", profiles: "tuple[Profile, ...]") -> dict[str, Any]:
    from pricing.hardware_catalog import standing

    return {
        "hardware": entry.hardware,
        "name": entry.name,
        "scale": entry.scale.value,
        "domain": entry.domain,
        "usd_per_hour": {ownership.value: usd for ownership, usd in entry.usd_per_hour},
        "kw": entry.kw,
        "hbm_gb": entry.hbm_gb,
        "is_bought_by_token": entry.is_bought_by_token,
        "standing": standing(entry, profiles),
        "source": entry.source,
        "note": entry.note,
    }


def _print_stack(cost: "HardwareCost") -> None:
    power = "power not stated" if cost.kw is None else f"{cost.kw:.3f} kW all in"
    typer.echo(f"{cost.hardware}: {cost.usd_per_hour:.4f} USD per accelerator-hour, {power} ({cost.source})")
    if not cost.parts:
        typer.echo("  stated as a whole; its parts are not known")
    for name, usd in cost.parts:
        share = usd / cost.usd_per_hour
        typer.echo(f"  {name:<11} {usd:8.4f}  {share:6.1%}  {'█' * round(share * 40)}")


def _dollars(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


NUMBERS = frozenset({*OWNERSHIPS, "kW", "GB"})


def _print(rows: list[dict[str, str]]) -> None:
    from app.cli.tables import Column, show, table

    columns = [Column(name, name in NUMBERS, name == "standing") for name in rows[0]]
    found = table("USD per accelerator-hour by ownership", columns)
    for row in rows:
        found.add_row(*row.values())
    show(found)
