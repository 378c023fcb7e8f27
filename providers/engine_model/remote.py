"""A hosted API in virtual time: each of n streams runs at min(r_max, R/n) tokens/s, so streams share what there is.

All streams run at the same speed, so one number moves them all: the *attained* tokens of a stream that was there from
the start. A stream that joined at attained A has its token i at attained A + i; it is done at a level known when it
joins, and a heap of those levels gives the next event. With R = r_max this is egalitarian processor sharing.
"""

import heapq
from collections import deque
from dataclasses import dataclass
from math import ceil

import numpy as np

from providers.engine_model.engine import HORIZON_NS_MAX, PS_PER_NS, EngineError, EngineSnapshot, Finished, Nanos
from providers.engine_model.spec import RemoteSpec

MARKS_KEPT = 4_096
_NOT_YET = -1.0
_TOLERANCE = 1e-9
"""Levels are floats; two that differ by less than a billionth of a token are the same level."""


@dataclass(slots=True, eq=False)
class _Stream:
    """A live request.

    Attributes:
        order: how many were submitted before it.
        enters_ns: while in line, when it may first start; once reading, when its first token comes.
        first_level: attained tokens at its first token; _NOT_YET before.
        first_mark: number of the mark that was set at its first token.
    """

    key: int
    input_tokens: int
    output_tokens: int
    order: int
    enters_ns: int
    first_level: float = _NOT_YET
    first_mark: int = 0
    is_reading: bool = False
    is_gone: bool = False

    @property
    def last_level(self) -> float:
        return self.first_level + self.output_tokens - 1


class RemoteApi:
    """An :class:`~providers.engine_model.engine.Engine` over a :class:`RemoteSpec`."""

    def __init__(self, spec: RemoteSpec) -> None:
        self._spec = spec
        self._live: dict[int, _Stream] = {}
        self._line: deque[_Stream] = deque()
        self._reading: list[tuple[int, int, _Stream]] = []
        self._ends: list[tuple[float, int, _Stream]] = []
        self._streaming: dict[int, _Stream] = {}
        self._finished: list[Finished] = []
        self._started: list[tuple[int, int]] = []
        self._submitted = 0
        self._in_service = 0
        self._level = 0.0
        self._level_ns = 0
        self._marks: list[tuple[int, float]] = []
        self._marks_forgotten = 0
        self._marks_keep = MARKS_KEPT
        self._now_ns = 0

    @property
    def tokens_max(self) -> int:
        """The most tokens, prompt and answer, that one request may have."""
        return self._spec.context_max

    def submit(self, key: int, input_tokens: int, output_tokens: int, at_ns: int) -> None:
        """Hands in a request; see :class:`~providers.engine_model.engine.Engine`."""
        if input_tokens < 1 or output_tokens < 1:
            raise EngineError(f"a request needs prompt and answer tokens, got {input_tokens} and {output_tokens}")
        if input_tokens + output_tokens > self._spec.context_max:
            raise EngineError(f"{input_tokens} + {output_tokens} tokens exceed the context of {self._spec.context_max}")
        if key in self._live:
            raise EngineError(f"request {key} is already running")
        self._pass_to(at_ns, inclusive=False)
        stream = _Stream(key, input_tokens, output_tokens, self._submitted, at_ns)
        self._submitted += 1
        self._live[key] = stream
        self._line.append(stream)
        self._start_reading(at_ns)

    def cancel(self, key: int, at_ns: int) -> Nanos | None:
        """Ends a request; see :class:`~providers.engine_model.engine.Engine`."""
        self._pass_to(at_ns, inclusive=True)
        stream = self._live.pop(key, None)
        if stream is None:
            return None
        made = self._made(stream, at_ns)
        self._set_level(at_ns)
        stream.is_gone = True
        if not stream.is_reading:
            self._line.remove(stream)
            return np.empty(0, dtype=np.int64)
        times = self._token_times(stream, made)
        self._streaming.pop(stream.order, None)
        self._in_service -= 1
        self._start_reading(at_ns)
        return times

    def next_event(self) -> int | None:
        """When :meth:`advance` next has something to do, ns."""
        return self._now_ns if self._finished else self._next_ns()

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
        stream = self._live.get(key)
        return 0 if stream is None else self._made(stream, at_ns)

    def next_token(self, after_ns: int) -> int | None:
        """The first moment after ``after_ns`` at which any stream has its next token."""
        event_ns = self._next_ns()
        if not self._streaming:
            return event_ns
        level = self._level_at(after_ns)
        gap = min(1.0 - (level - stream.first_level + _TOLERANCE) % 1.0 for stream in self._streaming.values())
        token_ns = after_ns + max(1, -(-round(gap * self._token_ps) // PS_PER_NS))
        return token_ns if event_ns is None else min(token_ns, event_ns)

    def snapshot(self, at_ns: int) -> EngineSnapshot:
        """What the engine holds at ``at_ns``; a prompt counts until its first token."""
        self._pass_to(at_ns, inclusive=True)
        reading = [stream for _, _, stream in self._reading if not stream.is_gone]
        return EngineSnapshot(
            running=self._in_service,
            waiting=len(self._line),
            kv_tokens=sum(stream.input_tokens for stream in reading)
            + sum(stream.input_tokens + self._made(stream, at_ns) for stream in self._streaming.values()),
            prefill_tokens=sum(stream.input_tokens for stream in (*self._line, *reading)),
        )

    @property
    def _token_ps(self) -> int:
        return self._spec.token_ps(len(self._streaming))

    def _pass_to(self, at_ns: int, *, inclusive: bool) -> None:
        if not self._now_ns <= at_ns <= HORIZON_NS_MAX:
            raise EngineError(f"time must run on from {self._now_ns} ns up to {HORIZON_NS_MAX}, got {at_ns}")
        next_ns = self._next_ns()
        while next_ns is not None and (next_ns < at_ns or (inclusive and next_ns == at_ns)):
            self._turn(next_ns)
            next_ns = self._next_ns()
        self._now_ns = at_ns

    def _next_ns(self) -> int | None:
        while self._ends and self._ends[0][2].is_gone:
            heapq.heappop(self._ends)
        while self._reading and self._reading[0][2].is_gone:
            heapq.heappop(self._reading)
        reads_ns = self._reading[0][0] if self._reading else None
        if not self._ends:
            return reads_ns
        ends_ns = self._level_ns + self._ns_for(self._ends[0][0] - self._level)
        return ends_ns if reads_ns is None else min(ends_ns, reads_ns)

    def _turn(self, at_ns: int) -> None:
        """Carries out everything that happens at ``at_ns``: ends first, then first tokens, then the line moves up."""
        done = bool(self._ends) and self._level_ns + self._ns_for(self._ends[0][0] - self._level) <= at_ns
        self._set_level(at_ns, self._ends[0][0] if done else None)
        while self._ends and (self._ends[0][2].is_gone or self._ends[0][0] <= self._level + _TOLERANCE):
            stream = heapq.heappop(self._ends)[2]
            if not stream.is_gone:
                self._finish(stream, at_ns)
        while self._reading and self._reading[0][0] <= at_ns:
            stream = heapq.heappop(self._reading)[2]
            if not stream.is_gone:
                self._first_token(stream, at_ns)
        self._forget_marks()
        self._start_reading(at_ns)

    def _start_reading(self, at_ns: int) -> None:
        while self._line and self._in_service < self._spec.concurrency_max:
            stream = self._line.popleft()
            stream.is_reading = True
            self._in_service += 1
            delay_ns = self._spec.entry_ns + -(-stream.input_tokens * self._spec.prefill_ps // PS_PER_NS)
            stream.enters_ns = at_ns + delay_ns
            heapq.heappush(self._reading, (stream.enters_ns, stream.order, stream))

    def _first_token(self, stream: _Stream, at_ns: int) -> None:
        self._started.append((stream.key, at_ns))
        stream.first_level = self._level
        stream.first_mark = self._marks_forgotten + len(self._marks) - 1
        self._streaming[stream.order] = stream
        if stream.output_tokens == 1:
            self._finish(stream, at_ns)
            return
        heapq.heappush(self._ends, (stream.last_level, stream.order, stream))

    def _finish(self, stream: _Stream, at_ns: int) -> None:
        times = self._token_times(stream, stream.output_tokens)
        times[-1] = at_ns
        stream.is_gone = True
        del self._live[stream.key], self._streaming[stream.order]
        self._in_service -= 1
        self._finished.append(Finished(stream.key, times))

    def _level_at(self, at_ns: int) -> float:
        if not self._streaming:
            return self._level
        return self._level + (at_ns - self._level_ns) * PS_PER_NS / self._token_ps

    def _ns_for(self, levels: float) -> int:
        """How long streams take to attain ``levels`` more tokens at the present speed, rounded up."""
        return max(0, ceil(levels * self._token_ps / PS_PER_NS - _TOLERANCE))

    def _set_level(self, at_ns: int, level: float | None = None) -> None:
        """Brings the attained level up to ``at_ns``, exactly onto ``level`` where one is reached, and marks it."""
        self._level = self._level_at(at_ns) if level is None else level
        self._level_ns = at_ns
        if self._marks and self._marks[-1][0] == at_ns:
            self._marks.pop()
        self._marks.append((at_ns, self._level))

    def _forget_marks(self) -> None:
        if not self._streaming:
            self._marks_forgotten += len(self._marks)
            self._marks.clear()
            self._level = 0.0
        elif len(self._marks) > self._marks_keep:
            oldest = min(stream.first_mark for stream in self._streaming.values()) - self._marks_forgotten
            del self._marks[:oldest]
            self._marks_forgotten += oldest
            self._marks_keep = max(MARKS_KEPT, 2 * len(self._marks))

    def _made(self, stream: _Stream, at_ns: int) -> int:
        if stream.order not in self._streaming:
            return 0
        return min(stream.output_tokens, int(self._level_at(at_ns) - stream.first_level + _TOLERANCE) + 1)

    def _token_times(self, stream: _Stream, tokens: int) -> Nanos:
        """Times of its first ``tokens`` tokens, rounded up to whole ns, from the marks since its first one."""
        if not tokens:
            return np.empty(0, dtype=np.int64)
        marks = self._marks[stream.first_mark - self._marks_forgotten :]
        first_ns = marks[0][0]
        passed_ns = [float(at_ns - first_ns) for at_ns, _ in marks]
        attained = [level - stream.first_level for _, level in marks]
        made_ns = np.interp(np.arange(tokens, dtype=np.float64), attained, passed_ns)
        return first_ns + np.ceil(made_ns - _TOLERANCE).astype(np.int64)
