"""One emulated deployment at work: its engine on the loop's clock, the answers it is making, and one timer for all.

The engine says when the next token of any request is made; the timer fires then, and every answer sends what is due.
Tokens that fall due within one tick leave in one write per answer.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Any, Final

from providers.emulated.answer import Answer, Outlet
from providers.emulated.faults import Fault, FaultPlan
from providers.emulated.pace import NS_PER_S, Pace
from providers.emulated.spec import EmulatedDeployment
from providers.emulated.wire import AnswerWriter, WireError, read_request
from providers.emulated.words import Text, text
from providers.engine_model.batch import ContinuousBatch
from providers.engine_model.engine import Engine
from providers.engine_model.remote import RemoteApi
from providers.engine_model.spec import BatchSpec, EngineSpec

TICK_S: Final = 0.001
"""Timers have whole milliseconds; finer ones would only spin."""
RENEW_NS: Final = 30 * 24 * 3_600 * NS_PER_S
"""An idle engine older than this starts afresh, so that its time never runs out."""


def engine_of(spec: EngineSpec) -> Engine:
    """The engine that a spec describes."""
    return ContinuousBatch(spec) if isinstance(spec, BatchSpec) else RemoteApi(spec)


class EmulatedBackend:
    """A deployment that answers; one event loop owns it.

    Args:
        deployment: what to emulate.
        loop: whose clock and timers it uses.
        wall_s: Unix seconds, for the ``created`` field.
    """

    def __init__(
        self, deployment: EmulatedDeployment, loop: asyncio.AbstractEventLoop, wall_s: Callable[[], int]
    ) -> None:
        self.deployment = deployment
        self._loop = loop
        self._wall_s = wall_s
        self._text: Text = text(deployment.seed)
        self._live: dict[int, Answer] = {}
        self._answers = 0
        self._cancelled = 0
        self._timer: asyncio.TimerHandle | None = None
        self._engine = engine_of(deployment.engine)
        self._pace = Pace(loop.time())
        self._plan = FaultPlan()
        self.set_fault(deployment.fault)

    @property
    def fault_document(self) -> dict[str, Any]:
        """The fault in force, JSON-ready."""
        return self._plan.document()

    def set_fault(self, fault: Fault) -> None:
        """From now on misbehaves like this; the engine's speed changes for what is under way, too."""
        self._plan = FaultPlan(fault)
        self._pace.slow_down(fault.slowdown, self._loop.time())
        self._set_timer()

    def next_fault(self) -> Fault:
        """Takes the fault of the next request."""
        return self._plan.next()

    def start(self, body: bytes, outlet: Outlet, fault: Fault) -> Answer:
        """Starts a completion; its bytes go to ``outlet`` as they fall due.

        Raises:
            WireError: the request cannot be answered, or the line is full.
        """
        asked = read_request(body, self.deployment)
        now_s = self._loop.time()
        self._renew(now_s)
        now_ns = self._pace.engine_ns(now_s)
        if self._engine.snapshot(now_ns).waiting >= self.deployment.waiting_max:
            raise WireError(
                503, "overloaded", f"{self.deployment.waiting_max} requests wait already; try later", retry_after_s=1.0
            )
        if asked.prompt_tokens + asked.output_tokens > self._engine.tokens_max:
            raise WireError(
                400,
                "context_length_exceeded",
                f"the cache holds {self._engine.tokens_max} tokens, but prompt and answer need "
                f"{asked.prompt_tokens} + {asked.output_tokens}; ask for less",
                "messages",
            )
        self._answers += 1
        key = self._answers
        writer = AnswerWriter(
            self.deployment, self._text, asked, answer_id=f"chatcmpl-emulated{key:016x}", created=self._wall_s()
        )
        answer = Answer(key, asked, writer, outlet, fault)
        self._engine.submit(key, asked.prompt_tokens, asked.output_tokens, now_ns)
        self._live[key] = answer
        if asked.is_stream:
            outlet.begin_stream()
        self._set_timer()
        return answer

    def cancel(self, answer: Answer) -> None:
        """The customer hung up: the engine drops the request and its place is free."""
        if self._live.pop(answer.key, None) is None:
            return
        answer.is_over = True
        self._cancelled += 1
        self._engine.cancel(answer.key, self._pace.engine_ns(self._loop.time()))
        self._set_timer()

    def resume(self, answer: Answer) -> None:
        """The customer's side takes bytes again: sends what is due."""
        self._deliver(answer, self._loop.time())
        self._set_timer()

    def snapshot(self) -> dict[str, Any]:
        """What runs here now, JSON-ready."""
        held = self._engine.snapshot(self._pace.engine_ns(self._loop.time()))
        return {
            "deployment_id": self.deployment.deployment_id,
            "running": held.running,
            "waiting": held.waiting,
            "kv_tokens": held.kv_tokens,
            "prefill_tokens": held.prefill_tokens,
            "answers_started": self._answers,
            "answers_cancelled": self._cancelled,
            "answers_live": len(self._live),
        }

    def close(self) -> None:
        """Stops the timer; what is under way is lost."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._live.clear()

    def _tick(self) -> None:
        self._timer = None
        now_s = self._loop.time()
        now_ns = self._pace.engine_ns(now_s)
        self._engine.take_started()
        for done in self._engine.advance(now_ns):
            answer = self._live.get(done.key)
            if answer is not None:
                answer.made = answer.asked.output_tokens
        for answer in list(self._live.values()):
            if answer.made < answer.asked.output_tokens:
                answer.made = self._engine.made(answer.key, now_ns)
            if answer.made > answer.sent:
                self._deliver(answer, now_s)
        self._set_timer()

    def _deliver(self, answer: Answer, now_s: float) -> None:
        answer.deliver(now_s)
        if answer.is_over and self._live.pop(answer.key, None) is not None:
            self._engine.cancel(answer.key, self._pace.engine_ns(now_s))

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now_s = self._loop.time()
        next_ns = self._engine.next_token(self._pace.engine_ns(now_s))
        ends_s = [a.silent_until_s for a in self._live.values() if a.silent_until_s is not None]
        moments = [at_s for at_s in ends_s if at_s > now_s]
        if next_ns is not None:
            moments.append(self._pace.loop_s(next_ns))
        if moments:
            delay_s = math.ceil(max(0.0, min(moments) - now_s) / TICK_S) * TICK_S
            self._timer = self._loop.call_at(now_s + max(TICK_S, delay_s), self._tick)

    def _renew(self, now_s: float) -> None:
        if not self._live and self._pace.engine_ns(now_s) > RENEW_NS:
            self._engine = engine_of(self.deployment.engine)
            self._pace = Pace(now_s, self._pace.slowdown)
