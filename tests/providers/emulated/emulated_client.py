"""A small HTTP client of our own for emulated providers: it notes when each event came and sees broken endings."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from providers.emulated.server import Listener, serve
from providers.emulated.spec import EmulatedDeployment
from providers.engine_model.spec import BatchSpec, EngineSpec

MS = 1_000_000_000  # ps


def quick_engine(**changes: Any) -> BatchSpec:
    """2 ms a step, whatever the batch; 8 places."""
    fields: dict[str, Any] = {"kv_ps": 0, "prefill_ps": 0, "chunk_tokens": 4_096, "max_seqs": 8}
    fields["base_ps"] = ((1, 2 * MS),)
    return BatchSpec(**(fields | changes))


def deployment(engine: EngineSpec | None = None, **changes: Any) -> EmulatedDeployment:
    fields: dict[str, Any] = {"deployment_id": "b200-test", "model": "m-1", "label": "emulated for tests"}
    return EmulatedDeployment(engine=engine or quick_engine(), **(fields | changes))


@dataclass
class Reply:
    """What came back on one request.

    Attributes:
        events: data of each server-sent event.
        at_s: loop seconds at which each came.
        ended_well: the body was complete, by length or by its last chunk.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    events: list[str] = field(default_factory=list[str])
    at_s: list[float] = field(default_factory=list[float])
    ended_well: bool = False

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def chunks(self) -> list[Any]:
        return [json.loads(event) for event in self.events if event != "[DONE]"]

    @property
    def token_s(self) -> list[float]:
        """When each token came."""
        return [
            at for at, event in zip(self.at_s, self.events, strict=True) if '"content"' in event and '"delta"' in event
        ]

    @property
    def text(self) -> str:
        return "".join(
            choice["delta"].get("content", "") for chunk in self.chunks for choice in chunk.get("choices", [])
        )

    @property
    def usages(self) -> list[Any]:
        return [chunk["usage"] for chunk in self.chunks if chunk.get("usage")]


class Client:
    """Sends one request per connection."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener

    async def chat(self, *, tokens: int | None = None, prompt: str = "hello", **fields: Any) -> Reply:
        body: dict[str, Any] = {"model": "m-1", "messages": [{"role": "user", "content": prompt}], **fields}
        if tokens is not None:
            body["max_tokens"] = tokens
        return await self.request("POST", "/v1/chat/completions", json.dumps(body).encode())

    async def stream(self, *, tokens: int | None = None, **fields: Any) -> Reply:
        options = fields.pop("stream_options", {"include_usage": True})
        return await self.chat(tokens=tokens, stream=True, stream_options=options, **fields)

    async def fault(self, **fields: Any) -> Reply:
        return await self.request("POST", "/_fault", json.dumps(fields).encode())

    async def engine(self) -> Any:
        return (await self.request("GET", "/_engine")).json

    async def request(self, method: str, path: str, body: bytes = b"", headers: str = "") -> Reply:
        reader, writer = await asyncio.open_connection(self.listener.host, self.listener.port)
        head = f"{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {len(body)}\r\n"
        head += f"{headers}\r\n"
        try:
            writer.write(head.encode() + body)
            return await read_reply(reader)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    reply = Reply()
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    reply.status = int(head[0].split()[1])
    reply.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ValueError):
        if reply.headers.get("transfer-encoding") == "chunked":
            await _read_chunks(reader, reply)
        elif "content-length" in reply.headers:
            reply.body = await reader.readexactly(int(reply.headers["content-length"]))
        else:
            reply.body = await reader.read()
        reply.ended_well = True
    return reply


async def _read_chunks(reader: asyncio.StreamReader, reply: Reply) -> None:
    loop = asyncio.get_running_loop()
    pending = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        data = (await reader.readexactly(size + 2))[:-2]
        reply.body += data
        *events, pending = (pending + data).split(b"\n\n")
        reply.events += [event.decode("utf-8", "replace").removeprefix("data: ") for event in events]
        reply.at_s += [loop.time()] * len(events)
    await reader.readexactly(2)


@contextlib.asynccontextmanager
async def serving(one: EmulatedDeployment) -> AsyncGenerator[Client]:
    async with serve([one], wall_s=lambda: 1_700_000_000) as (listener,):
        yield Client(listener)
