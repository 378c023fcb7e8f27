"""``goodput profiles import`` and ``validate``: what others measured, into profile documents; all of it or nothing."""

import json
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.option_set import takes

if TYPE_CHECKING:
    from pricing.profiles import Profile
    from providers.importers.facts import Facts
    from providers.importers.importing import Format, Imported
    from providers.importers.source_file import SourceFile
    from providers.importers.writing import Written

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What `goodput profiles import` may be told; facts fill gaps and never overrule a file."""

    files: Annotated[list[Path], typer.Argument(help="Result files.", metavar="FILE…")]
    format: Annotated[
        str, typer.Option(help="auto, inferencex, aiconfigurator, vllm-bench, aiperf (GenAI-Perf too) or goodput.")
    ] = AUTO
    out: Annotated[Path | None, typer.Option(help="Write documents into this folder; else nothing is written.")] = None
    replace: Annotated[bool, typer.Option("--replace", help="Replace documents in --out that say otherwise.")] = False
    model: Annotated[str | None, typer.Option(help="The profiles' name of the model.")] = None
    hardware: Annotated[str | None, typer.Option(help="Accelerator, such as h200.")] = None
    n_gpus: Annotated[int | None, typer.Option(min=1, help="Accelerators of one replica.")] = None
    engine: Annotated[str | None, typer.Option(help="Engine, such as vllm.")] = None
    engine_version: Annotated[str | None, typer.Option(help="Version of the engine.")] = None
    precision: Annotated[str | None, typer.Option(help="Precision of the weights, such as fp8.")] = None
    parallelism: Annotated[str | None, typer.Option(help="Label, such as tp8ep1 or 'P:tp4x1 D:tp8x2'.")] = None
    mode: Annotated[str | None, typer.Option(help="agg or disagg.")] = None
    spec_decoding: Annotated[str | None, typer.Option(help="none, mtp, eagle3, …; unknown unless stated.")] = None
    prefill_gpus: Annotated[int | None, typer.Option(min=1, help="Accelerators of the prefill pool.")] = None
    decode_gpus: Annotated[int | None, typer.Option(min=1, help="Accelerators of the decode pool.")] = None
    isl: Annotated[int | None, typer.Option(min=1, help="Prompt length of the class, tokens.")] = None
    osl: Annotated[int | None, typer.Option(min=1, help="Answer length of the class, tokens.")] = None
    measured_on: Annotated[str | None, typer.Option(help="Day of the measurement, such as 2026-11-24.")] = None
    licence: Annotated[str | None, typer.Option(help="Licence of the figures.")] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False


@takes(ImportOptions)
def import_(options: ImportOptions) -> None:
    """Import results of InferenceX, aiconfigurator, vLLM bench, AIPerf or GenAI-Perf; all or nothing."""
    from app.cli.failure import Failure
    from providers.importers.importing import import_files
    from providers.importers.refusal import ImportRefused
    from providers.importers.writing import write_profiles

    try:
        imported = import_files([_source(path) for path in options.files], _facts(options), _format(options.format))
        written = write_profiles(imported.profiles, options.out, replace=options.replace) if options.out else ()
    except ImportRefused as refusal:
        raise Failure(str(refusal)) from refusal
    except OSError as error:
        raise Failure(f"cannot write to {options.out}: {error.strerror}; nothing was imported") from error
    if options.as_json:
        typer.echo(json.dumps(_document(imported, written)))
    else:
        _tell(imported, written)


def validate(
    files: Annotated[list[Path], typer.Argument(help="Profile documents.", metavar="FILE…")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check profile documents (goodput-profile/1); the status is 1 when one of them is wrong."""
    verdicts = [_verdict(path) for path in files]
    if as_json:
        typer.echo(json.dumps({"valid": all(each["valid"] for each in verdicts), "files": verdicts}))
    else:
        for each in verdicts:
            said = f"{each['profile']}, {each['points']} points" if each["valid"] else "; ".join(each["problems"])
            typer.echo(f"{'ok   ' if each['valid'] else 'wrong'} {each['file']}: {said}")
    if not all(each["valid"] for each in verdicts):
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Adds both commands to a group."""
    app.command(name="import")(import_)
    app.command()(validate)


def _source(path: Path) -> "SourceFile":
    from app.cli.failure import Failure
    from providers.importers.source_file import FILE_BYTES_MAX, SourceFile

    try:
        with path.open("rb") as file:
            return SourceFile(path.name, file.read(FILE_BYTES_MAX + 1))
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}") from error


def _format(name: str) -> "Format | None":
    from app.cli.failure import Failure
    from providers.importers.importing import Format

    if name == AUTO:
        return None
    try:
        return Format(name)
    except ValueError as error:
        raise Failure(f"--format {name}: expected {AUTO}, {', '.join(Format)}") from error


def _facts(options: ImportOptions) -> "Facts":
    from app.cli.failure import Failure
    from pricing.profiles import Mode
    from providers.importers.facts import Facts

    same = ("model", "hardware", "n_gpus", "engine", "engine_version", "precision", "parallelism", "spec_decoding")
    more = ("prefill_gpus", "decode_gpus", "isl", "osl", "licence")
    facts = Facts(**{name: getattr(options, name) for name in (*same, *more)})
    try:
        mode = None if options.mode is None else Mode(options.mode)
        day = None if options.measured_on is None else date.fromisoformat(options.measured_on)
    except ValueError as error:
        raise Failure(f"--mode takes agg or disagg, --measured-on a date such as 2026-11-24: {error}") from error
    return replace(facts, mode=mode, measured_on=day)


def _verdict(path: Path) -> dict[str, Any]:
    from providers.importers.facts import Facts
    from providers.importers.importing import Format, import_files
    from providers.importers.refusal import ImportRefused

    try:
        profiles = import_files([_source(path)], Facts(), Format.GOODPUT).profiles
    except ImportRefused as refusal:
        problems = [": ".join(part for part in (each.where, each.reason) if part) for each in refusal.problems]
        return {"file": str(path), "valid": False, "problems": problems}
    ids = ", ".join(profile.id for profile in profiles)
    points = sum(len(profile.points) for profile in profiles)
    return {"file": str(path), "valid": True, "profile": ids, "points": points}


def _document(imported: "Imported", written: "tuple[Written, ...]") -> dict[str, Any]:
    from pricing.profile_document import profile_document

    places = {each.profile_id: each for each in written}
    profiles: list[dict[str, Any]] = []
    for profile in imported.profiles:
        place = places.get(profile.id)
        summary = _summary(profile)
        if place is None:
            summary["document"] = profile_document(profile)
        else:
            summary |= {"path": str(place.path), "state": place.state.value}
        profiles.append(summary)
    files = [
        {"file": each.name, "sha256": each.sha256, "format": each.format.value, "rows": each.rows}
        for each in imported.files
    ]
    return {"files": files, "left_out": imported.left_out, "profiles": profiles}


def _summary(profile: "Profile") -> dict[str, Any]:
    return {
        "id": profile.id,
        "points": len(profile.points),
        "classes": [str(lengths) for lengths in profile.classes],
        "basis": sorted({point.provenance.basis.value for point in profile.points}),
    }


def _tell(imported: "Imported", written: "tuple[Written, ...]") -> None:
    from app.cli.terminal import answer

    places = {each.profile_id: each for each in written}
    rows: list[dict[str, Any]] = []
    for profile in imported.profiles:
        summary = _summary(profile)
        place = places.get(profile.id)
        row = {name: " ".join(value) if isinstance(value, list) else value for name, value in summary.items()}
        rows.append(row | ({} if place is None else {"state": place.state.value, "path": place.path}))
    answer(rows, as_json=False)
    points = sum(len(profile.points) for profile in imported.profiles)
    left = f"; {imported.left_out} modelled alternatives for a load left out" if imported.left_out else ""
    end = "" if written else "; nothing was written, --out FOLDER writes their documents"
    typer.echo(f"{points} points in {len(imported.profiles)} profiles from {len(imported.files)} files{left}{end}")
