"""Packs a timeline into one or two bytes a chunk and column, so that every delivery can be kept and replayed.

Format ``1``: a version byte, a flag byte (bit 0: streamed), the number of chunks, then per chunk the differences of
time (µs), tokens and excuse (µs) to the chunk before it, each as an unsigned LEB128 integer; all of it deflated.
"""

import zlib

from pricing.goodput import Timeline

VERSION = 1
CHUNKS_MAX = 10_000_000
PLAIN_BYTES_MAX = 256 * 1024 * 1024
_LOW_BITS = 0x7F
_MORE = 0x80
_WIDTH = 7


class TimelineCodecError(ValueError):
    """Bytes that are no timeline of a known version."""


def encode(timeline: Timeline) -> bytes:
    """Packs a timeline; :func:`decode` is the exact inverse."""
    plain = bytearray((VERSION, int(timeline.streamed)))
    _append(plain, len(timeline.at_us))
    before = (0, 0, 0)
    for row in zip(timeline.at_us, timeline.tokens_through, timeline.excused_us, strict=True):
        for value, last in zip(row, before, strict=True):
            _append(plain, value - last)
        before = row
    return zlib.compress(bytes(plain), level=1)


def decode(packed: bytes) -> Timeline:
    """Unpacks a timeline.

    Raises:
        TimelineCodecError: damaged, truncated, or of an unknown version.
    """
    plain = _inflate(packed)
    if len(plain) < 2 or plain[0] != VERSION:  # noqa: PLR2004 (the two header bytes)
        raise TimelineCodecError(f"unknown timeline format {plain[:1]!r}; this release reads version {VERSION}")
    values, position = _Reader(plain, 2), [0, 0, 0]
    chunks = values.next()
    if chunks > CHUNKS_MAX:
        raise TimelineCodecError(f"a timeline of {chunks} chunks is over the limit of {CHUNKS_MAX}")
    columns: tuple[list[int], list[int], list[int]] = ([], [], [])
    for _ in range(chunks):
        for index, column in enumerate(columns):
            position[index] += values.next()
            column.append(position[index])
    at_us, tokens_through, excused_us = columns
    return Timeline(tuple(at_us), tuple(tokens_through), tuple(excused_us), streamed=bool(plain[1] & 1))


def _inflate(packed: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(packed, PLAIN_BYTES_MAX)
    except zlib.error as error:
        raise TimelineCodecError(f"not a packed timeline: {error}") from error
    if not unpacker.eof:
        raise TimelineCodecError("a packed timeline is truncated or too large")
    return plain


def _append(target: bytearray, value: int) -> None:
    while value > _LOW_BITS:
        target.append((value & _LOW_BITS) | _MORE)
        value >>= _WIDTH
    target.append(value)


class _Reader:
    """Reads LEB128 integers from bytes, one after another."""

    def __init__(self, plain: bytes, start: int) -> None:
        self._plain = plain
        self._at = start

    def next(self) -> int:
        value = shift = 0
        while True:
            if self._at >= len(self._plain):
                raise TimelineCodecError("a timeline ends in mid-number")
            byte = self._plain[self._at]
            self._at += 1
            value |= (byte & _LOW_BITS) << shift
            if not byte & _MORE:
                return value
            shift += _WIDTH
