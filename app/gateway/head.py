"""What the request line and headers say, before the body is read; pure."""

from collections.abc import Iterable
from dataclasses import dataclass

AFFINITY_BYTES_MAX = 256


@dataclass(frozen=True, slots=True)
class Head:
    """The start of one request.

    Attributes:
        request_id: ours; also the id of hold, lease and receipt.
        began_ns: monotonic ns when the first byte was read; the delivery clock's zero.
        requested_at_us: the same moment in µs since the epoch.
        authorization: the bearer header, or one made of ``x-api-key``.
        quote_id: the quote that the customer names.
        idempotency_key: what makes sending the request again safe.
        affinity: what requests of one conversation share.
    """

    request_id: str
    began_ns: int
    requested_at_us: int
    authorization: str | None
    content_length: int | None
    quote_id: str | None
    idempotency_key: str | None
    affinity: str = ""


def read_head(headers: Iterable[tuple[bytes, bytes]], request_id: str, began_ns: int, requested_at_us: int) -> Head:
    """Picks out of the raw headers what the gateway looks at."""
    authorization = content_length = quote_id = idempotency_key = None
    affinity = ""
    for name, value in headers:
        if name == b"authorization":
            authorization = value.decode("latin-1")
        elif name == b"x-api-key" and authorization is None:
            authorization = "Bearer " + value.decode("latin-1")
        elif name == b"content-length" and value.isdigit():
            content_length = int(value)
        elif name == b"x-quote-id":
            quote_id = value.decode("latin-1")
        elif name == b"idempotency-key":
            idempotency_key = value.decode("latin-1")
        elif name == b"x-session-affinity":
            affinity = value[:AFFINITY_BYTES_MAX].decode("latin-1")
    return Head(
        request_id, began_ns, requested_at_us, authorization, content_length, quote_id, idempotency_key, affinity
    )
