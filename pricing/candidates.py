"""Which operating points may be used at all, and what each costs: tails, ceilings, selections, memory.

The SLO filter comes before any frontier: a point that cannot keep a tier's ceiling is no candidate for it, however
cheap it is (goodput, not throughput).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from pricing.hardware import HardwareCost, tok_s_per_mw, usd_per_mtok
from pricing.money import PICO_PER_TOKEN_PER_USD_PER_MTOK
from pricing.profiles import LengthClass, OperatingPoint, Profile
from pricing.quality import Floor

BYTES_PER_PARAMETER = {"fp4": 0.57, "int4": 0.57, "fp8": 1.03, "bf16": 2.0}
"""Weights per parameter, scales included; precisions not listed are not checked against memory."""
MEMORY_HEADROOM = 1.02
SAMPLES_MIN = 100
"""A p99 over fewer requests is hardly more than their maximum: it may raise the assumed one, not lower it."""
REASONS_SHOWN = 3
NAMES_SHOWN = 16
NOT_SELECTED = " is not selected"
SELECTED = ("hardware", "engine", "precision", "mode", "spec_decoding", "deployment_id")
"""What a selection names of a configuration."""


class FrontierError(ValueError):
    """No frontier can be drawn, or it says nothing at the asked speed."""


class Axis(StrEnum):
    """What a frontier's yield is counted per."""

    USD = "usd"
    MW = "mw"
    GPU = "gpu"


@dataclass(frozen=True, slots=True)
class TailFactors:
    """p99 = factor × the one statistic known, where a profile has no p99 of its own.

    Defaults are the 75th percentile of p99/p50 over 97 raw runs; their medians, 3.1 and 1.4, would miss half the time.
    """

    ttft: float = 4.2
    tpot: float = 2.0

    def __post_init__(self) -> None:
        if not (self.ttft >= 1 and self.tpot >= 1):
            raise FrontierError(f"a p99 is no less than its median: factors must be >= 1, got {self}")


@dataclass(frozen=True, slots=True)
class Tail:
    """A p99 in seconds, and whether it was assumed from a factor rather than measured."""

    seconds: float
    is_assumed: bool


def ttft_tail(point: OperatingPoint, factors: TailFactors) -> Tail:
    """The p99 of the time to the first token."""
    return _tail(point.ttft_s_p50, point.ttft_s_p99, factors.ttft, point.requests)


def tpot_tail(point: OperatingPoint, factors: TailFactors) -> Tail:
    """The p99 of the time per token."""
    return _tail(point.tpot_s_p50, point.tpot_s_p99, factors.tpot, point.requests)


def _tail(median_s: float, measured_s: float | None, factor: float, requests: int | None) -> Tail:
    if measured_s is None:
        return Tail(median_s * factor, is_assumed=True)
    if requests is not None and requests < SAMPLES_MIN:
        return Tail(max(measured_s, median_s * factor), is_assumed=measured_s < median_s * factor)
    return Tail(measured_s, is_assumed=False)


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What a tier demands of a point before anything else is looked at.

    Attributes:
        ttft_s_p99_max: the longest p99 to a first token; None for no ceiling.
        tok_s_user_min: the least speed that 99 of 100 answers keep, 1 / p99 TPOT.
    """

    ttft_s_p99_max: float | None = None
    tok_s_user_min: float = 0.0

    def admits(self, point: OperatingPoint, factors: TailFactors) -> bool:
        """True when the point keeps both."""
        if self.ttft_s_p99_max is not None and ttft_tail(point, factors).seconds > self.ttft_s_p99_max:
            return False
        return 1 / tpot_tail(point, factors).seconds >= self.tok_s_user_min

    def __str__(self) -> str:
        ttft = "any first token" if self.ttft_s_p99_max is None else f"p99 first token <= {self.ttft_s_p99_max:g} s"
        return f"{ttft}, p99 speed >= {self.tok_s_user_min:g} tok/s/user"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which configurations may be used; None means all. A what-if is a selection with something left out.

    Attributes:
        floor: the least quality of all; a tier's own floor is one of its rules.
    """

    hardware: frozenset[str] | None = None
    engine: frozenset[str] | None = None
    precision: frozenset[str] | None = None
    mode: frozenset[str] | None = None
    spec_decoding: frozenset[str] | None = None
    deployment_id: frozenset[str] | None = None
    floor: Floor = Floor()  # noqa: RUF009 (frozen)

    def refusal(self, profile: Profile) -> str | None:
        """Why a profile is left out; None when it is in. ``spec_decoding`` of ``none`` takes only known ones."""
        configuration = profile.configuration
        for name in SELECTED:
            allowed: frozenset[str] | None = getattr(self, name)
            value = str(getattr(configuration, name))
            if allowed is not None and value not in allowed:
                return f"{name} {value}{NOT_SELECTED}"
        return self.floor.refusal(profile)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One operating point with its cost: a dot in the chart.

    Attributes:
        profile: all that was measured on the same configuration, the point included.
        cost: of the hardware; None for an offer bought by the token, which is on no frontier.
    """

    profile: Profile
    point: OperatingPoint
    cost: HardwareCost | None

    @property
    def id(self) -> str:
        """Deployment and load."""
        return f"{self.deployment_id}/c{self.point.concurrency}"

    @property
    def deployment_id(self) -> str:
        """The configuration's slug."""
        return self.profile.configuration.deployment_id

    @property
    def tok_s_user(self) -> float:
        """Interactivity, x."""
        return self.point.interactivity_tok_s_user

    @property
    def tok_s_per_gpu(self) -> float:
        """Input and output tokens per second per accelerator, T."""
        return self.point.total_tok_s / self.profile.configuration.n_gpus

    @property
    def output_tok_s_per_gpu(self) -> float:
        """Output tokens per second per accelerator."""
        return self.point.output_tok_s / self.profile.configuration.n_gpus

    @property
    def usd_per_mtok(self) -> float:
        """Dollars per million tokens, input and output alike, at full use, or at the declared price."""
        if self.cost is None:
            return self._declared_usd_per_mtok()
        return usd_per_mtok(self.cost.usd_per_hour, self.tok_s_per_gpu)

    def _declared_usd_per_mtok(self) -> float:
        price, point = self.profile.price, self.point
        if price is None:
            raise FrontierError(f"{self.profile.id} has neither a $/hour nor a declared price")
        pico = price.input * point.input_tok_s + price.output * point.output_tok_s
        return pico / point.total_tok_s / PICO_PER_TOKEN_PER_USD_PER_MTOK

    @property
    def tok_s_per_mw(self) -> float | None:
        """Tokens per second per megawatt; None when the power is not known."""
        if self.cost is None or self.cost.kw is None:
            return None
        return tok_s_per_mw(self.tok_s_per_gpu, self.cost.kw)

    def tokens_per(self, axis: Axis) -> float:
        """The yield, y: tokens per dollar, tokens/s per MW or tokens/s per accelerator."""
        if axis is Axis.USD:
            return 1e6 / self.usd_per_mtok
        if axis is Axis.GPU:
            return self.tok_s_per_gpu
        if self.tok_s_per_mw is None:
            hardware = self.profile.configuration.hardware
            raise FrontierError(f"the power of {hardware} is not known, so nothing can be said per MW")
        return self.tok_s_per_mw


@dataclass(frozen=True, slots=True)
class Candidates:
    """All operating points of a model and class that can be costed, and why others cannot.

    Attributes:
        excluded: profile id and reason.
    """

    model: str
    lengths: LengthClass
    points: tuple[Candidate, ...]
    excluded: tuple[tuple[str, str], ...]


def candidates(
    profiles: Iterable[Profile],
    model: str,
    lengths: LengthClass,
    costs: Mapping[str, HardwareCost],
    selection: Selection = Selection(),
    parameters_billion: Mapping[str, float] | None = None,
) -> Candidates:
    """Collects the points of one model and class that have a cost.

    Args:
        profiles: cleaned ones (:func:`pricing.profiles.cleaned`).
        model: the profiles' own name of it.
        lengths: the workload class.
        costs: by hardware.
        selection: which configurations may be used.
        parameters_billion: by model, for the check that it fits its memory; None skips it.

    Raises:
        FrontierError: nothing is left; the message says what is known and why the rest was left out.
    """
    weights = (parameters_billion or {}).get(model)
    points: list[Candidate] = []
    excluded: list[tuple[str, str]] = []
    of_model = [profile for profile in profiles if profile.model == model]
    for profile in of_model:
        measured = [point for point in profile.points if point.lengths == lengths]
        reason = _exclusion(profile, costs, selection, weights) if measured else None
        if reason is not None:
            excluded.append((profile.id, reason))
        elif measured:
            cost = costs[profile.configuration.hardware]
            points += [Candidate(profile, point, cost) for point in measured]
    if not points:
        raise FrontierError(_unmeasured(model, of_model, selection) or _nothing(model, lengths, of_model, excluded))
    return Candidates(model, lengths, tuple(points), tuple(excluded))


def _exclusion(
    profile: Profile, costs: Mapping[str, HardwareCost], selection: Selection, weights: float | None
) -> str | None:
    hardware = profile.configuration.hardware
    if profile.is_bought_by_token:
        return "bought by the token: it has no $/hour"
    if hardware not in costs:
        return f"no $/hour is known for {hardware}"
    return selection.refusal(profile) or _memory_refusal(profile, costs[hardware].hbm_gb, weights)


def _memory_refusal(profile: Profile, hbm_gb: float | None, weights: float | None) -> str | None:
    """Necessary, not sufficient: the weights must fit all accelerators of the smaller pool together."""
    configuration = profile.configuration
    bytes_each = BYTES_PER_PARAMETER.get(configuration.precision.rstrip("?"))
    if hbm_gb is None or weights is None or bytes_each is None:
        return None
    pool = min(configuration.prefill_gpus or configuration.n_gpus, configuration.decode_gpus or configuration.n_gpus)
    need_gb = weights * bytes_each * MEMORY_HEADROOM
    if need_gb <= pool * hbm_gb:
        return None
    return f"{need_gb:.0f} GB of weights do not fit {pool} x {hbm_gb:g} GB"


def _unmeasured(model: str, of_model: list[Profile], selection: Selection) -> str | None:
    """What to say when all that was asked for by one name is unknown: no profile of the model has it."""
    for name in SELECTED if of_model else ():
        allowed: frozenset[str] | None = getattr(selection, name)
        known = sorted({str(getattr(profile.configuration, name)) for profile in of_model})
        if allowed is None or allowed & set(known):
            continue
        asked, more = ", ".join(sorted(allowed)), len(known) - NAMES_SHOWN
        on, measured = ("on", "measured on") if name == "hardware" else (f"with {name}", "measured")
        rest = f" and {more} more" if more > 0 else ""
        return f"no measured profile of {model} {on} {asked}; {measured}: {', '.join(known[:NAMES_SHOWN])}{rest}"
    return None


def _nothing(model: str, lengths: LengthClass, of_model: list[Profile], excluded: list[tuple[str, str]]) -> str:
    if not of_model:
        return (
            f"no profile of {model!r}, or none of which a load can be used (one whose first token takes more than half "
            "of the answer cannot; are its times in milliseconds?); see `goodput profiles list`"
        )
    classes = sorted({each for profile in of_model for each in profile.classes})
    if lengths not in classes:
        return f"{model} was not measured at ISL/OSL {lengths}; measured: {', '.join(map(str, classes))}"
    telling = sorted(
        excluded, key=lambda each: each[1].endswith(NOT_SELECTED)
    )  # what was asked to be left out says least
    reasons = "; ".join(f"{name}: {reason}" for name, reason in telling[:REASONS_SHOWN])
    more = f" and {len(excluded) - REASONS_SHOWN} more" if len(excluded) > REASONS_SHOWN else ""
    return f"no operating point of {model} at ISL/OSL {lengths} can be costed ({reasons}{more})"


def admitted(found: Candidates, ceiling: Ceiling, factors: TailFactors = TailFactors()) -> tuple[Candidate, ...]:
    """The SLO filter, which comes before any frontier.

    Raises:
        FrontierError: no point keeps the ceiling; the message names the nearest.
    """
    kept = tuple(candidate for candidate in found.points if ceiling.admits(candidate.point, factors))
    if kept:
        return kept
    nearest = min(found.points, key=lambda candidate: ttft_tail(candidate.point, factors).seconds)
    fastest = max(found.points, key=lambda candidate: candidate.tok_s_user)
    raise FrontierError(
        f"no operating point of {found.model} at ISL/OSL {found.lengths} keeps {ceiling}: the earliest p99 first token "
        f"is {ttft_tail(nearest.point, factors).seconds:.3g} s ({nearest.id}), the best p99 speed "
        f"{1 / tpot_tail(fastest.point, factors).seconds:.3g} tok/s/user ({fastest.id})"
    )
