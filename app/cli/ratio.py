"""``goodput ratio``: how many prefill GPUs to run for each decode GPU, for a mix of lengths."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.option_set import takes

if TYPE_CHECKING:
    from pricing.candidates import Candidate
    from pricing.profiles import LengthClass
    from pricing.ratio import Recommendation

GPUS = 64


@dataclass(frozen=True, slots=True)
class RatioOptions:
    """What `goodput ratio` may be told."""

    model: Annotated[str, typer.Option(help="The profiles' own name of the model; see `goodput profiles list`.")]
    mix: Annotated[str, typer.Option(help="Share of requests by ISL/OSL: 8192/1024=0.7,1024/1024=0.3.")]
    at: Annotated[
        float | None, typer.Option(help="Speed to keep, tok/s/user.  [default: standard's, in the largest class]")
    ] = None
    gpus: Annotated[int, typer.Option(help="How many GPUs to divide.")] = GPUS
    ttft_p99_max: Annotated[float, typer.Option(help="Ceiling on the p99 first token, s.")] = 90.0
    hardware: Annotated[list[str] | None, typer.Option(help="Only this hardware; repeatable.")] = None
    engine: Annotated[list[str] | None, typer.Option(help="Only this engine; repeatable.")] = None
    precision: Annotated[list[str] | None, typer.Option(help="Only this precision; repeatable.")] = None
    precision_floor: Annotated[str | None, typer.Option(help="Least precision, such as fp8.")] = None
    ownership: Annotated[str | None, typer.Option(help="hyperscaler, neocloud or rental.")] = None
    usd_per_hour: Annotated[list[str] | None, typer.Option(help="Your own cost, HARDWARE=USD; repeatable.")] = None
    hardware_cost: Annotated[list[Path] | None, typer.Option(help="Your own costs, a document; repeatable.")] = None
    profile: Annotated[list[Path] | None, typer.Option(help="A profile document to add; repeatable.")] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False


@takes(RatioOptions)
def ratio(options: RatioOptions) -> None:
    """Recommend the prefill : decode ratio of disaggregated pools for a mix, and show how yield moves with it."""
    from app.cli.failure import Failure

    try:
        document = _worked_out(options)
    except ValueError as error:
        raise Failure(str(error)) from error
    if options.as_json:
        typer.echo(json.dumps(document))
    else:
        _print(document)


def _worked_out(options: RatioOptions) -> dict[str, Any]:
    from app.cli.configuration import load_settings
    from pricing.hardware_catalog import worker_counts
    from pricing.ratio import checked_mix, mix_from, recommend
    from pricing.ratio_document import recommendation_document

    settings = load_settings({"ownership": options.ownership})
    mix = dict(checked_mix(mix_from(options.mix)))
    by_class = {lengths: _points(options, settings, lengths) for lengths in mix}
    speed = _standards_speed(by_class[next(iter(mix))], options) if options.at is None else options.at
    found: tuple[Recommendation, ...] = recommend([each for own in by_class.values() for each in own], mix, speed)
    cited = {each.configuration.deployment_id: f"{each.counted} ({each.source})" for each in worker_counts()}
    return {
        "model": options.model,
        "mix": [{"isl": lengths.isl, "osl": lengths.osl, "share": share} for lengths, share in mix.items()],
        "interactivity_tok_s_user": speed,
        "ownership": settings.ownership,
        "gpus": options.gpus,
        "recommendations": [recommendation_document(each, options.gpus, cited) for each in found],
    }


def _points(options: RatioOptions, settings: Any, lengths: "LengthClass") -> "tuple[Candidate, ...]":
    from dataclasses import replace

    from app.cli import pricing_inputs as inputs
    from app.cli.quality_options import one_floor
    from pricing.candidates import Ceiling, admitted, candidates
    from pricing.profiles import cleaned
    from pricing.shipped import parameters_billion

    chosen = inputs.selection(options.hardware or [], options.engine or [], options.precision or [])
    found = candidates(
        cleaned(inputs.known_profiles(options.profile or [])),
        options.model,
        lengths,
        inputs.known_costs(settings, options.usd_per_hour or [], options.hardware_cost or []),
        replace(chosen, mode=frozenset({"disagg"}), floor=one_floor(options.precision_floor, None, None)),
        parameters_billion(),
    )
    return admitted(found, Ceiling(options.ttft_p99_max))


def _standards_speed(points: "tuple[Candidate, ...]", options: RatioOptions) -> float:
    """Where speed × yield peaks among the deployments whose pools are known."""
    from pricing.frontier import frontier

    pooled = [each for each in points if each.profile.configuration.has_pools]
    if not pooled:
        raise ValueError(f"no deployment of {options.model} was measured with pools of known size")
    return max(frontier(pooled).points, key=lambda each: each.tok_s_user / each.usd_per_mtok).tok_s_user


def _print(document: dict[str, Any]) -> None:
    from app.cli.tables import numbers, show, table, wide

    mix = ", ".join(f"{each['isl']}/{each['osl']} {each['share']:.0%}" for each in document["mix"])
    speed = document["interactivity_tok_s_user"]
    title = f"{document['model']} · {mix} · at {speed:.4g} tok/s/user · {document['ownership']} · modelled by balance"
    counts = numbers("prefill : decode", f"of {document['gpus']} GPUs", "tok/s/GPU", "USD/M", "measured")
    found = table(title, [*wide("run on"), *counts])
    for each in document["recommendations"]:
        found.add_row(
            " ".join(each[name] for name in ("hardware", "engine", "precision", "spec_decoding")),
            f"{each['prefill_per_decode']:.2f} : 1",
            f"{each['prefill_gpus']} + {each['decode_gpus']}",
            f"{each['balanced']['tput_tok_s_per_gpu']:,.0f}",
            f"{each['balanced']['usd_per_mtok_total']:.4f}",
            str(len(each["measured"])),
        )
    show(found)
    for line in _lines(document["recommendations"][0]):
        typer.echo(line)


def _lines(best: dict[str, Any]) -> list[str]:
    named = " ".join(best[name] for name in ("hardware", "engine", "precision", "spec_decoding"))
    rows = [_row_line(row) for row in best["measured"]]
    return [f"{named}, ratio by ratio:", *rows, *(f"note: {note}" for note in best["notes"])]


def _row_line(row: dict[str, Any]) -> str:
    measured, modelled = row["tput_tok_s_per_gpu"], row["modelled_tok_s_per_gpu"]
    pools = f"{row['prefill_gpus']:>3} + {row['decode_gpus']:<3} at {row['isl']}/{row['osl']}"
    return (
        f"  {pools}: {measured:>8,.0f} tok/s/GPU "
        f"{row['basis']}, {modelled:>8,.0f} by balance ({row['limited_by']} limits); counts: "
        f"{row['worker_counts_from'] or 'of the profile'}"
    )
