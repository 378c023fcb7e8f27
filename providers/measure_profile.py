"""From a sweep to the profile that prices are derived from."""

from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType

from pricing.profiles import (
    Basis,
    Configuration,
    EngineLimits,
    LengthClass,
    OperatingPoint,
    Profile,
    Provenance,
)
from providers.measure import Sweep
from providers.measure_figures import MeasuredLoad
from providers.openai_wire import ServedModel

LICENCE = "own measurement"
NOTES_MAX = 2_000
_ENGINES = MappingProxyType({"llamacpp": "llama.cpp", "vllm": "vllm", "sglang": "sglang"})
"""What engines call themselves in ``owned_by``."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What was measured, as far as the measurement itself cannot tell.

    Attributes:
        model: the backend's name of the model.
        source: who measured, with which command.
        limits: what the engine was started with, where known.
    """

    model: str
    configuration: Configuration
    source: str
    measured_on: date
    engine_version: str = ""
    limits: EngineLimits = field(default_factory=EngineLimits)
    basis: Basis = Basis.MEASURED


def profile_of(sweep: Sweep, subject: Subject) -> Profile:
    """The profile of what was measured.

    Raises:
        ProfileError: nothing was.
    """
    provenance = Provenance(subject.source, subject.basis, LICENCE, subject.measured_on, subject.engine_version)
    return Profile(
        model=subject.model,
        configuration=subject.configuration,
        points=tuple(_point(load, sweep, provenance) for load in sweep.loads),
        limits=subject.limits,
        notes="; ".join(_notes(sweep))[:NOTES_MAX],
    )


def engine_facts(served: ServedModel | None) -> tuple[str, str, int | None]:
    """Engine, precision and context that a backend tells of itself in its list of models, else ``unknown``.

    >>> engine_facts(ServedModel("m", owned_by="llamacpp", meta={"ftype": "Q4_1", "n_ctx": 2048}))
    ('llama.cpp', 'q4_1', 2048)
    """
    if served is None:
        return "unknown", "unknown", None
    meta = served.meta or {}
    precision, context = meta.get("ftype"), meta.get("n_ctx") or served.max_model_len
    return (
        _ENGINES.get((served.owned_by or "").lower(), "unknown"),
        precision.lower() if isinstance(precision, str) and precision else "unknown",
        context if isinstance(context, int) and context > 0 else None,
    )


def _point(load: MeasuredLoad, sweep: Sweep, provenance: Provenance) -> OperatingPoint:
    return OperatingPoint(
        lengths=LengthClass(sweep.plan.isl, sweep.plan.osl),
        concurrency=load.concurrency,
        ttft_s_p50=load.ttft_s_p50,
        tpot_s_p50=load.tpot_s_p50,
        output_tok_s=load.output_tok_s,
        input_tok_s=load.input_tok_s,
        isl_mean=load.isl_mean,
        osl_mean=load.osl_mean,
        provenance=provenance,
        ttft_s_p99=load.ttft_s_p99,
        tpot_s_p99=load.tpot_s_p99,
        requests=load.requests,
    )


def _notes(sweep: Sweep) -> list[str]:
    lengths = "fixed" if sweep.is_length_fixed else "as the model chose"
    return [f"seed {sweep.plan.seed}, {sweep.seconds:.1f} s, answer lengths {lengths}", *sweep.notes]
