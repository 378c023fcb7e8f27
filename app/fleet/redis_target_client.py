"""What a Redis URL asks for. Whatever we could not honour is refused with a reason, never ignored."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

DEFAULT_PORT = 6379
_SOCKET_SCHEMES = frozenset({"unix", "redis+socket", "redis+unix"})
_TCP_SCHEMES = frozenset({"redis", "rediss"})
_OPTIONS = frozenset({"db", "virtual_host", "ssl_ca_certs", "ssl_cert_reqs"})
_REMEDY = "write redis://[user:password@]host[:port][/db], rediss://… for TLS, or unix:///path/to.sock[?db=0]"


class RedisUrlError(ValueError):
    """A Redis URL that is malformed, or asks for something that this client does not do."""


@dataclass(frozen=True, slots=True)
class RedisTarget:
    """Where a server is and how to be let in.

    Attributes:
        socket_path: of a unix socket; empty for TCP.
        is_tls: speak TLS and check the server's certificate, unless ``is_certificate_checked`` is False.
        certificates_path: authorities to trust instead of the system's; empty for those.
    """

    socket_path: str = ""
    host: str = ""
    port: int = DEFAULT_PORT
    db: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    is_tls: bool = False
    is_certificate_checked: bool = True
    certificates_path: str = ""

    @property
    def name(self) -> str:
        """What to call it in messages: no secrets."""
        place = f"unix://{self.socket_path}" if self.socket_path else f"{self.host}:{self.port}"
        return f"{place} (db {self.db})" if self.db else place


def redis_target(url: str) -> RedisTarget:
    """Reads a Redis URL.

    Raises:
        RedisUrlError: an unknown scheme (Sentinel and others), options or parts that make no sense.

    >>> redis_target("redis://:secret@cache:6380/2")
    RedisTarget(socket_path='', host='cache', port=6380, db=2, username='', is_tls=False, \
is_certificate_checked=True, certificates_path='')
    """
    scheme = url.partition(":")[0].lower()
    if scheme not in _SOCKET_SCHEMES | _TCP_SCHEMES:
        raise RedisUrlError(f"a Redis URL cannot start with {scheme or 'nothing'}:; {_REMEDY}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise RedisUrlError(f"the Redis URL is malformed ({error}); {_REMEDY}") from error
    options = _options(parts)
    if parts.scheme in _SOCKET_SCHEMES:
        return _socket_target(parts, options)
    return RedisTarget(
        host=parts.hostname or "127.0.0.1",
        port=port or DEFAULT_PORT,
        db=_database(options.get("db") or parts.path.lstrip("/") or "0"),
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        is_tls=parts.scheme == "rediss",
        is_certificate_checked=_is_certificate_checked(options.get("ssl_cert_reqs", "required")),
        certificates_path=options.get("ssl_ca_certs", ""),
    )


def _socket_target(parts: SplitResult, options: Mapping[str, str]) -> RedisTarget:
    if parts.hostname:
        raise RedisUrlError(f"a socket's URL has three slashes, unix:///…; got host {parts.hostname!r}")
    if not parts.path.strip("/"):
        raise RedisUrlError(f"the URL names no socket; {_REMEDY}")
    return RedisTarget(
        socket_path=unquote(parts.path),
        db=_database(options.get("db") or options.get("virtual_host", "0").lstrip("/")),
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )


def _options(parts: SplitResult) -> dict[str, str]:
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if unknown := sorted(options.keys() - _OPTIONS):
        raise RedisUrlError(
            f"Redis URL options not known here: {', '.join(unknown)}; known: {', '.join(sorted(_OPTIONS))}"
        )
    return options


def _database(text: str) -> int:
    if not text.isdecimal():
        raise RedisUrlError(f"a Redis database is a whole number, got {text!r}")
    return int(text)


def _is_certificate_checked(text: str) -> bool:
    if text not in {"required", "none"}:
        raise RedisUrlError(f"ssl_cert_reqs is required or none, got {text!r}")
    return text == "required"
