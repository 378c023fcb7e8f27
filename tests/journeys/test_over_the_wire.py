"""HTTP as clients really speak it: odd methods, doubled slashes, requests sent ahead, chunked uploads; and metrics."""

import json
import re
import socket
import time
from typing import Any

import httpx
import pytest

from tests.journeys.backend import Behaviour
from tests.journeys.stage import HELLO, MODEL, Stage


def request_bytes(stage: Stage, **fields: Any) -> bytes:
    body = json.dumps({"model": MODEL, "messages": HELLO, **fields}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {stage.api_key}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def exchange(stage: Stage, sent: bytes, answers: int) -> bytes:
    """Sends bytes on one connection and reads until so many answers have ended."""
    host, port = stage.url.removeprefix("http://").split(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(sent)
        while received.count(b"0\r\n\r\n") < answers:
            data = connection.recv(1 << 16)
            assert data, received
            received += data
    return received


def test_a_request_sent_ahead_begins_when_the_answer_before_it_is_complete(stage: Stage) -> None:
    # The first answer takes 400 ms; the second, pipelined behind it, must not be that late before it begins.
    stage.backend.behaviour = Behaviour(ttft_s=0.4, tokens=1)
    received = exchange(stage, request_bytes(stage, stream=True) * 2, answers=2)
    first, second = (stage.receipt(found.decode()) for found in re.findall(rb"x-request-id: (\S+)", received))
    assert second["timing"]["requested_at_us"] - first["timing"]["requested_at_us"] >= 400_000
    assert second["timing"]["ttft_ms"] < 800
    stage.check_books()


@pytest.mark.parametrize("path", ["/v1/chat/completions/", "//v1/chat/completions", "/v1/chat/completions"])
def test_each_answer_names_its_request_once(stage: Stage, path: str) -> None:
    with stage.http() as client:
        answer = client.post(stage.url + path, json={"model": MODEL, "messages": HELLO})
    assert answer.status_code == 200
    assert len(answer.headers.get_list("x-request-id")) == 1


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_refused_with_the_right_one(stage: Stage, method: str) -> None:
    with stage.http() as client:
        answer = client.request(method, "/v1/chat/completions")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.headers["x-request-id"]


def test_an_upload_in_chunks_is_read_and_bounded_and_the_connection_lives_on(stage: Stage) -> None:
    body = json.dumps({"model": MODEL, "messages": HELLO}).encode()
    with stage.http() as client:
        small = client.post("/v1/chat/completions", content=iter([body[:9], body[9:]]))
        large = client.post("/v1/chat/completions", content=iter([b"x" * 1_000_000] * 11))
        after = client.get("/v1/credits")
    assert [small.status_code, large.status_code, after.status_code] == [200, 413, 200]
    assert large.headers["x-should-retry"] == "false"


def test_a_receipt_needs_an_id_that_exists(stage: Stage) -> None:
    with stage.http() as client:
        without, unknown = client.get("/v1/generation"), client.get("/v1/generation", params={"id": "gen_no"})
        book = client.get("/v1/price_books/pb-none")
        model = client.get("/v1/models/nobody/knows")
    assert [each.status_code for each in (without, unknown, book, model)] == [400, 404, 404, 404]
    assert without.json()["error"]["code"] == "invalid_value"
    assert book.json()["error"]["code"] == "price_book_not_found"
    assert model.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"input_tokens": -1}, "invalid_value"),
        ({"input_tokens": 1, "made_up": 1}, "invalid_value"),
        ({"input_tokens": 1, "service_tier": "warp"}, "invalid_service_tier"),
        ({"input_tokens": 8_192}, "context_length_exceeded"),
        ({"input_tokens": 1, "max_tokens": 8_193}, "invalid_value"),
    ],
)
def test_a_quote_for_what_cannot_be_sold_is_refused(stage: Stage, fields: dict[str, Any], code: str) -> None:
    with stage.http() as client:
        answer = client.post("/v1/quotes", json={"model": MODEL, **fields})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


def test_a_living_market_says_so(stage: Stage) -> None:
    assert stage.get("/health") == stage.get("/healthz") == stage.get("/livez") == {"status": "ok"}
    ready = stage.get("/readyz")
    assert ready["status"] == "ready"
    assert set(ready["checks"]) == {"draining", "database", "redis", "price_book", "providers"}


def in_flight_of(client: httpx.Client) -> list[str]:
    """What the metrics say is in flight, by tier."""
    text = client.get("/metrics").text
    return re.findall(r'^goodput_inflight\{tier="\w+"\} (\S+)$', text, re.MULTILINE)


def test_after_every_kind_of_end_nothing_is_in_flight(stage: Stage) -> None:
    body = {"model": MODEL, "messages": HELLO, "stream": True}
    with stage.http() as client:
        client.post("/v1/chat/completions", json=body)
        stage.backend.behaviour = Behaviour(fault="refuse_500")
        client.post("/v1/chat/completions", json=body)
        stage.backend.behaviour = Behaviour(ttft_s=0.5)
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/chat/completions", json=body, timeout=0.1)
        deadline = time.monotonic() + 5
        while stage.assembly.market.driver.in_flight and time.monotonic() < deadline:
            time.sleep(0.02)
        stage.run(stage.assembly.market.driver.close())
        in_flight = in_flight_of(client)
        while set(in_flight) != {"0.0"} and time.monotonic() < deadline:  # a place is free before its answer is booked
            time.sleep(0.02)
            in_flight = in_flight_of(client)
        text = client.get("/metrics").text
    assert in_flight
    assert set(in_flight) == {"0.0"}
    statuses = re.findall(r'^goodput_requests_total\{.*status="(\d+)".*\} ', text, re.MULTILINE)
    assert {"200", "499", "502"} <= set(statuses)
    stage.check_books()
