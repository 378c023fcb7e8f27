"""What the request line and headers say, before the body is read; pure."""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

AFFINITY_BYTES_MAX = 256
_CRC_MAX = 2**32
_LOOKED_AT = frozenset(
    {
        *(b"authorization", b"x-api-key", b"content-length", b"x-quote-id", b"idempotency-key"),
        *(b"x-session-affinity", b"x-explain"),
    }
)


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
        is_explained: the placement is to be explained to operators in full.
    """

    request_id: str
    began_ns: int
    requested_at_us: int
    authorization: str | None
    content_length: int | None
    quote_id: str | None
    idempotency_key: str | None
    affinity: str = ""
    is_explained: bool = False

    def is_drawn(self, share: float) -> bool:
        """Whether it is one of so large a part of all requests, by its id."""
        return share > 0 and zlib.crc32(self.request_id.encode()) < share * _CRC_MAX


def read_head(headers: Iterable[tuple[bytes, bytes]], request_id: str, began_ns: int, requested_at_us: int) -> Head:
    """Picks out of the raw headers what the gateway looks at."""
    found = {name: value.decode("latin-1") for name, value in headers if name in _LOOKED_AT}
    length = found.get(b"content-length", "")
    api_key = found.get(b"x-api-key")
    return Head(
        request_id=request_id,
        began_ns=began_ns,
        requested_at_us=requested_at_us,
        authorization=found.get(b"authorization", None if api_key is None else f"Bearer {api_key}"),
        content_length=int(length) if length.isascii() and length.isdigit() else None,
        quote_id=found.get(b"x-quote-id"),
        idempotency_key=found.get(b"idempotency-key"),
        affinity=found.get(b"x-session-affinity", "")[:AFFINITY_BYTES_MAX],
        is_explained=found.get(b"x-explain", "").strip().lower() in {"1", "true"},
    )
