"""The batching engine against real vLLM 0.19 runs: fitted on every other request, it predicts the ones between.

300 requests each, measured by CASYS Lab KAIST (LLMServingSim, MIT); engine limits are those the runs were started with.
"""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from providers.engine_model.batch import ContinuousBatch
from providers.engine_model.spec import KV_UNBOUNDED, BatchSpec

RUNS = Path(__file__).parents[3] / "../shared/data/engine_runs"
Array = NDArray[np.float64]


def measured(name: str) -> Array:
    """Columns: arrival, prompt tokens, answer tokens, first token, last token; seconds since the first arrival."""
    with gzip.open(RUNS / f"{name}.requests.jsonl.gz", "rt") as file:
        rows = sorted((json.loads(line) for line in file), key=lambda row: row["queued_ts"])
    start = rows[0]["queued_ts"]
    return np.array(
        [
            [
                row["queued_ts"] - start,
                row["input_toks"],
                row["output_toks"],
                row["first_token_ts"] - start,
                row["last_token_ts"] - start,
            ]
            for row in rows
        ]
    )


def predicted(run: Array, costs_s: Array, replicas: int) -> tuple[Array, Array]:
    """First and last token of every request, for costs (a, b, kv, prefill) in seconds; replicas take turns."""
    a, b, kv, prefill = np.abs(costs_s)
    base = ((0, round(a * 1e12)), (128, round((a + 128 * b) * 1e12)))
    spec = BatchSpec(base, round(kv * 1e12), round(prefill * 1e12), 2_048, 128, KV_UNBOUNDED)
    engines = [ContinuousBatch(spec) for _ in range(replicas)]
    for key, (at_s, prompt, answer, *_) in enumerate(run.tolist()):
        engines[key % replicas].submit(key, int(prompt), int(answer), int(at_s * 1e9))
    first, last = np.zeros(len(run)), np.zeros(len(run))
    for engine in engines:
        for done in engine.advance(10**13):
            first[done.key], last[done.key] = done.token_ns[0] / 1e9, done.token_ns[-1] / 1e9
    return first, last


def tpot(run: Array, first: Array, last: Array) -> Array:
    return (last - first) / np.maximum(run[:, 2] - 1, 1)


@pytest.mark.slow
@pytest.mark.skipif(not RUNS.exists(), reason="the shared engine runs are not beside this checkout")
@pytest.mark.parametrize(
    ("name", "replicas", "ttft_rel"),
    [("RTXPRO6000_Llama-3.1-8B", 1, 0.05), ("RTXPRO6000_Qwen3-30B-A3B-Instruct-2507", 2, 0.25)],
)
def test_half_of_a_real_run_predicts_the_other_half(name: str, replicas: int, ttft_rel: float) -> None:
    run = measured(name)
    true_tpot, true_e2e = tpot(run, run[:, 3], run[:, 4]), run[:, 4] - run[:, 0]

    def loss(costs_s: Array) -> float:
        first, last = predicted(run, costs_s, replicas)
        errors = np.abs(np.log(tpot(run, first, last) / true_tpot)) + np.abs(np.log((last - run[:, 0]) / true_e2e))
        return float(errors[::2].mean())

    start = np.array([2e-2, 5e-5, 1e-7, 5e-5])
    found = minimize(loss, start, method="Nelder-Mead", options={"maxiter": 260, "xatol": 1e-9, "fatol": 1e-5})
    first, last = predicted(run, found.x, replicas)
    other = slice(1, None, 2)
    assert tpot(run, first, last)[other].mean() == pytest.approx(true_tpot[other].mean(), rel=0.03)
    assert (last - run[:, 0])[other].mean() == pytest.approx(true_e2e[other].mean(), rel=0.03)
    assert (first - run[:, 0])[other].mean() == pytest.approx((run[:, 3] - run[:, 0])[other].mean(), rel=ttft_rel)
