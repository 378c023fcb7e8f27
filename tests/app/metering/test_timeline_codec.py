"""The stored timeline is exactly the delivered one, and damage is noticed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.metering.timeline_codec import TimelineCodecError, decode, encode
from pricing.goodput import Timeline

steps = st.lists(
    st.tuples(st.integers(0, 2**40), st.integers(0, 2**20), st.integers(0, 2**33)),
    max_size=50,
)


@given(steps=steps, streamed=st.booleans())
def test_decoding_gives_back_what_was_encoded(steps: list[tuple[int, int, int]], *, streamed: bool) -> None:
    columns: list[list[int]] = [[], [], []]
    totals = [0, 0, 0]
    for step in steps:
        for index, value in enumerate(step):
            totals[index] += value
            columns[index].append(totals[index])
    timeline = Timeline(tuple(columns[0]), tuple(columns[1]), tuple(columns[2]), streamed=streamed)
    assert decode(encode(timeline)) == timeline


def test_a_paced_stream_takes_at_most_three_bytes_a_token() -> None:
    tokens = 1_000
    timeline = Timeline(
        tuple(200_000 + 7_300 * i + (i * 37) % 251 for i in range(tokens)), tuple(range(1, tokens + 1)), (0,) * tokens
    )
    assert len(encode(timeline)) <= 3 * tokens


@pytest.mark.parametrize("damaged", [b"", b"junk", encode(Timeline((5,), (1,), (0,)))[:-2]])
def test_damaged_bytes_are_refused(damaged: bytes) -> None:
    with pytest.raises(TimelineCodecError):
        decode(damaged)
