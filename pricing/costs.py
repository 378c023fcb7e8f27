"""What a token of each class costs at an operating point: input, cached read, cache write, output.

Where prefill and decode run on pools of known size, each pool's hours are divided by its tokens. Where they share
accelerators, the seconds that an input and an output token take are told apart by comparing length classes at equal
speed; where that cannot be done, a ratio is assumed and marked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from pricing.candidates import Axis, Candidate
from pricing.frontier import OutsideMeasuredRange, frontier
from pricing.profiles import LengthClass
from pricing.usage import TokenClass

S_PER_HOUR = 3_600
TOKENS_PER_MTOK = 1e6
RESIDUAL_MAX = 0.2
SCENARIOS_MIN = 3
RATIO_ASSUMED = 4.0
RATIO_MIN, RATIO_MAX = 2.0, 12.0
RATIO_DECIMALS = 9
"""A solver's last digits decide nothing: a ratio of 2 is not clipped for coming out as 1.9999999999."""
CACHED_SHARE = 0.1
"""A cached read costs this share of a fresh input token; published figures run from 0.02 to 0.5."""
CACHE_WRITE_SHARE = 1.0


class CostError(ValueError):
    """A share or rate that a cost cannot be computed from."""


@dataclass(frozen=True, slots=True)
class CacheShares:
    """What cached reads and cache writes cost, as shares of a fresh input token."""

    cached: float = CACHED_SHARE
    cache_write: float = CACHE_WRITE_SHARE

    def __post_init__(self) -> None:
        if not (0 <= self.cached <= 1 and self.cache_write >= 0):
            raise CostError(f"shares of an input token's cost: cached in [0, 1], cache_write >= 0, got {self}")


@dataclass(frozen=True, slots=True)
class Scenario:
    """What one accelerator does per second in one length class at one speed.

    Attributes:
        input_tok_s: prompt tokens per second per accelerator.
        output_tok_s: output tokens per second per accelerator.
    """

    lengths: LengthClass
    input_tok_s: float
    output_tok_s: float


@dataclass(frozen=True, slots=True)
class Split:
    """How accelerator time divides between input and output tokens.

    Attributes:
        method: ``pools`` (two pools of known size), ``fit`` (several classes at equal speed) or ``ratio`` (one class,
            with ρ from a fit that is not good enough, or assumed).
        input_s: accelerator-seconds per input token.
        output_s: accelerator-seconds per output token.
        ratio: ρ = output_s / input_s.
        is_ratio_assumed: True when nothing told ρ.
        is_ratio_clipped: True when ρ was pulled into [2, 12].
        residual: root mean square of the fit's relative errors; None without a fit.
        classes: the length classes that the fit rests on.
    """

    method: str
    input_s: float
    output_s: float
    ratio: float
    is_ratio_assumed: bool = False
    is_ratio_clipped: bool = False
    residual: float | None = None
    classes: tuple[LengthClass, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenCosts:
    """USD per million tokens of each class, at full use of the hardware."""

    input: float
    cached: float
    cache_write: float
    output: float

    def by_class(self) -> dict[TokenClass, float]:
        """The costs keyed by class, in the order in which a price list shows them."""
        return {
            TokenClass.INPUT: self.input,
            TokenClass.CACHED: self.cached,
            TokenClass.CACHE_WRITE: self.cache_write,
            TokenClass.OUTPUT: self.output,
        }


def token_costs(split: Split, usd_per_hour: float, shares: CacheShares = CacheShares()) -> TokenCosts:
    """Dollars per million tokens from accelerator-seconds per token."""
    usd_per_mtok_second = usd_per_hour / S_PER_HOUR * TOKENS_PER_MTOK
    fresh = split.input_s * usd_per_mtok_second
    return TokenCosts(fresh, fresh * shares.cached, fresh * shares.cache_write, split.output_s * usd_per_mtok_second)


def split_of(chosen: Candidate) -> Split:
    """Divides the accelerator time of a measured point between its input and output tokens."""
    point, configuration = chosen.point, chosen.profile.configuration
    if configuration.has_pools and configuration.prefill_gpus and configuration.decode_gpus:
        input_s, output_s = (
            configuration.prefill_gpus / point.input_tok_s,
            configuration.decode_gpus / point.output_tok_s,
        )
        return Split("pools", input_s, output_s, output_s / input_s)
    return split_from(scenarios_at(chosen))


def scenarios_at(chosen: Candidate) -> tuple[Scenario, ...]:
    """The same configuration in every length class that was measured at the point's speed, the point's own first.

    A class whose measured range does not reach that speed is left out: nothing is extrapolated.
    """
    n_gpus, x = chosen.profile.configuration.n_gpus, chosen.tok_s_user
    own = Scenario(chosen.point.lengths, chosen.point.input_tok_s / n_gpus, chosen.output_tok_s_per_gpu)
    found = [own]
    for lengths in chosen.profile.classes:
        points = [point for point in chosen.profile.points if point.lengths == lengths]
        if lengths == own.lengths:
            continue
        front = frontier([Candidate(chosen.profile, point, chosen.cost) for point in points], Axis.GPU)
        try:
            output_tok_s = front.at(x).output_tok_s_per_gpu
        except OutsideMeasuredRange:
            continue
        found.append(Scenario(lengths, output_tok_s * points[0].isl_mean / points[0].osl_mean, output_tok_s))
    return tuple(found)


def split_from(scenarios: Sequence[Scenario]) -> Split:
    """Tells input from output tokens by non-negative least squares over length classes at equal speed.

    With a and b the accelerator-seconds per input and output token, and G_s = n/r those of a request of class s, it
    minimises ``Σ((a·isl_s + b·osl_s)/G_s − 1)²``. Since isl_s/G_s is the class's input tokens per second per
    accelerator, each row is just (input_tok_s, output_tok_s) and must come to 1.

    Args:
        scenarios: the asked class first.
    """
    if not scenarios:
        raise CostError("a split needs at least the asked class")
    asked, classes = scenarios[0], tuple(scenario.lengths for scenario in scenarios)
    matrix = np.array([(scenario.input_tok_s, scenario.output_tok_s) for scenario in scenarios])
    if np.linalg.matrix_rank(matrix, tol=1e-6 * float(matrix.max())) < 2:  # noqa: PLR2004 (two unknowns)
        return _by_ratio(asked, RATIO_ASSUMED, is_assumed=True)
    (input_s, output_s), norm = nnls(matrix, np.ones(len(matrix)))
    residual = float(norm) / len(matrix) ** 0.5
    ratio = round(float(output_s / input_s), RATIO_DECIMALS) if input_s > 0 else float("inf")
    if len(matrix) >= SCENARIOS_MIN and residual <= RESIDUAL_MAX and RATIO_MIN <= ratio <= RATIO_MAX:
        return Split("fit", float(input_s), float(output_s), ratio, residual=residual, classes=classes)
    return _by_ratio(asked, ratio, residual=residual, classes=classes)


def _by_ratio(
    asked: Scenario,
    ratio: float,
    *,
    is_assumed: bool = False,
    residual: float | None = None,
    classes: tuple[LengthClass, ...] = (),
) -> Split:
    """With ρ clipped to [2, 12]: a = G/(isl + ρ·osl) at the asked class, and b = ρ·a."""
    clipped = min(max(ratio, RATIO_MIN), RATIO_MAX)
    input_s = 1 / (asked.input_tok_s + clipped * asked.output_tok_s)
    return Split(
        "ratio",
        input_s,
        clipped * input_s,
        clipped,
        is_assumed,
        clipped != ratio,
        residual,
        classes or (asked.lengths,),
    )


def blended_usd_per_mtok(costs: TokenCosts, lengths: LengthClass) -> float:
    """Cost of a million tokens at a class's own mix of fresh input and output."""
    return (costs.input * lengths.isl + costs.output * lengths.osl) / (lengths.isl + lengths.osl)
