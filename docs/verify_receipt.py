"""Recomputes a receipt from its timeline and the published price book, with nothing but Python's standard library.

python verify_receipt.py RECEIPT BOOK     each a file or an https URL (GOODPUT_API_KEY is sent along)
"""

import hashlib
import json
import os
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

TIERS = ["premium", "standard", "bulk"]  # best first
FREE = {"provider_error", "provider_timeout", "crash"}  # endings for which nothing is owed


def read(source: str, wrapper: str) -> Any:
    """Reads JSON, and takes it out of the object that the API wraps it in."""
    if source.startswith("http"):
        request = Request(source, headers={"Authorization": f"Bearer {os.environ.get('GOODPUT_API_KEY', '')}"})  # noqa: S310
        with urlopen(request, timeout=30) as answer:  # noqa: S310 (http and https only)
            document = json.load(answer)
    else:
        document = json.loads(Path(source).read_text(encoding="utf-8"))
    return document.get(wrapper, document)


def recompute(receipt: Any, book: Any) -> tuple[dict[str, int], list[int]]:
    """Amounts in nano-USD, and how many output tokens are billed at each rung of the ladder."""
    sold = {card["tier"]: card for card in book["cards"] if card["model"] == receipt["model"]}
    ladder = [sold[tier] for tier in TIERS[TIERS.index(receipt["tier_served"]) :] if tier in sold]
    usage, line = receipt["usage"], receipt["timeline"]
    counts, total, index = [0] * len(ladder), 0, 0
    for at_us, through, excused_us in zip(line["at_us"], line["tokens_through"], line["excused_us"], strict=True):
        for token in range(index, through):  # each is billed at the best rung whose deadline it met
            place = token if line["streamed"] else line["tokens_through"][-1] - 1
            due_us = [card["slo"]["ttft_us"] + place * card["slo"]["tpot_us"] + excused_us for card in ladder]
            rung = next((rung for rung, due in enumerate(due_us) if at_us <= due), None)
            if rung is not None:
                rates = ladder[rung]["rates"]
                counts[rung] += 1
                total += rates["output"]
                if token == 0:  # the first token decides about the input
                    total += sum(usage[kind] * rates[kind] for kind in ("input", "cached", "cache_write"))
        index = through
    gross = sum(usage[kind] * rate for kind, rate in ladder[0]["rates"].items()) // 1000  # pico to nano, down
    net = 0 if receipt["ending"] in FREE else total // 1000
    charged = min(net, int(Decimal(receipt["bill"]["held"]) * 10**9))
    return {"gross": gross, "slo_adjustment": gross - net, "net": net, "charged": charged}, counts


def faults(receipt: Any, book: Any) -> list[str]:
    """Everything on the receipt that does not follow from its timeline and the book."""
    digest = hashlib.sha256(json.dumps(book, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    amounts, counts = recompute(receipt, book)
    said = {name: int(Decimal(receipt["bill"][name]) * 10**9) for name in amounts}
    checks = [
        ("price book sha256", receipt["price_book"]["sha256"], digest),
        ("tokens per tier", [rung["tokens_output"] for rung in receipt["ladder"]], counts),
        ("output tokens", receipt["usage"]["output"], [0, *receipt["timeline"]["tokens_through"]][-1]),
        *((f"{name} (nano-USD)", said[name], amount) for name, amount in amounts.items()),
    ]
    return [f"{what}: the receipt says {given}, recomputed {found}" for what, given, found in checks if given != found]


if __name__ == "__main__":
    checked = read(sys.argv[1], "data")
    wrong = faults(checked, read(sys.argv[2], "document"))
    print("\n".join(wrong) or f"verified: {checked['bill']['charged']} USD, every nano of it")
    sys.exit(1 if wrong else 0)
