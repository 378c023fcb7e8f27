"""Reading a request: strict about what the market must know, tolerant about the rest, and clear when it refuses."""

from typing import Any

import msgspec
import pytest

from app.errors import MarketError
from app.gateway.wire import STAYS_HERE, read_order
from pricing.slo import Tier
from scheduler.jobs import Capability

HELLO = [{"role": "user", "content": "Hello"}]


def body(**fields: Any) -> bytes:
    return msgspec.json.encode({"model": "m", "messages": HELLO, **fields})


def refusal(raw: bytes) -> MarketError:
    with pytest.raises(MarketError) as refused:
        read_order(raw)
    return refused.value


def test_a_plain_request_asks_for_standard_unstreamed_without_limit() -> None:
    order = read_order(body())
    assert (order.model, order.tier, order.is_stream, order.wants_usage) == ("m", Tier.STANDARD, False, False)
    assert order.output_tokens_max is None
    assert order.needs == frozenset()


@pytest.mark.parametrize(
    ("word", "tier"),
    [
        ("priority", Tier.PREMIUM), ("fast", Tier.PREMIUM), ("premium", Tier.PREMIUM),
        ("auto", Tier.STANDARD), ("default", Tier.STANDARD), ("standard", Tier.STANDARD),
        ("standard_only", Tier.STANDARD), ("scale", Tier.STANDARD), (None, Tier.STANDARD),
        ("flex", Tier.BULK), ("bulk", Tier.BULK),
    ],
)  # fmt: skip
def test_each_published_word_names_its_tier(word: str | None, tier: Tier) -> None:
    assert read_order(body(service_tier=word)).tier is tier


def test_unknown_fields_pass_untouched_and_ours_stay_here() -> None:
    order = read_order(body(temperature=0.25, verbosity="low", made_up={"a": [1]}, user="u", metadata={"k": "v"}))
    assert set(order.fields) == {"messages", "temperature", "verbosity", "made_up"}
    assert bytes(order.fields["made_up"]) == b'{"a":[1]}'
    assert not set(order.fields) & STAYS_HERE


def test_usage_is_wanted_only_when_streamed_and_asked_for() -> None:
    asked = {"stream_options": {"include_usage": True}}
    assert read_order(body(stream=True, **asked)).wants_usage
    assert not read_order(body(stream=False, **asked)).wants_usage
    assert not read_order(body(stream=True)).wants_usage


def test_the_newer_limit_wins_over_the_deprecated_one() -> None:
    order = read_order(body(max_tokens=5, max_completion_tokens=7))
    assert (order.limit_field, order.output_tokens_max) == ("max_completion_tokens", 7)


def test_needs_follow_from_what_is_used() -> None:
    order = read_order(
        body(stream=True, tools=[{"type": "function"}], response_format={"type": "json_schema"}, logprobs=True)
    )
    assert order.needs == frozenset(Capability) - {Capability.CONTINUATION}  # which only a continuation needs


def test_empty_tools_need_nothing() -> None:
    assert read_order(body(tools=[], response_format={"type": "text"}, logprobs=False)).needs == frozenset()


def test_the_prompt_is_measured_in_bytes_as_received() -> None:
    messages = b'[{"role":"user","content":"\xc3\xa4"}]'
    assert read_order(b'{"model":"m","messages":' + messages + b"}").prompt_bytes == len(messages)


@pytest.mark.parametrize(
    ("raw", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b"[]", "invalid_json", None),
        (b"null", "invalid_json", None),
        (b'{"model":"m\xff"}', "invalid_utf8", None),
        (b'{"model":"m","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "invalid_json", None),
        (msgspec.json.encode({"messages": HELLO}), "missing_required_parameter", "model"),
        (msgspec.json.encode({"model": "", "messages": HELLO}), "missing_required_parameter", "model"),
        (msgspec.json.encode({"model": "m"}), "missing_required_parameter", "messages"),
        (body(model=7), "invalid_type", "model"),
        (body(model="m" * 257), "invalid_value", "model"),
        (body(messages=[]), "invalid_value", "messages"),
        (body(messages="hi"), "invalid_type", "messages"),
        (body(messages=[{"role": "wizard"}]), "invalid_value", "messages[0].role"),
        (body(messages=[{"content": "no role"}]), "invalid_type", "messages[0]"),
        (body(max_tokens=0), "invalid_value", "max_tokens"),
        (body(max_completion_tokens=-1), "invalid_value", "max_completion_tokens"),
        (body(max_tokens="many"), "invalid_type", "max_tokens"),
        (body(max_tokens=1.5), "invalid_type", "max_tokens"),
        (body(max_tokens=True), "invalid_type", "max_tokens"),
        (body(stream="yes"), "invalid_type", "stream"),
        (body(service_tier="warp"), "invalid_service_tier", "service_tier"),
        (body(n=2), "unsupported_parameter", "n"),
    ],
)
def test_what_is_wrong_is_refused_with_the_field_at_fault(raw: bytes, code: str, param: str | None) -> None:
    error = refusal(raw)
    assert (error.status, error.code, error.param) == (400, code, param)


def test_a_refusal_never_echoes_a_flood() -> None:
    assert len(refusal(body(max_tokens=-(10**300))).message) < 200
    assert len(refusal(body(service_tier="x" * 100_000)).message) < 300
