"""The tables of identity: who may call, who may operate, and what proves it. No table holds a secret, only digests."""

from typing import Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Index
from sqlmodel import Field, SQLModel


class Customer(SQLModel, table=True):
    """Who owns a wallet and its keys.

    Attributes:
        id: ``cus_…``.
        rpm, tpm, concurrency: limits of all its keys together; None means the market's default.
        is_frozen: new holds are refused.
        created_at_us: µs since the epoch, like every ``*_at_us`` below.
    """

    __tablename__: ClassVar[Any] = "customer"
    __table_args__ = (
        CheckConstraint("rpm IS NULL OR rpm > 0", name="rpm_positive"),
        CheckConstraint("tpm IS NULL OR tpm > 0", name="tpm_positive"),
        CheckConstraint("concurrency IS NULL OR concurrency > 0", name="concurrency_positive"),
        Index("ix_customer_created", "created_at_us", "id"),
    )

    id: str = Field(primary_key=True, max_length=64)
    name: str = Field(max_length=200)
    email: str = Field(default="", max_length=320)
    rpm: int | None = Field(default=None, sa_type=BigInteger)
    tpm: int | None = Field(default=None, sa_type=BigInteger)
    concurrency: int | None = Field(default=None, sa_type=BigInteger)
    is_frozen: bool = False
    created_at_us: int = Field(sa_type=BigInteger)


class ApiKey(SQLModel, table=True):
    """A customer's credential.

    Attributes:
        id: ``key_…``.
        secret_sha256: hex digest of the whole ``gp-…`` secret (256 random bits, so a fast hash is enough).
        prefix: its first characters; all that is ever shown again.
        rpm, tpm, concurrency: limits of this key alone; None means its customer's. The smaller of both holds.
        last_used_at_us: of the last use seen, to a minute or so; None when never used.
        revoked_at_us: None while it works.
    """

    __tablename__: ClassVar[Any] = "api_key"
    __table_args__ = (
        CheckConstraint("rpm IS NULL OR rpm > 0", name="rpm_positive"),
        CheckConstraint("tpm IS NULL OR tpm > 0", name="tpm_positive"),
        CheckConstraint("concurrency IS NULL OR concurrency > 0", name="concurrency_positive"),
        CheckConstraint("length(secret_sha256) = 64", name="secret_is_a_digest"),
    )

    id: str = Field(primary_key=True, max_length=64)
    customer_id: str = Field(foreign_key="customer.id", index=True, max_length=64)
    label: str = Field(default="", max_length=200)
    secret_sha256: str = Field(unique=True, max_length=64)
    prefix: str = Field(max_length=16)
    rpm: int | None = Field(default=None, sa_type=BigInteger)
    tpm: int | None = Field(default=None, sa_type=BigInteger)
    concurrency: int | None = Field(default=None, sa_type=BigInteger)
    created_at_us: int = Field(sa_type=BigInteger)
    last_used_at_us: int | None = Field(default=None, sa_type=BigInteger)
    revoked_at_us: int | None = Field(default=None, sa_type=BigInteger)


class Operator(SQLModel, table=True):
    """Who runs the market.

    Attributes:
        id: ``op_…``.
        email: lower case.
        password_hash: argon2id, with its parameters.
        role: ``viewer``, ``operator``, ``finance`` or ``admin``.
        theme: ``system``, ``light`` or ``dark``: how the console looks for them.
        disabled_at_us: None while they may sign in.
    """

    __tablename__: ClassVar[Any] = "operator"
    __table_args__ = (
        CheckConstraint("role IN ('viewer', 'operator', 'finance', 'admin')", name="role_known"),
        CheckConstraint("theme IN ('system', 'light', 'dark')", name="theme_known"),
        CheckConstraint("email = lower(email)", name="email_lower"),
    )

    id: str = Field(primary_key=True, max_length=64)
    email: str = Field(unique=True, max_length=320)
    name: str = Field(default="", max_length=200)
    password_hash: str = Field(max_length=256)
    role: str = Field(max_length=16)
    theme: str = Field(default="system", max_length=8)
    created_at_us: int = Field(sa_type=BigInteger)
    disabled_at_us: int | None = Field(default=None, sa_type=BigInteger)


class AdminToken(SQLModel, table=True):
    """A bearer token for the operators' JSON API; it may do what its operator's role may.

    Attributes:
        id: ``tok_…``.
        token_sha256: hex digest of the whole ``gpa-…`` secret.
        revoked_at_us: None while it works.
    """

    __tablename__: ClassVar[Any] = "admin_token"
    __table_args__ = (CheckConstraint("length(token_sha256) = 64", name="token_is_a_digest"),)

    id: str = Field(primary_key=True, max_length=64)
    operator_id: str = Field(foreign_key="operator.id", index=True, max_length=64)
    label: str = Field(default="", max_length=200)
    token_sha256: str = Field(unique=True, max_length=64)
    prefix: str = Field(max_length=16)
    created_at_us: int = Field(sa_type=BigInteger)
    last_used_at_us: int | None = Field(default=None, sa_type=BigInteger)
    revoked_at_us: int | None = Field(default=None, sa_type=BigInteger)


class OperatorSession(SQLModel, table=True):
    """One signed-in browser. The cookie holds the secret; this row holds its digest.

    Attributes:
        id_sha256: hex digest of the cookie.
        csrf: the token that every form of this session carries.
        seen_at_us: last use, to within a minute; the idle limit counts from it.
    """

    __tablename__: ClassVar[Any] = "operator_session"
    __table_args__ = (CheckConstraint("length(id_sha256) = 64", name="id_is_a_digest"),)

    id_sha256: str = Field(primary_key=True, max_length=64)
    operator_id: str = Field(foreign_key="operator.id", index=True, max_length=64)
    csrf: str = Field(max_length=64)
    ip: str = Field(default="", max_length=64)
    created_at_us: int = Field(sa_type=BigInteger)
    seen_at_us: int = Field(index=True, sa_type=BigInteger)


class LoginFailure(SQLModel, table=True):
    """How often signing in failed lately, per account, address, and both; what throttling counts.

    Attributes:
        bucket: digest of what is counted, cut to so few bits that the table cannot grow without bound.
        failures: since ``since_at_us``.
        since_at_us: when the window began.
    """

    __tablename__: ClassVar[Any] = "login_failure"
    __table_args__ = (CheckConstraint("failures >= 0", name="failures_not_negative"),)

    bucket: str = Field(primary_key=True, max_length=32)
    failures: int = Field(sa_type=BigInteger)
    since_at_us: int = Field(sa_type=BigInteger)
