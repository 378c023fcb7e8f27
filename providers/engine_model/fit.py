"""From a measured load curve to an engine: non-negative least squares on what its step times must have been.

At a steady load of n requests with prompts of I and answers of O tokens, each step decodes n sequences, carries
``n·(I + O/2)`` resident tokens and computes ``n·I/O`` prompt tokens, so

    ``TPOT(n) = base(n) + n·[kv·(I + O/2) + prefill·I/O]``
    ``TTFT(n_min) = entry + (⌈I/chunk⌉ + wait)·base(n_min) + prefill·I``

with ``wait`` = ½ step when others already run at the smallest load measured, else 0. Rows are weighed by what was
measured, so residuals are relative. ``base`` is either the line a + b·n or, by default, a curve that never falls with
one knot per load measured: step times of mixture-of-experts models bend, and the line misses them by 10 % and more.

The data of one length class cannot tell the cost of resident tokens from that of sequences. A column that adds nothing
to the rank of those before it (base, prefill, entry, kv in this order) is left out, its parameter is 0, and the fit
says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from providers.engine_model.engine import NS_PER_US
from providers.engine_model.spec import KV_UNBOUNDED, BatchSpec

PS_PER_US = 1_000_000
CHUNK_TOKENS_ASSUMED = 8_192
LOADS_MAX = 10_000
_RANK_TOLERANCE = 1e-9

Matrix = NDArray[np.float64]


class FitError(ValueError):
    """A load curve no engine can be fitted to: empty, unequal lengths, or figures that are not positive."""


@dataclass(frozen=True, slots=True)
class LoadCurve:
    """What was measured at rising loads with one mix of lengths.

    Attributes:
        concurrency: requests in flight, rising, from 1. Shape (points,).
        tpot_us: mean µs per token after the first. Shape (points,).
        ttft_us: µs to the first token. Shape (points,).
        isl, osl: mean tokens of prompt and answer as really run.
    """

    concurrency: tuple[int, ...]
    tpot_us: tuple[float, ...]
    ttft_us: tuple[float, ...]
    isl: float
    osl: float

    def __post_init__(self) -> None:
        points = len(self.concurrency)
        if not 1 <= points <= LOADS_MAX or not points == len(self.tpot_us) == len(self.ttft_us):
            raise FitError(
                f"a load curve needs 1 to {LOADS_MAX} points of each figure, got {points} loads, "
                f"{len(self.tpot_us)} TPOT and {len(self.ttft_us)} TTFT"
            )
        if self.concurrency[0] < 1 or any(b <= a for a, b in pairwise(self.concurrency)):
            raise FitError(f"loads must rise from 1 or more, got {self.concurrency}")
        figures = (*self.tpot_us, *self.ttft_us, self.isl, self.osl)
        if not all(np.isfinite(figure) and figure > 0 for figure in figures):
            raise FitError(f"TPOT, TTFT and lengths must be positive numbers: {self}")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the engine was started with; None where the data do not say.

    Attributes:
        max_seqs: most sequences in a batch; else the largest load measured.
        chunk_tokens: most tokens of a step; else 8,192.
        kv_tokens: tokens the cache holds; else unbounded.
    """

    max_seqs: int | None = None
    chunk_tokens: int | None = None
    kv_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Residual:
    """How the fitted formula compares with one measured point: fitted over measured, less one."""

    isl: float
    osl: float
    concurrency: int
    tpot: float


@dataclass(frozen=True, slots=True)
class Fit:
    """An engine and how well the data carry it.

    Attributes:
        unidentified: parameters that the data cannot tell; they are 0 and their share sits in the others.
        assumed: limits that the data do not state.
        residuals: one per measured point.
    """

    spec: BatchSpec
    unidentified: tuple[str, ...]
    assumed: tuple[str, ...]
    residuals: tuple[Residual, ...]

    @property
    def tpot_error_median(self) -> float:
        """Median of the absolute relative errors of TPOT."""
        return float(np.median([abs(residual.tpot) for residual in self.residuals]))

    @property
    def tpot_error_max(self) -> float:
        """Largest absolute relative error of TPOT."""
        return max(abs(residual.tpot) for residual in self.residuals)


def fit(
    curves: Sequence[LoadCurve], limits: Limits | None = None, *, prefill_tok_s: float | None = None, knots: bool = True
) -> Fit:
    """Fits an engine to one deployment's load curves.

    Args:
        curves: one per length class measured, all of one configuration.
        limits: what the engine was started with.
        prefill_tok_s: prompt tokens per second, where it is known from elsewhere. It is fitted where it is not, or
            where the first tokens measured came sooner than it allows.
        knots: False for the plain line a + b·n.

    Raises:
        FitError: no curves, or a prefill speed that is not positive.

    >>> line = LoadCurve((1, 2, 4), (11.0, 12.0, 14.0), (60.0, 61.0, 63.0), isl=100, osl=100)
    >>> fitted = fit([line], Limits(max_seqs=8, chunk_tokens=512), knots=False)
    >>> fitted.unidentified, round(fitted.tpot_error_max, 6)
    (('entry', 'kv'), 0.0)
    """
    if not curves:
        raise FitError("nothing to fit: give at least one load curve")
    if prefill_tok_s is not None and prefill_tok_s <= 0:
        raise FitError(f"prefill_tok_s must be positive, got {prefill_tok_s}")
    bounds, assumed = _bounds(curves, limits or Limits())
    loads = sorted({n for curve in curves for n in curve.concurrency})
    columns, measured = _system(curves, loads, bounds.chunk_tokens or CHUNK_TOKENS_ASSUMED, knots=knots)
    found = None if prefill_tok_s is None else _solve_knowing(1e6 / prefill_tok_s, columns, measured)
    costs_us, unidentified = found or _solve(columns, measured)
    spec = _spec(costs_us, loads, bounds, knots=knots)
    return Fit(spec, unidentified, assumed, tuple(residual for c in curves for residual in _residuals(spec, c)))


def tpot_us(spec: BatchSpec, concurrency: int, isl: float, osl: float) -> float:
    """TPOT of a steady load by the formula, in µs; what the engine itself gives in the mean."""
    batch = min(concurrency, spec.max_seqs)
    shared_ps = batch * (spec.kv_ps * (isl + osl / 2) + spec.prefill_ps * isl / osl)
    return (spec.base_table()[batch] + shared_ps) / PS_PER_US


def _bounds(curves: Sequence[LoadCurve], limits: Limits) -> tuple[Limits, tuple[str, ...]]:
    assumed = tuple(name for name in ("max_seqs", "chunk_tokens", "kv_tokens") if getattr(limits, name) is None)
    max_seqs = limits.max_seqs or max(curve.concurrency[-1] for curve in curves)
    chunk_tokens = limits.chunk_tokens or max(CHUNK_TOKENS_ASSUMED, max_seqs)
    kv_tokens = limits.kv_tokens or KV_UNBOUNDED
    return replace(limits, max_seqs=max_seqs, chunk_tokens=chunk_tokens, kv_tokens=kv_tokens), assumed


def _system(
    curves: Sequence[LoadCurve], loads: Sequence[int], chunk_tokens: int, *, knots: bool
) -> tuple[dict[str, Matrix], Matrix]:
    """The rows of all curves: named columns, each of shape (rows, parameters), and the right side of shape (rows,)."""
    rows: dict[str, list[Sequence[float]]] = {"base": [], "prefill": [], "entry": [], "kv": []}
    measured: list[float] = []
    for curve in curves:
        isl, osl = curve.isl, curve.osl
        for n, tpot in zip(curve.concurrency, curve.tpot_us, strict=True):
            _add_row(rows, _base_row(loads, n, 1.0, knots=knots), (n * isl / osl, 0.0, n * (isl + osl / 2)))
            measured.append(tpot)
        first = curve.concurrency[0]
        steps = -(-isl // chunk_tokens) + (0.5 if first > 1 else 0.0)
        _add_row(rows, _base_row(loads, first, steps, knots=knots), (isl, 1.0, 0.0))
        measured.append(curve.ttft_us[0])
    return {name: np.array(values, dtype=np.float64) for name, values in rows.items()}, np.array(measured)


def _add_row(rows: dict[str, list[Sequence[float]]], base: Sequence[float], rest: tuple[float, float, float]) -> None:
    rows["base"].append(base)
    for name, value in zip(("prefill", "entry", "kv"), rest, strict=True):
        rows[name].append((value,))


def _base_row(loads: Sequence[int], n: int, steps: float, *, knots: bool) -> Sequence[float]:
    """How often each rise of the base counts in ``steps`` steps at load ``n``."""
    if not knots:
        return (steps, steps * n)
    return tuple(steps if load <= n else 0.0 for load in loads)


def _solve_knowing(
    prefill_us: float, columns: dict[str, Matrix], measured: Matrix
) -> tuple[dict[str, Matrix], tuple[str, ...]] | None:
    """Solves with a known cost of prompt tokens: TPOT tells the steps, TTFT what is left for the entry.

    None where nothing is left: then the known cost and the first tokens measured contradict each other.
    """
    is_ttft = columns["entry"][:, 0] > 0
    prefill = columns["prefill"][:, 0] * prefill_us
    steps = {name: columns[name][~is_ttft] for name in ("base", "kv")}
    costs, unidentified = _solve(steps, (measured - prefill)[~is_ttft], measured[~is_ttft])
    left_us = (measured - prefill - columns["base"] @ costs["base"])[is_ttft]
    if float(left_us.min()) < 0:
        return None
    return costs | {"prefill": np.array([prefill_us]), "entry": np.array([left_us.mean()])}, unidentified


def _solve(
    columns: dict[str, Matrix], explained: Matrix, measured: Matrix | None = None
) -> tuple[dict[str, Matrix], tuple[str, ...]]:
    """Solves for every parameter that the rows can tell, in µs; each row weighs by what was measured."""
    weight = explained if measured is None else measured
    scaled = {name: column / weight[:, None] for name, column in columns.items()}
    used: list[str] = []
    for name, column in scaled.items():
        if name == "base" or _adds_rank([scaled[earlier] for earlier in used], column):
            used.append(name)
    matrix = np.hstack([scaled[name] for name in used])
    scale = np.maximum(np.abs(matrix).max(axis=0), np.finfo(np.float64).tiny)
    found, _ = nnls(matrix / scale, explained / weight)
    found = found / scale
    costs: dict[str, Matrix] = {}
    at = 0
    for name in used:
        width = scaled[name].shape[1]
        costs[name] = found[at : at + width]
        at += width
    unidentified = tuple(name for name in scaled if name not in used)
    return costs | {name: np.zeros(1) for name in unidentified}, unidentified


def _adds_rank(before: list[Matrix], column: Matrix) -> bool:
    basis = np.hstack(before)
    basis = basis / np.maximum(np.linalg.norm(basis, axis=0), np.finfo(np.float64).tiny)
    unit = column[:, 0] / max(float(np.linalg.norm(column)), np.finfo(np.float64).tiny)
    nearest, *_ = np.linalg.lstsq(basis, unit, rcond=None)
    return float(np.linalg.norm(unit - basis @ nearest)) > _RANK_TOLERANCE


def _spec(costs_us: dict[str, Matrix], loads: Sequence[int], bounds: Limits, *, knots: bool) -> BatchSpec:
    max_seqs = bounds.max_seqs or loads[-1]
    if knots:
        base_us = np.cumsum(costs_us["base"])
        base = tuple((load, round(float(us) * PS_PER_US)) for load, us in zip(loads, base_us, strict=True))
    else:
        start_us, slope_us = (float(value) for value in costs_us["base"])
        ends = (0, max(max_seqs, 1))
        base = tuple((batch, round((start_us + slope_us * batch) * PS_PER_US)) for batch in ends)
    return BatchSpec(
        base_ps=base,
        kv_ps=round(float(costs_us["kv"][0]) * PS_PER_US),
        prefill_ps=round(float(costs_us["prefill"][0]) * PS_PER_US),
        chunk_tokens=bounds.chunk_tokens or CHUNK_TOKENS_ASSUMED,
        max_seqs=max_seqs,
        kv_tokens=bounds.kv_tokens or KV_UNBOUNDED,
        entry_ns=round(float(costs_us["entry"][0]) * NS_PER_US),
    )


def _residuals(spec: BatchSpec, curve: LoadCurve) -> list[Residual]:
    return [
        Residual(curve.isl, curve.osl, n, tpot_us(spec, n, curve.isl, curve.osl) / measured - 1)
        for n, measured in zip(curve.concurrency, curve.tpot_us, strict=True)
    ]
