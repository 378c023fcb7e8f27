"""Server-sent events, cut anywhere."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.sse import SseError, SseParser, event_of, plain_data

STREAM = 'data: {"a":"día 🎉"}\n\n: ping\n\nevent: x\ndata: one\ndata: two\n\ndata:[DONE]\n\n'.encode()
BLOCKS = ['data: {"a":"día 🎉"}'.encode(), b": ping", b"event: x\ndata: one\ndata: two", b"data:[DONE]"]


def fed(parser: SseParser, *parts: bytes) -> list[bytes]:
    return [block for part in parts for block in parser.feed(part)]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(places=st.lists(st.integers(0, 10_000), max_size=12))
def test_a_stream_is_the_same_wherever_it_is_cut(places: list[int]) -> None:
    assert fed(SseParser(1_000), *cut(STREAM, places)) == BLOCKS


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"])
@given(places=st.lists(st.integers(0, 10_000), max_size=12))
def test_other_line_ends_give_the_same_events(line_end: bytes, places: list[int]) -> None:
    stream = STREAM.replace(b"\n", line_end)

    assert fed(SseParser(1_000), *cut(stream, places)) == BLOCKS


def test_a_stream_byte_by_byte_gives_the_same_events() -> None:
    assert fed(SseParser(1_000), *(bytes([byte]) for byte in STREAM)) == BLOCKS


def test_an_event_whose_last_line_end_is_a_lone_cr_is_complete_without_waiting_for_more() -> None:
    assert fed(SseParser(100), b"data: a\r\r") == [b"data: a"]


def test_a_byte_order_mark_before_the_first_event_is_dropped() -> None:
    assert fed(SseParser(100), b"\xef\xbb", b"\xbfdata: a\n\ndata: b\n\n") == [b"data: a", b"data: b"]


def test_an_event_over_its_bound_is_refused_whether_or_not_it_ends() -> None:
    with pytest.raises(SseError, match="more than 16 bytes"):
        SseParser(16).feed(b"data: " + b"x" * 11)
    with pytest.raises(SseError, match="more than 16 bytes"):
        SseParser(16).feed(b"data: " + b"x" * 11 + b"\n\n")
    with pytest.raises(SseError, match="more than 16 bytes"):
        fed(SseParser(16), *[b"data: x\n"] * 3)


def test_an_event_of_exactly_its_bound_passes_among_any_number_of_others() -> None:
    block = b"data: " + b"x" * 10

    assert fed(SseParser(16), (block + b"\n\n") * 50) == [block] * 50


def test_what_is_left_unfinished_is_told_at_the_end() -> None:
    parser = SseParser(100)

    assert fed(parser, b"data: a\n\nda", b"ta: b") == [b"data: a"]
    assert parser.rest() == b"data: b"


def test_a_block_of_one_data_line_is_read_without_further_ado() -> None:
    assert plain_data(b"data: {}") == b"{}"
    assert plain_data(b"data:{}") == b"{}"
    assert plain_data(b"data:") == b""
    assert plain_data(b"data: a\ndata: b") is None
    assert plain_data(b"database: a") is None


def test_data_lines_are_joined_and_comments_and_other_fields_leave_no_trace_in_the_data() -> None:
    event = event_of(b": hi\nid: 4\nevent: error\ndata: {\n: hidden\ndata:  }\nretry: 9")

    assert event is not None
    assert (event.data, event.name) == (b"{\n }", b"error")
    assert event.block == b"id: 4\nevent: error\ndata: {\ndata:  }\nretry: 9"


@pytest.mark.parametrize("block", [b": keep-alive", b"", b"\n: a", b"id: 7", b"event: ping", b"retry: 10"])
def test_a_block_without_data_says_nothing(block: bytes) -> None:
    assert event_of(block) is None


@pytest.mark.parametrize("block", [b"<html>", b"HTTP/1.1 200 OK", b'{"error": 1}', b"\xff\xfe", b"datum: x"])
def test_a_block_without_a_known_field_is_no_event(block: bytes) -> None:
    with pytest.raises(SseError, match="no event"):
        event_of(block)
