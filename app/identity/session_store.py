"""Signed-in browsers of operators: made at sign-in, kept in the database, ended by idleness, age, or a click.

The cookie carries 256 random bits; the database their digest, so that a copy of the database signs nobody in.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest

from app import clock
from app.db import Database
from app.errors import MarketError, Retry
from app.identity.auth import Principal
from app.identity.credentials import digest
from app.identity.models import Operator, OperatorSession
from app.identity.passwords import Passwords, Verdict
from app.identity.repository import (
    delete_idle_sessions,
    delete_login_failures,
    delete_session,
    forgive_login_failure,
    login_failures,
    operator_by_email,
    put_login_failures,
    session_with_operator,
)
from app.identity.roles import Role
from app.identity.service import normal_email
from app.identity.throttle import WINDOW_S, after_failure, blocked_s, buckets

IDLE_S_MAX = 30 * 60
AGE_S_MAX = 12 * 60 * 60
SEEN_S = 60
"""A session's last use is written at most once in so many seconds."""

SIGN_INS_AT_ONCE_MAX = 2
SIGN_INS_WAITING_MAX = 16
COOKIE_CHARS_MAX = 64
_US_PER_S = 1_000_000


class SignInRefused(MarketError):
    """Address and password do not belong together; which of them is wrong is not told."""

    def __init__(self) -> None:
        super().__init__(401, "sign_in_refused", "this address and password do not belong together")


class SignInThrottled(MarketError):
    """Too many failures lately."""

    def __init__(self, wait_s: float) -> None:
        minutes = max(1, -(-int(wait_s) // 60))
        super().__init__(
            429,
            "sign_in_throttled",
            f"too many failed attempts; try again in {minutes} {'minute' if minutes == 1 else 'minutes'}",
            retry=Retry(after_s=wait_s),
        )


class SignInBusy(MarketError):
    """More sign-ins wait than are checked at once."""

    def __init__(self) -> None:
        super().__init__(
            503,
            "sign_in_busy",
            f"{SIGN_INS_WAITING_MAX} sign-ins are being checked already; try again in a few seconds",
            retry=Retry(after_s=5.0),
        )


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A browser that is signed in.

    Attributes:
        id_sha256: the session's id in the database.
        csrf: what each of its forms must carry.
        theme: ``system``, ``light`` or ``dark``.
    """

    id_sha256: str
    csrf: str
    principal: Principal
    theme: str

    def accepts_csrf(self, sent: str) -> bool:
        """True when a form came from a page of this session."""
        return compare_digest(self.csrf.encode(), sent.encode())


class SessionStore:
    """Signs operators in and out, and recognises their browsers.

    Args:
        database: where keys, tokens and sessions are kept.
        passwords: hashes and verifies.
        now_us: µs since the epoch.
    """

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        now_us: Callable[[], int] = clock.now_us,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._now_us = now_us
        self._checking = asyncio.Semaphore(SIGN_INS_AT_ONCE_MAX)
        self._waiting = 0

    async def sign_in(self, email: str, password: str, address: str, previous: str | None) -> tuple[str, SignedIn]:
        """Checks a password and begins a session.

        The attempt is counted before it is checked and taken back when it succeeds, so that attempts made side by
        side cannot outrun the count.

        Args:
            email: as typed.
            password: as typed.
            address: the client's IP address.
            previous: the cookie the browser came with, if any; that session ends.

        Returns:
            The new cookie's value, and the session.

        Raises:
            SignInThrottled: too many failures lately.
            SignInBusy: too many sign-ins at once.
            SignInRefused: wrong address or password, or a disabled operator.
        """
        account = normal_email(email)
        await self._count_attempt(account, address)
        async with self._database.reading() as session:
            operator = await operator_by_email(session, account)
        verdict = await self._verify(operator, password)
        if operator is None or not verdict.is_right or operator.disabled_at_us is not None:
            raise SignInRefused
        return await self._begin(operator, verdict, address, previous)

    async def recognise(self, cookie: str | None, *, is_use: bool = True) -> SignedIn | None:
        """The session behind a cookie; None when it is unknown, idle for too long, too old, or its operator disabled.

        Args:
            cookie: its value, as the browser sent it.
            is_use: False when nobody touched the browser (a live stream's own look), so that idleness goes on.
        """
        if not cookie or len(cookie) > COOKIE_CHARS_MAX:
            return None
        id_sha256, now_us = digest(cookie), self._now_us()
        async with self._database.reading() as session:
            found = await session_with_operator(session, id_sha256)
        if found is None or not _is_live(*found, now_us):
            return None
        row, operator = found
        if is_use and now_us - row.seen_at_us >= SEEN_S * _US_PER_S:
            async with self._database.writing() as session:
                seen = await session.get(OperatorSession, id_sha256)
                if seen is not None:
                    seen.seen_at_us = max(seen.seen_at_us, now_us)
        return _signed_in(row, operator)

    async def sign_out(self, signed_in: SignedIn) -> None:
        """Ends a session."""
        async with self._database.writing() as session:
            await delete_session(session, signed_in.id_sha256)

    async def choose_theme(self, signed_in: SignedIn, theme: str) -> None:
        """Remembers how the console shall look for this operator."""
        async with self._database.writing() as session:
            operator = await session.get(Operator, signed_in.principal.operator_id)
            if operator is not None:
                operator.theme = theme

    async def _count_attempt(self, account: str, address: str) -> None:
        attempt, now_us = buckets(account, address), self._now_us()
        async with self._database.writing() as session:
            seen = await login_failures(session, [bucket.name for bucket in attempt])
            wait_s = blocked_s(attempt, seen, now_us)
            if wait_s:
                raise SignInThrottled(wait_s)
            counted = {bucket.name: after_failure(seen.get(bucket.name), now_us) for bucket in attempt}
            await put_login_failures(session, counted)

    async def _verify(self, operator: Operator | None, password: str) -> Verdict:
        if self._waiting >= SIGN_INS_WAITING_MAX:
            raise SignInBusy
        self._waiting += 1
        try:
            async with self._checking:
                password_hash = None if operator is None else operator.password_hash
                return await asyncio.to_thread(self._passwords.verify, password_hash, password)
        finally:
            self._waiting -= 1

    async def _begin(
        self, operator: Operator, verdict: Verdict, address: str, previous: str | None
    ) -> tuple[str, SignedIn]:
        cookie, now_us = secrets.token_urlsafe(32), self._now_us()
        row = OperatorSession(
            id_sha256=digest(cookie),
            operator_id=operator.id,
            csrf=secrets.token_urlsafe(32),
            ip=address[:64],
            created_at_us=now_us,
            seen_at_us=now_us,
        )
        pair, *wider = buckets(operator.email, address)
        async with self._database.writing() as session:
            if previous:
                await delete_session(session, digest(previous))
            await delete_idle_sessions(session, now_us - IDLE_S_MAX * _US_PER_S)
            await delete_login_failures(session, now_us - WINDOW_S * _US_PER_S)
            await forgive_login_failure(session, pair.name, [bucket.name for bucket in wider])
            if verdict.rehash is not None:
                stored = await session.get(Operator, operator.id)
                if stored is not None:
                    stored.password_hash = verdict.rehash
            session.add(row)
            signed_in = _signed_in(row, operator)
        return cookie, signed_in


def _is_live(row: OperatorSession, operator: Operator, now_us: int) -> bool:
    is_idle = now_us - row.seen_at_us >= IDLE_S_MAX * _US_PER_S
    is_old = now_us - row.created_at_us >= AGE_S_MAX * _US_PER_S
    return not is_idle and not is_old and operator.disabled_at_us is None


def _signed_in(row: OperatorSession, operator: Operator) -> SignedIn:
    principal = Principal(operator.id, operator.email, Role(operator.role))
    return SignedIn(row.id_sha256, row.csrf, principal, operator.theme)
