import pytest

from providers.engine_model.engine import EngineError, EngineSnapshot
from providers.engine_model.remote import MARKS_KEPT, RemoteApi
from providers.engine_model.spec import RemoteSpec, SpecError, remote_spec

US = 1_000_000  # ps


def drain(model: RemoteApi) -> dict[int, list[int]]:
    times: dict[int, list[int]] = {}
    while (at_ns := model.next_event()) is not None:
        times |= {done.key: done.token_ns.tolist() for done in model.advance(at_ns)}
    return times


def test_a_lone_stream_runs_at_its_own_speed_after_entry_and_prefill() -> None:
    model = RemoteApi(RemoteSpec(10 * US, 4 * US, concurrency_max=8, entry_ns=50_000, prefill_ps=US))
    model.submit(0, 20, 3, at_ns=1_000)
    assert drain(model) == {0: [71_000, 81_000, 91_000]}


def test_speed_falls_only_once_the_service_is_shared_too_widely() -> None:
    """10 µs a token alone and 4 µs for the service: two streams still run at 10, four at 16."""
    assert [RemoteSpec(10, 4, 8).token_ps(n) for n in (1, 2, 3, 4)] == [10, 10, 12, 16]


def test_declared_figures_become_a_spec() -> None:
    spec = remote_spec(2_000, 20_000, 16, ttft_base_us=200_000, prefill_tok_s=50_000)
    assert spec == RemoteSpec(500_000_000, 50_000_000, 16, entry_ns=200_000_000, prefill_ps=20_000_000)


def test_impossible_declarations_are_refused() -> None:
    with pytest.raises(SpecError, match="speeds must be positive"):
        remote_spec(0, 20_000, 16, ttft_base_us=0, prefill_tok_s=1)


def test_cancelling_frees_the_place_at_once() -> None:
    model = RemoteApi(RemoteSpec(US, US, concurrency_max=1))
    model.submit(0, 1, 1_000, at_ns=0)
    model.submit(1, 1, 2, at_ns=0)
    model.advance(0)
    made = model.cancel(0, at_ns=2_500)
    assert made is not None
    assert made.tolist() == [0, 1_000, 2_000]
    assert drain(model) == {1: [2_500, 3_500]}
    assert model.snapshot(10**9) == EngineSnapshot(0, 0, 0, 0)


def test_cancelling_in_line_or_while_the_prompt_is_read_leaves_nothing_behind() -> None:
    model = RemoteApi(RemoteSpec(US, US, concurrency_max=2, entry_ns=10_000))
    for key in range(4):
        model.submit(key, 5, 2, at_ns=0)
    assert model.snapshot(100) == EngineSnapshot(running=2, waiting=2, kv_tokens=10, prefill_tokens=20)
    for key in (3, 0):
        made = model.cancel(key, at_ns=5_000)
        assert made is not None
        assert len(made) == 0
    assert sorted(drain(model)) == [1, 2]
    assert model.snapshot(10**9) == EngineSnapshot(0, 0, 0, 0)


def test_cancelling_what_is_not_live_is_nothing() -> None:
    assert RemoteApi(RemoteSpec(US, US, 1)).cancel(3, 0) is None


def test_marks_of_streams_long_gone_are_forgotten() -> None:
    model = RemoteApi(RemoteSpec(US, US, concurrency_max=3))
    requests = 3 * MARKS_KEPT
    finished = 0
    for key in range(requests):
        model.submit(key, 1, 3, at_ns=key * 2_999)
        finished += len(model.advance(key * 2_999 + 2_998))
    finished += len(drain(model))
    assert finished == requests
    assert len(model._marks) <= MARKS_KEPT + 1


@pytest.mark.parametrize(("tokens", "words"), [((0, 1), "prompt and answer"), ((9, 2), "exceed the context of 10")])
def test_what_can_never_run_is_refused(tokens: tuple[int, int], words: str) -> None:
    with pytest.raises(EngineError, match=words):
        RemoteApi(RemoteSpec(US, US, 1, context_max=10)).submit(0, *tokens, 0)


def test_a_live_key_and_time_running_backwards_are_refused() -> None:
    model = RemoteApi(RemoteSpec(US, US, 1))
    model.submit(0, 1, 1, 5)
    with pytest.raises(EngineError, match="already running"):
        model.submit(0, 1, 1, 5)
    with pytest.raises(EngineError, match="time must run on"):
        model.advance(4)
