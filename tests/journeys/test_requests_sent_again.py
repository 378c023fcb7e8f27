"""An ``Idempotency-Key`` makes sending again safe: one run, one bill, and always an answer in the end."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.journeys.backend import Behaviour
from tests.journeys.stage import HELLO, MODEL, Stage


def send(stage: Stage, idempotency_key: str, timeout_s: float = 30, **fields: Any) -> httpx.Response:
    with stage.http() as client:
        return client.post(
            "/v1/chat/completions",
            json={"model": MODEL, "messages": HELLO, **fields},
            headers={"idempotency-key": idempotency_key},
            timeout=timeout_s,
        )


def until_served(stage: Stage, idempotency_key: str, **fields: Any) -> httpx.Response:
    deadline = time.monotonic() + 10
    while True:
        answer = send(stage, idempotency_key, **fields)
        if answer.status_code != 429 or time.monotonic() > deadline:
            return answer
        assert answer.json()["error"]["code"] == "idempotency_in_progress"
        assert answer.headers["x-should-retry"] == "true"
        time.sleep(0.02)


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_customer_who_got_nothing_before_they_left_is_answered_the_second_time(
    stage: Stage, *, is_stream: bool
) -> None:
    stage.backend.behaviour = Behaviour(ttft_s=0.6)
    with pytest.raises(httpx.ReadTimeout):
        send(stage, f"left-{is_stream}", 0.2, stream=is_stream)
    stage.backend.behaviour = Behaviour()
    answer = until_served(stage, f"left-{is_stream}", stream=is_stream)
    assert answer.status_code == 200
    assert "tok " in answer.text
    assert "x-idempotent-replay" not in answer.headers
    stage.check_books()


def test_a_customer_who_left_in_mid_stream_is_told_what_they_paid_and_pays_no_second_time(stage: Stage) -> None:
    stage.backend.behaviour = Behaviour(tokens=500, tpot_s=0.02)
    headers = {"idempotency-key": "mid-stream"}
    body = {"model": MODEL, "messages": HELLO, "stream": True}
    with stage.http() as client, client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
        next(line for line in answer.iter_lines() if '"tok ' in line)
        request_id = answer.headers["x-request-id"]
    again = until_served(stage, "mid-stream", stream=True)
    assert again.headers["x-generation-id"] == request_id
    assert again.headers["x-idempotent-replay"] == "true"
    assert again.headers["content-type"].startswith("text/event-stream")
    assert again.text.endswith("data: [DONE]\n\n")
    assert '"ending":"hangup"' in again.text
    assert len(stage.backend.requests) == 1
    stage.check_books()


def test_the_same_key_at_once_runs_once(stage: Stage) -> None:
    stage.backend.behaviour = Behaviour(ttft_s=0.1)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send(stage, "at-once"), range(8)))
    served = [answer for answer in answers if answer.status_code == 200]
    assert len(stage.backend.requests) == 1
    assert len([answer for answer in served if "x-idempotent-replay" not in answer.headers]) == 1
    assert {answer.status_code for answer in answers} <= {200, 429}
    stage.check_books()


def test_a_stream_that_broke_runs_again_under_its_key(stage: Stage) -> None:
    stage.backend.behaviour = Behaviour(fault="close", after_tokens=2, tpot_s=0.005)
    broken = send(stage, "broken", stream=True)
    assert '"error"' in broken.text
    stage.backend.behaviour = Behaviour()
    again = send(stage, "broken", stream=True)
    assert again.text.endswith("data: [DONE]\n\n")
    assert len(stage.backend.requests) == 2
    stage.check_books()


def test_a_request_wrong_in_itself_leaves_its_key_free(stage: Stage) -> None:
    assert send(stage, "wrong", max_tokens=0).status_code == 400
    assert send(stage, "wrong", max_tokens=3).status_code == 200


@pytest.mark.parametrize("idempotency_key", ["", "k" * 256])
def test_a_key_of_no_use_is_refused(stage: Stage, idempotency_key: str) -> None:
    refused = send(stage, idempotency_key)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "Idempotency-Key")
    assert stage.backend.requests == []
