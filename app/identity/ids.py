"""Ids that sort by time: a prefix that says what it names, then a UUIDv7-like value in hex; pure."""

ENTROPY_BYTES = 10
_US_PER_MS = 1_000
_VERSION = 7
_VARIANT = 0b10


def time_ordered_id(prefix: str, at_us: int, entropy: bytes) -> str:
    """Names a new row.

    Args:
        prefix: ``cus``, ``key``, ``op``, ``tok`` or ``aud``.
        at_us: µs since the epoch; they lead the id, so that ids sort as they were made.
        entropy: ten random bytes, of which 62 bits are used.

    >>> time_ordered_id("cus", 1_700_000_000_000_001, bytes(10))
    'cus_018bcfe5680070018000000000000000'
    """
    if len(entropy) != ENTROPY_BYTES:
        raise ValueError(f"an id needs {ENTROPY_BYTES} random bytes, got {len(entropy)}")
    low = int.from_bytes(entropy, "big") & ((1 << 62) - 1)
    at_ms, rest_us = divmod(at_us, _US_PER_MS)
    value = at_ms << 80 | _VERSION << 76 | rest_us << 64 | _VARIANT << 62 | low
    return f"{prefix}_{value:032x}"
