"""The one table from failures to errors, and what may be done about each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.errors import (
    RETRY_AFTER_S_MAX,
    ProviderClosedEarly,
    ProviderCredentialRejected,
    ProviderError,
    ProviderOverloaded,
    ProviderProtocolError,
    ProviderRejectedRequest,
    ProviderServerError,
    ProviderTimeout,
    ProviderUnreachable,
    error_for_fault,
    error_for_status,
    redacted,
    retry_after_s,
    without_secret,
)
from providers.http_port import FaultKind, HttpFault


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (FaultKind.REFUSED, ProviderUnreachable),
        (FaultKind.POOL_FULL, ProviderOverloaded),
        (FaultKind.CONNECT_TIMED_OUT, ProviderTimeout),
        (FaultKind.TIMED_OUT, ProviderTimeout),
        (FaultKind.CLOSED_UNANSWERED, ProviderUnreachable),
        (FaultKind.CLOSED_EARLY, ProviderClosedEarly),
        (FaultKind.GARBAGE, ProviderProtocolError),
    ],
)
def test_each_fault_has_its_error(kind: FaultKind, error: type[ProviderError]) -> None:
    found = error_for_fault("p-1", HttpFault(kind, "why"))

    assert type(found) is error
    assert (found.provider_id, found.detail, found.status) == ("p-1", "why", None)


def test_no_fault_is_without_an_error() -> None:
    assert {type(error_for_fault("p-1", HttpFault(kind, ""))) for kind in FaultKind} <= set(
        ProviderError.__subclasses__()
    )


@given(status=st.integers(100, 999))
def test_every_status_has_an_error_that_says_what_may_be_done(status: int) -> None:
    error = error_for_status("p-1", status, "why")

    is_theirs = isinstance(error, ProviderRejectedRequest)
    assert error.status == status
    assert error.is_retryable is not is_theirs
    assert error.trips_breaker is not (is_theirs or isinstance(error, ProviderOverloaded))
    if status >= 500:
        assert isinstance(error, ProviderServerError | ProviderTimeout | ProviderOverloaded | ProviderProtocolError)


def test_a_503_is_an_overload_only_when_it_says_when_to_come_back() -> None:
    assert isinstance(error_for_status("p-1", 503, "", None), ProviderServerError)
    busy = error_for_status("p-1", 503, "", 0.0)

    assert isinstance(busy, ProviderOverloaded)
    assert busy.retry_after_s == 0.0


def test_an_account_without_credit_closes_the_offer_and_does_not_blame_the_customer() -> None:
    assert isinstance(error_for_status("p-1", 402, ""), ProviderCredentialRejected)


@pytest.mark.parametrize(
    ("after_ms", "after", "date", "seconds"),
    [
        ("250", "", "", 0.25),
        ("250", "9", "", 0.25),
        ("junk", "9", "", 9.0),
        ("", "1.5", "", 1.5),
        ("", "-3", "", 0.0),
        ("", "1e9", "", RETRY_AFTER_S_MAX),
        ("", "nan", "", None),
        ("", "inf", "", None),
        ("", "", "", None),
        ("", "Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:27:00 GMT", 60.0),
        ("", "Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:29:00 GMT", 0.0),
        ("", "Wed, 21 Oct 2026 07:28:00 GMT", "", None),
        ("", "Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:27:00 -0000", None),
        ("", "tomorrow", "Wed, 21 Oct 2026 07:27:00 GMT", None),
    ],
)
def test_when_to_come_back_is_read_from_milliseconds_seconds_or_a_date(
    after_ms: str, after: str, date: str, seconds: float | None
) -> None:
    assert retry_after_s(after_ms, after, date) == seconds


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_any_words_about_coming_back_are_a_bounded_number_or_nothing(after_ms: str, after: str, date: str) -> None:
    seconds = retry_after_s(after_ms, after, date)

    assert seconds is None or 0 <= seconds <= RETRY_AFTER_S_MAX


SECRETS = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=8, max_size=40)


@given(secret=SECRETS, before=st.text(max_size=20), after=st.text(max_size=20), kept=st.integers(0, 40))
def test_neither_a_credential_nor_its_beginning_is_repeated(secret: str, before: str, after: str, kept: int) -> None:
    masked = secret[: max(6, kept)] + "*" * 8
    said = redacted(f"{before}{secret} {masked}{after}", secret)

    assert secret not in said
    assert secret[:6] not in said or secret[:6] in "[redacted]"


def test_words_without_the_credential_stay_as_they_are() -> None:
    assert redacted("no such model", "sk-live-1234") == "no such model"
    assert redacted("sk-live-1234", None) == "sk-live-1234"


def test_a_cleaned_failure_is_of_the_same_kind_and_keeps_what_it_knew() -> None:
    cleaned = without_secret(ProviderOverloaded("p-1", "key sk-live-1234 is busy", 429, 7.0), "sk-live-1234")

    assert isinstance(cleaned, ProviderOverloaded)
    assert (cleaned.detail, cleaned.status, cleaned.retry_after_s) == ("key [redacted] is busy", 429, 7.0)
    assert str(cleaned) == "p-1: key [redacted] is busy"
