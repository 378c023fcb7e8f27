"""The HTTP server of the market: where it listens, and how it is configured."""

import gc
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, cast

import uvicorn

from app.cli.failure import Failure
from app.http_protocol import FirstByteProtocol
from app.settings import Settings

if TYPE_CHECKING:
    from app.asgi import Assembly

BACKLOG: Final = 2048
KEEP_ALIVE_S: Final = 75


def listening_socket(settings: Settings) -> socket.socket:
    """Binds the port, so that a taken one is known before anything else starts; port 0 takes a free one.

    Raises:
        Failure: the port is taken or not for us, or the host is no address of this machine.
    """
    host, port = settings.host, settings.port
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        listener = socket.socket(family, kind)
    except OSError as error:
        raise Failure(f"cannot listen on {host}: {error.strerror}. Choose another --host.") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise Failure(
            f"cannot listen on {host} port {port}: {os.strerror(error.errno or 0)}. "
            "Stop what uses it, or choose another --port (0 takes a free one)."
        ) from error
    listener.setblocking(False)
    return listener


class ApiServer:
    """One HTTP server over one market, which drains when told to stop.

    The process's signals stay with the caller: :meth:`stop` is what they should come to.
    """

    def __init__(self, assembly: "Assembly", settings: Settings) -> None:
        self._market = assembly.market
        self._server = uvicorn.Server(
            uvicorn.Config(
                cast(Any, assembly.application),  # ASGI twice: Litestar and uvicorn each have types of their own for it
                http=FirstByteProtocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=round(settings.drain_s_max),
            )
        )
        self._server.capture_signals = _no_signals

    @property
    def has_started(self) -> bool:
        """Whether it listens."""
        return self._server.started

    async def serve(self, listener: socket.socket) -> None:
        """Serves until told to stop, then until what runs is finished, for at most ``drain_s_max``.

        A market that cannot start is told apart by :attr:`has_started`; its reason stands in the log.
        """
        gc.collect()
        gc.freeze()  # what stands now stands for good: later collections, and the last one, need not walk it
        with suppress(SystemExit):  # uvicorn's word for an application that did not start
            await self._server.serve(sockets=[listener])

    def stop(self) -> None:
        """Once: finish what runs, take nothing new. Twice: end what still runs; its holds expire."""
        self._market.is_draining = True
        self._server.force_exit = self._server.should_exit
        self._server.should_exit = True


@contextmanager
def _no_signals() -> Generator[None]:
    yield


def url_of(listener: socket.socket) -> str:
    """How a browser on this machine reaches it."""
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 (compared, not bound)
    return f"http://{shown}:{port}"
