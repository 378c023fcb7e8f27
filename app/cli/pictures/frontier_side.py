"""What stands beside a frontier: tiers with their figures, what colours and shapes mean, readings."""

from collections.abc import Sequence

from app.cli.pictures.curve import Curve
from app.cli.pictures.figures import dollars
from app.cli.pictures.palette import GOLD_INK, INK, INK_3, MODELS, TIER_INKS, TIER_MARKERS, TIERS, hardware_colours
from app.cli.pictures.sheet import Line, wrapped
from pricing.candidates import Axis
from pricing.explain import configuration_name
from pricing.slo import Tier

READINGS_SHOWN = 4
BLANK = Line("")


def side_lines(curves: Sequence[Curve]) -> list[Line]:
    """The lines beside one curve, or beside several."""
    return _alone(curves[0]) if len(curves) == 1 else _together(curves)


def _alone(curve: Curve) -> list[Line]:
    zone = curve.front.goldilocks()
    lines: list[Line] = []
    for tier, point in curve.sold.items():
        chosen = point.chosen
        lines += [
            Line(f"{tier}, {chosen.tok_s_user:.0f} tok/s/user", TIER_MARKERS[tier], TIER_INKS[tier], is_strong=True),
            Line(f"{dollars(chosen.usd_per_mtok)}/M at {chosen.point.concurrency:,} concurrent"),
            *wrapped(configuration_name(chosen.profile.configuration)),
            BLANK,
        ]
    if lines and curve.front.axis is not Axis.USD:
        lines[-1:] = [Line("tiers are chosen per dollar"), BLANK]
    lines += _readings(curve)
    lines += [
        Line("frontier, interpolated", "-", MODELS[0]),
        Line("speed × yield at its peak", "--", GOLD_INK),
        Line(f"zone of {zone.share:.0%} of it: {zone.low:.0f}–{zone.high:.0f} tok/s/user"),
        BLANK,
        Line("measured on; pale: off the frontier"),
    ]
    colours = hardware_colours(each.profile.configuration.hardware for each in curve.found.points)
    lines += [Line(f"{name.upper()} ({_count(curve, name)})", "o", colour) for name, colour in colours.items()]
    return [*lines, Line(f"misses the ceiling ({len(curve.refused)})", "x", INK_3)] if curve.refused else lines


def _count(curve: Curve, hardware: str) -> str:
    on_it = sum(each.profile.configuration.hardware == hardware for each in curve.front.points)
    measured = sum(each.profile.configuration.hardware == hardware for each in curve.found.points)
    return f"{on_it} of {measured} points on it" if on_it else f"none of {measured} points on it"


def _readings(curve: Curve) -> list[Line]:
    if not curve.readings:
        return []
    lines = [
        Line(f"at {read.tok_s_user:g}: ○ {dollars(read.usd_per_mtok)}  □ {dollars(read.attainable.usd_per_mtok)}")
        for read in curve.readings[:READINGS_SHOWN]
    ]
    more = len(curve.readings) - READINGS_SHOWN
    return [
        *lines,
        *([Line(f"… and {more} speeds more")] if more > 0 else []),
        Line("interpolated", "o", INK, is_hollow=True),
        Line("can be promised", "s", INK, is_hollow=True),
        BLANK,
    ]


def _together(curves: Sequence[Curve]) -> list[Line]:
    lines: list[Line] = []
    for curve, colour in zip(curves, MODELS, strict=False):
        lines.append(Line(curve.model, "-", colour, is_strong=True))
        lines += [
            Line(
                f"{tier}  {point.chosen.tok_s_user:.0f} tok/s/user, {dollars(point.chosen.usd_per_mtok)}",
                TIER_MARKERS[tier],
                TIERS[tier],
            )
            for tier, point in curve.sold.items()
        ]
        lines += [Line(f"no {tier}") for tier in Tier if tier not in curve.sold]
        lines += [
            Line(f"at {read.tok_s_user:g}: {dollars(read.usd_per_mtok)}", "o", INK, is_hollow=True)
            for read in curve.readings
        ]
        lines.append(BLANK)
    return [
        *lines,
        Line("USD per million tokens, full use"),
        Line("frontier, interpolated", "-", INK_3),
        Line("its goldilocks zone: broad stroke"),
        Line("measured; pale: off the frontier", "o", INK_3),
    ]
