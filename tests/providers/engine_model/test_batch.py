import numpy as np
import pytest

from providers.engine_model.batch import ContinuousBatch
from providers.engine_model.engine import EngineError, EngineSnapshot, Finished
from providers.engine_model.spec import BatchSpec

US = 1_000_000  # ps


def engine(**changes: int) -> ContinuousBatch:
    """Steps of 10 µs + 1 µs per decoding sequence + 0.1 µs per prompt token; 8 tokens a step, 3 sequences."""
    fields = {"kv_ps": 0, "prefill_ps": US // 10, "chunk_tokens": 8, "max_seqs": 3} | changes
    return ContinuousBatch(BatchSpec(base_ps=((0, 10 * US), (3, 13 * US)), **fields))


def drain(model: ContinuousBatch) -> dict[int, list[float]]:
    """Token times by request, in µs."""
    times: dict[int, list[float]] = {}
    while (at_ns := model.next_event()) is not None:
        times |= {done.key: (done.token_ns / 1000).tolist() for done in model.advance(at_ns)}
    return times


def test_the_prompts_last_chunk_makes_the_first_token_and_each_step_one_more() -> None:
    model = engine()
    model.submit(0, 10, 3, at_ns=0)
    # Chunks of 8 and 2: 10.8 + 10.2 = 21.0; then two steps of 11.
    assert drain(model) == {0: [21.0, 32.0, 43.0]}


def test_a_newcomer_waits_for_the_iteration_under_way_and_its_prefill_delays_the_others() -> None:
    model = engine()
    model.submit(0, 1, 4, at_ns=0)  # 10.1; then 21.1, 32.1 …
    model.submit(1, 5, 2, at_ns=12_000)  # joins at 21.1
    # The step from 21.1 decodes one and prefills 5 (11 + 0.5 = 11.5): both have a token at 32.6; then 12 for two.
    assert drain(model) == {0: [10.1, 21.1, 32.6, 44.6], 1: [32.6, 44.6]}


def test_a_full_batch_makes_the_next_one_wait_until_a_place_is_free() -> None:
    model = engine(max_seqs=1)
    model.submit(0, 1, 2, at_ns=0)
    model.submit(1, 1, 1, at_ns=0)
    assert model.snapshot(5_000) == EngineSnapshot(running=1, waiting=1, kv_tokens=0, prefill_tokens=2)
    assert drain(model) == {0: [10.1, pytest.approx(21.1)], 1: [pytest.approx(31.2)]}


def test_a_request_waits_until_the_cache_has_room_for_prompt_and_answer() -> None:
    model = engine(kv_tokens=10)
    model.submit(0, 4, 3, at_ns=0)
    model.submit(1, 2, 2, at_ns=0)  # 7 + 4 > 10
    first = drain(model)
    assert first[0] == pytest.approx([10.4, 21.4, 32.4])
    assert first[1][0] == pytest.approx(32.4 + 10.2)


def test_prompts_are_prefilled_first_come_first_served() -> None:
    model = engine()
    model.submit(0, 6, 1, at_ns=0)
    model.submit(1, 6, 1, at_ns=0)
    # 8 tokens a step: all 6 of the first and 2 of the second, then the second's 4.
    assert drain(model) == {0: [10.8], 1: [pytest.approx(21.2)]}


def test_the_step_grows_with_every_resident_token() -> None:
    model = engine(kv_ps=US)
    model.submit(0, 2, 3, at_ns=0)
    # Resident at the start of each step: 0, then 3, then 4 tokens at 1 µs each.
    assert drain(model) == {0: pytest.approx([10.2, 10.2 + 14.0, 10.2 + 14.0 + 15.0])}


def test_a_delay_at_the_entry_shifts_the_whole_answer() -> None:
    plain, delayed = engine(), engine(entry_ns=5_000)
    plain.submit(0, 3, 3, at_ns=0)
    delayed.submit(0, 3, 3, at_ns=0)
    assert drain(delayed)[0] == pytest.approx([at + 5.0 for at in drain(plain)[0]])


def test_cancelling_frees_the_place_from_the_next_step_on_and_tells_the_tokens_made() -> None:
    model = engine(max_seqs=1)
    model.submit(0, 1, 1_000, at_ns=0)
    model.submit(1, 1, 1, at_ns=0)
    made = model.cancel(0, at_ns=25_000)  # tokens at 10.1 and 21.1; the step under way ends at 32.1
    assert made is not None
    assert made.tolist() == [10_100, 21_100]
    assert drain(model) == {1: [pytest.approx(32.1 + 10.1)]}
    assert model.snapshot(10**9) == EngineSnapshot(0, 0, 0, 0)


def test_cancelling_in_line_or_before_the_first_token_leaves_nothing_behind() -> None:
    model = engine(max_seqs=1, entry_ns=1_000)
    for key in range(3):
        model.submit(key, 20, 5, at_ns=0)
    for key in (2, 0):  # one waits, one is being prefilled
        made = model.cancel(key, at_ns=15_000)
        assert made is not None
        assert len(made) == 0
    assert list(drain(model)) == [1]
    assert model.snapshot(10**9) == EngineSnapshot(0, 0, 0, 0)


def test_cancelling_twice_or_after_the_end_is_nothing() -> None:
    model = engine()
    model.submit(0, 1, 1, at_ns=0)
    assert len(model.advance(20_000)) == 1
    assert model.cancel(0, 20_000) is None
    assert model.cancel(7, 20_000) is None


def test_a_key_may_be_used_again_after_its_request_ended() -> None:
    model = engine()
    model.submit(0, 1, 9, at_ns=0)
    model.cancel(0, at_ns=15_000)
    model.submit(0, 1, 9, at_ns=15_000)
    assert len(drain(model)[0]) == 9


@pytest.mark.parametrize(
    ("tokens", "at_ns", "words"),
    [
        ((0, 5), 0, "prompt and answer tokens"),
        ((5, 0), 0, "prompt and answer tokens"),
        ((60, 41), 0, "exceed the cache of 100"),
        ((5, 5), -1, "time must run on"),
        ((5, 5), 10**18, "time must run on"),
    ],
)
def test_what_can_never_run_is_refused_with_the_numbers(tokens: tuple[int, int], at_ns: int, words: str) -> None:
    with pytest.raises(EngineError, match=words):
        engine(kv_tokens=100).submit(0, *tokens, at_ns)


def test_a_live_key_is_refused() -> None:
    model = engine()
    model.submit(0, 1, 1, 0)
    with pytest.raises(EngineError, match="already running"):
        model.submit(0, 1, 1, 0)


def test_token_times_stay_valid_after_the_log_has_grown_and_forgotten() -> None:
    model = engine()
    finished: list[Finished] = []
    told: list[list[int]] = []
    for key in range(400):
        model.submit(key, 1, 50, at_ns=key * 600_000)
        ended = model.advance(key * 600_000 + 599_999)
        finished += ended
        told += [done.token_ns.tolist() for done in ended]
    assert len(finished) == 400
    assert [done.token_ns.tolist() for done in finished] == told
    assert all(min(np.diff(done.token_ns)) > 0 for done in finished)


def test_the_next_token_is_the_end_of_the_iteration_under_way() -> None:
    model = engine()
    assert model.next_token(0) is None
    model.submit(0, 1, 4, at_ns=1_000)
    assert model.next_token(1_000) == 1_000  # work begins
    model.advance(1_000)
    assert model.next_token(1_000) == 11_100
    model.advance(11_100)
    assert [model.next_token(at) for at in (11_100, 22_099, 22_100)] == [22_100, 22_100, 33_100]
    assert [model.made(0, at) for at in (11_100, 22_099, 22_100)] == [1, 1, 2]


def test_first_tokens_are_told_once_each_when_they_are_made() -> None:
    model = engine()
    model.submit(0, 10, 3, at_ns=0)  # first token at 21.0
    model.submit(1, 1, 1, at_ns=0)
    model.advance(10_000)
    assert model.take_started() == []
    assert [done.key for done in model.advance(100_000)] == [1, 0]
    started = model.take_started()
    assert sorted(started) == [(0, 21_100), (1, 21_100)]
    assert model.take_started() == []
