"""The frontier page's picture: what was measured, its envelope, the goldilocks zone, and where tiers on sale lie; pure.

Tiers are found by what was measured (deployment, load and speed stand on each rate card), not by the name on sale.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.admin.desk import Economics
from app.console.shapes import tokens
from pricing.candidates import Axis, Candidate, Candidates, FrontierError, candidates
from pricing.frontier import Frontier, Zone, frontier
from pricing.pricebook import PriceBook, RateCard
from pricing.profiles import LengthClass

POINTS_MAX = 2_000
SPEED_TOLERANCE = 0.002
_LOG_SPAN = 30.0
_STEPS = (1, 2, 5)


class Yield(StrEnum):
    """What is drawn upwards."""

    PER_USD = "per_usd"
    PER_MW = "per_mw"
    USD_PER_MTOK = "usd_per_mtok"

    @property
    def axis(self) -> Axis:
        """The axis whose frontier is drawn."""
        return Axis.MW if self is Yield.PER_MW else Axis.USD

    @property
    def label(self) -> str:
        """The axis' title with its unit."""
        return _LABELS[self]

    def text(self, candidate: Candidate) -> str:
        """A point's figure for a table."""
        figure = self.of(candidate)
        return f"${figure:.3g}" if self is Yield.USD_PER_MTOK else tokens(round(figure))

    def of(self, candidate: Candidate) -> float:
        """A point's figure."""
        return candidate.usd_per_mtok if self is Yield.USD_PER_MTOK else candidate.tokens_per(self.axis)


_LABELS = {
    Yield.PER_USD: "tokens per $",
    Yield.PER_MW: "tok/s per MW",
    Yield.USD_PER_MTOK: "$ per Mtok, all tokens",
}


@dataclass(frozen=True, slots=True)
class TierMark:
    """A tier on sale at the measured point that its promise snaps to."""

    card: RateCard
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class View:
    """What is looked at.

    Attributes:
        deployments: whose envelope is drawn; None for all that was measured. Others are shown faintly.
    """

    model: str
    lengths: LengthClass
    on: Yield = Yield.PER_USD
    deployments: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """All that one chart shows.

    Attributes:
        drawn: points with a figure on the chosen axis, cheapest first where there are too many.
        omitted: how many more there are.
        elsewhere: cards of the same names on sale that no point of this chart stands for.
    """

    view: View
    found: Candidates
    drawn: tuple[Candidate, ...]
    omitted: int
    envelope: Frontier
    zone: Zone
    marks: tuple[TierMark, ...]
    elsewhere: tuple[RateCard, ...]


def models_measured(economics: Economics) -> tuple[str, ...]:
    """Models with at least one profile that an hourly cost can be put on, by name."""
    return tuple(sorted({each.model for each in economics.profiles if each.configuration.hardware in economics.costs}))


def classes_measured(economics: Economics, model: str) -> tuple[LengthClass, ...]:
    """The length classes that a model was measured at, rising."""
    return tuple(
        sorted(
            {
                lengths
                for profile in economics.profiles
                if profile.model == model and profile.configuration.hardware in economics.costs
                for lengths in profile.classes
            }
        )
    )


def picture(economics: Economics, book: PriceBook | None, view: View) -> Picture:
    """Draws one model at one length class.

    Raises:
        FrontierError: nothing measured there can be costed; the message says why.
    """
    model, lengths, on = view.model, view.lengths, view.on
    found = candidates(
        economics.profiles, model, lengths, economics.costs, parameters_billion=economics.parameters_billion
    )
    usable = [each for each in found.points if on is not Yield.PER_MW or each.tok_s_per_mw is not None]
    if not usable:
        raise FrontierError(f"no power is known for any hardware that {model} was measured on; choose another axis")
    chosen = [each for each in usable if view.deployments is None or each.deployment_id in view.deployments]
    if not chosen:
        raise FrontierError(f"nothing that the fleet runs was measured for {model} at {lengths}; look at all measured")
    envelope = frontier(chosen, on.axis)
    marks = tier_marks(book, usable)
    kept = {id(each) for each in (*envelope.points, *(mark.candidate for mark in marks))}
    others = [each for each in usable if id(each) not in kept][: max(0, POINTS_MAX - len(kept))]
    drawn = (*(each for each in usable if id(each) in kept), *others)
    names = {mark.card.model for mark in marks}
    shown = {(mark.card.model, mark.card.rung.tier) for mark in marks}
    cards = () if book is None else tuple(book.cards.values())
    elsewhere = tuple(card for card in cards if card.model in names and (card.model, card.rung.tier) not in shown)
    return Picture(view, found, drawn, len(usable) - len(drawn), envelope, envelope.goldilocks(), marks, elsewhere)


def tier_marks(book: PriceBook | None, points: Iterable[Candidate]) -> tuple[TierMark, ...]:
    """The cards of the live book whose operating point is among ``points``, best tier first."""
    if book is None:
        return ()
    by_load: dict[tuple[str, int], list[Candidate]] = {}
    for point in points:
        by_load.setdefault((point.deployment_id, point.point.concurrency), []).append(point)
    marks: list[TierMark] = []
    for card in book.cards.values():
        for point in by_load.get((card.deployment_id, card.concurrency_max), ()):
            if abs(point.tok_s_user - card.interactivity_tok_s_user) <= SPEED_TOLERANCE * point.tok_s_user:
                marks.append(TierMark(card, point))
                break
    return tuple(marks)


def default_choice(economics: Economics, book: PriceBook | None) -> tuple[str, LengthClass] | None:
    """The model and class where most tiers on sale lie; else the first measured; None when nothing was."""
    best: tuple[int, str, LengthClass] | None = None
    for model in models_measured(economics):
        for lengths in classes_measured(economics, model):
            marks = len(marks_at(economics, book, model, lengths))
            if best is None or marks > best[0]:
                best = (marks, model, lengths)
    return None if best is None else (best[1], best[2])


def marks_at(economics: Economics, book: PriceBook | None, model: str, lengths: LengthClass) -> tuple[TierMark, ...]:
    """The tiers on sale that lie on a chart; none where nothing can be costed."""
    try:
        found = candidates(economics.profiles, model, lengths, economics.costs)
    except FrontierError:
        return ()
    return tier_marks(book, found.points)


def chart_document(drawing: Picture, sources: Mapping[str, str]) -> str:
    """The chart's data as JSON for the page's script."""
    on, scope = drawing.view.on, drawing.view.deployments
    groups: dict[str, list[list[float | str]]] = {}
    others: list[list[float | str]] = []
    for candidate in drawing.drawn:
        if scope is None or candidate.deployment_id in scope:
            groups.setdefault(candidate.profile.configuration.hardware, []).append(_dot(candidate, on))
        else:
            others.append(_dot(candidate, on))
    figures = [on.of(candidate) for candidate in drawing.drawn]
    is_alone = len({mark.card.model for mark in drawing.marks}) <= 1
    return json.dumps(
        {
            "unit": on.label,
            "dollars": on is Yield.USD_PER_MTOK,
            "log": max(figures) > _LOG_SPAN * min(figures),
            "range": [_round_down(min(figures)), _round_up(max(figures))],
            "groups": [{"name": name, "points": groups[name]} for name in sorted(groups)],
            "others": others,
            "frontier": [_dot(candidate, on) for candidate in drawing.envelope.points],
            "zone": [round(drawing.zone.low, 3), round(drawing.zone.high, 3)],
            "tiers": [_mark(mark, on, is_alone=is_alone) for mark in drawing.marks],
            "words": {key_of(each): provenance(each, sources) for each in drawing.drawn},
        },
        separators=(",", ":"),
    )


def key_of(candidate: Candidate) -> str:
    """What tells one point of a chart from all others."""
    return f"{candidate.id}/{candidate.point.provenance.source}"


def provenance(candidate: Candidate, sources: Mapping[str, str]) -> str:
    """What a point is and where it comes from, line by line."""
    point, configuration = candidate.point, candidate.profile.configuration
    origin = point.provenance
    day = "day not stated" if origin.measured_on is None else origin.measured_on.isoformat()
    ratio = (
        f"{configuration.prefill_gpus} prefill + {configuration.decode_gpus} decode" if configuration.has_pools else ""
    )
    return "\n".join(
        line
        for line in (
            candidate.deployment_id,
            f"{point.concurrency} at once · {candidate.tok_s_user:.4g} tok/s/user",
            f"first token after {point.ttft_s_p50:.3g} s",
            f"{configuration.n_gpus} × {configuration.hardware} {ratio}".strip(),
            f"{candidate.tok_s_per_gpu:,.0f} tok/s per accelerator · ${candidate.usd_per_mtok:.3g} per million tokens",
            f"{origin.basis.value}, {day}, {origin.engine_version or 'engine version not stated'}",
            f"{sources.get(origin.source, origin.source)} ({origin.licence})",
        )
        if line
    )


def _dot(candidate: Candidate, on: Yield) -> list[float | str]:
    return [round(candidate.tok_s_user, 3), float(f"{on.of(candidate):.6g}"), key_of(candidate)]


def _mark(mark: TierMark, on: Yield, *, is_alone: bool) -> dict[str, object]:
    x, y, key = _dot(mark.candidate, on)
    tier = mark.card.rung.tier
    label = tier.value if is_alone else f"{mark.card.model} {tier.value}"
    return {"tier": tier.value, "label": label, "at": [x, y], "id": key}


def _round_down(value: float) -> float:
    """The nearest 1, 2 or 5 times a power of ten that is not above."""
    power = 10.0 ** math.floor(math.log10(value))
    return max(step * power for step in _STEPS if step * power <= value)


def _round_up(value: float) -> float:
    """The nearest 1, 2, 5 or 10 times a power of ten that is not below."""
    power = 10.0 ** math.floor(math.log10(value))
    return min(step * power for step in (*_STEPS, 10) if step * power >= value)


def measured_deployments(economics: Economics, model: str, lengths: LengthClass) -> frozenset[str]:
    """Deployments that a chart has points of."""
    return frozenset(
        profile.configuration.deployment_id
        for profile in economics.profiles
        if profile.model == model and lengths in profile.classes
    )
