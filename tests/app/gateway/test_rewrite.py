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


def parsed(events: bytes) -> list[dict[str, Any]]:
    return [json.loads(block.removeprefix(b"data: ")) for block in events.split(b"\n\n") if block]


def test_a_backend_without_id_or_model_gets_ours_all_the_same() -> None:
    raw = b'data: {"choices":[]}\n\ndata: {"id":null,"choices":[1]}\n\n'
    ours = {"id": "gen_1", "model": "m", "service_tier": "default"}
    assert parsed(Rewriter("gen_1", "m", "default").events(raw, "", "")) == [
        {**ours, "choices": []},
        {**ours, "choices": [1]},
    ]


def test_a_backend_that_changes_its_spelling_in_mid_answer_is_still_rewritten() -> None:
    rewriter = Rewriter("gen_1", "public-m", "default")
    for spaced in (True, False, True):
        assert rewritten(event("a", spaced=spaced), rewriter)["id"] == "gen_1"
    mixed = rewriter.events(event("a", spaced=True) + event("b"), "chatcmpl-abc", "backend/m")
    assert [(each["id"], each["model"]) for each in parsed(mixed)] == [("gen_1", "public-m")] * 2


def test_a_backends_own_tier_at_the_end_of_the_event_gives_way_too() -> None:
    raw = b'data: {"id":"chatcmpl-abc","model":"backend/m","choices":[],"service_tier":"default"}\n\n'
    assert rewritten(raw)["service_tier"] == "priority"


def test_comments_and_event_names_are_dropped_where_events_are_read_one_by_one() -> None:
    raw = b': ping\n\nevent: message\ndata: {"choices":[]}\n\n'
    assert len(parsed(Rewriter("gen_1", "m", "default").events(raw, "", ""))) == 1


def test_every_chunk_says_that_usage_is_yet_to_come_where_it_was_asked_for() -> None:
    rewriter = Rewriter("gen_1", "public-m", "default", wants_usage=True)
    said = rewriter.events(event("a") + event("b"), "chatcmpl-abc", "backend/m")
    already = rewriter.events(event("c", usage=None), "chatcmpl-abc", "backend/m")
    nameless = rewriter.events(b'data: {"choices":[]}\n\n', "", "")
    assert [each["usage"] for each in parsed(said + already + nameless)] == [None] * 4
    assert already.count(b'"usage"') == 1
    assert "usage" not in rewritten(event("a"))


def test_half_an_emoji_passes_as_it_came() -> None:
    body = b'{"id":"x","choices":[{"message":{"content":"\\ud83d"}}]}'
    out = json.loads(Rewriter("gen_1", "m", "flex").body(body, {}))
    assert (out["id"], out["choices"][0]["message"]["content"]) == ("gen_1", "\ud83d")


def test_reasoning_beyond_what_is_billed_is_not_shown() -> None:
    ladder = Ladder((Rung(Tier.BULK, Slo(1_000, 0), Rates(*(Rate(1_000),) * 4)),))
    charge = rate(ladder, Usage(output=2), grade(Timeline((1,), (2,), (0,)), ladder))
    assert usage_body(Usage(output=2), charge, 7, {})["completion_tokens_details"] == {"reasoning_tokens": 2}


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
