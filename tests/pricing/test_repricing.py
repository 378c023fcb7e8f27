"""When prices may move by themselves: the documented limits as laws over any sequence of runs."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.money import Rate
from pricing.repricing import (
    Limits,
    RepricingError,
    Seen,
    Streak,
    Watch,
    run,
    stepped,
    watch_document,
    watch_from_document,
)
from pricing.slo import Tier
from pricing.usage import Rates

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
LIMITS = Limits()
CLASSES = ("input", "cached", "cache_write", "output")


def rates(*amounts: int) -> Rates:
    return Rates(*map(Rate, amounts))


LIVE = {
    ("m", Tier.PREMIUM): rates(40_000, 4_000, 40_000, 160_000),
    ("m", Tier.STANDARD): rates(20_000, 2_000, 20_000, 80_000),
    ("m", Tier.BULK): rates(10_000, 1_000, 10_000, 40_000),
}


def scaled(live: dict[tuple[str, Tier], Rates], percent: int) -> dict[tuple[str, Tier], Rates]:
    return {
        key: Rates(*(Rate(rate * percent // 100) for rate in each.by_class().values())) for key, each in live.items()
    }


def seen(target: Any, now_us: int, *, published_at_us: int = 0, book: str = "pb-1", live: Any = None) -> Seen:
    return Seen(book, published_at_us, live or LIVE, target, {}, now_us)


def test_a_change_is_published_after_two_runs_that_agree_and_a_day_of_rest() -> None:
    target = scaled(LIVE, 110)
    watch, first = run(Watch(), seen(target, DAY_US))
    assert not first.may_publish
    assert not first.rates
    _, second = run(watch, seen(target, DAY_US + HOUR_US))
    assert second.may_publish
    assert second.rates == target
    _, early = run(watch, seen(target, DAY_US + HOUR_US, published_at_us=2 * HOUR_US))
    assert not early.may_publish
    assert early.dwells_until_us == DAY_US + 2 * HOUR_US


def test_five_percent_exactly_is_not_more_than_five_percent() -> None:
    watch = Watch()
    for hour in range(5):
        watch, move = run(watch, seen(scaled(LIVE, 105), DAY_US + hour * HOUR_US))
        assert not move.rates
    watch, _ = run(watch, seen(scaled(LIVE, 106), DAY_US + 5 * HOUR_US))
    _, move = run(watch, seen(scaled(LIVE, 106), DAY_US + 6 * HOUR_US))
    assert move.rates


def test_two_runs_that_contradict_each_other_are_noise() -> None:
    watch = Watch()
    for hour in range(10):
        watch, move = run(watch, seen(scaled(LIVE, 112 if hour % 2 else 88), DAY_US + hour * HOUR_US))
        assert not move.rates


def test_a_change_that_is_gone_in_the_next_run_starts_again() -> None:
    watch = Watch()
    for hour, percent in enumerate((110, 100, 110, 100, 110)):
        watch, move = run(watch, seen(scaled(LIVE, percent), DAY_US + hour * HOUR_US))
        assert not move.rates


def test_a_ripe_change_that_is_not_there_in_this_very_run_moves_nothing() -> None:
    watch = Watch("pb-1", DAY_US, {("m", "bulk", "input"): Streak("up", 2)})
    _, move = run(watch, seen(scaled(LIVE, 100), DAY_US + HOUR_US // 10))
    assert not move.rates


def test_a_step_is_at_most_fifteen_percent_of_the_live_rate() -> None:
    target = scaled(LIVE, 300)
    watch, _ = run(Watch(), seen(target, DAY_US))
    _, move = run(watch, seen(target, DAY_US + HOUR_US))
    assert move.rates == scaled(LIVE, 115)
    assert "+15.0%" in move.reason


def test_one_class_that_is_off_moves_its_model_and_no_other() -> None:
    live = {**LIVE, ("other", Tier.BULK): rates(5_000, 500, 5_000, 20_000)}
    target = {
        **{key: replace(each, output=Rate(each.output * 120 // 100)) for key, each in LIVE.items()},
        ("other", Tier.BULK): rates(5_100, 500, 5_000, 20_000),
    }
    watch, _ = run(Watch(), seen(target, DAY_US, live=live))
    _, move = run(watch, seen(target, DAY_US + HOUR_US, live=live))
    assert {model for model, _ in move.rates} == {"m"}
    assert move.rates["m", Tier.BULK] == rates(10_000, 1_000, 10_000, 46_000)


def test_a_model_with_another_set_of_tiers_is_for_a_person_to_review() -> None:
    target = {key: each for key, each in scaled(LIVE, 150).items() if key[1] is not Tier.PREMIUM}
    found = replace(seen(target, DAY_US), reviews={"m": "no premium any more"})
    watch, first = run(Watch(), found)
    _, second = run(watch, replace(found, now_us=DAY_US + HOUR_US))
    assert (first.reviews, first.rates) == (frozenset(), {})
    assert (second.reviews, second.rates) == (frozenset({"m"}), {})


def test_a_review_that_says_something_else_each_time_is_not_told() -> None:
    watch = Watch()
    for hour in range(6):
        found = replace(seen(LIVE, DAY_US + hour * HOUR_US), reviews={"m": f"another promise {hour}"})
        watch, move = run(watch, found)
        assert not move.reviews


def test_two_workers_at_once_do_not_make_two_runs() -> None:
    target = scaled(LIVE, 110)
    watch = Watch()
    for second in range(10):
        watch, move = run(watch, seen(target, DAY_US + second * 1_000_000))
        assert not move.rates


def test_another_book_starts_the_count_again() -> None:
    target = scaled(LIVE, 110)
    watch, _ = run(Watch(), seen(target, DAY_US))
    watch, move = run(watch, seen(target, DAY_US + HOUR_US, book="pb-2"))
    assert not move.rates
    _, move = run(watch, seen(target, DAY_US + 2 * HOUR_US, book="pb-2"))
    assert move.rates


def test_a_clock_that_went_back_publishes_nothing_sooner_and_does_not_stick() -> None:
    target = scaled(LIVE, 110)
    watch, _ = run(Watch(), seen(target, 400 * DAY_US))
    watch, move = run(watch, seen(target, DAY_US))
    assert not move.rates
    _, move = run(watch, seen(target, DAY_US + HOUR_US))
    assert move.rates
    _, waiting = run(watch, seen(target, DAY_US + HOUR_US, published_at_us=9 * DAY_US))
    assert not waiting.may_publish


def test_a_rate_of_nothing_never_becomes_a_price_by_itself() -> None:
    live = {("m", Tier.BULK): rates(0, 0, 0, 1_000)}
    target = {("m", Tier.BULK): rates(500, 0, 0, 1_000)}
    watch, _ = run(Watch(), seen(target, DAY_US, live=live))
    _, move = run(watch, seen(target, DAY_US + HOUR_US, live=live))
    assert not move.rates


def test_tiers_that_a_rounded_step_would_let_meet_stay_apart() -> None:
    live = {("m", Tier.STANDARD): rates(7, 7, 7, 7), ("m", Tier.BULK): rates(6, 6, 6, 6)}
    target = {("m", Tier.STANDARD): rates(6, 60, 6, 6), ("m", Tier.BULK): rates(5, 50, 5, 5)}
    watch, _ = run(Watch(), seen(target, DAY_US, live=live))
    _, move = run(watch, seen(target, DAY_US + HOUR_US, live=live))
    assert move.rates == {("m", Tier.STANDARD): rates(7, 8, 7, 7)}  # 7·0.15 is one unit, 6·0.15 none


@pytest.mark.parametrize(
    "bad",
    [{"threshold_ppm": -1}, {"step_ppm": 0}, {"step_ppm": 1_000_000}, {"runs": 0}, {"dwell_us": -1}],
)
def test_limits_that_cannot_be_kept_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(RepricingError, match="limits need"):
        Limits(**bad)


@pytest.mark.parametrize(
    "document", [{}, {"book_id": "x", "run_at_us": "soon", "streaks": []}, {"book_id": "", "streaks": 3}]
)
def test_a_stored_watch_that_is_none_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(RepricingError, match="not a stored watch"):
        watch_from_document(document)


def test_more_rates_off_than_can_be_followed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pricing.repricing.STREAKS_MAX", 3)
    with pytest.raises(RepricingError, match="at most 3"):
        run(Watch(), seen(scaled(LIVE, 200), DAY_US))


@st.composite
def books(draw: st.DrawFn) -> dict[tuple[str, Tier], Rates]:
    """Rates of two models that fall from tier to tier in every class."""
    found: dict[tuple[str, Tier], Rates] = {}
    for model in ("a", "b"):
        columns = [
            sorted(draw(st.lists(st.integers(1, 10**6), min_size=3, max_size=3, unique=True)), reverse=True)
            for _ in CLASSES
        ]
        for index, tier in enumerate(Tier):
            found[model, tier] = rates(*(column[index] for column in columns))
    return found


@settings(max_examples=60, deadline=None)
@given(books(), st.lists(st.tuples(books(), st.integers(-50, 60)), min_size=1, max_size=12))
def test_no_sequence_of_targets_and_clocks_exceeds_the_limits(
    live: dict[tuple[str, Tier], Rates], script: list[tuple[dict[tuple[str, Tier], Rates], int]]
) -> None:
    watch, now_us, published_us, book = Watch(), 100 * DAY_US, 0, 0
    for target, hours in script:
        now_us += hours * HOUR_US
        watch, move = run(watch, seen(target, now_us, published_at_us=published_us, book=f"pb-{book}", live=live))
        if not move.may_publish:
            continue
        assert now_us - published_us >= LIMITS.dwell_us
        for key, new in move.rates.items():
            for name, rate in new.by_class().items():
                assert abs(rate - live[key].by_class()[name]) * 100 <= 15 * live[key].by_class()[name]
        live, published_us, book = {**live, **move.rates}, now_us, book + 1
        for model in ("a", "b"):
            for better, lesser in ((Tier.PREMIUM, Tier.STANDARD), (Tier.STANDARD, Tier.BULK)):
                pairs = zip(
                    live[model, better].by_class().values(), live[model, lesser].by_class().values(), strict=True
                )
                assert all(dear > cheap for dear, cheap in pairs)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(95, 105), min_size=3, max_size=30))
def test_noise_of_at_most_five_percent_never_publishes(percents: list[int]) -> None:
    watch = Watch()
    for hour, percent in enumerate(percents):
        watch, move = run(watch, seen(scaled(LIVE, percent), DAY_US + hour * HOUR_US))
        assert not move.rates


@settings(max_examples=25, deadline=None)
@given(st.integers(30, 400))
def test_prices_come_within_five_percent_of_where_they_are_derived(percent: int) -> None:
    target = scaled(LIVE, percent)
    live, watch, now_us, published_us, book = dict(LIVE), Watch(), DAY_US, 0, 0
    for _ in range(60):
        watch, move = run(watch, seen(target, now_us, published_at_us=published_us, book=f"pb-{book}", live=live))
        if move.may_publish:
            live, published_us, book = {**live, **move.rates}, now_us, book + 1
        now_us += 8 * HOUR_US
    for key, each in live.items():
        for rate, wanted in zip(each.by_class().values(), target[key].by_class().values(), strict=True):
            assert abs(wanted - rate) * 100 <= 5 * rate


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(80, 130), min_size=2, max_size=12), st.integers(0, 11))
def test_a_restart_in_the_middle_changes_nothing(percents: list[int], restart_at: int) -> None:
    def moves(*, restarts: bool) -> list[Any]:
        watch, found = Watch(), []
        for hour, percent in enumerate(percents):
            if restarts and hour == restart_at:
                watch = watch_from_document(watch_document(watch))
            watch, move = run(watch, seen(scaled(LIVE, percent), DAY_US + hour * HOUR_US))
            found.append(move)
        return found

    assert moves(restarts=True) == moves(restarts=False)


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_a_step_lies_between_the_live_rate_and_the_derived_one(live: int, target: int) -> None:
    new = stepped(live, target)
    assert min(live, target) <= new <= max(live, target)
    assert abs(new - live) * 1_000_000 <= 150_000 * live
