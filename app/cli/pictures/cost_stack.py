"""How a price is made up: what a token costs at full use, and what idling, lateness, caution and margin add."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

from matplotlib.axes import Axes

from app.cli.pictures.figures import dollars, source_line
from app.cli.pictures.palette import INK, PAPER, TIER_INKS
from app.cli.pictures.picture import Picture
from app.cli.pictures.sheet import FOOT, HEAD, MARGIN, Box, Line, axes_in, house_style, new_sheet, side_notes
from pricing.cost_plus import TierPrice
from pricing.explain import configuration_name
from pricing.money import PICO_PER_TOKEN_PER_USD_PER_MTOK
from pricing.profiles import LengthClass
from pricing.slo import Tier
from pricing.usage import TokenClass

SIZE = (11.0, 7.2)
SIDE, LABELS, PRICES = 2.55, 0.85, 0.95
BAR, GROUP_GAP = 0.66, 0.85
ROOM = 1.02
LABEL_SHARE_MIN = 0.1
"""A part that is narrower than this share of the widest bar bears no figure; its tooltip and the table do."""
TITLES = {
    TokenClass.INPUT: "input tokens",
    TokenClass.CACHED: "cached reads",
    TokenClass.CACHE_WRITE: "cache writes",
    TokenClass.OUTPUT: "output tokens",
}
PARTS = {
    "full use": ("hardware, at full use", "#5d6f8a", PAPER),
    "idle": ("hardware, while idle", "#b9c4d4", INK),
    "late": ("late tokens, overhead", "#d9730d", PAPER),
    "caution": ("caution, for what is not sure", "#e8b04a", INK),
    "margin": ("margin", "#8fcaa8", INK),
}
NEGATIVE, FADED = "#b42323", "#ffffffb0"
TABLE_COLUMNS = ("tier", "tokens", *PARTS, "price, USD/M", "cost p10", "cost p50", "cost p90", "run on")


class Derived(Protocol):
    """The part of a derivation that is drawn."""

    @property
    def model(self) -> str:
        """Its name in the profiles."""
        ...

    @property
    def lengths(self) -> LengthClass:
        """The class that it was derived from."""
        ...

    @property
    def tiers(self) -> Mapping[Tier, TierPrice]:
        """What is sold, best first."""
        ...

    @property
    def flags(self) -> Sequence[str]:
        """What a reviewer should look at."""
        ...


@dataclass(frozen=True, slots=True)
class Stack:
    """What one price is made up of, USD per million tokens; the parts sum to the price.

    Attributes:
        parts: by name, in the order in which they are stacked; a negative one takes away.
        low: of the cost at the assumed utilisation, its 10th percentile.
        high: its 90th.
    """

    parts: Mapping[str, float]
    price: float
    low: float
    middle: float
    high: float

    @property
    def drawn(self) -> list[tuple[str, float]]:
        """The parts in the order drawn: what adds, then what takes away, back from the end."""
        return sorted(((part, usd) for part, usd in self.parts.items() if usd), key=lambda each: each[1] < 0)


def stack(price: TierPrice, name: TokenClass) -> Stack:
    """Takes a tier's price of one token class apart.

    Args:
        price: with its costs at every step.
        name: the class.
    """
    full, effective, priced = (
        costs.by_class()[name] for costs in (price.cost_full, price.cost_effective, price.cost_priced)
    )
    used = price.cost.by_class()[name] / PICO_PER_TOKEN_PER_USD_PER_MTOK
    rate = price.rates.by_class()[name] / PICO_PER_TOKEN_PER_USD_PER_MTOK
    band = price.bands[name]
    steps = (0.0, full, used, effective, priced, rate)
    parts = {part: after - before for part, before, after in zip(PARTS, steps[:-1], steps[1:], strict=True)}
    return Stack(parts, rate, band.p10, band.p50, band.p90)


@dataclass(frozen=True, slots=True)
class Bar:
    """One price among the others, at a height of its own."""

    tier: Tier
    name: TokenClass
    stack: Stack
    y: float

    @property
    def reach(self) -> float:
        """How far its parts and whiskers go, as a share of its price."""
        if self.stack.price <= 0:
            return 1.0
        ends = accumulate(usd for _, usd in self.stack.drawn)
        return max(*ends, self.stack.high, self.stack.price) / self.stack.price


def cost_stack_picture(derived: Derived, ownership: str, titles: dict[str, str]) -> Picture:
    """A bar for each token class and tier, as wide as its price, in dollars.

    Args:
        derived: tiers with their costs and prices.
        ownership: what an hour's price rests on.
        titles: what the source keys of shipped tables stand for.
    """
    title = f"{derived.model}: what a price is made of"
    about = f"ISL/OSL {derived.lengths} · hardware at {ownership} cost · USD per million tokens"
    source = source_line([price.point.chosen.point.provenance for price in derived.tiers.values()], titles)
    bars = [
        Bar(tier, name, stack(price, name), place + position * (len(derived.tiers) + GROUP_GAP))
        for position, name in enumerate(TokenClass)
        for place, (tier, price) in enumerate(derived.tiers.items())
    ]
    with house_style():
        figure = new_sheet(title, about, source, SIZE)
        left = MARGIN + LABELS
        width = SIZE[0] - SIDE - 2 * MARGIN - LABELS - PRICES
        axes = axes_in(figure, Box(left, FOOT + 0.4, width, SIZE[1] - HEAD - FOOT - 0.4))
        tips = _draw(axes, bars)
        side = Box(SIZE[0] - SIDE - MARGIN + 0.15, FOOT, SIDE, SIZE[1] - HEAD - FOOT - 0.2)
        side_notes(figure, side, _legend(bars))
    rows = [_row(derived.tiers[bar.tier], bar.name, bar.stack) for bar in bars]
    return Picture(title, about, source, figure, tips, TABLE_COLUMNS, rows, derived.flags)


def _draw(axes: Axes, bars: Sequence[Bar]) -> dict[str, list[str]]:
    tips: dict[str, list[str]] = {}
    reach = max((bar.reach for bar in bars), default=1.0) * ROOM
    axes.set_xlim(0, reach)
    axes.set_ylim(bars[-1].y + 0.6, -1.15)
    for bar in bars:
        tips.update(_bar(axes, bar, reach))
    for name in TokenClass:
        first = next(bar for bar in bars if bar.name is name)
        axes.text(0, first.y - 0.55, TITLES[name], fontsize=10, fontweight="bold", va="bottom")
    axes.set_yticks([bar.y for bar in bars], [bar.tier.value for bar in bars], fontsize=9)
    for text, bar in zip(axes.get_yticklabels(), bars, strict=True):
        text.set_color(TIER_INKS[bar.tier])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("share of the price", labelpad=5)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=True, axis="x")
    return tips


def _bar(axes: Axes, bar: Bar, reach: float) -> dict[str, list[str]]:
    each = bar.stack
    axes.annotate(
        *(dollars(each.price), (reach, bar.y), (8, 0)),
        textcoords="offset points",
        va="center",
        fontsize=9.5,
        fontweight="bold",
        annotation_clip=False,
    )
    if each.price <= 0:
        return {}
    tips: dict[str, list[str]] = {}
    at = 0.0
    for part, usd in each.drawn:
        tips.update(_part(axes, bar, part, at))
        at += usd
    if each.high > each.low:
        middle = each.middle / each.price
        reaches = [[max(middle - each.low / each.price, 0)], [max(each.high / each.price - middle, 0)]]
        axes.errorbar([middle], [bar.y + BAR / 2], xerr=reaches, fmt="o", color=INK, ms=2.6, lw=1.0, capsize=2.2)
    return tips


def _part(axes: Axes, bar: Bar, part: str, at: float) -> dict[str, list[str]]:
    """One piece of a bar; one that takes away is drawn back from the end, hatched."""
    usd, price = bar.stack.parts[part], bar.stack.price
    said, colour, _ = PARTS[part]
    face, edge, hatch = (colour, PAPER, None) if usd > 0 else (FADED, NEGATIVE, "////")
    left, width = at / price, usd / price
    (drawn,) = axes.barh([bar.y], [width], BAR, left=left, linewidth=0.6, color=face, edgecolor=edge, hatch=hatch)
    gid = f"{bar.name}-{bar.tier}-{part.replace(' ', '-')}"
    drawn.set_gid(gid)
    _figure(axes, bar, part, sorted((left, left + width)))
    return {
        gid: [f"{bar.tier}, {TITLES[bar.name]}: {said}\n{dollars(usd)} per million tokens, {width:.1%} of the price"]
    }


def _figure(axes: Axes, bar: Bar, part: str, ends: Sequence[float]) -> None:
    """Writes a part's dollars where it is seen: the part of a bar beyond its price is taken off again."""
    usd = bar.stack.parts[part]
    start, end = (ends[0], min(ends[1], 1.0)) if usd > 0 else (ends[0], ends[1])
    if end - start < LABEL_SHARE_MIN * axes.get_xlim()[1]:
        return
    box = None if usd > 0 else {"facecolor": PAPER, "edgecolor": "none", "pad": 1.0}
    ink = PARTS[part][2] if usd > 0 else NEGATIVE
    axes.text((start + end) / 2, bar.y - 0.04, dollars(usd), ha="center", va="center", fontsize=8, color=ink, bbox=box)


def _legend(bars: Sequence[Bar]) -> list[Line]:
    drawn = [bar.stack.parts for bar in bars]
    lines = [Line("from left to right", colour=INK, is_strong=True)]
    lines += [
        Line(said, "s", colour) for part, (said, colour, _) in PARTS.items() if any(parts[part] for parts in drawn)
    ]
    if any(usd < 0 for parts in drawn for usd in parts.values()):
        lines.append(Line("hatched: taken off again", "s", NEGATIVE, is_hollow=True))
    return [
        *lines,
        Line(""),
        Line("cost, idling included: p50;", "o", INK),
        Line("whiskers from p10 to p90"),
        Line(""),
        Line("bold: the price, per million"),
    ]


def _row(price: TierPrice, name: TokenClass, each: Stack) -> list[str]:
    return [
        price.point.tier.value,
        TITLES[name],
        *(f"{usd:.6f}" for usd in each.parts.values()),
        f"{each.price:.6f}",
        *(f"{usd:.6f}" for usd in (each.low, each.middle, each.high)),
        configuration_name(price.point.chosen.profile.configuration),
    ]
