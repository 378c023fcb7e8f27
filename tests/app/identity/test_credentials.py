import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.identity.credentials import (
    API_KEY_TAG,
    bearer_token,
    digest,
    has_shape,
    mint,
    redacted,
)
from app.identity.ids import time_ordered_id


@given(st.binary(min_size=32, max_size=32), st.sampled_from(["gp", "gpa"]))
def test_what_is_minted_is_recognised_and_its_digest_is_the_sha256_of_the_whole_secret(
    entropy: bytes, tag: str
) -> None:
    minted = mint(tag, entropy)
    assert has_shape(minted.secret, tag)
    assert minted.sha256 == hashlib.sha256(minted.secret.encode()).hexdigest() == digest(minted.secret)
    assert minted.secret.startswith(minted.prefix)
    assert len(minted.prefix) == len(tag) + 1 + 6
    assert minted.secret not in repr(minted)


def test_two_secrets_of_different_entropy_differ_in_full() -> None:
    assert mint(API_KEY_TAG, bytes(31) + b"\x01").sha256 != mint(API_KEY_TAG, bytes(32)).sha256


def test_too_little_entropy_is_refused() -> None:
    with pytest.raises(ValueError, match="32 random bytes, got 16"):
        mint(API_KEY_TAG, bytes(16))


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("BEARER   abc  ", "abc"),
        ("Bearer", None),
        ("Bearer ", None),
        ("Bearer a b", None),
        ("Basic abc", None),
        ("", None),
        (None, None),
        ("Bearer " + "a" * 5000, None),
    ],
)
def test_only_a_bearer_header_of_one_word_and_sane_length_has_a_token(header: str | None, token: str | None) -> None:
    assert bearer_token(header) == token


@pytest.mark.parametrize(
    "secret",
    ["", "gp-", "gp-" + "A" * 42, "gp-" + "A" * 44, "sk-" + "A" * 43, "gp-" + "ä" * 43, "gp-" + "A" * 43 + "\n"],
)
def test_what_was_never_minted_has_not_the_shape(secret: str) -> None:
    assert not has_shape(secret, API_KEY_TAG)


@given(st.text(max_size=200))
def test_a_redacted_token_shows_at_most_six_plain_characters(token: str) -> None:
    shown = redacted(token)
    assert shown.endswith("…")
    assert len(shown) <= 7
    assert all(character.isalnum() or character in "-_" for character in shown[:-1])
    if len(token) <= 12:
        assert shown == "…"


@given(st.integers(0, 2**48 * 1000 - 1), st.integers(1, 10**9), st.binary(min_size=10, max_size=10))
def test_ids_made_a_microsecond_later_sort_later(at_us: int, later_us: int, entropy: bytes) -> None:
    early = time_ordered_id("cus", at_us, entropy)
    late = time_ordered_id("cus", at_us + later_us, bytes(10))
    if at_us + later_us < 2**48 * 1000:
        assert early < late
    assert len(early) == 4 + 32
    assert early[4 + 12] == "7"
    assert early[4 + 16] in "89ab"


def test_ids_differ_by_their_entropy_alone() -> None:
    assert time_ordered_id("key", 0, bytes(10)) != time_ordered_id("key", 0, bytes(9) + b"\x01")
    with pytest.raises(ValueError, match="10 random bytes, got 3"):
        time_ordered_id("key", 0, b"abc")
