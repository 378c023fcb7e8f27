"""A continuously batching engine in virtual time, with one event per change of the batch.

Between two changes nothing but the cache grows, so the iteration times form an arithmetic series: K iterations of B
sequences take ``K·t0 + g·K(K−1)/2`` with ``g = kv·B``, and the engine skips them in closed form. A submission cuts the
series at the next iteration's end. Whole picoseconds make the skip exact: the tests hold it against an engine that
takes every iteration.

Prompts are prefilled first come, first served within a step's token budget; the step that computes a prompt's last
token also makes the answer's first one, as vLLM, SGLang and TensorRT-LLM do with chunked prefill.
"""

import heapq
from collections import deque
from dataclasses import dataclass

import numpy as np

from providers.engine_model.engine import HORIZON_NS_MAX, PS_PER_NS, EngineError, EngineSnapshot, Finished, Nanos
from providers.engine_model.iterations import IterationLog, Run
from providers.engine_model.spec import BatchSpec

_IDLE = Run(0, 1, 0, 0)
_NO_TOKENS: Nanos = np.empty(0, dtype=np.int64)
_NEVER = -1


@dataclass(slots=True, eq=False)
class _Sequence:
    """A live request.

    Attributes:
        enters_ps: when the engine first sees it.
        order: how many were submitted before it.
        prefill_left: prompt tokens not yet computed.
        prefill_now: of those, how many the current step computes.
        first: iteration (from 0) that made its first token; _NEVER before.
        is_admitted: it holds a place in the batch and its share of the cache.
        is_gone: finished or cancelled; its heap entry is stale.
    """

    key: int
    input_tokens: int
    output_tokens: int
    enters_ps: int
    order: int
    prefill_left: int
    prefill_now: int = 0
    first: int = _NEVER
    is_admitted: bool = False
    is_gone: bool = False

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class ContinuousBatch:
    """An :class:`~providers.engine_model.engine.Engine` over a :class:`BatchSpec`."""

    def __init__(self, spec: BatchSpec) -> None:
        self._spec = spec
        self._base_ps = spec.base_table()
        self._log = IterationLog()
        self._live: dict[int, _Sequence] = {}
        self._entering: deque[_Sequence] = deque()
        self._waiting: deque[_Sequence] = deque()
        self._prefilling: list[_Sequence] = []
        self._ends: list[tuple[int, int, _Sequence]] = []
        self._leaving: list[_Sequence] = []
        self._finished: list[Finished] = []
        self._started: list[tuple[int, int]] = []
        self._decoding = 0
        self._kv_tokens = 0
        self._kv_reserved = 0
        self._iterations = 0
        self._submitted = 0
        self._now_ns = 0
        self._run = _IDLE
        self._run_ends_ps = 0
        self._resume_ps: int | None = None

    @property
    def tokens_max(self) -> int:
        """The most tokens, prompt and answer, that one request may have: the whole cache."""
        return self._spec.kv_tokens

    @property
    def iterations(self) -> int:
        """How many iterations the engine has completed."""
        return self._iterations

    def submit(self, key: int, input_tokens: int, output_tokens: int, at_ns: int) -> None:
        """Hands in a request; see :class:`~providers.engine_model.engine.Engine`."""
        if input_tokens < 1 or output_tokens < 1:
            raise EngineError(f"a request needs prompt and answer tokens, got {input_tokens} and {output_tokens}")
        if input_tokens + output_tokens > self._spec.kv_tokens:
            raise EngineError(
                f"{input_tokens} + {output_tokens} tokens exceed the cache of {self._spec.kv_tokens} tokens"
            )
        if key in self._live:
            raise EngineError(f"request {key} is already running")
        self._pass_to(at_ns, inclusive=False)
        enters_ps = (at_ns + self._spec.entry_ns) * PS_PER_NS
        sequence = _Sequence(key, input_tokens, output_tokens, enters_ps, self._submitted, prefill_left=input_tokens)
        self._submitted += 1
        self._live[key] = sequence
        self._entering.append(sequence)
        if self._has_room:
            self._cut_at(enters_ps)

    def cancel(self, key: int, at_ns: int) -> Nanos | None:
        """Ends a request; see :class:`~providers.engine_model.engine.Engine`."""
        self._pass_to(at_ns, inclusive=False)
        self._end_run_at(at_ns * PS_PER_NS)
        sequence = self._live.pop(key, None)
        if sequence is None:
            return None
        made = self._made(sequence, at_ns)
        sequence.is_gone = True
        if sequence.is_admitted and self._run.steps:
            self._leaving.append(sequence)
        elif sequence.is_admitted:
            self._leave(sequence)
        elif sequence in self._waiting:
            self._waiting.remove(sequence)
        else:
            self._entering.remove(sequence)
        self._cut_at(at_ns * PS_PER_NS)
        return self._token_times(sequence, made)

    def next_event(self) -> int | None:
        """When :meth:`advance` next has something to do, ns."""
        if self._finished:
            return self._now_ns
        at_ps = self._next_ps()
        return None if at_ps is None else -(-at_ps // PS_PER_NS)

    def advance(self, until_ns: int) -> list[Finished]:
        """Lets time pass; answers the requests that finished since the last call, in the order they did."""
        self._pass_to(until_ns, inclusive=True)
        finished, self._finished = self._finished, []
        return finished

    def take_started(self) -> list[tuple[int, int]]:
        """Key and ns of every first token made since the last call."""
        started, self._started = self._started, []
        return started

    def made(self, key: int, at_ns: int) -> int:
        """How many tokens of a live request were made by ``at_ns``."""
        sequence = self._live.get(key)
        return 0 if sequence is None else self._made(sequence, at_ns)

    def next_token(self, after_ns: int) -> int | None:
        """The end of the iteration under way at ``after_ns``; while idle, when work next begins."""
        if not self._run.steps:
            return self.next_event()
        ended = self._run.ended_by(after_ns * PS_PER_NS)
        return -(-self._run.end_ps(min(ended + 1, self._run.steps)) // PS_PER_NS)

    def snapshot(self, at_ns: int) -> EngineSnapshot:
        """What the engine holds at ``at_ns``."""
        self._pass_to(at_ns, inclusive=True)
        running = self._decoding + len(self._prefilling)
        ended = self._run.ended_by(at_ns * PS_PER_NS)
        return EngineSnapshot(
            running=running,
            waiting=len(self._entering) + len(self._waiting),
            kv_tokens=self._kv_tokens + ended * self._decoding,
            prefill_tokens=sum(
                sequence.prefill_left
                for queue in (self._entering, self._waiting, self._prefilling)
                for sequence in queue
            ),
        )

    def _pass_to(self, at_ns: int, *, inclusive: bool) -> None:
        if not self._now_ns <= at_ns <= HORIZON_NS_MAX:
            raise EngineError(f"time must run on from {self._now_ns} ns up to {HORIZON_NS_MAX}, got {at_ns}")
        limit_ps = at_ns * PS_PER_NS
        at_ps = self._next_ps()
        while at_ps is not None and (at_ps < limit_ps or (inclusive and at_ps == limit_ps)):
            if self._run.steps:
                self._end_run()
            self._begin_run(at_ps)
            at_ps = self._next_ps()
        self._now_ns = at_ns

    def _next_ps(self) -> int | None:
        if self._run.steps:
            return self._run_ends_ps
        if self._resume_ps is not None:
            return self._resume_ps
        return self._entering[0].enters_ps if self._entering else None

    def _cut_at(self, at_ps: int) -> None:
        """Ends the run under way at the first iteration that ends at or after ``at_ps``."""
        if self._run.steps > 1 and at_ps < self._run_ends_ps:
            self._set_run(self._run._replace(steps=self._run.first_end_at(at_ps)))

    @property
    def _has_room(self) -> bool:
        """Whether a newcomer might join the batch at the next iteration."""
        return not self._waiting and self._decoding + len(self._prefilling) < self._spec.max_seqs

    def _set_run(self, run: Run) -> None:
        self._run = run
        self._run_ends_ps = run.end_ps(run.steps)

    def _begin_run(self, at_ps: int) -> None:
        self._resume_ps = None
        self._admit(at_ps)
        if self._prefilling:
            self._begin_prefill(at_ps)
        elif self._decoding:
            while self._ends[0][2].is_gone:
                heapq.heappop(self._ends)
            spec = self._spec
            step_ps = self._base_ps[self._decoding] + spec.kv_ps * self._kv_tokens
            steps = self._ends[0][0] - self._iterations
            self._set_run(Run(at_ps, max(step_ps, 1), spec.kv_ps * self._decoding, steps))
            if self._entering and self._has_room:
                self._cut_at(self._entering[0].enters_ps)
        else:
            self._run = _IDLE

    def _begin_prefill(self, at_ps: int) -> None:
        spec = self._spec
        budget = spec.chunk_tokens - self._decoding
        for sequence in self._prefilling:
            sequence.prefill_now = min(sequence.prefill_left, budget)
            budget -= sequence.prefill_now
        tokens = spec.chunk_tokens - self._decoding - budget
        step_ps = self._base_ps[self._decoding] + spec.kv_ps * self._kv_tokens + spec.prefill_ps * tokens
        self._set_run(Run(at_ps, max(step_ps, 1), 0, 1))

    def _admit(self, at_ps: int) -> None:
        while self._entering and self._entering[0].enters_ps <= at_ps:
            self._waiting.append(self._entering.popleft())
        room = self._spec.max_seqs - self._decoding - len(self._prefilling)
        while self._waiting and room:
            sequence = self._waiting[0]
            if self._kv_reserved + sequence.tokens > self._spec.kv_tokens:
                return
            self._waiting.popleft()
            self._kv_reserved += sequence.tokens
            sequence.is_admitted = True
            self._prefilling.append(sequence)
            room -= 1

    def _end_run_at(self, at_ps: int) -> None:
        """Ends a run that is over at ``at_ps`` without beginning the next, so that who leaves now is not in it."""
        if self._run.steps and self._run_ends_ps == at_ps:
            self._end_run()
            self._run = _IDLE
            self._resume_ps = at_ps

    def _end_run(self) -> None:
        steps = self._run.steps
        if not self._log.has_room(steps):
            live = (sequence.first for _, _, sequence in self._ends if not sequence.is_gone)
            self._log.make_room(steps, min(live, default=self._iterations))
        self._log.append(self._run)
        self._iterations += steps
        self._kv_tokens += self._decoding * steps
        while self._ends and self._ends[0][0] <= self._iterations:
            sequence = heapq.heappop(self._ends)[2]
            if not sequence.is_gone:
                self._decoding -= 1
                self._finish(sequence)
        if self._prefilling:
            self._end_prefill()
        for sequence in self._leaving:
            self._leave(sequence)
        self._leaving.clear()

    def _end_prefill(self) -> None:
        still: list[_Sequence] = []
        for sequence in self._prefilling:
            self._kv_tokens += sequence.prefill_now
            sequence.prefill_left -= sequence.prefill_now
            sequence.prefill_now = 0
            if sequence.prefill_left:
                still.append(sequence)
            else:
                self._start_decode(sequence)
        self._prefilling = still

    def _start_decode(self, sequence: _Sequence) -> None:
        sequence.first = self._iterations - 1
        if not sequence.is_gone:
            self._started.append((sequence.key, -(-self._run_ends_ps // PS_PER_NS)))
        self._kv_tokens += 1
        if sequence.output_tokens == 1 and not sequence.is_gone:
            self._finish(sequence)
            return
        self._decoding += 1
        heapq.heappush(self._ends, (sequence.first + sequence.output_tokens, sequence.order, sequence))

    def _finish(self, sequence: _Sequence) -> None:
        sequence.is_gone = True
        del self._live[sequence.key]
        self._kv_tokens -= sequence.tokens
        self._kv_reserved -= sequence.tokens
        self._finished.append(Finished(sequence.key, self._token_times(sequence, sequence.output_tokens)))

    def _leave(self, sequence: _Sequence) -> None:
        """Takes a cancelled sequence out of the batch."""
        self._kv_reserved -= sequence.tokens
        if sequence.first == _NEVER:
            self._prefilling.remove(sequence)
            self._kv_tokens -= sequence.input_tokens - sequence.prefill_left
            return
        self._decoding -= 1
        self._kv_tokens -= sequence.input_tokens + self._iterations - sequence.first

    def _made(self, sequence: _Sequence, at_ns: int) -> int:
        if sequence.first == _NEVER:
            return 0
        ended = self._iterations + self._run.ended_by(at_ns * PS_PER_NS)
        return min(sequence.output_tokens, ended - sequence.first)

    def _token_times(self, sequence: _Sequence, tokens: int) -> Nanos:
        if not tokens:
            return _NO_TOKENS
        end = sequence.first + tokens
        logged = self._log.between(sequence.first, min(end, self._iterations))
        if end <= self._iterations:
            return logged
        under_way = [-(-self._run.end_ps(step) // PS_PER_NS) for step in range(1, end - self._iterations + 1)]
        return np.concatenate([logged, np.array(under_way, dtype=np.int64)])
