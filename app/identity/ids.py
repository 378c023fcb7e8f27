"""Ids that sort by time: a prefix that says what it names, then a UUIDv7-like value in hex; pure."""

ENTROPY_BYTES = 10
_US_PER_MS = 1_000
_VERSION = 7
_VARIANT = 0b10


def time_ordered_id(prefix: str, at_us: int, entropy: bytes) -> str:
    """Names a new row.

    Args:
        prefix: ``cus``, ``key``, ``op``, ``tok`` or ``aud``.
        at_us: µs since the epoch; milliseconds lead the id, so that ids sort as they were made.
        entropy: ten random bytes, of which 74 bits are used.

    >>> time_ordered_id("cus", 1_700_000_000_000_000, bytes(10))
    'cus_018bcfe5680070008000000000000000'
    """
    if len(entropy) != ENTROPY_BYTES:
        raise ValueError(f"an id needs {ENTROPY_BYTES} random bytes, got {len(entropy)}")
    bits = int.from_bytes(entropy, "big")
    high, low = bits >> 68, bits & ((1 << 62) - 1)
    value = (at_us // _US_PER_MS) << 80 | _VERSION << 76 | high << 64 | _VARIANT << 62 | low
    return f"{prefix}_{value:032x}"
