"""Who is calling, from an HTTP header: customers by API key, operators' programs by admin token.

The customers' way is the hot path: a digest and one dictionary look-up. A key's answer is remembered for at most
``key_cache_s``, so a revoked key stops within that time in every process, and at once in the one that revoked it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from app import clock
from app.db import Database
from app.errors import NO_RETRY, MarketError, Retry
from app.identity.caller import Caller, Limits
from app.identity.credentials import ADMIN_TOKEN_TAG, API_KEY_TAG, bearer_token, digest, has_shape, redacted
from app.identity.key_cache import ExpiringMap
from app.identity.models import ApiKey, Customer
from app.identity.repository import key_with_customer, put_last_used, token_with_operator
from app.identity.roles import Role
from app.settings import Settings

KEYS_CACHED_MAX = 50_000
REFUSALS_CACHED_MAX = 10_000
LOOKUPS_MAX = 256
"""Different keys that may be looked up at one moment; the database is not for strangers to flood."""

USED_MAX = 100_000
_CHALLENGE = {"www-authenticate": "Bearer"}
_US_PER_S = 1_000_000


class InvalidApiKey(MarketError):
    """No API key, one that was never issued, or one that was revoked."""

    def __init__(self, message: str) -> None:
        super().__init__(401, "invalid_api_key", message, retry=NO_RETRY, extra_headers=_CHALLENGE)


class InvalidAdminToken(MarketError):
    """No operator's token, one that was never issued, or one that was revoked."""

    def __init__(self, message: str) -> None:
        super().__init__(
            401, "invalid_admin_token", message, type="authentication_error", retry=NO_RETRY, extra_headers=_CHALLENGE
        )


class TooManyLookups(MarketError):
    """More unknown keys arrive at once than are looked up at once."""

    def __init__(self) -> None:
        super().__init__(
            503,
            "server_is_overloaded",
            f"{LOOKUPS_MAX} API keys are being looked up already; try again in a second",
            type="service_unavailable_error",
            retry=Retry(should_retry=True, after_s=1.0),
        )


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated operator, by token or by browser session."""

    operator_id: str
    email: str
    role: Role


@dataclass(slots=True)
class _Uses:
    """When credentials were last used, until that is written down; bounded."""

    keys: dict[str, int] = field(default_factory=dict[str, int])
    tokens: dict[str, int] = field(default_factory=dict[str, int])

    def note(self, uses: dict[str, int], row_id: str, at_us: int) -> None:
        if row_id in uses or len(uses) < USED_MAX:
            uses[row_id] = at_us


class Authenticator:
    """Turns headers into callers and operators.

    Args:
        database: where keys, tokens and sessions are kept.
        settings: default limits, and how long an answer may be remembered.
        monotonic_us: the cache's clock.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        monotonic_us: Callable[[], int] = clock.monotonic_us,
    ) -> None:
        self._database = database
        self._settings = settings
        self._monotonic_us = monotonic_us
        keep_us = round(settings.key_cache_s * _US_PER_S)
        self._known: ExpiringMap[str, Caller] = ExpiringMap(KEYS_CACHED_MAX, keep_us)
        self._refused: ExpiringMap[str, str] = ExpiringMap(REFUSALS_CACHED_MAX, keep_us)
        self._lookups: dict[str, asyncio.Task[Caller]] = {}
        self._uses = _Uses()
        self._forgotten = 0

    async def authenticate(self, authorization: str | None, x_api_key: str | None = None) -> Caller:
        """The customer behind a request to ``/v1``.

        Args:
            authorization: the ``Authorization`` header; only ``Bearer`` is understood.
            x_api_key: the ``x-api-key`` header, read when there is no bearer token.

        Raises:
            InvalidApiKey: there is no key, or it does not work (any more).
            TooManyLookups: too many unknown keys at once.
        """
        secret = bearer_token(authorization) or x_api_key
        if not secret:
            raise InvalidApiKey("no API key was sent; send it as 'Authorization: Bearer gp-…' or as 'x-api-key: gp-…'")
        if not has_shape(secret, API_KEY_TAG):
            raise InvalidApiKey(_refusal(secret, "it is not of the form gp-… with 43 characters after the dash"))
        key_sha256 = digest(secret)
        now_us = self._monotonic_us()
        caller = self._known.get(key_sha256, now_us)
        if caller is not None:
            return caller
        reason = self._refused.get(key_sha256, now_us)
        if reason is not None:
            raise InvalidApiKey(_refusal(secret, reason))
        return await self._look_up_once(secret, key_sha256)

    async def authenticate_operator(self, authorization: str | None) -> Principal:
        """The operator behind a request to ``/admin``; looked up each time, so a revoked token stops at once.

        Raises:
            InvalidAdminToken: there is no token, or it does not work (any more), or its operator is disabled.
        """
        secret = bearer_token(authorization)
        if not secret:
            raise InvalidAdminToken("no operator's token was sent; send it as 'Authorization: Bearer gpa-…'")
        if not has_shape(secret, ADMIN_TOKEN_TAG):
            raise InvalidAdminToken(f"the token {redacted(secret)} is no operator's token; those begin with gpa-")
        async with self._database.reading() as session:
            found = await token_with_operator(session, digest(secret))
        if found is None or found[0].revoked_at_us is not None:
            raise InvalidAdminToken(f"the token {redacted(secret)} was never issued, or was revoked")
        token, operator = found
        if operator.disabled_at_us is not None:
            raise InvalidAdminToken(f"the operator {operator.email} is disabled")
        self._uses.note(self._uses.tokens, token.id, clock.now_us())
        return Principal(operator.id, operator.email, Role(operator.role))

    def forget_key(self, secret_sha256: str) -> None:
        """Drops what is remembered of a key; call it after revoking one."""
        self._forgotten += 1
        self._known.forget(secret_sha256)
        self._refused.forget(secret_sha256)

    def forget_all(self) -> None:
        """Drops everything remembered; call it after a change that touches many keys, such as freezing a customer."""
        self._forgotten += 1
        self._known.clear()
        self._refused.clear()

    async def write_uses(self) -> int:
        """Notes in the database which credentials were used since the last call; call it every half minute or so.

        Returns:
            How many were noted. When the database fails they are kept for the next call.
        """
        uses, self._uses = self._uses, _Uses()
        noted = len(uses.keys) + len(uses.tokens)
        if not noted:
            return 0
        try:
            async with self._database.writing() as session:
                await put_last_used(session, uses.keys, uses.tokens)
        except BaseException:
            self._uses = _Uses({**uses.keys, **self._uses.keys}, {**uses.tokens, **self._uses.tokens})
            raise
        return noted

    async def _look_up_once(self, secret: str, key_sha256: str) -> Caller:
        """Looks a key up; those who ask meanwhile share the answer, and one who leaves does not end it."""
        lookup = self._lookups.get(key_sha256)
        if lookup is None:
            if len(self._lookups) >= LOOKUPS_MAX:
                raise TooManyLookups
            lookup = asyncio.ensure_future(self._look_up(secret, key_sha256))
            self._lookups[key_sha256] = lookup
            lookup.add_done_callback(lambda done: self._looked_up(key_sha256, done))
        return await asyncio.shield(lookup)

    def _looked_up(self, key_sha256: str, done: asyncio.Task[Caller]) -> None:
        self._lookups.pop(key_sha256, None)
        if not done.cancelled():
            done.exception()  # seen here, should everyone who asked have left

    async def _look_up(self, secret: str, key_sha256: str) -> Caller:
        asked_at_us, forgotten = self._monotonic_us(), self._forgotten
        async with self._database.reading() as session:
            found = await key_with_customer(session, key_sha256)
        if found is None or found[0].revoked_at_us is not None:
            reason = "it was never issued" if found is None else "it was revoked"
            self._refused.put(key_sha256, reason, asked_at_us)
            raise InvalidApiKey(_refusal(secret, reason))
        key, customer = found
        caller = self._caller(key, customer)
        if forgotten == self._forgotten:  # else this answer may be older than a revocation
            self._known.put(key_sha256, caller, asked_at_us)
        self._uses.note(self._uses.keys, key.id, clock.now_us())
        return caller

    def _caller(self, key: ApiKey, customer: Customer) -> Caller:
        settings = self._settings
        return Caller(
            customer_id=customer.id,
            key_id=key.id,
            key_label=key.label,
            limits=Limits(
                rpm=_narrowest(key.rpm, customer.rpm, settings.rpm_default),
                tpm=_narrowest(key.tpm, customer.tpm, settings.tpm_default),
                concurrency=_narrowest(key.concurrency, customer.concurrency, settings.concurrency_default),
            ),
            is_frozen=customer.is_frozen,
        )


def _narrowest(of_key: int | None, of_customer: int | None, default: int) -> int:
    wide = default if of_customer is None else of_customer
    return wide if of_key is None else min(of_key, wide)


def _refusal(secret: str, reason: str) -> str:
    return f"the API key {redacted(secret)} does not work: {reason}; use a key that was created for you and not revoked"
