import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.metering.receipt import LateToken, first_late_token, receipt
from pricing.goodput import Timeline
from pricing.money import usd
from pricing.pricebook import book_document, price_book
from pricing.rating import Ending
from pricing.slo import Rung, Slo, Tier
from pricing.usage import Usage
from tests.deliveries import RATES, book, card, delivery_event
from tests.ledger_world import MODEL

SCRIPT = Path(__file__).parents[3] / "docs/verify_receipt.py"
BOOK = book()

# Premium is due at 100 ms, then 10 ms a token; standard at 400 ms, then 40 ms; bulk within 15 minutes.
ON_TIME = Timeline((90_000, 110_000), (1, 3), (0, 0))
SLIPPING = Timeline((90_000, 200_000, 600_000), (2, 4, 6), (0, 0, 0))


def load_verifier() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_receipt", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


VERIFIER = load_verifier()


def made(timeline: Timeline, usage: Usage, **changes: Any) -> dict[str, Any]:
    """A receipt as it comes over the wire."""
    return json.loads(json.dumps(receipt(delivery_event(timeline, usage, at=BOOK, **changes), BOOK)))


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    steps = draw(
        st.lists(
            st.tuples(st.integers(0, 300_000), st.integers(0, 5), st.one_of(st.just(0), st.integers(0, 50_000))),
            max_size=12,
        )
    )
    at_us = through = excused_us = 0
    columns: tuple[list[int], list[int], list[int]] = ([], [], [])
    for gap_us, tokens, excuse_us in steps:
        at_us, through, excused_us = at_us + gap_us, through + tokens, excused_us + excuse_us
        for column, value in zip(columns, (at_us, through, excused_us), strict=True):
            column.append(value)
    return Timeline(*(tuple(column) for column in columns), streamed=draw(st.booleans()))


@settings(max_examples=100)
@given(
    timelines(),
    st.tuples(st.integers(0, 5_000), st.integers(0, 5_000), st.integers(0, 500)),
    st.sampled_from(Tier),
    st.sampled_from(Ending),
)
def test_a_script_that_imports_nothing_of_ours_comes_to_the_same_bill(
    timeline: Timeline, tokens_input: tuple[int, int, int], tier: Tier, ending: Ending
) -> None:
    usage = Usage(*tokens_input, output=timeline.tokens)
    assert VERIFIER.faults(made(timeline, usage, tier=tier, ending=ending), book_document(BOOK)) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("bill", "net"), "0.000000001"),
        (("bill", "charged"), "0.00"),
        (("bill", "gross"), "9.00"),
        (("timeline", "at_us"), [1, 2, 3]),
        (("timeline", "tokens_through"), [2, 4, 5]),
        (("usage", "cached"), 0),
        (("ending",), "crash"),
        (("tier_served",), "standard"),
        (("model",), "tiny-tuned"),
        (("price_book", "sha256"), "0" * 64),
        (("timeline", "streamed"), False),
        (("timeline", "excused_us"), [0, 110_000, 110_000]),
    ],
)
def test_a_tampered_receipt_is_found_out(path: tuple[str, ...], value: object) -> None:
    tampered = made(SLIPPING, Usage(input=90, cached=10, output=6))
    place = tampered
    for step in path[:-1]:
        place = place[step]
    assert place[path[-1]] != value
    place[path[-1]] = value
    assert VERIFIER.faults(tampered, book_document(BOOK))


def test_a_changed_price_book_is_found_out() -> None:
    changed = book_document(BOOK)
    changed["cards"][0]["rates"]["output"] += 1
    assert "price book sha256" in VERIFIER.faults(made(ON_TIME, Usage(input=5, output=3)), changed)[0]


@pytest.mark.slow
def test_the_verifier_runs_alone_on_what_the_api_serves(tmp_path: Path) -> None:
    served = made(SLIPPING, Usage(input=90, cached=10, output=6))
    (tmp_path / "receipt.json").write_text(json.dumps({"data": served}))
    published = {"id": BOOK.id, "sha256": BOOK.sha256, "document": book_document(BOOK)}
    (tmp_path / "book.json").write_text(json.dumps(published))
    command = [sys.executable, "-I", str(SCRIPT), "receipt.json", "book.json"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert (ran.returncode, ran.stdout) == (0, f"verified: {served['bill']['charged']} USD, every nano of it\n")

    served["bill"]["net"] = "0.00"
    (tmp_path / "receipt.json").write_text(json.dumps(served))
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == 1
    assert "net (nano-USD): the receipt says 0, recomputed" in ran.stdout


def test_a_receipt_shows_promise_rates_and_tokens_of_each_rung() -> None:
    # Tokens 0 and 1 at 90 ms are premium; 2 and 3 at 200 ms are due at 120 and 130 ms, so standard; so are 4 and 5,
    # due at 560 and 600 ms there: token 4 misses it and is bulk's, token 5 is just in time.
    shown = made(SLIPPING, Usage(input=90, cached=10, output=6))
    premium, standard, bulk = shown["ladder"]
    assert [rung["tokens_output"] for rung in shown["ladder"]] == [2, 3, 1]
    assert premium["promise"] == {"ttft_us": 100_000, "tpot_us": 10_000, "last_token_due_us": 150_000}
    assert standard["usd_per_mtok"] == {
        "input": "0.200001",
        "cached": "0.020003",
        "cache_write": "0.250007",
        "output": "0.800011",
    }
    assert bulk["promise"]["last_token_due_us"] == 900_000_000
    assert shown["input_tier"] == "premium"
    assert (shown["usage"]["good"], shown["usage"]["missed"], shown["attained"]) == (2, 0, False)


def test_the_bill_is_exact_to_the_nano() -> None:
    shown = made(SLIPPING, Usage(input=90, cached=10, output=6))
    premium, standard, bulk = (RATES[tier] for tier in Tier)
    gross_pico = 90 * premium.input + 10 * premium.cached + 6 * premium.output
    net_pico = 90 * premium.input + 10 * premium.cached + 2 * premium.output + 3 * standard.output + bulk.output
    assert usd(shown["bill"]["gross"]) == gross_pico // 1000
    assert usd(shown["bill"]["slo_adjustment"]) == gross_pico // 1000 - net_pico // 1000
    assert usd(shown["bill"]["net"]) == usd(shown["bill"]["charged"]) == usd(shown["total_cost"]) == net_pico // 1000


def test_a_receipt_says_why_it_is_less_than_gross() -> None:
    assert made(SLIPPING, Usage(input=90, output=6))["why"] == [
        "3 output tokens missed premium and met standard: they are billed at standard rates.",
        "1 output tokens missed premium and met bulk: they are billed at bulk rates.",
        "Token 2 was the first to miss the premium promise: due at 120.0 ms, delivered at 200.0 ms.",
    ]


def test_a_kept_promise_needs_no_explanation() -> None:
    shown = made(ON_TIME, Usage(input=5, output=3))
    assert (shown["why"], shown["attained"], shown["timing"]["first_late_token"]) == ([], True, None)
    assert shown["bill"]["slo_adjustment"] == "0.00"


def test_a_late_first_token_lowers_the_input_too() -> None:
    shown = made(Timeline((300_000,), (1,), (0,)), Usage(input=90, output=1))
    assert shown["input_tier"] == "standard"
    assert "The first token missed premium and met standard: the input is billed at standard rates." in shown["why"]


def test_tokens_that_met_no_promise_are_free_and_the_receipt_says_so() -> None:
    two_tiers = price_book(BOOK.effective_at, [card(MODEL, tier) for tier in (Tier.PREMIUM, Tier.STANDARD)])
    # Standard's first token is due at 400 ms and its second at 440: both are missed, and there is no bulk.
    event = delivery_event(Timeline((500_000, 600_000), (1, 2), (0, 0)), Usage(input=90, output=2), at=two_tiers)
    shown = receipt(event, two_tiers)
    assert shown["why"][:2] == [
        "2 output tokens met no promise: they are free.",
        "The first token met no promise: the input is free.",
    ]
    assert (shown["usage"]["missed"], shown["bill"]["net"], shown["input_tier"]) == (2, "0.00", None)
    assert VERIFIER.faults(json.loads(json.dumps(shown)), book_document(two_tiers)) == []


def test_an_answer_that_failed_owes_nothing_and_says_so() -> None:
    shown = made(ON_TIME, Usage(input=5, output=3), ending=Ending.PROVIDER_ERROR)
    assert shown["why"] == ["The answer ended with provider_error: nothing is owed for it."]
    assert (shown["bill"]["net"], shown["is_billable"]) == ("0.00", False)
    assert shown["bill"]["gross"] == shown["bill"]["slo_adjustment"] != "0.00"


def test_a_charge_is_cut_at_what_was_held() -> None:
    shown = made(ON_TIME, Usage(input=5_000, output=3), held=1_000)
    assert shown["bill"]["charged"] == "0.000001"
    assert VERIFIER.faults(shown, book_document(BOOK)) == []


def test_an_erased_timeline_leaves_the_amounts() -> None:
    event = delivery_event(ON_TIME, Usage(input=5, output=3), at=BOOK)
    event.timeline = None
    shown = receipt(event, BOOK)
    assert shown["timeline"] is None
    assert shown["bill"]["net"] != "0.00"


def test_a_receipt_says_the_precision_served_and_an_older_one_that_it_is_not_known() -> None:
    event = delivery_event(ON_TIME, Usage(input=5, output=3), at=BOOK)
    older = receipt(event, BOOK)
    assert older["provider"]["precision"] is None
    event.precision = "fp8"
    shown = receipt(event, BOOK)
    assert shown["provider"]["precision"] == "fp8"
    assert shown["bill"] == older["bill"]
    for each in (older, shown):
        assert VERIFIER.faults(each, book_document(BOOK)) == []


def test_a_receipt_without_its_book_still_shows_what_was_billed() -> None:
    shown = receipt(delivery_event(SLIPPING, Usage(input=90, output=6), at=BOOK), None)
    assert shown["price_book"] == {"id": BOOK.id, "sha256": None}
    assert [set(rung) for rung in shown["ladder"]] == [{"tier", "tokens_input", "tokens_output", "amount_usd"}] * 3


def test_an_answer_without_tokens_has_a_receipt() -> None:
    shown = made(Timeline((), (), ()), Usage(input=50), ending=Ending.HANGUP)
    assert (shown["bill"]["net"], shown["timing"]["ttft_ms"], shown["timing"]["tpot_ms"]) == ("0.00", None, None)
    assert shown["cancelled"] is True
    assert VERIFIER.faults(shown, book_document(BOOK)) == []


SERVED = Rung(Tier.PREMIUM, Slo(100, 10), RATES[Tier.PREMIUM])


@pytest.mark.parametrize(
    ("timeline", "expected"),
    [
        (Timeline((100, 110, 120), (1, 2, 3), (0, 0, 0)), None),  # each on its very deadline
        (Timeline((100, 111, 120), (1, 2, 3), (0, 0, 0)), LateToken(1, 111, 110)),
        (Timeline((111,), (3,), (0,)), LateToken(0, 111, 100)),  # a chunk's first token is due first
        (Timeline((111,), (3,), (11,)), None),
        (Timeline((120,), (3,), (0,), streamed=False), None),  # all are due with the last
        (Timeline((121,), (3,), (0,), streamed=False), LateToken(0, 121, 120)),
        (Timeline((500, 501), (0, 0), (0, 0)), None),
    ],
)
def test_the_first_late_token_is_found(timeline: Timeline, expected: LateToken | None) -> None:
    assert first_late_token(timeline, SERVED) == expected
