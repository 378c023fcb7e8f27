"""Signed quotes: a price that is honoured for a while, without a row in any table; pure.

A quote id carries what was quoted and an HMAC over it. Naming it in ``x-quote-id`` fixes the price book, whatever is
published in between.
"""

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass

from app.gateway.errors import invalid

PREFIX = "qt-"
SIGNATURE_BYTES = 16
QUOTE_CHARS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class QuoteTicket:
    """What a quote promises.

    Attributes:
        expires_at_us: µs since the epoch; afterwards the live book applies again.
    """

    customer_id: str
    model: str
    tier: str
    price_book_id: str
    expires_at_us: int

    def check(self, customer_id: str, model: str, tier: str) -> None:
        """Refuses a quote that was given to somebody else or for something else.

        Raises:
            MarketError: 400 that names both.
        """
        if customer_id != self.customer_id:
            raise invalid("x-quote-id", "The quote named in x-quote-id is not one of yours.", "invalid_quote")
        if (model, tier) != (self.model, self.tier):
            raise invalid(
                "x-quote-id",
                f"The quote is for model '{self.model}' at tier {self.tier}, "
                f"but the request is for '{model}' at {tier}.",
                "quote_mismatch",
            )


class QuoteSigner:
    """Issues and reads signed quotes under one secret."""

    def __init__(self, secret: bytes) -> None:
        if not secret:
            raise ValueError("quotes need a secret key")
        self._key = hashlib.sha256(b"goodput quote\0" + secret).digest()

    def issue(self, ticket: QuoteTicket) -> str:
        """The id to name in ``x-quote-id``."""
        fields = [ticket.customer_id, ticket.model, ticket.tier, ticket.price_book_id, ticket.expires_at_us]
        payload = json.dumps(fields, separators=(",", ":")).encode()
        return PREFIX + base64.urlsafe_b64encode(self._sign(payload) + payload).rstrip(b"=").decode()

    def read(self, quote_id: str, now_us: int) -> QuoteTicket:
        """Reads a quote back.

        Raises:
            MarketError: 400 when it is not one of ours or has expired.
        """
        payload = self._payload(quote_id)
        if payload is None:
            raise invalid("x-quote-id", "The quote named in x-quote-id is not one of ours.", "invalid_quote")
        customer_id, model, tier, price_book_id, expires_at_us = json.loads(payload)
        if now_us > expires_at_us:
            late_s = (now_us - expires_at_us) / 1_000_000
            raise invalid("x-quote-id", f"The quote expired {late_s:.1f} s ago; ask for a new one.", "quote_expired")
        return QuoteTicket(customer_id, model, tier, price_book_id, expires_at_us)

    def _payload(self, quote_id: str) -> bytes | None:
        if not quote_id.startswith(PREFIX) or len(quote_id) > QUOTE_CHARS_MAX or not quote_id.isascii():
            return None
        text = quote_id[len(PREFIX) :]
        try:
            signed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except (binascii.Error, ValueError):
            return None
        signature, payload = signed[:SIGNATURE_BYTES], signed[SIGNATURE_BYTES:]
        return payload if hmac.compare_digest(signature, self._sign(payload)) else None

    def _sign(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, payload, "sha256")[:SIGNATURE_BYTES]
