"""Server-sent events out of bytes that come in any pieces. Pure.

**Source:** WHATWG HTML, section 9.2 "Server-sent events". Two things are done otherwise: an event's size is bounded,
and a block without a single known field is an error, since no backend has a reason to send one.
"""

from dataclasses import dataclass

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_KNOWN = frozenset({b"data", b"event", b"id", b"retry"})


class SseError(ValueError):
    """What came is no event stream."""


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event.

    Attributes:
        data: its data lines joined by line feeds.
        name: its ``event`` field; empty for an ordinary message.
        block: the event as it may be passed on, with LF line ends and without comments and the closing empty line.
    """

    data: bytes
    name: bytes
    block: bytes


class SseParser:
    """Cuts a byte stream into events. Lines may end in LF, CRLF or CR, and a read may end anywhere."""

    __slots__ = ("_event_bytes_max", "_held", "_is_after_cr", "_is_first", "_parts")

    def __init__(self, event_bytes_max: int) -> None:
        self._event_bytes_max = event_bytes_max
        self._parts: list[bytes] = []
        self._held = 0
        self._is_after_cr = False
        self._is_first = True

    def feed(self, data: bytes) -> list[bytes]:
        """The blocks that ``data`` completes, each to be read with :func:`event_of`.

        Raises:
            SseError: an event grows beyond its bound.
        """
        if b"\r" in data or self._is_after_cr:
            data = self._with_lf(data)
        if b"\n" not in data:
            self._hold(data)
            return []
        if self._parts:
            self._parts.append(data)
            data = b"".join(self._parts)
            self._parts.clear()
        blocks = data.split(b"\n\n")
        tail = blocks.pop()
        self._held = 0
        if tail:
            self._hold(tail)
        if self._is_first and blocks:
            self._is_first = False
            blocks[0] = blocks[0].removeprefix(BYTE_ORDER_MARK)
        if len(data) > self._event_bytes_max and blocks:
            self._check(max(map(len, blocks)))
        return blocks

    def rest(self) -> bytes:
        """The unfinished block that is left when the stream ends."""
        return b"".join(self._parts)

    def _with_lf(self, data: bytes) -> bytes:
        if self._is_after_cr and data.startswith(b"\n"):
            data = data[1:]
            self._is_after_cr = False
        if data:
            self._is_after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _hold(self, data: bytes) -> None:
        self._held += len(data)
        self._check(self._held)
        self._parts.append(data)

    def _check(self, size: int) -> None:
        if size > self._event_bytes_max:
            raise SseError(f"an event of more than {self._event_bytes_max} bytes")


def plain_data(block: bytes) -> bytes | None:
    """The data of a block that is one data line and nothing else, as nearly all are; None for any other.

    >>> plain_data(b"data: [DONE]")
    b'[DONE]'
    """
    if b"\n" in block:
        return None
    if block[:6] == b"data: ":
        return block[6:]
    return block[5:] if block[:5] == b"data:" else None


def event_of(block: bytes) -> SseEvent | None:
    """Reads one block; None when it says nothing: a comment, an empty line, an id.

    Raises:
        SseError: none of its lines is a field of an event.

    >>> event_of(b'data: {"a":1}').data
    b'{"a":1}'
    >>> event_of(b": keep-alive") is None
    True
    """
    lines = [line for line in block.split(b"\n") if line and not line.startswith(b":")]
    fields = [(line.partition(b":")[0], line) for line in lines]
    data = [_value(line, 5) for name, line in fields if name == b"data"]
    if fields and not any(name in _KNOWN for name, _ in fields):
        raise SseError(f"no event: {block[:80]!r}")
    names = [_value(line, 6) for name, line in fields if name == b"event"]
    return SseEvent(b"\n".join(data), names[-1] if names else b"", b"\n".join(lines)) if data else None


def _value(line: bytes, start: int) -> bytes:
    return line[start + 1 :] if line[start : start + 1] == b" " else line[start:]
