"""A fast backend on loopback: ``python -m benchmarks.upstream PORT``. Model ``m-<gap µs>`` sets the pace of its tokens.

Each token's content is the monotonic ns at which it was written, so that a reader can tell how long it was on its way.
"""

import asyncio
import re
import sys
import time

import uvloop

LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
LIMIT = re.compile(rb'"max_(?:completion_)?tokens":\s*(\d+)')
GAP = re.compile(rb'"model":\s*"[^"]*?m-(\d+)"')
STREAM = re.compile(rb'"stream":\s*true')
BURST = 8
ENVELOPE = b'{"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":['
TOKEN = b"data: " + ENVELOPE + b'{"index":0,"delta":{"content":"t%019d "},"logprobs":null,"finish_reason":null}]}\n\n'
FINISH = b"data: " + ENVELOPE + b'{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}\n\n'
USAGE = b"data: " + ENVELOPE + b'],"usage":{"prompt_tokens":12,"completion_tokens":%d,"total_tokens":%d}}\n\n'
WHOLE = (
    b'{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"A short answer from the upstream of the benchmark."},'
    b'"logprobs":null,"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":12,"completion_tokens":12,"total_tokens":24}}'
)
WHOLE_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(WHOLE),
    WHOLE,
)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class Upstream(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self.received = b""
        self.is_open = True
        self.left = self.tokens = 0
        self.gap_s = self.due_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self.transport: asyncio.Transport = transport  # pyright: ignore[reportAttributeAccessIssue] (TCP gives no other kind)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (the protocol names it)
        """A client left."""
        self.is_open = False

    def data_received(self, data: bytes) -> None:
        """Bytes of requests came; each whole one is answered."""
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            length = LENGTH.search(self.received[:end])
            size = int(length.group(1)) if length else 0
            if len(self.received) < end + 4 + size:
                return
            body, self.received = self.received[end + 4 : end + 4 + size], self.received[end + 4 + size :]
            self.answer(body)

    def answer(self, body: bytes) -> None:
        """Answers one request."""
        if not STREAM.search(body):
            self.transport.write(WHOLE_ANSWER)
            return
        limit, gap = LIMIT.search(body), GAP.search(body)
        self.tokens = self.left = int(limit.group(1)) if limit else 100
        self.gap_s = int(gap.group(1)) / 1e6 if gap else 0.0
        self.transport.write(STREAM_HEAD)
        loop = asyncio.get_running_loop()
        self.due_s = loop.time() + self.gap_s
        if self.gap_s:
            loop.call_at(self.due_s, self.tick)
        else:
            loop.call_soon(self.tick)

    def tick(self) -> None:
        """Writes what is due, one write per token."""
        if not self.is_open:
            return
        for _ in range(1 if self.gap_s else min(BURST, self.left)):
            self.transport.write(chunk(TOKEN % time.monotonic_ns()))
            self.left -= 1
        loop = asyncio.get_running_loop()
        if not self.left:
            ending = chunk(FINISH) + chunk(USAGE % (self.tokens, self.tokens + 12)) + chunk(b"data: [DONE]\n\n")
            self.transport.write(ending + b"0\r\n\r\n")
        elif self.gap_s:
            self.due_s += self.gap_s
            loop.call_at(self.due_s, self.tick)
        else:
            loop.call_soon(self.tick)


async def main() -> None:
    """Serves until ended."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", int(sys.argv[1]), backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
