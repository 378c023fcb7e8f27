"""Prompts in odd fields, limits by other names, many tokens an event, reasoning nobody sees: all are paid for."""

import json
from typing import Any

import httpx
import pytest

from tests.journeys.backend import Behaviour
from tests.journeys.stage import Stage, ask


def receipt_of(stage: Stage, answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return stage.receipt(answer.headers["x-request-id"])


@pytest.mark.parametrize("field", ["functions", "documents", "response_format", "chat_template_kwargs"])
def test_a_prompt_outside_the_messages_is_paid_for(stage: Stage, field: str) -> None:
    # 20 kB are at most 12,000 tokens at 0.6 a byte; the backend finds 5,000.
    hidden: Any = {"type": "text", "text": "word " * 4_000}
    stage.backend.behaviour = Behaviour(prompt_tokens=5_000)
    fields: dict[str, Any] = {field: [hidden] if field in {"functions", "documents"} else hidden}
    answer = ask(stage, "", max_tokens=5, **fields)
    assert receipt_of(stage, answer)["usage"]["input"] == 5_000
    stage.check_books()


def test_sampling_fields_are_no_prompt(stage: Stage) -> None:
    plain, biased = ask(stage), ask(stage, logit_bias={str(token): 1 for token in range(2_000)}, stop=["x" * 9_000])
    held = [receipt_of(stage, answer)["bill"]["held"] for answer in (plain, biased)]
    assert held[0] == held[1]


def test_a_limit_by_another_name_stays_here(stage: Stage) -> None:
    ask(stage, max_tokens=3, n_predict=4_000, max_new_tokens=4_000, best_of=8, use_beam_search=True)
    sent = stage.backend.requests[-1]
    assert sent["max_tokens"] == 3
    assert not {"n_predict", "max_new_tokens", "best_of", "use_beam_search"} & set(sent)


def test_a_backend_gets_no_limit_that_the_customer_did_not_set(stage: Stage) -> None:
    # What its context leaves only the backend knows; with our guess it would refuse a prompt longer than guessed.
    assert ask(stage).status_code == 200
    assert not {"max_tokens", "max_completion_tokens"} & set(stage.backend.requests[-1])
    assert ask(stage, max_completion_tokens=7).status_code == 200
    assert stage.backend.requests[-1]["max_completion_tokens"] == 7


def test_a_backend_that_does_not_heed_the_limit_is_stopped(stage: Stage) -> None:
    stage.backend.behaviour = Behaviour(tokens=2_000, tpot_s=0.001, heeds_limit=False)
    answer = ask(stage, stream=True, max_tokens=10)
    assert answer.text.count('"tok "') < 500
    assert '"finish_reason":"length"' in answer.text
    receipt = receipt_of(stage, answer)
    assert (receipt["usage"]["output"], receipt["finish_reason"]) == (10, "length")
    stage.check_books()


def test_reasoning_that_nobody_sees_extends_the_hold_and_is_billed(stage: Stage) -> None:
    stage.backend.behaviour = Behaviour(tokens=10, hidden_tokens=2_990)
    answer = ask(stage, stream=True, stream_options={"include_usage": True})
    receipt = receipt_of(stage, answer)
    assert (receipt["usage"]["output"], receipt["usage"]["reasoning"]) == (3_000, 2_990)
    # 10 input tokens at 1 $/M and 3,000 output tokens at 4 $/M.
    assert receipt["bill"]["net"] == receipt["bill"]["gross"] == "0.01201"
    assert receipt["finish_reason"] == "stop"
    stage.check_books()


def test_hidden_reasoning_beyond_an_empty_wallet_is_ours_and_the_answer_ends_as_it_ended(stage: Stage) -> None:
    # 1,024 output tokens at 4 $/M are held (4.096 m$), and nothing is left for the hidden rest.
    stage.backend.behaviour = Behaviour(tokens=10, hidden_tokens=2_990)
    _, key = stage.new_key(credit_nano=4_200_000)
    answer = ask(stage, key, stream=True, stream_options={"include_usage": True})
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    reasons = [choice["finish_reason"] for event in events for choice in event["choices"] if choice["finish_reason"]]
    assert reasons == ["stop"]
    usage = events[-1]["usage"]
    assert (usage["completion_tokens"], usage["completion_tokens_details"]["reasoning_tokens"]) == (1_024, 1_024)
    stage.check_books()


def test_events_of_many_tokens_do_not_outrun_an_empty_wallet(stage: Stage) -> None:
    # 80 bytes are at least 10 tokens; one event each, uncounted until the end.
    stage.backend.behaviour = Behaviour(tokens=2_000, tpot_s=0.0005, token_text="word " * 16)
    _, key = stage.new_key(credit_nano=4_200_000)
    answer = ask(stage, key, stream=True)
    assert '"finish_reason":"length"' in answer.text
    assert answer.text.count('"delta"') < 800
    stage.check_books()


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("reason", ["x" * 3_000, "s\0top", "\ud83d", "content_filter", "tool_calls"])
def test_any_word_for_the_end_is_passed_on_and_settled(stage: Stage, reason: str, *, is_stream: bool) -> None:
    stage.backend.behaviour = Behaviour(finish_reason=reason)
    answer = ask(stage, stream=is_stream)
    assert json.dumps(reason)[1:-1] in answer.text or reason.encode("utf-8", "ignore") in answer.content
    told = receipt_of(stage, answer)["finish_reason"]
    assert told == reason.replace("\0", "").replace("\ud83d", "?")[:100]
    stage.check_books()


@pytest.mark.parametrize("is_stream", [False, True])
def test_half_an_emoji_is_delivered_before_it_is_billed(stage: Stage, *, is_stream: bool) -> None:
    stage.backend.behaviour = Behaviour(token_text="\ud83d", tokens=2)
    answer = ask(stage, stream=is_stream)
    assert answer.text.count("\\ud83d") == 2
    assert receipt_of(stage, answer)["bill"]["net"] == "0.000018"


@pytest.mark.parametrize("is_stream", [False, True])
def test_an_answer_without_a_token_is_free_and_no_broken_promise(stage: Stage, *, is_stream: bool) -> None:
    stage.backend.behaviour = Behaviour(tokens=0)
    receipt = receipt_of(stage, ask(stage, stream=is_stream))
    assert (receipt["bill"]["net"], receipt["attained"], receipt["usage"]["output"]) == ("0.00", True, 0)
    stage.check_books()
