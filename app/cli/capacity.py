"""``goodput capacity``: the cheapest fleet that serves every tier's demand, and what each cap costs."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from app.cli.option_set import takes
from app.cli.quality_options import ACCURACY_HELP, FLOOR_HELP, MINIMUM_HELP

if TYPE_CHECKING:
    from pricing.capacity import Plan

V = TypeVar("V")
INFEASIBLE_STATUS = 3
"""The status when no fleet within the caps serves the demand; what is short is told all the same."""


@dataclass(frozen=True, slots=True)
class CapacityOptions:
    """What `goodput capacity` may be told."""

    model: Annotated[str, typer.Option(help="The profiles' own name of the model; see `goodput profiles list`.")]
    isl: Annotated[int, typer.Option(min=1, help="Prompt length of the class, tokens.")]
    osl: Annotated[int, typer.Option(min=1, help="Answer length of the class, tokens.")]
    demand: Annotated[
        list[str],
        typer.Option(
            help="TIER=TOK_S, input and output; by period: TIER=TOK_S,TOK_S,… Repeatable. Bulk is an average."
        ),
    ]
    weights: Annotated[str | None, typer.Option(help="Share of time of each period, such as 0.25,0.75.")] = None
    count: Annotated[list[str] | None, typer.Option(help="HARDWARE=COUNT at most; repeatable.")] = None
    mw: Annotated[float | None, typer.Option(help="The site's power, MW.")] = None
    hardware: Annotated[list[str] | None, typer.Option(help="Only this hardware; repeatable.")] = None
    ownership: Annotated[str | None, typer.Option(help="hyperscaler, neocloud or rental.")] = None
    usd_per_hour: Annotated[list[str] | None, typer.Option(help="Your own cost, HARDWARE=USD; repeatable.")] = None
    utilisation: Annotated[float | None, typer.Option(help="Share of a fleet's time that makes tokens.")] = None
    profile: Annotated[list[Path] | None, typer.Option(help="A profile document to add; repeatable.")] = None
    hardware_cost: Annotated[list[Path] | None, typer.Option(help="Your own costs, a document; repeatable.")] = None
    precision_floor: Annotated[list[str] | None, typer.Option(help=FLOOR_HELP)] = None
    accuracy: Annotated[Path | None, typer.Option(help=ACCURACY_HELP)] = None
    accuracy_min: Annotated[list[str] | None, typer.Option(help=MINIMUM_HELP)] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False


@takes(CapacityOptions)
def capacity(options: CapacityOptions) -> None:
    """Find the cheapest fleet for a demand under caps on hardware and power, with shadow prices."""
    from app.cli.failure import Failure
    from app.cli.terminal import note
    from pricing.capacity_document import plan_document

    try:
        found, context = _planned(options)
    except ValueError as error:
        raise Failure(str(error)) from error
    document = {**context, **plan_document(found)}
    if options.as_json:
        typer.echo(json.dumps(document))
    else:
        _print(document)
    for name, reason in context["unused"].items():
        note(f"{name} is not used: {reason}")
    if found.reason:
        raise typer.Exit(INFEASIBLE_STATUS)


def _planned(options: CapacityOptions) -> "tuple[Plan, dict[str, Any]]":
    from app.cli import pricing_inputs as inputs
    from app.cli.configuration import load_settings
    from app.cli.quality_options import tier_floors
    from pricing.candidates import candidates
    from pricing.capacity import Problem, plan
    from pricing.capacity_options import hardware_pools, tier_options, unused
    from pricing.profiles import LengthClass, cleaned
    from pricing.tiers import tiers

    settings = load_settings({"ownership": options.ownership, "utilisation": options.utilisation})
    lengths = LengthClass(options.isl, options.osl)
    floors = tier_floors(options.precision_floor, options.accuracy, options.accuracy_min)
    given = inputs.assumptions(settings, lengths, inputs.selection(options.hardware or [], [], []), floors)
    costs = inputs.known_costs(settings, options.usd_per_hour or [], options.hardware_cost or [])
    profiles = cleaned(inputs.known_profiles(options.profile or []))
    found = candidates(profiles, options.model, lengths, costs, given.selection, given.parameters_billion)
    columns = tier_options(found, tiers(found, given.rules).sold, given.rules, given.utilisation)
    counts = dict(_once([_pair(text) for text in options.count or []], "--count"))
    idle = unused(counts, columns, {each.profile.configuration.hardware for each in found.points})
    problem = Problem(hardware_pools(columns, costs, counts), columns, _demand(options), options.mw)
    context = {
        "model": options.model,
        "isl": options.isl,
        "osl": options.osl,
        "ownership": settings.ownership,
        "utilisation": given.utilisation,
        "unused": idle,
    }
    return plan(problem), context


def _once(pairs: list[tuple[str, V]], option: str) -> list[tuple[str, V]]:
    """The pairs; of two that name the same thing neither is guessed to be the one meant."""
    names = [name for name, _ in pairs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{option} names {', '.join(twice)} twice; give each once")
    return pairs


def _halves(text: str) -> tuple[str, tuple[str, str]]:
    name, _, values = text.partition("=")
    return name, (text, values)


def _pair(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError as error:
        raise ValueError(f"{text!r}: expected NAME=NUMBER") from error


def _demand(options: CapacityOptions) -> Any:
    from pricing.capacity import Demand
    from pricing.slo import Tier

    weights = tuple(_numbers(options.weights)) if options.weights else (1.0,)
    tok_s: dict[Tier, tuple[float, ...]] = {}
    later: dict[Tier, float] = {}
    for name, (text, values) in _once([_halves(text) for text in options.demand], "--demand"):
        if name not in set(Tier):
            raise ValueError(f"{text!r}: expected TIER=TOK_S with premium, standard or bulk")
        numbers = _numbers(values)
        if Tier(name) is Tier.BULK:
            if len(numbers) != 1:
                raise ValueError(f"{text!r}: bulk is one average, it runs when others do not")
            later[Tier.BULK] = numbers[0]
        else:
            tok_s[Tier(name)] = tuple(numbers)
    return Demand(tok_s, weights, later)


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ValueError(f"{text!r}: expected numbers with commas between them") from error


def _print(document: dict[str, Any]) -> None:
    from app.cli.tables import numbers, show, table, wide, words

    if document["reason"]:
        typer.echo(f"infeasible: {document['reason']}")
        return
    power = "power not known" if document["mw"] is None else f"{document['mw']:.3f} MW"
    lengths = f"ISL/OSL {document['isl']}/{document['osl']}"
    title = f"{document['model']} · {lengths} · {document['usd_per_hour']:,.2f} USD/h · {power}"
    found = table(title, [*words("tier"), *wide("run on"), *numbers("accelerators by period", "replicas")])
    for use in document["uses"]:
        if max(use["gpus"]) > 0:
            gpus = ", ".join(f"{count:,.1f}" for count in use["gpus"])
            found.add_row(use["tier"], use["deployment"], gpus, str(use["replicas"]))
    show(found)
    for line in _shadow_lines(document["shadow_prices"]):
        typer.echo(line)


def _shadow_lines(shadows: dict[str, Any]) -> list[str]:
    lines = [
        f"a million {tier} tokens more: {', '.join(f'{usd:.4f}' for usd in prices)} USD by period"
        for tier, prices in shadows["usd_per_mtok"].items()
    ]
    lines += [f"one {name} more would save {usd:.3f} USD/h" for name, usd in shadows["usd_per_gpu_hour"].items() if usd]
    if shadows["usd_per_mw_hour"]:
        lines.append(f"one MW more would save {shadows['usd_per_mw_hour']:,.2f} USD/h")
    return lines
