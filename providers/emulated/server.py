"""Emulated backends behind real sockets: what is asked on which path, and the life of their listeners."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec

from providers.emulated.backend import EmulatedBackend
from providers.emulated.connection import Connection, Exchange
from providers.emulated.faults import NO_FAULT, FaultError, read_fault
from providers.emulated.spec import EmulatedDeployment
from providers.emulated.wire import WireError, error_body

CONNECTIONS_MAX: Final = 8_192
BACKLOG: Final = 1_024
_LOOPBACK: Final = ("127.", "::1", "::ffff:127.")


def unix_s() -> int:
    """Unix seconds: an emulated backend is a process of the outside world, with a clock of its own."""
    return time.time_ns() // 1_000_000_000


@dataclass(frozen=True, slots=True)
class Listener:
    """A deployment that is being served.

    Attributes:
        port: as bound, also when the spec left it to the system.
    """

    backend: EmulatedBackend
    host: str
    port: int

    @property
    def base_url(self) -> str:
        """Up to and without ``/chat/completions``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/v1"


@contextlib.asynccontextmanager
async def serve(
    deployments: Sequence[EmulatedDeployment], wall_s: Callable[[], int] = unix_s
) -> AsyncGenerator[tuple[Listener, ...]]:
    """Serves deployments, each on its own port, until the context ends.

    Raises:
        OSError: a port is taken or may not be used.
    """
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        listeners = [await _listen(stack, EmulatedBackend(one, loop, wall_s)) for one in deployments]
        yield tuple(listeners)


async def _listen(stack: contextlib.AsyncExitStack, backend: EmulatedBackend) -> Listener:
    connections: set[Connection] = set()
    site = Site(backend)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(site.answer, backend.cancel, backend.resume, connections, CONNECTIONS_MAX),
        backend.deployment.host,
        backend.deployment.port,
        backlog=BACKLOG,
    )
    stack.callback(_close, server, backend, connections)
    host, port, *_ = server.sockets[0].getsockname()
    return Listener(backend, host, port)


def _close(server: asyncio.Server, backend: EmulatedBackend, connections: set[Connection]) -> None:
    server.close()
    backend.close()
    for connection in list(connections):
        connection.close()


class Site:
    """The paths of one deployment."""

    def __init__(self, backend: EmulatedBackend) -> None:
        self._backend = backend
        self._deployment = backend.deployment
        self._routes: dict[tuple[str, str], Callable[[Connection, Exchange], None]] = {
            ("POST", "/v1/chat/completions"): self._complete,
            ("GET", "/v1/models"): partial(self._show, self._models),
            ("GET", "/health"): partial(self._show, lambda: {"status": "ok", "emulated": True}),
            ("GET", "/_engine"): partial(self._show_near, backend.snapshot),
            ("GET", "/_fault"): partial(self._show_near, lambda: backend.fault_document),
            ("POST", "/_fault"): self._set_fault,
            ("DELETE", "/_fault"): self._clear_fault,
        }

    def answer(self, connection: Connection, exchange: Exchange) -> None:
        """Answers one request."""
        try:
            self._route(exchange)(connection, exchange)
        except WireError as error:
            retry = b"" if error.retry_after_s is None else _retry_after(error.retry_after_s)
            connection.respond(error.status, error.body(), retry)

    def _route(self, exchange: Exchange) -> Callable[[Connection, Exchange], None]:
        route = self._routes.get((exchange.method, exchange.path))
        if route is not None:
            return route
        allowed = sorted(method for method, path in self._routes if path == exchange.path)
        if allowed:
            raise WireError(405, "method_not_allowed", f"{exchange.path} takes {', '.join(allowed)}")
        raise WireError(404, "not_found", f"there is nothing at {exchange.path[:200]}")

    def _complete(self, connection: Connection, exchange: Exchange) -> None:
        self._check_key(exchange)
        fault = self._backend.next_fault()
        if fault.status is not None:
            retry = _retry_after(fault.retry_after_s) if fault.status in {429, 503} else b""
            body = error_body(fault.status, "emulated_fault", f"HTTP {fault.status}, on request")
            connection.respond(fault.status, body, retry)
            return
        connection.answer = self._backend.start(b"".join(exchange.body), connection, fault)

    def _check_key(self, exchange: Exchange) -> None:
        wanted = self._deployment.api_key
        if wanted and exchange.headers.get(b"authorization") != b"Bearer " + wanted.encode():
            raise WireError(401, "invalid_api_key", "the API key is missing or wrong")

    def _models(self) -> dict[str, Any]:
        deployment = self._deployment
        model = {
            "id": deployment.model,
            "object": "model",
            "created": 0,
            "owned_by": "emulated",
            "emulated": True,
            "deployment_id": deployment.deployment_id,
            "label": deployment.label,
            "max_model_len": deployment.context_max,
        }
        return {"object": "list", "data": [model]}

    def _show(self, document: Callable[[], dict[str, Any]], connection: Connection, exchange: Exchange) -> None:
        if exchange.path.startswith("/v1/"):
            self._check_key(exchange)
        connection.respond(200, msgspec.json.encode(document()))

    def _show_near(self, document: Callable[[], dict[str, Any]], connection: Connection, exchange: Exchange) -> None:
        _check_near(connection)
        self._show(document, connection, exchange)

    def _set_fault(self, connection: Connection, exchange: Exchange) -> None:
        _check_near(connection)
        try:
            fault = read_fault(msgspec.json.decode(b"".join(exchange.body) or b"{}"))
        except (FaultError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise WireError(400, "invalid_fault", str(error)) from error
        self._backend.set_fault(fault)
        connection.respond(200, msgspec.json.encode(self._backend.fault_document))

    def _clear_fault(self, connection: Connection, exchange: Exchange) -> None:
        del exchange
        _check_near(connection)
        self._backend.set_fault(NO_FAULT)
        connection.respond(200, msgspec.json.encode(self._backend.fault_document))


def _check_near(connection: Connection) -> None:
    if not connection.peer.startswith(_LOOPBACK):
        raise WireError(403, "forbidden", "only processes on this machine may look behind the wire")


def _retry_after(after_s: float) -> bytes:
    return b"retry-after: %d\r\nretry-after-ms: %d\r\n" % (max(1, round(after_s)), round(after_s * 1000))
