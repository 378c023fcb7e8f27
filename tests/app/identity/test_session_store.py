import asyncio

import pytest
from argon2 import PasswordHasher
from sqlmodel import select

from app.db import Database
from app.identity.models import LoginFailure, Operator, OperatorSession
from app.identity.passwords import Passwords, WeakPassword
from app.identity.roles import Role
from app.identity.service import create_operator, disable_operator, set_password
from app.identity.session_store import SessionStore, SignInBusy, SignInRefused, SignInThrottled

AT_US = 1_700_000_000_000_000
US = 1_000_000
MINUTE = 60 * US
EMAIL, PASSWORD, HERE = "ops@example.com", "a long enough phrase", "192.0.2.1"
CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)


class Clock:
    def __init__(self) -> None:
        self.us = AT_US

    def __call__(self) -> int:
        return self.us


@pytest.fixture(scope="module")
def passwords() -> Passwords:
    return Passwords(CHEAP)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(database: Database, passwords: Passwords, clock: Clock) -> SessionStore:
    async with database.writing() as session:
        await create_operator(session, EMAIL, passwords.hash(PASSWORD), Role.OPERATOR, AT_US)
    return SessionStore(database, passwords, clock)


async def test_the_right_password_begins_a_session_that_its_cookie_alone_opens(
    store: SessionStore, database: Database
) -> None:
    cookie, signed_in = await store.sign_in(" OPS@example.com", PASSWORD, HERE, None)
    assert signed_in.principal.email == EMAIL
    assert await store.recognise(cookie) == signed_in
    async with database.reading() as session:
        row = (await session.exec(select(OperatorSession))).one()
    assert cookie not in str(row.model_dump())
    for wrong in (None, "", cookie[:-1], cookie + "x", row.id_sha256, "x" * 10_000):
        assert await store.recognise(wrong) is None


async def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(store: SessionStore) -> None:
    answers: list[str] = []
    attempts = [
        (EMAIL, "wrong"),
        ("nobody@example.com", PASSWORD),
        ("", ""),
        (EMAIL, PASSWORD + " " * 2000),
    ]
    for email, password in attempts:
        with pytest.raises(SignInRefused) as refused:
            await store.sign_in(email, password, HERE, None)
        answers.append(refused.value.message)
    assert len(set(answers)) == 1


async def test_signing_in_always_begins_another_session_and_ends_the_one_before(store: SessionStore) -> None:
    first, _ = await store.sign_in(EMAIL, PASSWORD, HERE, None)
    second, _ = await store.sign_in(EMAIL, PASSWORD, HERE, first)
    assert first != second
    assert await store.recognise(first) is None
    assert await store.recognise(second) is not None


async def test_a_cookie_that_the_browser_brought_along_is_never_adopted(store: SessionStore) -> None:
    cookie, _ = await store.sign_in(EMAIL, PASSWORD, HERE, "planted")
    assert cookie != "planted"
    assert await store.recognise("planted") is None


async def test_a_session_ends_after_thirty_idle_minutes(store: SessionStore, clock: Clock) -> None:
    cookie, _ = await store.sign_in(EMAIL, PASSWORD, HERE, None)
    clock.us += 29 * MINUTE
    assert await store.recognise(cookie) is not None
    clock.us += 29 * MINUTE
    assert await store.recognise(cookie) is not None
    clock.us += 30 * MINUTE
    assert await store.recognise(cookie) is None


async def test_a_live_streams_own_look_does_not_keep_a_session_awake(store: SessionStore, clock: Clock) -> None:
    cookie, _ = await store.sign_in(EMAIL, PASSWORD, HERE, None)
    clock.us += 20 * MINUTE
    assert await store.recognise(cookie, is_use=False) is not None
    clock.us += 10 * MINUTE
    assert await store.recognise(cookie, is_use=False) is None


async def test_a_session_ends_after_twelve_hours_however_busy(store: SessionStore, clock: Clock) -> None:
    cookie, _ = await store.sign_in(EMAIL, PASSWORD, HERE, None)
    for _ in range(12 * 3 - 1):
        clock.us += 20 * MINUTE
        assert await store.recognise(cookie) is not None
    clock.us += 20 * MINUTE
    assert await store.recognise(cookie) is None


async def test_signing_out_ends_the_session(store: SessionStore) -> None:
    cookie, signed_in = await store.sign_in(EMAIL, PASSWORD, HERE, None)
    await store.sign_out(signed_in)
    assert await store.recognise(cookie) is None


async def test_a_new_password_or_a_disabled_operator_ends_all_their_sessions(
    store: SessionStore, database: Database, passwords: Passwords
) -> None:
    cookies = [(await store.sign_in(EMAIL, PASSWORD, HERE, None)) for _ in range(2)]
    operator_id = cookies[0][1].principal.operator_id
    async with database.writing() as session:
        await set_password(session, operator_id, passwords.hash("another long phrase"))
    assert [await store.recognise(cookie) for cookie, _ in cookies] == [None, None]
    cookie, _ = await store.sign_in(EMAIL, "another long phrase", HERE, None)
    async with database.writing() as session:
        await disable_operator(session, operator_id, AT_US)
    assert await store.recognise(cookie) is None
    with pytest.raises(SignInRefused):
        await store.sign_in(EMAIL, "another long phrase", HERE, None)


async def test_after_five_failures_even_the_right_password_waits(store: SessionStore, clock: Clock) -> None:
    for _ in range(5):
        with pytest.raises(SignInRefused):
            await store.sign_in(EMAIL, "wrong", HERE, None)
    with pytest.raises(SignInThrottled, match="try again in 15 minutes"):
        await store.sign_in(EMAIL, PASSWORD, HERE, None)
    await store.sign_in(EMAIL, PASSWORD, "192.0.2.77", None)
    clock.us += 15 * MINUTE
    await store.sign_in(EMAIL, PASSWORD, HERE, None)


async def test_guesses_made_side_by_side_do_not_outrun_the_count(store: SessionStore) -> None:
    guesses = [store.sign_in(EMAIL, f"guess {number}", HERE, None) for number in range(15)]
    answers = await asyncio.gather(*guesses, return_exceptions=True)
    kinds = [type(answer) for answer in answers]
    assert kinds.count(SignInRefused) == 5
    assert kinds.count(SignInThrottled) == 10


async def test_a_success_forgives_the_failures_before_it(store: SessionStore, database: Database) -> None:
    for _ in range(3):
        for _ in range(4):
            with pytest.raises(SignInRefused):
                await store.sign_in(EMAIL, "wrong", HERE, None)
        await store.sign_in(EMAIL, PASSWORD, HERE, None)
    async with database.reading() as session:
        counts = sorted(row.failures for row in await session.exec(select(LoginFailure)))
    assert counts == [12, 12]


async def test_more_sign_ins_at_once_than_can_be_checked_are_told_to_come_back(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.identity.session_store.SIGN_INS_WAITING_MAX", 0)
    with pytest.raises(SignInBusy):
        await store.sign_in(EMAIL, PASSWORD, HERE, None)


async def test_a_hash_of_older_parameters_is_renewed_at_sign_in(database: Database, clock: Clock) -> None:
    old, new = Passwords(CHEAP), Passwords(PasswordHasher(time_cost=2, memory_cost=64, parallelism=1))
    async with database.writing() as session:
        operator = await create_operator(session, EMAIL, old.hash(PASSWORD), Role.ADMIN, AT_US)
    await SessionStore(database, new, clock).sign_in(EMAIL, PASSWORD, HERE, None)
    async with database.reading() as session:
        stored = await session.get(Operator, operator.id)
    assert stored is not None
    assert "t=2" in stored.password_hash
    assert new.verify(stored.password_hash, PASSWORD).is_right


async def test_a_theme_is_remembered_for_the_operator(store: SessionStore) -> None:
    cookie, signed_in = await store.sign_in(EMAIL, PASSWORD, HERE, None)
    await store.choose_theme(signed_in, "dark")
    again = await store.recognise(cookie)
    assert again is not None
    assert again.theme == "dark"


async def test_a_session_accepts_its_own_forms_only(store: SessionStore) -> None:
    _, one = await store.sign_in(EMAIL, PASSWORD, HERE, None)
    _, other = await store.sign_in(EMAIL, PASSWORD, HERE, None)
    assert one.accepts_csrf(one.csrf)
    assert not one.accepts_csrf(other.csrf)
    assert not one.accepts_csrf("")
    assert not one.accepts_csrf("ä")


@pytest.mark.parametrize("password", ["", "eleven char", "x" * 1025])
def test_a_weak_password_is_named_so_and_never_repeated(passwords: Passwords, password: str) -> None:
    with pytest.raises(WeakPassword, match=rf"12 to 1024 characters, this one has {len(password)}"):
        passwords.hash(password)


def test_with_the_librarys_own_parameters_a_hash_is_argon2id() -> None:
    passwords = Passwords()
    hashed = passwords.hash(PASSWORD)
    assert hashed.startswith("$argon2id$")
    assert passwords.verify(hashed, PASSWORD).is_right
    assert not passwords.verify(hashed, PASSWORD + "x").is_right
    assert not passwords.verify("not a hash", PASSWORD).is_right
