"""From one row's facts and figures to a checked operating point, and from many of them to profiles."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pricing.profile_document import POINTS_MAX, profile_document, profile_from_document
from pricing.profiles import (
    Basis,
    Configuration,
    LengthClass,
    OperatingPoint,
    Profile,
    ProfileError,
    Provenance,
    little_output_tok_s,
)
from providers.importers.facts import Facts, configuration_of, lengths_of, settled
from providers.importers.names import model_name
from providers.importers.refusal import Problem
from providers.importers.source_file import SourceFile

LENGTH_FACTOR_MAX = 2.0
"""Mean lengths further than this from their class, either way, are another class."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a row measured, in seconds, tokens, and tokens per second of the whole replica; None where it says nothing.

    Attributes:
        requests: on which the statistics rest.
    """

    concurrency: int
    ttft_s: float
    tpot_s: float
    ttft_s_p99: float | None = None
    tpot_s_p99: float | None = None
    output_tok_s: float | None = None
    input_tok_s: float | None = None
    isl_mean: float | None = None
    osl_mean: float | None = None
    requests: int | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where rows come from.

    Attributes:
        title: of the format, for the provenance.
        licence: of its figures, unless stated otherwise.
    """

    source: SourceFile
    title: str
    basis: Basis
    licence: str

    def provenance(self, facts: Facts) -> Provenance:
        """The provenance of one row: format, file, digest, day and engine version."""
        return Provenance(
            source=f"{self.title} {self.source.name} sha256:{self.source.sha256}",
            basis=self.basis,
            licence=facts.licence or self.licence,
            measured_on=facts.measured_on,
            engine_version=facts.engine_version or "",
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """One checked operating point and where it was read.

    Attributes:
        written_model: the model's name as the file writes it.
        variant: what the configuration does not name but readings of one configuration must share.
    """

    file: str
    where: str
    written_model: str
    model: str
    configuration: Configuration
    point: OperatingPoint
    variant: str = ""

    @property
    def load(self) -> tuple[str, str, LengthClass, int, str]:
        """What may be measured once: model, deployment, class, concurrency, day."""
        point = self.point
        day = point.provenance.measured_on
        return self.model, self.configuration.deployment_id, point.lengths, point.concurrency, str(day or "")

    def problem(self, reason: str) -> Problem:
        """A problem at this reading's place."""
        return Problem(self.file, self.where, reason)


def reading(origin: Origin, where: str, said: Facts, declared: Facts, figures: Figures) -> Reading:
    """Puts a row's facts and figures together and holds them against every rule of a profile document.

    Raises:
        ProfileError: naming the field that is missing, contradictory or impossible.
    """
    facts = settled(said, declared)
    model, configuration = configuration_of(facts)
    point = _point(figures, lengths_of(facts, figures.isl_mean, figures.osl_mean), origin.provenance(facts))
    return Reading(
        file=origin.source.name,
        where=where,
        written_model=_written(said, model),
        model=model,
        configuration=configuration,
        point=checked(model, configuration, point),
    )


def _written(said: Facts, model: str) -> str:
    try:
        return model_name(said.model or model)
    except ProfileError:
        return said.model or model


def _point(figures: Figures, lengths: LengthClass, provenance: Provenance) -> OperatingPoint:
    isl_mean, osl_mean = figures.isl_mean or float(lengths.isl), figures.osl_mean or float(lengths.osl)
    for name, mean, nominal in (("isl", isl_mean, lengths.isl), ("osl", osl_mean, lengths.osl)):
        if not 1 / LENGTH_FACTOR_MAX <= mean / nominal <= LENGTH_FACTOR_MAX:
            raise ProfileError(f"{name}: {mean:g} tokens on average do not belong to a class of {nominal}")
    if osl_mean <= 1:
        raise ProfileError("osl: an answer of one token has no time per further token; use osl >= 2")
    output_tok_s = figures.output_tok_s or little_output_tok_s(
        figures.concurrency, figures.ttft_s, figures.tpot_s, osl_mean
    )
    return OperatingPoint(
        lengths=lengths,
        concurrency=figures.concurrency,
        ttft_s_p50=figures.ttft_s,
        tpot_s_p50=figures.tpot_s,
        output_tok_s=output_tok_s,
        input_tok_s=figures.input_tok_s or output_tok_s * isl_mean / osl_mean,
        isl_mean=isl_mean,
        osl_mean=osl_mean,
        provenance=provenance,
        ttft_s_p99=figures.ttft_s_p99,
        tpot_s_p99=figures.tpot_s_p99,
        requests=figures.requests,
    )


def checked(model: str, configuration: Configuration, point: OperatingPoint) -> OperatingPoint:
    """The point as its profile document says it; what a document refuses is refused here.

    Raises:
        ProfileError: naming the field, without the place in the document that there is not yet.
    """
    try:
        document = profile_document(Profile(model, configuration, (point,)))
        return profile_from_document(document).points[0]
    except ProfileError as error:
        raise ProfileError(str(error).replace("points[0].", "")) from error


def problems_of(readings: Sequence[Reading]) -> tuple[Problem, ...]:
    """What is wrong between readings: a load measured twice, or two variants under one deployment."""
    return (*_twice(readings), *_clashes(readings))


def _twice(readings: Sequence[Reading]) -> Iterable[Problem]:
    first: dict[tuple[str, str, LengthClass, int, str], Reading] = {}
    for each in readings:
        earlier = first.setdefault(each.load, each)
        if earlier is not each:
            yield each.problem(
                f"{each.model} on {each.configuration.deployment_id}, {each.point.lengths} at concurrency "
                f"{each.point.concurrency} was already given by {earlier.file} {earlier.where}; keep one"
            )


def _clashes(readings: Sequence[Reading]) -> Iterable[Problem]:
    first: dict[str, Reading] = {}
    for each in readings:
        earlier = first.setdefault(f"{each.model}@{each.configuration.deployment_id}", each)
        for name in ("configuration", "variant", "written_model"):
            own, other = getattr(each, name), getattr(earlier, name)
            if own != other:
                yield each.problem(
                    f"one deployment with two of {name}: {own} here, {other} in {earlier.file} {earlier.where}; "
                    "import them apart, with another --parallelism or --model each"
                )


def best_of_alternatives(readings: Sequence[Reading]) -> tuple[tuple[Reading, ...], int]:
    """Of modelled alternatives for one load, the one with the most output; and how many were left out.

    A model lists settings of the engine (tokens of a prefill chunk, say) that a deployment does not name. Rows that
    repeat each other exactly are kept both, so that they are refused as given twice.
    """
    best: dict[tuple[str, str, LengthClass, int, str], list[Reading]] = {}
    left_out = 0
    for each in readings:
        kept = best.setdefault(each.load, [])
        if not kept or _merit(each) == _merit(kept[0]):
            kept.append(each)
            continue
        left_out += 1
        if _merit(each) > _merit(kept[0]):
            left_out += len(kept) - 1
            best[each.load] = [each]
    return tuple(each for kept in best.values() for each in kept), left_out


def _merit(each: Reading) -> tuple[float, float, float]:
    return each.point.output_tok_s, -each.point.ttft_s_p50, -each.point.tpot_s_p50


def profiles_of(readings: Sequence[Reading]) -> tuple[Profile, ...]:
    """One profile per model and deployment, in order of their ids; points rise by class, load and day.

    Raises:
        ProfileError: more points than a document takes.
    """
    by_id: dict[str, list[Reading]] = {}
    for each in sorted(readings, key=lambda each: each.load):
        by_id.setdefault(f"{each.model}@{each.configuration.deployment_id}", []).append(each)
    return tuple(_profile(own) for own in by_id.values())


def _profile(own: Sequence[Reading]) -> Profile:
    profile = Profile(own[0].model, own[0].configuration, tuple(each.point for each in own))
    if len(own) > POINTS_MAX:
        raise ProfileError(
            f"{profile.id}: {len(own):,} points, at most {POINTS_MAX:,} in one profile; import fewer files"
        )
    return profile
