"""The marks of a frontier's picture, from the faintest to the strongest, and a tooltip for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba

from app.cli.pictures.curve import Curve
from app.cli.pictures.figures import dollars
from app.cli.pictures.palette import (
    GOLD,
    GOLD_INK,
    INK,
    INK_2,
    MODELS,
    PAPER,
    TIER_INKS,
    TIER_MARKERS,
    TIERS,
    hardware_colours,
)
from pricing.candidates import Axis, Candidate
from pricing.explain import configuration_name
from pricing.tiers import TierPoint

CURVE_STEPS = 400
READINGS_NAMED_MAX = 8
NAME_WIDTH, NAME_HEIGHT = 90.0, 20.0
"""Room that a tier's name needs, in dots of the screen."""


def draw_marks(axes: Axes, curves: Sequence[Curve]) -> dict[str, list[str]]:
    """Draws every curve's marks; answers their tooltips by group."""
    tips: dict[str, list[str]] = {}
    is_alone = len(curves) == 1
    for place, curve in enumerate(curves):
        colours = _colours(curve) if is_alone else dict.fromkeys(_hardware(curve), MODELS[place])
        _zone(axes, curve, MODELS[place], is_alone=is_alone)
        tips.update(_cloud(axes, curve, colours, place))
        _curve(axes, curve, MODELS[place])
        tips.update(_front(axes, curve, colours, place))
        _readings(axes, curve)
    for place, curve in enumerate(curves):
        tips.update(_tiers(axes, curve, place, is_alone=is_alone))
    return tips


def tip(candidate: Candidate) -> str:
    """A point in words."""
    point, provenance = candidate.point, candidate.point.provenance
    return (
        f"{configuration_name(candidate.profile.configuration)}, {point.concurrency} concurrent\n"
        f"{candidate.tok_s_user:.1f} tok/s/user, {candidate.tok_s_per_gpu:,.0f} tok/s per accelerator, "
        f"{dollars(candidate.usd_per_mtok)} per million tokens\n"
        f"{provenance.basis} {provenance.measured_on or '(no date)'}, {provenance.source}"
    )


def _hardware(curve: Curve) -> list[str]:
    return sorted({each.profile.configuration.hardware for each in curve.found.points})


def _colours(curve: Curve) -> dict[str, str]:
    return hardware_colours(_hardware(curve))


def _zone(axes: Axes, curve: Curve, colour: str, *, is_alone: bool) -> None:
    """A band where one curve is alone; a broad stroke under the curve where others share the axes."""
    zone = curve.front.goldilocks()
    if not is_alone:
        speeds = np.geomspace(zone.low, zone.high, CURVE_STEPS).clip(curve.front.low, curve.front.high)
        axes.plot(speeds, curve.front.yields(speeds), color=colour, alpha=0.16, linewidth=13, solid_capstyle="butt")
        return
    axes.axvspan(zone.low, zone.high, color=GOLD, alpha=0.55, linewidth=0)
    axes.text(
        *((zone.low * zone.high) ** 0.5, 0.965, "goldilocks zone"),
        transform=axes.get_xaxis_transform(),
        color=GOLD_INK,
        ha="center",
        fontsize=8.5,
    )
    low, high = axes.get_xlim()
    peak = zone.tok_s_user * float(curve.front.yields(np.array([zone.tok_s_user]))[0])
    axes.plot([low, high], [peak / low, peak / high], "--", color=GOLD_INK, linewidth=0.9, alpha=0.75)


def _cloud(axes: Axes, curve: Curve, colours: Mapping[str, str], place: int) -> dict[str, list[str]]:
    groups = (("measured", curve.off, "o", 14, 0.38), ("refused", curve.refused, "x", 16, 0.45))
    return {
        f"{name}-{place}": _scatter(
            axes, points, curve.front.axis, f"{name}-{place}", _Look(marker, size, alpha, colours)
        )
        for name, points, marker, size, alpha in groups
        if points
    }


@dataclass(frozen=True, slots=True)
class _Look:
    marker: str
    size: float
    alpha: float
    colours: Mapping[str, str]
    edge: str = "none"


def _scatter(axes: Axes, points: Sequence[Candidate], axis: Axis, gid: str, look: _Look) -> list[str]:
    faces = [to_rgba(look.colours[each.profile.configuration.hardware], look.alpha) for each in points]
    drawn = axes.scatter(
        [each.tok_s_user for each in points],
        [each.tokens_per(axis) for each in points],
        s=look.size,
        c=faces,
        marker=look.marker,
        linewidths=0.9,
        edgecolors=None if look.marker == "x" else look.edge,
        zorder=2.5 if look.edge == "none" else 4,
    )
    drawn.set_gid(gid)
    return [tip(each) for each in points]


def _curve(axes: Axes, curve: Curve, colour: str) -> None:
    front = curve.front
    speeds = np.geomspace(front.low, front.high, CURVE_STEPS).clip(front.low, front.high)
    axes.plot(speeds, front.yields(speeds), color=colour, linewidth=1.7, zorder=3)


def _front(axes: Axes, curve: Curve, colours: Mapping[str, str], place: int) -> dict[str, list[str]]:
    gid = f"frontier-{place}"
    return {gid: _scatter(axes, curve.front.points, curve.front.axis, gid, _Look("o", 34, 1.0, colours, PAPER))}


def _readings(axes: Axes, curve: Curve) -> None:
    for place, read in enumerate(curve.readings):
        low, _ = axes.get_ylim()
        sure = read.attainable
        axes.plot([read.tok_s_user] * 2, [low, read.tokens_per], ":", color=INK_2, linewidth=1.1, zorder=3.5)
        axes.plot([read.tok_s_user], [read.tokens_per], "o", mfc=PAPER, mec=INK, markersize=6, mew=1.3, zorder=6)
        axes.plot(
            [sure.tok_s_user], [sure.tokens_per(curve.front.axis)], "s", mfc="none", mec=INK, markersize=9, zorder=6
        )
        if place < READINGS_NAMED_MAX:
            axes.annotate(
                *(f"{read.tok_s_user:g}", (read.tok_s_user, low), (3, 16)),
                textcoords="offset points",
                fontsize=8,
                color=INK_2,
            )


def _tiers(axes: Axes, curve: Curve, place: int, *, is_alone: bool) -> dict[str, list[str]]:
    tips: dict[str, list[str]] = {}
    seen: list[str] = []
    for tier, point in curve.sold.items():
        x, y = point.chosen.tok_s_user, point.chosen.tokens_per(curve.front.axis)
        gid = f"{tier}-{place}"
        size = (90 if is_alone else 62) / (1 + seen.count(point.chosen.id)) ** 1.5  # of two on one point both show
        drawn = axes.scatter(
            *([x], [y], size, TIERS[tier]), marker=TIER_MARKERS[tier], edgecolors=PAPER, linewidths=1.3, zorder=7
        )
        drawn.set_gid(gid)
        seen.append(point.chosen.id)
        tips[gid] = [f"{curve.model} {tier}\n{tip(point.chosen)}"]
    if is_alone:
        _name_tiers(axes, curve)
    return tips


def _name_tiers(axes: Axes, curve: Curve) -> None:
    """Writes each tier's name beside its mark; of tiers whose marks are close, all names in one line."""
    groups: list[list[TierPoint]] = []
    for point in curve.sold.values():
        near = [group for group in groups if _are_close(axes, group[0], point, curve.front.axis)]
        if near:
            near[0].append(point)
        else:
            groups.append([point])
    for group in groups:
        first = group[0].chosen
        axes.annotate(
            *(
                " + ".join(point.tier for point in group),
                (first.tok_s_user, first.tokens_per(curve.front.axis)),
                (8, 7),
            ),
            textcoords="offset points",
            fontsize=9.5,
            fontweight="bold",
            color=TIER_INKS[group[0].tier] if len(group) == 1 else INK,
            bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.7, "pad": 0.8},
            zorder=8,
        )


def _are_close(axes: Axes, first: TierPoint, second: TierPoint, axis: Axis) -> bool:
    (x1, y1), (x2, y2) = (
        axes.transData.transform((each.chosen.tok_s_user, each.chosen.tokens_per(axis))) for each in (first, second)
    )
    return abs(x1 - x2) < NAME_WIDTH and abs(y1 - y2) < NAME_HEIGHT
