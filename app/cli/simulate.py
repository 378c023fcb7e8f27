"""``goodput simulate``: what a market would earn, on a virtual clock."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from app.cli.option_set import takes

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.settings import Settings
    from app.simulation.market import Market
    from app.simulation.supplies import Evidence
    from app.simulation.workload import Workload

app = typer.Typer(help="Simulate revenue, cost and goodput on a virtual clock.", no_args_is_help=True)

HOURS_MAX: Final = 2_400.0
BOOK_BYTES_MAX: Final = 4_000_000
TRACE_BYTES_MAX: Final = 200_000_000
NS_PER_S: Final = 1_000_000_000
NS_PER_HOUR: Final = 3_600 * NS_PER_S


@app.callback()
def _group() -> None:
    """Simulate revenue, cost and goodput on a virtual clock."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What `goodput simulate run` may be told."""

    hours: Annotated[float, typer.Option(min=1e-4, max=HOURS_MAX, help="Virtual hours.")] = 1.0
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same report, byte for byte.")] = 1
    rps: Annotated[float, typer.Option(min=1e-6, max=1e6, help="Requests per second, a Poisson process.")] = 10.0
    fleet: Annotated[str, typer.Option(help="live, demo, or auto: live where a market was opened, else demo.")] = "auto"
    book: Annotated[str | None, typer.Option(help="A published price book's id, or a file with one.")] = None
    trace: Annotated[Path | None, typer.Option(help="CSV with ContextTokens and GeneratedTokens to draw from.")] = None
    demand: Annotated[Path | None, typer.Option(help="A demand file: tiers are chosen at the book's prices.")] = None
    data_dir: Annotated[Path | None, typer.Option(help="Where the market keeps everything.  [default: var]")] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False


@app.command()
@takes(RunOptions)
def run(options: RunOptions) -> None:
    """Run Poisson demand against the price book and fleet; report revenue, cost, margin, goodput and attainment."""
    from app.cli.configuration import load_settings
    from app.cli.failure import Failure
    from app.simulation.engine import Simulator
    from app.simulation.report import report, report_bytes

    settings = load_settings({"data_dir": options.data_dir})
    try:
        workload, market = _workload(options), _market(options, settings)
        if options.demand is not None:
            workload = _self_selected(workload, market, options.demand)
        simulator = Simulator(market, workload, options.seed)
        with _progress(options) as on_progress:
            ended = simulator.run(max(1, round(options.hours * NS_PER_HOUR)), on_progress)
    except ValueError as error:
        raise Failure(str(error)) from error
    document = report(ended, _version())
    if options.as_json:
        typer.echo(report_bytes(document), nl=False)
    else:
        _show(document)


def _workload(options: RunOptions) -> "Workload":
    from app.cli.failure import Failure
    from app.simulation.workload import Workload, read_trace

    if options.trace is None:
        return Workload(rps=options.rps)
    try:
        if options.trace.stat().st_size > TRACE_BYTES_MAX:
            raise Failure(f"{options.trace}: a trace may have {TRACE_BYTES_MAX} bytes")
        with options.trace.open(newline="", encoding="utf-8") as lines:
            return Workload(rps=options.rps, trace=read_trace(lines))
    except OSError as error:
        raise Failure(f"{options.trace}: {error.strerror}") from error


def _self_selected(workload: "Workload", market: "Market", demand: Path) -> "Workload":
    from app.cli.terminal import note
    from app.simulation.self_selection import self_selected
    from pricing.anchors import list_prices
    from pricing.demand_document import demand_from_file

    chosen = self_selected(workload, market.book, market.models, demand_from_file(demand), list_prices())
    for model in market.models:
        if model not in chosen.tiers_of_models:
            note(f"{model} keeps the default tiers: the demand rests on list prices, and nobody publishes one of it")
    return chosen


def _market(options: RunOptions, settings: "Settings") -> "Market":
    from dataclasses import replace

    from app.cli.failure import Failure
    from app.cli.pricing_inputs import known_costs, known_profiles
    from app.simulation.supplies import Evidence

    if options.fleet not in {"auto", "live", "demo"}:
        raise Failure(f"--fleet is live, demo or auto, not {options.fleet!r}")
    evidence = Evidence(known_profiles([]), known_costs(settings, []))
    file = None if options.book is None else Path(options.book)
    is_file = file is not None and file.is_file()
    book_id = None if is_file else options.book
    is_live = options.fleet == "live" or (options.fleet == "auto" and _is_open(settings))
    if not is_live and book_id is not None:
        raise Failure(f"no file {book_id}, and no market was opened here whose books could have that id")
    market = _live_market(settings, evidence, book_id) if is_live else _demo_market(settings, evidence)
    return replace(market, book=_book_file(file)) if is_file and file is not None else market


def _is_open(settings: "Settings") -> bool:
    """Whether a market was ever opened on these settings' database."""
    from app.db import Database

    path = Database(settings.database_dsn).sqlite_path
    return path is None or path.is_file()


def _live_market(settings: "Settings", evidence: "Evidence", book_id: str | None) -> "Market":
    from app import clock
    from app.cli.terminal import with_database
    from app.db import Database
    from app.simulation.repository import read_market

    async def read(database: Database) -> "Market":
        async with database.reading() as session:
            return await read_market(session, clock.now(), evidence, book_id)

    return with_database(settings, read)


def _demo_market(settings: "Settings", evidence: "Evidence") -> "Market":
    from datetime import UTC, datetime

    from app.catalog.derivation import derived_book
    from app.cli import demo, supply
    from app.fleet.offers import offer_of
    from app.simulation.supplies import market_of

    curves = demo.curves(evidence.profiles)
    ours = supply.Supply(evidence.profiles, curves, dict.fromkeys(curves, "http://127.0.0.1:9/v1"), None)
    book = derived_book(supply.priced_models(settings, ours, evidence.hardware_costs), datetime(2026, 1, 1, tzinfo=UTC))
    offers = [offer_of(each.spec) for each in supply.registrations(settings, ours, evidence.hardware_costs)]
    return market_of(book, offers, evidence, "the demo fleet")


def _book_file(file: Path) -> Any:
    from app.cli.failure import Failure
    from pricing.pricebook import book_from_record

    try:
        if file.stat().st_size > BOOK_BYTES_MAX:
            raise Failure(f"{file}: a price book may have {BOOK_BYTES_MAX} bytes")
        document = json.loads(file.read_bytes())
        if "cards" in document:
            unknown = {"input": 0, "cached": 0, "cache_write": 0, "output": 0}
            document = {"document": document, "costs": [unknown] * len(document["cards"])}
        return book_from_record(document)
    except OSError as error:
        raise Failure(f"{file}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise Failure(f"{file} is no price book as `goodput prices show --json` prints it: {error!r}") from error


class _progress:  # noqa: N801 (a context manager that reads as a function)
    """Shows on a terminal how far a run has come; silent elsewhere."""

    def __init__(self, options: RunOptions) -> None:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        self._bar = Progress(console=console, transient=True, disable=not console.is_terminal)
        self._total_ns = options.hours * NS_PER_HOUR

    def __enter__(self) -> "Callable[[int], None]":
        self._bar.start()
        task = self._bar.add_task("simulating", total=self._total_ns)
        return lambda at_ns: self._bar.update(task, completed=at_ns)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("goodput")
    except PackageNotFoundError:
        return "unknown"


def _show(document: dict[str, Any]) -> None:
    from app.cli.terminal import answer

    for line in (*_summary(document), ""):
        typer.echo(line)
    answer([_tier_row(name, tier) for name, tier in document["tiers"].items()], as_json=False)
    typer.echo("")
    answer([_offer_row(name, offer) for name, offer in document["offers"].items()], as_json=False)
    kept = document["conservation"]
    parts = (f"{kept[name]} {name.replace('_', ' ')}" for name in kept if name not in {"offered", "is_balanced"})
    typer.echo(f"\n{kept['offered']} offered {'=' if kept['is_balanced'] else '≠'} {' + '.join(parts)}")


def _tier_row(name: str, tier: dict[str, Any]) -> dict[str, str]:
    return {
        "tier": name,
        "offered": str(tier["offered"]),
        "refused": str(tier["refused"]),
        "attained": _percent(tier["attainment"]),
        "TTFT p95 ms": _p95_ms(tier["ttft_us"]),
        "TPOT p95 ms": _p95_ms(tier["tpot_us"]),
        "revenue USD": _usd(tier["revenue_net"]),
        "USD/Mtok": _usd(tier["effective_usd_per_mtok"]),
    }


def _offer_row(name: str, offer: dict[str, Any]) -> dict[str, str]:
    return {
        "offer": name,
        "answers": str(offer["finished"]),
        "in flight": f"{offer['in_flight_mean']:.2f}",
        "used": _percent(offer["utilisation"]),
        "tok/s": f"{offer['output_tok_s']:.0f}",
        "revenue USD": _usd(offer["revenue_net"]),
        "cost USD": _usd(offer["cost"]),
        "margin USD": _usd(offer["margin"]),
    }


def _summary(document: dict[str, Any]) -> list[str]:
    manifest, money, tokens, requests = (document[name] for name in ("manifest", "money", "tokens", "requests"))
    hours = manifest["duration_s"] * NS_PER_S / NS_PER_HOUR
    reasons = ", ".join(f"{count} {reason}" for reason, count in requests["refused_by_reason"].items())
    earned = (
        f"revenue {_usd(money['revenue_net'])} USD, cost {_usd(money['cost'])} USD, margin {_usd(money['margin'])} USD "
        f"({_percent(money['margin_share'])}); given back for lateness {_usd(money['slo_adjustments'])} USD"
    )
    kept = (
        f"{requests['offered']} requests offered, {requests['refused']} refused{f' ({reasons})' if reasons else ''}; "
        f"goodput {tokens['goodput_tok_s']:g} of {tokens['throughput_tok_s']:g} tok/s delivered"
    )
    return [
        f"{hours:g} h on {manifest['market']}, book {manifest['price_book_id']}, seed {manifest['seed']}",
        earned,
        kept,
    ]


def _usd(amount: str | None) -> str:
    from decimal import Decimal

    return "–" if amount is None else f"{Decimal(amount):,.4f}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f} %"


def _p95_ms(percentiles: dict[str, int] | None) -> str:
    return "–" if percentiles is None else f"{percentiles['p95'] / 1000:.1f}"
