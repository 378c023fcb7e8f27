"""A backend's counts against its own answer: what can be is believed, what cannot is billed by the smaller."""

from hypothesis import given
from hypothesis import strategies as st

from app.metering.delivery import Delivery
from app.metering.meter import Reported
from app.metering.plausible import SPARE_TOKENS, checked, counted
from pricing.usage import Usage

streamed = st.tuples(st.integers(1, 500), st.integers(0, 4_000)).map(
    lambda drawn: Delivery(is_streamed=True, content_bytes=sum(drawn), content_events=drawn[0])
)


def said(output: int, *, prompt: int = 10, hidden: int = 0) -> Reported:
    return Reported(Usage(input=prompt, output=output), hidden, "provider")


def test_counts_that_can_be_are_billed_as_they_are() -> None:
    for output in (5, 40, 100 + SPARE_TOKENS):
        assert checked(said(output), Delivery(True, 100, 5), 100) == (said(output), None)


def test_more_tokens_than_bytes_are_not_billed_but_counted() -> None:
    reported, dispute = checked(said(1_000), Delivery(True, 90, 5), 100)
    assert (reported.usage.output, reported.source) == (30, "counted")  # 90 bytes at three a token
    assert dispute is not None
    assert (dispute.output_most, dispute.output_billed) == (106, 30)
    assert "1000 output tokens for 90 bytes" in dispute.reason


def test_reasoning_that_nobody_saw_is_believed_beside_what_can_be_seen() -> None:
    reported, dispute = checked(said(550, hidden=500), Delivery(True, 90, 5), 100)
    assert dispute is None
    reported, dispute = checked(said(5_000, hidden=500), Delivery(True, 90, 5), 100)
    assert dispute is not None
    assert reported.usage.output == 530


def test_fewer_tokens_than_half_the_events_are_billed_and_flagged() -> None:
    reported, dispute = checked(said(3), Delivery(True, 400, 100), 100)
    assert (reported.usage.output, reported.source) == (3, "provider")
    assert dispute is not None
    assert "3 output tokens for 100 events" in dispute.reason


def test_a_prompt_longer_than_the_request_is_flagged() -> None:
    reported, dispute = checked(said(5, prompt=10_000), Delivery(True, 100, 5), 1_000)
    assert (reported.usage.input, reported.usage.output, reported.source) == (1_000, 5, "counted")
    assert dispute is not None
    assert "10000 input tokens where at most 1000 can be" in dispute.reason


def test_our_own_count_and_an_answer_without_content_are_not_held_against_anybody() -> None:
    ours = Reported(Usage(input=10, output=9_999), 0, "counted")
    assert checked(ours, Delivery(True, 1, 1), 10) == (ours, None)
    assert checked(said(9_999), Delivery(True), 10) == (said(9_999), None)


def test_a_whole_answer_is_one_event_however_many_tokens_it_has() -> None:
    assert checked(said(200), Delivery(False, 800, 1), 100)[1] is None
    assert checked(said(1), Delivery(False, 800, 1), 100)[1] is None


@given(streamed, st.integers(0, 10**9), st.integers(0, 10**9))
def test_never_more_is_billed_than_was_reported_nor_than_can_be(delivery: Delivery, output: int, hidden: int) -> None:
    reported, dispute = checked(said(output, hidden=hidden), delivery, 100)
    most = min(hidden, output) + delivery.content_bytes + SPARE_TOKENS
    assert reported.usage.output <= min(output, most)
    assert (dispute is None) == (int(delivery.content_events * 0.5) <= output <= most)


@given(streamed)
def test_a_backend_that_counts_nothing_too_much_is_never_billed_less_for_the_others_sake(delivery: Delivery) -> None:
    honest = said(max(counted(delivery), delivery.content_events) if delivery.content_bytes >= 3 else 1)
    reported, dispute = checked(honest, delivery, 100)
    if delivery.content_events <= delivery.content_bytes:
        assert reported.usage.output == honest.usage.output
        assert dispute is None or honest.usage.output < delivery.content_events * 0.5
