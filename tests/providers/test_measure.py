"""A sweep against backends whose times are known: its figures are those of theory, and its time is bounded."""

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.profile_document import profile_document, profile_from_document
from pricing.profiles import Configuration, EngineLimits, LengthClass, ProfileError
from pricing.usage import Usage
from providers.base import CompletionRequest, TokenChunk
from providers.errors import (
    ProviderCredentialRejected,
    ProviderOverloaded,
    ProviderRejectedRequest,
    ProviderTimeout,
    ProviderUnreachable,
)
from providers.measure import Progress, Sweep, SweepPlan, sweep
from providers.measure_figures import NothingMeasured, quantile
from providers.measure_profile import Subject, engine_facts, profile_of
from providers.measure_prompts import Prompts, ruler_from
from providers.openai_wire import ServedModel
from tests.providers.fake_time import in_virtual_time

TEMPLATE_TOKENS = 20


def steady(_in_flight: int) -> float:
    return 0.01


@dataclass
class Timed:
    """A backend in virtual time: TTFT and TPOT follow from the requests in flight."""

    ttft_s: Callable[[int], float] = lambda _in_flight: 0.2
    tpot_s: Callable[[int], float] = steady
    tokens_per_chunk: int = 1
    takes_fixed_length: bool = True
    counts: bool = True
    cached: int = 0
    in_flight: int = 0
    most: int = 0
    seen: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    id: str = "timed"

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[TokenChunk]:
        fields = dict(request.fields)
        self.seen.append(fields)
        if "ignore_eos" in fields and not self.takes_fixed_length:
            raise ProviderRejectedRequest("timed", "unknown field ignore_eos", 400)
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            tokens = fields["max_tokens"] if self.takes_fixed_length else fields["max_tokens"] // 2
            await asyncio.sleep(self.ttft_s(self.in_flight))
            yield TokenChunk(events=b"role")
            for start in range(0, tokens, self.tokens_per_chunk):
                if start:
                    await asyncio.sleep(self.tpot_s(self.in_flight) * self.tokens_per_chunk)
                count = min(self.tokens_per_chunk, tokens - start)
                yield TokenChunk(events=b"x", content_bytes=4 * count, content_events=1)
            yield TokenChunk(events=b"", finish_reason="length", usage=self._usage(fields, tokens))
        finally:
            self.in_flight -= 1

    def _usage(self, fields: dict[str, Any], tokens: int) -> Usage | None:
        words = len(fields["messages"][0]["content"].split()) - 1
        cached = min(self.cached, TEMPLATE_TOKENS + 2 * words)
        fresh = TEMPLATE_TOKENS + 2 * words - cached
        return Usage(input=fresh, cached=cached, output=tokens) if self.counts else None

    async def probe(self) -> None: ...

    async def close(self) -> None: ...


def measured(backend: Any, plan: SweepPlan, tell: Callable[[Progress], None] | None = None) -> tuple[Sweep, float]:
    async def run() -> Sweep:
        clock = asyncio.get_running_loop().time
        return await sweep(backend, plan, tell or (lambda _progress: None), clock)

    return in_virtual_time(run())


def test_at_constant_speed_every_figure_is_that_of_littles_law() -> None:
    plan = SweepPlan((1, 2, 4, 8), isl=100, osl=51, seconds_max=60, requests_max=80)
    result, _ = measured(Timed(), plan)

    assert [load.concurrency for load in result.loads] == [1, 2, 4, 8]
    for load in result.loads:
        assert load.ttft_s_p50 == pytest.approx(0.2)
        assert load.ttft_s_p99 == pytest.approx(0.2)
        assert load.tpot_s_p50 == pytest.approx(0.01)
        assert load.tpot_s_p99 == pytest.approx(0.01)
        assert load.interactivity_tok_s_user == pytest.approx(100)
        # r = c / (ttft + (osl − 1) · tpot) = c / 0.7 requests/s, of 51 tokens each; whole answers at the window's
        # edges leave at most one per user of the 10 or more in it
        assert load.output_tok_s == pytest.approx(load.concurrency * 51 / 0.7, rel=0.06)
        assert load.osl_mean == 51
        assert load.errors == {}


def test_where_speed_falls_with_load_each_load_has_its_own() -> None:
    backend = Timed(ttft_s=lambda n: 0.05 * n, tpot_s=lambda n: 0.01 + 0.002 * n)
    result, _ = measured(backend, SweepPlan((1, 4, 8), isl=64, osl=40, seconds_max=120, requests_max=60))

    for load in result.loads:
        n = load.concurrency
        assert load.tpot_s_p50 == pytest.approx(0.01 + 0.002 * n, rel=0.02)
        assert load.ttft_s_p50 == pytest.approx(0.05 * n, rel=0.02)
    assert backend.most == 8


def test_tokens_that_come_several_at_a_time_have_the_same_mean_gap() -> None:
    result, _ = measured(Timed(tokens_per_chunk=5), SweepPlan((2,), osl=50, seconds_max=30))

    # 10 chunks, 9 gaps of 5 · 0.01 s, over 49 further tokens
    assert result.loads[0].tpot_s_p50 == pytest.approx(9 * 0.05 / 49)


def test_prompts_have_the_length_asked_for_and_no_beginning_in_common() -> None:
    backend = Timed()
    result, _ = measured(backend, SweepPlan((1, 2), isl=100, osl=8, seconds_max=10))

    texts = [fields["messages"][0]["content"] for fields in backend.seen]
    assert [load.isl_mean for load in result.loads] == [100, 100]  # 20 of a template and 2 per word: 40 words
    assert len({text[:12] for text in texts}) == len(texts)
    assert not result.is_isl_assumed


def test_the_same_seed_asks_the_same_and_another_seed_something_else() -> None:
    def asked(seed: int) -> list[Any]:
        backend = Timed()
        measured(backend, SweepPlan((2,), osl=8, seconds_max=5, seed=seed))
        return [fields["messages"] for fields in backend.seen]

    assert asked(1) == asked(1)
    assert asked(1)[0] != asked(2)[0]


def test_a_backend_that_refuses_a_fixed_length_is_measured_at_the_length_it_chooses() -> None:
    backend = Timed(takes_fixed_length=False)
    result, _ = measured(backend, SweepPlan((1,), osl=40, seconds_max=20))

    assert not result.is_length_fixed
    assert result.loads[0].osl_mean == 20
    assert ["ignore_eos" in fields for fields in backend.seen[:3]] == [True, False, False]
    assert any("refuses ignore_eos" in said for said in result.notes)


def test_a_backend_that_counts_nothing_is_measured_by_its_events_and_says_so() -> None:
    result, _ = measured(Timed(counts=False), SweepPlan((2,), isl=100, osl=21, seconds_max=20))
    (load,) = result.loads

    assert result.is_isl_assumed
    assert (load.osl_mean, load.isl_mean) == (21, 100)
    assert load.tpot_s_p50 == pytest.approx(0.01)


def test_a_cache_that_answers_after_all_is_noted() -> None:
    result, _ = measured(Timed(cached=20), SweepPlan((1,), isl=100, osl=8, seconds_max=5))

    assert result.loads[0].cached_mean == 20
    assert any("20 of 100 prompt tokens came from a cache" in said for said in result.notes)


@pytest.mark.parametrize("seconds_max", [1.0, 3.0, 30.0])
@pytest.mark.parametrize("slowness", [0.01, 1.0, 20.0])
def test_a_sweep_never_takes_longer_than_it_may(seconds_max: float, slowness: float) -> None:
    backend = Timed(ttft_s=lambda n: 0.1 * n * slowness, tpot_s=lambda n: 0.01 * n * slowness)

    async def run() -> None:
        clock = asyncio.get_running_loop().time
        with contextlib.suppress(NothingMeasured, ProviderTimeout):
            await sweep(
                Bounded(backend), SweepPlan((1, 2, 4), osl=30, seconds_max=seconds_max, requests_max=40), clock=clock
            )

    _, took_s = in_virtual_time(run())

    assert took_s <= seconds_max + 0.01
    assert backend.in_flight == 0


@dataclass
class Bounded:
    """A backend behind a client that keeps the request's total time."""

    backend: Timed
    id: str = "bounded"

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[TokenChunk]:
        try:
            async with asyncio.timeout(request.timeouts.total_s):
                async for chunk in self.backend.stream(request):
                    yield chunk
        except TimeoutError as error:
            raise ProviderTimeout("bounded", "no whole answer in time") from error

    async def probe(self) -> None: ...

    async def close(self) -> None: ...


def test_a_load_that_cannot_finish_ends_the_sweep_and_keeps_what_was_measured() -> None:
    backend = Timed(ttft_s=lambda n: 0.1 if n < 4 else 1_000.0)
    result, _ = measured(backend, SweepPlan((1, 2, 4, 8), osl=10, seconds_max=20))

    assert [load.concurrency for load in result.loads] == [1, 2]
    assert any("stopped at concurrency 4: 1 of 4 users got no token in time" in said for said in result.notes)


def test_a_fast_backend_is_not_asked_more_often_than_allowed() -> None:
    backend = Timed(ttft_s=lambda _n: 0.001, tpot_s=lambda _n: 0.0001)
    result, took_s = measured(backend, SweepPlan((1, 100), osl=10, seconds_max=600, requests_max=50))

    assert len(backend.seen) == 2 + 50 + 300
    assert took_s < 10
    assert result.loads[0].requests <= 50


@dataclass
class Failing(Timed):
    """Fails as told, from a number of requests in flight on."""

    failure: Exception = field(default_factory=lambda: ProviderUnreachable("timed", "refused"))
    from_in_flight: int = 1

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[TokenChunk]:
        if self.in_flight + 1 >= self.from_in_flight:
            self.in_flight += 1
            await asyncio.sleep(0.01)
            self.in_flight -= 1
            raise self.failure
        async for chunk in super().stream(request):
            yield chunk


def test_an_overloaded_backend_ends_the_sweep_at_the_load_it_cannot_take() -> None:
    backend = Failing(failure=ProviderOverloaded("timed", "queue is full", 429, 1.0), from_in_flight=3)
    result, _ = measured(backend, SweepPlan((1, 2, 16), osl=10, seconds_max=60))

    assert [load.concurrency for load in result.loads] == [1, 2]
    assert any("stopped at concurrency 16" in said and "queue is full" in said for said in result.notes)


class Flaky(Timed):
    """Fails every tenth request."""

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[TokenChunk]:
        if len(self.seen) % 10 == 9:
            self.seen.append({})
            raise ProviderUnreachable("timed", "reset")
        async for chunk in super().stream(request):
            yield chunk


def test_a_few_failures_are_counted_and_do_not_end_a_load() -> None:
    result, _ = measured(Flaky(), SweepPlan((4,), osl=10, seconds_max=60, requests_max=40))
    (load,) = result.loads

    assert load.errors == {"ProviderUnreachable": 4}
    assert load.tpot_s_p50 == pytest.approx(0.01)
    assert "concurrency 4: 4 ProviderUnreachable" in result.notes


def test_a_load_of_which_some_users_are_always_refused_is_not_measured_as_if_all_were_served() -> None:
    backend = Failing(failure=ProviderUnreachable("timed", "reset"), from_in_flight=4)

    with pytest.raises(ProviderUnreachable):
        measured(backend, SweepPlan((4,), osl=10, seconds_max=60))


@pytest.mark.parametrize(
    "failure",
    [
        ProviderUnreachable("timed", "refused"),
        ProviderTimeout("timed", "silent"),
        ProviderCredentialRejected("timed", "HTTP 401", 401),
        ProviderRejectedRequest("timed", "no such model", 404),
    ],
)
def test_a_backend_that_fails_from_the_start_is_told_as_it_failed(failure: Exception) -> None:
    with pytest.raises(type(failure)):
        measured(Failing(failure=failure), SweepPlan((1,), seconds_max=10))


def test_a_backend_that_sends_no_tokens_measures_nothing() -> None:
    class Mute(Timed):
        async def stream(self, request: CompletionRequest) -> AsyncGenerator[TokenChunk]:  # noqa: ARG002
            yield TokenChunk(events=b"", finish_reason="stop")

    with pytest.raises(NothingMeasured, match="without a single token"):
        measured(Mute(), SweepPlan((1,), seconds_max=10))


def test_answers_in_one_piece_have_no_time_per_token() -> None:
    with pytest.raises(NothingMeasured, match="came in one piece"):
        measured(Timed(tokens_per_chunk=1_000), SweepPlan((1,), osl=20, seconds_max=10))


def test_progress_is_told_from_warm_up_to_the_last_load_and_never_goes_back() -> None:
    told: list[Progress] = []
    measured(Timed(), SweepPlan((1, 2), osl=10, seconds_max=10, requests_max=6), told.append)

    assert (told[0].load, told[-1].load, told[-1].loads) == (0, 2, 2)
    assert [each.seconds for each in told] == sorted(each.seconds for each in told)
    assert [(a.load, a.requests) for a in told] == sorted((a.load, a.requests) for a in told)


@pytest.mark.parametrize(
    "change",
    [
        {"concurrencies": ()},
        {"concurrencies": (1, 1)},
        {"concurrencies": (0,)},
        {"concurrencies": (100_000,)},
        {"isl": 0},
        {"osl": 1},
        {"seconds_max": 0},
        {"requests_max": 0},
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"concurrencies|lengths|seconds_max"):
        SweepPlan(**change)


def subject(**changes: Any) -> Subject:
    said: dict[str, Any] = {
        "model": "m",
        "configuration": Configuration("local", 1, "llama.cpp", "q4_1"),
        "source": "goodput providers measure http://127.0.0.1:1/v1",
        "measured_on": date(2026, 11, 24),
        "limits": EngineLimits(concurrency_max=8, context_max=2048),
        **changes,
    }
    return Subject(**said)


def test_a_sweep_becomes_a_profile_that_its_own_document_gives_back() -> None:
    result, _ = measured(Timed(), SweepPlan((1, 2, 4), isl=100, osl=51, seconds_max=60, requests_max=20))
    profile = profile_of(result, subject())

    assert profile_from_document(profile_document(profile)) == profile
    assert [point.concurrency for point in profile.points] == [1, 2, 4]
    assert profile.points[0].lengths == LengthClass(100, 51)
    assert profile.points[0].tpot_s_p50 == pytest.approx(0.01)
    assert profile.limits == EngineLimits(concurrency_max=8, context_max=2048)
    assert profile.points[0].provenance.measured_on == date(2026, 11, 24)
    assert "seed 1" in profile.notes


def test_a_sweep_without_loads_is_no_profile() -> None:
    empty = Sweep(SweepPlan(), (), is_length_fixed=True, is_isl_assumed=False, notes=(), seconds=1.0)
    with pytest.raises(ProfileError):
        profile_of(empty, subject())


@pytest.mark.parametrize(
    ("served", "facts"),
    [
        (None, ("unknown", "unknown", None)),
        (ServedModel("m"), ("unknown", "unknown", None)),
        (ServedModel("m", owned_by="vllm", max_model_len=8192), ("vllm", "unknown", 8192)),
        (ServedModel("m", owned_by="acme", meta={"n_ctx": "big", "ftype": 7}), ("unknown", "unknown", None)),
    ],
)
def test_what_a_backend_says_of_itself_is_taken_where_it_makes_sense(served: ServedModel | None, facts: Any) -> None:
    assert engine_facts(served) == facts


@given(values=st.lists(st.floats(0.001, 1_000), min_size=1, max_size=50), share=st.floats(0, 1))
def test_a_quantile_lies_among_the_values_and_rises_with_its_share(values: list[float], share: float) -> None:
    found = quantile(values, share)

    assert min(values) - 1e-9 <= found <= max(values) + 1e-9
    assert quantile(values, 0.0) == min(values)
    assert quantile(values, 1.0) == max(values)
    assert quantile(values, 0.5) <= quantile(values, 0.99) + 1e-9


@given(per_word=st.integers(1, 4), overhead=st.integers(0, 60), wanted=st.integers(1, 4_000))
def test_a_ruler_learned_from_two_prompts_meets_any_length_within_a_word(
    per_word: int, overhead: int, wanted: int
) -> None:
    ruler = ruler_from((10, overhead + 10 * per_word), (50, overhead + 50 * per_word))
    tokens = overhead + per_word * ruler.words_for(wanted)

    assert abs(tokens - wanted) <= max(math.ceil(per_word / 2), overhead + per_word - wanted)


def test_two_prompts_that_do_not_differ_teach_nothing() -> None:
    assert ruler_from((10, 30), (10, 30)).is_assumed
    assert ruler_from((10, 30), (20, 30)).is_assumed


def test_a_prompt_has_its_tag_and_its_words() -> None:
    (message,) = Prompts(7).messages(5)

    assert message["role"] == "user"
    assert len(message["content"].split()) == 6
