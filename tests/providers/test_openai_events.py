"""From a streamed answer's bytes to what was delivered."""

import contextlib
import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.usage import Usage
from providers.base import TokenChunk
from providers.errors import ProviderClosedEarly, ProviderError, ProviderProtocolError, ProviderStreamError
from providers.openai_events import CHOICES_MAX, EventReader
from providers.openai_whole import Assembly, whole_chunk
from tests.providers.fake_backend import DONE, GOOD, HELLO, ROLE, STOP, data, event, usage_event


def read(*parts: bytes, choices: int = 1, event_bytes_max: int = 10_000) -> tuple[list[TokenChunk], EventReader]:
    """Feeds parts until the answer is over, then ends it if need be."""
    reader = EventReader("p-1", choices, event_bytes_max)
    chunks: list[TokenChunk] = []
    for part in parts:
        if not reader.is_over:
            chunks += reader.feed(part)
    return (chunks if reader.is_over else chunks + reader.end()), reader


def failure_of(*parts: bytes, **options: Any) -> ProviderError:
    failure = read(*parts, **options)[1].failure
    assert failure is not None
    return failure


def test_one_read_gives_one_chunk_with_all_that_it_brought() -> None:
    (chunk,), reader = read(GOOD)

    assert chunk == TokenChunk(
        events=b"".join([ROLE, *HELLO, STOP]),
        response_id="chatcmpl-7",
        response_model="backend/m",
        content_bytes=5,
        content_events=2,
        tokens_through=2,
        finish_reason="stop",
        usage=Usage(input=9, output=2),
    )
    assert reader.failure is None


@given(places=st.lists(st.integers(0, len(GOOD)), max_size=10))
def test_however_the_bytes_are_cut_the_same_is_delivered_and_usage_comes_last(places: list[int]) -> None:
    edges = [0, *sorted(places), len(GOOD)]
    chunks, reader = read(*(GOOD[start:end] for start, end in itertools.pairwise(edges)))

    assert reader.failure is None
    assert b"".join(chunk.events for chunk in chunks) == b"".join([ROLE, *HELLO, STOP])
    assert sum(chunk.content_bytes for chunk in chunks) == 5
    assert sum(chunk.content_events for chunk in chunks) == 2
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]
    assert [chunk.usage for chunk in chunks if chunk.usage] == [Usage(input=9, output=2)]
    assert chunks[-1].usage is not None


def test_a_stream_with_crlf_is_passed_on_with_lf_and_counts_the_same() -> None:
    (chunk,), _ = read(GOOD.replace(b"\n", b"\r\n"))

    assert chunk.events == b"".join([ROLE, *HELLO, STOP])
    assert chunk.content_bytes == 5


def test_comments_are_dropped_and_alone_bring_no_chunk() -> None:
    reader = EventReader("p-1")

    assert reader.feed(b": OPENROUTER PROCESSING\n\n") == []
    assert reader.events_seen == 0
    (chunk,) = reader.feed(b": ping\n" + HELLO[0])
    assert chunk.events == HELLO[0]


@pytest.mark.parametrize(
    ("delta", "size"),
    [
        ({"content": "día"}, 4),
        ({"content": "🎉"}, 4),
        ({"content": [{"type": "text", "text": "ab"}, {"type": "image_url"}]}, 2),
        ({"reasoning_content": "hmm"}, 3),
        ({"reasoning": "hmm"}, 3),
        ({"reasoning": "hmm", "reasoning_content": "hmm"}, 3),
        ({"content": "a", "reasoning_content": "hmm", "refusal": "no"}, 6),
        ({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]}, 1),
        ({"tool_calls": [{"function": {"arguments": '{"a":'}}, {"function": {"arguments": "1}"}}]}, 7),
        ({"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}, 8),
        ({"function_call": {"name": "f", "arguments": "{}"}}, 3),
        ({"content": None, "tool_calls": None, "refusal": None}, 0),
        ({}, 0),
    ],
)
def test_content_is_counted_in_utf8_bytes_of_everything_that_can_be_read(delta: dict[str, Any], size: int) -> None:
    (chunk,), reader = read(event(delta=delta) + STOP + DONE)

    assert (chunk.content_bytes, chunk.content_events) == (size, 1 if size else 0)
    assert reader.has_content is bool(size)


def test_half_an_emoji_in_each_of_two_events_is_counted_and_passed_on() -> None:
    halves = [event("X").replace(b"X", half) for half in (rb"\ud83c", rb"\udf89")]
    (chunk,), reader = read(b"".join(halves) + STOP + DONE)

    assert reader.failure is None
    assert chunk.events.startswith(b"".join(halves))
    assert chunk.content_bytes == 6  # each half alone is three bytes


def test_identity_is_told_as_it_stands_between_the_quotes() -> None:
    odd = event("a").replace(b'"backend/m"', rb'"backend\/m"')
    (chunk,), _ = read(odd + STOP.replace(b'"backend/m"', rb'"backend\/m"') + DONE)

    assert chunk.response_model == r"backend\/m"
    assert chunk.response_model.encode() in chunk.events


def test_events_of_different_identity_come_in_chunks_of_their_own() -> None:
    other = event("b").replace(b"chatcmpl-7", b"chatcmpl-8")
    chunks, _ = read(event("a") + other + other + STOP + DONE)

    assert [(chunk.response_id, chunk.content_bytes) for chunk in chunks] == [
        ("chatcmpl-7", 1),
        ("chatcmpl-8", 2),
        ("chatcmpl-7", 0),
    ]


def test_an_answer_without_id_and_model_has_neither() -> None:
    bare = data({"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]})
    (chunk,), _ = read(bare + DONE)

    assert (chunk.response_id, chunk.response_model, chunk.content_bytes) == ("", "", 1)


def test_cached_and_written_tokens_are_taken_out_of_the_input() -> None:
    details = {"cached_tokens": 64, "cache_write_tokens": 6}
    (chunk,), _ = read(event("a") + STOP + usage_event(100, 7, prompt_tokens_details=details) + DONE)

    assert chunk.usage == Usage(input=30, cached=64, cache_write=6, output=7)


def test_reasoning_that_was_never_shown_is_told_apart_from_reasoning_that_was() -> None:
    usage = usage_event(9, 20, completion_tokens_details={"reasoning_tokens": 15})
    (hidden,), _ = read(event("a") + STOP + usage + DONE)
    (shown,), _ = read(event(delta={"reasoning_content": "hm"}) + event("a") + STOP + usage + DONE)

    assert (hidden.reasoning_tokens, shown.reasoning_tokens) == (15, 0)


def test_running_usage_tells_tokens_through_and_is_not_passed_on() -> None:
    running = [
        event(text, usage={"prompt_tokens": 9, "completion_tokens": tokens, "total_tokens": 9 + tokens})
        for text, tokens in (("Hel", 1), ("lo", 3))
    ]
    chunks, reader = read(*running, STOP, usage_event(9, 4), DONE)

    assert [chunk.tokens_through for chunk in chunks] == [1, 3, None, 4, None]
    assert b"usage" not in b"".join(chunk.events for chunk in chunks)
    assert chunks[0].events == event("Hel")
    assert [chunk.usage for chunk in chunks] == [None, None, None, None, Usage(input=9, output=4)]
    assert reader.failure is None


def test_usage_in_the_middle_of_an_event_is_cut_out_and_the_rest_kept() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 0}}
    odd = data({"usage": usage, "x": {"usage": 1}, "choices": [{"delta": {"content": "a"}}]})
    (chunk, *_), _ = read(odd, STOP, DONE)

    assert chunk.events == b'data: {"x":{"usage":1},"choices":[{"delta":{"content":"a"}}]}\n\n'


def test_usage_beside_the_finish_reason_is_final() -> None:
    last = event(finish="stop", usage={"prompt_tokens": 9, "completion_tokens": 2})
    (chunk,), _ = read(b"".join(HELLO) + last + DONE)

    assert chunk.usage == Usage(input=9, output=2)
    assert chunk.events == b"".join(HELLO) + event(finish="stop")


def test_running_usage_that_stops_before_the_finish_is_not_final() -> None:
    running = event("Hel", usage={"prompt_tokens": 9, "completion_tokens": 1})
    chunks, reader = read(running, event("lo"), STOP, DONE)

    assert [chunk.usage for chunk in chunks if chunk.usage] == []
    assert reader.failure is None


def test_the_same_usage_twice_is_told_once() -> None:
    chunks, reader = read(event("a") + STOP + usage_event(9, 2) * 2 + DONE)

    assert [chunk.usage for chunk in chunks] == [Usage(input=9, output=2)]
    assert reader.failure is None


@pytest.mark.parametrize("later", [(9, 1), (8, 2)])
def test_usage_that_falls_is_contradictory(later: tuple[int, int]) -> None:
    failure = failure_of(event("a"), STOP, usage_event(9, 2), usage_event(*later), DONE)

    assert isinstance(failure, ProviderProtocolError)
    assert "contradictory usage" in failure.detail
    assert "after 9 and 2" in failure.detail


def test_a_contradiction_takes_back_no_content_but_the_finish_that_came_with_it() -> None:
    chunks, _ = read(event("a"), event("b") + STOP + usage_event(9, 2) + usage_event(9, 1) + DONE)

    assert [chunk.content_bytes for chunk in chunks] == [1, 1]
    assert [chunk.finish_reason for chunk in chunks] == [None, None]


@pytest.mark.parametrize(
    "usage",
    [
        usage_event(-1, 2),
        usage_event(9, -2),
        usage_event(9, 2, prompt_tokens_details={"cached_tokens": 10}),
        usage_event(9, 10**12),
        data({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": "two"}}),
        data({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 10**30}}),
    ],
)
def test_usage_that_cannot_be_is_a_protocol_error(usage: bytes) -> None:
    assert isinstance(failure_of(event("a"), STOP, usage, DONE), ProviderProtocolError)


@pytest.mark.parametrize(
    "usage",
    [b"", data({"choices": [], "usage": {}}), data({"choices": [], "usage": None}), usage_event(9, 0)],
)
def test_an_answer_whose_usage_says_nothing_has_none(usage: bytes) -> None:
    (chunk,), reader = read(event("a") + STOP + usage + DONE)

    assert reader.failure is None
    assert (chunk.usage, chunk.finish_reason) == (None, "stop")


def test_an_answer_of_no_tokens_at_all_has_a_usage_of_none() -> None:
    (chunk,), _ = read(STOP + usage_event(9, 0) + DONE)

    assert chunk.usage == Usage(input=9)


def test_done_is_not_needed_after_the_finish_reason() -> None:
    chunks, reader = read(event("a"), STOP, usage_event(9, 1))

    assert reader.failure is None
    assert chunks[-1].usage == Usage(input=9, output=1)


def test_a_last_event_without_its_closing_empty_line_counts() -> None:
    chunks, reader = read(event("a"), STOP.rstrip(b"\n"))

    assert reader.failure is None
    assert chunks[-1].finish_reason == "stop"


@pytest.mark.parametrize("end", [b"", DONE, STOP[:-20], b"data: {"])
def test_an_end_without_a_finish_reason_is_early(end: bytes) -> None:
    failure = failure_of(event("a"), end)

    assert isinstance(failure, ProviderClosedEarly)
    assert "without a finish reason" in failure.detail


@given(place=st.integers(0, len(GOOD) - 1))
def test_an_answer_cut_off_at_any_byte_is_early_or_complete_but_never_garbage(place: int) -> None:
    chunks, reader = read(GOOD[:place])

    finished = [chunk.finish_reason for chunk in chunks if chunk.finish_reason]
    assert finished == ([] if isinstance(reader.failure, ProviderClosedEarly) else ["stop"])


@pytest.mark.parametrize(
    "error",
    [
        data({"error": {"message": "out of memory", "type": "server_error", "code": None}}),
        data({"error": "out of memory"}),
        b"event: error\n" + data({"message": "out of memory"}),
        b"event: error\n" + data({"error": {"message": "out of memory"}}),
        b"event: error\ndata: out of memory\n\n",
        event(finish="error", error={"code": 502, "message": "out of memory"}),
    ],
)
def test_an_error_in_the_stream_ends_it_with_the_backends_words(error: bytes) -> None:
    chunks, reader = read(event("a"), error, event("b"))

    assert isinstance(reader.failure, ProviderStreamError)
    assert reader.failure.detail == "out of memory"
    assert len(chunks) == 1


def test_a_finish_reason_of_error_is_an_error_without_words() -> None:
    assert isinstance(failure_of(event("a"), event(finish="error")), ProviderStreamError)


def test_a_failure_with_the_first_content_hides_it_so_that_another_offer_may_be_tried() -> None:
    chunks, reader = read(ROLE, event("a") + data({"error": "busy"}))

    assert [chunk.content_bytes for chunk in chunks] == [0]
    assert isinstance(reader.failure, ProviderStreamError)


def test_a_failure_after_content_was_passed_on_follows_what_was_read_with_it() -> None:
    chunks, reader = read(event("a"), event("b") + b"data: {nonsense\n\n")

    assert [chunk.content_bytes for chunk in chunks] == [1, 1]
    assert isinstance(reader.failure, ProviderProtocolError)


@pytest.mark.parametrize(
    "garbage",
    [
        b"data: hello\n\n",
        b"data: [1, 2]\n\n",
        b'data: {"choices": {"a": 1}}\n\n',
        b'data: {"choices":[{"delta":{"content":7}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n',
        b"data: " + b"[" * 3_000 + b"\n\n",
        b'data: {"x":' + b'{"y":' * 3_000 + b"1" + b"}" * 3_001 + b"\n\n",
        b"<html><body>502</body></html>\n\n",
        b"\x16\x03\x01\x02\x00\x01\n\n",
    ],
)
def test_garbage_is_a_protocol_error(garbage: bytes) -> None:
    assert isinstance(failure_of(garbage, event_bytes_max=100_000), ProviderProtocolError)


def test_an_event_that_never_ends_is_a_protocol_error_that_names_the_bound() -> None:
    failure = failure_of(*[b"data: " + b"x" * 5_000] * 3)

    assert isinstance(failure, ProviderProtocolError)
    assert "more than 10000 bytes" in failure.detail


def test_several_choices_finish_with_the_last_of_them() -> None:
    def both(text: str) -> bytes:
        return event(text, index=0) + event(text, index=1)

    stop = [event(finish="stop", index=0), event(finish="length", index=1)]
    chunks, reader = read(both("a"), *stop, usage_event(9, 2), DONE, choices=2)

    assert [chunk.finish_reason for chunk in chunks] == [None, None, "length", None, None]
    assert chunks[-1].usage == Usage(input=9, output=2)
    assert reader.failure is None


def test_one_of_several_choices_left_unfinished_is_an_early_end() -> None:
    failure = failure_of(event("a", index=0), event("a", index=1), event(finish="stop", index=0), DONE, choices=2)

    assert isinstance(failure, ProviderClosedEarly)


def test_fewer_choices_than_asked_for_are_an_answer_when_they_finish() -> None:
    chunks, reader = read(event("a"), STOP, DONE, choices=3)

    assert reader.failure is None
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]


def test_running_usage_of_several_choices_says_nothing_and_may_fall() -> None:
    running = [event("a", index=i, usage={"prompt_tokens": 9, "completion_tokens": n}) for i, n in ((0, 5), (1, 1))]
    chunks, reader = read(*running, event(finish="stop"), event(finish="stop", index=1), DONE, choices=2)

    assert {chunk.tokens_through for chunk in chunks} == {None}
    assert reader.failure is None


def test_more_choices_than_anyone_may_ask_for_are_garbage() -> None:
    endless = (event("a", index=index) for index in range(CHOICES_MAX + 1))

    assert isinstance(failure_of(*endless, choices=2), ProviderProtocolError)


WIRE_NAMES = st.sampled_from(
    [
        *("id", "model", "choices", "usage", "error", "delta", "message", "content", "logprobs", "tool_calls", "index"),
        *("function", "arguments", "finish_reason", "prompt_tokens", "completion_tokens", "prompt_tokens_details"),
    ]
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WIRE_NAMES | st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(parts=st.lists(st.binary(max_size=60) | st.sampled_from([DONE, STOP, *HELLO, b"data: "]), max_size=6))
def test_no_bytes_whatever_make_the_reader_stumble(parts: list[bytes]) -> None:
    chunks, reader = read(*parts)

    assert reader.failure is not None or chunks[-1].finish_reason == "stop" or reader.is_finished


@settings(max_examples=40)
@given(
    body=JSON_VALUES,
    choice=st.dictionaries(WIRE_NAMES, JSON_VALUES, max_size=4),
    call=st.dictionaries(WIRE_NAMES, JSON_VALUES, max_size=3),
)
def test_no_json_whatever_makes_a_reader_stumble(body: Any, choice: dict[str, Any], call: dict[str, Any]) -> None:
    for each in (body, {"choices": [choice]}, {"choices": [{"delta": {"tool_calls": [call]}, **choice}]}):
        chunks, reader = read(data(each), STOP, DONE)
        assert reader.is_over
        assembly = Assembly(100_000)
        for chunk in chunks:
            assembly.add(chunk)
        assert json.loads(assembly.body())["object"] == "chat.completion"
        with contextlib.suppress(ProviderError):
            whole_chunk("p-1", data(each)[6:-2])
