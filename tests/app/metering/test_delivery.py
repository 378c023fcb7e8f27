"""Delivery: what was handed over when, in whole µs, each token in the chunk that completes it."""

from hypothesis import given
from hypothesis import strategies as st

from app.metering.delivery import Delivery
from pricing.goodput import Timeline


def test_times_round_up_and_excuses_round_down() -> None:
    delivery = Delivery(is_streamed=True)
    delivery.record(1_000_001, 4, refused_ns=1_999)
    assert delivery.timeline(1) == Timeline((1_001,), (1,), (1,))


def test_tokens_are_spread_by_bytes_and_the_last_chunk_has_the_rest() -> None:
    delivery = Delivery(is_streamed=True)
    for at_ns, size in ((1_000, 10), (2_000, 5), (3_000, 5)):
        delivery.record(at_ns, size)
    # 7 tokens over 20 bytes: floor(7·10/20) = 3, floor(7·15/20) = 5, all 7.
    assert delivery.timeline(7).tokens_through == (3, 5, 7)


def test_a_backend_that_counts_along_the_way_is_believed_over_bytes() -> None:
    delivery = Delivery(is_streamed=True)
    delivery.record(1_000, 100, tokens=1)
    delivery.record(2_000, 1, tokens=6)
    assert delivery.timeline(7).tokens_through == (1, 7)


def test_a_count_that_falls_or_overshoots_is_held_inside_the_total() -> None:
    delivery = Delivery(is_streamed=True)
    for at_ns, tokens in ((1_000, 5), (2_000, 3), (3_000, 99)):
        delivery.record(at_ns, 1, tokens=tokens)
    assert delivery.timeline(7).tokens_through == (5, 5, 7)


def test_hidden_reasoning_takes_the_time_of_the_first_visible_chunk() -> None:
    delivery = Delivery(is_streamed=True)
    delivery.record(9_000_000, 10)
    delivery.record(10_000_000, 10)
    assert delivery.timeline(104, hidden_tokens=100).tokens_through == (102, 104)


def test_chunks_without_content_are_no_tokens_but_their_refusal_still_excuses_the_next() -> None:
    delivery = Delivery(is_streamed=True)
    delivery.record(1_000, 0, refused_ns=5_000)
    delivery.record(9_000, 3, refused_ns=2_000)
    assert delivery.timeline(1) == Timeline((9,), (1,), (7,))


def test_a_timeline_can_be_cut_at_what_was_reserved() -> None:
    delivery = Delivery(is_streamed=True)
    for at_ns in (1_000, 2_000, 3_000):
        delivery.record(at_ns, 1)
    assert delivery.timeline(3, tokens_max=2).tokens_through == (1, 2, 2)


def test_nothing_delivered_is_an_empty_timeline_whatever_the_backend_claims() -> None:
    assert Delivery(is_streamed=True).timeline(500).tokens == 0


def test_without_usage_each_event_counts_as_one_token() -> None:
    delivery = Delivery(is_streamed=True)
    delivery.record(1_000, 40, content_events=3)
    delivery.record(2_000, 40, content_events=2)
    assert delivery.tokens_counted == 5


@given(
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=30),
    tokens=st.integers(1, 200),
    hidden=st.integers(0, 250),
)
def test_every_token_is_placed_once_whatever_the_chunking(sizes: list[int], tokens: int, hidden: int) -> None:
    delivery = Delivery(is_streamed=True)
    for index, size in enumerate(sizes):
        delivery.record(index * 1_000, size)
    timeline = delivery.timeline(tokens, hidden_tokens=hidden)
    assert timeline.tokens == tokens
    assert list(timeline.tokens_through) == sorted(timeline.tokens_through)
