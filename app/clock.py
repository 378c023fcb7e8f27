"""The one place that reads the clock. Everything else takes ``now`` as an argument."""

import time
from datetime import UTC, datetime

US_PER_S = 1_000_000


def now() -> datetime:
    """The present, aware, in UTC."""
    return datetime.now(UTC)


def now_us() -> int:
    """The present in integer µs since the Unix epoch: comparable across processes, may step."""
    return time.time_ns() // 1_000


def monotonic_us() -> int:
    """Integer µs that never run backwards; for durations within one process."""
    return time.monotonic_ns() // 1_000


def monotonic_ns() -> int:
    """Integer ns that never run backwards; the clock of one delivery."""
    return time.monotonic_ns()


def from_us(at_us: int) -> datetime:
    """Turns µs since the Unix epoch into an aware datetime, exactly."""
    seconds, micros = divmod(at_us, US_PER_S)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
