import json
from typing import Any

import pytest

from app.admin.figures import Pace
from app.console.books import promise_words
from app.console.consequences import consequences
from app.console.panels import Now, ProviderPanel, provider_panels
from app.console.receipt import delivery_chart, receipt
from app.fleet.models import DeploymentRow, ProviderAccount
from app.metering.timeline_codec import encode
from pricing.goodput import Timeline
from pricing.money import Rate
from pricing.slo import Ladder, Rung, Slo, Tier
from pricing.usage import Rates
from scheduler.breaker import BreakerState
from scheduler.fleet import Load, OfferId
from tests.app.console.market_fixtures import NOON_US, event

FREE = Rates(Rate(0), Rate(0), Rate(0), Rate(0))
LADDER = Ladder(
    (
        Rung(Tier.PREMIUM, Slo(100_000, 10_000), FREE),
        Rung(Tier.STANDARD, Slo(200_000, 20_000), FREE),
        Rung(Tier.BULK, Slo(900_000_000, 0), FREE),
    )
)


def _row(name: str, state: str = "enabled", **more: Any) -> DeploymentRow:
    values: dict[str, Any] = {"model": "m", "tiers": ["premium", "standard"], "concurrency_max": 10, **more}
    return DeploymentRow(
        id=f"p/{name}",
        provider_id="p",
        deployment_id=name,
        kind="gpu_cluster",
        base_url="",
        backend_model="m",
        speed={},
        context_max=1,
        cost_input=1,
        cost_cached=1,
        cost_cache_write=1,
        cost_output=1,
        capabilities=[],
        state=state,
        created_at_us=0,
        updated_at_us=0,
        **values,
    )


def _panel(
    rows: list[DeploymentRow], state: str = "enabled", *, in_flight: int = 0, **now: dict[str, object]
) -> ProviderPanel:
    account = ProviderAccount(id="p", name="P", state=state, created_at_us=0, updated_at_us=0)
    loads = {OfferId(row.id): Load(in_flight=in_flight) for row in rows}
    known = {"loads": loads, "breakers": {}, "troubles": {}, "paces": {}, **now}
    [panel] = provider_panels([(account, rows)], Now(**known))  # pyright: ignore[reportArgumentType] (test values)
    return panel


@pytest.mark.parametrize(
    ("breaker", "word", "tone"),
    [
        (BreakerState.CLOSED, "Healthy", "good"),
        (BreakerState.HALF_OPEN, "Probing", "warn"),
        (BreakerState.OPEN, "Down", "bad"),
        (BreakerState.DISABLED, "Locked out", "bad"),
    ],
)
def test_an_enabled_provider_is_as_well_as_its_breaker(breaker: BreakerState, word: str, tone: str) -> None:
    panel = _panel([_row("d")], breakers={"p/d": breaker})
    assert (panel.state.word, panel.state.tone) == (word, tone)
    assert panel.is_locked == (breaker is BreakerState.DISABLED)


@pytest.mark.parametrize(
    ("state", "in_flight", "word"),
    [("draining", 3, "Draining"), ("draining", 0, "Drained"), ("disabled", 0, "Disabled")],
)
def test_what_an_operator_decided_stands_above_what_a_breaker_says(state: str, in_flight: int, word: str) -> None:
    panel = _panel([_row("d")], state, in_flight=in_flight, breakers={"p/d": BreakerState.OPEN})
    assert panel.state.word == word
    assert panel.deployments[0].state.word == word


def test_a_provider_of_which_some_deployments_work_is_degraded_and_of_which_none_does_is_as_its_worst() -> None:
    rows = [_row("a"), _row("b")]
    some = _panel(rows, breakers={"p/a": BreakerState.OPEN})
    assert (some.state.word, some.state.detail) == ("Degraded", "1 of 2 deployments take work")
    none = _panel([_row("a"), _row("b", "disabled")], breakers={"p/a": BreakerState.OPEN})
    assert none.state.word == "Down"
    assert _panel([]).state.word == "Empty"


def test_a_deployment_that_cannot_be_used_says_why() -> None:
    panel = _panel([_row("d")], troubles={"p/d": "GOODPUT_KEY is not set"})
    assert (panel.state.word, panel.state.detail) == ("Unusable", "GOODPUT_KEY is not set")


def test_a_providers_pace_is_that_of_its_busiest_deployment() -> None:
    panel = _panel([_row("a"), _row("b")], paces={"p/a": Pace(answers=2), "p/b": Pace(answers=9)})
    assert panel.pace == Pace(answers=9)
    assert _panel([_row("a")]).pace is None
    assert (panel.capacity, panel.models) == (20, ("m",))


def test_consequences_count_only_those_who_take_work_now() -> None:
    a, b, c = (_panel([_row("d")], state) for state in ("enabled", "enabled", "disabled"))
    for panel, name in ((a, "a"), (b, "b"), (c, "c")):
        panel.account.id = name
    assert consequences("drain", "a", [a, b, c]) == (
        "0 in-flight requests will finish; no new work goes there.",
        "50.0 % of premium capacity goes away (10 at once).",
        "50.0 % of standard capacity goes away (10 at once).",
    )
    assert (
        consequences("enable", "c", [a, b, c])[1] == "33.3 % of premium capacity becomes available again (10 at once)."
    )
    assert "Nobody else serves m: its requests will be refused." in consequences("disable", "a", [a, c])


def test_a_waterfalls_stages_meet_and_its_deadlines_are_the_ladders() -> None:
    shown = receipt(event("gen-1", NOON_US, tokens_output=11, tier_served="premium"), None)
    assert [(stage.title, stage.begin_us, stage.end_us) for stage in shown.stages] == [
        ("Admit and place", 0, 20_000),
        ("Prefill", 20_000, 500_000),
        ("Decode", 500_000, 2_000_000),
    ]
    assert shown.total_us == 2_000_000
    assert shown.tpot_us == 150_000
    assert all(0 <= stage.x <= stage.x + stage.span <= 1000 for stage in shown.stages)
    assert shown.dues == ()


def test_an_answer_in_one_body_has_no_moment_between_prefill_and_decode() -> None:
    shown = receipt(event("gen-1", NOON_US, is_streamed=False), None)
    assert [(stage.title, stage.begin_us, stage.end_us) for stage in shown.stages] == [
        ("Admit and place", 0, 20_000),
        ("Prefill and decode", 20_000, 2_000_000),
    ]
    assert shown.tpot_us is None


def test_the_charged_amount_is_never_above_what_was_held() -> None:
    assert receipt(event("gen-1", NOON_US, held=7), None).charged == 7


def test_tokens_that_met_no_tier_are_counted_as_missed() -> None:
    lines = [{"tier": "standard", "input": 50, "cached": 0, "cache_write": 0, "output": 60, "amount": 1}]
    assert receipt(event("gen-1", NOON_US, lines=lines), None).missed == 40


def test_each_delivered_token_is_coloured_by_the_best_tier_it_met() -> None:
    # Premium due: 100, 110, 120 ms; standard due: 200, 220, 240 ms; bulk in 15 minutes.
    timeline = Timeline(at_us=(100_000, 111_000, 241_000), tokens_through=(1, 2, 3), excused_us=(0, 0, 0))
    chart = json.loads(delivery_chart(timeline, LADDER))
    assert [point[2] for point in chart["delivered"]] == ["premium", "standard", "bulk"]
    assert chart["due"] == [
        {"tier": "premium", "line": [[100.0, 1], [110.0, 2], [120.0, 3]]},
        {"tier": "standard", "line": [[200.0, 1], [220.0, 2], [240.0, 3]]},
    ]
    assert chart["end_ms"] >= 241
    without_bulk = json.loads(delivery_chart(timeline, Ladder(LADDER.rungs[:2])))
    assert [point[2] for point in without_bulk["delivered"]] == ["premium", "standard", "missed"]


def test_a_chunk_of_many_tokens_is_as_late_as_its_first() -> None:
    timeline = Timeline(at_us=(105_000,), tokens_through=(50,), excused_us=(0,))
    [point] = json.loads(delivery_chart(timeline, LADDER))["delivered"]
    assert point == [105.0, 50, "standard"]


def test_an_answer_in_one_body_is_due_when_its_last_token_is() -> None:
    timeline = Timeline(at_us=(590_000,), tokens_through=(50,), excused_us=(0,), streamed=False)
    [point] = json.loads(delivery_chart(timeline, LADDER))["delivered"]
    assert point[2] == "premium"


def test_an_excuse_moves_every_deadline_after_it() -> None:
    timeline = Timeline(at_us=(100_000, 140_000), tokens_through=(1, 2), excused_us=(0, 30_000))
    chart = json.loads(delivery_chart(timeline, LADDER))
    assert [point[2] for point in chart["delivered"]] == ["premium", "premium"]
    assert chart["due"][0]["line"] == [[100.0, 1], [140.0, 2]]


def test_a_hundred_thousand_chunks_are_drawn_as_four_hundred_with_the_first_and_the_last() -> None:
    count = 100_000
    timeline = Timeline(tuple(range(count)), tuple(range(1, count + 1)), (0,) * count)
    shown = receipt(event("gen-1", NOON_US, timeline=encode(timeline), tokens_output=count), None)
    assert shown.chart is not None
    points = json.loads(shown.chart)["delivered"]
    assert len(points) == 400
    assert (points[0][1], points[-1][1]) == (1, count)


def test_promises_are_told_as_speeds_and_windows() -> None:
    assert promise_words(Slo(3_800_000, 8_500))[0] == "118 tok/s/user"
    assert promise_words(Slo(900_000_000, 0))[0] == "Whole answer in 15 min"
