"""Colours and type of every picture; tiers wear the console's colours."""

from collections.abc import Iterable
from typing import Any

from pricing.slo import Tier

INK, INK_2, INK_3 = "#12161c", "#434c59", "#5f6876"
LINE, GRID, PAPER = "#c9ced6", "#e9ecf0", "#ffffff"
GOLD, GOLD_INK = "#f6e7b0", "#8a6400"

TIERS = {Tier.PREMIUM: "#7c5cfc", Tier.STANDARD: "#2a7de1", Tier.BULK: "#0f9d8a"}
TIER_INKS = {Tier.PREMIUM: "#5a3be0", Tier.STANDARD: "#1b62bd", Tier.BULK: "#0a6b5e"}
TIER_MARKERS = {Tier.PREMIUM: "^", Tier.STANDARD: "D", Tier.BULK: "o"}
"""Shapes tell tiers apart where colours cannot."""

HARDWARE = {
    "h100": "#a3b1c6",
    "h200": "#5d6f8a",
    "b200": "#e0a100",
    "b300": "#d9730d",
    "gb200": "#a4551a",
    "gb300": "#6b3410",
    "mi300x": "#f0a3ad",
    "mi325x": "#e0566d",
    "mi355x": "#b3123c",
}
"""One family of colours for each generation; none is a tier's."""
OTHERS = ("#7a8594", "#b58bb0", "#8c9a5b", "#9c7a5b")
MODELS = ("#12161c", "#d9730d", "#b3123c", "#5d6f8a", "#8c7a00", "#c24fa0")
"""Of several models on one pair of axes; as many as a reader can tell apart."""

STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.parse_math": False,  # a dollar is a dollar
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK_2,
    "axes.labelsize": 9.0,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": INK_3,
    "ytick.labelcolor": INK_3,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",  # text stays text: searchable, and read aloud
    "svg.hashsalt": "goodput",  # equal pictures have equal ids
}


def hardware_colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each hardware, by name, in alphabetical order; hardware that is not known takes what is left."""
    ordered = sorted(set(names))
    unknown = [name for name in ordered if name not in HARDWARE]
    spare = {name: OTHERS[place % len(OTHERS)] for place, name in enumerate(unknown)}
    return {name: HARDWARE.get(name, spare.get(name, OTHERS[0])) for name in ordered}
