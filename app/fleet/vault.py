"""Seals providers' credentials for storage: AES-256-GCM under keys that follow from the market's secret; pure.

What is sealed is bound to what it is about, so that a sealed credential moved to another provider's row cannot be
opened there. Former secrets still open what they sealed; only the current one seals.
"""

import base64
import binascii
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FORM: Final = "v1"
NONCE_BYTES: Final = 12
KEY_BYTES: Final = 32
KEY_ID_BYTES: Final = 4
FINGERPRINT_HEX: Final = 12
SECRET_LETTERS_MAX: Final = 4096
PREFIX_LETTERS: Final = 4
PREFIX_OF_AT_LEAST: Final = 20
"""Only a secret at least so long spares its first letters."""


class VaultError(ValueError):
    """A credential that cannot be sealed or opened; the message says why and never shows it."""


@dataclass(frozen=True, slots=True)
class _Key:
    id: str
    cipher: AESGCM
    mac: bytes


class Vault:
    """Seals and opens.

    Args:
        secret: the market's secret key; empty makes a vault that can do neither, and says so.
        former: earlier secret keys, which may still open.
    """

    __slots__ = ("_by_id", "_current")

    def __init__(self, secret: str, former: Sequence[str] = ()) -> None:
        keys = [_derived(each) for each in (secret, *former) if each]
        self._current = keys[0] if secret else None
        self._by_id = {key.id: key for key in reversed(keys)}

    def seal(self, secret: str, about: str, nonce: bytes) -> str:
        """A secret as it may be stored.

        Args:
            secret: printable ASCII.
            about: what it is for; opening it needs the same.
            nonce: twelve random bytes, never used twice.

        Raises:
            VaultError: there is no key, or the secret is none that a header can carry.
        """
        check_secret(secret)
        key = self._sealing_key()
        if len(nonce) != NONCE_BYTES:
            raise VaultError(f"a nonce has {NONCE_BYTES} bytes, got {len(nonce)}")
        sealed = nonce + key.cipher.encrypt(nonce, secret.encode(), about.encode())
        return f"{FORM}.{key.id}.{base64.urlsafe_b64encode(sealed).decode()}"

    def open(self, sealed: str, about: str) -> str:
        """The secret.

        Raises:
            VaultError: it was sealed under a key that is not known here, is about something else, or was changed.
        """
        form, _, rest = sealed.partition(".")
        key_id, _, text = rest.partition(".")
        key = self._by_id.get(key_id)
        if form != FORM or key is None:
            raise VaultError(
                "it is sealed under another secret key than this process has: give the GOODPUT_SECRET_KEY that sealed "
                "it (or name it in GOODPUT_SECRET_KEYS_FORMER), or set the credential again"
            )
        try:
            data = base64.urlsafe_b64decode(text)
            return key.cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], about.encode()).decode()
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise VaultError("it was changed since it was sealed, or belongs elsewhere: set it again") from error

    def is_current(self, sealed: str) -> bool:
        """Whether it is sealed under the secret key in force."""
        return self._current is not None and sealed.startswith(f"{FORM}.{self._current.id}.")

    def fingerprint(self, secret: str) -> str:
        """A few letters by which a secret is told from others, and from which nobody finds it.

        Raises:
            VaultError: there is no key.
        """
        return hmac.digest(self._sealing_key().mac, secret.encode(), "sha256").hex()[:FINGERPRINT_HEX]

    def _sealing_key(self) -> _Key:
        if self._current is None:
            raise VaultError("credentials cannot be stored without a secret key: set GOODPUT_SECRET_KEY")
        return self._current


def check_secret(secret: str) -> None:
    """Refuses what no header can carry, without repeating it.

    Raises:
        VaultError: it is empty, too long, or has letters other than printable ASCII.
    """
    if not secret or len(secret) > SECRET_LETTERS_MAX:
        raise VaultError(f"a credential has 1 to {SECRET_LETTERS_MAX} letters, got {len(secret)}")
    if not (secret.isascii() and secret.isprintable()) or secret != secret.strip():
        raise VaultError("a credential is printable ASCII without spaces around it")


def prefix_of(secret: str) -> str:
    """The first letters of a secret long enough to spare them; else nothing.

    >>> prefix_of("sk-live-0123456789abcdef"), prefix_of("hunter2")
    ('sk-l', '')
    """
    return secret[:PREFIX_LETTERS] if len(secret) >= PREFIX_OF_AT_LEAST else ""


def _derived(secret: str) -> _Key:
    """Separate keys for sealing and for fingerprints, and an id that tells nothing of either."""

    def derive(purpose: str, size: int) -> bytes:
        info = f"goodput provider credentials {FORM} {purpose}".encode()
        return HKDF(algorithm=SHA256(), length=size, salt=None, info=info).derive(secret.encode())

    return _Key(derive("id", KEY_ID_BYTES).hex(), AESGCM(derive("seal", KEY_BYTES)), derive("fingerprint", KEY_BYTES))
