import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.db import Database
from app.identity import auth
from app.identity.auth import Authenticator, InvalidAdminToken, InvalidApiKey, TooManyLookups
from app.identity.caller import Limits
from app.identity.models import ApiKey
from app.identity.roles import Role
from app.identity.service import (
    OperatorExists,
    OwnLimits,
    UnknownSubject,
    create_admin_token,
    create_customer,
    create_key,
    create_operator,
    disable_operator,
    freeze_customer,
    revoke_admin_token,
    revoke_key,
)
from app.settings import Settings

AT_US = 1_700_000_000_000_000
US = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.us = 0

    def __call__(self) -> int:
        return self.us


class CountingDatabase(Database):
    """A real database that counts its readers, and can hold them at the door."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.reads = 0
        self.door = asyncio.Event()
        self.door.set()

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[AsyncSession]:  # pyright: ignore[reportIncompatibleMethodOverride] (the same at run time)
        self.reads += 1
        await self.door.wait()
        async with super().reading() as session:
            yield session


@pytest.fixture
async def counted(database: Database) -> AsyncIterator[CountingDatabase]:
    counting = CountingDatabase(str(database.url))
    yield counting
    await counting.close()


@pytest.fixture
def ticks() -> Clock:
    return Clock()


@pytest.fixture
def authenticator(counted: CountingDatabase, settings: Settings, ticks: Clock) -> Authenticator:
    return Authenticator(counted, settings, ticks)


async def _key(database: Database, **limits: int) -> tuple[str, ApiKey]:
    async with database.writing() as session:
        customer = await create_customer(session, "Acme", AT_US, limits=OwnLimits(rpm=500))
        key, minted = await create_key(session, customer.id, "ci", AT_US, limits=OwnLimits(**limits))
    return minted.secret, key


async def test_a_key_names_its_customer_and_the_narrowest_of_its_limits(
    database: Database, authenticator: Authenticator
) -> None:
    secret, key = await _key(database, rpm=800, concurrency=3)
    caller = await authenticator.authenticate(f"Bearer {secret}")
    assert (caller.customer_id, caller.key_id, caller.key_label) == (key.customer_id, key.id, "ci")
    assert caller.limits == Limits(rpm=500, tpm=60_000, concurrency=3)
    assert not caller.is_frozen
    assert await authenticator.authenticate(None, secret) == caller


async def test_no_table_holds_the_secret(database: Database) -> None:
    secret, key = await _key(database)
    assert secret.removeprefix("gp-")[6:] not in str(key.model_dump())


async def test_a_known_key_is_not_looked_up_again_until_its_time_has_passed(
    database: Database, counted: CountingDatabase, authenticator: Authenticator, ticks: Clock
) -> None:
    secret, _ = await _key(database)
    for at_us, reads in ((0, 1), (2 * US - 1, 1), (2 * US, 2)):
        ticks.us = at_us
        await authenticator.authenticate(f"Bearer {secret}")
        assert counted.reads == reads


async def test_a_revoked_key_stops_within_the_cache_time_elsewhere_and_at_once_where_it_is_forgotten(
    database: Database, authenticator: Authenticator, settings: Settings, ticks: Clock
) -> None:
    secret, key = await _key(database)
    here = Authenticator(database, settings, ticks)
    await here.authenticate(f"Bearer {secret}")
    await authenticator.authenticate(f"Bearer {secret}")
    async with database.writing() as session:
        await revoke_key(session, key.id, AT_US + 1)
    here.forget_key(key.secret_sha256)
    with pytest.raises(InvalidApiKey, match="it was revoked"):
        await here.authenticate(f"Bearer {secret}")
    ticks.us = 2 * US - 1
    await authenticator.authenticate(f"Bearer {secret}")
    ticks.us = 2 * US
    with pytest.raises(InvalidApiKey, match="it was revoked"):
        await authenticator.authenticate(f"Bearer {secret}")


async def test_an_answer_read_before_a_revocation_is_not_remembered_after_it(
    database: Database, counted: CountingDatabase, authenticator: Authenticator
) -> None:
    secret, key = await _key(database)
    counted.door.clear()
    asked = asyncio.create_task(authenticator.authenticate(f"Bearer {secret}"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    authenticator.forget_key(key.secret_sha256)
    counted.door.set()
    await asked
    await authenticator.authenticate(f"Bearer {secret}")
    assert counted.reads == 2


async def test_a_frozen_customer_still_has_a_name_but_is_marked(
    database: Database, authenticator: Authenticator
) -> None:
    secret, key = await _key(database)
    async with database.writing() as session:
        await freeze_customer(session, key.customer_id, is_frozen=True)
    assert (await authenticator.authenticate(f"Bearer {secret}")).is_frozen


@pytest.mark.parametrize("header", [None, "", "Bearer ", "Basic Z3A=", "gp-" + "A" * 43])
async def test_without_a_bearer_token_the_answer_says_how_to_send_one(
    authenticator: Authenticator, header: str | None
) -> None:
    with pytest.raises(InvalidApiKey, match=r"Authorization: Bearer gp-…") as refused:
        await authenticator.authenticate(header)
    assert (refused.value.status, refused.value.code) == (401, "invalid_api_key")


async def test_a_foreign_secret_is_refused_without_a_look_up_and_without_being_repeated(
    counted: CountingDatabase, authenticator: Authenticator
) -> None:
    foreign = "sk-live-0123456789abcdef"
    with pytest.raises(InvalidApiKey) as refused:
        await authenticator.authenticate(f"Bearer {foreign}")
    assert foreign not in refused.value.message
    assert "sk-liv…" in refused.value.message
    assert counted.reads == 0


async def test_an_unknown_key_is_looked_up_once_while_its_refusal_is_remembered(
    counted: CountingDatabase, authenticator: Authenticator, ticks: Clock
) -> None:
    for at_us, reads in ((0, 1), (1, 1), (2 * US, 2)):
        ticks.us = at_us
        with pytest.raises(InvalidApiKey, match="never issued"):
            await authenticator.authenticate("Bearer gp-" + "A" * 43)
        assert counted.reads == reads


async def test_those_who_ask_for_one_key_at_once_share_one_look_up_and_may_leave(
    database: Database, counted: CountingDatabase, authenticator: Authenticator
) -> None:
    secret, _ = await _key(database)
    counted.door.clear()
    asking = [asyncio.create_task(authenticator.authenticate(f"Bearer {secret}")) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking[0].cancel()
    counted.door.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert len({answer.key_id for answer in answers[1:] if not isinstance(answer, BaseException)}) == 1
    assert counted.reads == 1


async def test_more_unknown_keys_at_once_than_the_maximum_are_told_to_come_back(
    counted: CountingDatabase, authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "LOOKUPS_MAX", 2)
    counted.door.clear()
    strangers = [f"Bearer gp-{letter * 43}" for letter in "ABC"]
    asking = [asyncio.create_task(authenticator.authenticate(stranger)) for stranger in strangers]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert isinstance(asking[2].exception(), TooManyLookups)
    counted.door.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(answer) for answer in answers] == [InvalidApiKey, InvalidApiKey, TooManyLookups]


async def test_uses_are_noted_once_and_never_move_back(
    database: Database, authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, key = await _key(database)
    monkeypatch.setattr("app.clock.now_us", lambda: AT_US + 5)
    await authenticator.authenticate(f"Bearer {secret}")
    assert await authenticator.write_uses() == 1
    assert await authenticator.write_uses() == 0
    authenticator.forget_all()
    monkeypatch.setattr("app.clock.now_us", lambda: AT_US + 4)
    await authenticator.authenticate(f"Bearer {secret}")
    await authenticator.write_uses()
    async with database.reading() as session:
        stored = await session.get(ApiKey, key.id)
    assert stored is not None
    assert stored.last_used_at_us == AT_US + 5


async def test_uses_that_could_not_be_noted_are_noted_the_next_time(
    database: Database, authenticator: Authenticator, counted: CountingDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable() -> None:
        raise OSError("the disk is full")

    secret, key = await _key(database)
    await authenticator.authenticate(f"Bearer {secret}")
    with monkeypatch.context() as away:
        away.setattr(counted, "writing", unavailable)
        with pytest.raises(OSError, match="disk is full"):
            await authenticator.write_uses()
    assert await authenticator.write_uses() == 1
    async with database.reading() as session:
        stored = await session.get(ApiKey, key.id)
    assert stored is not None
    assert stored.last_used_at_us is not None


async def test_a_token_has_its_operators_role_until_it_is_revoked(
    database: Database, authenticator: Authenticator
) -> None:
    async with database.writing() as session:
        operator = await create_operator(session, " Ops@Example.COM ", "hash", Role.FINANCE, AT_US)
        token, minted = await create_admin_token(session, operator.id, "cron", AT_US)
    principal = await authenticator.authenticate_operator(f"Bearer {minted.secret}")
    assert (principal.email, principal.role) == ("ops@example.com", Role.FINANCE)
    async with database.writing() as session:
        await revoke_admin_token(session, token.id, AT_US)
    with pytest.raises(InvalidAdminToken, match="revoked"):
        await authenticator.authenticate_operator(f"Bearer {minted.secret}")


async def test_a_disabled_operators_token_stops(database: Database, authenticator: Authenticator) -> None:
    async with database.writing() as session:
        operator = await create_operator(session, "ops@example.com", "hash", Role.ADMIN, AT_US)
        _, minted = await create_admin_token(session, operator.id, "cron", AT_US)
        await disable_operator(session, operator.id, AT_US)
    with pytest.raises(InvalidAdminToken, match="disabled"):
        await authenticator.authenticate_operator(f"Bearer {minted.secret}")


async def test_an_api_key_opens_no_operators_door(database: Database, authenticator: Authenticator) -> None:
    secret, _ = await _key(database)
    with pytest.raises(InvalidAdminToken, match="begin with gpa-"):
        await authenticator.authenticate_operator(f"Bearer {secret}")


async def test_unknown_subjects_and_doubles_are_named(database: Database) -> None:
    async with database.writing() as session:
        with pytest.raises(UnknownSubject, match="no customer 'cus_nobody'"):
            await create_key(session, "cus_nobody", "x", AT_US)
        with pytest.raises(UnknownSubject, match="no key 'key_none'"):
            await revoke_key(session, "key_none", AT_US)
        await create_operator(session, "ops@example.com", "hash", Role.ADMIN, AT_US)
        with pytest.raises(OperatorExists, match=r"ops@example\.com exists already"):
            await create_operator(session, "OPS@example.com", "hash", Role.ADMIN, AT_US)
