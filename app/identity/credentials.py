"""Bearer secrets: how they are minted, recognised, digested, and shown; pure.

A secret is a tag and 256 random bits in URL-safe base64. Being that random, it needs no slow hash: its SHA-256 is what
is stored and looked up.
"""

import base64
import hashlib
import re
from dataclasses import dataclass, field

API_KEY_TAG = "gp"
ADMIN_TOKEN_TAG = "gpa"  # noqa: S105 (the tag of tokens, no token)
SECRET_BYTES = 32
PREFIX_CHARS = 6
"""How many characters after the tag are kept to recognise a secret by: 36 of its 256 bits."""

HEADER_CHARS_MAX = 4096
_SECRET = re.compile(r"(gp|gpa)-[A-Za-z0-9_-]{43}")
_BEARER = re.compile(r"\s*bearer\s+(\S+)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Minted:
    """A new secret; shown to its owner once and never stored.

    Attributes:
        sha256: hex digest; what is stored.
        prefix: its first characters; all that is ever shown again.
    """

    secret: str = field(repr=False)
    sha256: str
    prefix: str


def mint(tag: str, entropy: bytes) -> Minted:
    """Makes a secret out of 32 random bytes.

    >>> mint("gp", bytes(32)).prefix
    'gp-AAAAAA'
    """
    if len(entropy) != SECRET_BYTES:
        raise ValueError(f"a secret needs {SECRET_BYTES} random bytes, got {len(entropy)}")
    secret = f"{tag}-{base64.urlsafe_b64encode(entropy).rstrip(b'=').decode()}"
    return Minted(secret, digest(secret), shown_prefix(secret))


def digest(secret: str) -> str:
    """The hex SHA-256 under which a secret is stored."""
    return hashlib.sha256(secret.encode()).hexdigest()


def shown_prefix(secret: str) -> str:
    """What of a secret may be shown: its tag and six characters."""
    tag, _, _ = secret.partition("-")
    return secret[: len(tag) + 1 + PREFIX_CHARS]


def has_shape(secret: str, tag: str) -> bool:
    """True when ``secret`` could have been minted here; spares a look-up of what cannot be.

    >>> has_shape("gp-" + "A" * 43, "gp"), has_shape("gp-short", "gp"), has_shape("gpa-" + "A" * 43, "gp")
    (True, False, False)
    """
    match = _SECRET.fullmatch(secret)
    return match is not None and match.group(1) == tag


def bearer_token(authorization: str | None) -> str | None:
    """The token of an ``Authorization: Bearer …`` header; None when there is none.

    >>> bearer_token("bearer abc"), bearer_token("Basic abc"), bearer_token(None)
    ('abc', None, None)
    """
    if authorization is None or len(authorization) > HEADER_CHARS_MAX:
        return None
    match = _BEARER.fullmatch(authorization)
    return match.group(1) if match else None


def redacted(token: str) -> str:
    """What an error message may say of a token that was refused: its first few printable characters.

    >>> redacted("gp-abcdefghijkl"), redacted("secret")
    ('gp-abc…', '…')
    """
    visible = "".join(character for character in token[:PREFIX_CHARS] if character.isalnum() or character in "-_")
    return f"{visible}…" if len(token) > 2 * PREFIX_CHARS else "…"
