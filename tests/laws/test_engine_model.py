"""Laws of the engine models: the closed-form skip equals an engine that takes every iteration, and nothing is lost."""

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.engine_model.batch import ContinuousBatch
from providers.engine_model.remote import RemoteApi
from providers.engine_model.spec import BatchSpec, RemoteSpec


@dataclass
class Request:
    key: int
    input_tokens: int
    output_tokens: int
    at_ns: int
    cancel_ns: int | None = None
    tokens_ps: list[int] = field(default_factory=list[int])
    prefilled: int = 0
    cancelled: bool = False

    @property
    def is_done(self) -> bool:
        return self.cancelled or len(self.tokens_ps) == self.output_tokens


def every_iteration(spec: BatchSpec, requests: list[Request]) -> None:
    """An independent engine: one loop turn per iteration, nothing skipped."""
    base = spec.base_table()
    waiting = sorted(requests, key=lambda r: (r.at_ns, r.key))
    batch: list[Request] = []
    now_ps = 0
    while waiting or batch:
        if not batch:
            now_ps = max(now_ps, (waiting[0].at_ns + spec.entry_ns) * 1000)
        waiting = [r for r in waiting if not gone(r, now_ps)]
        batch = [r for r in batch if not gone(r, now_ps)]
        while waiting and (waiting[0].at_ns + spec.entry_ns) * 1000 <= now_ps and fits(spec, batch, waiting[0]):
            batch.append(waiting.pop(0))
        if batch:
            decoding = [r for r in batch if r.tokens_ps]
            resident = sum(r.prefilled + len(r.tokens_ps) for r in batch)
            shares = prefill_shares(batch, spec.chunk_tokens - len(decoding))
            computed = sum(share for _, share in shares)
            now_ps += max(1, base[len(decoding)] + spec.kv_ps * resident + spec.prefill_ps * computed)
            make_tokens(decoding, shares, now_ps)
            batch = [r for r in batch if not r.is_done]


def fits(spec: BatchSpec, batch: list[Request], newcomer: Request) -> bool:
    tokens = sum(r.input_tokens + r.output_tokens for r in (*batch, newcomer))
    return len(batch) < spec.max_seqs and tokens <= spec.kv_tokens


def prefill_shares(batch: list[Request], budget: int) -> list[tuple[Request, int]]:
    shares: list[tuple[Request, int]] = []
    for r in batch:
        if not r.tokens_ps:
            share = min(r.input_tokens - r.prefilled, budget)
            budget -= share
            shares.append((r, share))
    return shares


def make_tokens(decoding: list[Request], shares: list[tuple[Request, int]], now_ps: int) -> None:
    for r in decoding:
        r.tokens_ps.append(now_ps)
    for r, share in shares:
        r.prefilled += share
        if r.prefilled == r.input_tokens:
            r.tokens_ps.append(now_ps)


def gone(request: Request, now_ps: int) -> bool:
    if request.cancel_ns is not None and request.cancel_ns * 1000 <= now_ps:
        request.cancelled = True
    return request.cancelled


def skipping(spec: BatchSpec | RemoteSpec, requests: list[Request]) -> dict[int, list[int]]:
    """Runs the engine under test through submissions and cancellations in time order."""
    engine = ContinuousBatch(spec) if isinstance(spec, BatchSpec) else RemoteApi(spec)
    moves = [(r.at_ns, 0, r) for r in requests]
    moves += [(r.cancel_ns, 1, r) for r in requests if r.cancel_ns is not None]
    times: dict[int, list[int]] = {}
    for at_ns, kind, r in sorted(moves, key=lambda move: (move[0], move[1], move[2].key)):
        if kind == 0:
            engine.submit(r.key, r.input_tokens, r.output_tokens, at_ns)
        else:
            made = engine.cancel(r.key, at_ns)
            if made is not None:
                times[r.key] = made.tolist()
    while (at_ns := engine.next_event()) is not None:
        for finished in engine.advance(at_ns):
            times[finished.key] = finished.token_ns.tolist()
    for finished in engine.advance(10**15):
        times[finished.key] = finished.token_ns.tolist()
    left = engine.snapshot(10**15)
    assert (left.running, left.waiting, left.kv_tokens, left.prefill_tokens) == (0, 0, 0, 0)
    return times


specs = st.builds(
    lambda knots, kv, prefill, seqs, chunk, kv_tokens, entry: BatchSpec(
        base_ps=tuple(zip(range(1, len(knots) + 1), sorted(knots), strict=True)),
        kv_ps=kv,
        prefill_ps=prefill,
        chunk_tokens=seqs + chunk,
        max_seqs=seqs,
        kv_tokens=kv_tokens,
        entry_ns=entry,
    ),
    st.lists(st.integers(1, 5_000), min_size=1, max_size=4),
    st.integers(0, 50),
    st.integers(0, 400),
    st.integers(1, 5),
    st.integers(0, 20),
    st.integers(60, 200),
    st.integers(0, 30),
)
traces = st.lists(
    st.tuples(st.integers(1, 40), st.integers(1, 20), st.integers(0, 300), st.one_of(st.none(), st.integers(0, 120))),
    min_size=1,
    max_size=14,
)


def requests_of(trace: list[tuple[int, int, int, int | None]]) -> list[Request]:
    ordered = sorted(trace, key=lambda row: row[2])
    return [
        Request(key, i, o, at, None if patience is None else at + patience)
        for key, (i, o, at, patience) in enumerate(ordered)
    ]


@settings(max_examples=150, deadline=None)
@given(specs, traces)
def test_skipping_ahead_equals_taking_every_iteration(
    spec: BatchSpec, trace: list[tuple[int, int, int, int | None]]
) -> None:
    expected = requests_of(trace)
    every_iteration(spec, expected)
    got = skipping(spec, requests_of(trace))
    for r in expected:
        until_ns = r.cancel_ns if r.cancel_ns is not None else 10**15
        exact = [-(-ps // 1000) for ps in r.tokens_ps if ps <= until_ns * 1000]
        assert got.get(r.key, []) == exact, r


@settings(max_examples=60, deadline=None)
@given(traces, st.integers(1, 6), st.integers(1, 3_000), st.integers(0, 3_000), st.integers(0, 20))
def test_a_remote_api_delivers_every_token_and_never_faster_than_declared(
    trace: list[tuple[int, int, int, int | None]], cap: int, token_ps: int, shared_ps: int, entry_ns: int
) -> None:
    spec = RemoteSpec(token_ps, shared_ps, cap, entry_ns=entry_ns, prefill_ps=100)
    requests = requests_of(trace)
    got = skipping(spec, requests)
    for r in requests:
        times = got.get(r.key, [])
        if r.cancel_ns is None:
            assert len(times) == r.output_tokens
        assert times == sorted(times)
        if times:
            assert times[0] >= r.at_ns + entry_ns
            # Each time is rounded up once, so a span may look at most 1 ns shorter than it is.
            assert (times[-1] - times[0] + 1) * 1000 >= (len(times) - 1) * token_ps


@settings(max_examples=60, deadline=None)
@given(specs, traces)
def test_tokens_made_so_far_agree_with_the_times_told_at_the_end(
    spec: BatchSpec, trace: list[tuple[int, int, int, int | None]]
) -> None:
    requests = [Request(r.key, r.input_tokens, r.output_tokens, r.at_ns) for r in requests_of(trace)]
    times = skipping(spec, requests)
    engine = ContinuousBatch(spec)
    for r in requests:
        engine.submit(r.key, r.input_tokens, r.output_tokens, r.at_ns)
    now_ns = requests[-1].at_ns
    live = {r.key for r in requests}
    while live:
        live -= {finished.key for finished in engine.advance(now_ns)}
        for key in live:
            assert engine.made(key, now_ns) == sum(at <= now_ns for at in times[key])
        following = engine.next_token(now_ns)
        assert following is None or following > now_ns
        now_ns = following or now_ns


@pytest.mark.parametrize("cap", [1, 3])
def test_equal_streams_share_a_remote_api_equally(cap: int) -> None:
    """Three streams of 4 tokens at R = 1 token/µs: together 3 µs a token; in line, one after another."""
    spec = RemoteSpec(token_ps_min=1_000_000, token_ps_shared=1_000_000, concurrency_max=cap)
    times = skipping(spec, [Request(key, 1, 4, 0) for key in range(3)])
    if cap == 3:
        assert times == {key: [0, 3_000, 6_000, 9_000] for key in range(3)}
    else:
        assert times == {
            key: [start, start + 1_000, start + 2_000, start + 3_000] for key, start in enumerate((0, 3_000, 6_000))
        }


def test_a_late_joiner_slows_a_remote_stream_from_its_first_token_on() -> None:
    """Alone 1 µs a token; B's first token at 2.5 µs halves the speed: A's next is half a token away, 1 µs later."""
    spec = RemoteSpec(token_ps_min=1_000_000, token_ps_shared=1_000_000, concurrency_max=2)
    times = skipping(spec, [Request(0, 1, 5, 0), Request(1, 1, 2, 2_500)])
    assert times[1] == [2_500, 4_500]
    # A: 0, 1, 2 µs; then 0.5 token left at 2 µs/token → 3.5; at 4.5 µs B is done with A half way → 4.5 + 0.5 = 5.
    assert times[0] == [0, 1_000, 2_000, 3_500, 5_000]


def test_times_do_not_drift_over_a_million_iterations() -> None:
    """Exact rationals: after K iterations the end is K·t0 + g·K(K−1)/2 to the picosecond, whatever K."""
    spec = BatchSpec(base_ps=((1, 1_234_567),), kv_ps=7, prefill_ps=11, chunk_tokens=8, max_seqs=1)
    engine = ContinuousBatch(spec)
    tokens = 1_000_001
    engine.submit(0, 3, tokens, 0)
    at_ns = engine.next_event()
    finished = []
    while at_ns is not None:
        finished += engine.advance(at_ns)
        at_ns = engine.next_event()
    first_ps = 1_234_567 + 3 * 11
    steps = tokens - 1
    end_ps = first_ps + steps * (1_234_567 + 7 * 4) + 7 * steps * (steps - 1) // 2
    assert int(finished[0].token_ns[-1]) == -(-Fraction(end_ps, 1000) // 1)
    assert len(finished[0].token_ns) == tokens
    assert bool(np.all(np.diff(finished[0].token_ns) > 0))
