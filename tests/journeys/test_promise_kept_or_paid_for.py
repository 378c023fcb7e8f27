"""The promise: a token delivered late is billed at the rate of the promise it did keep, and the receipt says why."""

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.journeys.backend import Behaviour
from tests.journeys.stage import MODEL, Stage

VERIFIER = Path(__file__).resolve().parents[2] / "docs" / "verify_receipt.py"


def ask(client: Any, tier: str, **extra: Any) -> list[Any]:
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Tell me about goodput, please."}],
        stream=True,
        stream_options={"include_usage": True},
        service_tier=tier,
        max_tokens=50,
        **extra,
    )
    return list(stream)


def test_a_premium_request_to_a_slowed_provider_is_billed_less_than_its_quote(stage: Stage, tmp_path: Path) -> None:
    # Premium promises the first token in 500 ms and one each 20 ms after it; standard 2 s and 100 ms.
    # Here the first comes at once, then one each 150 ms: token i at 150·i ms is due at 500 + 20·i, so that tokens
    # 0 to 3 are premium, and all the others still standard.
    stage.backend.behaviour = Behaviour(tokens=10, tpot_s=0.15, prompt_tokens=20)
    quote = stage.post(
        "/v1/quotes", {"model": MODEL, "service_tier": "priority", "input_tokens": 100, "max_tokens": 50}
    )
    with stage.client() as client:
        chunks = ask(client, "priority", extra_headers={"x-quote-id": quote["id"]})
    receipt = stage.receipt(chunks[0].id)
    ladder = {rung["tier"]: rung["tokens_output"] for rung in receipt["ladder"]}

    assert receipt["tier_asked"] == receipt["tier_served"] == "premium"
    assert sum(ladder.values()) == 10
    assert 1 <= ladder["premium"] <= 4
    assert ladder["standard"] == 10 - ladder["premium"]
    assert receipt["input_tier"] == "premium"
    assert receipt["attained"] is False

    # 20 input tokens at 2 $/M, n at 8 $/M, the rest at 4 $/M, in USD.
    net = (Decimal(20) * 2 + Decimal(ladder["premium"]) * 8 + Decimal(ladder["standard"]) * 4) / 10**6
    gross = (Decimal(20) * 2 + Decimal(10) * 8) / 10**6
    assert Decimal(receipt["bill"]["net"]) == net
    assert Decimal(receipt["bill"]["gross"]) == gross
    assert Decimal(receipt["bill"]["slo_adjustment"]) == gross - net > 0
    assert net < Decimal(quote["ceiling_usd"])
    assert chunks[-1].usage.model_extra["cost"] == float(net)
    assert chunks[-1].usage.model_extra["goodput_tokens"] == ladder["premium"]
    assert receipt["why"]

    # An independent script, importing nothing of ours, agrees to the nano; and does not when a token is backdated.
    book = stage.get(f"/v1/price_books/{receipt['price_book']['id']}")
    files = tmp_path / "receipt.json", tmp_path / "book.json"
    for file, document in zip(files, (receipt, book["document"]), strict=True):
        file.write_text(json.dumps(document))
    command = [sys.executable, str(VERIFIER), *map(str, files)]
    verified = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert verified.returncode == 0, verified.stdout
    receipt["timeline"]["at_us"] = [0 for _ in receipt["timeline"]["at_us"]]
    files[0].write_text(json.dumps(receipt))
    assert subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 1
    stage.check_books()


def test_a_premium_request_served_in_time_pays_its_full_price(stage: Stage) -> None:
    stage.backend.behaviour = Behaviour(tokens=10, prompt_tokens=20)
    with stage.client() as client:
        chunks = ask(client, "priority")
    receipt = stage.receipt(chunks[0].id)
    assert receipt["attained"] is True
    assert receipt["bill"]["net"] == receipt["bill"]["gross"] == "0.00012"
    assert chunks[-1].service_tier == "priority"
    stage.check_books()


def test_the_same_delay_costs_a_standard_customer_nothing_off(stage: Stage) -> None:
    stage.backend.behaviour = Behaviour(tokens=6, tpot_s=0.15, prompt_tokens=20)
    with stage.client() as client:
        chunks = ask(client, "default")
    receipt = stage.receipt(chunks[0].id)
    assert receipt["attained"] is True
    assert receipt["bill"]["net"] == receipt["bill"]["gross"] == "0.000044"
