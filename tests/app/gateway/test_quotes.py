"""Signed quotes: ours, unaltered, for the same thing, in time; else a refusal that says which."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import MarketError
from app.gateway.quotes import QuoteSigner, QuoteTicket

TICKET = QuoteTicket("cus_1", "org/model", "premium", "pb-1", 1_000)
SIGNER = QuoteSigner(b"secret")


def test_a_quote_reads_back_what_was_signed() -> None:
    assert SIGNER.read(SIGNER.issue(TICKET), now_us=1_000) == TICKET


def test_a_quote_expires() -> None:
    with pytest.raises(MarketError) as refused:
        SIGNER.read(SIGNER.issue(TICKET), now_us=1_001)
    assert refused.value.code == "quote_expired"


@given(junk=st.text(max_size=60))
def test_anything_else_is_not_a_quote(junk: str) -> None:
    for quote_id in (junk, "qt-" + junk):
        with pytest.raises(MarketError) as refused:
            SIGNER.read(quote_id, now_us=0)
        assert refused.value.code == "invalid_quote"


def test_one_changed_character_breaks_the_signature() -> None:
    quote_id = SIGNER.issue(TICKET)
    for index in range(3, len(quote_id) - 1):
        changed = quote_id[:index] + ("A" if quote_id[index] != "A" else "B") + quote_id[index + 1 :]
        with pytest.raises(MarketError):
            SIGNER.read(changed, now_us=0)


def test_another_secret_does_not_sign_for_us() -> None:
    with pytest.raises(MarketError):
        SIGNER.read(QuoteSigner(b"other").issue(TICKET), now_us=0)


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (("cus_2", "org/model", "premium"), "invalid_quote"),
        (("cus_1", "org/other", "premium"), "quote_mismatch"),
        (("cus_1", "org/model", "standard"), "quote_mismatch"),
    ],
)
def test_a_quote_is_for_one_customer_model_and_tier(wanted: tuple[str, str, str], code: str) -> None:
    with pytest.raises(MarketError) as refused:
        TICKET.check(*wanted)
    assert refused.value.code == code
