"""The engine models against queueing theory: closed formulas that know nothing of our code.

An engine whose step costs ``b`` per sequence is egalitarian processor sharing; one whose step costs a constant, with
room for k sequences, is an M/M/k queue in slotted time; a remote API with R = r_max is processor sharing too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import factorial

import numpy as np
import pytest
from numpy.typing import NDArray

from providers.engine_model.batch import ContinuousBatch
from providers.engine_model.engine import Engine
from providers.engine_model.remote import RemoteApi
from providers.engine_model.spec import BatchSpec, RemoteSpec

Array = NDArray[np.float64]
STEP_PS = 1_000_000
MEAN_TOKENS = 200
REQUESTS = 12_000


@dataclass(frozen=True)
class Served:
    """Seconds of each request in order of arrival."""

    arrived: Array
    first: Array
    ended: Array
    tokens: NDArray[np.int64]


def serve(engine: Engine, arrivals_ns: NDArray[np.int64], tokens: NDArray[np.int64]) -> Served:
    first, ended = np.zeros(len(tokens)), np.zeros(len(tokens))
    for key, (at_ns, output) in enumerate(zip(arrivals_ns.tolist(), tokens.tolist(), strict=True)):
        engine.submit(key, 1, output, at_ns)
    for done in engine.advance(int(arrivals_ns[-1]) + 10**13):
        first[done.key], ended[done.key] = done.token_ns[0], done.token_ns[-1]
    assert engine.next_event() is None
    return Served(arrivals_ns / 1e9, first / 1e9, ended / 1e9, tokens)


def geometric(rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.geometric(1 / MEAN_TOKENS, REQUESTS).astype(np.int64)


def constant(rng: np.random.Generator) -> NDArray[np.int64]:
    del rng
    return np.full(REQUESTS, MEAN_TOKENS, dtype=np.int64)


def long_tailed(rng: np.random.Generator) -> NDArray[np.int64]:
    """Nine in ten answers are short, one in ten is eleven times as long: squared coefficient of variation about 5."""
    means = np.where(rng.random(REQUESTS) < 0.9, MEAN_TOKENS * 0.5, MEAN_TOKENS * 5.5)
    return rng.geometric(1 / means).astype(np.int64)


def poisson_ns(rng: np.random.Generator, rate_s: float) -> NDArray[np.int64]:
    return np.cumsum(rng.exponential(1e9 / rate_s, REQUESTS)).astype(np.int64)


def mean_and_halfwidth(values: Array, batches: int = 20) -> tuple[float, float]:
    """Mean after a tenth of warm-up, and half of its 99 % confidence interval from batch means."""
    kept = values[len(values) // 10 :]
    means = kept[: len(kept) // batches * batches].reshape(batches, -1).mean(axis=1)
    return float(means.mean()), 2.86 * float(means.std(ddof=1)) / batches**0.5


def sharing_batch() -> Engine:
    return ContinuousBatch(
        BatchSpec(base_ps=((0, 0), (4096, 4096 * STEP_PS)), kv_ps=0, prefill_ps=1, chunk_tokens=4096, max_seqs=4096)
    )


def sharing_remote() -> Engine:
    return RemoteApi(RemoteSpec(STEP_PS, STEP_PS, concurrency_max=4096))


@pytest.mark.parametrize(
    ("engine", "lengths", "load"),
    [
        pytest.param(sharing_batch, geometric, 0.3, marks=pytest.mark.slow),
        pytest.param(sharing_batch, geometric, 0.7, marks=pytest.mark.slow),
        pytest.param(sharing_batch, constant, 0.7, marks=pytest.mark.slow),
        (sharing_batch, long_tailed, 0.7),
        pytest.param(sharing_remote, long_tailed, 0.3, marks=pytest.mark.slow),
        (sharing_remote, geometric, 0.7),
    ],
)
def test_processor_sharing_takes_service_over_one_minus_load_whatever_the_lengths(
    engine: Callable[[], Engine], lengths: Callable[[np.random.Generator], NDArray[np.int64]], load: float
) -> None:
    """M/G/1-PS: E[T] = E[S]/(1 − ρ), insensitive to the distribution of S."""
    rng = np.random.default_rng(11)
    tokens = lengths(rng)
    service_s = float(tokens.mean()) * STEP_PS / 1e12
    served = serve(engine(), poisson_ns(rng, load / service_s), tokens)
    mean, halfwidth = mean_and_halfwidth(served.ended - served.arrived)
    assert mean == pytest.approx(service_s / (1 - load), rel=0.02, abs=halfwidth)


@pytest.mark.slow
def test_under_processor_sharing_the_slowdown_is_the_same_for_short_and_long_answers() -> None:
    rng = np.random.default_rng(5)
    tokens = geometric(rng)
    service = tokens * STEP_PS / 1e12
    served = serve(sharing_batch(), poisson_ns(rng, 0.5 / float(service.mean())), tokens)
    took = served.ended - served.arrived
    short, long = tokens < MEAN_TOKENS / 2, tokens > 2 * MEAN_TOKENS
    for group in (short, long):
        assert float(took[group].sum() / service[group].sum()) == pytest.approx(2.0, rel=0.06)


@pytest.mark.parametrize(
    ("places", "load"),
    [pytest.param(1, 0.5, marks=pytest.mark.slow), (4, 0.8), pytest.param(16, 0.8, marks=pytest.mark.slow)],
)
def test_a_batch_of_k_places_with_constant_steps_waits_like_erlang_c(places: int, load: float) -> None:
    """M/M/k: W_q = C(k, kρ)·S/(k(1 − ρ)); a newcomer also waits half a step for the iteration under way, and one."""
    rng = np.random.default_rng(7)
    tokens = geometric(rng)
    service_s = float(tokens.mean()) * STEP_PS / 1e12
    spec = BatchSpec(base_ps=((0, STEP_PS),), kv_ps=0, prefill_ps=0, chunk_tokens=4096, max_seqs=places)
    served = serve(ContinuousBatch(spec), poisson_ns(rng, load * places / service_s), tokens)
    wait, halfwidth = mean_and_halfwidth(served.first - served.arrived - STEP_PS / 1e12)
    expected = erlang_c(places, load * places) * service_s / (places * (1 - load))
    assert wait == pytest.approx(expected, rel=0.05, abs=halfwidth + STEP_PS / 1e12)


def erlang_c(servers: int, offered: float) -> float:
    below = sum(offered**j / factorial(j) for j in range(servers))
    full = offered**servers / factorial(servers) / (1 - offered / servers)
    return full / (below + full)


def test_first_come_first_served_with_constant_lengths_waits_like_pollaczek_khinchine() -> None:
    """M/D/1: W = ρ·S/(2(1 − ρ))."""
    rng = np.random.default_rng(3)
    tokens = constant(rng)
    service_s, load = MEAN_TOKENS * STEP_PS / 1e12, 0.6
    spec = BatchSpec(base_ps=((0, STEP_PS),), kv_ps=0, prefill_ps=0, chunk_tokens=8, max_seqs=1)
    served = serve(ContinuousBatch(spec), poisson_ns(rng, load / service_s), tokens)
    wait, halfwidth = mean_and_halfwidth(served.ended - served.arrived - service_s)
    assert wait == pytest.approx(load * service_s / (2 * (1 - load)), rel=0.03, abs=halfwidth)


def test_littles_law_holds_to_the_nanosecond() -> None:
    """∫N dt, from the engine's own snapshots at every change, equals Σ of the times in the system."""
    rng = np.random.default_rng(2)
    engine = ContinuousBatch(BatchSpec(((1, 5_000), (8, 9_000)), 3, 7, chunk_tokens=64, max_seqs=8))
    arrivals = np.cumsum(rng.integers(50, 3_000, 2_000)).tolist()
    area = last_ns = in_system = total_ns = 0

    def pass_to(at_ns: int) -> None:
        nonlocal area, last_ns, in_system, total_ns
        while (event := engine.next_event()) is not None and event <= at_ns:
            for done in engine.advance(event):
                end_ns = int(done.token_ns[-1])
                area += in_system * (end_ns - last_ns)
                last_ns, in_system = end_ns, in_system - 1
                total_ns += end_ns - arrivals[done.key]

    for key, at_ns in enumerate(arrivals):
        pass_to(at_ns - 1)
        held = engine.snapshot(at_ns - 1)
        assert held.running + held.waiting == in_system
        engine.submit(key, int(rng.integers(1, 90)), int(rng.integers(1, 60)), at_ns)
        area += in_system * (at_ns - last_ns)
        last_ns, in_system = at_ns, in_system + 1
    pass_to(10**15)
    assert in_system == 0
    assert area == total_ns


def test_a_saturated_batch_delivers_what_its_step_time_allows_and_no_more() -> None:
    """With n_max places always full and constant lengths: throughput = n_max/(O·step) requests/s."""
    places, tokens, requests = 16, 200, 800
    spec = BatchSpec(((0, 2 * STEP_PS), (16, 10 * STEP_PS)), 0, 0, chunk_tokens=4096, max_seqs=places)
    served = serve(ContinuousBatch(spec), np.zeros(requests, dtype=np.int64), np.full(requests, tokens, dtype=np.int64))
    rate_s = requests / float(served.ended.max())
    limit_s = places / (tokens * 10 * STEP_PS / 1e12)
    assert rate_s == pytest.approx(limit_s, rel=0.03)
    assert rate_s <= limit_s * 1.01


def test_the_load_curve_rises_with_the_load() -> None:
    spec = BatchSpec(((4, 3_500_000_000), (64, 9_000_000_000)), 500, 10_000_000, chunk_tokens=8192, max_seqs=64)
    tpots: list[float] = []
    for n in (1, 2, 4, 8, 16, 32, 64):
        engine = ContinuousBatch(spec)
        for key in range(n):
            engine.submit(key, 500, 300, 0)
        done = engine.advance(10**13)
        tpots.append(float(np.mean([d.token_ns[-1] - d.token_ns[0] for d in done])) / 299)
    assert tpots == sorted(tpots)
    assert tpots[-1] > 2 * tpots[0]
