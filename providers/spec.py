"""What the market has to know of a backend to talk to it."""

from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from providers.base import Timeouts

MODEL_NAME_MAX = 512


class ProviderKind(StrEnum):
    """The kinds of backend; each has a module of its name that says what differs."""

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
        kind: which dialect it speaks.
        base_url: up to and without ``/chat/completions``, for example ``http://10.0.0.5:8000/v1``.
        backend_model: the name sent as ``model``; for a tuned model, the adapter's name.
        api_key: its credential, never shown; None where it wants none.
        base_model: for a tuned model, the name of the base that carries the adapter; empty leaves it unchecked.
        timeouts: how long it may be silent; a request may ask for less, never for more.
        connections_max: sockets open to it at once; one more request than that is refused as overload.
    """

    id: str
    kind: ProviderKind
    base_url: str
    backend_model: str
    api_key: str | None = field(default=None, repr=False)
    base_model: str = ""
    timeouts: Timeouts = field(default_factory=Timeouts)
    connections_max: int = 1024

    def __post_init__(self) -> None:
        _check_url(self.base_url)
        for name, text in (("id", self.id), ("backend_model", self.backend_model)):
            if not text or len(text) > MODEL_NAME_MAX or not text.isprintable():
                raise ProviderSpecError(f"{name}: expected 1 to {MODEL_NAME_MAX} printable letters, got {text!r}")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable() and self.api_key):
            raise ProviderSpecError(f"{self.id}: api_key has letters that no header can carry; give printable ASCII")
        if self.connections_max < 1:
            raise ProviderSpecError(f"{self.id}: connections_max must be at least 1, got {self.connections_max}")


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
