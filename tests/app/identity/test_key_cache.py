from hypothesis import given
from hypothesis import strategies as st

from app.identity.key_cache import ExpiringMap
from app.identity.roles import Permission, Role


def test_the_longest_unused_goes_first() -> None:
    seen: ExpiringMap[str, int] = ExpiringMap(entries_max=2, keep_us=100)
    seen.put("a", 1, 0)
    seen.put("b", 2, 0)
    assert seen.get("a", 1) == 1
    seen.put("c", 3, 2)
    assert (seen.get("a", 3), seen.get("b", 3), seen.get("c", 3)) == (1, None, 3)


def test_reading_does_not_prolong() -> None:
    seen: ExpiringMap[str, int] = ExpiringMap(entries_max=2, keep_us=100)
    seen.put("a", 1, 0)
    assert seen.get("a", 99) == 1
    assert seen.get("a", 100) is None
    assert len(seen) == 0


def test_forgetting_what_is_not_there_is_no_error() -> None:
    seen: ExpiringMap[str, int] = ExpiringMap(entries_max=2, keep_us=100)
    seen.forget("a")
    seen.put("a", 1, 0)
    seen.clear()
    assert seen.get("a", 0) is None


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), max_size=100))
def test_it_never_holds_more_than_its_maximum_nor_answers_what_has_expired(steps: list[tuple[int, int]]) -> None:
    seen: ExpiringMap[int, int] = ExpiringMap(entries_max=7, keep_us=10)
    put_at: dict[int, int] = {}
    now_us = 0
    for key, wait in steps:
        now_us += wait
        got = seen.get(key, now_us)
        assert got is None or (got == put_at[key] and now_us - got < 10)
        seen.put(key, now_us, now_us)
        put_at[key] = now_us
        assert len(seen) <= 7


def test_only_finance_and_admins_grant_credit_and_only_operators_and_admins_run_the_fleet() -> None:
    grants = {role for role in Role if role.may(Permission.GRANT_CREDIT)}
    runs = {role for role in Role if role.may(Permission.RUN_FLEET)}
    assert grants == {Role.FINANCE, Role.ADMIN}
    assert runs == {Role.OPERATOR, Role.ADMIN}
    assert all(role.may(Permission.SEE) for role in Role)
    assert {role for role in Role if role.may(Permission.RUN_OPERATORS)} == {Role.ADMIN}
