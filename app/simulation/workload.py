"""Demand on a virtual clock: who asks for what, and when; pure and seeded.

Every purpose (arrivals, tiers, models, customers, lengths, …) has a random stream of its own, so that changing one
part of a scenario leaves all draws of the others as they were: two price books meet the very same customers.
"""

import csv
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pricing.pricebook import PriceBook
from pricing.slo import Tier

NS_PER_S: Final = 1_000_000_000
BLOCK: Final = 4_096
RPS_MAX: Final = 1_000_000.0
CUSTOMERS_MAX: Final = 100_000
TRACE_ROWS_MAX: Final = 1_000_000
TOKENS_MAX: Final = 1_000_000
BURSTS_MAX: Final = 10_000
SHARES_SUM: Final = 1e-9
BOUGHT_MIN: Final = 1e-4
"""Demand of which less is bought is refused: looking for those who buy would take forever."""
_PURPOSES: Final = ("gap", "tier", "model", "customer", "length", "input", "output", "limit", "bytes", "stream")

Floats = NDArray[np.float64]


class WorkloadError(ValueError):
    """Demand that cannot be: a negative rate, no weight at all, a tier that nobody sells, a trace without rows."""


def _tiers() -> Mapping[Tier, float]:
    return {Tier.PREMIUM: 0.15, Tier.STANDARD: 0.60, Tier.BULK: 0.25}


@dataclass(frozen=True, slots=True)
class Workload:
    """What customers ask for. The defaults are assumptions, not measurements; every one is an input.

    Attributes:
        rps: requests per second in the mean, a Poisson process.
        bursts: how busy successive spans of ``burst_s`` are, relative to each other, repeated; empty: all alike.
        tiers: weights of the tiers asked for; those that a model is not sold at are left out for it.
        tiers_of_models: for a model named here, its own shares of the tiers instead; what is missing from a sum of one
            is demand that finds nothing worth its price and never comes.
        models: weights of the models asked for; empty: all alike.
        customers: how many there are; the k-th asks ``k^−customer_skew`` as often as the first.
        input_tokens: median prompt; log-normal with ``input_sigma``.
        output_tokens: median of what an answer would have without a limit; log-normal with ``output_sigma``. The
            default lengths resemble chat: Azure's 2023 conversation trace has medians of 1,020 and 129 tokens.
        trace: (prompt, answer) pairs to draw from instead of the two distributions.
        output_limits: (``max_tokens``, weight) that requests name, whatever the answer would be.
        bytes_per_token: mean bytes of a prompt token; what the market sees of a prompt is its bytes.
        bytes_sigma: how much that differs from prompt to prompt.
        streamed_share: of requests, how many ask for a stream.
    """

    rps: float = 10.0
    bursts: tuple[float, ...] = ()
    burst_s: float = 20.0
    tiers: Mapping[Tier, float] = field(default_factory=_tiers)
    tiers_of_models: Mapping[str, Mapping[Tier, float]] = field(default_factory=dict[str, Mapping[Tier, float]])
    models: Mapping[str, float] = field(default_factory=dict[str, float])
    customers: int = 200
    customer_skew: float = 1.1
    input_tokens: float = 1_024.0
    input_sigma: float = 1.0
    output_tokens: float = 160.0
    output_sigma: float = 0.9
    trace: tuple[tuple[int, int], ...] = ()
    output_limits: tuple[tuple[int, float], ...] = ((512, 0.3), (1_024, 0.4), (4_096, 0.3))
    bytes_per_token: float = 4.0
    bytes_sigma: float = 0.15
    streamed_share: float = 0.9

    def __post_init__(self) -> None:
        _within("rps", self.rps, 1e-6, RPS_MAX)
        _within("burst_s", self.burst_s, 1e-3, 1e6)
        if len(self.bursts) > BURSTS_MAX or not all(math.isfinite(each) and each > 0 for each in self.bursts):
            raise WorkloadError(f"bursts must be at most {BURSTS_MAX} weights above 0, got {self.bursts}")
        _within("customers", self.customers, 1, CUSTOMERS_MAX)
        _within("customer_skew", self.customer_skew, 0, 10)
        for name in ("input_tokens", "output_tokens"):
            _within(name, getattr(self, name), 1, TOKENS_MAX)
        for name in ("input_sigma", "output_sigma", "bytes_sigma"):
            _within(name, getattr(self, name), 0, 5)
        _within("bytes_per_token", self.bytes_per_token, 1, 16)
        _within("streamed_share", self.streamed_share, 0, 1)
        _weights("tiers", list(self.tiers.values()))
        for model, shares in self.tiers_of_models.items():
            _shares(model, list(shares.values()))
        _weights("output_limits", [weight for _, weight in self.output_limits])
        if self.models:
            _weights("models", list(self.models.values()))
        if any(not 1 <= tokens <= TOKENS_MAX for pair in self.trace for tokens in pair):
            raise WorkloadError(f"lengths in a trace must be 1 to {TOKENS_MAX} tokens")
        if any(not 1 <= limit <= TOKENS_MAX for limit, _ in self.output_limits):
            raise WorkloadError(f"output_limits must be 1 to {TOKENS_MAX} tokens, got {self.output_limits}")

    def document(self) -> dict[str, Any]:
        """What is asked for, JSON-ready; of a trace only how long it is and a sum over it."""
        document = asdict(self)
        document["tiers"] = {tier.value: weight for tier, weight in self.tiers.items()}
        document["tiers_of_models"] = {
            model: {tier.value: share for tier, share in shares.items()}
            for model, shares in self.tiers_of_models.items()
        }
        document["trace"] = {"rows": len(self.trace), "tokens": sum(i + o for i, o in self.trace)}
        return document


class Arrival(NamedTuple):
    """One request as its customer sends it.

    Attributes:
        at_ns: when its first byte is read.
        prompt_bytes: what the market sees of the prompt.
        input_tokens: what the prompt really has; the market learns it from the engine's usage.
        output_tokens: what the answer would have without a limit; only the engine knows.
        output_limit: its ``max_tokens``.
    """

    at_ns: int
    model: str
    tier: Tier
    customer_id: str
    prompt_bytes: int
    input_tokens: int
    output_tokens: int
    output_limit: int
    is_streamed: bool


def arrivals(workload: Workload, book: PriceBook, models: Sequence[str], seed: int) -> Iterator[Arrival]:
    """An endless stream of requests; equal arguments give equal streams.

    Args:
        workload: what is asked for.
        book: tells which tiers each model is sold at.
        models: what is on sale, in a fixed order.
        seed: of all random streams.

    Raises:
        WorkloadError: it asks for a model that is not on sale, or only for tiers that a model lacks.
    """
    return _draw(_Mix(workload, book, models), workload, seed)


def read_trace(lines: Iterable[str]) -> tuple[tuple[int, int], ...]:
    """Reads (prompt, answer) lengths from CSV text with a header.

    The columns are found by name: ``ContextTokens, GeneratedTokens`` (Azure), or ``input_tokens, output_tokens``. Rows
    without a token on either side are skipped.

    Raises:
        WorkloadError: no such columns, a value that is no whole number, no usable row, or too many.

    >>> read_trace(["TIMESTAMP,ContextTokens,GeneratedTokens", "x,374,44", "x,0,3"])
    ((374, 44),)
    """
    reader = csv.DictReader(lines)
    names = reader.fieldnames or []
    pair = next((p for p in _TRACE_COLUMNS if set(p) <= set(names)), None)
    if pair is None:
        known = " or ".join(", ".join(columns) for columns in _TRACE_COLUMNS)
        raise WorkloadError(f"a trace needs the columns {known}; this one has {', '.join(names) or 'none'}")
    rows: list[tuple[int, int]] = []
    for row in reader:
        try:
            lengths = int(row[pair[0]]), int(row[pair[1]])
        except (TypeError, ValueError) as error:
            raise WorkloadError(f"line {reader.line_num} of the trace: lengths must be whole numbers") from error
        if min(lengths) > 0:
            rows.append(lengths)
        if len(rows) > TRACE_ROWS_MAX:
            raise WorkloadError(f"a trace may have {TRACE_ROWS_MAX} rows")
    if not rows:
        raise WorkloadError("the trace has no row with tokens on both sides")
    return tuple(rows)


_TRACE_COLUMNS: Final = (("ContextTokens", "GeneratedTokens"), ("input_tokens", "output_tokens"))


class _Mix:
    """Cumulated weights of everything that is chosen."""

    def __init__(self, workload: Workload, book: PriceBook, models: Sequence[str]) -> None:
        unknown = sorted(set(workload.models) - set(models))
        if unknown:
            raise WorkloadError(f"the workload asks for {', '.join(unknown)}; on sale are {', '.join(models)}")
        self.models = tuple(models)
        self.model_weights = _cumulated([workload.models.get(m, 0.0) if workload.models else 1.0 for m in models])
        self.tiers = {model: book.tiers(model) for model in models}
        asked = [model for model in models if not workload.models or workload.models.get(model, 0.0) > 0]
        self.tier_weights = {model: _tier_weights(workload, model, self.tiers[model]) for model in asked}
        if max(weights[-1] for weights in self.tier_weights.values()) < BOUGHT_MIN:
            raise WorkloadError("next to nobody buys anything at these prices; lower them, or look at the demand")
        ranks = np.arange(1, workload.customers + 1, dtype=np.float64)
        self.customers = tuple(f"cus_{number:05d}" for number in range(workload.customers))
        self.customer_weights = _cumulated((ranks**-workload.customer_skew).tolist())
        self.limits = tuple(limit for limit, _ in workload.output_limits)
        self.limit_weights = _cumulated([weight for _, weight in workload.output_limits])


def _draw(mix: _Mix, workload: Workload, seed: int) -> Iterator[Arrival]:
    streams = {name: np.random.default_rng([seed, index]) for index, name in enumerate(_PURPOSES)}
    spent_ns = 0
    clock = _Clock(workload)
    while True:
        uniform = {name: stream.random(BLOCK) for name, stream in streams.items() if name in _UNIFORM}
        gaps_ns = np.maximum(streams["gap"].exponential(NS_PER_S / workload.rps, BLOCK), 1.0).astype(np.int64)
        passed_ns = spent_ns + np.cumsum(gaps_ns)
        spent_ns = int(passed_ns[-1])
        at_ns = clock.at(passed_ns).tolist()
        inputs, outputs = _lengths(workload, uniform["length"], streams)
        ratios = np.exp(workload.bytes_sigma * streams["bytes"].standard_normal(BLOCK)) * workload.bytes_per_token
        prompt_bytes = np.maximum(inputs * ratios, 1.0).astype(np.int64).tolist()
        models = np.searchsorted(mix.model_weights, uniform["model"], side="right").tolist()
        customers = np.searchsorted(mix.customer_weights, uniform["customer"], side="right").tolist()
        limits = np.searchsorted(mix.limit_weights, uniform["limit"], side="right").tolist()
        is_streamed = (uniform["stream"] < workload.streamed_share).tolist()
        tier_draws = uniform["tier"].tolist()
        input_tokens, output_tokens = inputs.tolist(), outputs.tolist()
        for i in range(BLOCK):
            model = mix.models[models[i]]
            rank = bisect_right(mix.tier_weights[model], tier_draws[i])
            if rank == len(mix.tiers[model]):
                continue
            tier = mix.tiers[model][rank]
            yield Arrival(
                at_ns=at_ns[i],
                model=model,
                tier=tier,
                customer_id=mix.customers[customers[i]],
                prompt_bytes=prompt_bytes[i],
                input_tokens=input_tokens[i],
                output_tokens=output_tokens[i],
                output_limit=mix.limits[limits[i]],
                is_streamed=is_streamed[i],
            )


class _Clock:
    """Stretches the time of a steady Poisson process so that some spans are busier than others."""

    def __init__(self, workload: Workload) -> None:
        weights = np.array(workload.bursts or (1.0,), dtype=np.float64)
        self._is_steady = not workload.bursts
        self._cycle_ns = round(len(weights) * workload.burst_s * NS_PER_S)
        self._ends = np.linspace(0.0, self._cycle_ns, len(weights) + 1)
        self._spent = np.concatenate([[0.0], np.cumsum(weights) / weights.sum()]) * self._cycle_ns

    def at(self, passed_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """When what a steady process does at ``passed_ns`` happens, ns. Shape as ``passed_ns``."""
        if self._is_steady:
            return passed_ns
        cycles, within = np.divmod(passed_ns, self._cycle_ns)
        return cycles * self._cycle_ns + np.interp(within, self._spent, self._ends).astype(np.int64)


_UNIFORM: Final = frozenset({"tier", "model", "customer", "length", "limit", "stream"})


def _lengths(
    workload: Workload, uniform: Floats, streams: Mapping[str, np.random.Generator]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if workload.trace:
        chosen = np.array(workload.trace, dtype=np.int64)[(uniform * len(workload.trace)).astype(np.int64)]
        return chosen[:, 0], chosen[:, 1]
    inputs = workload.input_tokens * np.exp(workload.input_sigma * streams["input"].standard_normal(BLOCK))
    outputs = workload.output_tokens * np.exp(workload.output_sigma * streams["output"].standard_normal(BLOCK))
    return _tokens(inputs), _tokens(outputs)


def _tokens(values: Floats) -> NDArray[np.int64]:
    return np.clip(np.rint(values), 1, TOKENS_MAX).astype(np.int64)


def _tier_weights(workload: Workload, model: str, tiers: Sequence[Tier]) -> list[float]:
    """Cumulated shares of a model's tiers; they end below one where some buy nothing."""
    own = workload.tiers_of_models.get(model)
    if own is not None:
        return np.cumsum([own.get(tier, 0.0) for tier in tiers]).tolist()
    return _cumulated([workload.tiers.get(tier, 0.0) for tier in tiers], f"tiers of {model}").tolist()


def _cumulated(weights: Sequence[float], what: str = "weights") -> Floats:
    total = math.fsum(weights)
    if total <= 0:
        raise WorkloadError(f"{what}: at least one that is sold must have a weight above 0, got {list(weights)}")
    cumulated = np.cumsum(np.array(weights, dtype=np.float64) / total)
    cumulated[np.flatnonzero(weights)[-1] :] = 1.0
    return cumulated


def _weights(name: str, weights: Sequence[float]) -> None:
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or math.fsum(weights) <= 0:
        raise WorkloadError(f"{name} must be weights of 0 or more with one above 0, got {list(weights)}")


def _shares(model: str, shares: Sequence[float]) -> None:
    if not all(0 <= share <= 1 for share in shares) or math.fsum(shares) > 1 + SHARES_SUM:
        raise WorkloadError(f"the tiers of {model} must be shares that sum to at most 1, got {list(shares)}")


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise WorkloadError(f"{name} must be {least:g} to {most:g}, got {value:g}")
