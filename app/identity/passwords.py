"""Operators' passwords: argon2id with the library's current parameters, and the same work whether an account exists."""

from dataclasses import dataclass

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.errors import MarketError

PASSWORD_CHARS_MIN = 12
PASSWORD_CHARS_MAX = 1024


class WeakPassword(MarketError):
    """A new password that is too short or too long to take."""

    def __init__(self, chars: int) -> None:
        super().__init__(
            400,
            "weak_password",
            f"a password needs {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters, this one has {chars}; "
            "choose a longer phrase",
            param="password",
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a password was right, and a better hash of it when the parameters have moved on since."""

    is_right: bool
    rehash: str | None = None


class Passwords:
    """Hashes and verifies; blocking and slow on purpose (some 50 ms, 64 MiB), so call it from a thread."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._decoy = self._hasher.hash("a password that nobody has")

    def hash(self, password: str) -> str:
        """Hashes a new password.

        Raises:
            WeakPassword: it is shorter or longer than allowed.
        """
        if not PASSWORD_CHARS_MIN <= len(password) <= PASSWORD_CHARS_MAX:
            raise WeakPassword(len(password))
        return self._hasher.hash(password)

    def verify(self, password_hash: str | None, password: str) -> Verdict:
        """Checks a password; with no hash to check against it takes as long and says no."""
        try:
            self._hasher.verify(password_hash or self._decoy, password[:PASSWORD_CHARS_MAX])
        except (VerificationError, InvalidHashError):
            return Verdict(is_right=False)
        if password_hash is None or len(password) > PASSWORD_CHARS_MAX:
            return Verdict(is_right=False)
        stale = self._hasher.check_needs_rehash(password_hash)
        return Verdict(is_right=True, rehash=self._hasher.hash(password) if stale else None)
