"""Answers in one body, and the typed view of the wire beneath them."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.usage import Usage
from providers.base import TokenChunk
from providers.errors import ProviderClosedEarly, ProviderError, ProviderProtocolError, ProviderStreamError
from providers.openai_chunks import WireFormatError, error_words, identity_as_it_stands, text_bytes, without_usage
from providers.openai_events import EventReader
from providers.openai_whole import Assembly, first_words, whole_chunk
from tests.providers.fake_backend import DONE, STOP, event, usage_event


def answer(message: dict[str, Any] | None = None, finish: str | None = "stop", **fields: Any) -> bytes:
    choice = {"index": 0, "message": message or {"role": "assistant", "content": "Hi"}, "finish_reason": finish}
    return json.dumps({"id": "chatcmpl-7", "model": "m", "choices": [choice], **fields}).encode()


def test_a_whole_answer_is_counted_as_its_stream_would_be() -> None:
    message = {
        "content": "día",
        "reasoning_content": "hm",
        "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}],
    }
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 64},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    chunk = whole_chunk("p-1", answer(message, "tool_calls", usage=usage))

    assert (chunk.content_bytes, chunk.content_events, chunk.finish_reason) == (4 + 2 + 3, 1, "tool_calls")
    assert (chunk.usage, chunk.reasoning_tokens) == (Usage(input=36, cached=64, output=7), 0)
    assert (chunk.response_id, chunk.response_model) == ("chatcmpl-7", "m")


def test_reasoning_that_a_whole_answer_does_not_show_is_told() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 20, "completion_tokens_details": {"reasoning_tokens": 15}}

    assert whole_chunk("p-1", answer(usage=usage)).reasoning_tokens == 15


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": 9, "completion_tokens": 0}])
def test_a_whole_answer_without_a_count_has_none(usage: dict[str, int] | None) -> None:
    chunk = whole_chunk("p-1", answer(usage=usage))

    assert (chunk.usage, chunk.tokens_through) == (None, None)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", ProviderProtocolError),
        (b"<html>", ProviderProtocolError),
        (b"[]", ProviderProtocolError),
        (b"{}", ProviderProtocolError),
        (b'{"choices":[]}', ProviderProtocolError),
        (b'{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}', ProviderProtocolError),
        (answer(usage={"prompt_tokens": -1, "completion_tokens": 1}), ProviderProtocolError),
        (answer(finish=None), ProviderClosedEarly),
        (answer(finish="error"), ProviderStreamError),
        (b'{"error":{"message":"boom"}}', ProviderStreamError),
        (b'{"object":"error","error":"boom"}', ProviderStreamError),
    ],
)
def test_a_body_that_is_no_answer_fails_as_its_kind(body: bytes, error: type[ProviderError]) -> None:
    with pytest.raises(ProviderError) as failure:
        whole_chunk("p-1", body)

    assert type(failure.value) is error


def assembled(*events: bytes) -> dict[str, Any]:
    reader, assembly = EventReader("p-1"), Assembly(1_000_000)
    for chunk in reader.feed(b"".join(events)):
        assembly.add(chunk)
    return msgspec.json.decode(assembly.body())


def test_a_stream_put_together_reads_as_an_answer_that_was_not_streamed() -> None:
    body = assembled(
        event(delta={"role": "assistant", "content": None}),
        event("Hel", logprobs=None),
        event("lo"),
        STOP,
        usage_event(100, 7, prompt_tokens_details={"cached_tokens": 64}),
        DONE,
    )

    assert body["id"] == "chatcmpl-7"
    assert body["object"] == "chat.completion"
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello"},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert body["usage"]["prompt_tokens_details"]["cached_tokens"] == 64
    assert (body["usage"]["prompt_tokens"], body["usage"]["total_tokens"]) == (100, 107)


def test_tool_calls_are_put_together_by_their_index() -> None:
    def call(index: int, **fields: Any) -> bytes:
        return event(delta={"tool_calls": [{"index": index, **fields}]})

    body = assembled(
        call(0, id="call_a", type="function", function={"name": "f", "arguments": ""}),
        call(1, id="call_b", type="function", function={"name": "g", "arguments": '{"b"'}),
        call(0, function={"arguments": '{"a":'}),
        call(0, function={"arguments": "1}"}),
        call(1, function={"arguments": ":2}"}),
        event(finish="tool_calls"),
        DONE,
    )

    assert body["choices"][0]["message"]["tool_calls"] == [
        {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
        {"id": "call_b", "type": "function", "function": {"name": "g", "arguments": '{"b":2}'}},
    ]


def test_several_choices_and_their_log_probabilities_are_put_together_apart() -> None:
    def piece(index: int, text: str) -> bytes:
        choice = {"index": index, "delta": {"content": text}, "logprobs": {"content": [{"token": text}]}}
        return b"data: " + json.dumps({"id": "chatcmpl-7", "choices": [choice]}).encode() + b"\n\n"

    stops = [event(finish="stop", index=1), event(finish="length", index=0)]
    body = assembled(piece(1, "B"), piece(0, "A"), piece(0, "a"), piece(1, "b"), *stops, DONE)

    assert [choice["message"]["content"] for choice in body["choices"]] == ["Aa", "Bb"]
    assert [choice["finish_reason"] for choice in body["choices"]] == ["length", "stop"]
    assert [each["token"] for each in body["choices"][0]["logprobs"]["content"]] == ["A", "a"]


def test_an_emoji_cut_in_two_is_one_again_when_put_together() -> None:
    halves = [event("X").replace(b"X", half) for half in (rb"\ud83c", rb"\udf89")]

    assert assembled(*halves, STOP, DONE)["choices"][0]["message"]["content"] == "\U0001f389"


def test_an_answer_that_outgrows_its_bound_is_refused_while_it_is_put_together() -> None:
    assembly = Assembly(100)

    with pytest.raises(WireFormatError, match="larger than we take"):
        assembly.add(TokenChunk(events=b"data: " + b"x" * 100 + b"\n\n"))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40)
@given(
    fields=st.dictionaries(st.text(max_size=6) | st.just("usage"), JSON_VALUES, max_size=5),
    usage=st.dictionaries(st.text(max_size=6), JSON_VALUES, max_size=3),
    is_last=st.booleans(),
)
def test_a_chunk_without_its_usage_is_the_rest_of_it(
    fields: dict[str, Any],
    usage: dict[str, Any],
    is_last: bool,  # noqa: FBT001
) -> None:
    rest = {name: value for name, value in fields.items() if name != "usage"}
    chunk = {**rest, "usage": usage} if is_last else {"usage": usage, **rest}
    data = json.dumps(chunk, separators=(",", ":"), ensure_ascii=False).encode()

    assert json.loads(without_usage(data)) == rest


@given(st.text())
def test_text_is_counted_in_utf8(text: str) -> None:
    assert text_bytes(text) == len(text.encode())


@given(identity=st.text(max_size=20), model=st.text(max_size=20))
def test_an_identity_is_found_between_its_quotes(identity: str, model: str) -> None:
    data = json.dumps({"model": model, "choices": [], "id": identity}).encode()
    found_id, found_model = identity_as_it_stands(data)

    assert f'"id": "{found_id}"'.encode() in data
    assert f'"model": "{found_model}"'.encode() in data


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error":{"message":"no such model","type":"not_found"}}', "no such model"),
        (b'{"error":"busy"}', "busy"),
        (b'{"message":"busy"}', "busy"),
        (b'{"detail":"Not Found"}', "Not Found"),
        (b'{"detail":[{"loc":["body"],"msg":"field required"}]}', "field required"),
        (b'{"error":{"code":"overloaded"}}', "overloaded"),
        (b"  upstream\n\tconnect error ", "upstream connect error"),
        (b"{}", "{}"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"", ""),
        (b"[" * 2_000, "[" * 300),
    ],
)
def test_what_a_refusal_says_is_found_in_the_usual_places(body: bytes, words: str) -> None:
    assert first_words(body) == words


def test_words_nested_beyond_all_reason_are_not_looked_for() -> None:
    deep: Any = "bottom"
    for _ in range(500):
        deep = {"error": deep}

    assert error_words(deep) == ""
