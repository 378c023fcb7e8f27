"""One small GET, to see whether a server of ours answers."""

import asyncio
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

PROBE_S_MAX: Final = 5.0
BODY_BYTES_MAX: Final = 65_536


async def get(url: str) -> tuple[int, str]:
    """Status and body of ``http://…``; status 0 when nobody answers in time."""
    parts = urlsplit(url)
    host, path = f"{parts.hostname}:{parts.port}", parts.path or "/"
    try:
        async with asyncio.timeout(PROBE_S_MAX):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                answer = await _read(reader)
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return 0, ""
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    return (int(words[1]) if len(words) > 1 and words[1].isdigit() else 0), body.decode(errors="replace")


async def is_well(url: str) -> bool:
    """Whether the address answers 200."""
    return (await get(url))[0] == 200  # noqa: PLR2004 (HTTP's OK)


async def _read(reader: asyncio.StreamReader) -> bytes:
    answer = b""
    while len(answer) < BODY_BYTES_MAX and (data := await reader.read(BODY_BYTES_MAX - len(answer))):
        answer += data
    return answer
