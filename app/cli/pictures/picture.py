"""A finished picture, and the file that it becomes: whole, or not at all."""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from matplotlib.figure import Figure

from app.cli.failure import Failure
from app.cli.pictures.page import page
from app.cli.pictures.sheet import house_style
from app.cli.pictures.svg import accessible

PNG_DPI = 160


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure and what a page or a reader's pointer tells beyond it.

    Attributes:
        title: one line.
        about: what it shows, one line.
        source: where the figures come from.
        figure: drawn in the house style.
        tips: for each group of marks, by its id in the figure, a text for each mark in the order drawn.
        columns: of the table of figures.
        rows: its cells, in words.
        notes: what a reader must know, a sentence each.
    """

    title: str
    about: str
    source: str
    figure: Figure
    tips: Mapping[str, Sequence[str]]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = field(default=())


def write_picture(picture: Picture, path: Path) -> None:
    """Writes a picture to a file of the kind that its suffix says; an earlier file is replaced once all is written.

    Args:
        picture: what is to be written.
        path: ends in ``.png``, ``.svg`` or ``.html``, in a directory that is there.

    Raises:
        Failure: the file cannot be written; what was there before is still there.
    """
    _write_whole(path, _bytes(picture, path.suffix.lower()))


def _bytes(picture: Picture, suffix: str) -> bytes:
    if suffix == ".png":
        return _drawn(picture, "png")
    svg = accessible(_drawn(picture, "svg"), picture.title, picture.about, picture.tips)
    return svg.encode() if suffix == ".svg" else page(picture, svg).encode()


def _drawn(picture: Picture, form: str) -> bytes:
    to = BytesIO()
    nameless = {"Software": None} if form == "png" else {"Date": None, "Creator": None}
    with house_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in a script that the font lacks shows as boxes
        picture.figure.savefig(to, format=form, dpi=PNG_DPI, metadata=nameless)
    return to.getvalue()


def _write_whole(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            _finish(file, part, path, content)
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}; name a file in a directory that can be written") from error


def _finish(file: BinaryIO, part: Path, path: Path, content: bytes) -> None:
    """Writes all of it to the disk and renames it; what cannot be finished is taken away again."""
    try:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
