"""The parameters of an engine, as they stand in a profile: step times in whole picoseconds, limits in tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

KV_UNBOUNDED = 1 << 40
"""Stands for "the data do not say how many tokens fit"; far above any real cache."""
SEQS_MAX = 65_536
STEP_PS_MAX = 10**15


class SpecError(ValueError):
    """Parameters no engine can have: negative costs, empty tables, a budget that leaves no room for prefill."""


@dataclass(frozen=True, slots=True)
class BatchSpec:
    """A continuously batching engine: step time = base(B) + kv·KV + prefill·P.

    B counts the sequences that decode in the step, KV the tokens resident in the cache when it starts, P the prompt
    tokens computed in it.

    Attributes:
        base_ps: knots (B, ps) of base(B): rising B, ps that never fall; straight between knots, flat below the
            first, and straight on beyond the last. Two knots make the plain a + b·B.
        kv_ps: ps per resident token and step.
        prefill_ps: ps per prompt token.
        chunk_tokens: most tokens, decoded and prefilled, that one step takes.
        max_seqs: most sequences in the batch.
        kv_tokens: most tokens that the cache holds; a request is admitted when prompt and answer fit.
        entry_ns: from a request's submission until the engine sees it: network, tokenizer, front end.
    """

    base_ps: tuple[tuple[int, int], ...]
    kv_ps: int
    prefill_ps: int
    chunk_tokens: int
    max_seqs: int
    kv_tokens: int = KV_UNBOUNDED
    entry_ns: int = 0

    def __post_init__(self) -> None:
        _check_knots(self.base_ps)
        if min(self.kv_ps, self.prefill_ps, self.entry_ns) < 0:
            raise SpecError(f"costs and delays must not be negative: {self}")
        if max(self.kv_ps, self.prefill_ps) > STEP_PS_MAX:
            raise SpecError(f"a cost per token above {STEP_PS_MAX} ps: check the unit, costs are picoseconds")
        if not 1 <= self.max_seqs <= SEQS_MAX:
            raise SpecError(f"max_seqs must be 1 to {SEQS_MAX}, got {self.max_seqs}")
        if self.chunk_tokens <= self.max_seqs - 1:
            raise SpecError(
                f"chunk_tokens ({self.chunk_tokens}) must be at least max_seqs ({self.max_seqs}), "
                "else a full batch never prefills"
            )
        if self.kv_tokens < 1:
            raise SpecError(f"kv_tokens must be positive, got {self.kv_tokens}")
        if self.base_ps[-1][1] == self.kv_ps == self.prefill_ps == 0:
            raise SpecError("every cost is zero: such an engine would make infinitely many tokens at once")

    def base_table(self) -> tuple[int, ...]:
        """base(B) for B = 0 … max_seqs, in ps, rounded to the nearest."""
        return tuple(_base_at(self.base_ps, batch) for batch in range(self.max_seqs + 1))


@dataclass(frozen=True, slots=True)
class RemoteSpec:
    """A hosted API: each stream runs at min(r_max, R/n) tokens/s.

    Attributes:
        token_ps_min: ps per token of one stream alone, 1/r_max.
        token_ps_shared: ps per token of the whole service, 1/R; n streams each need at least n times as long.
        concurrency_max: most streams served at once; more wait in line.
        entry_ns: from the submission until the prompt is read in: network and queueing at the host.
        prefill_ps: ps per prompt token until the first token.
        context_max: most tokens, prompt and answer, of one request.
    """

    token_ps_min: int
    token_ps_shared: int
    concurrency_max: int
    entry_ns: int = 0
    prefill_ps: int = 0
    context_max: int = KV_UNBOUNDED

    def __post_init__(self) -> None:
        if self.token_ps_min <= 0:
            raise SpecError(f"token_ps_min must be positive, got {self.token_ps_min}")
        if min(self.token_ps_shared, self.entry_ns, self.prefill_ps) < 0:
            raise SpecError(f"costs and delays must not be negative: {self}")
        if max(self.token_ps_min, self.token_ps_shared, self.prefill_ps) > STEP_PS_MAX:
            raise SpecError(f"a cost per token above {STEP_PS_MAX} ps: check the unit, costs are picoseconds")
        if not 1 <= self.concurrency_max <= SEQS_MAX or self.context_max < 1:
            raise SpecError(f"concurrency_max must be 1 to {SEQS_MAX} and context_max positive: {self}")

    def token_ps(self, streams: int) -> int:
        """Picoseconds per token of each of ``streams`` streams.

        >>> RemoteSpec(token_ps_min=400, token_ps_shared=100, concurrency_max=64).token_ps(streams=8)
        800
        """
        return max(self.token_ps_min, streams * self.token_ps_shared)


EngineSpec = BatchSpec | RemoteSpec


def remote_spec(
    speed_tok_s: float, throughput_tok_s: float, concurrency_max: int, *, ttft_base_us: float, prefill_tok_s: float
) -> RemoteSpec:
    """A hosted API from what its seller declares.

    Args:
        speed_tok_s: tokens per second of one stream, r_max.
        throughput_tok_s: tokens per second of all streams together, R.
        concurrency_max: streams at once.
        ttft_base_us: µs to the first token beyond reading the prompt.
        prefill_tok_s: prompt tokens read per second.

    Raises:
        SpecError: a speed that is not positive, or a delay below zero.
    """
    if min(speed_tok_s, throughput_tok_s, prefill_tok_s) <= 0 or ttft_base_us < 0:
        raise SpecError(
            f"speeds must be positive and ttft_base_us not negative, got {speed_tok_s}, {throughput_tok_s}, "
            f"{prefill_tok_s} tok/s and {ttft_base_us} µs"
        )
    return RemoteSpec(
        token_ps_min=round(PS_PER_S / speed_tok_s),
        token_ps_shared=round(PS_PER_S / throughput_tok_s),
        concurrency_max=concurrency_max,
        entry_ns=round(ttft_base_us * 1_000),
        prefill_ps=round(PS_PER_S / prefill_tok_s),
    )


PS_PER_S = 10**12


def spec_document(spec: EngineSpec) -> dict[str, Any]:
    """The JSON-ready form of a spec; :func:`read_spec` reads it back."""
    kind = "continuous_batch" if isinstance(spec, BatchSpec) else "remote_api"
    fields = {name: getattr(spec, name) for name in type(spec).__slots__}
    if isinstance(spec, BatchSpec):
        fields["base_ps"] = [list(knot) for knot in spec.base_ps]
    return {"kind": kind, **fields}


def read_spec(document: Mapping[str, Any]) -> EngineSpec:
    """Reads a spec's JSON form.

    Raises:
        SpecError: an unknown kind or field, a missing one, or values that are not whole numbers.
    """
    fields = {name: value for name, value in document.items() if name != "kind"}
    kind = document.get("kind")
    if kind not in _SPECS:
        raise SpecError(f"engine kind {kind!r} is unknown; known are {', '.join(_SPECS)}")
    if kind == "continuous_batch":
        fields["base_ps"] = _read_knots(fields.get("base_ps"))
    whole = {name: value for name, value in fields.items() if name != "base_ps"}
    for name, value in whole.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise SpecError(f"{name} must be a whole number, got {value!r}")
    try:
        return _SPECS[kind](**fields)
    except TypeError as error:
        raise SpecError(f"engine {kind}: {error}") from error


_SPECS: dict[str, type[BatchSpec] | type[RemoteSpec]] = {"continuous_batch": BatchSpec, "remote_api": RemoteSpec}


def _read_knots(value: object) -> tuple[tuple[int, int], ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise SpecError("base_ps must be a list of [batch, picoseconds] pairs")
    knots: list[tuple[int, int]] = []
    for knot in value:
        match knot:
            case [int(batch), int(ps)]:
                knots.append((batch, ps))
            case _:
                raise SpecError(f"base_ps must hold [batch, picoseconds] pairs of whole numbers, got {knot!r}")
    return tuple(knots)


def _check_knots(knots: tuple[tuple[int, int], ...]) -> None:
    if not knots:
        raise SpecError("base_ps needs at least one knot (batch, picoseconds)")
    if knots[0][0] < 0 or knots[0][1] < 0:
        raise SpecError(f"base_ps must start at or above 0, got {knots[0]}")
    if any(b[0] <= a[0] or b[1] < a[1] for a, b in pairwise(knots)):
        raise SpecError(f"base_ps must rise in batch and never fall in time, got {knots}")
    if knots[-1][1] > STEP_PS_MAX:
        raise SpecError(f"a step above {STEP_PS_MAX} ps: check the unit, base_ps is picoseconds")


def _base_at(knots: tuple[tuple[int, int], ...], batch: int) -> int:
    if batch <= knots[0][0] or len(knots) == 1:
        return knots[0][1]
    for (b0, t0), (b1, t1) in pairwise(knots):
        if batch <= b1 or b1 == knots[-1][0]:
            return t0 + _nearest((t1 - t0) * (batch - b0), b1 - b0)
    raise AssertionError


def _nearest(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)
