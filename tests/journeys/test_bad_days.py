"""What goes wrong at a provider or in a request: the right answer, nothing charged unduly, the books balanced."""

import json
import socket
import time
from typing import Any

import httpx
import pytest

from tests.journeys.backend import Behaviour, Fault
from tests.journeys.stage import HELLO, MODEL, Stage, ask

pytestmark = pytest.mark.slow


def events(answer: httpx.Response) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def last_receipt(stage: Stage, answer: httpx.Response) -> Any:
    return stage.receipt(answer.headers["x-request-id"])


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("refuse_500", 502, "provider_unavailable"),
        ("refuse_429", 503, "server_is_overloaded"),
        ("refuse_401", 502, "provider_unavailable"),
        ("refuse_400", 400, "invalid_value"),
    ],
)
def test_a_provider_that_refuses_costs_nothing(
    stage: Stage, fault: Fault, status: int, code: str, *, is_stream: bool
) -> None:
    stage.backend.behaviour = Behaviour(fault=fault)
    answer = ask(stage, stream=is_stream)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["code"] == code
    assert set(error) == {"message", "type", "param", "code"}
    receipt = last_receipt(stage, answer)
    assert receipt["bill"]["net"] == "0.00"
    assert receipt["ending"] == "provider_error"
    stage.check_books()


@pytest.mark.parametrize("fault", ["close", "garbage", "error_event"])
def test_a_stream_that_breaks_in_the_middle_says_so_and_is_free(stage: Stage, fault: Fault) -> None:
    stage.backend.behaviour = Behaviour(tokens=9, fault=fault, after_tokens=4, tpot_s=0.005)
    answer = ask(stage, stream=True)
    assert answer.status_code == 200
    seen = events(answer)
    assert sum(bool(each["choices"][0]["delta"].get("content")) for each in seen if "choices" in each) == 4
    assert seen[-1]["error"]["code"] == "provider_unavailable"
    assert "[DONE]" not in seen
    receipt = last_receipt(stage, answer)
    assert receipt["bill"]["net"] == "0.00"
    assert receipt["is_billable"] is False
    assert receipt["attained"] is False
    stage.check_books()


def test_a_provider_without_usage_is_billed_by_what_was_seen(stage: Stage) -> None:
    stage.backend.behaviour = Behaviour(tokens=6, fault="usage_missing", tpot_s=0.01)
    answer = ask(stage, stream=True, stream_options={"include_usage": True})
    usage = events(answer)[-2]["usage"]
    assert usage["completion_tokens"] == 6
    receipt = last_receipt(stage, answer)
    assert receipt["usage"]["counted_by"] == "gateway"
    assert receipt["usage"]["output"] == 6
    stage.check_books()


def test_usage_said_twice_counts_once(stage: Stage) -> None:
    stage.backend.behaviour = Behaviour(tokens=6, fault="usage_twice")
    answer = ask(stage, stream=True, stream_options={"include_usage": True})
    assert [each["usage"]["completion_tokens"] for each in events(answer)[:-1] if each.get("usage")] == [6]
    assert last_receipt(stage, answer)["usage"]["output"] == 6
    stage.check_books()


def test_usage_that_contradicts_itself_is_a_failure_of_the_provider(stage: Stage) -> None:
    stage.backend.behaviour = Behaviour(tokens=6, tpot_s=0.01, fault="usage_contradicts")
    answer = ask(stage, stream=True)
    assert events(answer)[-1]["error"]["code"] == "provider_unavailable"
    assert last_receipt(stage, answer)["bill"]["net"] == "0.00"
    stage.check_books()


def test_usage_beyond_what_was_asked_for_is_never_billed(stage: Stage) -> None:
    stage.backend.behaviour = Behaviour(tokens=6, prompt_tokens=1_000_000)
    answer = ask(stage)
    receipt = last_receipt(stage, answer)
    assert receipt["usage"]["input"] < 1_000
    assert float(receipt["bill"]["net"]) < 0.001
    stage.check_books()


def test_a_customer_who_hangs_up_pays_the_tokens_they_got_and_the_backend_stops(stage: Stage) -> None:
    stage.backend.behaviour = Behaviour(tokens=200, tpot_s=0.02)
    body = {"model": MODEL, "messages": HELLO, "stream": True}
    with stage.http() as client, client.stream("POST", "/v1/chat/completions", json=body) as answer:
        request_id = answer.headers["x-request-id"]
        got = 0
        for line in answer.iter_lines():
            got += '"content": "tok ' in line
            if got == 5:
                break
    receipt = eventually(lambda: stage.receipt(request_id))
    assert receipt["ending"] == "hangup"
    assert 5 <= receipt["usage"]["output"] <= 12
    assert float(receipt["bill"]["net"]) > 0
    assert eventually(lambda: stage.backend.abandoned) == 1
    stage.check_books()


def test_a_customer_who_leaves_before_the_first_token_pays_nothing(stage: Stage) -> None:
    stage.backend.behaviour = Behaviour(ttft_s=5.0)
    with stage.http() as client, pytest.raises(httpx.ReadTimeout):
        client.post("/v1/chat/completions", json={"model": MODEL, "messages": HELLO, "stream": True}, timeout=0.3)
    assert eventually(lambda: stage.backend.abandoned) == 1
    eventually(lambda: stage.assembly.market.driver.in_flight == 0)
    stage.check_books()


def test_a_reader_of_one_byte_a_second_delays_nobody_and_its_own_time_is_excused(stage: Stage) -> None:
    # 4,000 tokens of 1 kB are far more than socket and server buffers take; the reader takes nothing for a while.
    stage.backend.behaviour = Behaviour(tokens=4_000, token_text="x" * 1_000)
    body = json.dumps({"model": MODEL, "messages": HELLO, "stream": True, "service_tier": "priority"}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {stage.api_key}\r\n"
    host, port = stage.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as reader:
        reader.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        started = reader.recv(1)
        for _ in range(2):
            time.sleep(0.6)
            started += reader.recv(1)
        assert ask(stage, max_tokens=3).status_code == 200
        received = started
        while not received.endswith(b"0\r\n\r\n"):
            data = reader.recv(1 << 20)
            assert data
            received += data
    request_id = received.split(b"x-request-id: ")[1].split(b"\r\n")[0].decode()
    receipt = stage.receipt(request_id)
    assert receipt["usage"]["output"] == 4_000
    assert receipt["timeline"]["excused_us"][-1] > 500_000
    stage.check_books()


def test_a_body_of_twenty_megabytes_is_refused(stage: Stage) -> None:
    answer = ask(stage, padding="x" * 20_000_000)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    assert stage.backend.requests == []


@pytest.mark.parametrize(
    ("raw", "code"),
    [(b"{", "invalid_json"), (b'{"model":"\xff"}', "invalid_utf8"), (b"", "invalid_json"), (b"[]", "invalid_json")],
)
def test_malformed_bodies_are_refused_with_words(stage: Stage, raw: bytes, code: str) -> None:
    with stage.http() as client:
        answer = client.post("/v1/chat/completions", content=raw)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


def test_a_prompt_past_the_context_is_refused_before_anything_runs(stage: Stage) -> None:
    answer = ask(stage, messages=[{"role": "user", "content": "word " * 20_000}])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert "8192" in answer.json()["error"]["message"]
    assert stage.backend.requests == []


def test_without_credit_nothing_runs_and_the_answer_says_what_is_missing(stage: Stage) -> None:
    _, key = stage.new_key(credit_nano=0)
    with stage.http() as client:
        answer = client.post(
            "/v1/chat/completions",
            json={"model": MODEL, "messages": HELLO},
            headers={"authorization": f"Bearer {key}"},
        )
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, "insufficient_credits")
    assert answer.headers["x-should-retry"] == "false"
    assert stage.backend.requests == []


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/chat/nothing"])
def test_unknown_paths_answer_in_the_openai_shape(stage: Stage, path: str) -> None:
    with stage.http() as client:
        answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"
    assert answer.headers["x-request-id"]


def test_a_wrong_method_answers_in_the_openai_shape(stage: Stage) -> None:
    with stage.http() as client:
        answer = client.get("/v1/chat/completions")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")


def eventually(what: Any, seconds: float = 5.0) -> Any:
    """Waits until something is there; errors of its absence are not there either."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = what()
        except httpx.HTTPStatusError:
            found = None
        if found:
            return found
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)
