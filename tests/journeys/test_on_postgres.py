"""The same journeys on a real PostgreSQL and a real Redis-compatible server: nothing of them is SQLite's alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.embedded_redis import embedded_redis
from tests.journeys import (
    test_bad_days,
    test_money_at_the_edges,
    test_openai_sdk,
    test_promise_kept_or_paid_for,
    test_requests_sent_again,
    test_what_a_cheat_would_try,
)
from tests.journeys.stage import Stage, opened

pytest_plugins = ("tests.postgres",)
pytestmark = [pytest.mark.slow, pytest.mark.postgres]


@pytest.fixture
def stage(tmp_path: Path, postgres_url: str) -> Iterator[Stage]:
    with (
        embedded_redis(tmp_path / "redis.sock", tmp_path / "redis.log"),
        opened(tmp_path, database_url=postgres_url, redis_url=f"unix://{tmp_path / 'redis.sock'}") as stage,
    ):
        yield stage


def test_the_promise(stage: Stage, tmp_path: Path) -> None:
    test_promise_kept_or_paid_for.test_a_premium_request_to_a_slowed_provider_is_billed_less_than_its_quote(
        stage, tmp_path
    )


def test_the_sdk_hang_ups_and_broken_streams(stage: Stage) -> None:
    test_openai_sdk.test_a_plain_completion_has_text_usage_and_cost(stage)
    test_bad_days.test_a_customer_who_hangs_up_pays_the_tokens_they_got_and_the_backend_stops(stage)
    test_bad_days.test_a_stream_that_breaks_in_the_middle_says_so_and_is_free(stage, "close")


def test_budgets_and_requests_sent_twice(stage: Stage) -> None:
    test_money_at_the_edges.test_many_requests_at_once_never_overspend_a_small_budget(stage)
    stage.backend.requests.clear()
    test_money_at_the_edges.test_a_request_sent_twice_under_one_key_runs_and_costs_once(stage)
    test_money_at_the_edges.test_a_long_answer_extends_its_hold_as_it_grows(stage)


def test_odd_words_and_keys_sent_at_once(stage: Stage) -> None:
    for reason in ("x" * 3_000, "s\0top", "\ud83d"):
        test_what_a_cheat_would_try.test_any_word_for_the_end_is_passed_on_and_settled(stage, reason, is_stream=True)
    stage.backend.requests.clear()
    test_requests_sent_again.test_the_same_key_at_once_runs_once(stage)
    test_requests_sent_again.test_a_customer_who_got_nothing_before_they_left_is_answered_the_second_time(
        stage, is_stream=False
    )
