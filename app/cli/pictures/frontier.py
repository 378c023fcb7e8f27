"""A frontier as a picture: log axes, all that was measured, the curve, the goldilocks zone, and the tiers sold."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from app.cli.pictures.curve import Curve
from app.cli.pictures.figures import compact, source_line
from app.cli.pictures.frontier_marks import draw_marks
from app.cli.pictures.frontier_side import side_lines
from app.cli.pictures.frontier_table import table
from app.cli.pictures.palette import INK_2, MODELS
from app.cli.pictures.picture import Picture
from app.cli.pictures.scales import label, logarithmic, padded, ticks
from app.cli.pictures.sheet import FOOT, HEAD, MARGIN, Box, axes_in, house_style, new_sheet, side_notes
from pricing.candidates import Axis

SIZE = (11.0, 6.9)
SIDE, GAP = 2.65, 0.75
YIELDS = {
    Axis.USD: "tokens per dollar, at full use",
    Axis.MW: "tokens per second per megawatt",
    Axis.GPU: "tokens per second per accelerator",
}
SPEED = "interactivity, tokens per second per user"
LABEL_ROOM = 0.06


def frontier_picture(curves: Sequence[Curve], ownership: str, titles: dict[str, str]) -> Picture:
    """One model's frontier in full, or those of several on one pair of axes.

    Args:
        curves: one for each model, in one length class and on one axis; at most as many as there are colours.
        ownership: what an hour's price rests on.
        titles: what the source keys of shipped tables stand for.

    Raises:
        ValueError: more models than a picture can hold.
    """
    if len(curves) > len(MODELS):
        raise ValueError(f"a picture holds {len(MODELS)} models at most, not {len(curves)}; draw fewer at a time")
    title, about = _title(curves), _about(curves, ownership)
    shown = [each.point.provenance for curve in curves for each in curve.found.points]
    source = source_line(shown, titles)
    with house_style():
        figure = new_sheet(title, about, source, SIZE)
        width, height = SIZE
        plot = Box(0.85, FOOT + 0.55, width - SIDE - GAP - MARGIN - 0.85, height - HEAD - FOOT - 0.55)
        axes = axes_in(figure, plot)
        _scales(axes, curves)
        tips = draw_marks(axes, curves)
        side = Box(width - SIDE - MARGIN + 0.25, FOOT, SIDE, height - HEAD - FOOT)
        side_notes(figure, side, side_lines(curves))
    columns, rows = table(curves)
    return Picture(title, about, source, figure, tips, columns, rows, _notes(curves))


def _title(curves: Sequence[Curve]) -> str:
    if len(curves) == 1:
        return f"{curves[0].found.model}: what speed costs"
    return "What speed costs: " + ", ".join(curve.found.model for curve in curves)


def _about(curves: Sequence[Curve], ownership: str) -> str:
    points = sum(len(curve.found.points) for curve in curves)
    on_it = sum(len(curve.front.points) for curve in curves)
    return (
        f"ISL/OSL {curves[0].found.lengths} · hardware at {ownership} cost · {points:,} operating points, {on_it:,} on "
        f"{'the frontier' if len(curves) == 1 else 'a frontier'}"
    )


def _scales(axes: Axes, curves: Sequence[Curve]) -> None:
    axis = curves[0].front.axis
    points = [each for curve in curves for each in curve.found.points]
    across = [each.tok_s_user for each in points]
    up = [each.tokens_per(axis) for each in points]
    low, high = padded(min(across), max(across), LABEL_ROOM)
    bottom, top = padded(min(up), max(up), LABEL_ROOM)
    logarithmic(axes, (low, high), (bottom, top))
    axes.set_xlabel(SPEED, labelpad=6)
    axes.set_ylabel(YIELDS[axis], labelpad=6)
    if axis is not Axis.GPU:
        _opposite(axes, axis, bottom, top)


def _opposite(axes: Axes, axis: Axis, bottom: float, top: float) -> None:
    """The same height read the other way: lines of equal cost, or of equal energy, are level."""
    values = np.array(ticks(1e6 / top, 1e6 / bottom))
    other = axes.twinx()
    other.spines[["top", "left"]].set_visible(False)
    other.set_yscale("log")
    other.set_ylim(bottom, top)
    label(other.yaxis, [float(1e6 / value) for value in values], _cost if axis is Axis.USD else _energy)
    other.tick_params(length=3)
    other.set_ylabel(
        "USD per million tokens" if axis is Axis.USD else "joules per token", labelpad=8, color=INK_2, rotation=270
    )
    other.yaxis.label.set_verticalalignment("bottom")


def _cost(yielded: float) -> str:
    return f"${compact(1e6 / yielded)}"


def _energy(yielded: float) -> str:
    return compact(1e6 / yielded)


def _notes(curves: Sequence[Curve]) -> list[str]:
    notes: list[str] = []
    for curve in curves:
        name = curve.found.model
        if curve.chosen is None:
            notes.append(f"{name}: no tier can be sold from these points alone")
            continue
        notes += [f"{name} {tier}: {note}" for tier, point in curve.chosen.sold.items() for note in point.notes]
        notes += [f"{name} has no {tier}: {reason}" for tier, reason in curve.chosen.missing.items()]
    return notes
