"""A load client: keeps a number of requests in flight for a while and measures delay, and the server's CPU time."""

import asyncio
import json
import os
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
STAMP = re.compile(rb"t(\d{19})")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
WARM_UP_S = 1.0


@dataclass(frozen=True)
class Load:
    """What to send, and for how long.

    Attributes:
        pids: of the server whose CPU time is measured, children included.
        tokens: asked for in each request.
        gap_us: between tokens.
    """

    port: int
    pids: tuple[int, ...]
    key: str
    concurrency: int
    seconds: float
    is_stream: bool
    tokens: int = 50
    gap_us: int = 0
    model: str = ""


@dataclass
class Tally:
    """What was seen while recording."""

    is_recording: bool = False
    answers: int = 0
    failures: int = 0
    tokens: int = 0
    first_us: list[float] = field(default_factory=list[float])
    delay_us: list[float] = field(default_factory=list[float])
    said: bytes = b""


class Client(asyncio.Protocol):
    """One connection that sends the same request again and again."""

    def __init__(self, request: bytes, tally: Tally) -> None:
        self.request, self.tally = request, tally
        self.done: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self.transport: asyncio.Transport = transport  # pyright: ignore[reportAttributeAccessIssue] (TCP gives no other kind)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (the protocol names it)
        """The server ended the connection."""
        if self.done is not None and not self.done.done():
            self.done.set_exception(ConnectionError("closed in mid-answer"))

    def ask(self) -> "asyncio.Future[None]":
        """Sends one request; the future is done when its answer is whole."""
        self.done = asyncio.get_running_loop().create_future()
        self.head, self.size, self.got, self.tail = b"", -1, b"", b""
        self.sent_ns, self.is_first = time.monotonic_ns(), True
        self.transport.write(self.request)
        return self.done

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer came."""
        now_ns = time.monotonic_ns()
        if self.size < 0:
            self.got += data
            end = self.got.find(b"\r\n\r\n")
            if end < 0:
                return
            self.head, data, self.got = self.got[:end], self.got[end + 4 :], b""
            length = LENGTH.search(self.head)
            self.size = int(length.group(1)) if length else 0
            self.is_chunked = length is None
        if self.is_chunked:
            self._stream(data, now_ns)
        else:
            self.got += data
            if len(self.got) >= self.size:
                self._end()

    def _stream(self, data: bytes, now_ns: int) -> None:
        tally = self.tally
        stamps = STAMP.findall(data) if tally.is_recording else ()
        if stamps:
            if self.is_first:
                tally.first_us.append((now_ns - self.sent_ns) / 1e3)
            tally.tokens += len(stamps)
            tally.delay_us.extend((now_ns - int(stamp)) / 1e3 for stamp in stamps)
        self.is_first = self.is_first and not stamps
        self.tail = (self.tail + data)[-5:]
        if self.tail == b"0\r\n\r\n":
            self._end()

    def _end(self) -> None:
        if self.tally.is_recording:
            is_ok = self.head[9:12] == b"200"
            self.tally.answers += is_ok
            self.tally.failures += not is_ok
            if not is_ok:
                self.tally.said = self.got[:300]
        if self.done is not None and not self.done.done():
            self.done.set_result(None)


async def run(load: Load) -> dict[str, Any]:
    """Keeps the load up, and tells what it cost."""
    tally, request = Tally(), _request(load)
    stop_s = time.monotonic() + WARM_UP_S + load.seconds
    workers = [asyncio.ensure_future(_work(number, load, request, tally, stop_s)) for number in range(load.concurrency)]
    await asyncio.sleep(WARM_UP_S)
    cpu_before_s, tally.is_recording, began_s = cpu_s(load.pids), True, time.monotonic()
    await asyncio.sleep(load.seconds)
    tally.is_recording = False
    spent_s, elapsed_s = cpu_s(load.pids) - cpu_before_s, time.monotonic() - began_s
    await asyncio.gather(*workers, return_exceptions=True)
    return _summary(load, tally, spent_s, elapsed_s)


async def _work(number: int, load: Load, request: bytes, tally: Tally, stop_s: float) -> None:
    loop = asyncio.get_running_loop()
    if load.gap_us:  # streams that begin together would have all their tokens due together
        await asyncio.sleep(WARM_UP_S * number / load.concurrency)
    _, client = await loop.create_connection(lambda: Client(request, tally), "127.0.0.1", load.port)
    while time.monotonic() < stop_s:
        try:
            await client.ask()
        except ConnectionError:
            tally.failures += tally.is_recording
            _, client = await loop.create_connection(lambda: Client(request, tally), "127.0.0.1", load.port)
    client.transport.close()


def _request(load: Load) -> bytes:
    body: dict[str, Any] = {
        "model": load.model or f"m-{load.gap_us}",
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Say hello to the world, please, in a short sentence."},
        ],
        "max_tokens": load.tokens,
        "stream": load.is_stream,
    }
    encoded = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{load.port}\r\nauthorization: Bearer {load.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(encoded)}\r\n\r\n"
    )
    return head.encode() + encoded


def _summary(load: Load, tally: Tally, spent_s: float, elapsed_s: float) -> dict[str, Any]:
    units = tally.tokens if load.is_stream else tally.answers
    return {
        "concurrency": load.concurrency,
        "answers": tally.answers,
        "failures": tally.failures,
        "per_s": round(units / elapsed_s, 1),
        "cpu_us": round(1e6 * spent_s / units, 2) if units else None,
        "cpu_share": round(spent_s / elapsed_s, 3),
        "ttft_us_p50": _quantile(tally.first_us, 0.5),
        "ttft_us_p99": _quantile(tally.first_us, 0.99),
        "token_delay_us_p50": _quantile(tally.delay_us, 0.5),
        "token_delay_us_p99": _quantile(tally.delay_us, 0.99),
        **({"said": tally.said.decode(errors="replace")} if tally.failures else {}),
    }


def _quantile(values: list[float], share: float) -> float | None:
    return round(sorted(values)[min(len(values) - 1, int(len(values) * share))], 1) if values else None


def cpu_s(pids: tuple[int, ...]) -> float:
    """CPU seconds spent so far by processes and all their descendants."""
    return sum(_cpu_s_of(pid) for root in pids for pid in _tree(root))


def _tree(pid: int) -> list[int]:
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            found += _tree(int(child))
    return found


def _cpu_s_of(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(Load(**json.loads(sys.argv[1]))))))
