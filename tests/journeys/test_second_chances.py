"""Over the wire: one probe among many, client errors that blame nobody, hedges, continuations, and a way back."""

import asyncio
import json
import threading
import time
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest

from scheduler.breaker import BreakerState
from scheduler.fleet import OfferId
from tests.journeys.backend import Backend, Behaviour
from tests.journeys.stage import HELLO, MODEL, NO_TLS, Stage, ask, opened

pytestmark = pytest.mark.slow

P1 = OfferId("p1/d1")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Stage, Backend]]:
    folder: Path = tmp_path_factory.mktemp("chances")
    with opened(folder, redis_url="memory://", hedge_share=1.0) as stage:
        yield stage, stage.add_provider("p2")


@pytest.fixture
def both(pair: tuple[Stage, Backend]) -> tuple[Stage, Backend]:
    stage, other = pair
    stage.reset()
    other.behaviour = Behaviour()
    other.requests.clear()
    return stage, other


def text_of(answer: httpx.Response) -> str:
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    return "".join(each["choices"][0]["delta"].get("content") or "" for each in events if each.get("choices"))


def state(stage: Stage) -> BreakerState:
    health = stage.assembly.view._health
    return health._breakers[P1].state(time.time_ns() // 1_000)


async def ask_many(stage: Stage, count: int) -> list[int]:
    """So many at once."""
    limits = httpx.Limits(max_connections=count)
    headers = {"authorization": f"Bearer {stage.api_key}"}
    async with httpx.AsyncClient(
        base_url=stage.url, headers=headers, timeout=30, limits=limits, verify=NO_TLS
    ) as client:
        body = {"model": MODEL, "messages": HELLO, "stream": True, "provider": {"only": ["p1"]}}
        asking = [asyncio.ensure_future(client.post("/v1/chat/completions", json=body)) for _ in range(count)]
        return [answer.status_code for answer in await asyncio.gather(*asking)]


def test_of_two_hundred_at_once_exactly_one_probes_a_half_open_provider(both: tuple[Stage, Backend]) -> None:
    stage, _ = both
    stage.backend.behaviour = Behaviour(fault="refuse_500")
    for _ in range(5):
        ask(stage, provider={"only": ["p1"]})
    assert state(stage) is BreakerState.OPEN
    stage.assembly.view._health._breakers[P1]._open_until_us = 0  # its time has passed
    stage.run(stage.assembly.view.refresh())
    assert state(stage) is BreakerState.HALF_OPEN
    stage.backend.requests.clear()
    stage.backend.behaviour = Behaviour(ttft_s=1.5)
    seen: list[int] = []

    def look() -> None:
        """Once one came through, and half a second later, while it waits for its first token, how many did."""
        until = time.monotonic() + 10
        while not stage.backend.requests and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.5)
        seen.append(len(stage.backend.requests))

    looking = threading.Thread(target=look)
    looking.start()
    statuses = asyncio.run(ask_many(stage, 200))
    looking.join()
    assert seen == [1]
    assert statuses.count(200) >= 1
    assert set(statuses) <= {200, 429}
    assert state(stage) is BreakerState.CLOSED
    stage.check_books()


def test_a_probe_whose_customer_hangs_up_makes_place_for_the_next_at_once(both: tuple[Stage, Backend]) -> None:
    stage, _ = both
    stage.backend.behaviour = Behaviour(fault="refuse_500")
    for _ in range(5):
        ask(stage, provider={"only": ["p1"]})
    stage.assembly.view._health._breakers[P1]._open_until_us = 0
    stage.run(stage.assembly.view.refresh())
    stage.backend.behaviour = Behaviour(ttft_s=5.0)
    body = {"model": MODEL, "messages": HELLO, "stream": True, "provider": {"only": ["p1"]}}
    with stage.http() as client, pytest.raises(httpx.ReadTimeout):
        client.post("/v1/chat/completions", json=body, timeout=0.3)
    stage.backend.behaviour = Behaviour()
    deadline = time.monotonic() + 2
    while (answer := ask(stage, provider={"only": ["p1"]})).status_code != 200:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.05)
    assert state(stage) is BreakerState.CLOSED


def test_client_errors_never_open_a_breaker(both: tuple[Stage, Backend]) -> None:
    stage, other = both
    stage.backend.behaviour = other.behaviour = Behaviour(fault="refuse_400")
    assert [ask(stage).status_code for _ in range(40)] == [400] * 40
    assert state(stage) is BreakerState.CLOSED
    assert ask(stage, stream=True).status_code == 400
    stage.backend.behaviour = other.behaviour = Behaviour()
    assert ask(stage).status_code == 200
    stage.check_books()


def test_a_silent_premium_answer_is_served_by_a_second_provider_and_paid_once(both: tuple[Stage, Backend]) -> None:
    stage, other = both
    stage.backend.behaviour = Behaviour(ttft_s=10.0)
    other.behaviour = Behaviour(token_text="quick ")
    began = time.monotonic()
    answer = ask(stage, stream=True, service_tier="priority", provider={"order": ["p1"]})
    assert time.monotonic() - began < 5.0
    assert text_of(answer) == "quick " * 5
    receipt = stage.receipt(answer.headers["x-request-id"])
    assert (receipt["provider"]["id"], receipt["provider"]["attempts"]) == ("p2", 2)
    assert receipt["attained"]
    stage.check_books()
    deadline = time.monotonic() + 5
    while not stage.backend.abandoned and time.monotonic() < deadline:
        time.sleep(0.02)
    assert stage.backend.abandoned == 1  # its backend was told that nobody waits any more


def test_a_broken_off_answer_goes_on_at_another_provider_for_who_asked(both: tuple[Stage, Backend]) -> None:
    stage, other = both
    stage.backend.behaviour = Behaviour(tokens=9, token_text="first half, ", fault="close", after_tokens=4)
    other.behaviour = Behaviour(tokens=3, token_text="second half, ")
    wished = {"order": ["p1"], "continue": True}
    answer = ask(stage, stream=True, max_tokens=20, provider=wished)
    assert text_of(answer) == "first half, " * 4 + "second half, " * 3
    assert "error" not in answer.text
    assert other.requests[-1]["messages"][-1] == {"role": "assistant", "content": "first half, " * 4}
    assert other.requests[-1]["max_tokens"] == 16
    receipt = stage.receipt(answer.headers["x-request-id"])
    assert receipt["usage"]["output"] == 7
    assert receipt["provider"]["continued"] == [{"after_tokens": 4, "from": "p1", "to": "p2"}]
    assert receipt["bill"]["net"] != "0.00"
    stage.check_books()
    refused = ask(stage, stream=True, provider={"order": ["p1"]})
    assert "provider_unavailable" in refused.text  # who did not ask is told


def test_a_slowed_provider_loses_premium_and_gets_it_back_when_it_is_well(both: tuple[Stage, Backend]) -> None:
    stage, other = both
    stage.backend.behaviour, other.behaviour = Behaviour(tokens=40, tpot_s=0.025), Behaviour(tokens=40, tpot_s=0.005)
    stop = threading.Event()

    def keep_asking() -> None:
        while not stop.is_set():
            ask(stage, stream=True, service_tier="priority")

    asking = [threading.Thread(target=keep_asking) for _ in range(3)]
    for thread in asking:
        thread.start()
    try:
        time.sleep(2.0)
        lost = len(stage.backend.requests)
        time.sleep(1.0)
        assert len(stage.backend.requests) == lost
        stage.backend.behaviour = Behaviour(tokens=40, tpot_s=0.005)
        deadline = time.monotonic() + 60
        while len(stage.backend.requests) < lost + 10 and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        stop.set()
        for thread in asking:
            thread.join()
    assert len(stage.backend.requests) >= lost + 10
    stage.check_books()


def test_operators_see_why_a_request_ran_where_it_did(both: tuple[Stage, Backend]) -> None:
    stage, _ = both
    with stage.http() as client:
        body = {"model": MODEL, "messages": HELLO, "provider": {"ignore": ["p2"]}}
        answer = client.post("/v1/chat/completions", json=body, headers={"x-explain": "true"})
    event_id = answer.headers["x-request-id"]
    assert "explanation" not in json.dumps(stage.receipt(event_id))  # customers do not
    from app.metering.repository import usage_event  # noqa: PLC0415 (what the admin API shows)

    event = stage.run(usage_event(stage.assembly.market.database, event_id))
    assert event is not None
    assert event.explanation is not None
    verdicts = {each["offer"]: each.get("ruled_out", "") for each in event.explanation["offers"]["verdicts"]}
    assert verdicts == {"p1/d1": "", "p2/d1": "ignored"}
    [candidate] = event.explanation["candidates"]
    assert candidate["ttft_us"] > 0
