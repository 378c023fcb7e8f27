from hypothesis import given
from hypothesis import strategies as st

from app.identity.throttle import (
    ACCOUNT_FAILURES_MAX,
    ADDRESS_FAILURES_MAX,
    PAIR_FAILURES_MAX,
    WINDOW_S,
    Failures,
    after_failure,
    blocked_s,
    buckets,
)

US = 1_000_000


def _fail(times: int, account: str, address: str, seen: dict[str, Failures], now_us: int = 0) -> None:
    for _ in range(times):
        for bucket in buckets(account, address):
            seen[bucket.name] = after_failure(seen.get(bucket.name), now_us)


def test_the_sixth_attempt_on_one_account_from_one_address_waits_for_the_window_to_pass() -> None:
    seen: dict[str, Failures] = {}
    _fail(PAIR_FAILURES_MAX - 1, "a@x", "192.0.2.1", seen)
    assert blocked_s(buckets("a@x", "192.0.2.1"), seen, 0) == 0
    _fail(1, "a@x", "192.0.2.1", seen)
    assert blocked_s(buckets("a@x", "192.0.2.1"), seen, 0) == WINDOW_S
    assert blocked_s(buckets("a@x", "192.0.2.1"), seen, (WINDOW_S - 1) * US) == 1
    assert blocked_s(buckets("a@x", "192.0.2.1"), seen, WINDOW_S * US) == 0


def test_another_address_may_still_sign_in_to_a_blocked_account() -> None:
    seen: dict[str, Failures] = {}
    _fail(PAIR_FAILURES_MAX, "a@x", "192.0.2.1", seen)
    assert blocked_s(buckets("a@x", "192.0.2.2"), seen, 0) == 0


def test_an_address_that_tries_many_accounts_is_blocked_for_all_of_them() -> None:
    seen: dict[str, Failures] = {}
    for number in range(ADDRESS_FAILURES_MAX):
        _fail(1, f"{number}@x", "192.0.2.1", seen)
    assert blocked_s(buckets("new@x", "192.0.2.1"), seen, 0) == WINDOW_S


def test_an_account_tried_from_many_addresses_is_blocked_from_everywhere() -> None:
    seen: dict[str, Failures] = {}
    for number in range(ACCOUNT_FAILURES_MAX):
        _fail(1, "a@x", f"198.51.100.{number}", seen)
    assert blocked_s(buckets("a@x", "203.0.113.9"), seen, 0) == WINDOW_S


def test_addresses_of_one_ipv6_network_count_as_one() -> None:
    seen: dict[str, Failures] = {}
    for number in range(PAIR_FAILURES_MAX):
        _fail(1, "a@x", f"2001:db8:0:1::{number + 1:x}", seen)
    assert blocked_s(buckets("a@x", "2001:db8:0:1:ffff::1"), seen, 0) == WINDOW_S
    assert blocked_s(buckets("a@x", "2001:db8:0:2::1"), seen, 0) == 0


def test_an_ipv4_address_is_the_same_however_it_is_written() -> None:
    assert buckets("a@x", "::ffff:192.0.2.1") == buckets("a@x", "192.0.2.1")
    assert buckets("a@x", "::ffff:192.0.2.2") != buckets("a@x", "192.0.2.1")


def test_a_passed_window_begins_anew() -> None:
    assert after_failure(Failures(99, 0), WINDOW_S * US) == Failures(1, WINDOW_S * US)
    assert after_failure(Failures(99, 0), WINDOW_S * US - 1) == Failures(100, 0)


@given(st.text(max_size=50), st.text(max_size=50))
def test_whatever_is_typed_falls_into_one_of_a_million_buckets_of_each_kind(account: str, address: str) -> None:
    names = [bucket.name for bucket in buckets(account, address)]
    assert [name.split(":")[0] for name in names] == ["both", "from", "acct"]
    assert all(len(name.split(":")[1]) == 5 for name in names)
