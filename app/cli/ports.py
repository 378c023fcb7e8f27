"""Ports on loopback for the market's children: the ones they had before, where those are still free."""

import socket
from collections.abc import Iterable, Mapping

LOOPBACK = "127.0.0.1"


def free_ports(names: Iterable[str], remembered: Mapping[str, int]) -> dict[str, int]:
    """A free port for each name, no two the same; found by binding them all at once, then letting go."""
    held: dict[str, socket.socket] = {}
    try:
        for name in names:
            held[name] = _bound(remembered.get(name, 0))
        return {name: listener.getsockname()[1] for name, listener in held.items()}
    finally:
        for listener in held.values():
            listener.close()


def _bound(wanted: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, wanted))
    except OSError:
        listener.bind((LOOPBACK, 0))
    return listener
