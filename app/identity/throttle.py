"""When signing in is refused for a while because it failed too often; pure.

Three counters run side by side: of an account from one address (a person who forgot), of one address (a machine that
tries accounts), and of one account from anywhere (many machines that try one account).
"""

import hashlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

WINDOW_S = 900
PAIR_FAILURES_MAX = 5
ADDRESS_FAILURES_MAX = 30
ACCOUNT_FAILURES_MAX = 100
BUCKET_BITS = 20
"""Buckets are digests cut to 20 bits, so that at most three million rows can ever exist."""
IPV6_NETWORK_BITS = 64

_US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class Failures:
    """How often signing in failed since the window began.

    Attributes:
        since_at_us: µs since the epoch.
    """

    count: int
    since_at_us: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """One counter and what it tolerates."""

    name: str
    failures_max: int


def buckets(account: str, address: str) -> tuple[Bucket, ...]:
    """The counters that one attempt touches; a whole IPv6 network counts as one address."""
    origin = _network(address)
    return (
        Bucket(_name("both", f"{account}\n{origin}"), PAIR_FAILURES_MAX),
        Bucket(_name("from", origin), ADDRESS_FAILURES_MAX),
        Bucket(_name("acct", account), ACCOUNT_FAILURES_MAX),
    )


def blocked_s(attempt: tuple[Bucket, ...], failures: Mapping[str, Failures], now_us: int) -> float:
    """How long the next attempt must wait, in seconds; 0 when it may go on.

    >>> pair = (Bucket("b", 2),)
    >>> blocked_s(pair, {"b": Failures(2, since_at_us=0)}, now_us=100_000_000)
    800.0
    >>> blocked_s(pair, {"b": Failures(1, since_at_us=0)}, now_us=100_000_000)
    0.0
    """
    waits_us = [
        seen.since_at_us + WINDOW_S * _US_PER_S - now_us
        for bucket in attempt
        if (seen := failures.get(bucket.name)) is not None and seen.count >= bucket.failures_max
    ]
    return max([0, *waits_us]) / _US_PER_S


def after_failure(seen: Failures | None, now_us: int) -> Failures:
    """The counter after one more failure; a window that has passed begins anew."""
    if seen is None or now_us - seen.since_at_us >= WINDOW_S * _US_PER_S:
        return Failures(1, now_us)
    return Failures(seen.count + 1, seen.since_at_us)


def _name(kind: str, subject: str) -> str:
    bits = int.from_bytes(hashlib.sha256(subject.encode()).digest()[:4], "big") >> (32 - BUCKET_BITS)
    return f"{kind}:{bits:05x}"


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, IPV6_NETWORK_BITS), strict=False))
