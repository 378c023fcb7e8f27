"""A frontier as a picture: log axes, every point on it, the curve between them, the goldilocks band."""

import html
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pricing.frontier import Frontier

WIDTH, HEIGHT = 960, 600
LEFT, RIGHT, TOP, BOTTOM = 90, 30, 60, 70
CURVE_STEPS = 400
TICKS = (1, 2, 5)
AXIS_LABELS = {"usd": "tokens per dollar", "mw": "tokens/s per MW", "gpu": "tokens/s per accelerator"}

Scale = Callable[[float], float]


def frontier_picture(front: Frontier, document: dict[str, Any], suffix: str) -> str:
    """The picture as text of an SVG or an HTML file.

    Raises:
        ValueError: any other suffix.
    """
    if suffix not in {".svg", ".html"}:
        raise ValueError(f"a frontier is drawn as .svg or .html, not {suffix or 'a file without a suffix'}")
    picture = _svg(front, document)
    if suffix == ".svg":
        return picture
    title = html.escape(_title(document))
    return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><body>{picture}</body></html>\n'


def _title(document: dict[str, Any]) -> str:
    return f"{document['model']}, ISL/OSL {document['isl']}/{document['osl']}, {document['ownership']}"


def _svg(front: Frontier, document: dict[str, Any]) -> str:
    x = _log_scale(front.low, front.high, LEFT, WIDTH - RIGHT)
    yields = [float(value) for value in front.y]
    y = _log_scale(min(yields), max(yields), HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" role="img">',
        f"<title>{html.escape(_title(document))}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="32" font-size="18">{html.escape(_title(document))}</text>',
        _band(document["goldilocks"], x),
        *_grid(front, yields, x, y),
        _curve(front, x, y),
        *_dots(front, document, x, y),
        *_readings(front, document, x),
        _text(WIDTH / 2, HEIGHT - 18, "interactivity, tok/s/user"),
        _upright_text(24, HEIGHT / 2, AXIS_LABELS[front.axis.value]),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _log_scale(low: float, high: float, start: float, end: float) -> Scale:
    """Maps [low, high] to pixels on a log axis, with a margin of a twentieth of a decade; one value sits mid-way."""
    pad = 10**0.05
    bottom, top = math.log(low / pad), math.log(high * pad)
    return lambda value: start + (math.log(value) - bottom) / (top - bottom) * (end - start)


def _ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [tick for power in decades for step in TICKS if low <= (tick := step * 10.0**power) <= high]


def _band(zone: dict[str, Any], x: Scale) -> str:
    left, right = x(zone["low"]), x(zone["high"])
    return (
        f'<rect x="{left:.1f}" y="{TOP}" width="{max(right - left, 1):.1f}" height="{HEIGHT - TOP - BOTTOM}" '
        f'fill="#f3e3a3" opacity="0.5"><title>goldilocks zone {zone["low"]:.0f}–{zone["high"]:.0f}</title></rect>'
    )


def _grid(front: Frontier, yields: Sequence[float], x: Scale, y: Scale) -> list[str]:
    parts: list[str] = []
    for tick in _ticks(front.low, front.high):
        parts.append(_line(x(tick), TOP, x(tick), HEIGHT - BOTTOM))
        parts.append(_text(x(tick), HEIGHT - BOTTOM + 20, f"{tick:g}"))
    for tick in _ticks(min(yields), max(yields)):
        parts.append(_line(LEFT, y(tick), WIDTH - RIGHT, y(tick)))
        parts.append(_text(LEFT - 8, y(tick) + 4, f"{tick:,.0f}", anchor="end"))
    return parts


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#dddddd"/>'


def _text(x: float, y: float, said: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="12" text-anchor="{anchor}">{html.escape(said)}</text>'


def _upright_text(x: float, y: float, said: str) -> str:
    turned = f'transform="rotate(-90 {x} {y})"'
    return f'<text x="{x}" y="{y}" font-size="12" text-anchor="middle" {turned}>{html.escape(said)}</text>'


def _curve(front: Frontier, x: Scale, y: Scale) -> str:
    speeds = np.geomspace(front.low, front.high, CURVE_STEPS).clip(front.low, front.high)
    path = " ".join(
        f"{x(float(speed)):.1f},{y(float(value)):.1f}"
        for speed, value in zip(speeds, front.yields(speeds), strict=True)
    )
    return f'<polyline points="{path}" fill="none" stroke="#1f4e79" stroke-width="2"/>'


def _dots(front: Frontier, document: dict[str, Any], x: Scale, y: Scale) -> list[str]:
    return [
        f'<circle cx="{x(candidate.tok_s_user):.1f}" cy="{y(candidate.tokens_per(front.axis)):.1f}" r="4.5" '
        f'fill="#1f4e79"><title>{html.escape(shown["id"])}: {candidate.tok_s_user:.0f} tok/s/user, '
        f"{candidate.tok_s_per_gpu:,.0f} tok/s/GPU, {candidate.usd_per_mtok:.4f} USD/M</title></circle>"
        for candidate, shown in zip(front.points, document["frontier"], strict=True)
    ]


def _readings(front: Frontier, document: dict[str, Any], x: Scale) -> list[str]:
    marked = [(read["interactivity_tok_s_user"], f"{read['interactivity_tok_s_user']:g}") for read in document["at"]]
    marked.append((document["goldilocks"]["interactivity_tok_s_user"], "goldilocks"))
    marked += [(front.low, "bulk")]
    parts: list[str] = []
    for speed, name in marked:
        parts.append(
            f'<line x1="{x(speed):.1f}" y1="{TOP}" x2="{x(speed):.1f}" y2="{HEIGHT - BOTTOM}" '
            'stroke="#a33b20" stroke-dasharray="5 4"/>'
        )
        parts.append(_text(x(speed), TOP - 8, name))
    return parts
