"""What was measured, by whom, when and on what: the raw material of every price.

A :class:`Profile` is a set of :class:`OperatingPoint` of one model on one :class:`Configuration`. Times are seconds as
floats (they are measurements); promises become integer µs only in :mod:`pricing.tiers`. A :class:`Deployment` is the
load curve of one configuration for one length class: what an emulated engine follows and a scheduler predicts from.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from functools import lru_cache

from pricing.usage import Rates

US_PER_S = 1_000_000


class ProfileError(ValueError):
    """A profile that cannot be priced from: empty, duplicate, physically impossible or in mixed units."""


class Basis(StrEnum):
    """How a figure came about."""

    MEASURED = "measured"
    MODELLED = "modelled"
    DECLARED = "declared"


class Mode(StrEnum):
    """Whether prefill and decode share their accelerators."""

    AGGREGATED = "agg"
    DISAGGREGATED = "disagg"


@dataclass(frozen=True, slots=True, order=True)
class LengthClass:
    """One workload class: nominal prompt and answer lengths, in tokens."""

    isl: int
    osl: int

    def __post_init__(self) -> None:
        if self.isl < 1 or self.osl < 1:
            raise ProfileError(f"a length class needs isl >= 1 and osl >= 1, got {self.isl}/{self.osl}")

    def __str__(self) -> str:
        return f"{self.isl}/{self.osl}"


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is run: everything that, changed, makes another deployment.

    Attributes:
        hardware: slug of the accelerator, the key of its :class:`~pricing.hardware.HardwareCost`.
        n_gpus: accelerators of one replica; both pools together when disaggregated.
        spec_decoding: ``none``, ``mtp``, ``mtp?`` (told from its speed) or ``unknown``.
        prefill_gpus: accelerators of the prefill pool; None when aggregated or unknown.
        decode_gpus: accelerators of the decode pool; None when aggregated or unknown.
    """

    hardware: str
    n_gpus: int
    engine: str
    precision: str
    parallelism: str = ""
    mode: Mode = Mode.AGGREGATED
    spec_decoding: str = "none"
    prefill_gpus: int | None = None
    decode_gpus: int | None = None

    def __post_init__(self) -> None:
        if self.n_gpus < 1:
            raise ProfileError(f"{self.hardware}: a configuration needs at least one accelerator, got {self.n_gpus}")
        if (self.prefill_gpus is None) != (self.decode_gpus is None):
            raise ProfileError(f"{self.deployment_id}: give both prefill_gpus and decode_gpus, or neither")
        if self.prefill_gpus is not None and self.decode_gpus is not None:
            pools = self.prefill_gpus + self.decode_gpus
            if min(self.prefill_gpus, self.decode_gpus) < 1 or pools != self.n_gpus:
                raise ProfileError(
                    f"{self.deployment_id}: {self.prefill_gpus} prefill + {self.decode_gpus} decode accelerators "
                    f"must each be at least 1 and sum to n_gpus = {self.n_gpus}"
                )

    @property
    def has_pools(self) -> bool:
        """True when prefill and decode run on pools of known size."""
        return self.mode is Mode.DISAGGREGATED and self.prefill_gpus is not None

    @property
    def deployment_id(self) -> str:
        """A stable slug of the whole configuration, fit for a URL.

        >>> Configuration("b200", 2, "trtllm", "fp4", "tp2ep1").deployment_id
        'b200-trtllm-fp4-agg-tp2ep1'
        """
        parts = [self.hardware, self.engine, self.precision, self.mode.value, self.parallelism or f"n{self.n_gpus}"]
        if self.spec_decoding != "none":
            parts.append(self.spec_decoding)
        return slug("-".join(parts))


@lru_cache(maxsize=4_096)
def slug(text: str) -> str:
    """Lower case, with every run of characters other than letters, digits, dot and underscore as one dash.

    ``?`` and ``+`` carry meaning in configurations and are spelled out.

    >>> slug("P:tp8 D:tp8x5-mtp?")
    'p-tp8-d-tp8x5-mtp-guess'
    """
    spelled = text.lower().replace("?", "-guess").replace("+", "-")
    kept = "".join(letter if letter.isalnum() or letter in "._" else " " for letter in spelled)
    return "-".join(kept.split())


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a figure comes from.

    Attributes:
        source: who published it, or the command that measured it.
        measured_on: None when the source does not say.
        licence: SPDX id, ``facts`` for cited numbers, or ``own measurement``.
    """

    source: str
    basis: Basis
    licence: str
    measured_on: date | None = None
    engine_version: str = ""


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """One measured load of one configuration.

    Attributes:
        lengths: nominal class; the lengths really run averaged ``isl_mean`` and ``osl_mean``.
        concurrency: requests in flight at once.
        ttft_s_p50: median (or mean, where the source does not say which) seconds to the first token.
        tpot_s_p50: median (or mean) seconds per output token after the first.
        ttft_s_p99: None when only one statistic exists.
        tpot_s_p99: None when only one statistic exists.
        output_tok_s: output tokens per second of the whole replica.
        input_tok_s: prompt tokens per second of the whole replica.
        requests: how many requests the statistics rest on; None when the source does not say.
    """

    lengths: LengthClass
    concurrency: int
    ttft_s_p50: float
    tpot_s_p50: float
    output_tok_s: float
    input_tok_s: float
    isl_mean: float
    osl_mean: float
    provenance: Provenance
    ttft_s_p99: float | None = None
    tpot_s_p99: float | None = None
    requests: int | None = None

    @property
    def interactivity_tok_s_user(self) -> float:
        """Tokens per second that one user sees after the first: 1 / TPOT."""
        return 1 / self.tpot_s_p50

    @property
    def total_tok_s(self) -> float:
        """Input and output tokens per second of the whole replica."""
        return self.input_tok_s + self.output_tok_s

    @property
    def requests_s(self) -> float:
        """Requests per second of the whole replica."""
        return self.output_tok_s / self.osl_mean

    @property
    def end_to_end_s(self) -> float:
        """Seconds from request to last token at the mean answer length."""
        return self.ttft_s_p50 + (self.osl_mean - 1) * self.tpot_s_p50

    @property
    def is_queue_dominated(self) -> bool:
        """True when waiting for the first token takes more than half of the answer: a load beyond what is served.

        One request at a time waits for nobody: its first token is its own prompt's work, however long.
        """
        return self.concurrency > 1 and self.ttft_s_p50 > self.end_to_end_s / 2


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What the engine was told to take at most; None where the source does not say."""

    concurrency_max: int | None = None
    context_max: int | None = None
    batch_tokens_max: int | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """A set of operating points of one model on one configuration.

    Attributes:
        points: at least one; no two with equal lengths, concurrency and date.
        price: set when tokens are bought at a declared price instead of hardware by the hour.
        prefill_tok_s: prompt tokens per second that one replica takes in, where stated; else estimated.
    """

    model: str
    configuration: Configuration
    points: tuple[OperatingPoint, ...]
    limits: EngineLimits = EngineLimits()
    price: Rates | None = None
    prefill_tok_s: float | None = None
    notes: str = ""

    def __post_init__(self) -> None:
        if not self.points:
            raise ProfileError(f"{self.id}: a profile needs at least one operating point; measure it first")

    @property
    def id(self) -> str:
        """Model and deployment."""
        return f"{self.model}@{self.configuration.deployment_id}"

    @property
    def classes(self) -> tuple[LengthClass, ...]:
        """The length classes measured, rising."""
        return tuple(sorted({point.lengths for point in self.points}))

    @property
    def is_bought_by_token(self) -> bool:
        """True when no $/h stands behind it, only a declared price."""
        return self.price is not None


@dataclass(frozen=True, slots=True)
class Deployment:
    """The load curve of one configuration for one model and length class.

    Attributes:
        deployment_id: the slug of the configuration.
        concurrency: loads measured, rising, from 1 or more. Shape (points,).
        tpot_us: µs per output token at each load; never falls (isotonic over the measured means). Shape (points,).
        ttft_us: µs to the first token at each load, prefill and queueing included; never falls. Shape (points,).
        ttft_base_us: µs to a first token on an idle replica beyond the prefill itself.
        prefill_tok_s: prompt tokens per second that one replica takes in.
        concurrency_max: the engine's own limit, else the largest load measured.
        is_limit_assumed: True when ``concurrency_max`` is only the largest load measured.
        context_max: tokens, prompt and answer; None when the profile does not say.
        points: what was measured, one per concurrency, rising.
        price: the declared price of its tokens, for an offer bought by the token.
    """

    deployment_id: str
    model: str
    configuration: Configuration
    lengths: LengthClass
    concurrency: tuple[int, ...]
    tpot_us: tuple[float, ...]
    ttft_us: tuple[float, ...]
    ttft_base_us: float
    prefill_tok_s: float
    concurrency_max: int
    is_limit_assumed: bool
    context_max: int | None
    points: tuple[OperatingPoint, ...]
    price: Rates | None = None

    @property
    def n_gpus(self) -> int:
        """Accelerators of one replica."""
        return self.configuration.n_gpus

    @property
    def basis(self) -> Basis:
        """Measured only when every point is."""
        bases = {point.provenance.basis for point in self.points}
        return bases.pop() if len(bases) == 1 else Basis.MODELLED


def little_output_tok_s(concurrency: int, ttft_s: float, tpot_s: float, osl_mean: float) -> float:
    """Output tokens per second that a load sustains by Little's law, r = concurrency / (ttft + (osl − 1) · tpot).

    >>> round(little_output_tok_s(concurrency=8, ttft_s=0.11, tpot_s=0.01, osl_mean=90), 3)
    720.0
    """
    return concurrency * osl_mean / (ttft_s + (osl_mean - 1) * tpot_s)


def cleaned(profiles: Iterable[Profile]) -> tuple[Profile, ...]:
    """Keeps what can be priced from: no queue-dominated load, and the newest runs per configuration and concurrency.

    Runs of one configuration, load and day are all kept: nothing says which of them the label describes best (a
    speculation that the source does not name, say). A profile left without points is dropped. A declared offer has no
    queue of ours to be dominated by.
    """
    kept: list[Profile] = []
    for profile in merged(profiles):
        points = _newest([point for point in profile.points if _is_usable(profile, point)])
        if points:
            kept.append(replace(profile, points=points))
    return tuple(kept)


def merged(profiles: Iterable[Profile]) -> tuple[Profile, ...]:
    """Puts profiles of one model and configuration together, in order of first appearance.

    The later profile's limits, price and notes win: it is the newer statement.

    Raises:
        ProfileError: two different configurations with one deployment id, which nothing could tell apart.
    """
    by_id: dict[str, Profile] = {}
    for profile in profiles:
        earlier = by_id.get(profile.id, profile)
        if earlier.configuration != profile.configuration:
            raise ProfileError(
                f"{profile.id} names two configurations: {earlier.configuration} and {profile.configuration}; "
                "give them different parallelism labels"
            )
        points = profile.points if earlier is profile else earlier.points + profile.points
        by_id[profile.id] = replace(profile, points=points)
    return tuple(by_id.values())


def _is_usable(profile: Profile, point: OperatingPoint) -> bool:
    return profile.is_bought_by_token or not point.is_queue_dominated


def _newest(points: Sequence[OperatingPoint]) -> tuple[OperatingPoint, ...]:
    newest: dict[tuple[LengthClass, int], date] = {}
    for point in points:
        newest[_load(point)] = max(newest.get(_load(point), date.min), _day(point))
    kept = [point for point in points if _day(point) == newest[_load(point)]]
    return tuple(sorted(kept, key=lambda point: (_load(point), point.tpot_s_p50, point.ttft_s_p50)))


def _load(point: OperatingPoint) -> tuple[LengthClass, int]:
    return point.lengths, point.concurrency


def _day(point: OperatingPoint) -> date:
    return point.provenance.measured_on or date.min


def is_positive(value: float) -> bool:
    """True for a finite number above zero."""
    return math.isfinite(value) and value > 0
