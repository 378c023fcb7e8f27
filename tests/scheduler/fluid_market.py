"""A market on virtual time for the scheduler's tests: offers as fluid engines, and a driver of the dispatcher.

An engine takes prompts in one by one at its curve's rate, and gives each running answer tokens at
1 / (f(n) · slowness), n being its leases. It shares no code with what it tests but the definition of a curve.
"""

import heapq
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from scheduler.calibration import Calibrator, ExperiencedLoad
from scheduler.dispatcher import Dispatcher
from scheduler.fleet import Fleet, Load, Offer, OfferId, SpeedCurve
from scheduler.jobs import Job, JobId
from scheduler.placement import Admit, Candidate, Dispatch, Refuse, Wait

SNAPSHOT_US = 1_000_000
SAMPLE_US = 500_000


@dataclass(slots=True)
class Run:
    """One dispatched job."""

    job: Job
    dispatch: Dispatch
    at_us: int
    tokens_left: float
    tokens: int
    first_us: int | None = None
    finished_us: int | None = None
    sampled: tuple[int, float, float] | None = None

    @property
    def candidate(self) -> Candidate:
        return self.dispatch.candidate

    @property
    def is_good(self) -> bool:
        """Whether first token and mean pace kept the promise of the tier served."""
        if self.first_us is None or self.finished_us is None:
            return False
        slo = next(rung.slo for rung in self.job.ladder if rung.tier is self.dispatch.tier)
        if slo.is_window:
            return self.finished_us - self.job.requested_at_us <= slo.ttft_us
        pace_us = (self.finished_us - self.first_us) / max(1, self.tokens - 1)
        return self.first_us - self.job.requested_at_us <= slo.ttft_us and pace_us <= slo.tpot_us * 1.000001


@dataclass(slots=True)
class Engine:
    """One offer at work."""

    offer: Offer
    experienced: ExperiencedLoad
    slowness: float = 1.0
    leases: dict[JobId, Run] = field(default_factory=dict[JobId, Run])
    prefill_free_us: float = 0.0
    advanced_us: int = 0
    version: int = 0

    @property
    def load(self) -> Load:
        runs = self.leases.values()
        tolerated = min((run.candidate.in_flight_max for run in runs), default=1_000_000)
        return Load(len(runs), tolerated, sum(run.job.input_tokens for run in runs if run.first_us is None))

    @property
    def token_us(self) -> float:
        return curve_us(self.offer.speed, len(self.leases)) * self.slowness

    def advance(self, now_us: int) -> None:
        tokens = (now_us - self.advanced_us) / self.token_us
        for run in self.leases.values():
            if run.first_us is not None:
                run.tokens_left -= tokens
        self.advanced_us = now_us


def curve_us(curve: SpeedCurve, load: int) -> float:
    """f(n), written anew."""
    points = [(float(n), us) for n, us in zip(curve.concurrency, curve.tpot_us, strict=True)]
    above = bisect_right(points, (float(load), float("inf")))
    if above in (0, len(points)):
        return points[min(above, len(points) - 1)][1]
    (n0, us0), (n1, us1) = points[above - 1], points[above]
    return us0 + (us1 - us0) * (load - n0) / (n1 - n0)


class FluidMarket:
    """Runs arrivals through a dispatcher over fluid engines, and keeps what became of each."""

    def __init__(self, offers: Iterable[Offer], dispatcher: Dispatcher, true_tokens: Callable[[Job], int]) -> None:
        self.engines = {each.id: Engine(each, ExperiencedLoad(each.speed, 0, 0)) for each in offers}
        self.dispatcher = dispatcher
        self.calibrator = Calibrator()
        self.true_tokens = true_tokens
        self.runs: list[Run] = []
        self.refused: list[tuple[int, Refuse]] = []
        self.waited: set[JobId] = set()
        self.denied = 0
        self.now_us = 0
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._seq = 0
        self._by_model: dict[str, tuple[Offer, ...]] = {}
        for each in self.engines.values():
            self._by_model[each.offer.model] = (*self._by_model.get(each.offer.model, ()), each.offer)
        self._calibrations = self.calibrator.calibrations(0)

    def at(self, at_us: int, act: Callable[[], None]) -> None:
        self._seq += 1
        heapq.heappush(self._events, (at_us, self._seq, act))

    def arrive(self, job: Job) -> None:
        self.at(job.requested_at_us, lambda: self._decided(self.dispatcher.on_arrival(job, self.fleet, self.now_us)))

    def slow_down(self, offer_id: OfferId, at_us: int, slowness: float) -> None:
        def change() -> None:
            self.engines[offer_id].advance(self.now_us)
            self.engines[offer_id].slowness = slowness
            self._reschedule(self.engines[offer_id])

        self.at(at_us, change)

    def run(self, until_us: int) -> "FluidMarket":
        self.at(0, self._snapshot)
        self.at(0, self._sample)
        while self._events and self._events[0][0] <= until_us:
            self.now_us, _, act = heapq.heappop(self._events)
            act()
        return self

    @property
    def fleet(self) -> Fleet:
        loads = {offer_id: engine.load for offer_id, engine in self.engines.items()}
        return Fleet(self._by_model, loads, self._calibrations)

    def _decided(self, command: Admit | Wait | Refuse) -> None:
        match command:
            case Admit():
                self._decided_admit(command)
            case Refuse():
                self.refused.append((self.now_us, command))
            case Wait():
                self.waited.add(command.job.id)
        self._arm_tick()

    def _decided_admit(self, admit: Admit) -> None:
        for candidate in admit.candidates:
            engine = self.engines[candidate.offer.id]
            load = engine.load
            room = min(candidate.offer.concurrency_max, candidate.in_flight_max, load.in_flight_tolerated)
            if load.in_flight < room:
                return self._start(admit, engine)
        self.denied += 1
        loads = {each.offer.id: self.engines[each.offer.id].load for each in admit.candidates}
        return self._decided(self.dispatcher.on_denied(admit.job.id, loads, self.now_us))

    def _start(self, admit: Admit, engine: Engine) -> None:
        job = admit.job
        candidate = next(each for each in admit.candidates if each.offer.id == engine.offer.id)
        tokens = self.true_tokens(job)
        run = Run(job, Dispatch(job.id, admit.tier, candidate), self.now_us, float(tokens - 1), tokens)
        self._change(engine, lambda: engine.leases.__setitem__(job.id, run))
        run.dispatch = self.dispatcher.on_leased(job.id, engine.offer.id, {engine.offer.id: engine.load}, self.now_us)
        self.runs.append(run)
        speed = engine.offer.speed
        start_us = max(float(self.now_us), engine.prefill_free_us)
        engine.prefill_free_us = start_us + job.input_tokens / speed.prefill_tok_s * 1e6 * engine.slowness
        first_us = round(engine.prefill_free_us + speed.ttft_base_us * engine.slowness)
        self.at(first_us, lambda: self._first_token(engine, run))

    def _first_token(self, engine: Engine, run: Run) -> None:
        self._change(engine, lambda: setattr(run, "first_us", self.now_us))
        run.sampled = (self.now_us, engine.experienced.tokens_at(self.now_us), run.tokens_left)
        observed_us = self.now_us - run.at_us
        self.calibrator.on_first_token(engine.offer.id, run.candidate.ttft_us, observed_us, run.dispatch.tier)

    def _change(self, engine: Engine, act: Callable[[], Any]) -> None:
        engine.advance(self.now_us)
        act()
        engine.experienced = engine.experienced.advance(len(engine.leases), self.now_us)
        self._reschedule(engine)

    def _reschedule(self, engine: Engine) -> None:
        engine.version += 1
        version = engine.version
        left = [run.tokens_left for run in engine.leases.values() if run.first_us is not None]
        if left:
            at_us = self.now_us + max(0, round(min(left) * engine.token_us))
            self.at(at_us, lambda: self._finish(engine) if engine.version == version else None)

    def _finish(self, engine: Engine) -> None:
        engine.advance(self.now_us)
        done = [run for run in engine.leases.values() if run.first_us is not None and run.tokens_left <= 1e-3]
        for run in done:
            run.finished_us = self.now_us
            self._report(engine, run)
            self._change(engine, lambda ended=run: engine.leases.pop(ended.job.id))
        if not done:
            self._reschedule(engine)
        for admit in self.dispatcher.on_released(self.fleet, self.now_us):
            self._decided(admit)

    def _report(self, engine: Engine, run: Run) -> None:
        assert run.sampled is not None
        since_us, tokens_then, left_then = run.sampled
        expected_us = engine.experienced.tpot_us_since(since_us, tokens_then, self.now_us)
        given = left_then - run.tokens_left
        if expected_us is not None and given > 0:
            observed_us = (self.now_us - since_us) / given
            self.calibrator.on_finished(engine.offer.id, expected_us, observed_us, run.dispatch.tier)
        run.sampled = (self.now_us, engine.experienced.tokens_at(self.now_us), run.tokens_left)

    def _sample(self) -> None:
        for engine in self.engines.values():
            engine.advance(self.now_us)
            for run in engine.leases.values():
                if run.sampled is not None:
                    self._report(engine, run)
        self.at(self.now_us + SAMPLE_US, self._sample)

    def _snapshot(self) -> None:
        self._calibrations = self.calibrator.calibrations(self.now_us)
        self.at(self.now_us + SNAPSHOT_US, self._snapshot)

    def _arm_tick(self) -> None:
        due_us = self.dispatcher.next_tick_us(self.now_us)
        if due_us is not None and self.dispatcher.waiting:
            self.at(due_us, self._tick)

    def _tick(self) -> None:
        due_us = self.dispatcher.next_tick_us(self.now_us)
        if due_us is None or due_us > self.now_us:
            return
        for command in self.dispatcher.on_tick(self.fleet, self.now_us):
            self._decided(command)
        self._arm_tick()
