"""``goodput frontier``: speed against yield over all that was measured, and what it reads at a speed."""

import json
import math
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.option_set import takes
from app.cli.quality_options import ACCURACY_HELP

if TYPE_CHECKING:
    from app.cli.pictures.curve import Curve
    from app.settings import Settings
    from pricing.candidates import Candidates, Ceiling
    from pricing.hardware import HardwareCost
    from pricing.profiles import Profile
    from pricing.tiers import TierRules, Tiers

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

    model: Annotated[
        list[str], typer.Option(help="The profiles' own name of the model; see `goodput profiles list`. Repeatable.")
    ]
    isl: Annotated[int, typer.Option(min=1, help="Prompt length of the class, tokens.")]
    osl: Annotated[int, typer.Option(min=1, help="Answer length of the class, tokens.")]
    hardware: Annotated[list[str] | None, typer.Option(help="Only this hardware; repeatable.")] = None
    engine: Annotated[list[str] | None, typer.Option(help="Only this engine; repeatable.")] = None
    precision: Annotated[list[str] | None, typer.Option(help="Only this precision; repeatable.")] = None
    mode: Annotated[ModeName | None, typer.Option(help="Aggregated or disaggregated only.")] = None
    spec_decoding: Annotated[
        list[str] | None, typer.Option(help="Only this speculation: none takes points known to have none; repeatable.")
    ] = None
    deployment: Annotated[list[str] | None, typer.Option(help="Only this deployment id; repeatable.")] = None
    ownership: Annotated[str | None, typer.Option(help="hyperscaler, neocloud or rental.")] = None
    usd_per_hour: Annotated[list[str] | None, typer.Option(help="Your own cost, HARDWARE=USD; repeatable.")] = None
    at: Annotated[str | None, typer.Option(help="Speeds to read it at, tok/s/user: 72 or 72,86.")] = None
    axis: Annotated[AxisName, typer.Option(help="Yield per dollar, per megawatt or per accelerator.")] = AxisName.USD
    ttft_p99_max: Annotated[float | None, typer.Option(help="Ceiling on the p99 first token, s.")] = None
    speed_p99_min: Annotated[float, typer.Option(help="Least p99 speed, tok/s/user.")] = 0.0
    hardware_cost: Annotated[list[Path] | None, typer.Option(help="Your own costs, a document; repeatable.")] = None
    precision_floor: Annotated[str | None, typer.Option(help="Least precision, such as fp8.")] = None
    accuracy: Annotated[Path | None, typer.Option(help=ACCURACY_HELP)] = None
    accuracy_min: Annotated[list[str] | None, typer.Option(help="Least accuracy: 0.98, or BENCHMARK:0.70.")] = None
    profile: Annotated[list[Path] | None, typer.Option(help="A profile document to add; repeatable.")] = None
    plot: Annotated[Path | None, typer.Option(help="Draw it: FILE.png, FILE.svg or FILE.html.")] = None
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document; of several models a list in `frontiers`.")
    ] = False


@dataclass(frozen=True, slots=True)
class Inputs:
    """What every model's frontier is drawn from."""

    settings: "Settings"
    profiles: "tuple[Profile, ...]"
    costs: "dict[str, HardwareCost]"
    speeds: tuple[float, ...]


@takes(FrontierOptions)
def frontier(options: FrontierOptions) -> None:
    """Draw the frontier of speed and yield of a model in one length class, and read it at a speed."""
    from app.cli.failure import Failure
    from app.cli.pictures.target import refuse_target
    from app.cli.terminal import note
    from pricing.frontier import OutsideMeasuredRange

    if options.plot is not None:
        refuse_target(options.plot)
    given = _inputs(options)
    try:
        curves = [_drawn(options, given, model) for model in dict.fromkeys(options.model)]
        documents = [_document(given, curve) for curve in curves]
        if options.plot is not None:
            _plot(options.plot, curves, given.settings.ownership)
    except OutsideMeasuredRange as error:
        note(f"goodput: --at {error}")
        raise typer.Exit(USAGE_STATUS) from error
    except ValueError as error:
        raise Failure(str(error)) from error
    _tell(curves, documents, as_json=options.as_json)


def speeds_of(text: str | None) -> tuple[float, ...]:
    """The speeds that ``--at`` names; a usage error when it makes no sense."""
    from pricing.frontier_document import speeds_from

    try:
        return () if text is None else speeds_from(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--at") from error


def _inputs(options: FrontierOptions) -> Inputs:
    from app.cli import pricing_inputs as inputs
    from app.cli.configuration import load_settings
    from pricing.profiles import cleaned

    settings = load_settings({"ownership": options.ownership})
    speeds = speeds_of(options.at)
    profiles = tuple(cleaned(inputs.known_profiles(options.profile or [])))
    costs = inputs.known_costs(settings, options.usd_per_hour or [], options.hardware_cost or [])
    return Inputs(settings, profiles, costs, speeds)


def _drawn(options: FrontierOptions, given: Inputs, model: str) -> "Curve":
    from app.cli import pricing_inputs as inputs
    from app.cli.pictures.curve import Curve
    from pricing.candidates import Axis, admitted, candidates
    from pricing.frontier import frontier as drawn
    from pricing.profiles import LengthClass

    lengths = LengthClass(options.isl, options.osl)
    assumed = inputs.assumptions(given.settings, lengths, _selection(options))
    found = candidates(given.profiles, model, lengths, given.costs, assumed.selection, assumed.parameters_billion)
    kept = admitted(found, _ceiling(options), assumed.rules.factors)
    front = drawn(kept, Axis(options.axis.value))
    chosen = None if options.plot is None else _tiers(replace(found, points=kept), assumed.rules)
    return Curve(found, kept, front, chosen, tuple(front.at(speed) for speed in given.speeds))


def _ceiling(options: FrontierOptions) -> "Ceiling":
    from pricing.candidates import Ceiling

    ttft, speed = options.ttft_p99_max, options.speed_p99_min
    if ttft is not None and not (math.isfinite(ttft) and ttft > 0):
        raise typer.BadParameter(f"{ttft} s is no ceiling; write seconds above 0", param_hint="--ttft-p99-max")
    if not (math.isfinite(speed) and speed >= 0):
        raise typer.BadParameter(f"{speed} is no speed; write tok/s/user, 0 or more", param_hint="--speed-p99-min")
    return Ceiling(ttft, speed)


def _tiers(kept: "Candidates", rules: "TierRules") -> "Tiers | None":
    """What would be sold of the points drawn; None where no tier can be."""
    from pricing.candidates import FrontierError
    from pricing.tiers import tiers

    try:
        return tiers(kept, rules)
    except FrontierError:
        return None


def _document(given: Inputs, curve: "Curve") -> dict[str, Any]:
    from pricing.frontier_document import frontier_document

    return {"ownership": given.settings.ownership, **frontier_document(curve.found, curve.front, given.speeds)}


def _selection(options: FrontierOptions) -> Any:
    from app.cli import pricing_inputs as inputs
    from app.cli.quality_options import one_floor

    chosen = inputs.selection(options.hardware or [], options.engine or [], options.precision or [])
    return replace(
        chosen,
        mode=None if options.mode is None else frozenset({options.mode.value}),
        spec_decoding=frozenset(options.spec_decoding or []) or None,
        deployment_id=frozenset(options.deployment or []) or None,
        floor=one_floor(options.precision_floor, options.accuracy, options.accuracy_min),
    )


def _plot(path: Path, curves: "list[Curve]", ownership: str) -> None:
    from app.cli.pictures.frontier import frontier_picture
    from app.cli.pictures.picture import write_picture
    from pricing.shipped import source_titles

    write_picture(frontier_picture(curves, ownership, source_titles()), path)


def _tell(curves: "list[Curve]", documents: list[dict[str, Any]], *, as_json: bool) -> None:
    from app.cli.frontier_table import print_frontier

    if as_json:
        typer.echo(json.dumps(documents[0] if len(documents) == 1 else {"frontiers": documents}))
        return
    for curve, document in zip(curves, documents, strict=True):
        print_frontier(curve.front, document)
