"""Budgets under concurrency, holds that run out in mid-answer, requests sent twice, quotes that outlive a book."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx

from app import clock
from app.catalog.service import publish_book
from pricing.pricebook import price_book
from tests.journeys.backend import Behaviour
from tests.journeys.stage import ACTOR, HELLO, MODEL, Stage, stage_book


def post(stage: Stage, key: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    with stage.http() as client:
        return client.post(
            "/v1/chat/completions",
            json={"model": MODEL, "messages": HELLO, **body},
            headers={"authorization": f"Bearer {key}", **headers},
        )


def test_many_requests_at_once_never_overspend_a_small_budget(stage: Stage) -> None:
    stage.backend.behaviour = Behaviour(tokens=5, ttft_s=0.05)
    # One request may cost 105 µ$ at most (65 prompt tokens at 1 $/M, 10 output tokens at 4 $/M).
    customer_id, key = stage.new_key(credit_nano=500_000)
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: post(stage, key, {"max_tokens": 10}), range(40)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) <= {200, 402, 429}
    assert statuses.count(200) >= 3
    assert 402 in statuses
    balance = stage.run(stage.assembly.market.ledger.balance(customer_id))
    assert balance.held == 0
    # 10 prompt tokens and 5 output tokens each: 30 µ$.
    assert balance.posted == 500_000 - 30_000 * statuses.count(200) >= 0
    stage.check_books()


def test_an_answer_the_wallet_cannot_carry_ends_cleanly_at_its_length(stage: Stage) -> None:
    # 1,024 output tokens at 4 $/M are held first (4.096 m$); the wallet has nothing for the second thousand.
    stage.backend.behaviour = Behaviour(tokens=3_000)
    customer_id, key = stage.new_key(credit_nano=4_500_000)
    answer = post(stage, key, {"stream": True, "max_tokens": 3_000, "stream_options": {"include_usage": True}})
    lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    usage, cut = json.loads(lines[-2]), json.loads(lines[-3])
    assert cut["choices"][0]["finish_reason"] == "length"
    assert usage["usage"]["completion_tokens"] == 1_024
    balance = stage.run(stage.assembly.market.ledger.balance(customer_id))
    assert (balance.held, balance.posted >= 0) == (0, True)
    receipt = stage.get_as(key, "/v1/generation", id=usage["id"])["data"]
    assert (receipt["ending"], receipt["finish_reason"]) == ("hold_exhausted", "length")
    stage.check_books()


def test_a_long_answer_extends_its_hold_as_it_grows(stage: Stage) -> None:
    stage.backend.behaviour = Behaviour(tokens=2_500)
    answer = post(stage, stage.api_key, {"max_tokens": 2_500})
    streamed = post(stage, stage.api_key, {"stream": True, "max_tokens": 2_500})
    assert answer.json()["usage"]["completion_tokens"] == 2_500
    assert stage.receipt(streamed.headers["x-request-id"])["usage"]["output"] == 2_500
    stage.check_books()


def test_a_request_sent_twice_under_one_key_runs_and_costs_once(stage: Stage) -> None:
    customer_id, key = stage.new_key(credit_nano=10**9)
    first = post(stage, key, {"max_tokens": 5}, **{"idempotency-key": "order-1"})
    again = post(stage, key, {"max_tokens": 5}, **{"idempotency-key": "order-1"})
    assert first.status_code == again.status_code == 200
    assert again.headers["x-idempotent-replay"] == "true"
    assert again.json()["id"] == first.json()["id"]
    assert again.json()["receipt"]["bill"]["net"] == "0.00003"
    assert len(stage.backend.requests) == 1
    assert stage.run(stage.assembly.market.ledger.balance(customer_id)).posted == 10**9 - 30_000

    other = post(stage, key, {"max_tokens": 6}, **{"idempotency-key": "order-1"})
    assert (other.status_code, other.json()["error"]["code"]) == (400, "idempotency_key_reused")


def test_a_refused_request_may_be_tried_again_under_its_key(stage: Stage) -> None:
    stage.backend.behaviour = Behaviour(fault="refuse_500")
    refused = post(stage, stage.api_key, {}, **{"idempotency-key": "order-2"})
    assert refused.status_code == 502
    stage.backend.behaviour = Behaviour()
    served = post(stage, stage.api_key, {}, **{"idempotency-key": "order-2"})
    assert served.status_code == 200
    assert "x-idempotent-replay" not in served.headers


def test_a_quote_keeps_its_book_when_prices_change(stage: Stage) -> None:
    market = stage.assembly.market
    quote = stage.post("/v1/quotes", {"model": MODEL, "input_tokens": 100, "max_tokens": 10})
    assert quote["ceiling_usd"] == "0.00014"  # 100 input tokens at 1 $/M and 10 output tokens at 4 $/M

    async def publish() -> None:
        later = price_book(clock.now() - timedelta(seconds=1), stage_book().cards.values())
        async with market.database.writing() as session:
            await publish_book(session, later, ACTOR, "same prices, another book", clock.now_us())
        await market.shelf.refresh()

    stage.run(publish())
    honoured = post(stage, stage.api_key, {"max_tokens": 5}, **{"x-quote-id": quote["id"]})
    plain = post(stage, stage.api_key, {"max_tokens": 5})
    books = [stage.receipt(each.json()["id"])["price_book"]["id"] for each in (honoured, plain)]
    assert books[0] == quote["price_book"]["id"]
    assert books[1] != quote["price_book"]["id"]

    mismatch = post(stage, stage.api_key, {"service_tier": "flex"}, **{"x-quote-id": quote["id"]})
    assert (mismatch.status_code, mismatch.json()["error"]["code"]) == (400, "quote_mismatch")


def test_receipts_are_for_their_customer_alone(stage: Stage) -> None:
    served = post(stage, stage.api_key, {})
    _, key = stage.new_key(credit_nano=1)
    with stage.http() as client:
        answer = client.get(
            "/v1/generation", params={"id": served.json()["id"]}, headers={"authorization": f"Bearer {key}"}
        )
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "generation_not_found")


def test_the_wallet_and_the_key_are_told(stage: Stage) -> None:
    _, key = stage.new_key(credit_nano=12_500_000_000)
    assert stage.get_as(key, "/v1/credits")["data"]["available"] == "12.50"
    told = stage.get_as(key, "/v1/key")["data"]
    assert told["rate_limit"]["requests_per_minute"] > 0
    assert told["balance"] == "12.50"
