"""Which quality a tier may be served at: a floor on precision, and an operator's own accuracy figures with a minimum.

The same model answers worse at a coarser precision, and cheaper; a tier that is sold as good must not be served from
whatever is cheapest. A :class:`Floor` is asked before any frontier is drawn, as a ceiling on latency is.

**The order of precisions**, coarsest first, is that of :data:`LEVELS`: 2 and 3 bits, 4-bit floats (weights and
activations), 4-bit integers (weights alone, activations whole), 5 and 6 bits, 8 bits, 16 bits, 32 bits. Names of one
level pass each other's floor. It is an order of bits, not of answers: what a model loses at a precision is for
:class:`Accuracy` to say. A precision that is unknown, or told from something else (``fp8?``), passes no floor.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

from pricing.profiles import Profile

LEVELS: tuple[tuple[str, ...], ...] = (
    ("q2_k", "int2", "q3_k", "q3_k_s", "q3_k_m", "q3_k_l", "int3"),
    ("fp4", "nvfp4", "mxfp4"),
    ("int4", "w4a16", "q4_0", "q4_1", "q4_k", "q4_k_s", "q4_k_m"),
    ("q5_0", "q5_1", "q5_k", "q5_k_s", "q5_k_m"),
    ("q6_k",),
    ("fp8", "int8", "w8a8", "q8_0"),
    ("bf16", "fp16", "f16"),
    ("fp32", "f32"),
)
"""Names of precisions, coarsest first; names of one level are equal to a floor."""
_RANKS = {name: rank for rank, names in enumerate(LEVELS) for name in names}
RATIO_MAX = 2.0
"""A score beyond this multiple of its reference is a mistake of scale, not a gain."""
ROUNDING = 1e-9


class QualityError(ValueError):
    """A precision, a minimum or an accuracy figure that cannot be."""


def rank(precision: str) -> int | None:
    """Where a precision stands among :data:`LEVELS`, from 0; None where it is unknown or only guessed.

    >>> rank("fp4"), rank("fp8") == rank("Q8_0"), rank("fp8?"), rank("unknown")
    (1, True, None, None)
    """
    return _RANKS.get(precision.strip().lower())


def stated(precision: str) -> str:
    """A precision as an offer states it: empty where it is not known.

    >>> stated("FP8"), stated("unknown")
    ('fp8', '')
    """
    lowered = precision.strip().lower()
    return "" if lowered == "unknown" else lowered


def known_precisions() -> str:
    """The order in words, for messages."""
    return " < ".join(" = ".join(names) for names in LEVELS)


@dataclass(frozen=True, slots=True)
class Figure:
    """How well a model answered a benchmark at one precision.

    Attributes:
        engine: empty where it holds on every engine.
        score: share of the benchmark answered right, 0 to 1.
        reference: the score at the reference precision, above 0.
        reference_precision: its name; empty where only its score is stated.
        source: who ran it.
        measured_on: the newest of one model, precision, engine and benchmark holds.
    """

    model: str
    precision: str
    engine: str
    benchmark: str
    score: float
    reference: float
    reference_precision: str
    source: str
    measured_on: date

    def __post_init__(self) -> None:
        what = f"{self.model} {self.precision} on {self.benchmark}"
        if not all((self.model, self.precision, self.benchmark, self.source)):
            raise QualityError(f"{what or 'a figure'}: model, precision, benchmark and source must not be empty")
        for name, value in (("score", self.score), ("reference", self.reference)):
            if not (math.isfinite(value) and 0 <= value <= 1):
                raise QualityError(f"{what}: {name} must lie in 0 to 1, got {value:g}; write 71.5 % as 0.715")
        if self.reference <= 0 or self.ratio > RATIO_MAX:
            raise QualityError(
                f"{what}: score {self.score:g} over a reference of {self.reference:g}; the reference must be above 0 "
                f"and the score at most {RATIO_MAX:g} times it: are both on the same scale?"
            )

    @property
    def ratio(self) -> float:
        """The score as a share of the reference's."""
        return self.score / self.reference

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What it is a figure of."""
        return self.model, self.precision, self.engine, self.benchmark


@dataclass(frozen=True, slots=True)
class Accuracy:
    """An operator's accuracy figures, the newest of each kind.

    Raises:
        QualityError: two figures of one model, precision, engine, benchmark and day.
    """

    figures: tuple[Figure, ...] = ()

    def __post_init__(self) -> None:
        seen: set[tuple[object, ...]] = set()
        for each in self.figures:
            if (key := (*each.key, each.measured_on)) in seen:
                raise QualityError(
                    f"two figures for {' '.join(filter(None, each.key))} on {each.measured_on}; keep one"
                )
            seen.add(key)

    def of(self, model: str, precision: str, engine: str) -> tuple[Figure, ...]:
        """What is known of a model at a precision on an engine, by benchmark; an engine's own figure comes first."""
        newest: dict[tuple[str, bool], Figure] = {}
        for each in self.figures:
            if (each.model, each.precision) == (model, precision) and each.engine in {"", engine}:
                key = each.benchmark, each.engine == ""
                if key not in newest or newest[key].measured_on < each.measured_on:
                    newest[key] = each
        by_benchmark: dict[str, Figure] = {}
        for (benchmark, _), each in sorted(newest.items()):
            by_benchmark.setdefault(benchmark, each)
        return tuple(by_benchmark.values())


def _no_scores() -> dict[str, float]:
    return {}


@dataclass(frozen=True, slots=True)
class Floor:
    """The least quality that a tier may be served at; the empty one lets everything pass.

    Attributes:
        precision: a name of :data:`LEVELS`; empty for no floor.
        relative_min: every benchmark known reaches this share of its reference; 0 for no minimum.
        score_min: by benchmark, the least score.
        accuracy: the figures that the minima are held against; without a figure a minimum is not met.
    """

    precision: str = ""
    relative_min: float = 0.0
    score_min: Mapping[str, float] = field(default_factory=_no_scores)
    accuracy: Accuracy = Accuracy()

    def __post_init__(self) -> None:
        if self.precision and rank(self.precision) is None:
            raise QualityError(f"{self.precision!r} is no precision for a floor; known: {known_precisions()}")
        for name, value in (("relative", self.relative_min), *self.score_min.items()):
            if not 0 <= value <= 1:
                raise QualityError(f"a {name} accuracy minimum must lie in 0 to 1, got {value:g}; write 98 % as 0.98")

    @property
    def is_empty(self) -> bool:
        """True when everything passes."""
        return not (self.precision or self.relative_min or self.score_min)

    def refusal(self, profile: Profile) -> str | None:
        """Why a configuration may not serve; None when it may."""
        precision, engine = profile.configuration.precision, profile.configuration.engine
        below = _precision_refusal(precision, self.precision)
        if below is not None or not (self.relative_min or self.score_min):
            return below
        return self._accuracy_refusal(self.accuracy.of(profile.model, precision, engine), profile)

    def _accuracy_refusal(self, figures: tuple[Figure, ...], profile: Profile) -> str | None:
        name = f"{profile.model} at {profile.configuration.precision} on {profile.configuration.engine}"
        if not figures:
            return f"no accuracy figure for {name}"
        for each in figures:
            if each.ratio < self.relative_min - ROUNDING:
                return (
                    f"{name} keeps {each.ratio:.4g} of its reference on {each.benchmark}, below {self.relative_min:g}"
                )
        scores = {each.benchmark: each.score for each in figures}
        for benchmark, least in self.score_min.items():
            if benchmark not in scores:
                return f"no {benchmark} figure for {name}"
            if scores[benchmark] < least - ROUNDING:
                return f"{name} scores {scores[benchmark]:.4g} on {benchmark}, below {least:g}"
        return None

    def said(self, profile: Profile) -> str:
        """What a configuration that passes keeps, in words; empty for an empty floor."""
        parts = [f"{self.precision.upper()} or finer is kept"] if self.precision else []
        if self.relative_min or self.score_min:
            precision, engine = profile.configuration.precision, profile.configuration.engine
            parts += [_figure_text(each) for each in self.accuracy.of(profile.model, precision, engine)]
        return ", ".join(parts)

    def __str__(self) -> str:
        parts = [f"precision {self.precision} or finer"] if self.precision else []
        parts += [f"accuracy at least {self.relative_min:g} of its reference"] if self.relative_min else []
        parts += [f"{benchmark} at least {least:g}" for benchmark, least in self.score_min.items()]
        return ", ".join(parts) or "any quality"


def _precision_refusal(precision: str, floor: str) -> str | None:
    if not floor:
        return None
    own, least = rank(precision), rank(floor)
    if own is None or least is None:
        return f"precision {precision or 'unknown'} is not known for sure, so it passes no floor of {floor}"
    return None if own >= least else f"precision {precision} is below the floor of {floor}"


def _figure_text(each: Figure) -> str:
    against = f"{each.reference_precision.upper()}'s" if each.reference_precision else "its reference"
    return f"{each.score:.4g} on {each.benchmark}, {each.ratio:.2%} of {against} ({each.source}, {each.measured_on})"


def refused(profiles: Iterable[Profile], floor: Floor) -> dict[str, str]:
    """Why configurations may not serve, by profile id; those that may are not in it."""
    found = {profile.id: floor.refusal(profile) for profile in profiles}
    return {name: reason for name, reason in found.items() if reason is not None}
