"""The paper that every picture is drawn on: title, what it is about, source line; sizes in inches."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import shorten, wrap

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from app.cli.pictures.palette import INK, INK_2, INK_3, STYLE

MARGIN, HEAD, FOOT = 0.35, 1.0, 0.55
TITLE_CHARACTERS_MAX = 90
FOOT_CHARACTERS = 175
FOOT_LINES_MAX = 2
SIDE_LINE = 0.178
SIDE_CHARACTERS = 33


@dataclass(frozen=True, slots=True)
class Box:
    """A part of the paper, inches from its left and bottom edges."""

    left: float
    bottom: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text beside a picture.

    Attributes:
        marker: of the mark before it, as matplotlib names them; ``-`` draws a line, ``s`` a square; empty for none.
        colour: of the mark, and of the text where it is strong.
        is_hollow: the mark is an outline.
    """

    text: str
    marker: str = ""
    colour: str = INK_3
    is_strong: bool = False
    is_hollow: bool = False


@contextmanager
def house_style() -> Generator[None]:
    """The house's look over the library's own defaults: nothing that this machine's settings say matters."""
    with style.context(["default", STYLE]):
        yield


def new_sheet(title: str, about: str, source: str, size: tuple[float, float]) -> Figure:
    """An empty sheet with its title, what it is about below, and its source line at the foot.

    Args:
        title: one line; cut where it is too long.
        about: one line below it.
        source: where the figures come from; at most two lines.
        size: width and height, inches.
    """
    figure = Figure(figsize=size)
    width, height = size
    left = MARGIN / width
    cut = shorten(title, TITLE_CHARACTERS_MAX, placeholder=" …")
    figure.text(left, 1 - 0.3 / height, cut, fontsize=14, fontweight="bold", va="top", color=INK)
    figure.text(left, 1 - 0.62 / height, about, fontsize=9.5, va="top", color=INK_2)
    said = wrap(source, FOOT_CHARACTERS, max_lines=FOOT_LINES_MAX, placeholder=" …")
    figure.text(left, 0.14 / height, "\n".join(said), fontsize=7.5, va="bottom", color=INK_3)
    return figure


def axes_in(figure: Figure, box: Box) -> Axes:
    """Axes that fill a part of the paper, without lines at the top and the right."""
    width, height = (float(each) for each in figure.get_size_inches())
    axes = figure.add_axes((box.left / width, box.bottom / height, box.width / width, box.height / height))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=3)
    return axes


def side_notes(figure: Figure, box: Box, lines: Sequence[Line]) -> None:
    """Writes lines of text down a box from its top, each with its mark; what does not fit is counted."""
    fit = int(box.height / SIDE_LINE)
    shown = list(lines) if len(lines) <= fit else [*lines[: fit - 1], Line(f"… {len(lines) - fit + 1} lines more")]
    axes = axes_in(figure, box)
    axes.set_axis_off()
    axes.set_xlim(0, box.width)
    axes.set_ylim(-box.height, 0)
    for place, line in enumerate(shown):
        _write(axes, line, -(place + 0.5) * SIDE_LINE)


def _write(axes: Axes, line: Line, y: float) -> None:
    if line.marker in {"-", "--"}:
        axes.plot([0.0, 0.2], [y, y], line.marker, color=line.colour, linewidth=1.8)
    elif line.marker:
        face = "none" if line.is_hollow else line.colour
        edge = 1.3 if line.is_hollow or line.marker == "x" else 0.0
        axes.plot([0.1], [y], line.marker, mec=line.colour, mfc=face, markersize=6.5, mew=edge)
    axes.text(
        0.3,
        y,
        line.text,
        va="center_baseline",
        fontsize=9 if line.is_strong else 8.5,
        fontweight="bold" if line.is_strong else "normal",
        color=line.colour if line.is_strong else INK_2,
    )


def wrapped(text: str, characters: int = SIDE_CHARACTERS) -> list[Line]:
    """A sentence as lines of plain text, narrow enough for the side."""
    return [Line(part) for part in wrap(text, characters)]
