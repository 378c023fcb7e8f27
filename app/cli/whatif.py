"""``goodput whatif``: what each lever saves at equal interactivity."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.option_set import takes

if TYPE_CHECKING:
    from app.cli.pictures.trial import Trial
    from pricing.candidates import Candidates
    from pricing.whatif import Lever

OWNERSHIPS = ("hyperscaler", "neocloud", "rental")


@dataclass(frozen=True, slots=True)
class WhatIfOptions:
    """What `goodput whatif` may be told."""

    model: Annotated[str, typer.Option(help="The profiles' own name of the model; see `goodput profiles list`.")]
    isl: Annotated[int, typer.Option(min=1, help="Prompt length of the class, tokens.")]
    osl: Annotated[int, typer.Option(min=1, help="Answer length of the class, tokens.")]
    at: Annotated[str | None, typer.Option(help="Speeds, tok/s/user: 72 or 72,86.  [default: the tiers']")] = None
    hardware: Annotated[list[str] | None, typer.Option(help="Only this hardware; repeatable.")] = None
    ownership: Annotated[str | None, typer.Option(help="hyperscaler, neocloud or rental.")] = None
    usd_per_hour: Annotated[list[str] | None, typer.Option(help="Your own cost, HARDWARE=USD; repeatable.")] = None
    power_usd_per_kwh: Annotated[float | None, typer.Option(help="Another price of power to try.")] = None
    included_usd_per_kwh: Annotated[
        float | None, typer.Option(help="The price of power inside a direct $/hour.  [default: 0.08]")
    ] = None
    profile: Annotated[list[Path] | None, typer.Option(help="A profile document to add; repeatable.")] = None
    hardware_cost: Annotated[list[Path] | None, typer.Option(help="Your own costs, a document; repeatable.")] = None
    precision_floor: Annotated[str | None, typer.Option(help="Least precision, such as fp8.")] = None
    plot: Annotated[Path | None, typer.Option(help="Draw it: FILE.png, FILE.svg or FILE.html.")] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False


@takes(WhatIfOptions)
def whatif(options: WhatIfOptions) -> None:
    """Say what each lever saves at equal speed: FP4, disaggregation, engines, speculation, power, ownership."""
    from app.cli.failure import Failure
    from app.cli.frontier import USAGE_STATUS, speeds_of
    from app.cli.pictures.target import refuse_target
    from app.cli.terminal import note
    from pricing.frontier import OutsideMeasuredRange

    speeds = speeds_of(options.at)
    if options.plot is not None:
        refuse_target(options.plot)
    try:
        trial = _tried(options, speeds)
        if options.plot is not None:
            _plot(options.plot, trial)
    except OutsideMeasuredRange as error:
        note(f"goodput: --at {error}")
        raise typer.Exit(USAGE_STATUS) from error
    except ValueError as error:
        raise Failure(str(error)) from error
    document = _document(trial)
    if options.as_json:
        typer.echo(json.dumps(document))
    else:
        _print(trial, document)


def _tried(options: WhatIfOptions, speeds: tuple[float, ...]) -> "Trial":
    from app.cli import pricing_inputs as inputs
    from app.cli.configuration import load_settings
    from app.cli.pictures.trial import Trial
    from app.cli.quality_options import one_floor
    from pricing.candidates import candidates
    from pricing.profiles import LengthClass, cleaned
    from pricing.shipped import parameters_billion
    from pricing.whatif import effects, levers, tornado

    settings = load_settings({"ownership": options.ownership})
    found = candidates(
        cleaned(inputs.known_profiles(options.profile or [])),
        options.model,
        LengthClass(options.isl, options.osl),
        inputs.known_costs(settings, options.usd_per_hour or [], options.hardware_cost or []),
        replace(inputs.selection(options.hardware or [], [], []), floor=one_floor(options.precision_floor, None, None)),
        parameters_billion(),
    )
    tried = (*levers(found.points), *_cost_levers(options, settings))
    assumed = [lever.assumption for lever in tried if lever.assumption]
    at = tuple(dict.fromkeys(speeds)) or _tier_speeds(found)
    return Trial(found, settings.ownership, tornado(effects(found.points, at, tried)), assumed)


def _plot(path: Path, trial: "Trial") -> None:
    from app.cli.pictures.picture import write_picture
    from app.cli.pictures.tornado import tornado_picture
    from pricing.shipped import source_titles

    write_picture(tornado_picture(trial, source_titles()), path)


def _document(trial: "Trial") -> dict[str, Any]:
    from pricing.whatif import effect_document

    return {
        "model": trial.found.model,
        "isl": trial.found.lengths.isl,
        "osl": trial.found.lengths.osl,
        "ownership": trial.ownership,
        "assumptions": list(trial.assumptions),
        "tornado": [
            {"interactivity_tok_s_user": x, "levers": [effect_document(effect) for effect in rows]}
            for x, rows in trial.effects.items()
        ],
    }


def _tier_speeds(found: "Candidates") -> tuple[float, ...]:
    """Where the tiers are sold; bulk, whose promise is no speed, at its own."""
    from pricing.tiers import tiers

    return tuple(sorted({point.chosen.tok_s_user for point in tiers(found).sold.values()}))


def _cost_levers(options: WhatIfOptions, settings: Any) -> "list[Lever]":
    from app.cli import pricing_inputs as inputs
    from pricing.whatif import POWER_USD_PER_KWH, ownership_lever, power_lever

    own = (options.usd_per_hour or [], options.hardware_cost or [])
    found = [
        ownership_lever(name, inputs.known_costs(settings.model_copy(update={"ownership": name}), *own))
        for name in OWNERSHIPS
        if name != settings.ownership
    ]
    if options.power_usd_per_kwh is not None:
        included = POWER_USD_PER_KWH if options.included_usd_per_kwh is None else options.included_usd_per_kwh
        found.append(power_lever(inputs.known_costs(settings, *own), options.power_usd_per_kwh, included))
    return found


def _print(trial: "Trial", document: dict[str, Any]) -> None:
    from app.cli.tables import numbers, show, table, wide, words
    from pricing.explain import configuration_name

    names = {each.deployment_id: configuration_name(each.profile.configuration) for each in trial.found.points}
    for group in document["tornado"]:
        x = group["interactivity_tok_s_user"]
        title = f"{document['model']} · ISL/OSL {trial.found.lengths} · at {x:.0f} tok/s/user · USD per million tokens"
        found = table(title, [*words("lever"), *numbers("base", "without", "saved", "on the curve"), *wide("run on")])
        for row in group["levers"]:
            found.add_row(
                row["lever"],
                f"{row['base_usd_per_mtok']['attainable']:.4f}",
                _number(row["usd_per_mtok"]["attainable"], ".4f"),
                _number(row["saved_share"]["attainable"], "+.1%"),
                _number(row["saved_share"]["interpolated"], "+.1%"),
                names.get(row["deployment"] or "", row["reason"]),
            )
        show(found)
    for assumption in document["assumptions"]:
        typer.echo(f"assumed: {assumption}")


def _number(value: float | None, form: str) -> str:
    return "none" if value is None else format(value, form)
