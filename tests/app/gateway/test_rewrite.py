"""Rewriting a backend's bytes: our id, model and tier; content is never touched."""

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.rewrite import Rewriter, usage_body
from pricing.goodput import Timeline, grade
from pricing.money import NanoUsd, Rate
from pricing.rating import ChargeLine, Ending, rate
from pricing.slo import Ladder, Rung, Slo, Tier
from pricing.usage import Rates, Usage


def event(content: str, *, spaced: bool = False, **fields: Any) -> bytes:
    chunk = {
        "id": "chatcmpl-abc",
        "object": "chat.completion.chunk",
        "model": "backend/m",
        **fields,
        "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": None}],
    }
    separators = (", ", ": ") if spaced else (",", ":")
    return b"data: " + json.dumps(chunk, separators=separators).encode() + b"\n\n"


def rewritten(events: bytes, rewriter: Rewriter | None = None) -> dict[str, Any]:
    out = (rewriter or Rewriter("gen_1", "public-m", "priority")).events(events, "chatcmpl-abc", "backend/m")
    return json.loads(out.removeprefix(b"data: "))


@given(content=st.text(max_size=80), spaced=st.booleans())
def test_ids_change_and_content_does_not(content: str, *, spaced: bool) -> None:
    chunk = rewritten(event(content, spaced=spaced))
    assert (chunk["id"], chunk["model"], chunk["service_tier"]) == ("gen_1", "public-m", "priority")
    assert chunk["choices"][0]["delta"]["content"] == content


def test_content_that_imitates_the_envelope_is_left_alone() -> None:
    trap = '"id":"chatcmpl-abc","model":"backend/m","service_tier":null,'
    assert rewritten(event(trap))["choices"][0]["delta"]["content"] == trap


def test_a_backends_own_tier_gives_way_to_the_tier_served() -> None:
    assert rewritten(event("x", service_tier=None))["service_tier"] == "priority"
    assert rewritten(event("x", service_tier="default", spaced=True))["service_tier"] == "priority"


def test_names_with_escapes_are_found_as_they_stand() -> None:
    raw = rb'data: {"id":"a\/b","model":"org\/m","choices":[]}' + b"\n\n"
    out = Rewriter("gen_1", "org/m", "default").events(raw, r"a\/b", r"org\/m")
    assert json.loads(out.removeprefix(b"data: ")) == {
        "id": "gen_1",
        "service_tier": "default",
        "model": "org/m",
        "choices": [],
    }


def test_each_event_of_one_read_is_rewritten() -> None:
    rewriter = Rewriter("gen_1", "public-m", "default")
    out = rewriter.events(event("a") + event("b"), "chatcmpl-abc", "backend/m")
    assert out.count(b'"id":"gen_1"') == 2
    assert b"chatcmpl-abc" not in out


def test_a_backend_without_ids_passes_as_it_is() -> None:
    raw = b'data: {"choices":[]}\n\n'
    assert Rewriter("gen_1", "m", "default").events(raw, "", "") == raw


def test_a_whole_body_keeps_what_the_backend_added() -> None:
    out = Rewriter("gen_1", "public-m", "flex").body(b'{"id":"x","model":"y","usage":null,"extra":[1.50]}', {"a": 1})
    assert json.loads(out) == {
        "id": "gen_1",
        "model": "public-m",
        "usage": {"a": 1},
        "extra": [1.5],
        "service_tier": "flex",
    }
    assert b"1.50" in out


def test_usage_names_cost_exactly_and_counts_goodput_and_billed_tokens() -> None:
    dear, cheap = (Rates(*(Rate(pico),) * 4) for pico in (3_000, 1_000))
    ladder = Ladder((Rung(Tier.PREMIUM, Slo(100, 10), dear), Rung(Tier.STANDARD, Slo(1_000, 100), cheap)))
    graded = grade(Timeline((50, 500), (1, 3), (0, 0)), ladder)
    charge = rate(ladder, Usage(input=2, cached=1, output=3), graded)
    usage = json.loads(msgspec.json.encode(usage_body(Usage(2, 1, 0, 3), charge, 0, {"attained": False})))
    # 3 input tokens and the first output token at 3 nano, two late output tokens at 1 nano.
    assert charge.lines[0] == ChargeLine(Tier.PREMIUM, Usage(2, 1), 1, NanoUsd(12))
    assert usage["cost"] == 14e-9
    assert usage["cost_details"] == {"gross": 18e-9, "slo_adjustment": 4e-9}
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (3, 3, 6)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 1
    assert (usage["goodput_tokens"], usage["billed_tokens"], usage["tier"]) == (1, 3, "premium")


def test_a_failed_answer_bills_no_token() -> None:
    rates = Rates(*(Rate(1_000),) * 4)
    ladder = Ladder((Rung(Tier.BULK, Slo(1_000, 0), rates),))
    graded = grade(Timeline((1,), (1,), (0,)), ladder)
    charge = rate(ladder, Usage(output=1), graded, Ending.PROVIDER_ERROR)
    assert usage_body(Usage(output=1), charge, 0, {})["billed_tokens"] == 0
