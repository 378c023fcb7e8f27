"""Refusals: the status and code that were promised, words that help, and whether to try again."""

import pytest

from app.errors import MarketError
from app.gateway import errors
from app.gateway.driver import refusal
from app.gateway.errors import failure_answer
from pricing.money import Rate
from pricing.slo import Ladder, Rung, Slo, Tier
from pricing.usage import Rates
from providers.errors import (
    ProviderClosedEarly,
    ProviderCredentialRejected,
    ProviderError,
    ProviderOverloaded,
    ProviderRejectedRequest,
    ProviderTimeout,
    ProviderUnreachable,
)
from scheduler.jobs import Job, JobId
from scheduler.placement import RefusalReason, Refuse

LADDER = Ladder((Rung(Tier.STANDARD, Slo(1_000, 10), Rates(*(Rate(1),) * 4)),))
JOB = Job(JobId("j"), "cus_1", "m", Tier.STANDARD, LADDER, 0, 10, 10, 20)


@pytest.mark.parametrize(
    ("failure", "status", "code", "should_retry"),
    [
        (ProviderUnreachable("p", "refused"), 502, "provider_unavailable", "true"),
        (ProviderClosedEarly("p", "gone"), 502, "provider_unavailable", "true"),
        (ProviderTimeout("p", "silent"), 504, "provider_timeout", "true"),
        (ProviderOverloaded("p", "full", 429, 7.0), 503, "server_is_overloaded", "true"),
        (ProviderOverloaded("p", "full", 429), 503, "server_is_overloaded", "true"),
        (ProviderCredentialRejected("p", "your key ends in 1234", 401), 502, "provider_unavailable", "true"),
        (ProviderRejectedRequest("p", "temperature is too high", 400), 400, "invalid_value", "false"),
        (ProviderRejectedRequest("p", "too large", 413), 413, "invalid_value", "false"),
        (ProviderRejectedRequest("p", "no such thing", 404), 400, "invalid_value", "false"),
        (ProviderRejectedRequest("p", "maximum context length is 8"), 400, "context_length_exceeded", "false"),
    ],
)
def test_a_failure_before_the_first_token_is_told_as_a_status(
    failure: ProviderError, status: int, code: str, should_retry: str
) -> None:
    told = failure_answer(failure, is_started=False)
    assert (told.status, told.code, told.headers()["x-should-retry"]) == (status, code, should_retry)
    assert "1234" not in told.message
    assert set(told.openai_body()["error"]) == {"message", "type", "param", "code"}


def test_a_busy_providers_wish_is_passed_on() -> None:
    assert failure_answer(ProviderOverloaded("p", "full", 429, 7.0), is_started=False).headers()["retry-after"] == "7"


@pytest.mark.parametrize("kind", [ProviderRejectedRequest, ProviderOverloaded, ProviderClosedEarly])
def test_in_mid_answer_every_failure_is_the_providers(kind: type[ProviderError]) -> None:
    told = failure_answer(kind("p", "fell over."), is_started=True)
    assert told.code == "provider_unavailable"
    assert "in mid-answer: fell over. Nothing was charged." in told.message


@pytest.mark.parametrize(
    ("reason", "retry_after_us", "status", "code", "should_retry", "retry_after"),
    [
        (RefusalReason.NO_OFFER, None, 503, "no_provider_available", "false", None),
        (RefusalReason.NO_OFFER, 5_000_000, 503, "no_provider_available", "true", "5"),
        (RefusalReason.NO_CAPACITY, 3_000_000, 429, "capacity_exceeded", "true", "3"),
        (RefusalReason.QUEUE_FULL, None, 429, "capacity_exceeded", "true", "1"),
        (RefusalReason.PROMISE_OUT_OF_REACH, 500_000_000, 429, "capacity_exceeded", "true", "120"),
    ],
)
def test_the_dispatchers_refusals_say_when_to_come_back(
    reason: RefusalReason,
    retry_after_us: int | None,
    status: int,
    code: str,
    should_retry: str,
    retry_after: str | None,
) -> None:
    told = refusal(Refuse(JOB, reason, retry_after_us, "Why not."))
    assert isinstance(told, MarketError)
    headers = told.headers()
    assert (told.status, told.code) == (status, code)
    assert (headers["x-should-retry"], headers.get("retry-after")) == (should_retry, retry_after)


def test_a_context_too_long_for_every_offer_is_the_requests_own_fault() -> None:
    told = refusal(Refuse(JOB, RefusalReason.CONTEXT_TOO_LONG, None, "Too long."))
    assert isinstance(told, MarketError)
    assert (told.status, told.code, told.param) == (400, "context_length_exceeded", "messages")


def test_a_tier_that_is_not_sold_is_named_with_those_that_are() -> None:
    told = errors.tier_not_sold("m", Tier.PREMIUM, [Tier.STANDARD, Tier.BULK])
    assert (told.code, told.param) == ("invalid_service_tier", "service_tier")
    assert "'priority' (premium)" in told.message
    assert "'default' (standard), 'flex' (bulk)" in told.message


def test_a_request_over_a_limit_all_by_itself_is_not_sent_back_to_wait() -> None:
    alone, busy = (errors.rate_limited("tokens", after_s, {"x-a": "b"}) for after_s in (float("inf"), 1.5))
    assert (alone.headers()["x-should-retry"], busy.headers()["x-should-retry"]) == ("false", "true")
    assert "inf" not in alone.message
    assert busy.headers()["retry-after-ms"] == "1500"
    assert alone.headers()["x-a"] == busy.headers()["x-a"] == "b"
