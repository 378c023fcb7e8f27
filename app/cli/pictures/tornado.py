"""What each lever is worth: for every speed a bar for what doing without it would add to the cost, or take from it."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from app.cli.pictures.figures import dollars, source_line
from app.cli.pictures.palette import INK, INK_2, INK_3, LINE, PAPER
from app.cli.pictures.picture import Picture
from app.cli.pictures.sheet import FOOT, HEAD, MARGIN, Box, axes_in, house_style, new_sheet
from app.cli.pictures.trial import Trial
from pricing.whatif import Effect

WIDTH = 11.0
LABELS, BAR_INCHES, PANEL_HEAD, LEGEND = 2.0, 0.32, 0.6, 0.55
FIRST_LIFT = 0.3
SPEEDS_MAX = 8
DEARER, CHEAPER, IMPOSSIBLE = "#d9730d", "#4c9a5f", "#eceef2"
BAR = 0.62
SHARE_MAX = 4.0
"""A bar longer than this share of the base's cost is cut off, and says its length."""
SHARE_ROOM = 1.22
TABLE_COLUMNS = (
    *("speed, tok/s/user", "lever", "base, USD/M", "otherwise, USD/M", "change", "change, interpolated"),
    *("run on", "why not"),
)


def tornado_picture(trial: Trial, titles: dict[str, str]) -> Picture:
    """One panel for each speed, all on one scale.

    Args:
        trial: levers and what they do.
        titles: what the source keys of shipped tables stand for.

    Raises:
        ValueError: more speeds than a picture can hold, or no lever.
    """
    found = trial.found
    if not any(trial.effects.values()):
        raise ValueError(f"no lever means anything for {found.model} at ISL/OSL {found.lengths}: nothing to draw")
    if len(trial.effects) > SPEEDS_MAX:
        raise ValueError(f"a picture holds {SPEEDS_MAX} speeds at most, not {len(trial.effects)}; name fewer with --at")
    title = f"{found.model}: what each lever is worth"
    about = (
        f"ISL/OSL {found.lengths} · hardware at {trial.ownership} cost · cost of the same speed when done otherwise, "
        "against all levers in use"
    )
    source = source_line([each.point.provenance for each in found.points], titles)
    heights = {x: PANEL_HEAD + BAR_INCHES * len(rows) for x, rows in trial.effects.items()}
    size = (WIDTH, HEAD - FIRST_LIFT + sum(heights.values()) + FOOT + LEGEND)
    reach = _reach([effect for rows in trial.effects.values() for effect in rows])
    tips: dict[str, list[str]] = {}
    with house_style():
        figure = new_sheet(title, about, source, size)
        panels = _panels(figure, heights)
        for (x, effects), axes in zip(trial.effects.items(), panels, strict=True):
            tips.update(_panel(axes, x, effects, reach))
        _scale_below(panels[-1])
    rows = [_row(effect) for group in trial.effects.values() for effect in group]
    return Picture(title, about, source, figure, tips, TABLE_COLUMNS, rows, trial.assumptions)


def _panels(figure: Figure, heights: Mapping[float, float]) -> list[Axes]:
    """Axes for each speed, from the top; each leaves room for its title."""
    left, top = MARGIN + LABELS, float(figure.get_size_inches()[1]) - HEAD + FIRST_LIFT
    found: list[Axes] = []
    for height in heights.values():
        top -= height
        found.append(axes_in(figure, Box(left, top, WIDTH - left - MARGIN - 0.3, height - PANEL_HEAD)))
    return found


def share(effect: Effect) -> float | None:
    """What doing otherwise adds to the base's attainable cost, as a share of it; None when it cannot be done."""
    saved = effect.saved_usd
    return None if saved is None else saved / effect.base_attainable


def _share_interpolated(effect: Effect) -> float | None:
    saved = effect.saved_usd_interpolated
    return None if saved is None else saved / effect.base_interpolated


def _reach(effects: Sequence[Effect]) -> tuple[float, float]:
    shares = [
        min(each, SHARE_MAX) for effect in effects for each in (share(effect), _share_interpolated(effect)) if each
    ]
    low, high = min([*shares, 0.0]), max([*shares, 0.1])
    return (low * SHARE_ROOM - 0.06 * high, high * SHARE_ROOM)


def _panel(axes: Axes, x: float, rows: Sequence[Effect], reach: tuple[float, float]) -> dict[str, list[str]]:
    base = rows[0].base_attainable
    axes.set_title(
        *(f"at {x:.0f} tok/s/user, {dollars(base)} per million tokens",),
        loc="left",
        fontsize=10,
        fontweight="bold",
        pad=6,
    )
    axes.set_xlim(*reach)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [effect.lever for effect in rows], fontsize=9, color=INK_2)
    axes.tick_params(axis="y", length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.axvline(0, color=INK, linewidth=1.0)
    axes.grid(visible=True, axis="x")
    axes.xaxis.set_major_formatter(lambda value, _: _percent(value))
    axes.tick_params(axis="x", labelbottom=False, length=0)
    return {gid: said for row, effect in enumerate(rows) for gid, said in _bar(axes, row, effect, f"{x:.12g}").items()}


def _bar(axes: Axes, row: int, effect: Effect, speed: str) -> dict[str, list[str]]:
    value = share(effect)
    high = axes.get_xlim()[1]
    if value is None:
        axes.barh([row], [high], BAR, color=IMPOSSIBLE, hatch="////", edgecolor=LINE, linewidth=0)
        box = {"facecolor": PAPER, "edgecolor": "none", "pad": 2.0}
        axes.text(
            high * 0.02, row, f"cannot be done: {effect.reason}", va="center", fontsize=8.5, color=INK_2, bbox=box
        )
        return {}
    length = min(value, SHARE_MAX)
    gid = f"bar-{speed}-{row}"
    (drawn,) = axes.barh([row], [length], BAR, color=DEARER if value > 0 else CHEAPER, linewidth=0)
    drawn.set_gid(gid)
    read = _share_interpolated(effect)
    if read is not None:
        axes.plot([min(read, SHARE_MAX)] * 2, [row - BAR / 2, row + BAR / 2], color=INK, linewidth=1.6)
    end = max(length, min(read or 0.0, SHARE_MAX), 0.0) if value >= 0 else min(length, read or 0.0)
    side, ha = (5, "left") if value >= 0 else (-5, "right")
    cut = " (cut off)" if value > SHARE_MAX else ""
    axes.annotate(
        *(f"{_percent(value)}{cut}", (end, row), (side, 0)),
        textcoords="offset points",
        va="center",
        ha=ha,
        fontsize=8.5,
    )
    return {gid: [f"{effect.lever}: {dollars(effect.attainable or 0)} per million tokens on {effect.deployment_id}"]}


def _percent(value: float) -> str:
    return f"{value:+,.0%}".replace("-", "−") if round(value, 4) else "0%"


def _scale_below(axes: Axes) -> None:
    """The one scale that all panels share, and what its marks mean."""
    axes.tick_params(axis="x", labelbottom=True)
    axes.set_xlabel(
        "what it adds to the cost of a token, attainable; the upright stroke: read off the interpolated curve",
        loc="left",
        color=INK_3,
        labelpad=4,
    )


def _row(effect: Effect) -> list[str]:
    read, sure = _share_interpolated(effect), share(effect)
    return [
        f"{effect.tok_s_user:.1f}",
        effect.lever,
        f"{effect.base_attainable:.4f}",
        "" if effect.attainable is None else f"{effect.attainable:.4f}",
        "" if sure is None else f"{sure:+.1%}",
        "" if read is None else f"{read:+.1%}",
        effect.deployment_id or "",
        effect.reason,
    ]
