"""The figures of one load, from the samples of its requests. Pure."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pricing.profiles import little_output_tok_s
from providers.measure_load import Load


class NothingMeasured(Exception):
    """The backend answers, but not with anything that can be measured; the message says what to change."""


@dataclass(frozen=True, slots=True)
class MeasuredLoad:
    """What one load measured; seconds, tokens, and tokens per second of the whole backend.

    Attributes:
        requests: on which the statistics rest.
        unfinished: requests in flight when the load's time was up.
        errors: failures by the name of their kind.
        cached_mean: prompt tokens per request that the backend read from a cache after all.
    """

    concurrency: int
    requests: int
    ttft_s_p50: float
    ttft_s_p99: float
    tpot_s_p50: float
    tpot_s_p99: float
    output_tok_s: float
    input_tok_s: float
    isl_mean: float
    osl_mean: float
    cached_mean: float
    unfinished: int
    errors: Mapping[str, int]

    @property
    def total_tok_s(self) -> float:
        """Input and output tokens per second."""
        return self.input_tok_s + self.output_tok_s

    @property
    def interactivity_tok_s_user(self) -> float:
        """Tokens per second that one user sees after the first."""
        return 1 / self.tpot_s_p50


def measured_load(load: Load, isl_assumed: int) -> MeasuredLoad:
    """Condenses the samples of one load into its figures.

    Args:
        load: with at least one finished request.
        isl_assumed: prompt tokens, where the backend counts none.

    Raises:
        NothingMeasured: all tokens of each answer came at once, so that there is no time per token.
    """
    steady = load.steady()
    spread = [sample.tpot_s for sample in steady if sample.output > 1]
    tpots = [tpot_s for tpot_s in spread if tpot_s > 0]
    if not tpots:
        raise NothingMeasured(
            f"concurrency {load.concurrency}: each answer came in one piece, so that there is no time per token; "
            "ask for longer answers (osl), or declare the speed instead"
        )
    ttfts = [sample.ttft_s for sample in load.started()]
    counts = [sample.usage for sample in steady if sample.usage is not None]
    isl_mean = statistics.fmean(usage.input_total for usage in counts) if counts else float(isl_assumed)
    osl_mean = statistics.fmean(sample.output for sample in steady)
    ttft_s, tpot_s = quantile(ttfts, 0.5), quantile(tpots, 0.5)
    output_tok_s = load.window_tok_s() or little_output_tok_s(load.concurrency, ttft_s, tpot_s, osl_mean)
    return MeasuredLoad(
        concurrency=load.concurrency,
        requests=len(steady),
        ttft_s_p50=ttft_s,
        ttft_s_p99=quantile(ttfts, 0.99),
        tpot_s_p50=tpot_s,
        tpot_s_p99=quantile(tpots, 0.99),
        output_tok_s=output_tok_s,
        input_tok_s=output_tok_s * isl_mean / osl_mean,
        isl_mean=isl_mean,
        osl_mean=osl_mean,
        cached_mean=statistics.fmean(usage.cached for usage in counts) if counts else 0.0,
        unfinished=load.unfinished,
        errors=dict(load.errors),
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of them lie, interpolated linearly between neighbours.

    >>> quantile([4.0, 1.0, 2.0, 3.0], 0.5), quantile([1.0, 2.0], 0.99)
    (2.5, 1.99)
    """
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
