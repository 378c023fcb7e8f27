"""A scripted HTTP server on loopback: each request is answered, byte by byte, as the test says."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from providers.base import CompletionRequest, Timeouts, TokenChunk
from providers.http_port import HttpTransport
from providers.openai_wire import Dialect, OpenAiWire
from providers.spec import ProviderKind, ProviderSpec

STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
BARE_STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
LAST_PIECE = b"0\r\n\r\n"
QUICK = Timeouts(connect_s=1.0, first_token_s=1.0, gap_s=1.0, total_s=5.0)
SECRET = "sk-live-7f3a9c1d5e8b2f4a6c0d"
PATIENCE_S = 5.0


@dataclass(frozen=True)
class Seen:
    """One request as it came in."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)


class Out:
    """The backend's end of one connection."""

    def __init__(self, transport: asyncio.Transport, gone: asyncio.Event, writable: asyncio.Event) -> None:
        self.transport = transport
        self.gone = gone
        self.writable = writable

    def raw(self, data: bytes) -> None:
        self.transport.write(data)

    def piece(self, data: bytes) -> None:
        """One piece of a chunked body."""
        self.transport.write(b"%x\r\n%s\r\n" % (len(data), data))

    async def pieces(self, *parts: bytes, apart_s: float = 0.0) -> None:
        """Pieces that arrive in reads of their own."""
        for part in parts:
            self.piece(part)
            await asyncio.sleep(apart_s or 0.002)

    def stream(self, body: bytes) -> None:
        """A whole streamed answer in one write."""
        self.transport.write(STREAM_HEAD + b"%x\r\n%s\r\n" % (len(body), body) + LAST_PIECE)

    def answer(self, status: int, body: bytes, *headers: str, media: str = "application/json") -> None:
        """A whole answer with a length."""
        lines = [f"HTTP/1.1 {status} Said", f"Content-Type: {media}", f"Content-Length: {len(body)}", *headers]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)

    def close(self) -> None:
        self.transport.close()

    async def until_gone(self) -> None:
        """Waits until the client has hung up."""
        async with asyncio.timeout(PATIENCE_S):
            await self.gone.wait()


Script = Callable[[Out, Seen], Awaitable[None] | None]


class FakeBackend:
    """Listens; answers with the scripts in turn, the last one again and again."""

    def __init__(self, scripts: tuple[Script, ...]) -> None:
        self._scripts = list(scripts)
        self.port = 0
        self.seen: list[Seen] = []
        self.connections = 0
        self.hang_ups = 0
        self.open: set[asyncio.Transport] = set()
        self.tasks: set[asyncio.Task[None]] = set()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def next_script(self) -> Script:
        return self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]

    def drop_idle(self) -> None:
        """Closes every connection, as a restart does."""
        for transport in tuple(self.open):
            transport.close()


class _Connection(asyncio.Protocol):
    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend
        self._number = backend.connections
        backend.connections += 1
        self._gone = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._data = b""
        self._is_answering = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._backend.open.add(self._transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, rest = self._data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        length = int(headers.get("content-length", "0"))
        if not end or len(rest) < length:
            return
        self._data = rest[length:]
        method, target, _ = lines[0].split(" ")
        seen = Seen(method, target, headers, rest[:length], self._number)
        self._backend.seen.append(seen)
        task = asyncio.ensure_future(self._run(self._backend.next_script(), seen))
        self._backend.tasks.add(task)
        task.add_done_callback(self._backend.tasks.discard)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self._backend.open.discard(self._transport)
        self._backend.hang_ups += self._is_answering
        self._gone.set()

    async def _run(self, script: Script, seen: Seen) -> None:
        self._is_answering = True
        done = script(Out(self._transport, self._gone, self._writable), seen)
        if done is not None:
            await done
        self._is_answering = False


@asynccontextmanager
async def fake_backend(*scripts: Script) -> AsyncGenerator[FakeBackend]:
    """A backend that answers with ``scripts`` in turn, the last one again and again."""
    backend = FakeBackend(scripts)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(backend), "127.0.0.1", 0)
    backend.port = server.sockets[0].getsockname()[1]
    try:
        yield backend
    finally:
        server.close()
        for task in tuple(backend.tasks):
            task.cancel()
        for transport in tuple(backend.open):
            transport.abort()
        await server.wait_closed()


def spec_for(base_url: str, kind: str = ProviderKind.OPENAI_COMPATIBLE, **changes: Any) -> ProviderSpec:
    """A spec of a backend at ``base_url``."""
    said: dict[str, Any] = {"backend_model": "backend/m", "api_key": SECRET, "timeouts": QUICK, **changes}
    return ProviderSpec("p-1", kind, base_url, **said)


@asynccontextmanager
async def wire(
    *scripts: Script, dialect: Dialect | None = None, transport: HttpTransport | None = None, **changes: Any
) -> AsyncGenerator[tuple[OpenAiWire, FakeBackend]]:
    """A client and the backend it talks to."""
    async with fake_backend(*scripts) as backend:
        client = OpenAiWire(spec_for(backend.base_url, **changes), dialect or Dialect(), transport)
        try:
            yield client, backend
        finally:
            await client.close()


def ask(
    fields: dict[str, Any] | None = None, *, is_stream: bool = True, timeouts: Timeouts = QUICK
) -> CompletionRequest:
    """A request for a chat completion."""
    messages = [{"role": "user", "content": "Say hello."}]
    return CompletionRequest("gen-1", {"messages": messages, **(fields or {})}, is_stream, timeouts)


async def collect(client: OpenAiWire, request: CompletionRequest | None = None) -> list[TokenChunk]:
    """All chunks of one answer."""
    return [chunk async for chunk in client.stream(request or ask())]


def event(content: str | None = None, **fields: Any) -> bytes:
    """One chunk event; ``finish`` and ``delta`` go into its choice, the rest beside it."""
    delta: dict[str, Any] = fields.pop("delta", {} if content is None else {"content": content})
    choice = {"index": fields.pop("index", 0), "delta": delta, "finish_reason": fields.pop("finish", None)}
    body = {"id": "chatcmpl-7", "object": "chat.completion.chunk", "model": "backend/m", "choices": [choice], **fields}
    return data(body)


def data(body: Any) -> bytes:
    """One event with a JSON body."""
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def usage_event(prompt: int, completion: int, **more: Any) -> bytes:
    """The event that brings the final count."""
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **more}
    return data({"id": "chatcmpl-7", "model": "backend/m", "choices": [], "usage": usage})


DONE = b"data: [DONE]\n\n"
ROLE = event(delta={"role": "assistant", "content": ""})
HELLO = [event("Hel"), event("lo")]
STOP = event(finish="stop")
GOOD = b"".join([ROLE, *HELLO, STOP, usage_event(9, 2), DONE])
