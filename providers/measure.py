"""Measures a live backend: sweeps concurrency, within a bounded time, into figures that prices can be derived from.

Each load is held by so many users, each with one request after another, of seeded prompts that no cache has seen and of
a fixed length. Only requests that ran under full load count. TTFT is from the request to the first content, TPOT the
mean gap after it, per request, over (tokens − 1): Little's law r = concurrency / (ttft + (osl − 1) · tpot) then holds.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from providers.base import CompletionRequest, Provider, Timeouts
from providers.errors import ProviderRejectedRequest, ProviderTimeout
from providers.measure_figures import MeasuredLoad, NothingMeasured, measured_load
from providers.measure_load import Clock, Sample, Users, one_request
from providers.measure_prompts import Prompts, Ruler, ruler_from

WARM_UP_SHARE = 0.25
"""Of the whole time, what the warm-up may take at most."""
WARM_UP_TOKENS_MAX = 32
STAGGER_SHARE = 0.25
"""Of a load's time, what its users may take at most to begin."""
LOAD_S_MIN = 0.05
LOADS_MAX = 64
CONCURRENCY_MAX = 4_096
FIXED_LENGTH = MappingProxyType({"ignore_eos": True})
"""Has llama.cpp, vLLM, SGLang and TensorRT-LLM write on to the length asked for."""


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """What to measure.

    Attributes:
        concurrencies: loads, in the order in which they are held.
        isl: prompt tokens wanted; what was really sent is reported.
        osl: output tokens wanted; likewise.
        seconds_max: for all of it, warm-up included.
        requests_max: per load, or three per user where that is more.
        seed: of the prompts.
    """

    concurrencies: tuple[int, ...] = (1, 2, 4, 8)
    isl: int = 128
    osl: int = 64
    seconds_max: float = 60.0
    requests_max: int = 200
    seed: int = 1

    def __post_init__(self) -> None:
        loads = self.concurrencies
        if not 1 <= len(loads) <= LOADS_MAX or len(set(loads)) < len(loads):
            raise ValueError(f"concurrencies: expected 1 to {LOADS_MAX} different loads, got {loads}")
        if min(loads) < 1 or max(loads) > CONCURRENCY_MAX:
            raise ValueError(f"concurrencies: each must be from 1 to {CONCURRENCY_MAX}, got {loads}")
        if self.isl < 1 or self.osl < 2:  # noqa: PLR2004  # a single token has no time per further token
            raise ValueError(f"lengths: isl must be at least 1 and osl at least 2, got {self.isl} and {self.osl}")
        if self.seconds_max <= 0 or self.requests_max < 1:
            raise ValueError("seconds_max and requests_max must be above 0")


@dataclass(frozen=True, slots=True)
class Sweep:
    """A whole measurement.

    Attributes:
        loads: those that could be measured, in the order of the plan.
        is_length_fixed: the backend took the request to write on to the length asked for.
        is_isl_assumed: the backend counts no prompt tokens, so that lengths are guesses.
        notes: what a reader of the figures should know.
        seconds: it took.
    """

    plan: SweepPlan
    loads: tuple[MeasuredLoad, ...]
    is_length_fixed: bool
    is_isl_assumed: bool
    notes: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sweep has come.

    Attributes:
        concurrency: of the load that is held; 0 during the warm-up.
        load: its place among the loads, from 1; 0 during the warm-up.
        requests: finished under it.
        seconds: since the sweep began.
    """

    concurrency: int
    load: int
    loads: int
    requests: int
    seconds: float
    seconds_max: float


def _unheard(_progress: Progress) -> None:
    """For whoever does not want to know."""


async def sweep(
    provider: Provider,
    plan: SweepPlan,
    on_progress: Callable[[Progress], None] = _unheard,
    clock: Clock = time.perf_counter,
) -> Sweep:
    """Measures a backend.

    Args:
        provider: whom; it is not closed.
        plan: what.
        on_progress: told at each load's beginning and each request's end.
        clock: seconds, with the resolution that the times should have.

    Raises:
        ProviderError: the backend cannot be reached, or refuses.
        NothingMeasured: it sends no tokens, or none in time.
    """
    course = _Course(provider, plan, on_progress, clock)
    await course.warm_up()
    loads: list[MeasuredLoad] = []
    for place, concurrency in enumerate(plan.concurrencies):
        measured = await course.measure(concurrency, place)
        if measured is None:
            break
        loads.append(measured)
    return course.result(loads)


@dataclass(slots=True)
class _Course:
    """One sweep under way."""

    provider: Provider
    plan: SweepPlan
    on_progress: Callable[[Progress], None]
    clock: Clock
    ruler: Ruler = field(default_factory=Ruler)
    notes: list[str] = field(default_factory=list[str])
    extras: dict[str, Any] = field(default_factory=lambda: dict(FIXED_LENGTH))
    answer_s: float = 0.0
    began_s: float = 0.0
    prompts: Prompts = field(init=False)

    def __post_init__(self) -> None:
        self.prompts = Prompts(self.plan.seed)
        self.began_s = self.clock()

    async def warm_up(self) -> None:
        """Learns how long a prompt is and whether lengths can be fixed, and warms the backend's caches.

        Raises:
            ProviderError: it cannot be reached, or refuses.
            NothingMeasured: no tokens came.
        """
        self._tell(0, 0, 0)
        short, long = max(1, self.plan.isl // 4), max(8, self.plan.isl)
        first = await self._try_fixed(short)
        second = await self._ask_once(long)
        for sample in (first, second):
            if not sample.pieces:
                raise NothingMeasured("the backend answered without a single token; is it a chat model?")
        if first.usage is not None and second.usage is not None:
            self.ruler = ruler_from((short, first.usage.input_total), (long, second.usage.input_total))
        if self.ruler.is_assumed:
            self.notes.append("the backend counts no prompt tokens: isl is a guess of one token per word")
        tpot_s = second.tpot_s if second.output > 1 else 0.0
        self.answer_s = second.ttft_s + tpot_s * (self.plan.osl - 1)

    async def measure(self, concurrency: int, place: int) -> MeasuredLoad | None:
        """Holds one load; None when it could not be measured, which ends the sweep.

        Raises:
            ProviderError, NothingMeasured: it was the first.
        """
        left_s = self.plan.seconds_max - self._elapsed_s()
        share_s = left_s * _weight(concurrency) / sum(map(_weight, self.plan.concurrencies[place:]))
        if share_s < LOAD_S_MIN:
            return self._give_up(concurrency, place, f"no time was left of {self.plan.seconds_max:g} s")
        self._tell(concurrency, place + 1, 0)
        users = Users(
            self.provider,
            lambda: self._request(self.ruler.words_for(self.plan.isl), self.plan.osl, left_s),
            self.clock,
            lambda load: self._tell(concurrency, place + 1, len(load.finished)),
        )
        requests_max = max(self.plan.requests_max, 3 * concurrency)
        load = await users.hold(concurrency, share_s, requests_max, min(self.answer_s, share_s * STAGGER_SHARE))
        if load.shortfall:
            if place == 0 and load.first_failure is not None:
                raise load.first_failure
            return self._give_up(concurrency, place, f"{load.shortfall} ({share_s:.1f} s)")
        self.answer_s = statistics.median(sample.last_s - sample.began_s for sample in load.finished)
        return measured_load(load, self.plan.isl)

    def result(self, loads: Sequence[MeasuredLoad]) -> Sweep:
        """Puts the sweep together."""
        for load in loads:
            self._note_oddities(load)
        return Sweep(
            plan=self.plan,
            loads=tuple(loads),
            is_length_fixed=bool(self.extras),
            is_isl_assumed=self.ruler.is_assumed,
            notes=tuple(dict.fromkeys(self.notes)),
            seconds=self._elapsed_s(),
        )

    async def _try_fixed(self, words: int) -> Sample:
        try:
            return await self._ask_once(words)
        except ProviderRejectedRequest:
            self.extras = {}
            self.notes.append("the backend refuses ignore_eos: answers may end before osl")
        return await self._ask_once(words)

    async def _ask_once(self, words: int) -> Sample:
        within_s = self.plan.seconds_max * WARM_UP_SHARE - self._elapsed_s()
        request = self._request(words, min(self.plan.osl, WARM_UP_TOKENS_MAX), max(within_s, LOAD_S_MIN))
        sample = Sample(self.clock())
        try:
            await one_request(self.provider, request, self.clock, sample)
        except ProviderTimeout as failure:
            if sample.pieces:
                raise NothingMeasured(
                    f"the warm-up's {self.plan.seconds_max * WARM_UP_SHARE:g} s were too short for two answers of "
                    f"{min(self.plan.osl, WARM_UP_TOKENS_MAX)} tokens; allow more time or ask for shorter answers"
                ) from failure
            raise
        return sample

    def _request(self, words: int, tokens: int, within_s: float) -> CompletionRequest:
        fields = {"messages": self.prompts.messages(words), "max_tokens": tokens, **self.extras}
        times = Timeouts(connect_s=within_s, first_token_s=within_s, gap_s=within_s, total_s=within_s)
        return CompletionRequest("measure", fields, is_stream=True, timeouts=times)

    def _give_up(self, concurrency: int, place: int, why: str) -> None:
        if place == 0:
            raise NothingMeasured(f"concurrency {concurrency}: {why}; allow more time or ask for shorter answers")
        self.notes.append(f"stopped at concurrency {concurrency}: {why}")

    def _note_oddities(self, load: MeasuredLoad) -> None:
        if load.errors:
            said = ", ".join(f"{count} {name}" for name, count in sorted(load.errors.items()))
            self.notes.append(f"concurrency {load.concurrency}: {said}")
        if load.cached_mean > 0.1 * load.isl_mean:
            self.notes.append(
                f"concurrency {load.concurrency}: {load.cached_mean:.0f} of {load.isl_mean:.0f} prompt tokens came "
                "from a cache (a chat template that every prompt shares)"
            )

    def _elapsed_s(self) -> float:
        return self.clock() - self.began_s

    def _tell(self, concurrency: int, load: int, requests: int) -> None:
        loads = len(self.plan.concurrencies)
        self.on_progress(Progress(concurrency, load, loads, requests, self._elapsed_s(), self.plan.seconds_max))


def _weight(concurrency: int) -> float:
    """A load's share of the time: answers take longer under a higher one, but there are more of them."""
    return math.pow(concurrency, 0.25)
