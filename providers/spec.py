"""What the market has to know of a backend to talk to it."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from providers.base import Timeouts

MODEL_NAME_MAX = 512
HEADERS_MAX = 16
HEADER_LETTERS_MAX = 1024
METADATA_HOSTS: Final = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})
"""Names under which a cloud tells its machines their own secrets; nothing there makes tokens."""
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_OURS = frozenset(
    {
        *("accept", "accept-encoding", "connection", "content-length", "content-type", "expect", "host"),
        *("te", "trailer", "transfer-encoding", "upgrade", "user-agent", "x-request-id"),
    }
)
"""Headers that the client sets itself."""


class ProviderKind(StrEnum):
    """The kinds that the market itself knows by name; any file in :mod:`providers.kinds` is one more."""

    GPU_CLUSTER = "gpu_cluster"
    WAFER_SCALE = "wafer_scale"
    TUNED = "tuned"
    LOCAL_ENGINE = "local_engine"
    OPENAI_COMPATIBLE = "openai_compatible"


class ProviderSpecError(ValueError):
    """A backend described so that nobody could talk to it; the message says which field and what to write."""


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """One backend that serves one model.

    Attributes:
        id: the provider's id in the fleet.
        kind: which dialect it speaks: the name of a file in :mod:`providers.kinds`.
        base_url: up to and without ``/chat/completions``, for example ``http://10.0.0.5:8000/v1``.
        backend_model: the name sent as ``model``; for a tuned model, the adapter's name.
        api_key: its credential, never shown; None where it wants none.
        base_model: for a tuned model, the name of the base that carries the adapter; empty leaves it unchecked.
        credential_id: by which whoever holds the credential knows it again when it is refused.
        auth_header, auth_scheme: how the credential is sent: in which header, after which word; None leaves it to the
            kind, which as a rule sends ``Authorization: Bearer …``. An empty scheme sends the credential alone.
        headers: sent with every request; nothing secret.
        timeouts: how long it may be silent; a request may ask for less, never for more.
        connections_max: sockets open to it at once; one more request than that is refused as overload.
    """

    id: str
    kind: str
    base_url: str
    backend_model: str
    api_key: str | None = field(default=None, repr=False)
    base_model: str = ""
    credential_id: str = ""
    auth_header: str | None = None
    auth_scheme: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    timeouts: Timeouts = field(default_factory=Timeouts)
    connections_max: int = 1024

    def __post_init__(self) -> None:
        _check_url(self.base_url)
        for name, text in (("id", self.id), ("backend_model", self.backend_model)):
            if not text or len(text) > MODEL_NAME_MAX or not text.isprintable():
                raise ProviderSpecError(f"{name}: expected 1 to {MODEL_NAME_MAX} printable letters, got {text!r}")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable() and self.api_key):
            raise ProviderSpecError(f"{self.id}: api_key has letters that no header can carry; give printable ASCII")
        check_headers(self.auth_header, self.auth_scheme, self.headers)
        if self.connections_max < 1:
            raise ProviderSpecError(f"{self.id}: connections_max must be at least 1, got {self.connections_max}")


def check_headers(auth_header: str | None, auth_scheme: str | None, headers: tuple[tuple[str, str], ...]) -> None:
    """Refuses headers that cannot be sent, or that would break the request they go with.

    Raises:
        ProviderSpecError: one of them does.
    """
    if len(headers) > HEADERS_MAX:
        raise ProviderSpecError(f"headers: at most {HEADERS_MAX}, got {len(headers)}")
    for name, value in (*headers, (auth_header or "Authorization", auth_scheme or "")):
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _OURS:
            raise ProviderSpecError(f"headers: {name[:64]!r} is no header name, or one that is set here")
        if len(value) > HEADER_LETTERS_MAX or not (value.isascii() and value.isprintable()):
            raise ProviderSpecError(f"headers: {name} has at most {HEADER_LETTERS_MAX} letters of printable ASCII")
    secret = {(auth_header or "authorization").lower(), "authorization"}
    if repeated := secret & {name.lower() for name, _ in headers}:
        raise ProviderSpecError(f"headers: {', '.join(sorted(repeated))} carries the credential; set that instead")


def _check_url(base_url: str) -> None:
    if not (base_url.isascii() and base_url.isprintable()) or " " in base_url:
        raise ProviderSpecError(f"base_url: expected printable ASCII without spaces, got {base_url!r}")
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError as error:
        raise ProviderSpecError(f"base_url {base_url!r}: {error}; expected http://host:port/v1") from error
    if parts.username is not None or parts.password is not None:
        raise ProviderSpecError("base_url: credentials do not belong in an address; give api_key instead")
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ProviderSpecError(f"base_url: expected http://host:port/v1 or https://host/v1, got {base_url!r}")
    if parts.query or parts.fragment:
        raise ProviderSpecError(f"base_url: leave out everything from '?' or '#' on, got {base_url!r}")
    _check_host(parts.hostname)


def _check_host(host: str) -> None:
    """Refuses addresses at which no backend can be; private networks are where most of them are."""
    if host.lower().rstrip(".") in METADATA_HOSTS:
        raise ProviderSpecError(f"base_url: {host} is a cloud's own metadata service, not a backend")
    try:
        address = ip_address(host)
    except ValueError:
        return  # a name
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        raise ProviderSpecError(f"base_url: nothing makes tokens at {host}, a link-local, multicast or empty address")
