"""``goodput bench``: how the product does against its rivals, on virtual time."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from app.cli.option_set import takes

if TYPE_CHECKING:
    from app.simulation.contest import Heat, Outcome
    from app.simulation.contest_fleet import Contest

app = typer.Typer(help="Compare the market with its rivals, on virtual time.", no_args_is_help=True)

LOADS_MAX: Final = 20
LOAD_MAX: Final = 20.0
WORKERS: Final = 2
CHUNK: Final = 4


@app.callback()
def _group() -> None:
    """Compare the market with its rivals, on virtual time."""


@dataclass(frozen=True, slots=True)
class RoutingOptions:
    """What `goodput bench routing` may be told."""

    seeds: Annotated[int, typer.Option(min=2, max=100, help="Runs of each line; intervals are over them.")] = 5
    seconds: Annotated[float, typer.Option(min=1, max=86_400, help="Virtual seconds of demand in a run.")] = 60.0
    loads: Annotated[str, typer.Option(help="Multiples of the fleet's capacity.")] = "0.6,1.0,1.5"
    ablations: Annotated[bool, typer.Option(help="Also take parts of our dispatcher away, or mislead it.")] = True
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes.")] = WORKERS
    ownership: Annotated[str | None, typer.Option(help="hyperscaler, neocloud or rental.")] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False


@app.command()
@takes(RoutingOptions)
def routing(options: RoutingOptions) -> None:
    """Compare our dispatcher with common routers: goodput dollars per fleet dollar, and promises kept, by load."""
    from app.cli.failure import Failure
    from app.simulation.contest import FORMAT, Heat, entries, table

    try:
        loads = [float(each) for each in options.loads.split(",")]
    except ValueError as error:
        raise Failure(f"--loads {options.loads!r}: expected numbers with commas between them") from error
    if not loads or len(loads) > LOADS_MAX or not all(0 < load <= LOAD_MAX for load in loads):
        raise Failure(f"--loads takes 1 to {LOADS_MAX} multiples above 0 and at most {LOAD_MAX:g}, got {options.loads}")
    ownership = _ownership(options)
    heats = [
        Heat(entry, load, seed, options.seconds)
        for load in loads
        for seed in range(1, options.seeds + 1)
        for entry in entries(with_variants=options.ablations)
    ]
    rows = table(_outcomes(heats, ownership, options.workers))
    document = {"format": FORMAT, **_facts(options, ownership), "rows": rows}
    if options.as_json:
        typer.echo(json.dumps(document))
    else:
        _print(document)


def _ownership(options: RoutingOptions) -> str:
    from app.cli.configuration import load_settings

    return load_settings({"ownership": options.ownership}).ownership


def _facts(options: RoutingOptions, ownership: str) -> dict[str, Any]:
    from app.simulation.contest_fleet import FLEET, MODEL

    given = _contest(ownership)
    return {
        "model": MODEL,
        "ownership": ownership,
        "fleet": FLEET,
        "capacity_rps": round(given.capacity_rps, 2),
        "seconds": options.seconds,
        "seeds": options.seeds,
        "market_sha256": given.market.sha256,
        "promises": {
            card.rung.tier.value: {"ttft_us": card.rung.slo.ttft_us, "tpot_us": card.rung.slo.tpot_us}
            for card in given.market.book.cards.values()
        },
    }


def _contest(ownership: str) -> "Contest":
    from app.simulation.contest_fleet import contest
    from app.simulation.supplies import Evidence
    from pricing.hardware import hardware_costs
    from pricing.shipped import shipped_profiles

    return contest(Evidence(shipped_profiles(), hardware_costs(ownership)))


def _outcomes(heats: "list[Heat]", ownership: str, workers: int) -> "Iterator[Outcome]":
    """Runs the heats in processes of their own, so that each core makes one."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from functools import partial

    from rich.console import Console
    from rich.progress import Progress

    chunks = [heats[start : start + CHUNK] for start in range(0, len(heats), CHUNK)]
    console = Console(stderr=True)
    with (
        ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool,
        Progress(console=console, transient=True, disable=not console.is_terminal) as bar,
    ):
        ended = pool.map(partial(run_some, ownership), chunks)
        for outcomes in bar.track(ended, total=len(chunks), description="routing"):
            yield from outcomes


def run_some(ownership: str, heats: "list[Heat]") -> "list[Outcome]":
    """A few heats in a process of the pool."""
    from app.simulation.contest import run_heat

    given = _contest(ownership)
    return [run_heat(given, heat) for heat in heats]


def _print(document: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for load in dict.fromkeys(row["load"] for row in document["rows"]):
        table = Table(title=f"load {load:g} × {document['capacity_rps']:.0f} requests/s, {document['seeds']} seeds")
        table.add_column("who", overflow="fold")
        for name in ("goodput $ per fleet $", "premium kept, taken", "standard", "bulk"):
            table.add_column(name, justify="right")
        for row in document["rows"]:
            if row["load"] == load:
                table.add_row(*_cells(row))
        console.print(table)
    typer.echo("kept: accepted requests whose every token was good; taken: accepted of those offered")


def _cells(row: dict[str, Any]) -> list[str]:
    half = row["goodput_usd_per_fleet_usd_half_ci95"]
    ratio = f"{row['goodput_usd_per_fleet_usd']:.3f}" + (f" ± {half:.3f}" if half is not None else "")
    shares = [
        f"{_percent(row['attainment'].get(tier))}, {_percent(row['accepted_share'].get(tier))}"
        for tier in ("premium", "standard", "bulk")
    ]
    return [_who(row), ratio, *shares]


def _who(row: dict[str, Any]) -> str:
    from app.simulation.contest import Admission, Variant
    from app.simulation.routers import PolicyName

    name = row["policy"].replace("_", " ")
    if row["variant"] != Variant.WHOLE:
        return f"{name}: {row['variant'].replace('_', ' ')}"
    if row["policy"] == PolicyName.GOODPUT:
        return name
    return f"{name}, our admission" if row["admission"] == Admission.OURS else name


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"
