"""``goodput profiles``: what was measured, on what, when and by whom."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.profiles_import import register

if TYPE_CHECKING:
    from pricing.profiles import OperatingPoint, Profile

app = typer.Typer(help="Profiles: list, show, import and validate what was measured.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Files = Annotated[list[Path] | None, typer.Option("--profile", help="A profile document to add; repeatable.")]


@app.command(name="list")
def list_(
    model: Annotated[str | None, typer.Option(help="Only this model, one row per deployment.")] = None,
    hardware: Annotated[str | None, typer.Option(help="Only this hardware.")] = None,
    profile: Files = None,
    as_json: AsJson = False,
) -> None:
    """List the profiles at hand: by model, or with --model or --hardware by deployment."""
    from app.cli.failure import Failure
    from app.cli.pricing_inputs import known_profiles
    from pricing.hardware_catalog import NO_PROFILE, without_profile
    from pricing.tables import changed_tables, tables_sha256

    known = known_profiles(profile or [])
    bare = without_profile(known)
    if hardware in bare:
        raise Failure(f"{hardware}: {NO_PROFILE}; measure one (goodput providers measure) or import one")
    found = [each for each in known if model in {None, each.model} and hardware in {None, each.configuration.hardware}]
    if not found:
        raise Failure(
            f"no profile of {model or 'any model'} on {hardware or 'any hardware'}; see `goodput profiles list`"
        )
    is_detailed = model is not None or hardware is not None
    changed = changed_tables()
    if as_json:
        tables = {"sha256": tables_sha256(), "changed": changed}
        rows = [_summary(each) for each in found]
        typer.echo(json.dumps({"tables": tables, "profiles": rows, "without_profile": list(bare)}))
        return
    _print_rows([_row(each) for each in found] if is_detailed else _by_model(found))
    state = f"changed since they shipped: {', '.join(changed)}" if changed else "as shipped"
    typer.echo(f"{len(found)} profiles; tables {state} (sha256 {tables_sha256()[:12]})")
    typer.echo(f"{NO_PROFILE}: {', '.join(bare)}")


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="The profiles' own name of the model.")],
    deployment: Annotated[str, typer.Argument(help="Deployment id, as `goodput profiles list --model` shows it.")],
    profile: Files = None,
    as_json: AsJson = False,
) -> None:
    """Show all operating points of one deployment; --json prints its profile document (goodput-profile/1)."""
    from app.cli.failure import Failure
    from app.cli.pricing_inputs import known_profiles
    from pricing.profile_document import profile_document
    from pricing.profiles import merged

    of_model = [each for each in merged(known_profiles(profile or [])) if each.model == model]
    found = next((each for each in of_model if each.configuration.deployment_id == deployment), None)
    if found is None:
        raise Failure(f"no profile of {model} on {deployment}; {len(of_model)} others: `goodput profiles list --model`")
    if as_json:
        typer.echo(json.dumps(profile_document(found)))
        return
    _print_rows([_point(each) for each in _ordered(found)])
    typer.echo(found.notes or f"{found.id}: {len(found.points)} operating points")


def _summary(profile: "Profile") -> dict[str, Any]:
    configuration = profile.configuration
    days = sorted(point.provenance.measured_on for point in profile.points if point.provenance.measured_on)
    return {
        "model": profile.model,
        "deployment": configuration.deployment_id,
        "hardware": configuration.hardware,
        "n_gpus": configuration.n_gpus,
        "points": len(profile.points),
        "classes": " ".join(str(lengths) for lengths in profile.classes),
        "newest": days[-1].isoformat() if days else None,
        "basis": " ".join(sorted({point.provenance.basis.value for point in profile.points})),
        "source": " ".join(sorted({point.provenance.source for point in profile.points})),
    }


def _row(profile: "Profile") -> dict[str, Any]:
    summary = _summary(profile)
    return {name: summary[name] for name in ("model", "deployment", "points", "newest", "basis")}


def _by_model(profiles: "list[Profile]") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for model in dict.fromkeys(profile.model for profile in profiles):
        own = [profile for profile in profiles if profile.model == model]
        days = [point.provenance.measured_on for profile in own for point in profile.points]
        newest = max((day for day in days if day is not None), default=None)
        rows.append(
            {
                "model": model,
                "hardware": " ".join(sorted({profile.configuration.hardware for profile in own})),
                "deployments": len(own),
                "points": sum(len(profile.points) for profile in own),
                "newest": newest.isoformat() if newest else None,
            }
        )
    return rows


def _ordered(profile: "Profile") -> "list[OperatingPoint]":
    return sorted(profile.points, key=lambda point: (point.lengths, point.concurrency, point.tpot_s_p50))


def _point(point: "OperatingPoint") -> dict[str, Any]:
    return {
        "ISL/OSL": str(point.lengths),
        "load": point.concurrency,
        "TTFT s": f"{point.ttft_s_p50:.3f}",
        "TPOT ms": f"{point.tpot_s_p50 * 1_000:.2f}",
        "tok/s/user": f"{point.interactivity_tok_s_user:.1f}",
        "out tok/s": f"{point.output_tok_s:,.0f}",
        "date": str(point.provenance.measured_on or ""),
        "source": point.provenance.source,
    }


NUMBERS = frozenset({"points", "deployments", "load", "TTFT s", "TPOT ms", "tok/s/user", "out tok/s"})
WIDE = frozenset({"deployment", "hardware", "source"})


SAID_ONCE = ("model", "basis", "source")
"""What all rows share stands above them instead of in each."""


def _print_rows(rows: list[dict[str, Any]]) -> None:
    from app.cli.tables import Column, show, table

    shared = {name: rows[0][name] for name in SAID_ONCE if name in rows[0] and len({row[name] for row in rows}) == 1}
    title = " · ".join(str(value) for value in shared.values() if value)
    found = table(title, [Column(name, name in NUMBERS, name in WIDE) for name in rows[0] if name not in shared])
    for row in rows:
        found.add_row(*("" if value is None else str(value) for name, value in row.items() if name not in shared))
    show(found)


register(app)
