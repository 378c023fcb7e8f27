import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.admin.pages import BadCursor, Cursor, page_of, read_cursor, read_id_cursor, read_number_cursor, rows_wanted


@given(st.integers(0, 2**63 - 1), st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True))
def test_a_cursor_reads_back_what_it_was_written_from(at_us: int, row_id: str) -> None:
    assert read_cursor(str(Cursor(at_us, row_id))) == Cursor(at_us, row_id)


@pytest.mark.parametrize(
    "text", ["x", "1", "1.", ".a", "-1.a", "1.a b", "1.a'--", f"{2**63}.a", "9" * 20 + ".a", "1.ä"]
)
def test_what_no_page_ever_gave_is_no_cursor(text: str) -> None:
    with pytest.raises(BadCursor, match="take 'next' from the page before"):
        read_cursor(text)


@pytest.mark.parametrize("text", ["1'", "-1", "1.5", str(2**63), "٣", " 1"])
def test_a_number_cursor_is_a_plain_64_bit_number(text: str) -> None:
    with pytest.raises(BadCursor):
        read_number_cursor(text)


def test_no_cursor_is_the_first_page() -> None:
    assert read_cursor("") is None
    assert read_number_cursor("") is None
    assert read_id_cursor("") == ""
    assert read_number_cursor("17") == 17
    with pytest.raises(BadCursor):
        read_id_cursor("a b")


@given(st.lists(st.integers(), max_size=20), st.integers(1, 10))
def test_a_page_has_a_next_exactly_when_a_row_more_was_read(rows: list[int], rows_max: int) -> None:
    page = page_of(rows[: rows_max + 1], rows_max, str)
    assert list(page.rows) == rows[:rows_max]
    assert page.next == (str(rows[rows_max - 1]) if len(rows) > rows_max else None)


def test_rows_are_within_the_markets_limits() -> None:
    assert [rows_wanted(asked, 100) for asked in (None, 0, -5, 7, 10**9)] == [50, 1, 1, 7, 100]
