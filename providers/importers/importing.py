"""Files in, profiles out: which format each file is in, every row read, and all of them or nothing."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from pricing.profile_document import FORMAT, profile_from_document, refuse_duplicates
from pricing.profiles import Profile, ProfileError, merged
from providers.importers import aiconfigurator, aiperf, inferencex, vllm_bench
from providers.importers.facts import Facts, stated
from providers.importers.readings import (
    Origin,
    Reading,
    best_of_alternatives,
    problems_of,
    profiles_of,
)
from providers.importers.refusal import ImportRefused, Problem
from providers.importers.source_file import Placed, SourceFile, json_values, table_header, table_rows

FILES_MAX = 5_000
POINTS_MAX = 100_000
"""Over all files of one import."""


class Format(StrEnum):
    """Formats that can be imported."""

    INFERENCEX = "inferencex"
    AICONFIGURATOR = "aiconfigurator"
    VLLM_BENCH = "vllm-bench"
    AIPERF = "aiperf"
    GOODPUT = "goodput"


@dataclass(frozen=True, slots=True)
class FileRead:
    """What became of one file."""

    name: str
    sha256: str
    format: Format
    rows: int


@dataclass(frozen=True, slots=True)
class Imported:
    """A whole import.

    Attributes:
        left_out: modelled alternatives for a load that another row of the same load serves more with.
    """

    profiles: tuple[Profile, ...]
    files: tuple[FileRead, ...]
    left_out: int


@dataclass(frozen=True, slots=True)
class _Importer:
    origin: Callable[[SourceFile], Origin]
    read: Callable[[Placed, Origin, Facts], Reading]


_IMPORTERS = MappingProxyType(
    {
        Format.INFERENCEX: _Importer(inferencex.origin, inferencex.read),
        Format.AICONFIGURATOR: _Importer(aiconfigurator.origin, aiconfigurator.read),
        Format.VLLM_BENCH: _Importer(vllm_bench.origin, vllm_bench.read),
        Format.AIPERF: _Importer(aiperf.origin, aiperf.read),
    }
)


def import_files(files: Sequence[SourceFile], declared: Facts, wanted: Format | None = None) -> Imported:
    """Reads every row of every file into profiles, one per model and deployment.

    Args:
        files: with their bytes, in any order.
        declared: what the operator states of the runs; it fills gaps and never overrules a file.
        wanted: the format of all files; None finds each file's own.

    Raises:
        ImportRefused: with every bad row; nothing is imported then.
    """
    _check_count(files)
    facts = _stated(declared)
    problems: list[Problem] = []
    reads: list[FileRead] = []
    readings: list[Reading] = []
    own: list[Profile] = []
    for source in files:
        try:
            read = _read_file(source, facts, wanted)
        except ImportRefused as refusal:
            problems.extend(refusal.problems)
            continue
        reads.append(read.summary)
        readings.extend(read.readings)
        own.extend(read.profiles)
    if problems:
        raise ImportRefused(tuple(problems))
    return _assembled(tuple(reads), readings, own)


@dataclass(frozen=True, slots=True)
class _Read:
    summary: FileRead
    readings: tuple[Reading, ...] = ()
    profiles: tuple[Profile, ...] = ()


def _check_count(files: Sequence[SourceFile]) -> None:
    if not files or len(files) > FILES_MAX:
        raise ImportRefused((Problem("", "", f"{len(files):,} files; name from 1 to {FILES_MAX:,}"),))
    first: dict[str, str] = {}
    twice = [
        Problem(file.name, "", f"holds the same bytes as {earlier}; name it once")
        for file in files
        if (earlier := first.setdefault(file.sha256, file.name)) is not file.name
    ]
    if twice:
        raise ImportRefused(tuple(twice))


def _stated(declared: Facts) -> Facts:
    try:
        return stated(declared)
    except ProfileError as error:
        raise ImportRefused((Problem("", "", str(error)),)) from error


def _read_file(source: SourceFile, declared: Facts, wanted: Format | None) -> _Read:
    try:
        text = source.text()
        rows = json_values(text) if text.lstrip()[:1] in {"{", "["} else table_rows(text)
        found = _detected(rows[0].value, text)
        chosen = _chosen(found, wanted)
    except ProfileError as error:
        raise ImportRefused((Problem(source.name, "", str(error)),)) from error
    summary = FileRead(source.name, source.sha256, chosen, len(rows))
    if chosen is Format.GOODPUT:
        _refuse_facts(source, declared)
        return _Read(summary, profiles=tuple(_all(source, rows, lambda row: _own_profile(row.value))))
    importer = _IMPORTERS[chosen]
    origin = importer.origin(source)
    return _Read(summary, readings=tuple(_all(source, rows, lambda row: importer.read(row, origin, declared))))


def _refuse_facts(source: SourceFile, declared: Facts) -> None:
    given = [
        f"--{field.name.replace('_', '-')}" for field in fields(Facts) if getattr(declared, field.name) is not None
    ]
    if given:
        raise ImportRefused((Problem(source.name, "", f"a profile document says all itself; leave {given[0]} out"),))


def _all(source: SourceFile, rows: Iterable[Placed], read: Callable[[Placed], Any]) -> list[Any]:
    good: list[Any] = []
    bad: list[Problem] = []
    for row in rows:
        try:
            good.append(read(row))
        except ProfileError as error:
            bad.append(Problem(source.name, row.where, str(error)))
    if bad:
        raise ImportRefused(tuple(bad))
    return good


def _own_profile(document: Any) -> Profile:
    return profile_from_document(document)


def _chosen(found: Format | None, wanted: Format | None) -> Format:
    if wanted is None and found is None:
        raise ProfileError(f"no known format; known: {', '.join(Format)}. State which it is with --format")
    if wanted is not None and found is not None and wanted is not found:
        raise ProfileError(f"looks like {found}, not {wanted}")
    return wanted or found or Format.GOODPUT


def _detected(first: Any, text: str) -> Format | None:
    """The format by the fields of its first row; None when it is in no known one."""
    if text.lstrip()[:1] not in {"{", "["}:
        return _detected_table(set(table_header(text)))
    return _detected_object(first) if isinstance(first, dict) else None


def _detected_object(first: dict[str, Any]) -> Format | None:
    names = set(first)
    if str(first.get("format", "")).startswith(FORMAT.partition("/")[0]):
        return Format.GOODPUT
    if isinstance(first.get("time_to_first_token"), dict) or isinstance(first.get("request_latency"), dict):
        return Format.AIPERF
    if {"hw", "conc"} & names:
        return Format.INFERENCEX
    if {"request_throughput", "output_throughput"} & names and any(name.endswith("ttft_ms") for name in names):
        return Format.VLLM_BENCH
    return None


def _detected_table(names: set[str]) -> Format | None:
    if "tokens/s/user" in names or {"moe_precision", "perf_db"} & names:
        return Format.AICONFIGURATOR
    if "concurrency" in names and any("ttft" in name for name in names):
        return Format.INFERENCEX
    return None


def _assembled(files: tuple[FileRead, ...], readings: Sequence[Reading], own: Sequence[Profile]) -> Imported:
    modelled = [each for each in readings if each.point.provenance.basis == "modelled"]
    measured = [each for each in readings if each.point.provenance.basis != "modelled"]
    kept, left_out = best_of_alternatives(modelled)
    all_kept = [*measured, *kept]
    problems = problems_of(all_kept)
    if problems:
        raise ImportRefused(problems)
    if len(all_kept) > POINTS_MAX:
        raise ImportRefused((Problem("", "", f"{len(all_kept):,} points, at most {POINTS_MAX:,}; import fewer files"),))
    try:
        profiles = (*_united(own), *profiles_of(all_kept))
        _refuse_both(profiles)
    except ProfileError as error:
        raise ImportRefused((Problem("", "", str(error)),)) from error
    return Imported(tuple(sorted(profiles, key=lambda profile: profile.id)), files, left_out)


def _united(own: Sequence[Profile]) -> tuple[Profile, ...]:
    """Profile documents of one deployment, put together; they may differ in their points alone."""
    shared: dict[str, Profile] = {}
    for each in own:
        first = shared.setdefault(each.id, each)
        for name in ("limits", "price", "prefill_tok_s", "notes"):
            if getattr(first, name) != getattr(each, name):
                raise ProfileError(f"{each.id}: two documents that differ in {name}; nothing says which holds")
    united = merged(own)
    for profile in united:
        refuse_duplicates(profile)
    return united


def _refuse_both(profiles: Sequence[Profile]) -> None:
    seen: set[str] = set()
    for profile in profiles:
        if profile.id in seen:
            raise ProfileError(f"{profile.id}: both a profile document and in another format; import them apart")
        seen.add(profile.id)
