"""Profiles onto disk: all of them or none, and the same bytes for the same profiles."""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pricing.profile_document import BYTES_MAX, profile_document
from pricing.profiles import Profile, slug
from providers.importers.refusal import ImportRefused, Problem

NAME_MAX = 200


class State(StrEnum):
    """What happened to one document."""

    WRITTEN = "written"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Written:
    """One document on disk."""

    profile_id: str
    path: Path
    state: State


def document_text(profile: Profile) -> str:
    """The profile document as it is written."""
    return json.dumps(profile_document(profile), indent=1, allow_nan=False) + "\n"


def file_name(profile: Profile) -> str:
    """A document's file name: model and deployment."""
    name = slug(profile.id.replace("@", "--")).replace("/", "-")
    return f"{name[:NAME_MAX]}.json"


def write_profiles(profiles: Sequence[Profile], folder: Path, *, replace: bool) -> tuple[Written, ...]:
    """Writes one document per profile into a folder, which is made if it is not there.

    All documents are first written beside their places and flushed; only then are they renamed into place. A failure
    before that leaves the folder as it was, a failure while renaming puts back what was there. The machine stopping in
    between leaves whole documents, some of them new: importing again completes them.

    Args:
        profiles: with different file names.
        folder: of the documents.
        replace: whether a document that differs may be replaced.

    Raises:
        ImportRefused: two profiles of one file name, or a document there that differs; nothing is written then.
        OSError: the folder cannot be written to; nothing is written then.
    """
    texts = _texts(profiles)
    states = {name: _state(folder / name, text) for name, (_, text) in texts.items()}
    _refuse_differing(folder, states, replace=replace)
    fresh = {folder / name: texts[name][1] for name, state in states.items() if state is not State.UNCHANGED}
    folder.mkdir(parents=True, exist_ok=True)
    _put(folder, fresh)
    return tuple(Written(profile.id, folder / name, states[name]) for name, (profile, _) in texts.items())


def _texts(profiles: Sequence[Profile]) -> dict[str, tuple[Profile, str]]:
    texts: dict[str, tuple[Profile, str]] = {}
    for profile in profiles:
        name, text = file_name(profile), document_text(profile)
        if name in texts:
            raise ImportRefused((Problem(name, "", f"{profile.id} and {texts[name][0].id} would have one file name"),))
        if len(text) > BYTES_MAX:
            raise ImportRefused((Problem(name, "", f"would be {len(text):,} long, at most {BYTES_MAX:,}"),))
        texts[name] = (profile, text)
    return texts


def _state(path: Path, text: str) -> State:
    if not path.exists():
        return State.WRITTEN
    return State.UNCHANGED if path.read_bytes() == text.encode() else State.REPLACED


def _refuse_differing(folder: Path, states: Mapping[str, State], *, replace: bool) -> None:
    differing = [name for name, state in states.items() if state is State.REPLACED]
    if differing and not replace:
        raise ImportRefused(
            tuple(
                Problem(name, "", f"is already in {folder} and says something else; use --replace or another --out")
                for name in differing
            )
        )


def _put(folder: Path, texts: Mapping[Path, str]) -> None:
    with tempfile.TemporaryDirectory(prefix=".import-", dir=folder) as staging:
        drafts = {path: Path(staging) / path.name for path in texts}
        for path, draft in drafts.items():
            _write(draft, texts[path])
        before = {path: path.read_bytes() if path.exists() else None for path in drafts}
        moved: list[Path] = []
        try:
            for path, draft in drafts.items():
                draft.replace(path)
                moved.append(path)
        except OSError:
            _put_back(moved, before)
            raise
    _flush_names(folder)


def _write(draft: Path, text: str) -> None:
    with draft.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())


def _put_back(moved: Sequence[Path], before: Mapping[Path, bytes | None]) -> None:
    for path in moved:
        earlier = before[path]
        if earlier is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(earlier)


def _flush_names(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
