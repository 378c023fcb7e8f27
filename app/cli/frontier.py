"""``goodput frontier``: speed against yield over all that was measured, and what it reads at a speed."""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.option_set import takes

if TYPE_CHECKING:
    from rich.table import Table

    from pricing.candidates import Candidate, Candidates
    from pricing.frontier import Frontier

USAGE_STATUS = 2
"""The status for an option whose value makes no sense, as the command line's own refusals have it."""


class AxisName(StrEnum):
    """What yield is counted per."""

    USD = "usd"
    MW = "mw"
    GPU = "gpu"


class ModeName(StrEnum):
    """Whether prefill and decode share their accelerators."""

    AGG = "agg"
    DISAGG = "disagg"


@dataclass(frozen=True, slots=True)
class FrontierOptions:
    """What `goodput frontier` may be told."""

    model: Annotated[str, typer.Option(help="The profiles' own name of the model; see `goodput profiles list`.")]
    isl: Annotated[int, typer.Option(min=1, help="Prompt length of the class, tokens.")]
    osl: Annotated[int, typer.Option(min=1, help="Answer length of the class, tokens.")]
    hardware: Annotated[list[str] | None, typer.Option(help="Only this hardware; repeatable.")] = None
    engine: Annotated[list[str] | None, typer.Option(help="Only this engine; repeatable.")] = None
    precision: Annotated[list[str] | None, typer.Option(help="Only this precision; repeatable.")] = None
    mode: Annotated[ModeName | None, typer.Option(help="Aggregated or disaggregated only.")] = None
    spec_decoding: Annotated[
        list[str] | None, typer.Option(help="Only this speculation: none takes points known to have none; repeatable.")
    ] = None
    ownership: Annotated[str | None, typer.Option(help="hyperscaler, neocloud or rental.")] = None
    usd_per_hour: Annotated[list[str] | None, typer.Option(help="Your own cost, HARDWARE=USD; repeatable.")] = None
    at: Annotated[str | None, typer.Option(help="Speeds to read it at, tok/s/user: 72 or 72,86.")] = None
    axis: Annotated[AxisName, typer.Option(help="Yield per dollar, per megawatt or per accelerator.")] = AxisName.USD
    ttft_p99_max: Annotated[float | None, typer.Option(help="Ceiling on the p99 first token, s.")] = None
    speed_p99_min: Annotated[float, typer.Option(help="Least p99 speed, tok/s/user.")] = 0.0
    profile: Annotated[list[Path] | None, typer.Option(help="A profile document to add; repeatable.")] = None
    plot: Annotated[Path | None, typer.Option(help="Draw it: FILE.svg or FILE.html.")] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False


@takes(FrontierOptions)
def frontier(options: FrontierOptions) -> None:
    """Draw the frontier of speed and yield of a model in one length class, and read it at a speed."""
    from app.cli.configuration import load_settings
    from app.cli.failure import Failure
    from app.cli.terminal import note
    from pricing.frontier import OutsideMeasuredRange
    from pricing.frontier_document import frontier_document

    settings = load_settings({"ownership": options.ownership})
    speeds = speeds_of(options.at)
    try:
        found, front = _drawn(options, settings)
        document = {"ownership": settings.ownership, **frontier_document(found, front, speeds)}
    except OutsideMeasuredRange as error:
        note(f"goodput: --at {error}")
        raise typer.Exit(USAGE_STATUS) from error
    except ValueError as error:
        raise Failure(str(error)) from error
    if options.plot is not None:
        _plot(options.plot, front, document)
    if options.as_json:
        typer.echo(json.dumps(document))
    else:
        _print(front, document)


def speeds_of(text: str | None) -> tuple[float, ...]:
    """The speeds that ``--at`` names; a usage error when it makes no sense."""
    from pricing.frontier_document import speeds_from

    try:
        return () if text is None else speeds_from(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--at") from error


def _drawn(options: FrontierOptions, settings: Any) -> "tuple[Candidates, Frontier]":
    from app.cli import pricing_inputs as inputs
    from pricing.candidates import Axis, Ceiling, admitted, candidates
    from pricing.frontier import frontier as drawn
    from pricing.profiles import LengthClass, cleaned
    from pricing.shipped import parameters_billion

    profiles = cleaned(inputs.known_profiles(options.profile or []))
    found = candidates(
        profiles,
        options.model,
        LengthClass(options.isl, options.osl),
        inputs.known_costs(settings, options.usd_per_hour or []),
        _selection(options),
        parameters_billion(),
    )
    kept = admitted(found, Ceiling(options.ttft_p99_max, options.speed_p99_min))
    return found, drawn(kept, Axis(options.axis.value))


def _selection(options: FrontierOptions) -> Any:
    from dataclasses import replace

    from app.cli import pricing_inputs as inputs

    chosen = inputs.selection(options.hardware or [], options.engine or [], options.precision or [])
    return replace(
        chosen,
        mode=None if options.mode is None else frozenset({options.mode.value}),
        spec_decoding=frozenset(options.spec_decoding or []) or None,
    )


def _plot(path: Path, front: "Frontier", document: dict[str, Any]) -> None:
    from app.cli.failure import Failure
    from app.cli.frontier_plot import frontier_picture

    try:
        path.write_text(frontier_picture(front, document, path.suffix.lower()), encoding="utf-8")
    except (OSError, ValueError) as error:
        raise Failure(f"{path}: {error}") from error


def _print(front: "Frontier", document: dict[str, Any]) -> None:
    from rich.console import Console

    zone = document["goldilocks"]
    Console().print(_table(front, document))
    for read in document["at"]:
        sure = read["attainable"]
        typer.echo(
            f"at {read['interactivity_tok_s_user']:g} tok/s/user: {read['tput_tok_s_per_gpu']:,.0f} tok/s/GPU, "
            f"{read['usd_per_mtok_total']:.4f} USD/M interpolated between {' and '.join(read['between'])}; "
            f"attainable: {sure['tput_tok_s_per_gpu']:,.0f} tok/s/GPU, {sure['usd_per_mtok_total']:.4f} USD/M "
            f"on {sure['id']}"
        )
    typer.echo(
        f"goldilocks: {zone['interactivity_tok_s_user']:.0f} tok/s/user, {zone['share']:.0%} zone "
        f"{zone['low']:.0f}–{zone['high']:.0f}; {document['candidates']} points considered"
    )


def _table(front: "Frontier", document: dict[str, Any]) -> "Table":
    from rich.table import Table

    title = f"{document['model']} · ISL/OSL {document['isl']}/{document['osl']} · {document['ownership']}"
    table = Table(title=title)
    for name in ("tok/s/user", "tok/s/GPU", "USD/M", "Mtok/s/MW", "load"):
        table.add_column(name, justify="right")
    for name in ("run on", "basis", "date"):
        table.add_column(name)
    zone = document["goldilocks"]
    for candidate in front.points:
        is_in_zone = zone["low"] <= candidate.tok_s_user <= zone["high"]
        table.add_row(*_row(candidate), style="bold" if is_in_zone else None)
    return table


def _row(candidate: "Candidate") -> list[str]:
    from pricing.explain import configuration_name

    point, power = candidate.point, candidate.tok_s_per_mw
    return [
        f"{candidate.tok_s_user:.1f}",
        f"{candidate.tok_s_per_gpu:,.0f}",
        f"{candidate.usd_per_mtok:.4f}",
        "" if power is None else f"{power / 1e6:.3f}",
        str(point.concurrency),
        configuration_name(candidate.profile.configuration),
        point.provenance.basis.value,
        str(point.provenance.measured_on or ""),
    ]
