"""What can be done to customers, keys, operators and tokens; the caller owns the transaction and the audit record."""

import secrets
from dataclasses import dataclass

from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import MarketError
from app.identity.credentials import ADMIN_TOKEN_TAG, API_KEY_TAG, SECRET_BYTES, Minted, mint
from app.identity.ids import ENTROPY_BYTES, time_ordered_id
from app.identity.models import AdminToken, ApiKey, Customer, Operator
from app.identity.repository import delete_sessions_of, operator_by_email
from app.identity.roles import Role

NAME_CHARS_MAX = 200
EMAIL_CHARS_MAX = 320


class UnknownSubject(MarketError):
    """There is no customer, key, operator or token with that id."""

    def __init__(self, kind: str, subject_id: str) -> None:
        super().__init__(404, f"{kind}_not_found", f"there is no {kind} {subject_id[:80]!r}; check the id")


class OperatorExists(MarketError):
    """Two operators cannot sign in with one address."""

    def __init__(self, email: str) -> None:
        super().__init__(400, "operator_exists", f"an operator with the address {email} exists already", param="email")


class BadName(MarketError):
    """A name or address that is empty or too long."""

    def __init__(self, param: str, chars: int, chars_max: int) -> None:
        super().__init__(
            400,
            f"invalid_{param}",
            f"{param} needs 1 to {chars_max} characters, this one has {chars}",
            param=param,
        )


@dataclass(frozen=True, slots=True)
class OwnLimits:
    """Limits set on a customer or a key; None leaves the next wider one in force."""

    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None


NO_LIMITS = OwnLimits()


async def create_customer(
    session: AsyncSession, name: str, at_us: int, *, email: str = "", limits: OwnLimits = NO_LIMITS
) -> Customer:
    """Adds a customer; their wallet comes to be with its first credit."""
    customer = Customer(
        id=_new_id("cus", at_us),
        name=_named("name", name, NAME_CHARS_MAX),
        email=email.strip()[:EMAIL_CHARS_MAX],
        rpm=limits.rpm,
        tpm=limits.tpm,
        concurrency=limits.concurrency,
        created_at_us=at_us,
    )
    session.add(customer)
    await session.flush()
    return customer


async def freeze_customer(session: AsyncSession, customer_id: str, *, is_frozen: bool) -> Customer:
    """Stops new holds of a customer, or allows them again; running requests finish."""
    customer = await customer_by_id(session, customer_id)
    customer.is_frozen = is_frozen
    await session.flush()
    return customer


async def create_key(
    session: AsyncSession, customer_id: str, label: str, at_us: int, *, limits: OwnLimits = NO_LIMITS
) -> tuple[ApiKey, Minted]:
    """Adds a key; the secret in the answer is the only copy there will ever be."""
    await customer_by_id(session, customer_id)
    minted = mint(API_KEY_TAG, secrets.token_bytes(SECRET_BYTES))
    key = ApiKey(
        id=_new_id("key", at_us),
        customer_id=customer_id,
        label=label.strip()[:NAME_CHARS_MAX],
        secret_sha256=minted.sha256,
        prefix=minted.prefix,
        rpm=limits.rpm,
        tpm=limits.tpm,
        concurrency=limits.concurrency,
        created_at_us=at_us,
    )
    session.add(key)
    await session.flush()
    return key, minted


async def revoke_key(session: AsyncSession, key_id: str, at_us: int) -> ApiKey:
    """Ends a key for good; revoking it again changes nothing."""
    key = await session.get(ApiKey, key_id)
    if key is None:
        raise UnknownSubject("key", key_id)
    if key.revoked_at_us is None:
        key.revoked_at_us = at_us
        await session.flush()
    return key


async def create_operator(session: AsyncSession, email: str, password_hash: str, role: Role, at_us: int) -> Operator:
    """Adds an operator; the hash comes from :meth:`app.identity.passwords.Passwords.hash`."""
    address = normal_email(email)
    _named("email", address, EMAIL_CHARS_MAX)
    if await operator_by_email(session, address) is not None:
        raise OperatorExists(address)
    operator = Operator(
        id=_new_id("op", at_us),
        email=address,
        password_hash=password_hash,
        role=role.value,
        created_at_us=at_us,
    )
    session.add(operator)
    await session.flush()
    return operator


async def set_password(session: AsyncSession, operator_id: str, password_hash: str) -> Operator:
    """Gives an operator another password and signs out all their browsers."""
    operator = await operator_by_id(session, operator_id)
    operator.password_hash = password_hash
    await delete_sessions_of(session, operator_id)
    await session.flush()
    return operator


async def disable_operator(session: AsyncSession, operator_id: str, at_us: int) -> Operator:
    """Ends an operator's access: sign-in, sessions and tokens."""
    operator = await operator_by_id(session, operator_id)
    if operator.disabled_at_us is None:
        operator.disabled_at_us = at_us
    await delete_sessions_of(session, operator_id)
    await session.flush()
    return operator


async def create_admin_token(
    session: AsyncSession, operator_id: str, label: str, at_us: int
) -> tuple[AdminToken, Minted]:
    """Adds a bearer token for the operators' API; its secret is shown once."""
    await operator_by_id(session, operator_id)
    minted = mint(ADMIN_TOKEN_TAG, secrets.token_bytes(SECRET_BYTES))
    token = AdminToken(
        id=_new_id("tok", at_us),
        operator_id=operator_id,
        label=label.strip()[:NAME_CHARS_MAX],
        token_sha256=minted.sha256,
        prefix=minted.prefix,
        created_at_us=at_us,
    )
    session.add(token)
    await session.flush()
    return token, minted


async def revoke_admin_token(session: AsyncSession, token_id: str, at_us: int) -> AdminToken:
    """Ends a token for good; revoking it again changes nothing."""
    token = await session.get(AdminToken, token_id)
    if token is None:
        raise UnknownSubject("token", token_id)
    if token.revoked_at_us is None:
        token.revoked_at_us = at_us
        await session.flush()
    return token


async def customer_by_id(session: AsyncSession, customer_id: str) -> Customer:
    """A customer.

    Raises:
        UnknownSubject: there is none with that id.
    """
    customer = await session.get(Customer, customer_id)
    if customer is None:
        raise UnknownSubject("customer", customer_id)
    return customer


async def operator_by_id(session: AsyncSession, operator_id: str) -> Operator:
    """An operator.

    Raises:
        UnknownSubject: there is none with that id.
    """
    operator = await session.get(Operator, operator_id)
    if operator is None:
        raise UnknownSubject("operator", operator_id)
    return operator


def normal_email(email: str) -> str:
    """An address as it is stored and compared."""
    return email.strip().lower()


def _new_id(prefix: str, at_us: int) -> str:
    return time_ordered_id(prefix, at_us, secrets.token_bytes(ENTROPY_BYTES))


def _named(param: str, value: str, chars_max: int) -> str:
    stripped = value.strip()
    if not 1 <= len(stripped) <= chars_max:
        raise BadName(param, len(stripped), chars_max)
    return stripped
